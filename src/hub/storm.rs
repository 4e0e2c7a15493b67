//! Faults at random, for soak tests: the same ones again from the same seed.

use std::time::Duration;

use super::answer::Answer;
use super::faults::{Endpoint, Faults};

/// Strikes a hub with one random fault after the other: see [`Faults::random`].
///
/// Only faults that pass are drawn: what a client has to get over by itself,
/// given a second or two. So no 401 or 404, no web page, no redirect.
///
/// ```
/// use tidings::hub::Hub;
///
/// let seed = 7; // print it: the same seed strikes the same way again
/// let hub = Hub::start()?;
/// let mut storm = hub.faults().random(seed);
/// for _ in 0..20 {
///     let strike = storm.strike();
///     println!("{strike:?}"); // then wait a second, and look at the client
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Storm {
    faults: Faults,
    random: fastrand::Rng,
    last: Option<Strike>,
}

/// A fault that a [`Storm`] struck with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strike {
    /// [`Faults::end_streams`]
    EndStreams,
    /// [`Faults::cut_streams`]
    CutStreams,
    /// [`Faults::reset_streams`]
    ResetStreams,
    /// [`Faults::truncate_streams`]
    TruncateStreams,
    /// [`Faults::half_open`]
    HalfOpen,
    /// [`Faults::freeze`]
    Freeze,
    /// [`Faults::split_bytes`]
    SplitBytes,
    /// [`Faults::throttle`], in bytes a second
    Throttle(usize),
    /// [`Faults::reorder`], with its window
    Reorder(usize),
    /// [`Faults::replacement_window`]
    ReplacementWindow(Duration),
    /// [`Faults::lose_heartbeats`]
    LoseHeartbeats,
    /// [`Faults::bad_json`]
    BadJson,
    /// [`Faults::raw_newlines`]
    RawNewlines,
    /// [`Faults::huge_event`], in bytes
    HugeEvent(usize),
    /// [`Faults::delay`] of submits and of requests for streams
    Delay(Duration),
    /// The next submit gets this status; 429 comes with a `Retry-After` of 1 s.
    RefuseSubmit(u16),
    /// Streams are cut, and the next requests for one get this status; 429
    /// comes with a `Retry-After` of 1 s.
    RefuseStream(u16),
    /// Streams are cut, and the next request for one is never answered.
    Silence,
    /// Streams are cut, and the next request for one is hung up on.
    HangUp,
}

const STREAMS: [Endpoint; 3] = [Endpoint::Connect, Endpoint::Events, Endpoint::Sse];

impl Storm {
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, random: fastrand::Rng::with_seed(seed), last: None }
    }

    /// Takes the last fault back if it was a switch or is still to come, and
    /// strikes with the next. Half-open connections stay so.
    pub fn strike(&mut self) -> Strike {
        self.calm();
        let strike = self.draw();
        self.last = Some(strike);
        self.inject(strike);
        strike
    }

    /// Takes the last fault back, as far as it can be. Dropping the storm does so too.
    pub fn calm(&mut self) {
        let faults = &self.faults;
        match self.last.take() {
            Some(Strike::Freeze) => faults.freeze(false),
            Some(Strike::SplitBytes) => faults.split_bytes(false),
            Some(Strike::Throttle(_)) => faults.throttle(0),
            Some(Strike::Reorder(_)) => faults.reorder(0),
            Some(Strike::ReplacementWindow(_)) => faults.replacement_window(Duration::ZERO),
            Some(Strike::LoseHeartbeats) => faults.lose_heartbeats(false),
            Some(Strike::Delay(_)) => self.delay(Duration::ZERO),
            Some(Strike::RefuseSubmit(_)) => faults.forget_answers(Endpoint::Submit),
            Some(Strike::RefuseStream(_) | Strike::Silence | Strike::HangUp) => {
                STREAMS.into_iter().for_each(|endpoint| faults.forget_answers(endpoint));
            }
            _ => {}
        }
    }

    fn draw(&mut self) -> Strike {
        let random = &mut self.random;
        let status = |random: &mut fastrand::Rng| [429, 500, 502, 503, 504][random.usize(..5)];
        match random.u8(..19) {
            0 => Strike::EndStreams,
            1 => Strike::CutStreams,
            2 => Strike::ResetStreams,
            3 => Strike::TruncateStreams,
            4 => Strike::HalfOpen,
            5 => Strike::Freeze,
            6 => Strike::SplitBytes,
            7 => Strike::Throttle(random.usize(200..20_000)),
            8 => Strike::Reorder(random.usize(2..50)),
            9 => Strike::ReplacementWindow(Duration::from_millis(random.u64(1..500))),
            10 => Strike::LoseHeartbeats,
            11 => Strike::BadJson,
            12 => Strike::RawNewlines,
            13 => Strike::HugeEvent(random.usize(1 << 20..20 << 20)),
            14 => Strike::Delay(Duration::from_millis(random.u64(1..800))),
            15 => Strike::RefuseSubmit(status(random)),
            16 => Strike::RefuseStream(status(random)),
            17 => Strike::Silence,
            _ => Strike::HangUp,
        }
    }

    fn inject(&self, strike: Strike) {
        let faults = &self.faults;
        let refusal = |status: u16| match status {
            429 => Answer::status(429).retry_after(Duration::from_secs(1)),
            _ => Answer::status(status),
        };
        let next_stream = |answer: Answer| {
            STREAMS.into_iter().for_each(|endpoint| faults.answer_next(endpoint, answer.clone(), 1));
            faults.cut_streams();
        };
        match strike {
            Strike::EndStreams => _ = faults.end_streams(),
            Strike::CutStreams => _ = faults.cut_streams(),
            Strike::ResetStreams => _ = faults.reset_streams(),
            Strike::TruncateStreams => _ = faults.truncate_streams(),
            Strike::HalfOpen => _ = faults.half_open(),
            Strike::Freeze => faults.freeze(true),
            Strike::SplitBytes => faults.split_bytes(true),
            Strike::Throttle(rate) => faults.throttle(rate),
            Strike::Reorder(window) => faults.reorder(window),
            Strike::ReplacementWindow(window) => faults.replacement_window(window),
            Strike::LoseHeartbeats => faults.lose_heartbeats(true),
            Strike::BadJson => _ = faults.bad_json(),
            Strike::RawNewlines => _ = faults.raw_newlines(),
            Strike::HugeEvent(bytes) => _ = faults.huge_event(bytes),
            Strike::Delay(delay) => self.delay(delay),
            Strike::RefuseSubmit(status) => faults.answer_next(Endpoint::Submit, refusal(status), 1),
            Strike::RefuseStream(status) => next_stream(refusal(status)),
            Strike::Silence => next_stream(Answer::silence()),
            Strike::HangUp => next_stream(Answer::hang_up()),
        }
    }

    fn delay(&self, delay: Duration) {
        for endpoint in STREAMS.into_iter().chain([Endpoint::Submit]) {
            self.faults.delay(endpoint, delay);
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.calm();
    }
}
