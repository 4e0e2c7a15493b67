//! A request and its answer over a connection, one after the other.
//!
//! hyper splits a connection into a future that does the I/O and handles that talk to it, so that
//! the future can be spawned. Here it is polled by whoever reads the handle: there is no executor
//! to spawn on, and handing bytes from task to task cost 14 to 46 times the throughput.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use http_body_util::Full;
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::client::conn::http1;

use super::error::HttpError;
use super::io::{Head, HyperIo};
use crate::rt::BoxIo;

/// The longest head of an answer, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// The most headers of an answer: hyper takes 100, and gateways add to what a server sends. The memory is taken while the
/// head arrives, 32 bytes for each.
const MAX_HEADERS: usize = 1000;

/// A connection, between requests or under an answer. Dropping it closes the socket.
pub(super) struct Exchange {
    connection: Connection,
    /// Kept while the answer arrives: without it hyper would take the connection for done.
    sender: http1::SendRequest<Full<Bytes>>,
    head: Arc<Head>,
}

struct Connection {
    io: http1::Connection<HyperIo, Full<Bytes>>,
    /// Once hyper has finished with it, it must not be polled again.
    finished: bool,
}

/// Why there is no head of an answer.
pub(super) struct NoAnswer {
    /// None: the connection ended without either an answer or an error.
    error: Option<hyper::Error>,
    /// Whether nothing of the request has been written.
    pub(super) is_unsent: bool,
    /// Whether the connection ended before a byte of an answer.
    pub(super) is_untouched: bool,
}

impl NoAnswer {
    pub(super) fn into_error(self, place: &str) -> HttpError {
        match self.error {
            Some(error) => HttpError::from_hyper(place, error),
            None => HttpError::UnexpectedEnd { place: place.to_owned() },
        }
    }
}

impl Exchange {
    /// Nothing is written yet.
    pub(super) async fn over(io: BoxIo, max_buffer: usize) -> hyper::Result<Self> {
        let head = Arc::default();
        let mut builder = http1::Builder::new();
        builder.max_buf_size(max_buffer.max(8 * 1024)).max_header_size(MAX_HEAD).max_headers(MAX_HEADERS);
        let (sender, io) = builder.handshake(HyperIo::new(io, Arc::clone(&head))).await?;
        Ok(Self { connection: Connection { io, finished: false }, sender, head })
    }

    /// What is known of the answer while it arrives.
    pub(super) fn head(&self) -> Arc<Head> {
        Arc::clone(&self.head)
    }

    /// Sends `request` and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        mut request: hyper::Request<Full<Bytes>>,
    ) -> Result<hyper::Response<Incoming>, NoAnswer> {
        self.head.begin();
        let announced = self.head();
        hyper::ext::on_informational(&mut request, move |_| announced.announce());
        let mut answer = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        let answer = poll_fn(|cx| {
            let finished = connection.poll_finished(cx).is_ready();
            match answer.as_mut().poll(&mut unwoken()) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut failed)) => {
                    let is_unsent = failed.take_message().is_some();
                    Poll::Ready(Err((Some(failed.into_error()), is_unsent)))
                }
                Poll::Pending if finished => Poll::Ready(Err((None, false))),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        let response = answer.map_err(|(error, is_unsent)| {
            let is_untouched = self.head.is_untouched() && self.connection.finished;
            NoAnswer { error, is_unsent, is_untouched }
        })?;
        self.head.complete();
        Ok(response)
    }

    /// Whether the connection can take another request: the last answer has ended, and neither side is closing.
    pub(super) fn is_idle(&mut self) -> bool {
        // Nobody waits for it: what it has to say is heard at the next look.
        self.connection.poll_finished(&mut unwoken()).is_pending() && self.sender.is_ready()
    }

    /// The next piece of the answer's body; `None` at its proper end. An error without a cause:
    /// the connection is done and the body is not.
    pub(super) fn poll_frame(
        &mut self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Option<hyper::Error>>>> {
        // First what is there: the connection does not read on before that is taken.
        if let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(&mut unwoken()) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Some)));
        }
        let finished = self.connection.poll_finished(cx).is_ready();
        match Pin::new(incoming).poll_frame(&mut unwoken()) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Some))),
            Poll::Pending if finished => Poll::Ready(Some(Err(None))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Takes the connection back after a CONNECT that was granted.
    pub(super) async fn into_tunnel(mut self) -> Option<BoxIo> {
        poll_fn(|cx| self.connection.poll_finished(cx)).await;
        let parts = self.connection.io.into_parts();
        // In TLS the client speaks first; bytes that are here already are no part of it.
        parts.read_buf.is_empty().then(|| parts.io.into_inner())
    }
}

impl Connection {
    /// Lets hyper read and write. Its errors reach the handles, which know what they mean.
    fn poll_finished(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.finished {
            _ = ready!(self.io.poll_without_shutdown(cx));
            self.finished = true;
        }
        Poll::Ready(())
    }
}

/// For handles that nothing but the connection beside them can make ready: with the task's own
/// waker, each piece of a body would wake the task that is just taking it.
fn unwoken() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
