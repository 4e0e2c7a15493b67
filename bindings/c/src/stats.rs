//! Counters

use std::{ffi::c_void, mem::size_of};

use crate::{
    border::{ErrorOut, answer, given},
    failure::{Error, Status},
    handle::Client,
};

/// Counters of a client, all since it was made unless said otherwise. Later versions of the library may know more of them,
/// at the end.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Stats {
    /// Streams that were tried to open.
    pub connects: u64,
    /// Streams on which the topics were acknowledged.
    pub connected: u64,
    /// Streams that the server ended in an orderly way.
    pub ended_by_server: u64,
    /// Streams that the network lost.
    pub ended_lost: u64,
    /// Streams that were given up because nothing was heard.
    pub ended_silence: u64,
    /// Streams that the server refused.
    pub ended_refused: u64,
    /// Streams that the server did not know any more.
    pub ended_rejected: u64,
    /// Streams of a user that the client is not any more.
    pub ended_identity_changed: u64,
    /// Streams that were replaced because the network had changed or the machine slept.
    pub ended_suspected: u64,
    /// Sets of topics sent to the server.
    pub submits: u64,
    /// Sets of topics that the server did not accept.
    pub submits_failed: u64,
    /// How many microseconds the last accepted submit took.
    pub submit_latency_us: u64,
    /// Times that the server was asked whether it still takes the client for who it is.
    pub probes: u64,
    /// Messages received.
    pub messages: u64,
    /// Bytes of streams received.
    pub bytes: u64,
    /// Events handed to listeners' queues: a message with three listeners counts three times.
    pub delivered: u64,
    /// Events dropped from the queues of listeners that did not keep up.
    pub lost: u64,
    /// The most events that ever waited for one listener.
    pub queue_high_water: u64,
    /// Messages that no listener wanted, such as one for a topic just unsubscribed.
    pub unmatched: u64,
    /// Messages dropped for their size.
    pub too_large: u64,
    /// Topics wanted now.
    pub topics: u64,
    /// Listeners now.
    pub listeners: u64,
    /// Streams open or being opened now.
    pub streams: u64,
    /// Times that another stream took the place of one without an interruption.
    pub hand_overs: u64,
    /// Panics that left a callback: in C there are none, unless the library has a bug.
    pub panics: u64,
}

/// Where a host wants its counters: so many bytes as it says beside.
#[repr(transparent)]
pub struct StatsOut(*mut c_void);

/// The counters of now. `size` is sizeof(tidings_stats) as the program was compiled: a newer library writes no more than
/// that, an older one sets what it does not know to 0.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child, and TIDINGS_ERR_INVALID_ARGUMENT for a size that is no
/// multiple of 8.
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
            return Err(Error::argument("size", "it is not that of a tidings_stats"));
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
