//! What the job leaves for the handle of a view, and the other way round.

use std::{
    fmt,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Instant,
};

use event_listener::{Event as Notification, listener};
use futures::task::AtomicWaker;

use super::{
    Changes, Doubt, Freshness, News, Status,
    arrange::Order,
    fold::{Change, Waiting},
    rows::Rows,
};
use crate::{Error, lock::lock};

pub(super) struct Cell {
    inner: Mutex<Inner>,
    order: Order,
    /// Ready, proven, or ended.
    changed: Notification,
    /// The job's.
    pub(super) waker: AtomicWaker,
    news: Option<News>,
}

struct Inner {
    rows: Rows,
    status: Status,
    waiting: Waiting,
    /// Something to take.
    has_news: bool,
    is_ready: bool,
    /// The host is not told yet.
    is_held: bool,
    /// The reader's.
    reader: Option<Waker>,
    /// Proofs wanted, and proofs done.
    tickets: (u64, u64),
    ended: Option<Error>,
    is_abandoned: bool,
}

impl Cell {
    pub(super) fn new(order: Order, news: Option<News>, is_held: bool) -> Arc<Self> {
        let status =
            Status { freshness: Freshness::InDoubt { since: Instant::now(), why: Doubt::Disconnected } };
        let inner = Mutex::new(Inner {
            rows: Rows::default(),
            status,
            waiting: Waiting::default(),
            has_news: false,
            is_ready: false,
            is_held,
            reader: None,
            tickets: (0, 0),
            ended: None,
            is_abandoned: false,
        });
        Arc::new(Self { inner, order, changed: Notification::new(), waker: AtomicWaker::new(), news })
    }

    // ---- The handle's side ----

    pub(super) fn rows(&self) -> Rows {
        lock(&self.inner).rows.clone()
    }

    pub(super) fn status(&self) -> Status {
        lock(&self.inner).status.clone()
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.inner).ended.is_some()
    }

    pub(super) fn is_abandoned(&self) -> bool {
        lock(&self.inner).is_abandoned
    }

    /// Tells of what has happened while it was held.
    pub(super) fn release(&self) {
        let is_new = {
            let mut inner = lock(&self.inner);
            std::mem::take(&mut inner.is_held) && (inner.has_news || inner.ended.is_some())
        };
        if is_new && let Some(news) = &self.news {
            news();
        }
    }

    pub(super) fn error(&self) -> Option<Error> {
        lock(&self.inner).ended.clone()
    }

    pub(super) fn take(&self) -> Option<Changes> {
        let (deltas, rows, status) = {
            let inner = &mut *lock(&self.inner);
            if !std::mem::take(&mut inner.has_news) {
                return None;
            }
            let deltas =
                if inner.is_ready { inner.waiting.take(&inner.rows, &self.order) } else { Vec::new() };
            (deltas, inner.rows.clone(), inner.status.clone())
        };
        Some(Changes { deltas, rows, status })
    }

    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Changes>> {
        {
            let mut inner = lock(&self.inner);
            if !inner.has_news && inner.ended.is_none() {
                let old = inner.reader.replace(cx.waker().clone());
                drop(inner);
                drop(old);
                return Poll::Pending;
            }
        }
        Poll::Ready(self.take())
    }

    pub(super) async fn ready(&self) -> Result<(), Error> {
        self.wait(|inner| inner.is_ready).await
    }

    pub(super) async fn prove(&self) -> Result<(), Error> {
        let ticket = {
            let mut inner = lock(&self.inner);
            inner.tickets.0 += 1;
            inner.tickets.0
        };
        self.waker.wake();
        self.wait(|inner| inner.tickets.1 >= ticket).await
    }

    async fn wait(&self, is_done: impl Fn(&Inner) -> bool) -> Result<(), Error> {
        loop {
            listener!(self.changed => changed);
            {
                let inner = lock(&self.inner);
                if let Some(error) = &inner.ended {
                    return Err(error.clone());
                }
                if is_done(&inner) {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// Nobody will read it any more.
    pub(super) fn abandon(&self) {
        let reader = {
            let mut inner = lock(&self.inner);
            inner.is_abandoned = true;
            inner.reader.take()
        };
        drop(reader);
        self.waker.wake();
    }

    // ---- The job's side ----

    /// Proofs wanted, unless nobody reads it any more.
    pub(super) fn wishes(&self) -> Option<u64> {
        let inner = lock(&self.inner);
        (!inner.is_abandoned).then_some(inner.tickets.0)
    }

    pub(super) fn show(
        &self,
        rows: Rows,
        changes: Vec<Change>,
        is_first: bool,
        freshness: Option<Freshness>,
    ) {
        self.tell(|inner| {
            if let Some(freshness) = freshness {
                inner.status = Status { freshness };
            }
            inner.is_ready |= is_first;
            inner.waiting.push(changes, &rows);
            inner.rows = rows;
        });
    }

    pub(super) fn set_status(&self, freshness: Freshness) {
        self.tell(|inner| inner.status = Status { freshness });
    }

    pub(super) fn proved(&self, ticket: u64) {
        lock(&self.inner).tickets.1 = ticket;
        self.changed.notify(usize::MAX);
    }

    pub(super) fn end(&self, error: Error) {
        self.tell(|inner| _ = inner.ended.get_or_insert(error));
    }

    fn tell(&self, change: impl FnOnce(&mut Inner)) {
        let (reader, is_new) = {
            let mut inner = lock(&self.inner);
            let ended = inner.ended.is_some();
            change(&mut inner);
            let ends = inner.ended.is_some();
            // Before the first list there is a status and nothing to take.
            let is_new = !inner.has_news && inner.is_ready && !ended && !ends;
            inner.has_news |= is_new;
            (inner.reader.take_if(|_| is_new || ends), !inner.is_held && (is_new || ends && !ended))
        };
        self.changed.notify(usize::MAX);
        // The host's code, and no lock is held.
        if let Some(reader) = reader {
            reader.wake();
        }
        if is_new && let Some(news) = &self.news {
            news();
        }
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").finish_non_exhaustive()
    }
}
