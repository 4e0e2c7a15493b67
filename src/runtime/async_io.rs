//! The default runtime, on smol's reactor.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_io::{Async, ReadableOwned, WritableOwned};
use futures::future::BoxFuture;
use futures::io::{AsyncRead, AsyncWrite};
use socket2::SockRef;

use super::{BoxIo, Runtime, Timer, socket};

/// Sockets and timers of the [`async-io`](https://docs.rs/async-io) crate; works under any
/// executor, tokio's among them.
///
/// The reactor is one for the whole process, on a thread of its own that `async-io` starts at the
/// first use. That thread does not survive a `fork`: a child process must not use this runtime.
///
/// # Examples
///
/// ```no_run
/// use tidings::rt::{AsyncIo, Runtime};
///
/// # async fn example() -> std::io::Result<()> {
/// let stream = AsyncIo.connect("127.0.0.1:8090".parse().unwrap()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AsyncIo;

impl Runtime for AsyncIo {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
        Box::pin(async move {
            let connected = Async::<TcpStream>::connect(address).await?;
            socket::prepare(SockRef::from(connected.get_ref()));
            let stream = Stream { socket: Arc::new(connected), readable: None, writable: None };
            Ok(Box::new(stream) as BoxIo)
        })
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn Timer>> {
        Box::pin(Alarm { at, armed: at, alarm: async_io::Timer::at(at) })
    }
}

/// A socket that never compares wakers.
///
/// `Async::poll_readable` wakes the waker that it holds if the new one does not `will_wake` the
/// same task. tokio's `block_on` on a current-thread runtime polls with a waker that is not equal
/// to its own clone, so each poll would wake the very task that is being polled, and an idle
/// stream would keep a core busy. The futures of `Async::readable_owned` replace their waker in
/// silence.
struct Stream {
    socket: Arc<Async<TcpStream>>,
    /// Present while a read waits.
    readable: Option<ReadableOwned<TcpStream>>,
    /// Present while a write waits.
    writable: Option<WritableOwned<TcpStream>>,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { socket, readable, .. } = &mut *self;
        loop {
            match socket.get_ref().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                done => {
                    *readable = None;
                    return Poll::Ready(done);
                }
            }
            let wait = readable.get_or_insert_with(|| Arc::clone(socket).readable_owned());
            ready!(Future::poll(Pin::new(wait), cx))?;
            *readable = None;
        }
    }
}

impl Stream {
    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&mut &TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let Self { socket, writable, .. } = self;
        loop {
            match write(&mut socket.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                done => {
                    *writable = None;
                    return Poll::Ready(done);
                }
            }
            let wait = writable.get_or_insert_with(|| Arc::clone(socket).writable_owned());
            ready!(Future::poll(Pin::new(wait), cx))?;
            *writable = None;
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| socket.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| socket.write_vectored(slices))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(Shutdown::Write))
    }
}

struct Alarm {
    /// When to fire.
    at: Instant,
    /// When the reactor fires: `at` or earlier. A deadline that is pushed back with every message
    /// then costs the reactor nothing until the old moment has come.
    armed: Instant,
    alarm: async_io::Timer,
}

impl Timer for Alarm {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.at = at;
        if at < self.armed {
            self.alarm.set_at(at);
            self.armed = at;
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // A waker equal to its clone (see `Stream`), or the reactor is told of a new one each time.
        let waker = cx.waker().clone();
        let mut cx = Context::from_waker(&waker);
        let Self { at, armed, alarm } = &mut *self;
        loop {
            if Instant::now() >= *at {
                return Poll::Ready(());
            }
            ready!(Future::poll(Pin::new(&mut *alarm), &mut cx));
            alarm.set_at(*at);
            *armed = *at;
        }
    }
}
