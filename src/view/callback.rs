//! The callback of a view, which has its turns on the thread of all callbacks.

use std::sync::{
    Arc, Mutex, OnceLock, Weak,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use super::{Changes, cell::Cell};
use crate::{
    Error,
    delivery::callbacks::{Callbacks, Turns},
    lock::lock,
};

pub(super) type Callback = Box<dyn FnMut(Result<Changes, Error>) + Send>;

/// Calls the host when there is something for it.
pub(super) struct Caller {
    callbacks: Arc<Callbacks>,
    /// Of the view, which holds this.
    cell: OnceLock<Weak<Cell>>,
    /// Out while it runs.
    callback: Mutex<Option<Callback>>,
    is_queued: AtomicBool,
    is_over: AtomicBool,
}

impl Caller {
    pub(super) fn new(callbacks: Arc<Callbacks>, callback: Callback) -> Arc<Self> {
        Arc::new(Self {
            callbacks,
            cell: OnceLock::new(),
            callback: Mutex::new(Some(callback)),
            is_queued: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        })
    }

    pub(super) fn read(&self, cell: &Arc<Cell>) {
        _ = self.cell.set(Arc::downgrade(cell));
    }

    /// There is something to take, or nothing will come any more.
    pub(super) fn news(self: &Arc<Self>) {
        if !self.is_queued.swap(true, SeqCst) {
            self.callbacks.enqueue_turns(self.clone());
        }
    }
}

impl Turns for Caller {
    fn take_turn(self: Arc<Self>) {
        self.is_queued.store(false, SeqCst);
        let Some(callback) = lock(&self.callback).take() else { return };
        let mut out = Out { caller: &self, callback: Some(callback) };
        let Some(cell) = self.cell.get().and_then(Weak::upgrade).filter(|cell| !cell.is_abandoned()) else {
            return self.end();
        };
        if let Some(changes) = cell.take() {
            out.call(Ok(changes));
            if cell.has_ended() {
                self.news();
            }
        } else if let Some(error) = cell.error() {
            self.end();
            // The host that has closed it knows.
            if !matches!(error, Error::Closed) {
                out.call(Err(error));
            }
        }
    }

    fn end(&self) {
        self.is_over.store(true, SeqCst);
        let callback = lock(&self.callback).take();
        drop(callback);
    }
}

/// The callback while it runs. It goes back also when it panics.
struct Out<'a> {
    caller: &'a Caller,
    callback: Option<Callback>,
}

impl Out<'_> {
    fn call(&mut self, news: Result<Changes, Error>) {
        if let Some(callback) = &mut self.callback {
            callback(news);
        }
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        *lock(&self.caller.callback) = self.callback.take();
        if self.caller.is_over.load(SeqCst) {
            self.caller.end();
        }
    }
}
