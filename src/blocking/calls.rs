//! Calls that nobody waits for: they make progress while the queue is taken, and their results come through it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::AtomicU64, atomic::Ordering},
};

use super::{Answer, Call, Item, Tag};
use crate::{Error, delivery::mailbox::Held, lock::lock};

/// The id of the first call. A call and a subscription never have the same id.
const FIRST: u64 = 1 << 63;

/// How many calls may run at once.
const LIMIT: usize = 10_000;

#[derive(Default)]
pub(super) struct Calls {
    running: Mutex<HashMap<u64, Arc<Mutex<Option<Running>>>>>,
    made: AtomicU64,
}

/// What a call is for.
pub(super) enum Work {
    Ask(Call<Answer>),
    Subscribe(u64, Call<Held>),
}

struct Running {
    work: Work,
    tag: Option<Tag>,
}

/// What a poll comes to.
enum Outcome {
    Answered(Result<Answer, Error>),
    Acknowledged(u64, Held),
    Failed(u64, Error),
}

impl Calls {
    /// Notes a call. It begins with [`advance`](Self::advance).
    pub(super) fn add(&self, work: Work, tag: Option<Tag>) -> Result<u64, Error> {
        let mut running = lock(&self.running);
        if running.len() >= LIMIT {
            let reason =
                format!("{LIMIT} calls are running already: take their results from the queue first");
            return Err(Error::argument("call", reason));
        }
        let id = self.next_id();
        running.insert(id, Arc::new(Mutex::new(Some(Running { work, tag }))));
        Ok(id)
    }

    /// An id that no other call, subscription or view has.
    pub(super) fn next_id(&self) -> u64 {
        FIRST + self.made.fetch_add(1, Ordering::Relaxed)
    }

    /// Cancels a call. Whether it was running, and so nothing of it follows.
    pub(super) fn cancel(&self, id: u64) -> bool {
        let call = lock(&self.running).remove(&id);
        // The call's own lock is released before what the host gave is dropped.
        let running = call.and_then(|call| lock(&call).take());
        running.is_some()
    }

    /// Cancels all.
    pub(super) fn clear(&self) {
        let running = std::mem::take(&mut *lock(&self.running));
        drop(running);
    }

    /// Replaces the wake-ups of these calls, from `first` on, by the results that there are.
    pub(super) fn advance(&self, batch: &mut Vec<Item>, first: usize) {
        let is_ours = |item: &Item| matches!(item, Item::Woken(number) if *number >= FIRST);
        if !batch[first..].iter().any(is_ours) {
            return;
        }
        let items: Vec<Item> = batch.drain(first..).collect();
        for item in items {
            match item {
                Item::Woken(id) if id >= FIRST => self.poll(id, batch),
                other => batch.push(other),
            }
        }
    }

    fn poll(&self, id: u64, batch: &mut Vec<Item>) {
        let Some(call) = lock(&self.running).get(&id).cloned() else { return };
        // Held while it is polled: another thread that is told to poll it too must not pass it by.
        let mut slot = lock(&call);
        let Some(outcome) = slot.as_mut().and_then(|running| running.work.poll(id)) else { return };
        let ended = slot.take();
        drop(slot);
        lock(&self.running).remove(&id);
        let Some(Running { tag, work }) = ended else { return };
        match outcome {
            Outcome::Answered(answer) => batch.push(Item::Completed { call: id, answer, tag }),
            Outcome::Acknowledged(subscription, held) => {
                batch.push(Item::Acknowledged { subscription, tag });
                drop(held);
            }
            Outcome::Failed(subscription, error) => {
                // Closed is said of one that was unsubscribed; a closed client has no queue.
                let why = Some(error).filter(|error| !matches!(error, Error::Closed));
                batch.push(Item::Ended { subscription, why, tag });
            }
        }
        drop(work);
    }
}

impl Work {
    fn poll(&mut self, id: u64) -> Option<Outcome> {
        match self {
            Self::Ask(call) => call.poll_queued(id).map(Outcome::Answered),
            Self::Subscribe(subscription, call) => Some(match call.poll_queued(id)? {
                Ok(held) => Outcome::Acknowledged(*subscription, held),
                Err(error) => Outcome::Failed(*subscription, error),
            }),
        }
    }
}
