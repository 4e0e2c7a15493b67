//! Connections that wait for the next request.
//!
//! A few for a short time: what comes often saves a handshake, and a server is not kept busy with what comes seldom.
//! Nobody reads them while they wait. A look before the next request shows whether the server has closed one; what it does
//! in the moment after that look is met in `mod.rs`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use hyper::header::HeaderMap;
use url::{Origin, Url};

use super::exchange::Exchange;
use super::request::ProxyHeaders;
use crate::lock::lock;
use crate::rt::Runtime;

/// Connections that wait, of one client.
const MOST: usize = 8;

/// Of which this many lead to the same origin.
const MOST_OF_ORIGIN: usize = 4;

/// How long one waits.
const LONGEST: Duration = Duration::from_secs(15);

/// How long, for a request that must not be sent twice: servers close what has been idle for some seconds, and one that
/// does so in the moment of the request leaves it unknown whether that was read.
const LONGEST_FOR_ONCE: Duration = Duration::from_secs(1);

/// A server that keeps a connection open for so long closes it for being idle, not for having answered: some do the latter
/// without a word, and a request that must not be sent twice would meet that.
const SHOWN: Duration = Duration::from_millis(50);

/// What a server takes to close an idle connection sooner than it has said, in its `Keep-Alive`.
const MARGIN: Duration = Duration::from_secs(1);

/// The connections of one client that wait.
pub(super) struct Idle {
    runtime: Arc<dyn Runtime>,
    waiting: Mutex<Vec<Waiting>>,
    /// Who has kept one, lately.
    keepers: Mutex<Vec<Key>>,
}

/// To whom a connection leads, and what it has shown there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    origin: Origin,
    /// Whether the client certificate was shown to whoever asked.
    shows_identity: bool,
}

impl Key {
    pub(super) fn new(url: &Url, shows_identity: bool) -> Self {
        Self { origin: url.origin(), shows_identity }
    }
}

/// A connection, and what was found out when it was made.
pub(super) struct Link {
    pub(super) exchange: Box<Exchange>,
    pub(super) route: Arc<Route>,
}

/// How a connection goes to its origin.
pub(super) struct Route {
    /// None through a proxy.
    pub(super) peer: Option<SocketAddr>,
    /// Present if the requests go to a proxy that forwards them.
    pub(super) forwarder: Option<ProxyHeaders>,
}

struct Waiting {
    key: Key,
    link: Link,
    since: Moment,
    lasts: Duration,
}

/// By both clocks: the first may stand still while the machine sleeps.
#[derive(Clone, Copy)]
struct Moment(Instant, SystemTime);

impl Moment {
    /// How long ago it was; for ever if the time of day was set back.
    fn elapsed(&self, now: Self) -> Duration {
        let by_day = now.1.duration_since(self.1).unwrap_or(Duration::MAX);
        now.0.saturating_duration_since(self.0).max(by_day)
    }
}

impl Idle {
    pub(super) fn new(runtime: Arc<dyn Runtime>) -> Arc<Self> {
        Arc::new(Self { runtime, waiting: Mutex::default(), keepers: Mutex::default() })
    }

    fn now(&self) -> Moment {
        Moment(self.runtime.now(), SystemTime::now())
    }

    /// The connection that was used last, to the address `pin` if that is given. For a request that must not be sent twice
    /// (`once`) only where it is not about to be closed, as far as can be known.
    pub(super) fn take(&self, key: &Key, pin: Option<SocketAddr>, once: bool) -> Option<Link> {
        let now = self.now();
        let least = if once && !lock(&self.keepers).contains(key) { SHOWN } else { Duration::ZERO };
        let most = if once { LONGEST_FOR_ONCE } else { LONGEST };
        loop {
            let (mut link, awake) = {
                let mut waiting = lock(&self.waiting);
                let at = waiting.iter().rposition(|one| {
                    let is_there = pin.is_none() || one.link.route.peer.is_none_or(|peer| Some(peer) == pin);
                    let awake = now.0.saturating_duration_since(one.since.0);
                    let is_open = awake >= least && one.since.elapsed(now) < one.lasts.min(most);
                    one.key == *key && is_there && is_open
                })?;
                let one = waiting.remove(at);
                (one.link, now.0.saturating_duration_since(one.since.0))
            };
            // Without the lock: reading may wake.
            if link.exchange.is_idle() {
                if awake >= SHOWN {
                    self.learn(key, true);
                }
                return Some(link);
            }
        }
    }

    /// Whether a connection was good for one more request.
    pub(super) fn learn(&self, key: &Key, keeps: bool) {
        let mut keepers = lock(&self.keepers);
        if keeps != keepers.contains(key) {
            keepers.retain(|one| one != key);
            keepers.truncate(MOST - 1);
            keepers.extend(keeps.then(|| key.clone()));
        }
    }

    fn put(&self, key: Key, mut link: Link, lasts: Duration) {
        if !link.exchange.is_idle() {
            return;
        }
        let since = self.now();
        let mut waiting = lock(&self.waiting);
        let of_origin = waiting.iter().filter(|one| one.key == key).count();
        let excess = match of_origin >= MOST_OF_ORIGIN {
            true => waiting.iter().position(|one| one.key == key),
            false => (waiting.len() >= MOST).then_some(0),
        };
        let oldest = excess.map(|at| waiting.remove(at));
        waiting.push(Waiting { key, link, since, lasts });
        drop(waiting);
        drop(oldest);
    }

    /// Closes those that have waited long enough. When that is true of the next one.
    pub(super) fn expire(&self) -> Option<Instant> {
        let mut waiting = lock(&self.waiting);
        if waiting.is_empty() {
            return None;
        }
        let now = self.now();
        let over: Vec<_> = waiting.extract_if(.., |one| one.since.elapsed(now) >= one.lasts).collect();
        let next = waiting.iter().map(|one| one.since.0 + one.lasts).min();
        drop(waiting);
        drop(over);
        next
    }

    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *lock(&self.waiting));
        drop(all);
    }
}

/// Where a connection goes when the answer has ended.
pub(super) struct Place {
    idle: Arc<Idle>,
    key: Key,
    route: Arc<Route>,
    lasts: Duration,
}

impl Place {
    pub(super) fn new(idle: &Arc<Idle>, key: Key, route: &Arc<Route>, answer: &HeaderMap) -> Self {
        let lasts = announced(answer).map_or(LONGEST, |lasts| lasts.saturating_sub(MARGIN).min(LONGEST));
        Self { idle: Arc::clone(idle), key, route: Arc::clone(route), lasts }
    }

    pub(super) fn keep(self, exchange: Box<Exchange>) {
        let Self { idle, key, route, lasts } = self;
        if !lasts.is_zero() {
            idle.put(key, Link { exchange, route }, lasts);
        }
    }
}

/// How long the server says that it will wait, in `Keep-Alive: timeout=5, max=100`.
fn announced(answer: &HeaderMap) -> Option<Duration> {
    let parts = answer.get("keep-alive")?.to_str().ok()?.split(',');
    let seconds =
        parts.filter_map(|part| part.trim().strip_prefix("timeout=")?.trim().parse().ok()).next()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_how_long_it_waits() {
        let announced = |value: &'static str| {
            announced(&HeaderMap::from_iter([("keep-alive".parse().unwrap(), value.parse().unwrap())]))
        };
        assert_eq!(announced("timeout=5, max=100"), Some(Duration::from_secs(5)));
        assert_eq!(announced("max=100,timeout=7"), Some(Duration::from_secs(7)));
        assert_eq!(announced("max=100"), None);
        assert_eq!(announced("timeout=soon"), None);
    }

    #[test]
    fn a_machine_that_slept_has_waited_by_the_time_of_day() {
        let began = Moment(Instant::now(), SystemTime::now());
        let second = Duration::from_secs(1);
        assert_eq!(began.elapsed(Moment(began.0 + second, began.1)), second);
        assert_eq!(began.elapsed(Moment(began.0, began.1 + 60 * second)), 60 * second);
        assert_eq!(began.elapsed(Moment(began.0, began.1 - second)), Duration::MAX, "it was set");
    }
}
