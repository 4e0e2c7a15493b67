//! One accepted socket, as hyper sees it: where the faults that bytes can
//! suffer are applied.

use std::io;
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
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
    /// Bytes in a second for each connection; 0 is no limit.
    pub(super) throttle: AtomicUsize,
}

/// The part of a connection that is reached from outside its task.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// A realtime stream is being answered on it.
    pub(super) streaming: AtomicBool,
    /// Half-open: nothing is read or written any more.
    pub(super) dead: AtomicBool,
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

/// A throttled connection is sent its bytes in so many portions a second.
const PORTIONS_PER_SECOND: usize = 20;

/// A socket with its faults, given to hyper.
pub(super) struct Wire {
    socket: Arc<Async<TcpStream>>,
    /// Runs between the bytes of a split stream and the portions of a throttled one.
    pause: Timer,
    /// Truncated: what hyper has left to write is not written.
    halted: bool,
    link: Arc<Link>,
    switches: Arc<Switches>,
}

impl Wire {
    pub(super) fn new(socket: Arc<Async<TcpStream>>, link: Arc<Link>, switches: Arc<Switches>) -> Self {
        Self { socket, pause: Timer::never(), halted: false, link, switches }
    }

    fn poll_thawed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.link.dead.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
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
        if self.halted {
            return Poll::Pending;
        }
        let streaming = self.link.streaming.load(Ordering::SeqCst);
        if streaming && buf.len() > 1 && self.link.truncated.swap(false, Ordering::SeqCst) {
            let n = ready!(Pin::new(&mut &*self.socket).poll_write(cx, &buf[..buf.len() / 2]))?;
            self.halted = true;
            self.link.decide(Fate::Cut);
            return Poll::Ready(Ok(n));
        }
        let split = streaming && self.switches.split.load(Ordering::SeqCst);
        let rate = self.switches.throttle.load(Ordering::SeqCst);
        if self.pause.will_fire() {
            ready!(self.pause.poll(cx));
            self.pause = Timer::never();
        }
        if buf.is_empty() || !split && rate == 0 {
            return Pin::new(&mut &*self.socket).poll_write(cx, buf);
        }
        let portion = match (split, rate / PORTIONS_PER_SECOND) {
            (true, _) | (_, 0) => 1,
            (_, portion) => portion,
        };
        let n = ready!(Pin::new(&mut &*self.socket).poll_write(cx, &buf[..buf.len().min(portion)]))?;
        let wait = if rate == 0 { Duration::ZERO } else { Duration::from_secs_f64(n as f64 / rate as f64) };
        self.pause.set_after(if split { wait.max(BETWEEN_BYTES) } else { wait });
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
