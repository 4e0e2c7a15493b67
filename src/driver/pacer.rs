//! When to let events gather before the socket is read again, as network cards moderate their interrupts.
//!
//! PocketBase sends each event by itself. At some thousands a second, a client that reads as soon as there is something makes
//! for each event a wake-up, a `read`, and a wake-up of whoever takes it. Some hundred microseconds later a dozen of them
//! can be had for the same price. A quiet stream is read at once.

use std::time::{Duration, Instant};

/// How long events are counted until their rate is believed.
const WINDOW: Duration = Duration::from_millis(5);

/// Events in a second from which on they gather, and under which they do not any more.
const BUSY: f64 = 4_000.0;
const QUIET: f64 = 3_000.0;

/// Bytes of one round that are enough. A sender with so much under way may be waiting for us: Linux begins with windows of
/// 14 to 16 KiB on either side, and who reads those only every 300 microseconds halves what it can send.
const ENOUGH: u64 = 12 * 1024;

#[derive(Debug)]
pub(crate) struct Pacer {
    /// The longest pause; none is made with zero.
    bound: Duration,
    /// Since when events are counted, and how many there were.
    window: Option<(Instant, u64)>,
    is_busy: bool,
}

impl Pacer {
    pub(crate) fn new(bound: Duration) -> Self {
        Self { bound, window: None, is_busy: false }
    }

    /// How long to wait after a round that has brought `events` in so many `bytes` and left nothing to do.
    pub(crate) fn pause(&mut self, now: Instant, events: u64, bytes: u64) -> Duration {
        if events == 0 || self.bound.is_zero() {
            return Duration::ZERO;
        }
        let (began, counted) = self.window.get_or_insert((now, 0));
        *counted += events;
        let span = now.saturating_duration_since(*began);
        if span >= WINDOW {
            let rate = *counted as f64 / span.as_secs_f64();
            self.is_busy = rate >= if self.is_busy { QUIET } else { BUSY };
            self.window = Some((now, 0));
        }
        if self.is_busy && bytes < ENOUGH { self.bound } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_micros(250);

    /// Bytes of an event.
    const SIZE: u64 = 256;

    /// Pauses in a second of single events at this rate, each read when it comes or when the pause is over.
    fn pauses_at(pacer: &mut Pacer, now: &mut Instant, rate: f64) -> usize {
        let (mut pauses, mut due, end) = (0, *now, *now + Duration::from_secs(1));
        let between = Duration::from_secs_f64(1.0 / rate);
        while due < end {
            *now = due.max(*now);
            let mut events = 0;
            while due <= *now {
                (due, events) = (due + between, events + 1);
            }
            let pause = pacer.pause(*now, events, events * SIZE);
            pauses += usize::from(!pause.is_zero());
            *now += pause;
        }
        pauses
    }

    #[test]
    fn what_comes_slowly_is_never_kept_waiting() {
        let (mut pacer, mut now) = (Pacer::new(BOUND), Instant::now());
        for rate in [1.0, 200.0, 2_000.0] {
            assert_eq!(pauses_at(&mut pacer, &mut now, rate), 0, "{rate} events a second");
        }
    }

    #[test]
    fn what_comes_fast_gathers_until_it_comes_slowly_again() {
        let (mut pacer, mut now) = (Pacer::new(BOUND), Instant::now());
        let pauses = pauses_at(&mut pacer, &mut now, 20_000.0);
        assert!((3_000..=4_000).contains(&pauses), "{pauses}");
        let pauses = pauses_at(&mut pacer, &mut now, 2_000.0);
        assert!(pauses <= 15, "within one window it is noticed: {pauses}");
    }

    #[test]
    fn a_few_events_at_once_are_no_stream() {
        let (mut pacer, mut now) = (Pacer::new(BOUND), Instant::now());
        for _ in 0..100 {
            now += Duration::from_secs(1);
            assert_eq!(pacer.pause(now, 20, 20 * SIZE), Duration::ZERO);
        }
    }

    /// The sender goes on when its window has been read.
    #[test]
    fn a_sender_that_waits_for_its_window_is_read_as_fast_as_it_sends() {
        for size in [32, 256, 4096] {
            let (mut pacer, mut now) = (Pacer::new(BOUND), Instant::now());
            for _ in 0..1_000 {
                now += Duration::from_micros(100);
                assert_eq!(
                    pacer.pause(now, 16 * 1024 / size, 16 * 1024),
                    Duration::ZERO,
                    "{size} bytes an event"
                );
            }
        }
    }

    #[test]
    fn zero_turns_it_off() {
        let (mut pacer, mut now) = (Pacer::new(Duration::ZERO), Instant::now());
        assert_eq!(pauses_at(&mut pacer, &mut now, 50_000.0), 0);
    }
}
