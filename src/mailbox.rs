//! Between the engine and one listener: the listener's queue, and who waits for it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use event_listener::{Event as Notification, listener};

use crate::{
    Error, Event,
    callbacks::Callbacks,
    engine::{Delivered, Limits, Outlet, Queue, topic::without_options},
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
}

#[derive(Clone, Debug)]
pub(crate) enum Status {
    /// The server has not acknowledged the topic yet.
    Pending,
    Ready,
    /// Nothing more comes; `None` where the host asked for it.
    Ended(Option<Error>),
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
        /// It stands in the worker's line.
        in_line: bool,
    },
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
        Self::new(topic, limits, Reader::Callback { worker, callback: Some(callback), in_line: false })
    }

    fn new(topic: Arc<str>, limits: Limits, reader: Reader) -> Arc<Self> {
        let queue = Queue::new(topic.clone(), limits);
        let inner = Mutex::new(Inner { queue, status: Status::Pending, reader });
        Arc::new(Self { topic, inner, changed: Notification::new() })
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(crate) fn status(&self) -> Status {
        self.lock().status.clone()
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
                Status::Ended(error) => return Err(error.unwrap_or(Error::Closed)),
            }
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
        match &mut inner.reader {
            Reader::Stream { waker, woken } => {
                *woken = false;
                let waker = waker.take();
                drop(inner);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Reader::Callback { worker, in_line, .. } => {
                if !std::mem::replace(in_line, true) {
                    let worker = worker.clone();
                    drop(inner);
                    worker.line_up(self.clone());
                }
            }
        }
    }

    /// On the callback thread: the next event and the callback to give it to. With `None` the mailbox leaves the
    /// line, and if nothing more can come, the callback is dropped.
    pub(crate) fn take_turn(&self) -> Option<(Event, Callback)> {
        let mut inner = self.lock();
        let Inner { queue, status, reader: Reader::Callback { callback, in_line, .. } } = &mut *inner else {
            return None;
        };
        if let Some(event) = queue.pop()
            && let Some(callback) = callback.take()
        {
            return Some((event, callback));
        }
        *in_line = false;
        let spent = if matches!(status, Status::Ended(_)) { callback.take() } else { None };
        drop(inner);
        drop(spent);
        None
    }

    /// On the callback thread: gives the callback back after its turn.
    pub(crate) fn end_turn(&self, returned: Callback) {
        if let Reader::Callback { callback, .. } = &mut self.lock().reader {
            *callback = Some(returned);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet for Arc<Mailbox> {
    fn deliver(&self, event: Event) -> Delivered {
        let mut inner = self.lock();
        let before = inner.queue.lost();
        inner.queue.push(event);
        let lost = inner.queue.lost() - before;
        let waiting = inner.queue.len();
        let wake = match &mut inner.reader {
            Reader::Stream { waker, woken } => waker.is_some() && !std::mem::replace(woken, true),
            Reader::Callback { in_line, .. } => !*in_line,
        };
        Delivered { wake, lost, waiting }
    }

    fn ready(&self) {
        let mut inner = self.lock();
        if matches!(inner.status, Status::Pending) {
            inner.status = Status::Ready;
        }
    }

    fn end(&self, error: Option<Error>) {
        let mut inner = self.lock();
        match (&error, &inner.reader) {
            (Some(Error::Closed), _) => {}
            (Some(error), _) => {
                let event = Event::refused(self.topic.clone(), error.clone());
                inner.queue.push_last(event);
            }
            // Who unsubscribes a callback does not want to be called again.
            (None, Reader::Callback { .. }) => inner.queue.clear(),
            (None, Reader::Stream { .. }) => {}
        }
        inner.status = Status::Ended(error);
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
