//! A plain server-sent-events endpoint at a path of the owner's choice: for
//! tests of an event source that knows nothing of any backend.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;

use super::answer::Answer;
use super::requests::{Requests, Seen};
use super::state::{Shared, State};
use super::stream::{Order, Origin, Outlet};
use super::wire::Link;

/// How many messages with an id are kept for replay by default.
const KEPT: usize = 1000;

/// An event stream at a path of a hub: see [`Hub::sse`](super::Hub::sse). Clones
/// are of the same stream.
///
/// Every request to the path, whatever its method, is answered with a stream.
/// One with a `Last-Event-ID` first gets what was sent after that message; one
/// whose id is not known (any more) gets all that is kept. Messages without an
/// id are not kept.
///
/// ```
/// use std::time::Duration;
/// use tidings::hub::{Hub, Message};
///
/// let hub = Hub::start()?;
/// let news = hub.sse("/news");
/// println!("listen at {}", news.url());
/// let sent = news.send(Message::data("It rains.").event("weather").id("1"));
/// news.send(Message::new().retry(Duration::from_secs(3)).comment("come back in 3 s"));
/// assert_eq!(sent, 0, "nobody listens yet");
/// assert!(news.requests().is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Sse {
    shared: Arc<Shared>,
    url: String,
    path: String,
}

/// A message of an event stream, or a part of one: fields that are not set are
/// not sent.
///
/// ```
/// use tidings::hub::Message;
///
/// let message = Message::data("two\nlines").event("note").id("7");
/// assert_eq!(message.to_string(), "id: 7\nevent: note\ndata: two\ndata: lines\n\n");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    comment: Option<String>,
    retry: Option<Duration>,
    id: Option<String>,
    event: Option<String>,
    data: Option<String>,
}

/// What a hub remembers of one path.
#[derive(Debug)]
pub(super) struct Channel {
    /// Messages that had an id, oldest first.
    kept: VecDeque<(String, Bytes)>,
    keep: usize,
    pub(super) answers: VecDeque<Answer>,
    pub(super) requests: Requests,
}

impl Sse {
    pub(super) fn new(shared: Arc<Shared>, url: String, path: &str) -> Self {
        let channel = Channel {
            kept: VecDeque::new(),
            keep: KEPT,
            answers: VecDeque::new(),
            requests: Requests::default(),
        };
        shared.change(|state| {
            state.channels.entry(path.to_owned()).or_insert(channel);
        });
        Self { shared, url, path: path.to_owned() }
    }

    /// Where it is: the hub's URL and the path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{}", self.url, self.path)
    }

    /// Sends a message to every open stream, and keeps it for replay if it has
    /// an id. Returns how many streams that were.
    pub fn send(&self, message: impl Into<Message>) -> usize {
        let message = message.into();
        let frame = Bytes::from(message.to_string());
        self.shared.change(|state| {
            if let (Some(id), Some(channel)) = (message.id, state.channels.get_mut(&self.path)) {
                channel.kept.push_back((id, frame.clone()));
                channel.shorten();
            }
            self.push(state, frame)
        })
    }

    /// Sends bytes as they are: half a message, a byte order mark, CR line
    /// ends. Nothing of them is kept. Returns how many streams that were.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.sse("/torn").send_raw("\u{feff}data: two hal");
    /// hub.sse("/torn").send_raw("ves\r\n\r\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_raw(&self, bytes: impl Into<Vec<u8>>) -> usize {
        let bytes = Bytes::from(bytes.into());
        self.shared.change(|state| self.push(state, bytes))
    }

    fn push(&self, state: &mut State, frame: Bytes) -> usize {
        let streams = state.outlets_of(&Origin::Channel(self.path.clone()));
        for stream in &streams {
            state.push(*stream, frame.clone(), Order::Free);
        }
        streams.len()
    }

    /// Keeps the last so many messages with an id for replay. Default: 1,000.
    pub fn keep(&self, messages: usize) {
        self.channel(|channel| {
            channel.keep = messages;
            channel.shorten();
        });
    }

    /// Ends the open streams cleanly once what is queued was sent. Returns how
    /// many that were.
    pub fn end_streams(&self) -> usize {
        let origin = Origin::Channel(self.path.clone());
        self.shared.change(|state| {
            let ours = state.outlets.values_mut().filter(|outlet| outlet.origin == origin);
            ours.map(Outlet::end).count()
        })
    }

    /// The next `times` requests to this path get `answer`, after what was
    /// planned for it before; an [`Answer::status`] of 204 ends an event source
    /// for good. What is planned for [`Endpoint::Sse`](super::Endpoint::Sse)
    /// goes first.
    ///
    /// ```
    /// # use tidings::hub::{Answer, Hub};
    /// # let hub = Hub::start()?;
    /// let (old, new) = (hub.sse("/old"), hub.sse("/new"));
    /// old.answer_next(Answer::redirect(&new.url()), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn answer_next(&self, answer: Answer, times: usize) {
        self.channel(|channel| channel.answers.extend(std::iter::repeat_n(answer, times)));
    }

    /// The last 1,024 requests to this path, oldest first (fewer if they are
    /// long), whatever they were answered.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        let state = self.shared.look();
        state.channels.get(&self.path).map_or_else(Vec::new, |channel| channel.requests.all())
    }

    /// How many streams are open at this path.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.shared.look().outlets_of(&Origin::Channel(self.path.clone())).len()
    }

    fn channel(&self, act: impl FnOnce(&mut Channel)) {
        self.shared.change(|state| state.channels.get_mut(&self.path).map(act));
    }
}

impl Message {
    /// A message without any field: a blank line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A message with data. Each line of it becomes a `data` line.
    #[must_use]
    pub fn data(data: impl Into<String>) -> Self {
        Self { data: Some(data.into()), ..Self::default() }
    }

    /// Sets `event`.
    #[must_use]
    pub fn event(mut self, event: impl Into<String>) -> Self {
        self.event = Some(event.into());
        self
    }

    /// Sets `id`. An empty one makes the reader forget the last.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets `retry`, sent in whole milliseconds.
    #[must_use]
    pub fn retry(mut self, wait: Duration) -> Self {
        self.retry = Some(wait);
        self
    }

    /// Puts a comment before the fields. Each line of it becomes a comment.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }
}

impl From<&str> for Message {
    fn from(data: &str) -> Self {
        Self::data(data)
    }
}

impl From<String> for Message {
    fn from(data: String) -> Self {
        Self::data(data)
    }
}

/// The message as it goes over the wire.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.comment.iter().flat_map(|comment| comment.split('\n')) {
            writeln!(f, ": {line}")?;
        }
        if let Some(wait) = self.retry {
            writeln!(f, "retry: {}", wait.as_millis())?;
        }
        if let Some(id) = &self.id {
            writeln!(f, "id: {id}")?;
        }
        if let Some(event) = &self.event {
            writeln!(f, "event: {event}")?;
        }
        for line in self.data.iter().flat_map(|data| data.split('\n')) {
            writeln!(f, "data: {line}")?;
        }
        writeln!(f)
    }
}

impl Channel {
    fn shorten(&mut self) {
        self.kept.drain(..self.kept.len().saturating_sub(self.keep));
    }

    /// What was sent after the message with this id.
    fn after(&self, id: &str) -> impl Iterator<Item = &Bytes> {
        let known = self.kept.iter().rposition(|(kept, _)| kept == id);
        self.kept.iter().skip(known.map_or(0, |at| at + 1)).map(|(_, frame)| frame)
    }
}

impl State {
    /// Opens a stream of a path, with what its reader has missed.
    pub(super) fn open_channel(&mut self, path: &str, last_id: Option<&str>, link: Arc<Link>) -> u64 {
        let outlet = self.open_outlet(link, Origin::Channel(path.to_owned()));
        let channel = self.channels.get(path);
        let missed: Vec<Bytes> = match (channel, last_id.filter(|id| !id.is_empty())) {
            (Some(channel), Some(id)) => channel.after(id).cloned().collect(),
            _ => Vec::new(),
        };
        for frame in missed {
            self.push(outlet, frame, Order::Kept);
        }
        outlet
    }
}

impl fmt::Debug for Sse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse").field("url", &self.url()).finish_non_exhaustive()
    }
}
