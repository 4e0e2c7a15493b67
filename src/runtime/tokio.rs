//! A runtime on the drivers of tokio, for any executor.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures::future::BoxFuture;
use futures::io::{AsyncRead, AsyncWrite};
use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::{Handle, TryCurrentError};
use tokio::time::{Sleep, sleep_until};

use super::{BoxIo, Runtime, Timer, socket};

/// Sockets and timers of a tokio runtime.
///
/// The tokio runtime only has to be alive and turning: what is made here enters it for each poll,
/// so it may be polled by another runtime or by no runtime at all.
///
/// # Panics
///
/// Connecting panics if the runtime was built without `enable_io`, timers if it was built without
/// `enable_time`, and both if they are polled after it was shut down.
///
/// # Examples
///
/// ```no_run
/// use tidings::rt::{Runtime, Tokio};
///
/// let tokio = tokio::runtime::Runtime::new()?;
/// let runtime = Tokio::new(tokio.handle().clone());
/// // On this plain thread; the socket is watched by the runtime's.
/// let stream = futures::executor::block_on(runtime.connect("127.0.0.1:8090".parse().unwrap()))?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct Tokio {
    handle: Handle,
}

impl Tokio {
    /// The runtime behind `handle`.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// The runtime that the caller runs in.
    ///
    /// # Errors
    ///
    /// If the caller does not run in one.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidings::rt::Tokio;
    ///
    /// assert!(Tokio::current().is_err());
    /// ```
    pub fn current() -> Result<Self, TryCurrentError> {
        Handle::try_current().map(Self::new)
    }
}

impl Runtime for Tokio {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
        let handle = self.handle.clone();
        Box::pin(async move {
            let mut connecting = Box::pin(TcpStream::connect(address));
            let stream = poll_fn(|cx| {
                let _entered = handle.enter();
                connecting.as_mut().poll(cx)
            })
            .await?;
            socket::prepare(SockRef::from(&stream));
            Ok(Box::new(Stream { handle, stream }) as BoxIo)
        })
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn Timer>> {
        let handle = self.handle.clone();
        let alarm = {
            let _entered = handle.enter();
            Box::pin(sleep_until(at.into()))
        };
        Box::pin(Alarm { handle, at, armed: at, alarm })
    }
}

struct Stream {
    handle: Handle,
    stream: TcpStream,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { handle, stream } = &mut *self;
        let _entered = handle.enter();
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { handle, stream } = &mut *self;
        let _entered = handle.enter();
        Pin::new(stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { handle, stream } = &mut *self;
        let _entered = handle.enter();
        Pin::new(stream).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { handle, stream } = &mut *self;
        let _entered = handle.enter();
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { handle, stream } = &mut *self;
        let _entered = handle.enter();
        Pin::new(stream).poll_shutdown(cx)
    }
}

struct Alarm {
    handle: Handle,
    /// When to fire.
    at: Instant,
    /// When the driver fires: `at` or earlier. A deadline that is pushed back with every message
    /// then costs the driver nothing until the old moment has come.
    armed: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Timer for Alarm {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.at = at;
        if at < self.armed {
            let Self { handle, armed, alarm, .. } = &mut *self;
            let _entered = handle.enter();
            alarm.as_mut().reset(at.into());
            *armed = at;
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { handle, at, armed, alarm } = &mut *self;
        loop {
            // The clock first: tokio lets a task that has used up its budget wait, however late.
            if Instant::now() >= *at {
                return Poll::Ready(());
            }
            let _entered = handle.enter();
            ready!(alarm.as_mut().poll(cx));
            alarm.as_mut().reset((*at).into());
            *armed = *at;
        }
    }
}
