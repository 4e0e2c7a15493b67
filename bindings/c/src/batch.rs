//! The queue

use tidings_core::blocking::Item;

use crate::{
    border::{ErrorOut, answer, free, given, limit, value},
    event::Event,
    failure::Status,
    handle::Client,
};

/// Room for events taken from the queue. It can be used again and again.
#[derive(Default)]
pub struct Batch {
    events: Vec<Event>,
    /// Kept for its memory.
    items: Vec<Item>,
}

/// An empty batch. Never NULL.
///
/// Threads: any. The batch is yours: free it with tidings_batch_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_batch_new() -> Box<Batch> {
    Box::default()
}

/// Takes up to `most` events out of the client's queue: those of all subscriptions that have no callback, and others that
/// were asked for with tidings_client_options_set_notices(). The events of the batch before are freed.
///
/// It waits until there is one, but not longer than `timeout_ms` milliseconds: then it returns TIDINGS_OK, and the batch
/// is empty. With 0 it does not wait, with a negative time-out it waits for ever. Subscriptions take turns, so one with a
/// backlog does not keep the others waiting.
///
/// Threads: any; when several wait, each event goes to one of them. The batch: one at a time. The events belong to the
/// batch. Returns TIDINGS_ERR_CLOSED, at once, when the client is closed, here or elsewhere; what was not taken by then is
/// dropped.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_next(
    client: Option<&Client>,
    batch: Option<&mut Batch>,
    most: usize,
    timeout_ms: i64,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let Batch { events, items } = given(batch, "batch")?;
        events.clear();
        let client = given(client, "client")?.get();
        client.next(items, most, limit(timeout_ms))?;
        events.extend(items.drain(..).filter_map(Event::from_item));
        Ok(())
    })
}

/// How many events there are.
///
/// Threads: any, while nothing is put into the batch.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_batch_len(batch: Option<&Batch>) -> usize {
    value(0, || Some(batch?.events.len()))
}

/// One of the events; NULL when `index` is not below the length.
///
/// Threads: any, while nothing is put into the batch. The event belongs to the batch, until the next
/// tidings_client_next() with it.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_batch_event(batch: Option<&Batch>, index: usize) -> Option<&Event> {
    value(None, || batch?.events.get(index).map(Some))
}

/// Frees a batch and its events.
///
/// Threads: one at a time. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_batch_free(batch: Option<Box<Batch>>) {
    free(batch);
}

/// A descriptor that is readable exactly while tidings_client_next() would not wait, for poll(), epoll, kqueue or an event
/// loop over them. Only wait for it; never read, write or close it. -1 when there is none: for NULL, in a forked child,
/// or when the system gives none.
///
/// Threads: any. The descriptor belongs to the client.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_fd(client: Option<&Client>) -> i32 {
    value(-1, || {
        let client = client?;
        Some(client.watched.keep(client.get().descriptor().ok()?))
    })
}
