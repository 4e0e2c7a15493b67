//! What can go wrong, as one enum, cheap to clone because one refusal may be told to many listeners.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use crate::http::HttpError;

/// Why a call failed or a subscription ended.
///
/// Cheap to clone. No variant, and no text made from one, holds a token, a password or the query of a URL.
#[derive(Clone)]
#[non_exhaustive]
pub enum Error {
    /// The URL of the server cannot be used; found before the network.
    InvalidUrl {
        /// What was given, without user, password and query.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The topic cannot be subscribed to; found before the network.
    InvalidTopic {
        /// The topic as given, cut to a readable length.
        topic: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option, header, token or argument cannot be used; found before the network.
    InvalidArgument {
        /// Which one.
        argument: String,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The backend cannot do this; found before the network.
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why, and what to do instead.
        reason: String,
    },
    /// The server answered, and its answer was no.
    Refused(Refusal),
    /// The host's token provider failed, with this text.
    TokenProvider(String),
    /// The server could not be reached, or the connection broke.
    Network(NetworkError),
    /// Something took longer than it may.
    Timeout {
        /// What was waited for.
        what: Cow<'static, str>,
        /// For how long.
        after: Duration,
    },
    /// What answered does not speak the expected protocol: not HTTP, not an event stream, not JSON.
    Protocol(String),
    /// The client was closed.
    Closed,
    /// The client was made by the process that this one was forked from. See [`blocking`](crate::blocking).
    Forked,
}

impl Error {
    /// The HTTP status the server refused with, if it answered at all.
    ///
    /// ```
    /// assert_eq!(tidings::Error::Closed.status(), None);
    /// ```
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.status()),
            _ => None,
        }
    }

    /// The server's answer, if it refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    pub(crate) fn unsupported(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), reason: reason.into() }
    }

    /// The operating system could not start a thread.
    pub(crate) fn no_thread(error: std::io::Error) -> Self {
        let text = format!("a thread cannot be started: {error}");
        Self::Network(NetworkError::new(std::io::Error::new(error.kind(), text)))
    }

    pub(crate) fn argument(argument: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidArgument { argument: argument.into(), reason: reason.into() }
    }
}

impl From<HttpError> for Error {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::InvalidUrl { place, why } => Self::InvalidUrl { url: place, reason: why },
            HttpError::Config { setting, why } => Self::argument(setting, why),
            HttpError::Timeout { what, place, after } => {
                Self::Timeout { what: format!("{what} ({place})").into(), after }
            }
            error @ HttpError::Protocol { .. } => Self::Protocol(error.to_string()),
            error => Self::Network(NetworkError::new(error)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUrl { url, reason } => write!(f, "invalid URL {url:?}: {reason}"),
            Self::InvalidTopic { topic, reason } => write!(f, "invalid topic {topic:?}: {reason}"),
            Self::InvalidArgument { argument, reason } => write!(f, "invalid {argument}: {reason}"),
            Self::Unsupported { what, reason } => write!(f, "{what} is not supported here: {reason}"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::TokenProvider(text) => write!(f, "the token provider failed: {text}"),
            Self::Network(error) => error.fmt(f),
            Self::Timeout { what, after } => write!(f, "{what} took longer than {after:?}"),
            Self::Protocol(what) => f.write_str(what),
            Self::Closed => f.write_str("the client is closed"),
            Self::Forked => f.write_str(
                "the client belongs to the process that this one was forked from; make a new one here",
            ),
        }
    }
}

/// The name of the variant and the text: what a `main` that returns this error prints is to be read by people.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::InvalidUrl { .. } => "InvalidUrl",
            Self::InvalidTopic { .. } => "InvalidTopic",
            Self::InvalidArgument { .. } => "InvalidArgument",
            Self::Unsupported { .. } => "Unsupported",
            Self::Refused(_) => "Refused",
            Self::TokenProvider(_) => "TokenProvider",
            Self::Network(_) => "Network",
            Self::Timeout { .. } => "Timeout",
            Self::Protocol(_) => "Protocol",
            Self::Closed => "Closed",
            Self::Forked => "Forked",
        };
        write!(f, "{name}({self})")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Network(error) => error.source(),
            _ => None,
        }
    }
}

/// A server's answer with a status other than success.
#[derive(Clone)]
pub struct Refusal(Arc<Inner>);

struct Inner {
    status: u16,
    message: String,
    body: Vec<u8>,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(status: u16, body: Vec<u8>, retry_after: Option<Duration>) -> Self {
        let message = message_in(&body).unwrap_or_default();
        Self(Arc::new(Inner { status, message, body, retry_after }))
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// The `message` of the server's JSON body, or an empty string.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The body as received, at most 64 KiB of it.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The body as JSON, if it is JSON.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.0.body).ok()
    }

    /// How long the server asked to wait before the next try (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.0.status)?;
        if !self.0.message.is_empty() {
            write!(f, ": {}", self.0.message)?;
        }
        // A validation error names its fields in `data`, as PocketBase does; without them
        // "Failed to create record." leaves the reader guessing.
        if let Some(data) = self.json().and_then(|body| body.get("data").cloned())
            && data.as_object().is_some_and(|fields| !fields.is_empty())
        {
            write!(f, " {data}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("status", &self.0.status)
            .field("message", &self.0.message)
            .field("body_len", &self.0.body.len())
            .field("retry_after", &self.0.retry_after)
            .finish()
    }
}

/// A failure of the network or of a connection.
#[derive(Clone)]
pub struct NetworkError(Arc<dyn std::error::Error + Send + Sync>);

impl NetworkError {
    pub(crate) fn new(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// JSON that is none, or of another shape. serde quotes the value that it did not expect, which may be a token: only
/// what it did expect is told, and where.
pub(crate) fn unexpected(what: &str, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let is_harmless = !error.is_data() || text.starts_with("missing field");
    let shown = match text.rfind("expected ") {
        _ if is_harmless => text,
        Some(at) => text[at..].to_owned(),
        None => format!("an unexpected value at line {} column {}", error.line(), error.column()),
    };
    Error::Protocol(format!("{what}: {shown}"))
}

fn message_in(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Body {
        message: String,
    }
    serde_json::from_slice::<Body>(body).ok().map(|body| body.message)
}
