//! A subscription with a handle of its own.

use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use futures::StreamExt;

use super::{
    call::{Queued, wait_for},
    process::Owned,
};
use crate::{Error, Event, SubscriptionState, delivery::batches::Batches};

/// One listener of one topic, whose events are read from this handle and not from the client's queue. Dropping it
/// unsubscribes.
pub struct Subscription {
    inner: Owned<crate::Subscription>,
    queue: Queued,
}

impl Subscription {
    pub(super) fn new(subscription: crate::Subscription, batches: std::sync::Arc<Batches>) -> Self {
        Self { inner: Owned::new(subscription), queue: Queued::new(batches) }
    }

    /// Its id, as used by [`Client::unsubscribe`](super::Client::unsubscribe).
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn id(&self) -> Result<u64, Error> {
        self.inner.get().map(|subscription| subscription.id().0)
    }

    /// The topic as sent to the server, options included.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn topic(&self) -> Result<&str, Error> {
        self.inner.get().map(crate::Subscription::topic)
    }

    /// The state of the subscription.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn state(&self) -> Result<SubscriptionState, Error> {
        self.inner.get().map(crate::Subscription::state)
    }

    /// How many events were dropped from its queue because they were not taken in time.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn lost(&self) -> Result<u64, Error> {
        self.inner.get().map(crate::Subscription::lost)
    }

    /// Waits for the next event: `Ready(None)` when the subscription has ended, `Pending` when the limit has passed. With
    /// `None` it waits indefinitely.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn next(&mut self, limit: Option<Duration>) -> Result<Poll<Option<Event>>, Error> {
        let subscription = self.inner.get_mut()?;
        Ok(wait_for(limit, |cx| subscription.poll_next_unpin(cx)))
    }

    /// The next event, if it is there: `Ready(None)` when nothing more comes. With `Pending` the waker of `cx` is woken
    /// when it is worth calling this again.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Result<Poll<Option<Event>>, Error> {
        Ok(self.inner.get_mut()?.poll_next_unpin(cx))
    }

    /// For the Python bindings, whose event loop waits for the client's descriptor: the next event if it is there, and
    /// `Ready(None)` when the subscription has ended. After `Pending`, [`Item::Woken`](super::Item::Woken) with this `number`
    /// is queued when it is worth calling again.
    ///
    /// # Errors
    /// [`Error::Forked`].
    #[doc(hidden)]
    pub fn poll_queued(&mut self, number: u64) -> Result<Poll<Option<Event>>, Error> {
        let subscription = self.inner.get_mut()?;
        Ok(subscription.poll_next_unpin(&mut self.queue.context(number)))
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("inner", &self.inner).finish()
    }
}
