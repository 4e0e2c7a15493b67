//! One connection in the shapes that three crates want: `futures` here, `hyper` above, `tokio`
//! below TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncWrite};
use hyper::rt::ReadBufCursor;

use super::exchange::MAX_HEAD;
use crate::rt::BoxIo;

/// A connection for hyper.
///
/// hyper hands out memory that may be uninitialized, which safe code cannot lend to a reader:
/// bytes are read here and copied over. Large enough reads are what hyper asks for as a stream
/// turns out to be busy; an idle one keeps a small buffer.
pub(super) struct HyperIo {
    io: BoxIo,
    scratch: Vec<u8>,
    head: Arc<Head>,
    /// What has been read before the head was complete when others last had their turn, in bytes.
    yielded_at: usize,
}

/// What is known of the head of an answer while it arrives.
#[derive(Default)]
pub(super) struct Head {
    is_complete: AtomicBool,
    /// Whether the server has sent an interim response (1xx).
    is_announced: AtomicBool,
    /// What has been read before it was complete, in bytes.
    read: AtomicUsize,
}

impl Head {
    /// Of the next answer.
    pub(super) fn begin(&self) {
        self.is_complete.store(false, Relaxed);
        self.is_announced.store(false, Relaxed);
        self.read.store(0, Relaxed);
    }

    /// Whether nothing of it has arrived.
    pub(super) fn is_untouched(&self) -> bool {
        self.read.load(Relaxed) == 0
    }

    pub(super) fn complete(&self) {
        self.is_complete.store(true, Relaxed);
    }

    pub(super) fn announce(&self) {
        self.is_announced.store(true, Relaxed);
    }

    pub(super) fn is_announced(&self) -> bool {
        self.is_announced.load(Relaxed)
    }
}

/// The most that is read, in bytes, before the head of the answer is complete. hyper bounds each head, and passes over
/// interim responses without end.
const MAX_BEFORE_HEAD: usize = 4 * MAX_HEAD;

/// After so many bytes before the head others are polled: hyper makes no pause, and a server that sends interim responses
/// as fast as they are read would keep the client from closing.
const TURN_BEFORE_HEAD: usize = MAX_HEAD / 8;

/// More at once than any kernel buffer holds by default makes nothing faster.
const MAX_READ: usize = 64 * 1024;

impl HyperIo {
    pub(super) fn new(io: BoxIo, head: Arc<Head>) -> Self {
        Self { io, scratch: Vec::new(), head, yielded_at: 0 }
    }

    pub(super) fn into_inner(self) -> BoxIo {
        self.io
    }
}

impl hyper::rt::Read for HyperIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, scratch, head, yielded_at } = &mut *self;
        let wanted = cursor.remaining().min(MAX_READ);
        let is_before = !head.is_complete.load(Relaxed);
        let before = head.read.load(Relaxed);
        if is_before && before > MAX_BEFORE_HEAD {
            let error =
                io::Error::new(io::ErrorKind::InvalidData, "it sends interim responses and no answer");
            return Poll::Ready(Err(error));
        }
        // It begins anew with each request.
        if is_before && before.checked_sub(*yielded_at).unwrap_or(before) >= TURN_BEFORE_HEAD {
            *yielded_at = before;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if scratch.len() < wanted {
            scratch.resize(wanted, 0);
        }
        let read = ready!(Pin::new(io).poll_read(cx, &mut scratch[..wanted]))?;
        if is_before {
            head.read.fetch_add(read, Relaxed);
        }
        cursor.put_slice(&scratch[..read]);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for HyperIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }

    // Not vectored: head and body of a request go out in one small write, which TLS needs anyway.
}

/// A connection for a TLS session of tokio-rustls, which speaks tokio's traits (and needs nothing
/// else of tokio).
#[cfg(feature = "tls")]
pub(super) struct TokioIo(pub(super) BoxIo);

#[cfg(feature = "tls")]
impl tokio::io::AsyncRead for TokioIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // rustls lends memory that is initialized already, so this zeroes nothing.
        let read = ready!(Pin::new(&mut self.0).poll_read(cx, buffer.initialize_unfilled()))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

#[cfg(feature = "tls")]
impl tokio::io::AsyncWrite for TokioIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// And back: a TLS session as a connection like any other, so that one may run inside another.
#[cfg(feature = "tls")]
pub(super) struct TlsIo(pub(super) tokio_rustls::client::TlsStream<TokioIo>);

#[cfg(feature = "tls")]
impl AsyncRead for TlsIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = tokio::io::ReadBuf::new(buffer);
        ready!(tokio::io::AsyncRead::poll_read(Pin::new(&mut self.0), cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

#[cfg(feature = "tls")]
impl AsyncWrite for TlsIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(Pin::new(&mut self.0), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{io::Cursor, task::noop_waker};
    use hyper::rt::{Read, ReadBuf};

    use super::*;

    #[test]
    fn others_have_their_turn_while_a_head_arrives_without_end() {
        let head = Arc::new(Head::default());
        let endless = Cursor::new(vec![b'x'; 16 * TURN_BEFORE_HEAD]);
        let mut io = HyperIo::new(Box::new(endless), head.clone());
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let mut read = |io: &mut HyperIo| {
            let mut memory = [0; TURN_BEFORE_HEAD / 4];
            let mut buffer = ReadBuf::new(&mut memory);
            Pin::new(io)
                .poll_read(&mut cx, buffer.unfilled())
                .map(|read| read.map(|()| buffer.filled().len()))
        };
        // Twice: the second request on the connection is counted from its own beginning.
        for _ in 0..2 {
            head.begin();
            for _ in 0..3 {
                for _ in 0..4 {
                    assert!(matches!(read(&mut io), Poll::Ready(Ok(len)) if len > 0));
                }
                assert!(read(&mut io).is_pending());
            }
            // A body is bounded elsewhere.
            head.complete();
            assert!((0..5).all(|_| read(&mut io).is_ready()));
        }
    }
}
