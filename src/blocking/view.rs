//! A live view, for a thread that waits for it.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    call::{Call, Queued, wait_for},
    process::Owned,
};
use crate::{Changes, Error, Rows, Status, delivery::batches::Batches};

/// A live view, made with [`Client::watch`](super::Client::watch). Dropping it ends the view.
pub struct View {
    inner: Arc<Owned<crate::View>>,
    batches: Arc<Batches>,
    queue: Queued,
}

impl View {
    pub(super) fn new(view: crate::View, batches: Arc<Batches>) -> Self {
        let queue = Queued::new(batches.clone());
        Self { inner: Arc::new(Owned::new(view)), batches, queue }
    }

    /// For the Python bindings: the same view. Only one of them may wait for changes; the last that is dropped ends it.
    #[doc(hidden)]
    pub fn another(&self) -> Self {
        let queue = Queued::new(self.batches.clone());
        Self { inner: self.inner.clone(), batches: self.batches.clone(), queue }
    }

    /// The rows as they are now. See [`crate::View::rows`].
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn rows(&self) -> Result<Rows, Error> {
        self.inner.get().map(crate::View::rows)
    }

    /// Whether the rows are what the server has.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn status(&self) -> Result<Status, Error> {
        self.inner.get().map(crate::View::status)
    }

    /// Why it has ended, if it has.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn error(&self) -> Result<Option<Error>, Error> {
        self.inner.get().map(crate::View::error)
    }

    /// Waits for the next batch of changes: `Ready(None)` when the view has ended, `Pending` when the limit has passed. With
    /// `None` it waits indefinitely. See [`crate::View::next`].
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn next(&mut self, limit: Option<Duration>) -> Result<Poll<Option<Changes>>, Error> {
        let view = self.inner.get()?;
        Ok(wait_for(limit, |cx| view.poll_take(cx)))
    }

    /// The next batch, if it is there: `Ready(None)` when nothing more comes. With `Pending` the waker of `cx` is woken when
    /// it is worth calling this again.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Result<Poll<Option<Changes>>, Error> {
        Ok(self.inner.get()?.poll_take(cx))
    }

    /// For the Python bindings: as [`Subscription::poll_queued`](super::Subscription::poll_queued).
    #[doc(hidden)]
    pub fn poll_queued(&mut self, number: u64) -> Result<Poll<Option<Changes>>, Error> {
        Ok(self.inner.get()?.poll_take(&mut self.queue.context(number)))
    }

    /// Compares the view with the server's list. When the call returns, the rows show every write that was committed before
    /// this. While the link is down the call waits.
    ///
    /// # Errors
    /// [`Error::Forked`]. The call returns the reason why the view has ended, if it has.
    pub fn prove(&self) -> Result<Call<()>, Error> {
        Ok(Call::new(self.batches.clone(), self.inner.get()?.proving()))
    }

    /// From now on the queue, or the callback, is told of changes: of those that there are already, at once. Only for a view
    /// of [`watch_queued`](super::Client::watch_queued) or [`start_watch_queued`](super::Client::start_watch_queued); when
    /// this is called, the host knows the view and its id.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn release(&self) -> Result<(), Error> {
        self.inner.get().map(crate::View::release)
    }

    /// Ends the view, also for a thread that waits for changes. What it showed last can still be read.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn close(&self) -> Result<(), Error> {
        self.inner.get().map(crate::View::close)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("inner", &self.inner).finish()
    }
}
