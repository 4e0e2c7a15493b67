//! The decisions: which streams there are, what each carries, when to try again, and what is reported to whom.
//!
//! Nothing here does I/O, reads a clock or blocks. Calls of the host, bytes and answers of the network and the
//! passing of time come in as method calls that carry an `Instant`; requests, state changes and wake-ups go out
//! through [`Engine::poll_output`], [`Engine::take_woken`] and [`Engine::deadline`]. Events go straight to the
//! listeners' [`Outlet`]s. So every schedule can be replayed without a network: see `simulation.rs`.
//!
//! It knows `sse` and the dialects, and nothing of the layers above.
//!
//! [`Engine`] is here, with the host's calls, time and what comes out; its other parts have a file each: `stream.rs`
//! (head, messages and end of a stream), `submit.rs` (its set of topics), `hand_over.rs` (from one
//! stream to the next), `token.rs` (whose it is).

mod backoff;
mod conn;
mod credentials;
pub(crate) mod dialect;
mod hand_over;
#[cfg(test)]
mod hand_over_simulation;
pub(crate) mod identity;
mod pairing;
mod queue;
mod registry;
mod second;
mod session;
#[cfg(test)]
mod simulation;
mod state;
mod stream;
mod submit;
#[cfg(test)]
mod tests;
mod token;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

pub(crate) use self::{
    backoff::{Backoff, Bounds, LONGEST_FLOOR},
    conn::ConnId,
    queue::{Limits, Queue},
    registry::ListenerId,
};
pub use self::{
    queue::Overflow,
    state::{Disconnects, Reason, State, Stats},
};

use self::{
    conn::{Conn, Phase, Serial, SessionId, Submit, Watchdog},
    credentials::Credentials,
    dialect::{Dialect, Request, Streams, TokenPlace},
    hand_over::Report,
    identity::{Identity, Token},
    registry::{Registry, Removed},
    session::{Held, Link, Session},
};
use crate::{
    Error,
    event::{Event, GapReason},
    sse::Decoder,
};

/// Where one listener's events go.
pub(crate) trait Outlet: Clone {
    /// Takes an event.
    fn deliver(&self, event: Event) -> Delivered;

    /// The server has acknowledged the topic.
    fn ready(&self);

    /// What waits is not for who the client is now.
    fn forget(&self);

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
    /// Bytes of one message.
    pub(crate) message_limit: usize,
    /// How often to ask whether the server still takes the client for who it is.
    pub(crate) proof_interval: Duration,
    pub(crate) has_provider: bool,
    /// Whether streams are replaced while they work.
    pub(crate) hand_over: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            open_timeout: Duration::from_secs(20),
            handshake_timeout: Duration::from_secs(10),
            submit_timeout: Duration::from_secs(15),
            subscribe_timeout: Duration::from_secs(30),
            backoff: Bounds::default(),
            message_limit: 16 << 20,
            proof_interval: Duration::from_secs(300),
            has_provider: false,
            hand_over: true,
        }
    }
}

/// A stream that lived this long was healthy: what went wrong before it is forgotten. Well under the minute after which
/// nginx by default cuts a quiet stream, or the delays of a quiet client behind it would grow without a fault.
const HEALTHY_AFTER: Duration = Duration::from_secs(45);

/// A stream that ends cleanly is opened again at once, if it lived this long.
const PROMPT_AFTER: Duration = Duration::from_secs(1);

/// The jitter of "at once".
const PROMPT: Duration = Duration::from_millis(250);

/// How often the clocks are compared while there is a stream.
const CLOCK_INTERVAL: Duration = Duration::from_secs(15);

/// How long a server that is suspected to be out of reach has for an answer.
const SUSPICION: Duration = Duration::from_secs(5);

/// The longest wait that a server can order with `Retry-After`.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

pub(crate) struct Engine<L> {
    config: Config,
    dialect: Arc<dyn Dialect>,
    registry: Registry<L>,
    sessions: BTreeMap<SessionId, Session>,
    next_session: u32,
    next_serial: Serial,
    credentials: Credentials,
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
    pub(crate) fn subscribe(
        &mut self,
        now: Instant,
        key: &Arc<str>,
        outlet: L,
        patient: bool,
    ) -> Result<ListenerId, Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let Self { registry, sessions, next_session, dialect, .. } = self;
        let place = |key: &Arc<str>| {
            let stream = dialect.stream_of(key);
            let room = |session: &Session| match dialect.streams() {
                Streams::Multiplexed { topics, bytes } => {
                    session.keys.len() < topics && session.weight + key.len() <= bytes
                }
                Streams::Direct => &*session.stream == stream,
            };
            let id = sessions.iter().find(|(_, s)| room(s)).map(|(id, _)| *id).unwrap_or_else(|| {
                let id = SessionId(*next_session);
                *next_session += 1;
                sessions.insert(id, Session::new(stream));
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
        let entry = topic.entries.last_mut().expect("just added");
        if serial.is_some() && topic.acked_on == serial {
            entry.ready = true;
            entry.outlet.ready();
            self.woken.push(entry.outlet.clone());
        } else if !patient {
            self.be_patient(now, id, self.config.subscribe_timeout);
        }
        self.at_rest = State::Idle;
        self.pump(now, session_id);
        Ok(id)
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
        self.credentials.tick(now);
        self.ask_provider(now);
        while let Some((at, id, patience)) = self.waiters.front().copied()
            && at <= now
        {
            self.waiters.pop_front();
            let waits = self.registry.entry(id).is_some_and(|entry| !entry.ready);
            if waits {
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

    // ---- The inside ----

    fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        let (_, conn) = self.sessions.get_mut(&id.session)?.stream_mut(id.serial)?;
        Some(conn)
    }

    /// Does for one session whatever its state and the time call for.
    fn pump(&mut self, now: Instant, id: SessionId) {
        self.tend_second(now, id);
        let Some(session) = self.sessions.get(&id) else { return };
        if session.keys.is_empty() {
            if session.conn().is_none() || now >= session.due(now) {
                self.dissolve(id);
            }
        } else {
            let held = self.held();
            if held != Held::Nothing {
                self.ask_provider(now);
            }
            let Some(session) = self.sessions.get(&id) else { return };
            match &session.link {
                Link::Idle | Link::BackOff { .. } if held == Held::Streams => {}
                Link::BackOff { until, .. } if now < *until => {}
                Link::Idle | Link::BackOff { .. } => self.start(now, id),
                Link::Up(_) => self.pump_up(now, id, held),
            }
        }
        self.update_state(now);
    }

    /// The same for its connection.
    fn pump_up(&mut self, now: Instant, id: SessionId, held: Held) {
        let Some(conn) = self.sessions.get(&id).and_then(Session::conn) else { return };
        let late = |what: &'static str, after| Reason::Lost(Error::Timeout { what: what.into(), after });
        let reason = match &conn.phase {
            Phase::Connecting { deadline } if now >= *deadline => late(
                "the head of the event stream (does a proxy on the way buffer responses?)",
                self.config.open_timeout,
            ),
            Phase::Handshake { deadline } if now >= *deadline => late(
                "the handshake of the event stream (does a proxy on the way buffer responses?)",
                self.config.handshake_timeout,
            ),
            Phase::Connecting { .. } | Phase::Handshake { .. } => return,
            Phase::Carrier(_) if now >= conn.watchdog.due() => Reason::Silence(conn.watchdog.limit),
            Phase::Carrier(carrier) => match &carrier.submit {
                Submit::InFlight(flight) if now >= flight.deadline => {
                    // The server may yet take it, and would then replace what a second submit has set: only a new
                    // stream has a certain set.
                    let what = match flight.is_probe {
                        true => "the answer to whether the stream is still there",
                        false => "the answer to the topics submitted",
                    };
                    self.stats.submits_failed += u64::from(!flight.is_probe);
                    late(what, flight.deadline.saturating_duration_since(flight.sent))
                }
                Submit::InFlight(_) => return,
                // Without the token the submit would be a guest's.
                Submit::Ready | Submit::Postponed { .. } if held == Held::Submits => return,
                Submit::Postponed { until } if now >= *until => {
                    let conn = ConnId { session: id, serial: conn.serial };
                    return self.submit(now, conn);
                }
                Submit::Postponed { .. } => return,
                Submit::Ready => return self.pump_ready(now, id),
            },
        };
        self.lose(now, id, reason, None);
    }

    /// The same where no submit is under way.
    fn pump_ready(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let Some(carrier) = session.carrier() else { return };
        if carrier.stale {
            if now >= session.due(now) {
                self.change_set(now, id);
            }
        } else if carrier.proof.due.is_some_and(|due| now >= due) {
            self.probe(now, id);
        } else if self.renewal(session).is_some_and(|due| now >= due) {
            self.begin(now, id);
        }
    }

    /// Nobody wants anything of this session any more.
    fn dissolve(&mut self, id: SessionId) {
        let was_open = self.sessions.get(&id).is_some_and(|session| session.carrier().is_some());
        self.drop_streams(id);
        self.sessions.remove(&id);
        if was_open {
            let keys = self.keys();
            self.outputs.push_back(Output::Disconnected(keys));
        }
    }

    fn start(&mut self, now: Instant, id: SessionId) {
        if let Some(conn) = self.connect(now, id)
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.link = Link::Up(conn);
        }
    }

    /// Asks for a stream.
    fn connect(&mut self, now: Instant, id: SessionId) -> Option<Box<Conn>> {
        let session = self.sessions.get(&id)?;
        let serial = self.next_serial;
        self.next_serial = serial.saturating_add(1);
        self.stats.connects += 1;
        let request = Request { pin: session.pin, ..self.dialect.open_request(&session.stream) };
        let token = self.credentials.token.clone().filter(|_| request.token != TokenPlace::Nowhere);
        self.outputs.push_back(Output::Open { conn: ConnId { session: id, serial }, request, token });
        Some(Box::new(Conn {
            serial,
            born: now,
            draw: self.rng.f64(),
            decoder: Decoder::with_limit(self.config.message_limit),
            peer: None,
            identity: match self.dialect.streams() {
                // The first submit says whose it is.
                Streams::Multiplexed { .. } => Identity::Guest,
                Streams::Direct => self.credentials.identity(),
            },
            watchdog: Watchdog { heard: now, limit: self.dialect.silence_limit() },
            whole: now,
            phase: Phase::Connecting { deadline: now + self.config.open_timeout },
        }))
    }

    /// Closes what carries a session.
    fn drop_streams(&mut self, id: SessionId) -> Option<Conn> {
        self.close_second(id, Report::Nothing);
        let session = self.sessions.get_mut(&id)?;
        session.pairing = None;
        let conn = session.take_conn()?;
        self.outputs.push_back(Output::Drop { conn: ConnId { session: id, serial: conn.serial } });
        Some(conn)
    }

    /// The connection is of no use any more, for whatever reason: plan the next one.
    fn lose(&mut self, now: Instant, id: SessionId, reason: Reason, retry_after: Option<Duration>) {
        let second = self.sessions.get(&id).and_then(|session| session.second.as_deref());
        let in_doubt = second.and_then(|second| second.in_doubt(now));
        let Some(conn) = self.drop_streams(id) else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        self.stats.disconnects.count(&reason);
        let carrier = match conn.phase {
            Phase::Carrier(carrier) => Some(carrier),
            _ => None,
        };
        let lived =
            carrier.as_ref().and_then(|carrier| carrier.live_since).map(|since| now.duration_since(since));
        if lived.is_some() && session.hole.is_none() {
            let gap = match reason {
                Reason::IdentityChanged => GapReason::IdentityChanged,
                _ => GapReason::Disconnected,
            };
            // Whatever ended it: the link may have been dead since it last delivered a whole message.
            session.hole = Some((in_doubt.map_or(conn.whole, |doubt| doubt.start.min(conn.whole)), gap));
        }
        session.went_offline(now, reason.clone());
        // Any other end than by such an answer makes the next one the first.
        session.final_since = None;
        if lived.is_some_and(|lived| lived >= HEALTHY_AFTER) {
            session.backoff.reset();
        }
        if !matches!(reason, Reason::StreamRejected(_)) {
            session.pin = None;
        }
        let delay = match &reason {
            Reason::IdentityChanged => Duration::ZERO,
            Reason::Suspected => PROMPT.mul_f64(self.rng.f64()),
            Reason::EndedByServer if lived.is_some_and(|lived| lived >= PROMPT_AFTER) => {
                PROMPT.mul_f64(self.rng.f64())
            }
            // The server restarted and has forgotten the stream; only the first time is that a reason for haste.
            Reason::StreamRejected(_) if session.fruitless <= 1 => PROMPT.mul_f64(self.rng.f64()),
            _ => session.backoff.next(self.config.backoff, &mut self.rng),
        };
        let delay = delay.max(bounded(retry_after));
        session.link = Link::BackOff { until: now + delay, why: reason.clone() };
        let been_live = session.been_live;
        if carrier.is_some() {
            let keys = self.keys();
            self.outputs.push_back(Output::Disconnected(keys));
        }
        if let (false, Reason::Lost(error)) = (been_live, &reason) {
            self.give_up(now, id, error);
        }
        self.pump(now, id);
    }

    /// Tells those who wait for a first answer that there is none to be had.
    fn give_up(&mut self, now: Instant, id: SessionId, error: &Error) {
        let Some(session) = self.sessions.get(&id) else { return };
        let topics = session.keys.iter().filter_map(|key| self.registry.get(key));
        let waiting = topics.flat_map(|topic| topic.entries.iter().filter(|e| !e.ready && !e.patient));
        let ids: Vec<_> = waiting.map(|entry| entry.id).collect();
        for id in ids {
            self.remove(now, id, Some(error.clone()));
        }
    }

    /// The session ends with a final answer of the server.
    fn finish(&mut self, id: SessionId, error: Error) {
        self.drop_streams(id);
        let Some(session) = self.sessions.remove(&id) else { return };
        for key in &session.keys {
            self.end_topic(key, &error);
        }
        if self.sessions.is_empty() {
            self.at_rest = State::Closed { why: Some(error) };
        }
    }

    fn end_topic(&mut self, key: &Arc<str>, error: &Error) {
        let Some(topic) = self.registry.get(key) else { return };
        let ids: Vec<_> = topic.entries.iter().map(|entry| entry.id).collect();
        for id in ids {
            if let Some(Removed { outlet, .. }) = self.registry.remove(id) {
                self.end_outlet(outlet, Some(error.clone()));
            }
        }
    }

    fn remove(&mut self, now: Instant, id: ListenerId, error: Option<Error>) {
        let Some(Removed { outlet, abandoned }) = self.registry.remove(id) else { return };
        self.end_outlet(outlet, error);
        if let Some((key, session_id)) = abandoned {
            if let Some(session) = self.sessions.get_mut(&session_id) {
                session.remove(now, &key, self.dialect.is_local(&key));
            }
            self.pump(now, session_id);
        }
    }

    fn end_outlet(&mut self, outlet: L, error: Option<Error>) {
        outlet.end(error);
        self.woken.push(outlet.clone());
        self.retired.push(outlet);
    }

    fn update_state(&mut self, now: Instant) {
        let wanted = self.credentials.identity();
        // With a token that the server does not take it is a guest's stream that is live.
        let wanted = Some(&wanted).filter(|_| self.credentials.loss.is_none());
        let states = self.sessions.values().map(|session| session.state(now, wanted));
        let mut state = states.max_by_key(State::distance).unwrap_or_else(|| self.at_rest.clone());
        if let (State::Live, Some(why)) = (&state, &self.credentials.loss) {
            state = State::Unauthenticated { why: why.clone() };
        }
        if !self.state.is_same(&state) {
            self.state = state.clone();
            self.outputs.push_back(Output::State(state));
        }
    }
}

/// A server's `Retry-After`, within reason.
fn bounded(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER)
}
