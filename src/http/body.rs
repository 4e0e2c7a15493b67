//! The body of an answer, as it arrives or as a whole.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use futures::future::select;
use hyper::body::{Body as _, Bytes, Incoming};

use super::error::HttpError;
use super::exchange::Exchange;
use super::idle::Place;

/// The body of an answer. Its connection lives in it: it is read by polling the body and by nothing
/// else. When the body has ended, the connection goes where it can be used again, or is closed, as it is when the body
/// is dropped before.
pub(crate) struct Body {
    place: String,
    state: State,
    /// Chunks since others had their turn.
    in_a_row: usize,
}

/// Chunks that one body may bring before others get their turn: a server can send them faster than they are read, and
/// then there is always one more.
const TURN: usize = 64;

enum State {
    Open {
        incoming: Incoming,
        exchange: Box<Exchange>,
        /// Where the connection waits afterwards.
        place: Option<Box<Place>>,
    },
    Ended,
    Failed(HttpError),
}

impl Body {
    pub(super) fn new(
        place: String,
        incoming: Incoming,
        exchange: Box<Exchange>,
        afterwards: Option<Box<Place>>,
    ) -> Self {
        let is_over = incoming.is_end_stream();
        let mut body =
            Self { place, state: State::Open { incoming, exchange, place: afterwards }, in_a_row: 0 };
        if is_over {
            body.end();
        }
        body
    }

    fn end(&mut self) {
        if let State::Open { exchange, place: Some(place), .. } = mem::replace(&mut self.state, State::Ended)
        {
            place.keep(exchange);
        }
    }

    /// Whether it is known that nothing will come.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The next bytes, as they arrive; `None` once the body has ended as announced.
    ///
    /// An answer without a length ends when the server closes the connection, and its loss cannot
    /// be told from its end; chunked ones and those with a length can be relied on.
    ///
    /// # Errors
    ///
    /// `UnexpectedEnd`, `Reset`, `Protocol` or `Tls`; the same again at each later call.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        self.in_a_row += 1;
        if self.in_a_row.is_multiple_of(TURN) {
            yield_now().await;
        }
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// All that has arrived, `most` chunks at most, onto the end of `chunks`; waits for the first. `false` once the body
    /// has ended as announced.
    ///
    /// # Errors
    ///
    /// As [`chunk`](Self::chunk).
    pub(crate) async fn chunks(&mut self, chunks: &mut Vec<Bytes>, most: usize) -> Result<bool, HttpError> {
        let mut arrived = 0;
        poll_fn(|cx| {
            while arrived < most {
                match self.poll_chunk(cx) {
                    Poll::Ready(Ok(Some(chunk))) => chunks.push(chunk),
                    // Whatever it is, it is told again when asked for again.
                    _ if arrived > 0 => break,
                    Poll::Ready(end) => return Poll::Ready(end.map(|_| false)),
                    Poll::Pending => return Poll::Pending,
                }
                arrived += 1;
            }
            Poll::Ready(Ok(true))
        })
        .await
    }

    /// [`chunk`](Self::chunk), for those who poll.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, HttpError>> {
        loop {
            let (incoming, exchange) = match &mut self.state {
                State::Open { incoming, exchange, .. } => (incoming, exchange),
                State::Ended => return Poll::Ready(Ok(None)),
                State::Failed(error) => return Poll::Ready(Err(error.clone())),
            };
            match ready!(exchange.poll_frame(incoming, cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Poll::Ready(Ok(Some(bytes))),
                    // Trailers tell nothing that is needed here.
                    _ => {}
                },
                Some(Err(Some(error))) => {
                    self.state = State::Failed(HttpError::from_hyper(&self.place, error));
                }
                Some(Err(None)) => {
                    self.state = State::Failed(HttpError::UnexpectedEnd { place: self.place.clone() });
                }
                None => self.end(),
            }
        }
    }

    /// The beginning of the body, at most `limit` bytes, as far as it comes before `alarm`.
    pub(crate) async fn beginning(mut self, limit: usize, alarm: impl Future<Output = ()>) -> Vec<u8> {
        let mut read = Vec::new();
        {
            let reading = async {
                while read.len() < limit
                    && let Ok(Some(bytes)) = self.chunk().await
                {
                    read.extend_from_slice(&bytes[..bytes.len().min(limit - read.len())]);
                }
            };
            select(pin!(reading), pin!(alarm)).await;
        }
        read
    }

    /// The whole body, if it has no more than `limit` bytes.
    ///
    /// # Errors
    ///
    /// `BodyTooLarge`, before anything is read if the length was announced; else as
    /// [`chunk`](Self::chunk).
    pub(crate) async fn collect(mut self, limit: usize) -> Result<Bytes, HttpError> {
        let too_large = HttpError::BodyTooLarge { place: self.place.clone(), limit };
        if let State::Open { incoming, .. } = &self.state
            && incoming.size_hint().lower() > limit as u64
        {
            return Err(too_large);
        }

        let mut first = Bytes::new();
        let mut whole = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            if first.len().max(whole.len()) + bytes.len() > limit {
                return Err(too_large);
            }
            // Most short answers arrive in one piece, which needs no copy.
            if first.is_empty() {
                first = bytes;
            } else {
                if whole.is_empty() {
                    whole.extend_from_slice(&first);
                }
                whole.extend_from_slice(&bytes);
            }
        }
        Ok(if whole.is_empty() { first } else { whole.into() })
    }
}

/// Lets the executor's other tasks have their turn.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Open { .. } => "open",
            State::Ended => "ended",
            State::Failed(_) => "failed",
        };
        f.debug_struct("Body").field("state", &state).finish_non_exhaustive()
    }
}
