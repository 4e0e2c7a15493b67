//! Random schedules without a fault, against a model of the server that forgets a stream's topics while it takes new
//! ones, that ends streams as PocketBase does, and whose messages overtake each other: each event is to reach each listener
//! once, without a gap. Invariants 15 and 16 of `simulation/checks.rs`.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashSet},
    rc::Rc,
};

use super::{simulation::index, *};
use crate::{
    Action,
    engine::{dialect::pocketbase::PocketBase, identity::jwt},
};

const SCHEDULES: u64 = 200;

const TOPICS: [&str; 7] = ["a/*", "b/*", "c/*", "d/1", "d/2", "jobs", "PB_CONNECT"];

#[derive(Clone)]
struct Probe(Rc<RefCell<Log>>);

#[derive(Default)]
struct Log {
    key: &'static str,
    ready: bool,
    ended: bool,
    gaps: u64,
    got: HashSet<u64>,
    owed: HashSet<u64>,
}

impl Log {
    fn check_once(&mut self, n: u64) {
        assert!(self.got.insert(n), "{n} of {} came twice", self.key);
    }

    fn check_complete(&self) {
        let lost: Vec<_> = self.owed.difference(&self.got).collect();
        assert!(lost.is_empty(), "{lost:?} of {} were lost", self.key);
    }
}

impl Outlet for Probe {
    fn deliver(&self, event: Event) -> Delivered {
        let mut log = self.0.borrow_mut();
        assert!(!log.ended);
        match event.action() {
            Action::Connect => {}
            Action::Gap => log.gaps += 1,
            _ => {
                let n = event.json().unwrap()["n"].as_u64().unwrap();
                log.check_once(n);
            }
        }
        Delivered { wake: false, lost: 0, queued: 1 }
    }

    fn ready(&self) {
        self.0.borrow_mut().ready = true;
    }

    fn forget(&self) {}

    fn deny(&self, _error: Option<Error>) {}

    fn park(&self, _error: Option<Error>) {}

    fn end(&self, error: Option<Error>) {
        assert!(error.is_none(), "{error:?}");
        self.0.borrow_mut().ended = true;
    }
}

struct ServerStream {
    topics: BTreeSet<String>,
    born: Instant,
    sent: Instant,
}

#[derive(Debug)]
enum Coming {
    Head(ConnId),
    Hello(ConnId),
    Submit(ConnId, Vec<u8>, bool),
    Answer(ConnId, bool),
    Message(ConnId, Vec<u8>),
    Limit(ConnId),
    End(ConnId),
    Publish,
    Host,
}

/// How a story goes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Milliseconds from event to event, and from one act of the host to the next, at most.
    events: u64,
    acts: u64,
    /// How late messages are.
    delay: u64,
}

#[derive(Default, Debug)]
struct Seen {
    hand_overs: u64,
    gaps: u64,
    /// Events while a stream had no topics: the other stream had the topic, or none had.
    covered: usize,
    exposed: usize,
}

struct World {
    engine: Engine<Probe>,
    rng: fastrand::Rng,
    pace: Pace,
    start: Instant,
    now: Instant,
    trace: bool,
    agenda: BTreeMap<(Instant, u64), Coming>,
    order: u64,
    streams: BTreeMap<Serial, ServerStream>,
    listeners: Vec<(ListenerId, Probe)>,
    gone: Vec<Probe>,
    published: u64,
    tokens: u64,
    seen: Seen,
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let pace = match rng.u8(0..4) {
            0 => Pace { events: 600_000, acts: 900_000, delay: 100 },
            1 => Pace { events: 3000, acts: 6000, delay: 400 },
            2 => Pace { events: 50, acts: 2000, delay: 400 },
            _ => Pace { events: 30, acts: 200, delay: 50 },
        };
        let mut engine = Engine::new(Arc::new(PocketBase::default()), Config::default(), rng.u64(..));
        let now = Instant::now();
        if rng.bool() {
            engine.set_token(now, Some(jwt("a")), None);
        }
        Self {
            engine,
            rng,
            pace,
            start: now,
            now,
            trace,
            agenda: BTreeMap::new(),
            order: 0,
            streams: BTreeMap::new(),
            listeners: Vec::new(),
            gone: Vec::new(),
            published: 0,
            tokens: 0,
            seen: Seen::default(),
        }
    }

    fn play(mut self) -> Seen {
        // One that stays, so that there is something to lose.
        self.subscribe(0);
        self.plan(0..1, Coming::Publish);
        self.plan(0..1, Coming::Host);
        let span = Duration::from_millis(30 * self.pace.acts);
        self.run(span);
        // Long enough for what is under way to come, and for old streams to be ended by the server.
        self.pace = Pace { acts: 0, events: 5000.max(self.pace.events), ..self.pace };
        self.run(Duration::from_secs(700));
        self.pace.events = 0;
        self.run(Duration::from_secs(5));
        for probe in self.listeners.iter().map(|(_, probe)| probe).chain(&self.gone) {
            let log = probe.0.borrow();
            log.check_complete();
            self.seen.gaps += log.gaps;
        }
        let keys = self.engine.keys();
        let wanted: BTreeSet<_> =
            keys.iter().filter(|key| &***key != "PB_CONNECT").map(|key| key.to_string()).collect();
        let conn = self.engine.sessions.values().find_map(Session::conn).unwrap();
        assert_eq!(self.streams[&conn.serial].topics, wanted);
        let stats = self.engine.stats();
        self.seen.hand_overs = stats.hand_overs;
        self.engine.close();
        self.obey();
        assert!(self.streams.is_empty() && self.engine.deadline(self.now).is_none());
        self.seen
    }

    fn subscribe(&mut self, topic: usize) {
        let probe = Probe(Rc::new(RefCell::new(Log { key: TOPICS[topic], ..Log::default() })));
        let id = self.engine.subscribe(self.now, &TOPICS[topic].into(), probe.clone(), false, None).unwrap();
        self.listeners.push((id, probe));
    }

    fn host_acts(&mut self) {
        match self.rng.u8(0..10) {
            0..=4 => {
                let topic = index(&mut self.rng, ..TOPICS.len());
                self.subscribe(topic);
            }
            5..=8 if self.listeners.len() > 1 => {
                let at = index(&mut self.rng, 1..self.listeners.len());
                let (id, probe) = self.listeners.swap_remove(at);
                // What is on its way is owed to nobody.
                probe.0.borrow_mut().owed.clear();
                self.gone.push(probe);
                self.engine.unsubscribe(self.now, id);
            }
            _ if self.engine.token().is_some() => {
                self.tokens += 1;
                let token = Token::new(&format!("{}{}", jwt("a").as_str(), self.tokens)).unwrap();
                self.engine.set_token(self.now, Some(token), None);
            }
            _ => {}
        }
    }

    fn run(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            self.obey();
            let network = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let timer = self.engine.deadline(self.now);
            let Some(next) = [network, timer].into_iter().flatten().min().filter(|next| *next <= until)
            else {
                break;
            };
            self.now = self.now.max(next);
            if timer.is_some_and(|timer| timer <= self.now) {
                self.engine.handle_timeout(self.now);
                self.obey();
                let again = self.engine.deadline(self.now);
                assert!(
                    again.is_none_or(|again| again > self.now),
                    "a timer fires for ever: {:#?}",
                    self.engine.sessions
                );
            }
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let coming = entry.remove();
                self.happen(coming);
                self.obey();
            }
            self.check_uninterrupted();
        }
        self.now = until;
    }

    fn check_uninterrupted(&self) {
        let is_up = self.listeners[0].1.0.borrow().ready;
        assert!(!is_up || self.engine.state().is_live(), "{:?}", self.engine.state());
        assert!(self.engine.stats().streams <= 2);
    }

    fn obey(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Denied { for_now: true, .. } => {}
                Output::Check { .. } | Output::Denied { .. } => unreachable!("nobody asks for it here"),
                Output::Open { conn, .. } => self.plan(0..100, Coming::Head(conn)),
                Output::Submit { conn, request, token } => {
                    self.plan(0..50, Coming::Submit(conn, request.body.unwrap(), token.is_some()));
                }
                Output::Drop { conn } => {
                    self.streams.remove(&conn.serial);
                }
                Output::State(_) => {}
                Output::Disconnected(_) => assert!(self.engine.is_closed(), "an interruption"),
                Output::WantToken => unreachable!(),
            }
        }
        self.engine.take_woken();
    }

    fn happen(&mut self, coming: Coming) {
        if self.trace {
            eprintln!("{:>14?} {coming:?}", self.now - self.start);
        }
        match coming {
            Coming::Publish if self.pace.events == 0 => {}
            Coming::Publish => {
                let topic = TOPICS[index(&mut self.rng, ..TOPICS.len() - 1)];
                self.publish(topic, None);
                self.plan(0..self.pace.events, Coming::Publish);
            }
            Coming::Host if self.pace.acts > 0 => {
                self.host_acts();
                self.plan(0..self.pace.acts, Coming::Host);
            }
            Coming::Host => {}
            Coming::Head(conn) => {
                self.engine.opened(self.now, conn, None);
                self.plan(0..50, Coming::Hello(conn));
            }
            Coming::Hello(conn) => {
                let id = format!("c{}", conn.serial);
                let stream = ServerStream { topics: BTreeSet::new(), born: self.now, sent: self.now };
                self.streams.insert(conn.serial, stream);
                let hello = format!("id:{id}\nevent:PB_CONNECT\ndata:{{\"clientId\":\"{id}\"}}\n\n");
                self.plan(300_000..300_001, Coming::Limit(conn));
                self.engine.received(self.now, conn, hello.as_bytes());
            }
            Coming::Submit(conn, body, is_users) => self.replace(conn, &body, is_users),
            Coming::Answer(conn, is_taken) => {
                let message =
                    r#"{"message":"The current and the previous request authorization don't match."}"#;
                let refusal = crate::Refusal::new(403, message.into(), None);
                let answer = if is_taken { Ok(()) } else { Err(dialect::Failure::Refused(refusal)) };
                self.engine.submitted(self.now, conn, answer);
            }
            Coming::Message(conn, bytes) => self.engine.received(self.now, conn, &bytes),
            Coming::Limit(conn) => {
                let Some(stream) = self.streams.get(&conn.serial) else { return };
                let end =
                    (stream.sent + Duration::from_secs(300)).min(stream.born + Duration::from_secs(1800));
                if end <= self.now {
                    self.streams.remove(&conn.serial);
                    // Behind what is under way.
                    self.plan(500..501, Coming::End(conn));
                } else {
                    let left = (end - self.now).as_millis() as u64 + 1;
                    self.plan(left..left + 1, Coming::Limit(conn));
                }
            }
            Coming::End(conn) => self.engine.ended(self.now, conn, None),
        }
    }

    /// The server replaces the set of a stream: between the old and the new it has none.
    fn replace(&mut self, conn: ConnId, body: &[u8], has_token: bool) {
        let is_users = self.engine.token().is_some();
        if is_users && !has_token {
            return self.plan(0..50, Coming::Answer(conn, false));
        }
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        let topics = body["subscriptions"].as_array().unwrap();
        let topics = topics.iter().map(|topic| topic.as_str().unwrap().to_owned()).collect();
        // Where nothing has come for some seconds the set is replaced in place, and the chance is taken.
        let event_at = self.engine.sessions.values().find_map(|session| session.event_at);
        if event_at.is_some_and(|at| self.now < at + Duration::from_secs(8)) {
            for _ in 0..index(&mut self.rng, ..3) {
                let topic = TOPICS[index(&mut self.rng, ..TOPICS.len() - 1)];
                self.publish(topic, Some(conn));
            }
        }
        if let Some(stream) = self.streams.get_mut(&conn.serial) {
            stream.topics = topics;
        }
        self.plan(0..50, Coming::Answer(conn, true));
    }

    /// A change of a topic, to all streams that have it but one that has none at the moment.
    fn publish(&mut self, topic: &'static str, but: Option<ConnId>) {
        let n = self.published;
        self.published += 1;
        let has = |serial: &Serial, stream: &ServerStream| {
            but.is_none_or(|but| but.serial != *serial) && stream.topics.contains(topic)
        };
        let conns: Vec<_> = self
            .streams
            .iter()
            .filter(|(serial, stream)| has(serial, stream))
            .map(|(serial, _)| *serial)
            .collect();
        let listens = |log: &Log| log.key == topic && log.ready && !log.ended;
        let is_wanted = self.listeners.iter().any(|(_, probe)| listens(&probe.0.borrow()));
        if but.is_some() && is_wanted {
            *if conns.is_empty() { &mut self.seen.exposed } else { &mut self.seen.covered } += 1;
        }
        if but.is_none() || !conns.is_empty() {
            for (_, probe) in &self.listeners {
                let mut log = probe.0.borrow_mut();
                if listens(&log) {
                    log.owed.insert(n);
                }
            }
        }
        for serial in conns {
            self.streams.get_mut(&serial).unwrap().sent = self.now;
            let conn = ConnId { session: *self.engine.sessions.keys().next().unwrap(), serial };
            let message = format!(
                "id:c{serial}\nevent:{topic}\ndata:{{\"n\":{n},\"record\":{{}},\"action\":\"create\"}}\n\n"
            );
            self.plan(0..self.pace.delay, Coming::Message(conn, message.into_bytes()));
        }
    }

    fn plan(&mut self, within: std::ops::Range<u64>, coming: Coming) {
        let at = self.now + Duration::from_millis(self.rng.u64(within));
        self.order += 1;
        self.agenda.insert((at, self.order), coming);
    }
}

#[test]
fn without_a_fault_each_event_comes_once_whatever_the_host_changes() {
    let mut seen = Seen::default();
    // To see one story: TIDINGS_SEED=7 cargo test hand_over_simulation -- --nocapture
    let only: Option<u64> = std::env::var("TIDINGS_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.map_or(0..SCHEDULES, |seed| seed..seed + 1) {
        match std::panic::catch_unwind(|| World::new(seed, only.is_some()).play()) {
            Ok(Seen { hand_overs, gaps, covered, exposed }) => {
                seen.hand_overs += hand_overs;
                seen.gaps += gaps;
                seen.covered += covered;
                seen.exposed += exposed;
            }
            Err(panic) => {
                eprintln!("the schedule of seed {seed} failed");
                std::panic::resume_unwind(panic);
            }
        }
    }
    eprintln!("{seen:?}");
    if only.is_some() {
        return;
    }
    assert!(seen.hand_overs > 1000 && seen.covered > 1000, "{seen:?}");
    // A set that changed just before minutes of silence: the stream that was replaced could not show to be sound.
    assert!(seen.gaps * 100 < seen.hand_overs, "{seen:?}");
    // A topic that is new, in a change made before the stream that was replaced has shown to be sound.
    assert!(seen.exposed * 30 < seen.covered, "{seen:?}");
}
