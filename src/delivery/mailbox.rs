//! The queue between the engine and one listener, and the waking of whoever reads it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use event_listener::{Event as Notification, listener};

use crate::{
    Error, Event,
    delivery::batches::{Batches, Item, Tag},
    delivery::callbacks::Callbacks,
    engine::{Delivered, Limits, ListenerId, Outlet, Queue},
    lock::lock,
    topic::without_options,
};

/// A callback of the host.
pub(crate) type Callback = Box<dyn FnMut(Event) + Send>;

pub(crate) struct Mailbox {
    topic: Arc<str>,
    inner: Mutex<Inner>,
    /// The status has changed.
    changed: Notification,
}

struct Inner {
    queue: Queue,
    status: Status,
    reader: Reader,
    /// A caller is waiting for the server's answer: a failure is reported to that caller alone.
    awaited: bool,
    /// Boxed, since it is rare.
    hindrance: Option<Box<Hindrance>>,
}

/// Why no event can come.
#[derive(Default)]
struct Hindrance {
    /// The topic is acknowledged, but a list with the same options is refused.
    denied: Option<Error>,
    /// The topic is refused for now, and tried again.
    parked: Option<Error>,
}

/// The state of a [`Subscription`](crate::Subscription).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriptionState {
    /// The server has not acknowledged the topic yet. If it refuses it for now,
    /// [`Subscription::denial`](crate::Subscription::denial) says why.
    Pending,
    /// The server has acknowledged the topic, and the stream is up.
    Live,
    /// The server has acknowledged the topic, but no event can come: it refuses a list with the same options, because the
    /// collection does not exist, its rule is for superusers, or the filter is wrong. See
    /// [`Subscription::denial`](crate::Subscription::denial). Asked again when the identity changes.
    Denied,
    /// The stream was lost or is being replaced; the client is reconnecting, or the server refuses the topic for now:
    /// [`Subscription::denial`](crate::Subscription::denial) says why.
    Interrupted,
    /// It has ended; no event follows.
    Ended,
}

#[derive(Clone, Debug)]
pub(crate) enum Status {
    /// The server has not acknowledged the topic yet.
    Pending,
    Ready,
    /// Nothing more comes; `None` where the host asked for it. Boxed, since idle listeners are many.
    Ended(Option<Box<Error>>),
}

/// Who takes events out.
enum Reader {
    Stream {
        waker: Option<Waker>,
        /// The waker is about to be used: one wake-up is enough for many events.
        woken: bool,
    },
    Callback {
        worker: Arc<Callbacks>,
        /// `None` while it runs.
        callback: Option<Callback>,
        /// It is in the worker's queue.
        is_queued: bool,
    },
    /// The host takes events of many listeners in batches.
    Batches {
        batches: Arc<Batches>,
        /// Set after the engine has assigned it, and before anything is delivered.
        id: ListenerId,
        is_queued: bool,
        /// The host has taken the end.
        is_over: bool,
        tag: Option<Tag>,
        held: Hold,
        acknowledgement: Acknowledgement,
    },
}

/// Whether a listener's events stay in its queue for now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    No,
    /// The host does not know the id yet.
    Start,
    /// The host has paused it. The end is reported all the same.
    Paused,
}

/// Whether the host is told when the server has acknowledged the topic.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledgement {
    Unwanted,
    Wanted,
    Due,
}

/// How a host takes the events of one listener.
#[derive(Default)]
pub(crate) struct Queued {
    pub(crate) tag: Option<Tag>,
    pub(crate) held: bool,
    pub(crate) acknowledged: bool,
}

/// Keeps the events of a new listener back until it is dropped: when the host knows the id.
#[must_use = "dropping it delivers"]
pub struct Held(Arc<Mailbox>);

impl Held {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self(mailbox)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set_hold(Hold::No);
        self.0.wake();
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.0).finish()
    }
}

impl Mailbox {
    pub(crate) fn for_stream(topic: Arc<str>, limits: Limits) -> Arc<Self> {
        Self::new(topic, limits, Reader::Stream { waker: None, woken: false })
    }

    pub(crate) fn for_callback(
        topic: Arc<str>,
        limits: Limits,
        worker: Arc<Callbacks>,
        callback: Callback,
    ) -> Arc<Self> {
        Self::new(topic, limits, Reader::Callback { worker, callback: Some(callback), is_queued: false })
    }

    pub(crate) fn for_batches(
        topic: Arc<str>,
        limits: Limits,
        batches: Arc<Batches>,
        queued: Queued,
    ) -> Arc<Self> {
        let reader = Reader::Batches {
            batches,
            id: ListenerId(0),
            is_queued: false,
            is_over: false,
            tag: queued.tag,
            held: if queued.held { Hold::Start } else { Hold::No },
            acknowledgement: match queued.acknowledged {
                true => Acknowledgement::Wanted,
                false => Acknowledgement::Unwanted,
            },
        };
        Self::new(topic, limits, reader)
    }

    fn new(topic: Arc<str>, limits: Limits, reader: Reader) -> Arc<Self> {
        let queue = Queue::new(limits);
        let inner =
            Mutex::new(Inner { queue, status: Status::Pending, reader, awaited: false, hindrance: None });
        Arc::new(Self { topic, inner, changed: Notification::new() })
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// A caller is going to wait for [`ready`](Self::ready).
    pub(crate) fn set_awaited(&self) {
        self.lock().awaited = true;
    }

    /// Sets the id of the listener.
    pub(crate) fn set_id(&self, given: ListenerId) {
        if let Reader::Batches { id, .. } = &mut self.lock().reader {
            *id = given;
        }
    }

    /// The id of a listener whose events are taken in batches.
    pub(crate) fn id(&self) -> u64 {
        match &self.lock().reader {
            Reader::Batches { id: ListenerId(id), .. } => *id,
            _ => 0,
        }
    }

    /// Keeps events in the queue, or lets them out, for which [`wake`](Self::wake) has to be called.
    fn set_hold(&self, hold: Hold) {
        if let Reader::Batches { held, .. } = &mut self.lock().reader {
            *held = hold;
        }
    }

    /// Pauses a listener whose events are taken in batches, or goes on. May run code of the host: no lock may be held.
    pub(crate) fn pause(self: &Arc<Self>, paused: bool) {
        let mut inner = self.lock();
        let ended = matches!(inner.status, Status::Ended(_));
        let Reader::Batches { batches, held, is_queued, .. } = &mut inner.reader else { return };
        match (paused, *held) {
            (true, Hold::No) if !ended => {
                *held = Hold::Paused;
                let batches = std::mem::take(is_queued).then(|| batches.clone());
                drop(inner);
                if let Some(batches) = batches {
                    batches.remove(self);
                    self.make_up_for_removing();
                }
            }
            (false, Hold::Paused) => {
                *held = Hold::No;
                drop(inner);
                self.wake();
            }
            _ => {}
        }
    }

    /// Another thread may have let it go on meanwhile, and queued it: that was removed too.
    fn make_up_for_removing(self: &Arc<Self>) {
        let mut inner = self.lock();
        if let Reader::Batches { held: Hold::No, is_queued, .. } = &mut inner.reader {
            *is_queued = false;
            drop(inner);
            self.wake();
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.lock().status.clone()
    }

    /// The state of the subscription; `is_live` says whether its topic is acknowledged on a stream that is up.
    pub(crate) fn state(&self, is_live: bool) -> SubscriptionState {
        let inner = self.lock();
        match inner.status {
            Status::Pending => SubscriptionState::Pending,
            Status::Ended(_) => SubscriptionState::Ended,
            Status::Ready if is_live && inner.is_denied() => SubscriptionState::Denied,
            Status::Ready if is_live => SubscriptionState::Live,
            Status::Ready => SubscriptionState::Interrupted,
        }
    }

    pub(crate) fn denial(&self) -> Option<Error> {
        let inner = self.lock();
        let hindrance = inner.hindrance.as_deref()?;
        hindrance.parked.as_ref().or(hindrance.denied.as_ref()).cloned()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lock().queue.lost()
    }

    /// Waits until the server has acknowledged the topic or the listener has ended.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        loop {
            listener!(self.changed => changed);
            match self.status() {
                Status::Pending => changed.await,
                Status::Ready => return Ok(()),
                Status::Ended(error) => {
                    drop(self.take_end());
                    // Before the caller learns of it: what the callback borrows may be freed then.
                    drop(self.take_unused());
                    return Err(error.map_or(Error::Closed, |error| *error));
                }
            }
        }
    }

    /// The caller is told of the end, and so the queue is not. Returns what the host gave.
    fn take_end(&self) -> Option<Tag> {
        match &mut self.lock().reader {
            Reader::Batches { is_over, tag, .. } => {
                *is_over = true;
                tag.take()
            }
            _ => None,
        }
    }

    /// The callback of a subscription that failed before it was acknowledged.
    pub(crate) fn take_unused(&self) -> Option<Callback> {
        match &mut *self.lock() {
            Inner { awaited: true, reader: Reader::Callback { callback, .. }, .. } => callback.take(),
            _ => None,
        }
    }

    /// The next event for a stream; `None` when nothing more comes.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut inner = self.lock();
        if let Some(event) = inner.queue.pop() {
            return Poll::Ready(Some(event));
        }
        let Inner { status, reader, .. } = &mut *inner;
        match (status, reader) {
            // With a callback the events go there, and what remains for the stream is the end.
            (Status::Pending | Status::Ready, Reader::Stream { waker, woken }) => {
                *woken = false;
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            _ => Poll::Ready(None),
        }
    }

    /// Wakes the reader. May run code of the host, so no lock may be held.
    pub(crate) fn wake(self: &Arc<Self>) {
        self.changed.notify(usize::MAX);
        let mut inner = self.lock();
        let has_more = inner.has_more();
        let has_ended = matches!(inner.status, Status::Ended(_));
        let is_callers = inner.awaited && has_ended;
        match &mut inner.reader {
            // The caller that waits for the answer drops it.
            Reader::Callback { .. } if is_callers => {}
            Reader::Stream { waker, woken } => {
                *woken = false;
                let waker = waker.take();
                drop(inner);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Reader::Callback { worker, is_queued, .. } => {
                if !std::mem::replace(is_queued, true) {
                    let worker = worker.clone();
                    drop(inner);
                    worker.enqueue(self.clone());
                }
            }
            // Nobody takes the end, nor what the host gave, which must not be dropped with the last mailbox: that may be
            // under a lock.
            Reader::Batches { batches, tag, .. } if has_ended && batches.is_closed() => {
                let tag = tag.take();
                drop(inner);
                drop(tag);
            }
            Reader::Batches { batches, is_queued, .. } => {
                if has_more && !std::mem::replace(is_queued, true) {
                    let batches = batches.clone();
                    drop(inner);
                    batches.enqueue(self.clone());
                }
            }
        }
    }

    /// On the callback thread: the next event and the callback to give it to. With `None` the mailbox leaves
    /// the queue, and if it has ended, the callback is dropped.
    pub(crate) fn take_turn(&self) -> Option<(Event, Callback)> {
        let mut inner = self.lock();
        let Inner { queue, status, reader: Reader::Callback { callback, is_queued, .. }, .. } = &mut *inner
        else {
            return None;
        };
        if let Some(event) = queue.pop()
            && let Some(callback) = callback.take()
        {
            return Some((event, callback));
        }
        *is_queued = false;
        let spent = if matches!(status, Status::Ended(_)) { callback.take() } else { None };
        drop(inner);
        drop(spent);
        None
    }

    /// Moves up to `most` items into a batch. Returns whether there are more, for which it stays queued.
    pub(crate) fn hand_over(&self, batch: &mut Vec<Item>, most: usize) -> bool {
        let mut inner = self.lock();
        let Inner { queue, status, reader, .. } = &mut *inner;
        let Reader::Batches { id: ListenerId(id), is_queued, is_over, tag, held, acknowledgement, .. } =
            reader
        else {
            return false;
        };
        if *held != Hold::No {
            *is_queued = false;
            return false;
        }
        let subscription = *id;
        let before = batch.len();
        if *acknowledgement == Acknowledgement::Due && most > 0 {
            *acknowledgement = Acknowledgement::Unwanted;
            batch.push(Item::Acknowledged { subscription, tag: tag.clone() });
        }
        let events = std::iter::from_fn(|| queue.pop()).take(most - (batch.len() - before));
        batch.extend(events.map(|event| Item::Event { subscription, event, tag: tag.clone() }));
        if let Status::Ended(why) = status
            && !queue.has_more()
            && batch.len() - before < most
            && !std::mem::replace(is_over, true)
        {
            batch.push(Item::Ended { subscription, why: why.as_deref().cloned(), tag: tag.take() });
        }
        let more = inner.has_more();
        if let Reader::Batches { is_queued, .. } = &mut inner.reader {
            *is_queued = more;
        }
        more
    }

    /// On the callback thread: gives the callback back after its turn.
    pub(crate) fn end_turn(&self, returned: Callback) {
        if let Reader::Callback { callback, .. } = &mut self.lock().reader {
            *callback = Some(returned);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    fn is_denied(&self) -> bool {
        self.hindrance.as_ref().is_some_and(|hindrance| hindrance.denied.is_some())
    }

    fn hinder(&mut self, change: impl FnOnce(&mut Hindrance)) {
        let mut hindrance = self.hindrance.take().unwrap_or_default();
        change(&mut hindrance);
        self.hindrance = (hindrance.denied.is_some() || hindrance.parked.is_some()).then_some(hindrance);
    }

    /// Whether there is something to take in a batch.
    fn has_more(&self) -> bool {
        let Reader::Batches { is_over, held, acknowledgement, .. } = &self.reader else { return false };
        let is_due = *acknowledgement == Acknowledgement::Due;
        *held == Hold::No
            && (is_due || self.queue.has_more() || matches!(self.status, Status::Ended(_)) && !is_over)
    }
}

impl Outlet for Arc<Mailbox> {
    fn deliver(&self, event: Event) -> Delivered {
        let mut inner = self.lock();
        let before = inner.queue.lost();
        inner.queue.push(event);
        let lost = inner.queue.lost() - before;
        let queued = inner.queue.len();
        let wake = match &mut inner.reader {
            Reader::Stream { waker, woken } => waker.is_some() && !std::mem::replace(woken, true),
            Reader::Callback { is_queued, .. } | Reader::Batches { is_queued, .. } => !*is_queued,
        };
        Delivered { wake, lost, queued }
    }

    fn ready(&self) {
        let mut inner = self.lock();
        if matches!(inner.status, Status::Pending) {
            inner.status = Status::Ready;
            inner.awaited = false;
            if let Reader::Batches { acknowledgement, .. } = &mut inner.reader
                && *acknowledgement == Acknowledgement::Wanted
            {
                *acknowledgement = Acknowledgement::Due;
            }
        }
    }

    fn forget(&self) {
        let mut inner = self.lock();
        inner.queue.forget();
        if let Reader::Batches { batches, .. } = &inner.reader {
            batches.forget();
        }
    }

    fn deny(&self, error: Option<Error>) {
        self.lock().hinder(|hindrance| hindrance.denied = error);
    }

    fn park(&self, error: Option<Error>) {
        self.lock().hinder(|hindrance| hindrance.parked = error);
    }

    fn end(&self, error: Option<Error>) {
        let mut inner = self.lock();
        let Inner { awaited, reader, .. } = &mut *inner;
        if let Reader::Batches { held: held @ Hold::Paused, .. } = reader {
            *held = Hold::No;
        }
        if let (true, Reader::Batches { is_over, .. }) = (*awaited, reader) {
            // The host does not know the id yet.
            *is_over = true;
        }
        match (&error, &inner.reader) {
            (Some(Error::Closed), _) => {}
            _ if inner.awaited => {}
            (Some(error), _) => {
                let event = Event::refused(self.topic.clone(), error.clone());
                inner.queue.push_last(event);
            }
            // A host that unsubscribes a callback does not want to be called again.
            (None, Reader::Callback { .. } | Reader::Batches { .. }) => inner.queue.clear(),
            (None, Reader::Stream { .. }) => {}
        }
        inner.status = Status::Ended(error.map(Box::new));
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("Mailbox")
            .field("topic", &without_options(&self.topic))
            .field("status", &inner.status)
            .field("waiting", &inner.queue.len())
            .finish()
    }
}
