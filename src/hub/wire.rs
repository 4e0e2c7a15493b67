//! One accepted socket, as hyper sees it: where the faults that bytes can
//! suffer are applied.

use std::io;
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::task::AtomicWaker;
use hyper::rt::ReadBufCursor;
use smol::future::FutureExt as _;
use smol::io::{AsyncRead, AsyncWrite};
use smol::{Async, Timer};

/// What the byte-level faults are switched with; shared by all connections.
#[derive(Debug, Default)]
pub(super) struct Switches {
    pub(super) frozen: AtomicBool,
    pub(super) split: AtomicBool,
}

/// The part of a connection that is reached from outside its task.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// A realtime stream is being answered on it.
    pub(super) streaming: AtomicBool,
    /// The next write on the stream stops halfway, and the connection is cut.
    pub(super) truncated: AtomicBool,
    /// Woken when the freeze ends.
    pub(super) thawed: AtomicWaker,
    fate: AtomicU8,
    /// Woken when the fate is decided.
    decided: AtomicWaker,
}

/// How a connection is to end before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Fate {
    /// Answer what was asked, then close.
    Finish = 1,
    /// FIN, wherever the response is.
    Cut = 2,
    /// RST.
    Reset = 3,
}

impl Link {
    /// Decides how the connection ends. The worst decision stands; false if
    /// one at least as bad was made before.
    pub(super) fn decide(&self, fate: Fate) -> bool {
        let before = self.fate.fetch_max(fate as u8, Ordering::SeqCst);
        self.decided.wake();
        before < fate as u8
    }

    /// Waits for a fate worse than the one already known.
    pub(super) fn poll_fate(&self, known: Option<Fate>, cx: &mut Context<'_>) -> Poll<Fate> {
        self.decided.register(cx.waker());
        let fate = match self.fate.load(Ordering::SeqCst) {
            0 => return Poll::Pending,
            1 => Fate::Finish,
            2 => Fate::Cut,
            _ => Fate::Reset,
        };
        if known.is_none_or(|known| fate as u8 > known as u8) { Poll::Ready(fate) } else { Poll::Pending }
    }
}

/// Time for the reader to take one byte before the next arrives: the kernel
/// joins in the receiver's buffer what comes faster.
const BETWEEN_BYTES: Duration = Duration::from_micros(50);

/// A socket with its faults, given to hyper.
pub(super) struct Wire {
    socket: Arc<Async<TcpStream>>,
    /// Runs between the bytes of a split stream.
    pause: Timer,
    link: Arc<Link>,
    switches: Arc<Switches>,
}

impl Wire {
    pub(super) fn new(socket: Arc<Async<TcpStream>>, link: Arc<Link>, switches: Arc<Switches>) -> Self {
        Self { socket, pause: Timer::never(), link, switches }
    }

    fn poll_thawed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.switches.frozen.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        self.link.thawed.register(cx.waker());
        // The thaw may have come between the look and the registration.
        if self.switches.frozen.load(Ordering::SeqCst) { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_thawed(cx));
        // Copied once through the stack: filling hyper's buffer in place needs `unsafe`.
        let mut chunk = [0; 8192];
        let room = buf.remaining().min(chunk.len());
        let n = ready!(Pin::new(&mut &*self.socket).poll_read(cx, &mut chunk[..room]))?;
        buf.put_slice(&chunk[..n]);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_thawed(cx));
        let split = self.switches.split.load(Ordering::SeqCst) && self.link.streaming.load(Ordering::SeqCst);
        if !split || buf.is_empty() {
            return Pin::new(&mut &*self.socket).poll_write(cx, buf);
        }
        if self.pause.will_fire() {
            ready!(self.pause.poll(cx));
            self.pause = Timer::never();
        }
        let n = ready!(Pin::new(&mut &*self.socket).poll_write(cx, &buf[..1]))?;
        self.pause.set_after(BETWEEN_BYTES);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_thawed(cx));
        Pin::new(&mut &*self.socket).poll_close(cx)
    }
}

/// Makes the close that follows send an RST.
pub(super) fn arm_reset(socket: &Async<TcpStream>) {
    let _ = socket2::SockRef::from(socket.get_ref()).set_linger(Some(Duration::ZERO));
}
