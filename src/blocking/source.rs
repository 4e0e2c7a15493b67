//! An event source that is read on a background thread.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex},
    task::Poll,
    time::{Duration, Instant},
};

use event_listener::{Event as Notification, listener};
use futures::{StreamExt, channel::oneshot, future::BoxFuture};

use super::process::Owned;
use crate::{
    Error, EventSourceBuilder, Policy, SourceEvent, SourceHandle, SourceRequest, State,
    delivery::inbox::{Contents, Inbox},
    driver::common::Seat,
    lock::lock,
};

/// An [`EventSource`](crate::EventSource) that a background thread reads: for hosts that block, or poll a descriptor.
///
/// All event sources of a process share that thread, which ends with the last of them. What it runs for a host,
/// [`on_connect`](EventSourceBuilder::on_connect) and [`on_status`](EventSourceBuilder::on_status), must not block; functions
/// that do belong into [`ask_on_thread`](Self::ask_on_thread) and [`ask_status_on_thread`](Self::ask_status_on_thread).
///
/// It reads ahead up to 64 events, or 1 MiB and one event; then the server has to wait. Dropping it closes it.
pub struct EventSource {
    inner: Owned<Inner>,
}

struct Inner {
    ahead: Arc<Ahead>,
    handle: SourceHandle,
    /// That in force after the last event taken.
    last_event_id: Mutex<Arc<str>>,
    seat: Mutex<Option<Seat>>,
}

/// Between the thread that reads and those that take.
struct Ahead {
    inbox: Inbox<Read>,
    /// Something was taken, or nobody will.
    room: Notification,
}

struct Read {
    items: VecDeque<SourceItem>,
    bytes: usize,
    state: State,
    /// Nothing more comes.
    is_over: bool,
}

impl Default for Read {
    fn default() -> Self {
        Self { items: VecDeque::new(), bytes: 0, state: State::Closed { why: None }, is_over: false }
    }
}

impl Contents for Read {
    fn is_empty(&self) -> bool {
        self.items.is_empty() && !self.is_over
    }
}

/// What is taken from the queue of an [`EventSource`]. Bindings whose hosts answer questions on the thread that takes
/// need this; everybody else takes [events](EventSource::next).
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceItem {
    /// An event, with the last event id in force after it.
    Event(SourceEvent, Arc<str>),
    /// What is the next connection to be made with? See [`EventSourceBuilder::on_connect`].
    ConnectAsked(ConnectQuestion),
    /// What is to be done about an answer that is not an event stream? See [`EventSourceBuilder::on_status`].
    StatusAsked(StatusQuestion),
}

/// A question of [`SourceItem::ConnectAsked`]. The source waits for the answer. Dropping it counts as a failure.
#[derive(Debug)]
pub struct ConnectQuestion(oneshot::Sender<Result<SourceRequest, String>>);

impl ConnectQuestion {
    /// Answers, with the text of an error if there is no answer. Harmless if the source has been closed meanwhile.
    pub fn answer(self, answer: Result<SourceRequest, String>) {
        _ = self.0.send(answer);
    }
}

/// A question of [`SourceItem::StatusAsked`]. The source waits for the answer. Dropping it stands for
/// [`Policy::Default`].
#[derive(Debug)]
pub struct StatusQuestion {
    status: u16,
    answer: oneshot::Sender<Policy>,
}

impl StatusQuestion {
    /// The HTTP status; 200 if the content type was not accepted.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Answers. Harmless if the source has been closed meanwhile.
    pub fn answer(self, policy: Policy) {
        _ = self.answer.send(policy);
    }
}

/// Which questions come through the queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Questions {
    /// [`SourceItem::ConnectAsked`], before each connection.
    pub connect: bool,
    /// [`SourceItem::StatusAsked`].
    pub status: bool,
}

/// How much is read ahead of who takes.
const EVENTS: usize = 64;
const BYTES: usize = 1 << 20;

impl EventSource {
    /// Creates an event source with the default settings.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`], and an error if no thread can be created.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::build(crate::EventSource::builder(url))
    }

    /// Creates an event source with other settings. It begins to connect at once; a runtime that was set is not used.
    ///
    /// # Errors
    /// What is wrong with a setting, or that no thread can be created.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn build(builder: EventSourceBuilder) -> Result<Self, Error> {
        Self::build_asking(builder, Questions::default())
    }

    /// The same for a host that answers questions on the threads that call [`next_item`](Self::next_item). While nobody
    /// takes a question, the source waits.
    ///
    /// # Errors
    /// As of [`build`](Self::build).
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn build_asking(mut builder: EventSourceBuilder, questions: Questions) -> Result<Self, Error> {
        let seat = Seat::take()?;
        let ahead = Arc::new(Ahead { inbox: Inbox::new(), room: Notification::new() });
        if questions.connect {
            let asks = ahead.clone();
            builder = builder.on_connect(move || {
                let answer = asks.ask(|answer| SourceItem::ConnectAsked(ConnectQuestion(answer)));
                async { answer.await.unwrap_or_else(|_| Err("it did not answer".to_owned())) }
            });
        }
        if questions.status {
            let asks = ahead.clone();
            builder = builder.ask_status(Arc::new(move |status| {
                let answer = asks.ask(|answer| SourceItem::StatusAsked(StatusQuestion { status, answer }));
                Box::pin(async { answer.await.unwrap_or(Policy::Default) })
            }));
        }
        let mut source = builder.runtime_arc(seat.runtime()).build()?;
        let handle = source.handle();
        ahead.inbox.look(|read| read.state = source.state());
        let mut id: Arc<str> = source.last_event_id().into();
        let last_event_id = Mutex::new(id.clone());
        let over = Over(ahead.clone());
        seat.run(async move {
            let to = &over.0;
            loop {
                let event = poll_fn(|cx| {
                    let polled = source.poll_next_unpin(cx);
                    to.inbox.look(|read| read.state = source.state());
                    polled
                });
                let Some(event) = event.await else { break };
                if *id != *source.last_event_id() {
                    id = source.last_event_id().into();
                }
                to.put(event, id.clone()).await;
            }
        });
        let seat = Mutex::new(Some(seat));
        Ok(Self { inner: Owned::new(Inner { ahead, handle, last_event_id, seat }) })
    }

    /// [`EventSourceBuilder::on_connect`] for a host that blocks: each question runs on a thread of its own, which
    /// [`close`](Self::close) does not wait for.
    pub fn ask_on_thread(
        builder: EventSourceBuilder,
        ask: impl Fn() -> Result<SourceRequest, String> + Send + Sync + 'static,
    ) -> EventSourceBuilder {
        let ask = Arc::new(ask);
        builder.on_connect(move || {
            let ask = ask.clone();
            let answer = on_thread("tidings-connect", move || ask());
            async { answer.await? }
        })
    }

    /// [`EventSourceBuilder::on_status`] for a host that blocks: as [`ask_on_thread`](Self::ask_on_thread). A panic stands
    /// for [`Policy::Default`].
    pub fn ask_status_on_thread(
        builder: EventSourceBuilder,
        policy: impl Fn(u16) -> Policy + Send + Sync + 'static,
    ) -> EventSourceBuilder {
        let policy = Arc::new(policy);
        builder.ask_status(Arc::new(move |status| {
            let policy = policy.clone();
            let answer = on_thread("tidings-status", move || policy(status));
            Box::pin(async { answer.await.unwrap_or(Policy::Default) })
        }))
    }

    /// Waits for the next event: `Ready(None)` after the last one, which is [`SourceEvent::Closed`], and when the source
    /// is closed here; `Pending` when the limit has passed. With `None` it waits indefinitely. Any thread may take; each
    /// event goes to one of them. A question is dropped.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn next(&self, limit: Option<Duration>) -> Result<Poll<Option<SourceEvent>>, Error> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            return Ok(match self.take(deadline)? {
                Poll::Ready(Some(SourceItem::Event(event, _))) => Poll::Ready(Some(event)),
                Poll::Ready(Some(_)) => continue,
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
        }
    }

    /// [`next`](Self::next) with the [questions](Self::build_asking).
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn next_item(&self, limit: Option<Duration>) -> Result<Poll<Option<SourceItem>>, Error> {
        self.take(limit.and_then(|limit| Instant::now().checked_add(limit)))
    }

    fn take(&self, deadline: Option<Instant>) -> Result<Poll<Option<SourceItem>>, Error> {
        let Inner { ahead, last_event_id, .. } = self.inner.get()?;
        let taken = ahead.inbox.take(deadline, |read| match read.items.pop_front() {
            Some(item) => {
                if let SourceItem::Event(event, id) = &item {
                    read.bytes -= size(event);
                    *lock(last_event_id) = id.clone();
                }
                Some(Some(item))
            }
            None => read.is_over.then_some(None),
        });
        ahead.room.notify(usize::MAX);
        Ok(match taken {
            Ok(Some(item)) => Poll::Ready(item),
            Ok(None) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        })
    }

    /// A descriptor that is readable exactly while [`next`](Self::next) would not wait. See
    /// [`Client::descriptor`](super::Client::descriptor).
    ///
    /// # Errors
    /// [`Error::Network`] when the system gives no descriptor, and [`Error::Forked`].
    #[cfg(unix)]
    pub fn descriptor(&self) -> Result<super::Descriptor, Error> {
        let made = self.inner.get()?.ahead.inbox.descriptor();
        made.map_err(|error| Error::no_resource("descriptor", error))
    }

    /// The id in force after the last event that was taken. See [`crate::EventSource::last_event_id`].
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn last_event_id(&self) -> Result<String, Error> {
        Ok(lock(&self.inner.get()?.last_event_id).to_string())
    }

    /// The state of the connection. See [`crate::EventSource::state`].
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn state(&self) -> Result<State, Error> {
        Ok(self.inner.get()?.ahead.inbox.look(|read| read.state.clone()))
    }

    /// Connects again. See [`crate::EventSource::restart`].
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn restart(&self) -> Result<(), Error> {
        self.inner.get()?.handle.restart();
        Ok(())
    }

    /// Closes the source and waits until its socket is gone, and the thread if it was the last. Waiting callers get `Ready(None)`.
    /// In a forked child it does nothing.
    pub fn close(&self) {
        if let Ok(inner) = self.inner.get() {
            inner.close();
            if let Some(seat) = lock(&inner.seat).take() {
                seat.leave();
            }
        }
    }
}

/// What a function of the host says, on a thread of its own; or why there is no answer.
fn on_thread<A: Send + 'static>(
    name: &str,
    ask: impl FnOnce() -> A + Send + 'static,
) -> BoxFuture<'static, Result<A, String>> {
    let (answer, answered) = oneshot::channel();
    // A panic drops the sender, which counts as a failure.
    let started = crate::thread::spawn(name, move || _ = answer.send(ask()));
    Box::pin(async move {
        started.map_err(|error| format!("the operating system could not create a thread: {error}"))?;
        answered.await.map_err(|_| "it panicked".to_owned())
    })
}

impl Inner {
    fn close(&self) {
        // First, so that the end that this makes is reported to nobody.
        self.ahead.inbox.close();
        self.handle.close();
        self.ahead.room.notify(usize::MAX);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Nothing more comes when this is dropped: at the end, and after a panic of what the host gave.
struct Over(Arc<Ahead>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.inbox.put(|read| read.is_over = true);
    }
}

impl Ahead {
    /// Waits until there is room, or nobody wants it.
    async fn put(&self, event: SourceEvent, id: Arc<str>) {
        let bytes = size(&event);
        loop {
            listener!(self.room => room);
            let is_full = |read: &mut Read| read.items.len() >= EVENTS || read.bytes >= BYTES;
            if !self.inbox.look(is_full) {
                break;
            }
            room.await;
        }
        self.inbox.put(|read| {
            read.bytes += bytes;
            read.items.push_back(SourceItem::Event(event, id));
        });
    }

    /// Puts a question into the queue. There is one at a time, so it needs no room.
    fn ask<A>(&self, question: impl FnOnce(oneshot::Sender<A>) -> SourceItem) -> oneshot::Receiver<A> {
        let (answer, answered) = oneshot::channel();
        self.inbox.put(|read| read.items.push_back(question(answer)));
        answered
    }
}

/// About how much memory an event takes.
fn size(event: &SourceEvent) -> usize {
    match event {
        SourceEvent::Message(message) | SourceEvent::Unfinished(message) => {
            message.data().len() + message.id().len() + message.event().len()
        }
        SourceEvent::Comment(text) => text.len(),
        _ => 0,
    }
}

impl fmt::Debug for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSource").field("state", &self.state()).finish_non_exhaustive()
    }
}
