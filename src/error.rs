//! What can go wrong, as one enum, cheap to clone because one refusal may be reported to many listeners.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use hyper::header::HeaderMap;
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
    Protocol(ProtocolError),
    /// An event source has reached a limit of [tries](crate::EventSourceBuilder::max_tries) or of
    /// [time](crate::EventSourceBuilder::retry_for). [`status`](Self::status), [`refusal`](Self::refusal) and
    /// [`cut`](Self::cut) are those of the last failure.
    GaveUp {
        /// How many connections in a row have failed.
        tries: u32,
        /// The time from the first of them to the last failure.
        after: Duration,
        /// The last failure.
        why: Arc<Error>,
    },
    /// The client was closed.
    Closed,
    /// The client was created in the parent process, before a `fork()`. See [`blocking`](crate::blocking#fork).
    Forked,
}

impl Error {
    /// The HTTP status of [`refusal`](Self::refusal).
    ///
    /// ```
    /// assert_eq!(tidings::Error::Closed.status(), None);
    /// ```
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(Refusal::status)
    }

    /// The server's answer, if it refused the request. Of an [`EventSource`](crate::EventSource) also an answer with status
    /// 200 that is not an event stream, such as an error in JSON.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Protocol(error) => error.answer.as_ref(),
            Self::GaveUp { why, .. } => why.refusal(),
            _ => None,
        }
    }

    /// How much of the answer had arrived, if an [`EventSource`](crate::EventSource) has ended because its stream broke.
    pub fn cut(&self) -> Option<&Cut> {
        match self {
            Self::Network(error) => error.0.downcast_ref(),
            Self::GaveUp { why, .. } => why.cut(),
            _ => None,
        }
    }

    pub(crate) fn protocol(text: impl Into<ProtocolError>) -> Self {
        Self::Protocol(text.into())
    }

    /// What answered, with all that it said.
    pub(crate) fn unexpected_answer(text: String, answer: Refusal) -> Self {
        Self::Protocol(ProtocolError { text, answer: Some(answer) })
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
            | HttpError::TooManyRedirects { .. }) => Self::protocol(error.to_string()),
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
            Self::Protocol(error) => error.fmt(f),
            Self::GaveUp { tries, after, why } => {
                let tries = if *tries == 1 { "1 try".to_owned() } else { format!("{tries} tries") };
                write!(f, "gave up after {tries} in {:.1} s: {why}", after.as_secs_f64())
            }
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
            Self::GaveUp { .. } => "GaveUp",
            Self::Closed => "Closed",
            Self::Forked => "Forked",
        };
        write!(f, "{name}({self})")
    }
}

/// The text says all there is, down to the first cause: a chain of sources would say it again.
impl std::error::Error for Error {}

/// What is wrong with an answer. Its text is for people.
#[derive(Clone)]
pub struct ProtocolError {
    text: String,
    answer: Option<Refusal>,
}

impl From<String> for ProtocolError {
    fn from(text: String) -> Self {
        Self { text, answer: None }
    }
}

impl From<&str> for ProtocolError {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// A server's answer: one with a status other than success, or, from an [`EventSource`](crate::EventSource), one that is
/// not an event stream.
#[derive(Clone)]
pub struct Refusal(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    status: u16,
    headers: HeaderMap,
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
        let headers = HeaderMap::new();
        Self(Arc::new(Inner {
            status,
            headers,
            message,
            body,
            retry_after,
            request: None,
            coding: None,
            hint: None,
        }))
    }

    /// Adds what was asked, the coding of the body, and the headers.
    pub(crate) fn of(mut self, request: String, coding: Option<String>, headers: HeaderMap) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        (inner.request, inner.coding, inner.headers) = (Some(request), coding, headers);
        self
    }

    /// Looks for the message also where servers other than PocketBase, and gateways, put it. Not done for all: the engine
    /// reads meaning into whether there is one.
    pub(crate) fn of_any_server(mut self) -> Self {
        let message = self.json().as_ref().and_then(any_message).map(str::to_owned);
        Arc::make_mut(&mut self.0).message = message.unwrap_or_default();
        self
    }

    /// Says beside the server's words what its status may mean, and what to do.
    pub(crate) fn with_hint(mut self, hint: &'static str) -> Self {
        Arc::make_mut(&mut self.0).hint = Some(hint);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// The `message` of the server's JSON body, or the `error` in it, or the `message` of that; else an empty string. For an
    /// [`EventSource`](crate::EventSource) also the other usual forms, such as `{"detail": "…"}`. It is as the server sent
    /// it: in `Display` and `Debug` it is cut, and control characters are escaped.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// A header of the answer, if it is there and is text. Names are not case-sensitive.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers.get(name)?.to_str().ok()
    }

    /// The headers of the answer that are text, with their names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        text_headers(&self.0.headers)
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

/// How much of an answer an [`EventSource`](crate::EventSource) has received before the stream broke: see [`Error::cut`].
#[derive(Clone, Debug)]
pub struct Cut {
    messages: u64,
    why: Error,
}

impl Cut {
    pub(crate) fn new(messages: u64, why: Error) -> Self {
        Self { messages, why }
    }

    /// The number of whole messages that this connection has delivered.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// What has broken the stream: [`Error::Network`], or [`Error::Timeout`] if nothing arrived for too long.
    pub fn why(&self) -> &Error {
        &self.why
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.messages == 1 { "" } else { "s" };
        write!(f, "the stream was cut after {} message{plural}: {}", self.messages, self.why)
    }
}

impl std::error::Error for Cut {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.why {
            Error::Network(error) => Some(&*error.0),
            _ => None,
        }
    }
}

/// Headers that are text.
pub(crate) fn text_headers(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
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
    Error::protocol(format!("{what}: {shown}"))
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

/// The message in the JSON of any server: `{"error": {"message": …}}` as of OpenAI and Anthropic, `{"error": "…"}`,
/// `{"detail": "…"}` or `{"detail": [{"msg": "…"}]}` as of FastAPI, `{"title": …}` as of RFC 9457.
fn any_message(json: &Value) -> Option<&str> {
    const NAMES: [&str; 7] = ["message", "error_description", "error", "detail", "errors", "msg", "title"];

    match json {
        Value::String(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
        Value::Array(list) => list.iter().find_map(any_message),
        Value::Object(fields) => NAMES.iter().find_map(|name| any_message(fields.get(*name)?)),
        _ => None,
    }
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
        Refusal::new(418, body.into(), None).of("GET http://h/p".into(), None, HeaderMap::new())
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
        let packed = Refusal::new(502, vec![0x1f, 0x8b], None).of(
            "GET http://h/p".into(),
            Some("gzip".into()),
            HeaderMap::new(),
        );
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

    #[test]
    fn the_message_of_any_server_is_found() {
        for (body, message) in [
            (
                r#"{"error": {"message": "Rate limit reached", "type": "requests", "code": null}}"#,
                "Rate limit reached",
            ),
            (
                r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#,
                "Overloaded",
            ),
            (r#"{"error": "model not found"}"#, "model not found"),
            (r#"{"error": "invalid_grant", "error_description": "It has expired"}"#, "It has expired"),
            (r#"{"detail": "Not authenticated"}"#, "Not authenticated"),
            (r#"{"detail": [{"loc": ["body"], "msg": "field required"}]}"#, "field required"),
            (
                r#"{"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "No session"}}"#,
                "No session",
            ),
            (r#"{"title": "Forbidden", "status": 403}"#, "Forbidden"),
            (r#"{"message": "", "error": "second"}"#, "second"),
            (r#"{"status": 500}"#, ""),
            ("<html>", ""),
            (&"[".repeat(100_000), ""),
        ] {
            let refusal = Refusal::new(500, body.into(), None).of_any_server();
            assert_eq!(refusal.message(), message, "{:.80}", body);
        }
    }
}
