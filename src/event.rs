//! What a listener receives: changes, and notices of what it may have missed.

mod head;

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use self::head::Head;
use crate::{Error, error::unexpected, topic::without_options};

/// One thing told to a listener: a change of a record, a custom message, or a notice.
///
/// Cheap to clone: all listeners of a topic share one payload. The payload is parsed when something in it is
/// first asked for, and not before.
#[derive(Clone)]
pub struct Event(Arc<Inner>);

struct Inner {
    topic: Arc<str>,
    content: Content,
}

enum Content {
    /// What the server sent.
    Message {
        data: Box<str>,
        shape: Shape,
        name: Option<Box<str>>,
        head: OnceLock<Head>,
    },
    /// The handshake of a stream.
    Connect {
        data: Box<str>,
    },
    Gap(Gap),
    Lagged(u64),
    Refused(Error),
}

/// How a payload says what has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{"record": {…}, "action": "…"}`.
    Wrapped,
    /// The record alone, its fields under `fields`; the name of the event told the action.
    Bare(Action),
}

/// What an [`Event`] tells.
///
/// `Create`, `Update` and `Delete` are changes of records. `Connect` and `Custom` are other messages of the
/// server. The rest are notices of the client: without them, silence and loss would look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// A record was created.
    Create,
    /// A record was updated, or began to match the filter.
    Update,
    /// A record was deleted.
    Delete,
    /// A stream was (re)established and all topics are acknowledged on it: the topic `PB_CONNECT`.
    Connect,
    /// A message without one of the three record actions, such as one that a server hook sent.
    Custom,
    /// Changes may have been missed, see [`Event::gap`].
    Gap,
    /// This many events were dropped because the listener did not keep up.
    Lagged(u64),
    /// The server refused this subscription after it had been live, see [`Event::error`]. The last event.
    Refused,
}

impl Action {
    /// What a server calls the change of a record.
    fn of_change(name: &str) -> Self {
        match name {
            "create" => Self::Create,
            "update" => Self::Update,
            "delete" => Self::Delete,
            _ => Self::Custom,
        }
    }

    /// The name, as the server spells it where it is the server's.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Connect => "connect",
            Self::Custom => "custom",
            Self::Gap => "gap",
            Self::Lagged(_) => "lagged",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A stretch of time in which changes may have been missed.
///
/// Told when the subscription is live again, so that a list made on receipt closes the hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the stream last brought a whole message. On a quiet topic that may be long before it was lost.
    pub since: Instant,
    /// When the server acknowledged the subscription again. If another stream had taken over by then, and the one that was
    /// replaced turned out to be broken, that may be minutes ago. PocketBase promises no order and stamps `updated` before it
    /// commits, so what is caught up by time should begin a little before `since`.
    pub until: Instant,
    /// What made the hole.
    pub reason: GapReason,
}

impl Gap {
    /// When the gap began by the clock of this machine, for a query by time. Computed when it is asked for, so a clock
    /// that was set since then moves it.
    pub fn since_system_time(&self) -> SystemTime {
        let now = SystemTime::now();
        now.checked_sub(self.since.elapsed()).unwrap_or(now)
    }

    /// How long the gap is.
    pub fn duration(&self) -> Duration {
        self.until.saturating_duration_since(self.since)
    }
}

/// What made a [`Gap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapReason {
    /// The connection was down.
    Disconnected,
    /// The client became somebody else. What only the new one may see was not sent before the server knew.
    IdentityChanged,
    /// A message was larger than the limit and was dropped.
    TooLarge,
}

impl Event {
    /// A message; `name` is that of the event where it is not the topic.
    pub(crate) fn message(topic: Arc<str>, data: &str, shape: Shape, name: Option<&str>) -> Self {
        let name = name.map(Into::into);
        Self::new(topic, Content::Message { data: data.into(), shape, name, head: OnceLock::new() })
    }

    pub(crate) fn connect(topic: Arc<str>, data: &str) -> Self {
        Self::new(topic, Content::Connect { data: data.into() })
    }

    pub(crate) fn from_gap(topic: Arc<str>, gap: Gap) -> Self {
        Self::new(topic, Content::Gap(gap))
    }

    pub(crate) fn lagged(topic: Arc<str>, lost: u64) -> Self {
        Self::new(topic, Content::Lagged(lost))
    }

    pub(crate) fn refused(topic: Arc<str>, error: Error) -> Self {
        Self::new(topic, Content::Refused(error))
    }

    fn new(topic: Arc<str>, content: Content) -> Self {
        Self(Arc::new(Inner { topic, content }))
    }

    /// The topic as it stands on the wire, options included, e.g. `posts/*`.
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    pub(crate) fn shared_topic(&self) -> &Arc<str> {
        &self.0.topic
    }

    /// What this event tells.
    pub fn action(&self) -> Action {
        match &self.0.content {
            Content::Message { shape: Shape::Bare(action), .. } => *action,
            Content::Message { .. } => self.head().map_or(Action::Custom, |head| head.action),
            Content::Connect { .. } => Action::Connect,
            Content::Gap(_) => Action::Gap,
            Content::Lagged(lost) => Action::Lagged(*lost),
            Content::Refused(_) => Action::Refused,
        }
    }

    /// The `id` of the record, unless there is none or `fields` stripped it.
    pub fn record_id(&self) -> Option<&str> {
        self.head()?.record_id.as_deref()
    }

    /// The name of the event as the server sent it. With PocketBase it is the topic; with RustBaaS it is
    /// `record_created` and the like, or the `type` of a custom message. For notices, the topic.
    pub fn name(&self) -> &str {
        match &self.0.content {
            Content::Message { name: Some(name), .. } => name,
            _ => self.topic(),
        }
    }

    /// How many levels of arrays and objects a payload may have to be JSON here: what a PocketBase server accepts and
    /// sends (what Go writes and reads). The same in Rust, C and Python.
    ///
    /// A Rust value of that depth would not fit the stack of a thread that drops it, so [`json`](Self::json) and
    /// [`record`](Self::record) stop at 128 levels; [`json_text`](Self::json_text) has what is deeper.
    pub const MAX_DEPTH: usize = 10_000;

    /// The record, as a type of yours. With RustBaaS, what stands under `fields` stands beside the `id`.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the event carries no record, the record does not fit `T`, or the payload cannot be read:
    /// it is no JSON, has half a surrogate pair in a text, or is nested over 128 levels deep. [`raw`](Self::raw) still
    /// has it.
    pub fn record<T: DeserializeOwned>(&self) -> Result<T, Error> {
        #[derive(serde::Deserialize)]
        struct Payload<T> {
            record: T,
        }
        match &self.0.content {
            Content::Message { shape: Shape::Bare(action), .. } if *action != Action::Custom => {
                serde_json::from_value(self.flat_record()?).map_err(|error| self.unreadable(&error))
            }
            _ => self.parse::<Payload<T>>().map(|payload| payload.record),
        }
    }

    /// The whole payload as JSON: for changes of records `{"action": …, "record": {…}}`, whatever the backend.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the payload cannot be read: server hooks may send anything, half a surrogate pair has no
    /// place in a Rust text, and over 128 levels are too deep. [`raw`](Self::raw) still has it.
    pub fn json(&self) -> Result<Value, Error> {
        match &self.0.content {
            Content::Message { shape: Shape::Bare(action), .. } if *action != Action::Custom => {
                Ok(serde_json::json!({"action": action.as_str(), "record": self.flat_record()?}))
            }
            _ => self.parse(),
        }
    }

    /// The same as text: as the server wrote it, where that is of this shape.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the payload is not JSON, or nested deeper than [`MAX_DEPTH`](Self::MAX_DEPTH).
    pub fn json_text(&self) -> Result<Cow<'_, str>, Error> {
        let text = self.json_source()?;
        if let Cow::Borrowed(text) = text {
            serde_json::from_str::<IgnoredAny>(text).map_err(|error| self.unreadable(&error))?;
            if is_deeper_than(Self::MAX_DEPTH, text) {
                return Err(
                    self.unreadable_because(&format!("it is nested over {} levels deep", Self::MAX_DEPTH))
                );
            }
        }
        Ok(text)
    }

    /// The same without a look at what the server wrote, for a parser that looks for itself: it may be no JSON.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the record must be put into this shape and is no JSON.
    pub fn json_source(&self) -> Result<Cow<'_, str>, Error> {
        match &self.0.content {
            Content::Message { shape: Shape::Bare(action), .. } if *action != Action::Custom => {
                Ok(self.json()?.to_string().into())
            }
            _ => Ok(self.text().into()),
        }
    }

    /// The payload as received, valid UTF-8; empty for notices.
    pub fn raw(&self) -> &[u8] {
        self.text().as_bytes()
    }

    fn text(&self) -> &str {
        match &self.0.content {
            Content::Message { data, .. } | Content::Connect { data } => data,
            _ => "",
        }
    }

    /// What may have been missed, if this is a [`Gap`](Action::Gap).
    pub fn gap(&self) -> Option<Gap> {
        match self.0.content {
            Content::Gap(gap) => Some(gap),
            _ => None,
        }
    }

    /// Why the subscription ended, if this is a [refusal](Action::Refused).
    pub fn error(&self) -> Option<&Error> {
        match &self.0.content {
            Content::Refused(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the client speaks here ([`Gap`](Action::Gap), [`Lagged`](Action::Lagged),
    /// [`Refused`](Action::Refused)), and not the server.
    pub fn is_notice(&self) -> bool {
        !matches!(self.0.content, Content::Message { .. } | Content::Connect { .. })
    }

    #[cfg(test)]
    pub(crate) fn is_parsed(&self) -> bool {
        matches!(&self.0.content, Content::Message { head, .. } if head.get().is_some())
    }

    fn head(&self) -> Option<&Head> {
        match &self.0.content {
            Content::Message { data, shape, head, .. } => {
                Some(head.get_or_init(|| Head::parse(data, *shape)))
            }
            _ => None,
        }
    }

    /// A bare record with its fields beside its id, as the other backends send it.
    fn flat_record(&self) -> Result<Value, Error> {
        let mut record: serde_json::Map<String, Value> = self.parse()?;
        if let Some(Value::Object(fields)) = record.remove("fields") {
            for (name, value) in fields {
                // What the server says of the record itself is not to be covered by a field of the same name.
                record.entry(name).or_insert(value);
            }
        }
        Ok(record.into())
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.text()).map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &serde_json::Error) -> Error {
        unexpected(&self.cannot_be_read(), error)
    }

    /// The error of a payload that is there and that nobody can read, for a parser other than ours.
    #[doc(hidden)]
    pub fn unreadable_because(&self, why: &str) -> Error {
        Error::Protocol(format!("{}: {why}", self.cannot_be_read()))
    }

    fn cannot_be_read(&self) -> String {
        let article = if self.action() == Action::Update { "an" } else { "a" };
        format!(
            "the payload of {article} {} event cannot be read, and is in `raw` as received",
            self.action()
        )
    }
}

/// Whether valid JSON has more levels of arrays and objects than that.
fn is_deeper_than(limit: usize, json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    json.bytes().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
        depth > limit
    })
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Event");
        out.field("topic", &without_options(self.topic())).field("action", &self.action());
        match &self.0.content {
            Content::Message { data, .. } | Content::Connect { data } => out.field("data", data),
            Content::Gap(gap) => out.field("gap", gap),
            Content::Lagged(_) => &mut out,
            Content::Refused(error) => out.field("error", error),
        };
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str) -> Event {
        Event::message("posts/*".into(), data, Shape::Wrapped, None)
    }

    #[test]
    fn tells_action_and_id_of_a_record_change() {
        let event = event(r#"{"record":{"id":"abc","title":"x","expand":{"id":{}}},"action":"update"}"#);
        assert_eq!(event.action(), Action::Update);
        assert_eq!(event.record_id(), Some("abc"));
        assert_eq!(event.record::<serde_json::Value>().unwrap()["title"], "x");
    }

    #[test]
    fn a_custom_message_of_any_content_is_custom() {
        for data in
            ["", "7", "not json", r#"{"action":"publish"}"#, r#"{"action":7}"#, r#"{"record":7}"#, "[]"]
        {
            assert_eq!(event(data).action(), Action::Custom, "{data}");
            assert_eq!(event(data).record_id(), None, "{data}");
        }
    }

    #[test]
    fn a_bare_record_reads_like_a_wrapped_one() {
        let data = r#"{"id":"abc","collection":"posts","fields":{"title":"x","id":"no"},"created_at":"t"}"#;
        let shape = Shape::Bare(Action::Update);
        let event = Event::message("posts/*".into(), data, shape, Some("record_updated"));
        assert_eq!(
            (event.action(), event.record_id(), event.name()),
            (Action::Update, Some("abc"), "record_updated")
        );
        let record = serde_json::json!({"id": "abc", "collection": "posts", "title": "x", "created_at": "t"});
        assert_eq!(event.record::<Value>().unwrap(), record);
        assert_eq!(event.json().unwrap(), serde_json::json!({"action": "update", "record": record}));
        assert_eq!(event.raw(), data.as_bytes());
        let text: Value = serde_json::from_str(&event.json_text().unwrap()).unwrap();
        assert_eq!(text, event.json().unwrap());
    }

    #[test]
    fn a_payload_as_text_is_what_the_server_wrote() {
        let data = r#"{"record": {"n": 12345678901234567890123, "a": 1}, "action": "update"}"#;
        assert_eq!(event(data).json_text().unwrap(), data);
        assert!(event("not json").json_text().is_err());
    }

    #[test]
    fn half_a_surrogate_pair_is_an_error_that_says_so_and_loses_nothing_else() {
        let data = r#"{"record":{"id":"a","cut":"half \ud83d"},"action":"update"}"#;
        let event = event(data);
        assert_eq!((event.action(), event.record_id()), (Action::Update, Some("a")));
        for error in [event.json().unwrap_err(), event.record::<Value>().unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("an update event cannot be read") && text.contains("hex escape"), "{text}");
        }
        // Its reader may take it.
        assert_eq!(event.json_text().unwrap(), data);
        assert_eq!(event.raw(), data.as_bytes());
    }

    #[test]
    fn a_payload_is_as_deep_as_a_server_takes_it_and_no_deeper() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth - 2), "]".repeat(depth - 2));
            format!(r#"{{"record":{{"x":{open}"]}}"{close},"id":"a"}},"action":"create"}}"#)
        };
        for depth in [100, 1_000, Event::MAX_DEPTH] {
            let event = event(&nested(depth));
            assert_eq!((event.action(), event.record_id()), (Action::Create, Some("a")));
            assert_eq!(event.json_text().unwrap().len(), event.raw().len());
            assert_eq!(event.json().is_ok(), depth <= 128);
        }
        let error = event(&nested(Event::MAX_DEPTH + 1)).json_text().unwrap_err().to_string();
        assert!(error.contains("nested over 10000 levels"), "{error}");
        let error = event(&nested(200)).json().unwrap_err().to_string();
        assert!(error.contains("recursion limit"), "{error}");
    }

    #[test]
    fn a_record_whose_id_was_stripped_keeps_its_action() {
        let event = event(r#"{"record":{"title":"x"},"action":"create"}"#);
        assert_eq!((event.action(), event.record_id()), (Action::Create, None));
    }
}
