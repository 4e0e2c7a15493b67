//! The one seam to an executor: sockets, timers and name resolution.
//!
//! A [`Runtime`] gives this crate what it cannot have without an operating system's event loop.
//! There is **no `spawn`** in it: whatever this crate does is one `Send` future, which any
//! executor can poll. Two implementations come with the crate, and they may live side by side in
//! one program, since a client is given its runtime when it is built:
//!
//! * `AsyncIo` (feature `async-io`, on by default) works under every executor. Its only thread is
//!   the one that the `async-io` crate itself starts.
//! * `Tokio` (feature `tokio`) uses the I/O and time drivers of a tokio runtime, and may be polled
//!   by any executor too.
//!
//! To bring another, implement [`Runtime`] and [`Timer`]; the streams are those of `futures`.
//! This module knows nothing of HTTP.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::channel::oneshot;
use futures::future::{self, BoxFuture};
use futures::io::{AsyncRead, AsyncWrite};

use crate::thread;

#[cfg(feature = "async-io")]
mod async_io;
#[cfg(any(feature = "async-io", feature = "tokio"))]
mod socket;
#[cfg(all(test, feature = "async-io", feature = "tokio"))]
mod tests;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "async-io")]
pub use self::async_io::AsyncIo;
#[cfg(feature = "tokio")]
pub use self::tokio::Tokio;

/// The sockets, timers and name resolution that a client needs.
///
/// The futures, streams and timers that it returns must be pollable from any thread and inside
/// any executor, and must release what they hold as soon as they are dropped.
///
/// # Examples
///
/// A runtime that sends every connection to a test server, whatever the address:
///
/// ```
/// # #[cfg(feature = "async-io")] {
/// use std::{io, net::SocketAddr, pin::Pin, time::Instant};
/// use futures::future::BoxFuture;
/// use tidings::rt::{AsyncIo, BoxIo, Runtime, Timer};
///
/// #[derive(Debug)]
/// struct ToTheTestServer(SocketAddr);
///
/// impl Runtime for ToTheTestServer {
///     fn connect(&self, _address: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
///         AsyncIo.connect(self.0)
///     }
///
///     fn new_timer(&self, at: Instant) -> Pin<Box<dyn Timer>> {
///         AsyncIo.new_timer(at)
///     }
/// }
/// # }
/// ```
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// Opens a TCP connection, without a time limit of its own.
    ///
    /// The stream should have `TCP_NODELAY` set, and keep-alive, so that a peer that has vanished
    /// is noticed while nothing is sent.
    ///
    /// # Errors
    ///
    /// The future resolves to the operating system's error.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>>;

    /// Makes a timer that fires at `at`, at once if that is past.
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn Timer>>;

    /// The current time, on the clock of the timers.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Looks up the addresses of `host`, in the order in which they should be tried.
    ///
    /// `host` is a name or an IP address, an IPv6 address with or without brackets. Unless it is
    /// overridden, this asks the operating system (`getaddrinfo`) on a thread that lives as long
    /// as the answer takes; an IP address is answered without one.
    ///
    /// # Errors
    ///
    /// The future resolves to an error if the name is unknown or the resolver cannot be reached.
    /// An empty list is an error to the caller as well.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "async-io")] {
    /// use tidings::rt::{AsyncIo, Runtime};
    ///
    /// let addresses = futures::executor::block_on(AsyncIo.resolve("[::1]", 8090))?;
    /// assert_eq!(addresses, ["[::1]:8090".parse().unwrap()]);
    /// # }
    /// # std::io::Result::Ok(())
    /// ```
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Box::pin(future::ready(Ok(vec![SocketAddr::new(ip, port)])));
        }

        let host = host.to_owned();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            thread::spawn("tidings-resolve", move || {
                let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
                // If the caller is gone, nobody needs the answer.
                _ = answer.send(found);
            })?;
            answered.await.unwrap_or_else(|_| Err(io::Error::other("the resolver's thread died")))
        })
    }
}

/// A moment that a task can wait for, and that can be moved.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "async-io")] {
/// use std::{future::poll_fn, time::{Duration, Instant}};
/// use tidings::rt::{AsyncIo, Runtime};
///
/// let start = Instant::now();
/// let mut timer = AsyncIo.new_timer(start + Duration::from_secs(60));
/// timer.as_mut().reset(start + Duration::from_millis(5));
/// futures::executor::block_on(poll_fn(|cx| timer.as_mut().poll(cx)));
/// assert!(start.elapsed() >= Duration::from_millis(5));
/// # }
/// ```
pub trait Timer: Send {
    /// Moves the moment, to earlier or later; a timer that has fired is set anew.
    ///
    /// The task that polled last need not poll again for this. It is woken at the new moment, and
    /// perhaps earlier: then it has to poll, as after any wake-up.
    fn reset(self: Pin<&mut Self>, at: Instant);

    /// Ready from the set moment on, and again at each later call until it is reset.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;
}

/// A connection: a byte stream in each direction.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection of any runtime.
pub type BoxIo = Box<dyn Io>;
