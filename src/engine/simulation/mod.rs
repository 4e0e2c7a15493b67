//! Thousands of random schedules against a model of the server, with a virtual clock and no network.
//!
//! Each seed makes one story: hosts subscribe, unsubscribe and change tokens while the server refuses, stalls, cuts
//! and restarts. Then the faults stop, and what is so must be what is wanted. `checks.rs` lists the invariants.

mod checks;

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet},
    ops::{Bound, RangeBounds},
    rc::Rc,
};

use super::*;
use crate::{
    Action, Refusal,
    engine::{
        dialect::{Failure, pocketbase::PocketBase},
        identity::{Identity, jwt},
    },
    event::Gap,
};

const SCHEDULES: u64 = 10_000;

/// Two topics that the server refuses, one by its place in the list and one without saying which.
const TOPICS: [&str; 12] = [
    "a/*",
    "b/*",
    "c/*",
    "d/1",
    "d/2",
    "jobs",
    "e/*",
    "f/*",
    "g/*",
    "PB_CONNECT",
    "refused/named",
    "refused/mute",
];

#[test]
fn whatever_happens_what_is_submitted_becomes_what_is_wanted() {
    let mut seen = Seen::default();
    // To see one story: TIDINGS_SEED=7 cargo test simulation -- --nocapture
    let only: Option<u64> = std::env::var("TIDINGS_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.map_or(0..SCHEDULES, |seed| seed..seed + 1) {
        let story = std::panic::AssertUnwindSafe(|| World::new(seed, only.is_some()).play());
        match std::panic::catch_unwind(story) {
            Ok(story) => seen.add(&story),
            Err(panic) => {
                eprintln!("the schedule of seed {seed} failed");
                std::panic::resume_unwind(panic);
            }
        }
    }
    if only.is_some() {
        return;
    }
    // A simulation that never gets into trouble shows nothing.
    assert!(seen.hand_overs > 1000 && seen.cuts > 1000 && seen.busy > 1000, "{seen:?}");
    assert!(seen.gaps > 1000 && seen.given_up > 1000 && seen.refused > 1000, "{seen:?}");
    assert!(
        seen.identity_changes > 1000 && seen.restarts > 1000 && seen.shards > 1000 && seen.revoked > 1000,
        "{seen:?}"
    );
}

#[derive(Debug, Default)]
struct Seen {
    gaps: usize,
    given_up: usize,
    refused: usize,
    identity_changes: u64,
    hand_overs: u64,
    restarts: usize,
    shards: usize,
    revoked: usize,
    cuts: usize,
    busy: usize,
}

impl Seen {
    fn add(&mut self, story: &Self) {
        self.gaps += story.gaps;
        self.given_up += story.given_up;
        self.refused += story.refused;
        self.identity_changes += story.identity_changes;
        self.hand_overs += story.hand_overs;
        self.restarts += story.restarts;
        self.shards += story.shards;
        self.revoked += story.revoked;
        self.cuts += story.cuts;
        self.busy += story.busy;
    }
}

/// One listener, as the host sees it.
#[derive(Clone)]
struct Probe(Rc<RefCell<Log>>);

struct Log {
    key: Arc<str>,
    patient: bool,
    since: Instant,
    ready: Option<Instant>,
    ended: Option<Option<Error>>,
    unsubscribed: bool,
    got: HashSet<u64>,
    gaps: Vec<Gap>,
    /// Published while this listener was ready: each must be among `got` or within one of `gaps`.
    owed: Vec<(u64, Instant)>,
    /// Whose events may come.
    allowed: Rc<RefCell<Identity>>,
    /// Whose stream brings what is being delivered.
    owner: Rc<RefCell<Identity>>,
}

impl Outlet for Probe {
    fn deliver(&self, event: Event) -> Delivered {
        let mut log = self.0.borrow_mut();
        log.check_listens();
        match event.action() {
            Action::Gap => log.gaps.push(event.gap().unwrap()),
            Action::Connect => assert_eq!(&*log.key, "PB_CONNECT"),
            _ => {
                let payload = event.json().unwrap();
                log.check_owner();
                log.check_once(payload["n"].as_u64().unwrap());
            }
        }
        Delivered { wake: true, lost: 0, queued: 1 }
    }

    fn ready(&self) {
        let mut log = self.0.borrow_mut();
        log.check_waits();
        log.ready = Some(log.since);
    }

    // It takes each event at once.
    fn forget(&self) {}

    fn deny(&self, _error: Option<Error>) {}

    fn park(&self, _error: Option<Error>) {}

    fn end(&self, error: Option<Error>) {
        let mut log = self.0.borrow_mut();
        log.check_listens();
        log.ended = Some(error);
    }
}

/// A stream as the server has it.
struct ServerStream {
    client_id: String,
    identity: Option<Identity>,
    topics: BTreeSet<String>,
}

/// What the network will do, and when.
#[derive(Debug)]
enum Coming {
    Head(ConnId),
    Hello(ConnId),
    OpenFails(ConnId, Failure),
    End(ConnId, Option<Failure>),
    SubmitArrives(ConnId, Vec<u8>, Option<Token>),
    Answer(ConnId, Result<(), Failure>),
    /// The provider's answer.
    Token,
}

struct World {
    engine: Engine<Probe>,
    rng: fastrand::Rng,
    start: Instant,
    now: Instant,
    coming: BTreeMap<u64, Coming>,
    agenda: BinaryHeap<Reverse<(Instant, u64)>>,
    order: u64,
    /// Connections that the driver holds, and submits under way on them.
    held: HashMap<ConnId, usize>,
    streams: HashMap<ConnId, ServerStream>,
    listeners: Vec<(ListenerId, Probe)>,
    allowed: Rc<RefCell<Identity>>,
    owner: Rc<RefCell<Identity>>,
    published: u64,
    opens: Vec<(Instant, SessionId)>,
    retry_after: Duration,
    faults: bool,
    /// The only fault, for as long as there are faults: each stream that is acknowledged is cut soon.
    cuts: bool,
    /// One topic is answered with 503 for as long.
    has_busy_topic: bool,
    has_provider: bool,
    asked: bool,
    asks: usize,
    tokens: u64,
    /// Tokens that the server takes for a guest's.
    revoked: HashSet<String>,
    trace: bool,
    seen: Seen,
}

/// A number below or within, the same on machines of 32 bits: `fastrand` draws fewer bits for a `usize` there, and each
/// seed would tell another story.
pub(super) fn index(rng: &mut fastrand::Rng, range: impl RangeBounds<usize>) -> usize {
    let wide = |bound: Bound<&usize>| bound.map(|number| *number as u64);
    rng.u64((wide(range.start_bound()), wide(range.end_bound()))) as usize
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        // Small streams, so that a handful of topics needs shards.
        let capacity = (if rng.bool() { 4 } else { 900 }, 900_000);
        let dialect = Arc::new(PocketBase { capacity });
        let has_provider = rng.u8(0..4) == 0;
        let config = Config { has_provider, ..Config::default() };
        let engine = Engine::new(dialect, config, rng.u64(..));
        let now = Instant::now();
        Self {
            engine,
            rng,
            start: now,
            now,
            coming: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            order: 0,
            held: HashMap::new(),
            streams: HashMap::new(),
            listeners: Vec::new(),
            allowed: Rc::new(RefCell::new(Identity::Guest)),
            owner: Rc::new(RefCell::new(Identity::Guest)),
            published: 0,
            opens: Vec::new(),
            retry_after: Duration::ZERO,
            faults: true,
            cuts: false,
            has_busy_topic: false,
            has_provider,
            asked: false,
            asks: 0,
            tokens: 0,
            revoked: HashSet::new(),
            trace,
            seen: Seen::default(),
        }
    }

    fn play(mut self) -> Seen {
        self.cuts = self.rng.u8(0..16) == 0;
        self.has_busy_topic = self.rng.u8(0..4) == 0;
        for _ in 0..index(&mut self.rng, 3..25) {
            self.host_acts();
            let pause = match self.rng.u8(0..4) {
                0 => 0,
                1 => self.rng.u64(0..10),
                2 => self.rng.u64(0..1000),
                _ => self.rng.u64(0..60_000),
            };
            self.run(Duration::from_millis(pause));
        }
        self.faults = false;
        // Long enough for a dead link to be noticed by its silence, and for the longest backoff on top of that.
        self.run(Duration::from_secs(400));
        self.check_outcome();
        self.engine.close();
        self.obey();
        self.check_closed();
        self.seen.hand_overs = self.engine.stats().hand_overs;
        self.seen.identity_changes = self.engine.stats().disconnects.identity_changed;
        self.seen
    }

    fn host_acts(&mut self) {
        match self.rng.u8(0..23) {
            0..=8 => {
                for _ in 0..index(&mut self.rng, 1..6) {
                    self.subscribe();
                }
            }
            9..=11 if !self.listeners.is_empty() => {
                let at = index(&mut self.rng, ..self.listeners.len());
                let (id, probe) = self.listeners.swap_remove(at);
                probe.0.borrow_mut().unsubscribed = true;
                self.engine.unsubscribe(self.now, id);
            }
            12 => {
                let name = TOPICS[index(&mut self.rng, ..TOPICS.len())];
                self.engine.unsubscribe_where(self.now, |key| crate::topic::is_named(key, name));
            }
            13 => {
                self.engine.unsubscribe_where(self.now, |_| true);
            }
            14..=16 => {
                let token = match self.rng.u8(0..4) {
                    0 if !self.has_provider => None,
                    1 if self.engine.token().is_some() => self.engine.token().cloned(),
                    2 if !self.has_provider => Some(self.fresh_token("b")),
                    _ => Some(self.fresh_token("a")),
                };
                *self.allowed.borrow_mut() = Identity::of(token.as_ref());
                self.engine.set_token(self.now, token, None);
                // Before the driver has had its turn, bytes of the old stream may still come.
                self.publish();
            }
            17 => self.restart(),
            18 => self.revoke(),
            19 if self.rng.bool() => self.engine.suspect(self.now),
            _ => {
                let open: Vec<_> = self.streams.keys().copied().collect();
                if !open.is_empty() {
                    let mut open = open;
                    open.sort_by_key(|conn| conn.serial);
                    let conn = open[index(&mut self.rng, ..open.len())];
                    self.streams.remove(&conn);
                    let end = if self.rng.bool() { None } else { Some(lost()) };
                    self.plan(0..50, Coming::End(conn, end));
                }
            }
        }
    }

    fn subscribe(&mut self) {
        let key: Arc<str> = TOPICS[index(&mut self.rng, ..TOPICS.len())].into();
        let patient = self.rng.bool();
        let log = Log {
            key: key.clone(),
            patient,
            since: self.now,
            ready: None,
            ended: None,
            unsubscribed: false,
            got: HashSet::new(),
            gaps: Vec::new(),
            owed: Vec::new(),
            allowed: self.allowed.clone(),
            owner: self.owner.clone(),
        };
        let probe = Probe(Rc::new(RefCell::new(log)));
        let id = self.engine.subscribe(self.now, &key, probe.clone(), patient, None).unwrap();
        self.listeners.push((id, probe));
    }

    fn fresh_token(&mut self, user: &str) -> Token {
        self.tokens += 1;
        Token::new(&format!("{}{}", jwt(user).as_str(), self.tokens)).unwrap()
    }

    /// The password changes: the server drops the identity of open streams in silence, and takes the token for a
    /// guest's from now on.
    fn revoke(&mut self) {
        let Some(token) = self.engine.token().cloned() else { return };
        self.seen.revoked += 1;
        self.revoked.insert(token.as_str().to_owned());
        for stream in self.streams.values_mut().filter(|stream| stream.identity.is_some()) {
            stream.identity = Some(Identity::Guest);
        }
    }

    fn restart(&mut self) {
        self.seen.restarts += 1;
        let mut gone: Vec<_> = self.streams.drain().map(|(conn, _)| conn).collect();
        gone.sort_by_key(|conn| conn.serial);
        for conn in gone {
            // Some ends are never heard of: the link is dead, and only a submit finds out.
            match self.rng.u8(0..8) {
                0..=2 => self.plan(0..2000, Coming::End(conn, None)),
                3..=5 => self.plan(0..2000, Coming::End(conn, Some(lost()))),
                _ => {}
            }
        }
    }

    /// Lets time pass, and everything that happens in it.
    fn run(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            self.obey();
            let network = self.agenda.peek().map(|Reverse((at, _))| *at);
            let timer = self.engine.deadline(self.now);
            let next = [network, timer].into_iter().flatten().min().filter(|next| *next <= until);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            if timer.is_some_and(|timer| timer <= self.now) {
                self.engine.handle_timeout(self.now);
                self.obey();
                self.check_timer();
            }
            while let Some(Reverse((at, order))) = self.agenda.peek().copied() {
                if at > self.now {
                    break;
                }
                self.agenda.pop();
                let coming = self.coming.remove(&order).unwrap();
                self.happen(coming);
                self.obey();
            }
            if self.rng.u8(0..3) == 0 {
                self.publish();
            }
            self.check_callers();
        }
        self.now = until;
    }

    /// The driver's part.
    fn obey(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Denied { for_now: true, .. } => {}
                Output::Check { .. } | Output::Denied { .. } => unreachable!("nobody asks for it here"),
                Output::Open { conn, .. } => {
                    assert!(self.held.insert(conn, 0).is_none());
                    self.opens.push((self.now, conn.session));
                    self.check_tries();
                    let fault = if self.faults && !self.cuts { self.rng.u8(0..12) } else { 255 };
                    match fault {
                        0 => self.plan(0..500, Coming::OpenFails(conn, lost())),
                        1 => {
                            let failure = self.busy();
                            self.plan(0..500, Coming::OpenFails(conn, failure));
                        }
                        2 => {
                            let status = [400, 401, 404][index(&mut self.rng, ..3)];
                            self.plan(0..500, Coming::OpenFails(conn, refusal(status, "no")));
                        }
                        // Nothing, ever.
                        3 => {}
                        _ => self.plan(0..300, Coming::Head(conn)),
                    }
                }
                Output::Submit { conn, request, token } => {
                    self.check_submit(conn);
                    self.plan(0..100, Coming::SubmitArrives(conn, request.body.unwrap(), token));
                }
                Output::Drop { conn } => {
                    self.held.remove(&conn);
                    // The server notices; and what is under way may still be reported, as a race of the driver.
                    self.streams.remove(&conn);
                }
                Output::State(_) | Output::Disconnected(_) => {}
                Output::WantToken => {
                    self.check_asked();
                    self.plan(0..500, Coming::Token);
                }
            }
        }
        self.engine.take_woken();
    }

    fn happen(&mut self, coming: Coming) {
        if self.trace {
            eprintln!("{:>14?} {coming:?}", self.now - self.start);
        }
        match coming {
            Coming::Head(conn) => {
                self.engine.opened(self.now, conn, None);
                if !(self.faults && self.rng.u8(0..20) == 0) {
                    self.plan(0..100, Coming::Hello(conn));
                }
            }
            Coming::Hello(conn) => {
                if self.held.contains_key(&conn) {
                    let client_id = format!("c{}", conn.serial);
                    let hello = format!(
                        "id:{client_id}\nevent:PB_CONNECT\ndata:{{\"clientId\":\"{client_id}\"}}\n\n"
                    );
                    let stream = ServerStream { client_id, identity: None, topics: BTreeSet::new() };
                    self.streams.insert(conn, stream);
                    self.engine.received(self.now, conn, hello.as_bytes());
                }
            }
            Coming::OpenFails(conn, failure) => self.engine.ended(self.now, conn, Some(failure)),
            Coming::End(conn, failure) => self.engine.ended(self.now, conn, failure),
            Coming::SubmitArrives(conn, body, token) => self.submit_arrives(conn, &body, token),
            Coming::Token => {
                self.asked = false;
                let fails = self.faults && self.rng.u8(0..4) == 0;
                let token = if fails { Err(lost_error()) } else { Ok(Some(self.fresh_token("a"))) };
                let lasts = Some(Duration::from_secs(self.rng.u64(60..600)));
                self.engine.token_provided(self.now, token, lasts);
                *self.allowed.borrow_mut() = Identity::of(self.engine.token());
            }
            Coming::Answer(conn, answer) => {
                if let Some(submits) = self.held.get_mut(&conn) {
                    *submits -= 1;
                }
                self.engine.submitted(self.now, conn, answer);
            }
        }
    }

    /// The server's part, with its checks in their order.
    fn submit_arrives(&mut self, conn: ConnId, body: &[u8], token: Option<Token>) {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        let topics: Vec<&str> =
            body["subscriptions"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        let identity = self.server_takes(token.as_ref());
        let fault = if self.faults && !self.cuts { self.rng.u8(0..20) } else { 255 };
        if fault == 0 {
            let failure = self.busy();
            return self.plan(0..100, Coming::Answer(conn, Err(failure)));
        }
        let Some(stream) = self.streams.get_mut(&conn) else {
            let answer = refusal(404, "Missing or invalid client id.");
            return self.plan(0..100, Coming::Answer(conn, Err(answer)));
        };
        assert_eq!(stream.client_id, body["clientId"].as_str().unwrap());
        if !stream.identity.as_ref().unwrap_or(&Identity::Guest).may_become(&identity) {
            let answer = refusal(403, "The current and the previous request authorization don't match.");
            return self.plan(0..100, Coming::Answer(conn, Err(answer)));
        }
        if self.faults && self.has_busy_topic && topics.contains(&"jobs") {
            self.seen.busy += 1;
            let failure = self.busy();
            return self.plan(0..100, Coming::Answer(conn, Err(failure)));
        }
        if let Some(place) = topics.iter().position(|topic| *topic == "refused/named") {
            let text =
                format!(r#"{{"message":"x","data":{{"subscriptions":{{"{place}":{{"code":"c"}}}}}}}}"#);
            let answer = Failure::Refused(Refusal::new(400, text.into(), None));
            return self.plan(0..100, Coming::Answer(conn, Err(answer)));
        }
        if topics.contains(&"refused/mute") {
            return self.plan(0..100, Coming::Answer(conn, Err(refusal(400, "Not this set."))));
        }
        stream.topics = topics.iter().map(|topic| topic.to_string()).collect();
        stream.identity = Some(identity);
        match fault {
            // Taken, but the answer is lost, or never comes.
            1 => self.plan(0..100, Coming::Answer(conn, Err(lost()))),
            2 => {}
            _ => self.plan(0..100, Coming::Answer(conn, Ok(()))),
        }
        if self.faults && self.cuts {
            self.seen.cuts += 1;
            let end = if self.rng.bool() { None } else { Some(lost()) };
            self.plan(100..300, Coming::End(conn, end));
        }
    }

    fn server_takes(&self, token: Option<&Token>) -> Identity {
        Identity::of(token.filter(|token| !self.revoked.contains(token.as_str())))
    }

    fn busy(&mut self) -> Failure {
        let status = [429, 500, 503][index(&mut self.rng, ..3)];
        let retry_after = self.rng.bool().then(|| Duration::from_secs(self.rng.u64(0..10)));
        self.retry_after = self.retry_after.max(retry_after.unwrap_or_default());
        Failure::Refused(Refusal::new(status, b"{}".to_vec(), retry_after))
    }

    /// A change of one topic, to all streams that have it.
    fn publish(&mut self) {
        let topic = TOPICS[index(&mut self.rng, ..9)];
        let n = self.published;
        self.published += 1;
        for (_, probe) in &self.listeners {
            let mut log = probe.0.borrow_mut();
            if &*log.key == topic && log.ready.is_some() && log.ended.is_none() {
                log.owed.push((n, self.now));
            }
        }
        let mut having: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.topics.contains(topic))
            .map(|(conn, _)| *conn)
            .collect();
        having.sort_by_key(|conn| conn.serial);
        for conn in having {
            *self.owner.borrow_mut() = self.streams[&conn].identity.clone().unwrap();
            let data = serde_json::json!({"record": {"id": "r"}, "action": "update", "n": n});
            let message = format!("id:x\nevent:{topic}\ndata:{data}\n\n");
            if self.trace {
                eprintln!("{:>14?} {conn:?} brings {n} of {topic}", self.now - self.start);
            }
            let (a, b) = message.as_bytes().split_at(index(&mut self.rng, ..message.len()));
            self.engine.received(self.now, conn, a);
            self.engine.received(self.now, conn, b);
        }
    }

    fn plan(&mut self, within: std::ops::Range<u64>, coming: Coming) {
        let at = self.now + Duration::from_millis(self.rng.u64(within));
        self.order += 1;
        self.coming.insert(self.order, coming);
        self.agenda.push(Reverse((at, self.order)));
    }
}

fn refusal(status: u16, message: &str) -> Failure {
    let body = serde_json::json!({"data": {}, "message": message, "status": status}).to_string();
    Failure::Refused(Refusal::new(status, body.into(), None))
}

fn lost() -> Failure {
    Failure::Lost(lost_error())
}

fn lost_error() -> Error {
    Error::Protocol("the connection broke".into())
}
