//! The decisions: which streams there are, what each carries, when to try again, and what is reported to whom.
//!
//! Nothing here does I/O, reads a clock or blocks. Calls of the host, bytes and answers of the network and the
//! passing of time come in as method calls that carry an `Instant`; requests and state changes go out as [`Output`]s, and
//! events go straight to the listeners' [`Outlet`]s. So every schedule can be replayed without a network. It knows `sse` and
//! the dialects, and nothing of the layers above.
//!
//! # The contract
//!
//! Whoever drives the engine goes round this loop, as the lock in `driver/shared.rs` and the driver do:
//!
//! 1. **Lock, and call one input** with the time: a call of the host, an answer of the network, or
//!    [`Engine::handle_timeout`]. Times never go back. Inputs that name a connection which is over are ignored.
//! 2. **Take the woken and the retired** ([`Engine::take_woken`]) before the lock is released. Left there, a listener sleeps
//!    beside events in its queue, until the next call.
//! 3. **Release the lock, then wake and drop them**: both may run code of the host, which may call the client. With the lock
//!    held that is a deadlock.
//! 4. **Drain the outputs** ([`Engine::poll_output`]) to `None`, in order and without the lock. An [`Output::Drop`] that is
//!    late keeps a stream alive that a later [`Output::Open`] replaces; one that is skipped leaks it.
//! 5. **Answer each output** once, as it says: an `Open` with `opened`, `received`…, `ended`; a `Submit` with `submitted`; a
//!    `WantToken` with `token_provided`; a `Check` with `checked`. Without an answer its deadline passes, and the stream
//!    counts as lost. What a `Drop` named needs no answer.
//! 6. **Ask for the deadline** ([`Engine::deadline`]) and sleep until then or until the next input: it moves with every input,
//!    both ways. An engine that is asked late is late; one that is not asked does not reconnect.
//!
//! # The tour
//!
//! 1. `session.rs`: one stream that is wanted, its topics, and its [`Link`]: idle, waiting for the next try, or up.
//! 2. `conn.rs`: one connection, in a [`Phase`] from request to carrier, with the [`Submit`] that is under way on it.
//! 3. This file: the host's calls, time, and what comes out. `pump.rs`: what a session's state and the time call for, how a
//!    connection begins and how it is lost; `backoff.rs`: when to try again.
//! 4. What the network brings: `stream.rs` (head, messages and end of a stream), `submit.rs` (its set of topics), `token.rs`
//!    (whose it is; `credentials.rs` and `identity.rs` are what it knows).
//! 5. `second.rs`, `hand_over.rs`, `pairing.rs`: from one stream to the next without a loss.
//! 6. `registry.rs`, `queue.rs`: who listens, and what waits for them. `dialect/`: what differs between servers.
//!    `state.rs`: what the host sees.
//!
//! What each input does in each state is the table in `table.rs`; what holds at all times, and which check holds it, is
//! listed in `simulation/checks.rs`.

mod backoff;
#[cfg(test)]
mod busy_topics;
mod check;
#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod coming_back;
mod conn;
mod credentials;
pub(crate) mod dialect;
mod hand_over;
#[cfg(test)]
mod hand_over_simulation;
pub(crate) mod identity;
mod pairing;
mod pump;
mod queue;
mod registry;
mod second;
mod session;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod spurious_gaps;
mod state;
mod stream;
mod submit;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
mod token;
#[cfg(test)]
mod wrong_clock;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

pub(crate) use self::{
    backoff::{Backoff, Bounds, LONGEST_FLOOR, LONGEST_RETRY_AFTER},
    check::Check,
    conn::ConnId,
    queue::{Limits, Queue},
    registry::ListenerId,
};
pub use self::{
    queue::Overflow,
    state::{Disconnects, Reason, State, Stats},
};

use self::{
    backoff::PROMPT,
    check::Checks,
    conn::{Serial, SessionId},
    credentials::Credentials,
    dialect::{Dialect, Request, Streams},
    identity::Token,
    registry::{Registry, Removed},
    session::{Link, Session},
};
use crate::{Error, event::Event};

/// Where one listener's events go.
pub(crate) trait Outlet: Clone {
    /// Takes an event.
    fn deliver(&self, event: Event) -> Delivered;

    /// The server has acknowledged the topic.
    fn ready(&self);

    /// What waits is not for who the client is now.
    fn forget(&self);

    /// The topic is acknowledged, but the server refuses a list with the same options: no event can come. `None` when that
    /// is no longer so.
    fn deny(&self, error: Option<Error>);

    /// The server refuses the topic for now, with 429 or 5xx, and is asked again. `None` when it has acknowledged it.
    fn park(&self, error: Option<Error>);

    /// Nothing more comes. `None` where the host asked for it.
    fn end(&self, error: Option<Error>);
}

/// What became of an event.
pub(crate) struct Delivered {
    /// Somebody waits for it and is to be woken.
    pub(crate) wake: bool,
    /// Events dropped to make room, itself included.
    pub(crate) lost: u64,
    /// Events in the listener's queue now.
    pub(crate) queued: usize,
}

/// What the driver is to do.
#[derive(Debug)]
pub(crate) enum Output {
    /// Open a stream; answer with [`Engine::opened`], then [`Engine::received`] and [`Engine::ended`].
    Open { conn: ConnId, request: Request, token: Option<Token> },
    /// Submit a set of topics; answer with [`Engine::submitted`].
    Submit { conn: ConnId, request: Request, token: Option<Token> },
    /// Close a connection and all that belongs to it. No answer.
    Drop { conn: ConnId },
    /// The state has changed.
    State(State),
    /// An open stream is gone; these topics are still wanted.
    Disconnected(Vec<Arc<str>>),
    /// Ask whether a topic can deliver anything; answer with [`Engine::checked`].
    Check { number: u64, request: Request, token: Option<Token> },
    /// A topic that is subscribed to can deliver nothing; or, `for_now`, is refused, and will be submitted again.
    Denied { topic: Arc<str>, error: Error, for_now: bool },
    /// Ask the host's provider; answer with [`Engine::token_provided`].
    WantToken,
}

/// Times that a host may set.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// From the request of a stream to the head of its answer.
    pub(crate) open_timeout: Duration,
    /// From there to the handshake.
    pub(crate) handshake_timeout: Duration,
    /// For the answer to a submit.
    pub(crate) submit_timeout: Duration,
    /// How long a caller that is not patient waits for the server's answer.
    pub(crate) subscribe_timeout: Duration,
    pub(crate) backoff: Bounds,
    /// No stream is opened again before, but for another identity.
    pub(crate) least_delay: Duration,
    /// Bytes of one message.
    pub(crate) message_limit: usize,
    /// The silence after which a stream is taken for dead, unless that is for the dialect to say.
    pub(crate) silence_limit: Option<Duration>,
    /// How often to ask whether the server still takes the client for who it is.
    pub(crate) proof_interval: Duration,
    pub(crate) has_provider: bool,
    /// Whether streams are replaced while they work.
    pub(crate) hand_over: bool,
    /// Whether the server is asked if a topic can deliver anything.
    pub(crate) verify_topics: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            open_timeout: Duration::from_secs(20),
            handshake_timeout: Duration::from_secs(10),
            submit_timeout: Duration::from_secs(15),
            subscribe_timeout: Duration::from_secs(30),
            backoff: Bounds::default(),
            least_delay: Duration::ZERO,
            message_limit: 16 << 20,
            silence_limit: None,
            proof_interval: Duration::from_secs(300),
            has_provider: false,
            hand_over: true,
            verify_topics: true,
        }
    }
}

/// How often the clocks are compared while there is a stream.
const CLOCK_INTERVAL: Duration = Duration::from_secs(15);

/// How long a server that is suspected to be out of reach has for an answer.
const SUSPICION: Duration = Duration::from_secs(5);

pub(crate) struct Engine<L> {
    config: Config,
    dialect: Arc<dyn Dialect>,
    registry: Registry<L>,
    sessions: BTreeMap<SessionId, Session>,
    next_session: u32,
    next_serial: Serial,
    credentials: Credentials,
    checks: Checks,
    /// Both clocks, when last compared.
    clocks: Option<(Instant, SystemTime)>,
    rng: fastrand::Rng,
    /// Callers that wait, how long, and until when, which they are in order of. May hold spent ids.
    waiters: VecDeque<(Instant, ListenerId, Duration)>,
    outputs: VecDeque<Output>,
    /// To be woken, and to be dropped, once no lock is held.
    woken: Vec<L>,
    retired: Vec<L>,
    state: State,
    /// The state while there is no session.
    at_rest: State,
    stats: Stats,
}

impl<L: Outlet> Engine<L> {
    pub(crate) fn new(dialect: Arc<dyn Dialect>, config: Config, seed: u64) -> Self {
        let credentials = Credentials::new(config.has_provider);
        Self {
            config,
            dialect,
            registry: Registry::new(),
            sessions: BTreeMap::new(),
            next_session: 0,
            next_serial: Serial::MIN,
            credentials,
            checks: Checks::default(),
            clocks: None,
            rng: fastrand::Rng::with_seed(seed),
            waiters: VecDeque::new(),
            outputs: VecDeque::new(),
            woken: Vec::new(),
            retired: Vec::new(),
            state: State::Idle,
            at_rest: State::Idle,
            stats: Stats::default(),
        }
    }

    // ---- The host's calls ----

    /// Adds a listener. One that is not `patient` is ended with an error when the first try fails or the server
    /// has not answered in time.
    ///
    /// With a `check`, it is also ended when the server refuses that; a patient one is told.
    pub(crate) fn subscribe(
        &mut self,
        now: Instant,
        key: &Arc<str>,
        outlet: L,
        patient: bool,
        check: Option<Check>,
    ) -> Result<ListenerId, Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let Self { registry, sessions, next_session, dialect, config, .. } = self;
        let place = |key: &Arc<str>| {
            let stream = dialect.stream_of(key);
            let room = |session: &Session| match dialect.streams() {
                Streams::Multiplexed { topics, bytes } => {
                    session.keys.len() < topics && session.weight + key.len() <= bytes
                }
                Streams::Direct => *session.stream == *stream,
            };
            let id = sessions.iter().find(|(_, s)| room(s)).map(|(id, _)| *id).unwrap_or_else(|| {
                let id = SessionId(*next_session);
                *next_session += 1;
                sessions.insert(id, Session::new(&stream, config.least_delay));
                id
            });
            let session = sessions.get_mut(&id).expect("found or made above");
            session.add(now, key.clone(), dialect.is_local(key));
            id
        };
        let (id, topic) = registry.add(key, outlet, patient, place);
        let session_id = topic.session;
        let session = &self.sessions[&session_id];
        let serial = session.conn().map(|conn| conn.serial);
        if self.dialect.is_local(key) && session.carrier().is_some_and(|carrier| carrier.live_since.is_some())
        {
            topic.acked_on = serial;
        }
        if !patient && let Some(session) = self.sessions.get_mut(&session_id) {
            // Whoever asks gets an answer.
            let parked = session.parked.iter_mut().find(|parked| parked.key == *key && !parked.is_ordered);
            parked.into_iter().for_each(|parked| parked.until = parked.until.min(now));
        }
        let entry = topic.entries.last_mut().expect("just added");
        let is_acked = serial.is_some() && topic.acked_on == serial;
        let check = check.filter(|_| self.config.verify_topics);
        let is_held = check.is_some() && !patient;
        if let Some(check) = check {
            self.checks.add(id, check, patient);
        }
        if is_acked && !is_held {
            entry.ready = true;
            entry.outlet.ready();
            self.woken.push(entry.outlet.clone());
        } else if !patient {
            self.be_patient(now, id, self.config.subscribe_timeout);
        }
        if is_acked {
            self.ask_checks(now);
        }
        self.at_rest = State::Idle;
        if !patient {
            self.ask_again(now, session_id, id);
        }
        self.pump(now, session_id);
        Ok(id)
    }

    /// A caller came while the stream waits, since no try got through: the next one is made now, and is the answer. Where
    /// there were too many of these, the last one is.
    fn ask_again(&mut self, now: Instant, session: SessionId, id: ListenerId) {
        let Self { sessions, rng, config, .. } = self;
        let Some(session) = sessions.get_mut(&session) else { return };
        let Link::BackOff { until, why: Reason::Lost(error) } = &mut session.link else { return };
        if !session.has_failed || *until <= now + PROMPT {
            return;
        }
        match session.backoff.hasten(config.backoff, rng) {
            Some(delay) => *until = (*until).min(now + delay),
            None => {
                let error = error.clone();
                self.remove(now, id, Some(error));
            }
        }
    }

    /// Removes a listener. A spent id is harmless.
    pub(crate) fn unsubscribe(&mut self, now: Instant, id: ListenerId) {
        self.remove(now, id, None);
    }

    /// How long a listener that has just come waits for the server's answer, instead of as long as all do.
    pub(crate) fn set_patience(&mut self, now: Instant, id: ListenerId, patience: Duration) {
        if let Some(at) = self.waiters.iter().rposition(|(_, waiting, _)| *waiting == id) {
            self.waiters.remove(at);
            self.be_patient(now, id, patience);
        }
    }

    fn be_patient(&mut self, now: Instant, id: ListenerId, patience: Duration) {
        // Longer than the clock reaches is indefinitely.
        let Some(until) = now.checked_add(patience) else { return };
        let after = self.waiters.partition_point(|(at, ..)| *at <= until);
        self.waiters.insert(after, (until, id, patience));
    }

    /// Removes the listeners of all topics that `wanted` picks, and says how many they were.
    pub(crate) fn unsubscribe_where(&mut self, now: Instant, wanted: impl Fn(&str) -> bool) -> usize {
        let ids = self.registry.select(wanted);
        for id in &ids {
            self.remove(now, *id, None);
        }
        ids.len()
    }

    /// Ends everything for good.
    pub(crate) fn close(&mut self) {
        if self.is_closed() {
            return;
        }
        let mut was_open = false;
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            was_open |= self.sessions[&id].carrier().is_some();
            self.drop_streams(id);
        }
        self.sessions.clear();
        for id in self.registry.select(|_| true) {
            let ready = self.registry.entry(id).is_some_and(|entry| entry.ready);
            if let Some(Removed { outlet, .. }) = self.registry.remove(id) {
                self.end_outlet(outlet, (!ready).then_some(Error::Closed));
            }
        }
        if was_open {
            self.outputs.push_back(Output::Disconnected(Vec::new()));
        }
        self.waiters.clear();
        self.checks.clear();
        self.credentials = Credentials::new(false);
        self.at_rest = State::Closed { why: None };
        self.state = self.at_rest.clone();
        self.outputs.push_back(Output::State(self.state.clone()));
    }

    // ---- Time ----

    /// When [`Engine::handle_timeout`] is to be called next, at the latest.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let sessions = self.sessions.values().filter_map(|session| session.deadline(now, self.held()));
        let renewals = self.sessions.values().filter_map(|session| self.renewal(session));
        let clocks = self.clocks.map(|(then, _)| then + CLOCK_INTERVAL).filter(|_| !self.sessions.is_empty());
        let waiting = self.waiters.front().map(|(at, ..)| *at);
        sessions.chain(renewals).chain(waiting).chain(clocks).chain(self.credentials.deadline()).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.credentials.tick(now) {
            self.doubt_identity(now);
        }
        self.ask_provider(now);
        while let Some((at, id, patience)) = self.waiters.front().copied()
            && at <= now
        {
            self.waiters.pop_front();
            let waits = self.registry.entry(id).is_some_and(|entry| !entry.ready);
            if waits && self.checks.holds(id) && self.is_live(id) {
                // Acknowledged: a check that takes long fails nothing.
                self.release(id);
            } else if waits {
                let session = self.registry.topic_of(id).and_then(|topic| self.sessions.get(&topic.session));
                let error = session.and_then(Session::last_error).unwrap_or(Error::Timeout {
                    what: "the server's answer to a subscription".into(),
                    after: patience,
                });
                self.remove(now, id, Some(error));
            }
        }
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.pump(now, id);
        }
        self.update_state(now);
    }

    // ---- What comes out ----

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Listeners that have something to do, and listeners that are gone and whose outlets are to be dropped. Both
    /// may run code of the host, so the caller takes them along and releases its lock first.
    pub(crate) fn take_woken(&mut self) -> (Vec<L>, Vec<L>) {
        (std::mem::take(&mut self.woken), std::mem::take(&mut self.retired))
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Messages and bytes of streams received so far.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub(crate) fn received_so_far(&self) -> (u64, u64) {
        (self.stats.messages, self.stats.bytes)
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.at_rest, State::Closed { why: None })
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            topics: self.registry.topics(),
            listeners: self.registry.listeners(),
            streams: self
                .sessions
                .values()
                .map(|session| usize::from(session.conn().is_some()) + usize::from(session.second.is_some()))
                .sum(),
            ..self.stats
        }
    }

    /// The outlet of a listener, while it listens.
    pub(crate) fn outlet(&self, id: ListenerId) -> Option<&L> {
        self.registry.entry(id).map(|entry| &entry.outlet)
    }

    /// Whether the listener's topic is acknowledged on a stream that is up.
    pub(crate) fn is_live(&self, id: ListenerId) -> bool {
        let topic = self.registry.topic_of(id);
        topic.is_some_and(|topic| {
            let conn = self.sessions.get(&topic.session).and_then(Session::conn);
            topic.acked_on.is_some() && topic.acked_on == conn.map(|conn| conn.serial)
        })
    }

    /// The id of the stream, or of the first where there are several.
    pub(crate) fn client_id(&self) -> Option<&str> {
        let carriers = self.sessions.values().filter_map(Session::carrier);
        carriers.map(|carrier| &*carrier.client_id).find(|id| !id.is_empty())
    }

    /// The topics wanted, as they stand on the wire, sorted.
    pub(crate) fn keys(&self) -> Vec<Arc<str>> {
        let mut keys: Vec<_> = self.registry.keys().cloned().collect();
        keys.sort_unstable();
        keys
    }
}
