//! What an event source delivers and reports.

use std::{fmt, time::Instant};

use hyper::{StatusCode, header::HeaderMap};
use serde::de::DeserializeOwned;
use url::Url;

use crate::{Error, Reason, client::server_url, engine::dialect::is_transient, error::text_headers, sse};

/// One item of an [`EventSource`](super::EventSource): a message, or a change of the connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SourceEvent {
    /// A stream is open. After the first one, each means that the source has reconnected; whether messages in between
    /// are lost depends on whether the server honours `Last-Event-ID`.
    Open(Opened),
    /// A message.
    Message(SourceMessage),
    /// A comment, without the colon and one space after it, cut at 64 KiB. Only with
    /// [`comments`](super::EventSourceBuilder::comments).
    Comment(String),
    /// A message was larger than [`message_limit`](super::EventSourceBuilder::message_limit) and was dropped. Its id
    /// counts.
    TooLarge {
        /// The limit in bytes; 64 KiB if it was the event type or the id that was too long.
        limit: usize,
    },
    /// There is no stream: it ended, broke, fell silent, or could not be opened. The next try begins at `retry_at`.
    Disconnected {
        /// What happened.
        why: Reason,
        /// When the source tries again.
        retry_at: Instant,
    },
    /// The stream ended within this message, and the source ends with it: [`Closed`](Self::Closed) follows. No blank line
    /// came after it, so by the standard it is dropped, and it may be cut anywhere. Some servers leave out the blank line
    /// after their last message.
    Unfinished(SourceMessage),
    /// The last item: the source will not try again.
    Closed {
        /// What the server answered or what cannot work: [`Error::Refused`] with status 204 if the server asked the
        /// source to stop, [`Error::GaveUp`] at a limit of tries or time, an error with a [`cut`](Error::cut) if a
        /// stream broke that is not requested again. `None` if the host closed the source, or if the stream ended in an
        /// orderly way and is [not requested again](super::EventSourceBuilder::reconnect).
        why: Option<Error>,
    },
}

/// A message, with all that it says in one allocation.
///
/// ```
/// # fn example(message: tidings::SourceMessage) -> Result<(), Box<dyn std::error::Error>> {
/// match message.event() {
///     "price" => println!("{}", message.json::<serde_json::Value>()?["euro"]),
///     _ => println!("{} (id {})", message.data(), message.id()),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SourceMessage {
    /// Data, then id, then event type. The last is empty for `message`, which nearly all are.
    text: String,
    id: usize,
    event: usize,
}

impl SourceMessage {
    pub(super) fn new(message: &sse::Message<'_>) -> Self {
        let event = if message.event() == DEFAULT_EVENT { "" } else { message.event() };
        let (data, id) = (message.data(), message.id());
        let mut text = String::with_capacity(data.len() + id.len() + event.len());
        text.push_str(data);
        text.push_str(id);
        text.push_str(event);
        Self { text, id: data.len(), event: data.len() + id.len() }
    }

    /// The event type; `"message"` unless the server named another.
    pub fn event(&self) -> &str {
        match &self.text[self.event..] {
            "" => DEFAULT_EVENT,
            event => event,
        }
    }

    /// The data; several `data` lines are joined by LF.
    pub fn data(&self) -> &str {
        &self.text[..self.id]
    }

    /// The last event id in force: that of this message, or of the latest before it that had one, or empty.
    pub fn id(&self) -> &str {
        &self.text[self.id..self.event]
    }

    /// The data, without a copy.
    pub fn into_data(mut self) -> String {
        self.text.truncate(self.id);
        self.text
    }

    /// The data as a type of yours; [`serde_json::Value`] takes any JSON.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the data is not JSON or does not fit `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.data())
            .map_err(|error| Error::protocol(format!("the data of the message: {error}")))
    }
}

const DEFAULT_EVENT: &str = "message";

impl fmt::Debug for SourceMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceMessage")
            .field("event", &self.event())
            .field("data", &self.data())
            .field("id", &self.id())
            .finish()
    }
}

/// The head of the answer that opened a stream.
#[derive(Clone)]
pub struct Opened {
    status: StatusCode,
    url: Url,
    headers: HeaderMap,
}

impl Opened {
    pub(super) fn new(status: StatusCode, url: Url, headers: HeaderMap) -> Self {
        Self { status, url, headers }
    }

    /// The HTTP status, which is 200.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The URL of the stream, after redirects. Its query may hold secrets.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// A header of the answer, if there is one and it is text. Names are not case-sensitive.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The headers of the answer that are text, with their names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        text_headers(&self.headers)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query may hold a token, the headers a cookie.
        f.debug_struct("Opened")
            .field("status", &self.status())
            .field("url", &server_url::without_secrets(self.url.as_str()))
            .finish_non_exhaustive()
    }
}

/// Whether to try again after an answer other than an event stream. See
/// [`on_status`](super::EventSourceBuilder::on_status).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Wait, as after a lost connection, and try again.
    Retry,
    /// End with the error.
    Fail,
    /// What the source does without a policy: [`Policy::of`] if it reconnects; if it takes
    /// [one answer](super::EventSourceBuilder::reconnect), `Retry` for 429, 503 and 529 and `Fail` for everything else.
    Default,
}

impl Policy {
    /// What a source that reconnects does by default: `Retry` for 408, 425, 429 and 5xx, which are usually temporary, and
    /// `Fail` for everything else.
    ///
    /// ```
    /// use tidings::Policy;
    ///
    /// assert_eq!(Policy::of(503), Policy::Retry);
    /// assert_eq!(Policy::of(404), Policy::Fail);
    /// ```
    pub fn of(status: u16) -> Self {
        if is_transient(status) { Self::Retry } else { Self::Fail }
    }
}
