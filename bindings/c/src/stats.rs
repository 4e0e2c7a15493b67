//! Counters

use std::{ffi::c_void, mem::size_of};

use crate::{
    border::{ErrorOut, answer, given},
    failure::{Error, Status},
    handle::Client,
};

/// Counters of a client, since it was created unless noted. Later versions may add counters at the end.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Stats {
    /// Attempts to open a stream.
    pub connects: u64,
    /// Streams on which the topics were acknowledged.
    pub connected: u64,
    /// Streams that the server ended in an orderly way (TIDINGS_REASON_ENDED_BY_SERVER).
    pub ended_by_server: u64,
    /// Streams that were lost, or could not be opened, because of the network (TIDINGS_REASON_LOST).
    pub ended_lost: u64,
    /// Streams that were given up because nothing was received for too long (TIDINGS_REASON_SILENCE).
    pub ended_silence: u64,
    /// Streams that the server refused (TIDINGS_REASON_REFUSED).
    pub ended_refused: u64,
    /// Streams that the server no longer knew (TIDINGS_REASON_STREAM_REJECTED).
    pub ended_rejected: u64,
    /// Streams that were closed because another user signed in (TIDINGS_REASON_IDENTITY_CHANGED).
    pub ended_identity_changed: u64,
    /// Streams that were replaced because the network changed or the machine slept (TIDINGS_REASON_SUSPECTED).
    pub ended_suspected: u64,
    /// Requests that sent the set of topics to the server.
    pub submits: u64,
    /// Those of them that the server did not accept.
    pub submits_failed: u64,
    /// Duration of the last accepted one, in microseconds.
    pub submit_latency_us: u64,
    /// Requests that asked the server whether it still accepts the client's identity.
    pub probes: u64,
    /// Messages received, including the handshake of each stream.
    pub messages: u64,
    /// Bytes received on streams.
    pub bytes: u64,
    /// Events put into listeners' queues: a message with three listeners counts three times.
    pub delivered: u64,
    /// Events dropped from the queues of listeners that did not keep up.
    pub lost: u64,
    /// The largest number of events that were ever queued for one listener.
    pub queue_high_water: u64,
    /// Messages without a listener, such as one for a topic that was just unsubscribed.
    pub unmatched: u64,
    /// Messages dropped because they exceeded the size limit.
    pub too_large: u64,
    /// Current number of topics.
    pub topics: u64,
    /// Current number of listeners.
    pub listeners: u64,
    /// Current number of streams, open or being opened.
    pub streams: u64,
    /// Handovers: streams that were replaced by another one without an interruption (make-before-break).
    pub hand_overs: u64,
    /// Panics that left a callback. In C always 0, unless the library has a bug.
    pub panics: u64,
}

/// Where a host wants its counters: so many bytes as it says beside.
#[repr(transparent)]
pub struct StatsOut(*mut c_void);

/// The current counters. `size` is sizeof(tidings_stats) as your program was compiled: a newer library writes no more
/// than that, and an older one sets the counters that it does not know to 0.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child, and TIDINGS_ERR_INVALID_ARGUMENT for a size that is not
/// a multiple of 8.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_stats(
    client: Option<&Client>,
    stats: StatsOut,
    size: usize,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let out = given(Some(stats.0.cast::<u8>()).filter(|out| !out.is_null()), "stats")?;
        if !size.is_multiple_of(size_of::<u64>()) || size > MOST {
            return Err(Error::argument("size", "it is not a multiple of 8, or too large"));
        }
        // SAFETY: it is not NULL, so by the header it points to `size` bytes that may be written.
        unsafe { out.write_bytes(0, size) };
        let known = Stats::of(&given(client, "client")?.get().get()?.stats());
        // SAFETY: as above, and `known` is all integers without padding, of which no more than there are is read.
        unsafe {
            (&raw const known).cast::<u8>().copy_to_nonoverlapping(out, size.min(size_of::<Stats>()));
        }
        Ok(())
    })
}

/// More than any version will have.
const MOST: usize = 4096;

impl Stats {
    fn of(stats: &tidings_core::Stats) -> Self {
        let ended = stats.disconnects;
        Self {
            connects: stats.connects,
            connected: stats.connected,
            ended_by_server: ended.ended_by_server,
            ended_lost: ended.lost,
            ended_silence: ended.silence,
            ended_refused: ended.refused,
            ended_rejected: ended.rejected,
            ended_identity_changed: ended.identity_changed,
            ended_suspected: ended.suspected,
            submits: stats.submits,
            submits_failed: stats.submits_failed,
            submit_latency_us: stats.submit_latency.as_micros().try_into().unwrap_or(u64::MAX),
            probes: stats.probes,
            messages: stats.messages,
            bytes: stats.bytes,
            delivered: stats.delivered,
            lost: stats.lost,
            queue_high_water: stats.queue_high_water as u64,
            unmatched: stats.unmatched,
            too_large: stats.too_large,
            topics: stats.topics as u64,
            listeners: stats.listeners as u64,
            streams: stats.streams as u64,
            hand_overs: stats.hand_overs,
            panics: stats.panics,
        }
    }
}
