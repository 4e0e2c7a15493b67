//! All that a hub remembers, behind one lock, and what its owner may observe.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use serde_json::Value;

use super::auth::{Accounts, Identity, SUPERUSERS};
use super::faults::Plan;
use super::oauth2::Providers;
use super::realtime::Client;
use super::records::{Action, Collection, Kind};
use super::requests::Requests;
use super::sse::Channel;
use super::stream::Outlet;
use super::wire::{Link, Switches};
use crate::filter::Dialect;

/// The log of submits keeps this many, and this many bytes of topics.
const MAX_SUBMITS: usize = 4096;
const MAX_SUBMIT_BYTES: usize = 64 << 20;

/// Shared by the hub's thread and every handle.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    pub(super) switches: Arc<Switches>,
    pub(super) stopping: AtomicBool,
    /// Wakes the hub's own task when it is to stop, and when a connection has ended.
    pub(super) stop: AtomicWaker,
}

pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) collections: BTreeMap<String, Collection>,
    pub(super) accounts: Accounts,
    pub(super) providers: Providers,
    pub(super) clients: HashMap<String, Client>,
    /// Every open stream, in the order of their opening.
    pub(super) outlets: BTreeMap<u64, Outlet>,
    /// The plain event streams, by path.
    pub(super) channels: BTreeMap<String, Channel>,
    pub(super) requests: Requests,
    /// The changes of a batch that is not certain yet.
    pub(super) deferred: Option<Vec<(Action, String, Value)>>,
    pub(super) links: HashMap<u64, Arc<Link>>,
    pub(super) faults: Plan,
    pub(super) ids: Ids,
    counters: Stats,
    submits: VecDeque<Submit>,
    submit_bytes: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) strict: bool,
    pub(super) queue: usize,
    pub(super) token_lifetime: Duration,
    pub(super) heartbeat: Duration,
    pub(super) require_token: bool,
    pub(super) wrapped: bool,
    pub(super) check_ip: bool,
    pub(super) bosbase: bool,
}

/// Counters of a hub since it was first started, and what is open now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Streams open now, whatever is spoken on them.
    pub streams: usize,
    /// TCP connections open now, streams or not.
    pub sockets: usize,
    /// Distinct topics subscribed now, over all streams.
    pub topics: usize,
    /// Requests for a stream so far, whatever kind of it, refused ones included.
    pub connects: u64,
    /// `POST /api/realtime` so far, refused ones included.
    pub submits: u64,
    /// `POST /api/realtime` answered with 204 so far.
    pub accepted: u64,
    /// All requests so far, whatever their path.
    pub requests: u64,
    /// Messages handed to streams so far, `PB_CONNECT` included.
    pub messages: u64,
    /// Streams cut because their reader let the queue fill up.
    pub overflowed: u64,
}

/// One `POST /api/realtime` as the hub saw and answered it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Submit {
    /// The id of the client that the set is for; empty where the body had none.
    pub client_id: String,
    /// The topics, as they came: in order, with duplicates.
    pub topics: Vec<String>,
    /// The status it was answered with.
    pub status: u16,
    /// It carried a non-empty `Authorization` header.
    pub had_authorization: bool,
    /// When it was answered.
    pub at: Instant,
}

/// Where ids come from: the seed alone decides them. Each kind has numbers of
/// its own, so that connecting earlier or later does not change record ids.
pub(super) struct Ids {
    outlets: u64,
    clients: fastrand::Rng,
    records: fastrand::Rng,
    pub(super) order: fastrand::Rng,
    secrets: fastrand::Rng,
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Self {
        let mut seeds = fastrand::Rng::with_seed(settings.seed);
        let ids = Ids {
            outlets: 0,
            clients: seeds.fork(),
            records: seeds.fork(),
            order: seeds.fork(),
            secrets: fastrand::Rng::with_seed(!settings.seed),
        };
        let accounts = Accounts::new(seeds.u64(..), settings.token_lifetime);
        let collections =
            ["users", SUPERUSERS].map(|name| (name.to_owned(), Collection::new(name, Kind::Auth))).into();
        let state = State {
            settings,
            collections,
            accounts,
            providers: Providers::default(),
            clients: HashMap::new(),
            outlets: BTreeMap::new(),
            channels: BTreeMap::new(),
            requests: Requests::default(),
            deferred: None,
            links: HashMap::new(),
            faults: Plan::default(),
            ids,
            counters: Stats::default(),
            submits: VecDeque::new(),
            submit_bytes: 0,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            switches: Arc::default(),
            stopping: AtomicBool::new(false),
            stop: AtomicWaker::new(),
        }
    }

    /// Locks the state to look at it.
    pub(super) fn look(&self) -> MutexGuard<'_, State> {
        // A rule that panicked has changed nothing: the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the state to change it, then wakes who waits for a change.
    pub(super) fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = act(&mut self.look());
        self.changed.notify_all();
        result
    }

    pub(super) fn wait_until(&self, mut condition: impl FnMut(&Stats) -> bool, timeout: Duration) -> bool {
        let state = self.look();
        let waited = self
            .changed
            .wait_timeout_while(state, timeout, |state| !condition(&state.stats()))
            .unwrap_or_else(PoisonError::into_inner);
        !waited.1.timed_out()
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stop.wake();
    }
}

impl State {
    pub(super) fn stats(&self) -> Stats {
        Stats {
            streams: self.outlets.len(),
            sockets: self.links.len(),
            topics: self.topics().len(),
            ..self.counters
        }
    }

    pub(super) fn counters(&mut self) -> &mut Stats {
        &mut self.counters
    }

    pub(super) fn topics(&self) -> BTreeSet<&str> {
        self.clients.values().flat_map(Client::topics).collect()
    }

    pub(super) fn submits(&self) -> Vec<Submit> {
        self.submits.iter().cloned().collect()
    }

    pub(super) fn log_submit(&mut self, submit: Submit) {
        if submit.status == 204 {
            self.counters.accepted += 1;
        }
        let bytes = |submit: &Submit| submit.topics.iter().map(String::len).sum::<usize>();
        self.submit_bytes += bytes(&submit);
        self.submits.push_back(submit);
        while self.submits.len() > MAX_SUBMITS || self.submit_bytes > MAX_SUBMIT_BYTES {
            let Some(oldest) = self.submits.pop_front() else {
                break;
            };
            self.submit_bytes -= bytes(&oldest);
        }
    }

    /// How filters are read.
    pub(super) fn filter_dialect(&self) -> Dialect {
        if self.settings.bosbase { Dialect::Between } else { Dialect::New }
    }

    /// Makes every token and open stream of an account a guest's, silently.
    pub(super) fn drop_identity(&mut self, identity: &Identity) -> bool {
        for client in self.clients.values_mut() {
            client.identity.take_if(|bound| bound == identity);
        }
        self.accounts.void_tokens(identity)
    }
}

impl Ids {
    pub(super) fn outlet(&mut self) -> u64 {
        self.outlets += 1;
        self.outlets
    }

    /// So many letters and digits that nobody guesses by accident.
    pub(super) fn secret(&mut self, length: usize) -> String {
        (0..length).map(|_| self.secrets.alphanumeric()).collect()
    }

    pub(super) fn client(&mut self) -> String {
        (0..40).map(|_| self.clients.alphanumeric()).collect()
    }

    pub(super) fn record(&mut self) -> String {
        let digit = |_| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[self.records.usize(..36)]);
        (0..15).map(digit).collect()
    }

    /// A random UUID, which is what BosBase gives its records for ids.
    pub(super) fn uuid(&mut self) -> String {
        let random = self.records.u128(..);
        // Version 4, variant 1.
        let bits = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let hex = format!("{bits:032x}");
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }
}
