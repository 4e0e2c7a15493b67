//! When to try again: the one place that decides how long a wait is.

use std::time::{Duration, Instant};

/// The longest floor that is taken from a server: a longer one would be an outage of our own making.
pub(crate) const LONGEST_FLOOR: Duration = Duration::from_secs(300);

/// The longest wait that a server can order with `Retry-After`.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How far tries that need not wait are spread, so that those who lost the same server do not come as one: after the end of
/// a stream that was live, after its loss, and otherwise.
const AFTER_END: Duration = Duration::from_millis(50);
const AFTER_LOSS: Duration = Duration::from_millis(100);
pub(super) const PROMPT: Duration = Duration::from_millis(250);

/// Such tries at most, before streams have to earn them: one for each [`EARNS`] that a stream is live.
const BUDGET: f64 = 10.0;
const EARNS: Duration = Duration::from_secs(3);

/// A stream that was live this long worked: earlier failures are forgotten.
const WORKED: Duration = Duration::from_secs(1);

/// The ceiling of the delays doubles up to this and then grows with the outage, to a third of it: a server that is back
/// after seconds is found within seconds, and one that is away for long is not asked often.
const KNEE: Duration = Duration::from_millis(1600);

/// Exponential backoff with full jitter: each delay is drawn evenly from `min` to a ceiling that doubles with
/// every failure, up to `max`. Clients that lost the same server thus spread out instead of coming back as one.
///
/// What worked need not wait: [`after`](Self::after) knows a budget of prompt tries, so that a link that is cut now and then
/// is back at once, and a server that takes streams and drops them is not hammered.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    /// Since when nothing has worked.
    failing_since: Option<Instant>,
    /// Prompt tries that are left.
    budget: f64,
    /// The host's wish for the least delay of all, prompt or not.
    least: Duration,
    /// The server's (`retry:`).
    floor: Duration,
}

/// What a wait comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The host became somebody else. No failure: the next try is made at once, whatever anyone wishes.
    IdentityChanged,
    /// A stream ended in good order.
    Ended,
    /// A stream was lost in any other way.
    Lost,
    /// The server has forgotten the stream, or the link is suspected to be dead: there is no reason to think that another
    /// would fail.
    Fresh,
    /// A try came to nothing.
    Failed,
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
        Self::at_least(Duration::ZERO)
    }

    /// No delay is under `least`, but for [`Cause::IdentityChanged`].
    pub(crate) fn at_least(least: Duration) -> Self {
        Self { failures: 0, failing_since: None, budget: BUDGET, least, floor: Duration::ZERO }
    }

    /// The delay before the next try, after a stream that was live for so long, if it ever was.
    pub(crate) fn after(
        &mut self,
        now: Instant,
        cause: Cause,
        lived: Option<Duration>,
        bounds: Bounds,
        rng: &mut fastrand::Rng,
    ) -> Duration {
        self.earn(lived.unwrap_or_default());
        let spread = match (cause, lived) {
            (Cause::IdentityChanged, _) => return Duration::ZERO,
            (Cause::Ended, Some(lived)) if lived >= WORKED => Some(AFTER_END),
            (Cause::Lost, Some(lived)) if lived >= WORKED => Some(AFTER_LOSS),
            (Cause::Ended | Cause::Lost, Some(_)) | (Cause::Fresh, _) => Some(PROMPT),
            (Cause::Ended | Cause::Lost, None) | (Cause::Failed, _) => None,
        };
        if let Some(delay) = spread.and_then(|spread| self.promptly(spread, bounds, rng)) {
            return delay;
        }
        let outage = now.saturating_duration_since(*self.failing_since.get_or_insert(now));
        self.grow(bounds, KNEE.max(outage / 3), rng)
    }

    /// A short delay instead of the one that is being waited for, since the server was seen or the network is another.
    /// `None` when there were too many of them.
    pub(crate) fn hasten(&mut self, bounds: Bounds, rng: &mut fastrand::Rng) -> Option<Duration> {
        self.promptly(PROMPT, bounds, rng)
    }

    fn promptly(&mut self, spread: Duration, bounds: Bounds, rng: &mut fastrand::Rng) -> Option<Duration> {
        if self.budget < 1.0 {
            return None;
        }
        self.budget -= 1.0;
        Some(draw(self.least.max(self.floor), spread, bounds.max, rng))
    }

    /// The delay after a failure, and nothing else.
    pub(crate) fn next(&mut self, bounds: Bounds, rng: &mut fastrand::Rng) -> Duration {
        self.grow(bounds, bounds.max, rng)
    }

    fn grow(&mut self, bounds: Bounds, ceiling: Duration, rng: &mut fastrand::Rng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doubled = bounds.min.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let low = bounds.min.max(self.least).max(self.floor);
        let high = doubled.min(ceiling).min(bounds.max);
        draw(low, high.saturating_sub(low), bounds.max, rng)
    }

    /// A stream was live for so long.
    fn earn(&mut self, lived: Duration) {
        self.budget = (self.budget + lived.div_duration_f64(EARNS)).min(BUDGET);
        if lived >= WORKED {
            self.reset();
        }
    }

    /// Forgets the failures, after a stretch of health.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
        self.failing_since = None;
    }

    /// Takes the server's wish for the least delay, up to five minutes.
    pub(crate) fn set_floor(&mut self, floor: Duration) {
        self.floor = floor.min(LONGEST_FLOOR);
    }
}

/// A server's `Retry-After`, within reason.
pub(super) fn bounded(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER)
}

/// Evenly from `low` up to `spread` more, or to a half more if that is wider: whatever sets the floor, those who wait for the
/// same server are not to come as one. `max` is kept as far as the floor lets it.
fn draw(low: Duration, spread: Duration, max: Duration, rng: &mut fastrand::Rng) -> Duration {
    let half = if low < max { (low / 2).min(max - low) } else { low / 2 };
    low + spread.max(half).mul_f64(rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);

    /// The least and the most of many delays.
    fn range(delay: impl Fn(&mut fastrand::Rng) -> Duration) -> (Duration, Duration) {
        let delays: Vec<_> = (0..500).map(|seed| delay(&mut fastrand::Rng::with_seed(seed))).collect();
        (*delays.iter().min().unwrap(), *delays.iter().max().unwrap())
    }

    /// That delays are spread over all of the range and nothing else.
    fn assert_spread(what: &str, (least, most): (Duration, Duration), low: Duration, high: Duration) {
        let edge = (high - low) / 20;
        assert!(low <= least && least <= low + edge, "{what}: {least:?} to {most:?}");
        assert!(high - edge <= most && most <= high, "{what}: {least:?} to {most:?}");
    }

    #[test]
    fn every_cause_has_its_delay_and_keeps_the_wishes_of_host_and_server() {
        let hosts = Bounds { min: 5 * S, max: 6 * S };
        let (long, none) = (Some(60 * S), Some(Duration::ZERO));
        // By default; with `backoff(5 s, 6 s)`; after `retry: 3000`; after `retry: 30000`, over the ceiling of 20 s.
        let within =
            |ms: u32| [(Duration::ZERO, ms * MS), (5 * S, 6 * S), (3 * S, 4500 * MS), (30 * S, 45 * S)];
        let mut failed = within(400);
        failed[0].0 = 200 * MS;
        for (cause, lived, [ours, hosts_own, servers, both_over]) in [
            (Cause::Ended, long, within(50)),
            (Cause::Lost, long, within(100)),
            (Cause::Ended, none, within(250)),
            (Cause::Lost, none, within(250)),
            (Cause::Fresh, None, within(250)),
            (Cause::Failed, None, failed),
            (Cause::Ended, None, failed),
            (Cause::IdentityChanged, long, [(Duration::ZERO, Duration::ZERO); 4]),
        ] {
            let now = Instant::now();
            let delay = |least: Duration, floor: Duration, bounds: Bounds| {
                range(|rng| {
                    let mut backoff = Backoff::at_least(least);
                    backoff.set_floor(floor);
                    backoff.after(now, cause, lived, bounds, rng)
                })
            };
            let what = format!("{cause:?} {lived:?}");
            assert_spread(&what, delay(Duration::ZERO, Duration::ZERO, Bounds::default()), ours.0, ours.1);
            assert_spread(&what, delay(5 * S, Duration::ZERO, hosts), hosts_own.0, hosts_own.1);
            assert_spread(&what, delay(Duration::ZERO, 3 * S, Bounds::default()), servers.0, servers.1);
            assert_spread(&what, delay(Duration::ZERO, 30 * S, Bounds::default()), both_over.0, both_over.1);
        }
    }

    #[test]
    fn prompt_tries_run_out_and_are_earned_by_streams_that_live() {
        let (now, bounds) = (Instant::now(), Bounds::default());
        let mut rng = fastrand::Rng::with_seed(7);
        let mut backoff = Backoff::new();
        let mut tries = |backoff: &mut Backoff| {
            let mut delays =
                (0..40).map(|_| backoff.after(now, Cause::Lost, Some(Duration::ZERO), bounds, &mut rng));
            delays.by_ref().take_while(|delay| *delay < bounds.min).count() >= 8
                && delays.all(|delay| delay >= bounds.min)
        };
        assert!(tries(&mut backoff), "they run out, and do not come back by failing");
        assert!(backoff.budget < 1.0);
        backoff.earn(6 * S);
        assert_eq!(backoff.budget as u32, 2);
        backoff.earn(3600 * S);
        assert_eq!(backoff.budget, BUDGET);
        assert!(backoff.hasten(bounds, &mut rng).is_some() && backoff.budget == BUDGET - 1.0);
    }

    #[test]
    fn delays_grow_with_the_outage_and_not_beyond_the_bounds() {
        let bounds = Bounds::default();
        for (outage, high) in
            [(0, 1600 * MS), (3, 1600 * MS), (6, 2 * S), (30, 10 * S), (60, 20 * S), (36_000, 20 * S)]
        {
            let delays = range(|rng| {
                let now = Instant::now();
                let mut backoff = Backoff { failures: 20, failing_since: Some(now), ..Backoff::new() };
                backoff.after(now + outage * S, Cause::Failed, None, bounds, rng)
            });
            assert_spread(&format!("{outage} s"), delays, bounds.min, high);
        }
    }

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
    fn health_forgets_failures() {
        let (now, mut rng) = (Instant::now(), fastrand::Rng::with_seed(7));
        let mut backoff = Backoff { failures: 20, failing_since: Some(now), budget: 0.0, ..Backoff::new() };
        // It worked, and what it has not earned is a backoff from the beginning.
        let delay = backoff.after(now + 3600 * S, Cause::Lost, Some(S), Bounds::default(), &mut rng);
        assert!((200 * MS..=400 * MS).contains(&delay), "{delay:?}");
    }
}
