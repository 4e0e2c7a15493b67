//! A subscription that is read by itself.

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

/// One listener of one topic, whose events are taken from it and not from the queue of the client. Dropping it
/// unsubscribes.
pub struct Subscription {
    inner: Owned<crate::Subscription>,
    queue: Queued,
}

impl Subscription {
    pub(super) fn new(subscription: crate::Subscription, batches: std::sync::Arc<Batches>) -> Self {
        Self { inner: Owned::new(subscription), queue: Queued::new(batches) }
    }

    /// Its id, for [`Client::unsubscribe`](super::Client::unsubscribe) and the like.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn id(&self) -> Result<u64, Error> {
        self.inner.get().map(|subscription| subscription.id().0)
    }

    /// The topic as it stands on the wire, options included.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn topic(&self) -> Result<&str, Error> {
        self.inner.get().map(crate::Subscription::topic)
    }

    /// How it stands.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn state(&self) -> Result<SubscriptionState, Error> {
        self.inner.get().map(crate::Subscription::state)
    }

    /// How many events it has lost because they were not taken in time.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn lost(&self) -> Result<u64, Error> {
        self.inner.get().map(crate::Subscription::lost)
    }

    /// Waits for the next event: `Ready(None)` when nothing more comes, `Pending` when the limit has passed. With `None` it
    /// waits for ever.
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

    /// The next event, if it is there: `Ready(None)` when nothing more comes. With `Pending` the queue of the client will
    /// have [`Item::Woken`](super::Item::Woken) with this `number` when it is worth calling this again.
    ///
    /// # Errors
    /// [`Error::Forked`].
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
