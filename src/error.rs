//! What can go wrong, as one enum, cheap to clone because one refusal may be reported to many listeners.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{http::HttpError, shown::shown};

/// Why a call failed or a subscription ended.
///
/// Cheap to clone. No variant, and no text made from one, holds a token, a password or the query of a URL.
#[derive(Clone)]
#[non_exhaustive]
pub enum Error {
    /// The URL of the server cannot be used. Detected before any network access.
    InvalidUrl {
        /// The URL as given, without user, password and query.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The topic cannot be subscribed to. Detected before any network access.
    InvalidTopic {
        /// The topic as given, truncated to a readable length.
        topic: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option, header, token or argument cannot be used. Detected before any network access.
    InvalidArgument {
        /// Its name.
        argument: String,
        /// What is wrong with it and how to correct it.
        reason: String,
    },
    /// The backend does not support this. Detected before any network access.
    Unsupported {
        /// What was requested.
        what: String,
        /// Why it is not supported, and what to use instead.
        reason: String,
    },
    /// The server answered with a status other than success. Repeating the same call will usually not help.
    Refused(Refusal),
    /// Your token provider failed, with this text.
    TokenProvider(String),
    /// The server could not be reached, or the connection broke, or the system has no thread or descriptor left.
    Network(NetworkError),
    /// A time limit expired.
    Timeout {
        /// What was waited for.
        what: Cow<'static, str>,
        /// The limit.
        after: Duration,
    },
    /// The answer does not follow the expected protocol: it is not HTTP, not an event stream, or not JSON.
    Protocol(String),
    /// The client was closed.
    Closed,
    /// The client was created in the parent process, before a `fork()`. See [`blocking`](crate::blocking#fork).
    Forked,
}

impl Error {
    /// The HTTP status, if the server answered.
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

    /// The server's answer, if it refused the request.
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
        Self::no_resource("thread", error)
    }

    /// The operating system has no more of something, such as descriptors.
    pub(crate) fn no_resource(what: &'static str, cause: std::io::Error) -> Self {
        Self::Network(NetworkError::new(NoResource { what, cause }))
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
            error @ (HttpError::Protocol { .. }
            | HttpError::BadRedirect { .. }
            | HttpError::Encoded { .. }
            | HttpError::TooManyRedirects { .. }) => Self::Protocol(error.to_string()),
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
                "the client belongs to the parent of this forked process; create a new client here",
            ),
        }
    }
}

/// The name of the variant and the text, so that the output of a `main` that returns this error is readable.
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

/// The text says all there is, down to the first cause: a chain of sources would say it again.
impl std::error::Error for Error {}

/// A server's answer with a status other than success.
#[derive(Clone)]
pub struct Refusal(Arc<Inner>);

struct Inner {
    status: u16,
    hint: Option<&'static str>,
    message: String,
    body: Vec<u8>,
    retry_after: Option<Duration>,
    /// What was asked: method and URL without its query.
    request: Option<String>,
    /// The coding of the body, if it has one that was not asked for.
    coding: Option<String>,
}

/// What is shown of a server's words, in characters.
const SHOWN: usize = 500;

impl Refusal {
    pub(crate) fn new(status: u16, body: Vec<u8>, retry_after: Option<Duration>) -> Self {
        let message = message_in(&body).unwrap_or_default();
        Self(Arc::new(Inner { status, message, body, retry_after, request: None, coding: None, hint: None }))
    }

    /// Adds what was asked, and the coding of the body.
    pub(crate) fn of(mut self, request: String, coding: Option<String>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            (inner.request, inner.coding) = (Some(request), coding);
        }
        self
    }

    /// Says beside the server's words what its status may mean, and what to do.
    pub(crate) fn with_hint(mut self, hint: &'static str) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.hint = Some(hint);
        }
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// The `message` of the server's JSON body, or the `error` in it, or the `message` of that; else an empty string. It is
    /// as the server sent it: in `Display` and `Debug` it is cut, and control characters are escaped.
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

    /// How long to wait before the next attempt, as the server requested with `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(request) = &self.0.request {
            write!(f, "{request}: ")?;
        }
        write!(f, "the server answered {}", self.0.status)?;
        if !self.0.message.is_empty() {
            write!(f, ": {}", shown(&self.0.message, SHOWN))?;
        }
        if let Some(coding) = &self.0.coding {
            write!(f, ", in a body encoded as {}, which was not asked for", shown(coding, 20))?;
        }
        // A validation error of PocketBase names the fields in `data`; "Failed to create record." alone does not say
        // what is wrong.
        if let Some(data) = self.json().and_then(|body| body.get("data").cloned())
            && data.as_object().is_some_and(|fields| !fields.is_empty())
        {
            write!(f, " {}", shown(&data.to_string(), SHOWN))?;
        }
        match self.0.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("status", &self.0.status)
            .field("message", &shown(&self.0.message, SHOWN))
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

    /// What the operating system said, if it did: to tell a refused connection from one that timed out.
    ///
    /// ```
    /// # async fn example(client: tidings::Client) {
    /// if let Err(tidings::Error::Network(error)) = client.send("GET", "/api/health", None).await {
    ///     println!("is it running? {:?}", error.kind());
    /// }
    /// # }
    /// ```
    pub fn kind(&self) -> Option<std::io::ErrorKind> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*self.0);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<std::io::Error>() {
                return Some(error.kind());
            }
            cause = error.source();
        }
        None
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

/// Invalid JSON, or JSON of another shape. serde quotes the unexpected value, which may be a token: the error says only
/// what was expected, and where.
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

/// A server's words for people, where it or a gateway before it puts them.
fn message_in(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Body {
        message: Option<Value>,
        error: Option<Value>,
    }
    let Body { message, error } = serde_json::from_slice(body).ok()?;
    let inner = error.as_ref().and_then(|error| error.get("message")).cloned();
    [message, inner, error].into_iter().flatten().find_map(|words| words.as_str().map(str::to_owned))
}

/// The operating system has no more of it.
#[derive(Debug)]
struct NoResource {
    what: &'static str,
    cause: std::io::Error,
}

impl fmt::Display for NoResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the system gave no {}: {}", self.what, self.cause)
    }
}

impl std::error::Error for NoResource {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> Refusal {
        Refusal::new(418, body.into(), None).of("GET http://h/p".into(), None)
    }

    #[test]
    fn a_refusal_says_what_was_asked_and_the_words_of_the_server_once() {
        for (body, text) in [
            (r#"{"message":"No.","data":{}}"#, ": No."),
            (r#"{"error":{"message":"No.","code":7}}"#, ": No."),
            (r#"{"error":"No."}"#, ": No."),
            (r#"{"message":"No.","error":"teapot"}"#, ": No."),
            (r#"{"message":"No.","data":{"a":{"code":"x"}}}"#, r#": No. {"a":{"code":"x"}}"#),
            (r#"{"message":7}"#, ""),
            ("<html>No.", ""),
            ("[]", ""),
        ] {
            assert_eq!(refusal(body).to_string(), format!("GET http://h/p: the server answered 418{text}"));
        }
        let packed =
            Refusal::new(502, vec![0x1f, 0x8b], None).of("GET http://h/p".into(), Some("gzip".into()));
        assert!(packed.to_string().ends_with("502, in a body encoded as gzip, which was not asked for"));
    }

    #[test]
    fn a_servers_words_are_shown_without_what_a_terminal_obeys_and_cut() {
        let words = "a\n2026-01-01 ERROR forged\r\u{1b}[31m\u{9b}2J\u{202e}\u{2028}\u{200b}\t\u{7f}ü€";
        let body = serde_json::json!({"message": words, "data": {"f": {"message": words}}}).to_string();
        let refusal = refusal(&body);
        assert_eq!(refusal.message(), words, "the API gives it");
        let error = Error::Refused(refusal.clone());
        for shown in [refusal.to_string(), format!("{refusal:?}"), error.to_string(), format!("{error:?}")] {
            let odd = |c: char| c.is_control() || "\u{202e}\u{2028}\u{200b}".contains(c);
            assert!(!shown.contains(odd) && shown.contains("ü€"), "{shown:?}");
            assert!(shown.contains("u{1b}"), "{shown}");
        }
        let long = serde_json::json!({"message": "x".repeat(60_000), "data": {"f": "y".repeat(60_000)}});
        let refusal = Refusal::new(400, long.to_string().into(), None);
        assert!(refusal.to_string().len() < 3 * SHOWN && format!("{refusal:?}").len() < 3 * SHOWN);
        assert_eq!(shown("abc", 3), "abc");
        assert_eq!(shown("abcd", 3), "abc…");
    }

    #[test]
    fn an_error_and_its_sources_say_each_thing_once() {
        let cause = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Error::no_resource("descriptor", cause);
        assert!(std::error::Error::source(&error).is_none(), "the text says it already");
        let Error::Network(network) = error else { panic!() };
        assert_eq!(network.kind(), Some(std::io::ErrorKind::ConnectionRefused));
    }
}
