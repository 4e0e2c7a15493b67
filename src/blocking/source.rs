//! An event source that is read on a background thread.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex},
    task::Poll,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use event_listener::{Event as Notification, listener};
use futures::StreamExt;

use super::process::Owned;
use crate::{
    Error, EventSourceBuilder, SourceEvent, SourceHandle, State,
    delivery::inbox::{Contents, Inbox},
    lock::lock,
};

/// An [`EventSource`](crate::EventSource) with a background thread that reads it: for hosts that block, or poll a
/// descriptor.
///
/// It reads ahead 64 events, or 1 MiB and one event, and no further: then the server has to wait. Dropping it closes it.
pub struct EventSource {
    inner: Owned<Inner>,
}

struct Inner {
    ahead: Arc<Ahead>,
    handle: SourceHandle,
    /// That in force after the last event taken.
    last_event_id: Mutex<Arc<str>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Between the thread that reads and those that take.
struct Ahead {
    inbox: Inbox<Read>,
    /// Something was taken, or nobody will.
    room: Notification,
}

struct Read {
    /// With the id that is in force after each.
    events: VecDeque<(SourceEvent, Arc<str>)>,
    bytes: usize,
    state: State,
    /// Nothing more comes.
    is_over: bool,
}

impl Default for Read {
    fn default() -> Self {
        Self { events: VecDeque::new(), bytes: 0, state: State::Closed { why: None }, is_over: false }
    }
}

impl Contents for Read {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && !self.is_over
    }
}

/// How much is read ahead of who takes.
const EVENTS: usize = 64;
const BYTES: usize = 1 << 20;

impl EventSource {
    /// An event source with the default settings.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`], and when the system gives no thread.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::build(crate::EventSource::builder(url))
    }

    /// An event source with settings of your own. It begins to connect at once; a runtime that was set is not used.
    ///
    /// # Errors
    /// What is wrong with a setting, or that the system gives no thread.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn build(builder: EventSourceBuilder) -> Result<Self, Error> {
        let (runtime, block_on) = crate::driver::background::own_runtime()?;
        let mut source = builder.runtime_arc(runtime).build()?;
        let handle = source.handle();
        let ahead = Arc::new(Ahead { inbox: Inbox::new(), room: Notification::new() });
        ahead.inbox.look(|read| read.state = source.state());
        let mut id: Arc<str> = source.last_event_id().into();
        let last_event_id = Mutex::new(id.clone());
        let to = ahead.clone();
        let reads = async move {
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
            to.inbox.put(|read| read.is_over = true);
        };
        let thread = crate::driver::background::spawn(move || block_on(Box::pin(reads)))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { inner: Owned::new(Inner { ahead, handle, last_event_id, thread }) })
    }

    /// Waits for the next event: `Ready(None)` after the last one, which is [`SourceEvent::Closed`], and when the source
    /// is closed here; `Pending` when the limit has passed. With `None` it waits for ever. Any thread may take; each event
    /// goes to one of them.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn next(&self, limit: Option<Duration>) -> Result<Poll<Option<SourceEvent>>, Error> {
        let Inner { ahead, last_event_id, .. } = self.inner.get()?;
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let taken = ahead.inbox.take(deadline, |read| match read.events.pop_front() {
            Some((event, id)) => {
                read.bytes -= size(&event);
                *lock(last_event_id) = id;
                Some(Some(event))
            }
            None => read.is_over.then_some(None),
        });
        ahead.room.notify(usize::MAX);
        Ok(match taken {
            Ok(Some(event)) => Poll::Ready(event),
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

    /// Closes the source and waits until its socket and its thread are gone. Whoever waits for an event gets `Ready(None)`.
    /// In a forked child it does nothing.
    pub fn close(&self) {
        if let Ok(inner) = self.inner.get() {
            inner.close();
            let thread = lock(&inner.thread).take();
            if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id())
            {
                let _ = thread.join();
            }
        }
    }
}

impl Inner {
    fn close(&self) {
        // First, so that nobody is told of the end that this makes.
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

impl Ahead {
    /// Waits until there is room, or nobody wants it.
    async fn put(&self, event: SourceEvent, id: Arc<str>) {
        let bytes = size(&event);
        loop {
            listener!(self.room => room);
            let is_full = |read: &mut Read| read.events.len() >= EVENTS || read.bytes >= BYTES;
            if !self.inbox.look(is_full) {
                break;
            }
            room.await;
        }
        self.inbox.put(|read| {
            read.bytes += bytes;
            read.events.push_back((event, id));
        });
    }
}

/// About how much memory an event takes.
fn size(event: &SourceEvent) -> usize {
    match event {
        SourceEvent::Message(message) => message.data().len() + message.id().len() + message.event().len(),
        SourceEvent::Comment(text) => text.len(),
        _ => 0,
    }
}

impl fmt::Debug for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSource").field("state", &self.state()).finish_non_exhaustive()
    }
}
