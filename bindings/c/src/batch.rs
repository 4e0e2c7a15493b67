//! The queue

use tidings_core::blocking::Item;

use crate::{
    border::{ErrorOut, answer, free, given, limit, value},
    event::Event,
    failure::{Error, Status},
    handle::Client,
};

/// A reusable container for events taken from the queue.
#[derive(Default)]
pub struct Batch {
    pub(crate) events: Vec<Event>,
    /// How many of them tidings_client_next_packed() has copied.
    pub(crate) packed: usize,
    /// Kept for its memory.
    items: Vec<Item>,
}

impl Batch {
    /// Frees what is in it, and takes more.
    pub(crate) fn take(
        &mut self,
        take: impl Fn(&mut Vec<Item>) -> Result<usize, tidings_core::Error>,
    ) -> Result<(), Error> {
        self.events.clear();
        self.packed = 0;
        // What C is not told of is no end of what there is: an empty batch says that there is nothing more.
        while self.events.is_empty() && take(&mut self.items)? > 0 {
            self.events.extend(self.items.drain(..).filter_map(Event::from_item));
        }
        self.packed = self.events.len();
        Ok(())
    }
}

/// Creates an empty batch. Never NULL.
///
/// Threads: any. The batch is yours: free it with tidings_batch_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_batch_new() -> Box<Batch> {
    Box::default()
}

/// Takes up to `most` events out of the client's queue, which receives the events of all subscriptions without a
/// callback, and the notices enabled by tidings_client_options_set_notices(). The previous contents of the batch are
/// freed.
///
/// Waits up to `timeout_ms` milliseconds for the first event. If none arrives, it returns TIDINGS_OK with an empty
/// batch. With 0 it does not wait, with a negative timeout it waits indefinitely. Subscriptions take turns, so that one
/// with a backlog does not hold up the others.
///
/// Threads: any; if several wait, each event goes to one of them. The batch: one at a time. The events belong to the
/// batch. Returns TIDINGS_ERR_CLOSED, immediately, when the client is closed; events not taken by then are dropped.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_next(
    client: Option<&Client>,
    batch: Option<&mut Batch>,
    most: usize,
    timeout_ms: i64,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let batch = given(batch, "batch")?;
        let client = given(client, "client")?.get();
        batch.take(|items| client.next(items, most, limit(timeout_ms)))
    })
}

/// The number of events in the batch.
///
/// Threads: any, while the batch is not being filled.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_batch_len(batch: Option<&Batch>) -> usize {
    value(0, || Some(batch?.events.len()))
}

/// The event at `index`; NULL if `index` is out of range.
///
/// Threads: any, while the batch is not being filled. The event belongs to the batch, until the next
/// tidings_client_next() with it.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_batch_event(batch: Option<&Batch>, index: usize) -> Option<&Event> {
    value(None, || batch?.events.get(index).map(Some))
}

/// Frees a batch and its events.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_batch_free(batch: Option<Box<Batch>>) {
    free(batch);
}

/// A descriptor that is readable exactly while tidings_client_next() would not wait, for poll(), epoll, kqueue or an
/// event loop built on them. Only wait for it: never read, write or close it. -1 for NULL, in a forked child, if the
/// system has no descriptor left, and on Windows, which has nothing like it: there a thread of yours waits in
/// tidings_client_next() with a timeout, and tells your loop.
///
/// Threads: any. The descriptor belongs to the client, and stays the same until the client is freed.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_fd(client: Option<&Client>) -> i32 {
    value(-1, || client?.fd())
}
