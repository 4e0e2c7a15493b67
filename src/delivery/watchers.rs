//! Streams of changes of one value, such as the state, to whoever watches it.

use std::sync::Mutex;

use crate::lock::lock;

/// Changes queued for a watcher that does not keep up; the oldest are dropped.
const CHANGES: usize = 64;

/// The watchers of one value.
#[derive(Debug)]
pub(crate) struct Watchers<T>(
    /// `None` once nothing more is reported.
    Mutex<Option<Vec<async_channel::Sender<T>>>>,
);

impl<T> Default for Watchers<T> {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

impl<T: Clone> Watchers<T> {
    /// A stream that begins with `first`, asked for under the lock so that no change falls between.
    pub(crate) fn watch(&self, first: impl FnOnce() -> T) -> async_channel::Receiver<T> {
        let (sender, receiver) = async_channel::bounded(CHANGES);
        let mut senders = lock(&self.0);
        let _ = sender.try_send(first());
        if let Some(senders) = &mut *senders {
            senders.push(sender);
        }
        receiver
    }

    pub(crate) fn report(&self, change: &T) {
        let senders = {
            let mut senders = lock(&self.0);
            let Some(senders) = &mut *senders else { return };
            senders.retain(|sender| !sender.is_closed());
            senders.clone()
        };
        for sender in senders {
            let _ = sender.force_send(change.clone());
        }
    }

    pub(crate) fn close(&self) {
        *lock(&self.0) = None;
    }
}
