//! What differs from server to server. A backend is one file here, behind [`Dialect`].

pub(crate) mod pocketbase;
pub(crate) mod rustbaas;

use std::{borrow::Cow, fmt, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::check::Check;
use crate::{Error, Refusal, event::Shape, sse::Message, topic::Topic};

/// How topics become streams and messages become events.
///
/// A dialect is plain knowledge: it holds no state and decides nothing about time.
pub(crate) trait Dialect: fmt::Debug + Send + Sync {
    /// The key under which a topic stands on the wire or, without a wire, in the registry; refuses what the server
    /// cannot do.
    fn key(&self, topic: &Topic) -> Result<Arc<str>, Error>;

    /// How topics share streams.
    fn streams(&self) -> Streams;

    /// The stream that carries a topic, where topics have [streams of their own](Streams::Direct).
    fn stream_of<'a>(&self, key: &'a str) -> Cow<'a, str>;

    /// Whether the topic exists only on this side and is not submitted.
    fn is_local(&self, key: &str) -> bool;

    /// The silence after which a stream is taken for dead.
    fn silence_limit(&self) -> Duration;

    /// How long the server lets a stream live, where it ends all of them in the end.
    fn lifetimes(&self) -> Option<Lifetimes> {
        None
    }

    /// The request that opens a stream, by its name where it has one.
    fn open_request(&self, stream: &str) -> Request;

    /// Names the keys that a message is for, and how its payload is to be read.
    fn route(&self, stream: &str, message: &Message<'_>, to: &mut dyn FnMut(&str, Shape));

    /// What an answer to the opening request means.
    fn judge_open(&self, refusal: &Refusal) -> OpenVerdict {
        match refusal.status() {
            401 | 403 | 404 => OpenVerdict::Final,
            // The event source's own way of saying "do not come back".
            204 => OpenVerdict::Final,
            status if is_transient(status) => OpenVerdict::Later,
            _ => OpenVerdict::Refused,
        }
    }

    /// What a refusal may mean that its server does not say, and what to do.
    fn hint(&self, _refusal: &Refusal) -> Option<&'static str> {
        None
    }

    /// The refusal with its hint.
    fn explain(&self, refusal: Refusal) -> Refusal {
        match self.hint(&refusal) {
            Some(hint) => refusal.with_hint(hint),
            None => refusal,
        }
    }

    /// The refusal of a list, with what the server does not say: of a field that is not there, PocketBase tells only that
    /// something went wrong.
    fn explain_list(&self, refusal: Refusal) -> Refusal {
        let says_nothing = || {
            let data = refusal.json().map(|body| body["data"].clone()).unwrap_or_default();
            data.as_object().is_some_and(|fields| fields.is_empty())
        };
        match refusal.status() == 400 && self.denies(&refusal) && says_nothing() {
            true => refusal.with_hint(
                "the filter or the sort may name a field that the collection does not have, or that only superusers may name",
            ),
            false => self.explain(refusal),
        }
    }

    /// Where to log in to a collection of users, or why that is not known.
    fn log_in_path(&self, collection: &str) -> Result<String, Error>;

    /// Where `auth-with-password` and `auth-refresh` are, or why that is not known.
    fn auth_path(&self, collection: &str, what: &str) -> Result<String, Error> {
        Ok(format!("{}/{what}", self.log_in_path(collection)?))
    }

    /// Where the records of a collection are, or why that is not known.
    fn records_path(&self, collection: &str) -> Result<String, Error> {
        Ok(format!("{}/records", self.log_in_path(collection)?))
    }

    /// The body of a login with a password.
    fn credentials(&self, identity: &str, password: &str) -> Value {
        json!({"identity": identity, "password": password})
    }

    /// The request that tells whether a topic of a collection can deliver anything, where topics are acknowledged that
    /// cannot. `None` also where the answer would prove nothing.
    fn check(&self, _topic: &Topic) -> Option<Check> {
        None
    }

    /// Whether the server reads filters in the language of PocketBase.
    fn reads_pocketbase_filters(&self) -> bool {
        true
    }

    /// Whether the answer to a check says that nothing can come: a refusal that does not pass, in the server's own words.
    /// What stands before the server, such as a proxy that serves one path alone, has others.
    fn denies(&self, refusal: &Refusal) -> bool {
        let status = refusal.status();
        let is_own =
            || refusal.json().is_some_and(|body| body["message"].is_string() && body["data"].is_object());
        // "Missing collection context."; before 0.23, whose bodies have a `code`, only that something was not found, while
        // an unknown path is "Not Found." there. Any other 404 says that the server has no lists.
        let is_about_it = || {
            let body = refusal.json().unwrap_or_default();
            let is_old = body["code"].is_number() && refusal.message().contains("resource wasn't found");
            status != 404 || is_old || refusal.message().to_ascii_lowercase().contains("collection")
        };
        (400..500).contains(&status) && !is_transient(status) && is_own() && is_about_it()
    }

    /// How a stream gets its topics, with [`Streams::Multiplexed`].
    fn submits(&self) -> Option<&dyn Submits> {
        None
    }
}

/// How topics share streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    /// A stream carries any topics, up to so many and so many bytes of their keys, and gets them by a submit,
    /// which also binds it to a user.
    Multiplexed { topics: usize, bytes: usize },
    /// The request that opens a stream says what it carries, and whose it is.
    Direct,
}

/// When a server ends a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    /// After so long without a message.
    pub(crate) idle: Duration,
    /// However busy it is.
    pub(crate) life: Duration,
}

/// Handshake and submits of a multiplexed stream.
pub(crate) trait Submits {
    /// The client id, if the message is the handshake.
    fn handshake(&self, message: &Message<'_>) -> Option<Box<str>>;

    /// The topic under which the handshake is delivered.
    fn handshake_topic(&self) -> &'static str;

    /// The request that makes `keys` the set of topics of the stream.
    fn submit(&self, client_id: &str, keys: &[&str]) -> Request;

    /// Whether an answer to a submit without a token says that the stream is a user's.
    fn is_users(&self, refusal: &Refusal) -> bool;

    /// What an answer other than success to a submit means.
    fn judge(&self, refusal: &Refusal) -> SubmitVerdict;
}

/// A request as the engine wants it; the driver adds base URL, token and headers of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) token: TokenPlace,
    /// Where the stream was reached: the server compares the addresses of both requests.
    pub(crate) pin: Option<SocketAddr>,
}

/// Where the token stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenPlace {
    Nowhere,
    Header,
    /// A parameter of this name. It ends in access logs, so only a host that asks for it gets it.
    Query(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenVerdict {
    /// Try again later.
    Later,
    /// Waiting callers fail with it, those that were live before try again.
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
