//! What differs from server to server. A backend is one file here, behind [`Dialect`].

pub(crate) mod pocketbase;

use std::{fmt, net::SocketAddr, time::Duration};

use crate::{Error, Refusal, sse::Message};

/// How topics become streams and messages become events.
///
/// A dialect is plain knowledge: it holds no state and decides nothing about time.
pub(crate) trait Dialect: fmt::Debug + Send + Sync {
    /// The longest key the server takes, in bytes.
    fn max_key(&self) -> usize;

    /// How many topics and how many bytes of keys one stream carries; more open another.
    fn capacity(&self) -> (usize, usize);

    /// Whether the topic exists only on this side and is not submitted.
    fn is_local(&self, key: &str) -> bool;

    /// The silence after which a stream is taken for dead.
    fn silence_limit(&self) -> Duration;

    /// The request that opens a stream.
    fn open(&self) -> Request;

    /// The client id, if the message is the handshake.
    fn handshake(&self, message: &Message<'_>) -> Option<Box<str>>;

    /// The topic under which the handshake is told.
    fn handshake_topic(&self) -> &'static str;

    /// The request that makes `keys` the set of topics of the stream.
    fn submit(&self, client_id: &str, keys: &[&str]) -> Request;

    /// What an answer to the opening request means.
    fn judge_open(&self, refusal: &Refusal) -> OpenVerdict;

    /// What an answer other than success to a submit means.
    fn judge_submit(&self, refusal: &Refusal) -> SubmitVerdict;
}

/// A request as the engine wants it; the driver adds base URL, token and headers of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: Option<Vec<u8>>,
    /// Whether the token goes with it.
    pub(crate) authorized: bool,
    /// Where the stream was reached: the server compares the addresses of both requests.
    pub(crate) pin: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenVerdict {
    /// Try again later.
    Later,
    /// Callers that wait are told, those that were live before try again.
    Refused,
    /// It will not get better by trying.
    Final,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SubmitVerdict {
    /// Try again later on the same stream.
    Later,
    /// The stream is of no use any more.
    NewStream,
    /// The topics at these places of the submitted list are refused, the others may be fine.
    RefusedTopics(Vec<usize>),
    /// One or more of the topics are refused, and which is not said.
    Refused,
}

/// Answers that every HTTP server gives when it is busy or restarting.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// An answer of the network to a request that did not succeed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The server answered, with another status than success.
    Refused(Refusal),
    /// It did not, or not in the expected protocol.
    Lost(Error),
}

impl Failure {
    pub(crate) fn error(&self) -> Error {
        match self {
            Self::Refused(refusal) => Error::Refused(refusal.clone()),
            Self::Lost(error) => error.clone(),
        }
    }
}
