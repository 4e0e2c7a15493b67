//! How long to wait before the next try.

use std::time::Duration;

/// The longest floor that is taken from a server: a longer one would be an outage of our own making.
pub(crate) const LONGEST_FLOOR: Duration = Duration::from_secs(300);

/// Exponential back-off with full jitter: each delay is drawn evenly from `min` to a ceiling that doubles with
/// every failure, up to `max`. Clients that lost the same server thus spread out instead of coming back as one.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    /// The server's own wish (`retry:`), a floor under `min`.
    floor: Duration,
    /// A delay was cut short since the last stretch of health.
    hastened: bool,
}

/// The bounds of all delays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { min: Duration::from_millis(200), max: Duration::from_secs(20) }
    }
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { failures: 0, floor: Duration::ZERO, hastened: false }
    }

    /// The delay before the next try; each call counts as one failure.
    pub(crate) fn next(&mut self, bounds: Bounds, rng: &mut fastrand::Rng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doubled = bounds.min.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let low = bounds.min.max(self.floor);
        let high = doubled.min(bounds.max).max(low);
        low + (high - low).mul_f64(rng.f64())
    }

    /// A delay of at most `prompt` instead, since the server was seen; the server's own wish stands. Once until the next
    /// reset: two streams of a server that takes and drops them would else hasten each other for ever.
    pub(crate) fn hasten(&mut self, prompt: Duration) -> Option<Duration> {
        (!std::mem::replace(&mut self.hastened, true)).then(|| prompt.max(self.floor))
    }

    /// Forgets the failures, after a stretch of health.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
        self.hastened = false;
    }

    /// Takes the server's wish for the least delay, up to five minutes.
    pub(crate) fn set_floor(&mut self, floor: Duration) {
        self.floor = floor.min(LONGEST_FLOOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_in_bounds_and_spread_over_the_whole_range() {
        let bounds = Bounds::default();
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut backoff = Backoff::new();
            for failure in 1..80u32 {
                let delay = backoff.next(bounds, &mut rng);
                let ceiling = bounds.min.saturating_mul(1u32.checked_shl(failure).unwrap_or(u32::MAX));
                assert!(delay >= bounds.min && delay <= ceiling.min(bounds.max), "{failure}: {delay:?}");
            }
        }
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff { failures: 20, ..Backoff::new() };
        let late: Vec<_> = (0..1000).map(|_| backoff.next(bounds, &mut rng)).collect();
        let below = |secs| late.iter().filter(|d| **d < Duration::from_secs(secs)).count();
        assert!(
            (200..300).contains(&below(5)) && (450..550).contains(&below(10)),
            "{} {}",
            below(5),
            below(10)
        );
    }

    #[test]
    fn health_forgets_failures_and_the_servers_floor_is_kept() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut backoff = Backoff::new();
        for _ in 0..20 {
            backoff.next(Bounds::default(), &mut rng);
        }
        backoff.reset();
        assert!(backoff.next(Bounds::default(), &mut rng) <= Duration::from_millis(400));
        backoff.set_floor(Duration::from_secs(3));
        assert!(backoff.next(Bounds::default(), &mut rng) >= Duration::from_secs(3));
    }

    #[test]
    fn a_delay_is_cut_short_once_in_a_stretch_without_health_and_never_under_the_servers_wish() {
        let mut backoff = Backoff::new();
        let prompt = Duration::from_millis(100);
        assert_eq!(backoff.hasten(prompt), Some(prompt));
        assert_eq!(backoff.hasten(prompt), None);
        backoff.reset();
        backoff.set_floor(Duration::from_secs(1));
        assert_eq!(backoff.hasten(prompt), Some(Duration::from_secs(1)));
    }
}
