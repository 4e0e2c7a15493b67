//! The token: how long it holds, who brings the next one, and what is known of its worth.

use std::time::{Duration, Instant};

use super::{
    identity::{Identity, Token},
    state::Reason,
};

/// A token is replaced this long before it expires, or at four fifths of its life if that is later.
const AHEAD: Duration = Duration::from_secs(60);

/// A provider that failed is asked again after this long, doubled each time up to a minute.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) token: Option<Token>,
    /// When the token was set.
    pub(super) since: Option<Instant>,
    /// When it expires by the clock of this machine, which may be wrong: a reason to ask the server, and to look for the next
    /// token in time, and no more.
    expires: Option<Instant>,
    has_expired: bool,
    /// When to look for the next one.
    refresh: Option<Instant>,
    /// The server does not take the client for whom the token says, and why.
    pub(super) loss: Option<Reason>,
    provider: Option<Provider>,
}

/// The host's source of tokens, as the engine sees it.
#[derive(Debug)]
enum Provider {
    /// To be asked when there is a need.
    Ready { needed: bool, failures: u32 },
    /// Being asked. The answer is not wanted any more when the host has set a token meanwhile.
    Asked { failures: u32, is_wanted: bool },
    /// It failed, and waits.
    Failed { until: Instant, failures: u32 },
}

impl Credentials {
    pub(super) fn new(has_provider: bool) -> Self {
        let provider = has_provider.then_some(Provider::Ready { needed: true, failures: 0 });
        Self {
            token: None,
            since: None,
            expires: None,
            has_expired: false,
            refresh: None,
            loss: None,
            provider,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity::of(self.token.as_ref())
    }

    /// Takes a token, from the host or, once it has [`answered`](Self::answered), from the provider.
    pub(super) fn set(&mut self, now: Instant, token: Option<Token>, lasts: Option<Duration>) {
        self.token = token;
        self.since = Some(now);
        // One that has expired before it came is the sign of a wrong clock, or the server will say so: to ask for another
        // would bring another like it.
        self.has_expired = lasts == Some(Duration::ZERO);
        let lasts = lasts.filter(|lasts| !lasts.is_zero());
        // What lasts longer than the clock reaches does not expire.
        self.expires = lasts.and_then(|lasts| now.checked_add(lasts));
        self.refresh = lasts.and_then(|lasts| now.checked_add(lasts.saturating_sub(AHEAD.min(lasts / 5))));
        let was_lost = self.loss.take().is_some();
        if let Some(provider) = &mut self.provider {
            // Forgotten only when the server has taken a token: a provider may give bad ones for ever.
            let failures = provider.failures() + u32::from(was_lost);
            *provider = match provider {
                Provider::Asked { is_wanted: true, .. } => Provider::Asked { failures, is_wanted: false },
                _ => Provider::Ready { needed: false, failures },
            };
        }
    }

    /// The provider has answered. Whether the answer is wanted.
    pub(super) fn answered(&mut self) -> bool {
        let Some(Provider::Asked { failures, is_wanted }) = self.provider else { return false };
        let needed = self.loss.is_some();
        if !is_wanted {
            self.provider = Some(Provider::Ready { needed, failures });
        }
        is_wanted
    }

    /// Its answer is taken.
    pub(super) fn taken(&mut self) {
        if let Some(provider) = &mut self.provider {
            *provider = Provider::Ready { needed: false, failures: provider.failures() };
        }
    }

    /// Its answer was no token, or no better one.
    pub(super) fn failed(&mut self, now: Instant) {
        if let Some(Provider::Asked { failures, .. }) = self.provider {
            self.provider = Some(Provider::Failed { until: now + delay(failures), failures: failures + 1 });
        }
    }

    /// The server does not take the token.
    pub(super) fn invalidate(&mut self, now: Instant) {
        self.loss = Some(if self.has_expired { Reason::TokenExpired } else { Reason::TokenRevoked });
        if let Some(Provider::Ready { failures, .. }) = self.provider {
            self.provider = Some(match failures {
                0 => Provider::Ready { needed: true, failures },
                _ => Provider::Failed { until: now + delay(failures - 1), failures },
            });
        }
    }

    /// The server takes the token.
    pub(super) fn proved(&mut self) {
        self.loss = None;
        if let Some(Provider::Ready { failures, .. }) = &mut self.provider {
            *failures = 0;
        }
    }

    /// Whether a stream has to wait for a token: the provider has one and has not given it yet.
    pub(super) fn is_pending(&self) -> bool {
        match self.provider {
            None => false,
            Some(Provider::Ready { needed, .. }) => needed,
            // Asked ahead of time, the old one holds meanwhile.
            Some(Provider::Asked { .. } | Provider::Failed { .. }) => {
                self.token.is_none() || self.loss.is_some()
            }
        }
    }

    /// Whether the provider may have a better token than one that was just refused: it is asked once for each.
    pub(super) fn is_worth_replacing(&self) -> bool {
        self.provider.is_some() && self.loss.is_none()
    }

    /// Whether the provider is to be asked now; it then counts as asked.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        let is_due = self.refresh.is_some_and(|refresh| now >= refresh);
        let failures = match self.provider {
            Some(Provider::Ready { needed, failures }) if needed || is_due => failures,
            Some(Provider::Failed { until, failures }) if now >= until => failures,
            _ => return false,
        };
        self.provider = Some(Provider::Asked { failures, is_wanted: true });
        true
    }

    /// Notices what time does to a token. Whether the server is to be asked if it still takes it.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let is_over = self.expires.is_some_and(|expires| now >= expires);
        if is_over {
            self.expires = None;
            self.has_expired = true;
        }
        is_over
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let provider = match self.provider {
            Some(Provider::Ready { .. }) => self.refresh,
            Some(Provider::Failed { until, .. }) => Some(until),
            Some(Provider::Asked { .. }) | None => None,
        };
        [self.expires, provider].into_iter().flatten().min()
    }

    /// The machine slept, and clocks with it.
    pub(super) fn slept(&mut self, time: Duration) {
        for at in [&mut self.expires, &mut self.refresh].into_iter().flatten() {
            *at = at.checked_sub(time).unwrap_or(*at);
        }
    }
}

impl Provider {
    fn failures(&self) -> u32 {
        match self {
            Self::Ready { failures, .. } | Self::Asked { failures, .. } | Self::Failed { failures, .. } => {
                *failures
            }
        }
    }
}

fn delay(failures: u32) -> Duration {
    RETRY.saturating_mul(1 << failures.min(6)).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::identity::jwt;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_provider_is_asked_at_first_ahead_of_expiry_and_when_the_token_is_rejected() {
        let now = Instant::now();
        let mut credentials = Credentials::new(true);
        assert!(credentials.is_pending() && credentials.ask(now) && !credentials.ask(now));
        assert!(credentials.answered());
        credentials.taken();
        credentials.set(now, Some(jwt("a")), Some(HOUR));
        assert!(!credentials.is_pending() && !credentials.ask(now + HOUR / 2));
        let ahead = now + HOUR - AHEAD;
        assert_eq!(credentials.deadline(), Some(ahead));
        assert!(credentials.ask(ahead) && !credentials.is_pending(), "the old one holds meanwhile");
        credentials.set(ahead, Some(jwt("a")), Some(HOUR));
        assert!(!credentials.answered(), "the host was quicker");
        credentials.invalidate(ahead);
        assert!(credentials.is_pending() && credentials.ask(ahead));
    }

    #[test]
    fn a_provider_that_fails_is_asked_less_and_less_often() {
        let mut now = Instant::now();
        let mut credentials = Credentials::new(true);
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert!(credentials.ask(now));
            credentials.failed(now);
            let until = credentials.deadline().unwrap();
            waits.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn an_expired_token_is_noticed_also_after_the_machine_slept() {
        let now = Instant::now();
        let mut credentials = Credentials::new(false);
        credentials.set(now, Some(jwt("a")), Some(HOUR));
        assert!(!credentials.tick(now + HOUR - Duration::from_secs(1)));
        credentials.slept(HOUR);
        assert!(credentials.tick(now) && credentials.loss.is_none(), "the server decides");
        credentials.invalidate(now);
        assert!(matches!(credentials.loss, Some(Reason::TokenExpired)));
        assert_eq!(credentials.deadline(), None, "it is noticed once");
    }
}
