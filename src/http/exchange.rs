//! One request and its answer over one connection.
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

use super::io::{Head, HyperIo};
use crate::rt::BoxIo;

/// The longest head of an answer, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// The most headers of an answer: hyper takes 100, and gateways add to what a server sends. The memory is taken while the
/// head arrives, 32 bytes for each.
const MAX_HEADERS: usize = 1000;

/// The connection under an answer. Dropping it closes the socket.
pub(super) struct Exchange {
    connection: Connection,
    /// Kept while the answer arrives: without it hyper would take the connection for done.
    _sender: http1::SendRequest<Full<Bytes>>,
}

struct Connection {
    io: http1::Connection<HyperIo, Full<Bytes>>,
    /// Once hyper has finished with it, it must not be polled again.
    finished: bool,
}

impl Exchange {
    /// Sends `request` and waits for the head of the answer. `Ok(None)`: the connection ended
    /// without either an answer or an error.
    pub(super) async fn start(
        io: BoxIo,
        max_buffer: usize,
        mut request: hyper::Request<Full<Bytes>>,
        head: &Arc<Head>,
    ) -> hyper::Result<Option<(hyper::Response<Incoming>, Self)>> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(max_buffer.max(8 * 1024)).max_header_size(MAX_HEAD).max_headers(MAX_HEADERS);
        let announced = Arc::clone(head);
        hyper::ext::on_informational(&mut request, move |_| announced.announce());
        let (mut sender, io) = builder.handshake(HyperIo::new(io, Arc::clone(head))).await?;
        let mut connection = Connection { io, finished: false };
        let mut answer = pin!(sender.send_request(request));

        let response = poll_fn(|cx| {
            let finished = connection.poll_finished(cx).is_ready();
            match answer.as_mut().poll(&mut unwoken()) {
                Poll::Ready(response) => Poll::Ready(response.map(Some)),
                Poll::Pending if finished => Poll::Ready(Ok(None)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        head.complete();
        Ok(response.map(|response| (response, Self { connection, _sender: sender })))
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
