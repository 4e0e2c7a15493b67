//! Views against a model server that loses, repeats and reorders messages, cuts links inside lists, lets tokens expire, sets its
//! clock back, stamps changes alike, changes its rules in silence: what `machine.rs` promises is checked after every step.
//!
//! `server.rs` is that server, `checks.rs` what is checked; here are the network, the clock and the stories.
//!
//! `TIDINGS_VIEW_STEPS=1000000` runs so many steps, `TIDINGS_SEED=7` one story, which `--nocapture` tells.

mod checks;
mod server;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    arrange::Order,
    fold::{Delta, Waiting},
    machine::{Failure, Judge, Machine, Message, Now, Output, Role, Settings},
    question::{Question, Wanted},
    rows::{Row, Rows},
};
use crate::{
    Error, Refusal,
    filter::{Ahead, Answer, Dialect, Filter, Schema, stamp},
};

const START: u64 = 1_770_000_000_000;

/// What a story is made of.
#[derive(Clone, Debug)]
struct Setup {
    filter: &'static str,
    server_decides: bool,
    sort: &'static str,
    limit: Option<usize>,
    slack: usize,
    is_versioned: bool,
    /// Milliseconds that share a version.
    tick: u64,
    /// Nothing is lost, and no rule, clock or identity changes: messages alone must keep the list right.
    is_calm: bool,
    sets_clock_back: bool,
    /// Guests may not list, so users whose token is not taken may not either. No guest watches.
    is_closed: bool,
}

impl Setup {
    fn draw(rng: &mut fastrand::Rng) -> Self {
        let timeless = ["", "open = true", "open = true && n > 3", "s = null || n > 5", "s ~ 'a' || n < 4"];
        let timed = [
            "due < @now",
            "due > @now && n > 2",
            "@now >= due && open = true",
            "s = 'a' || due < @now",
            "due < @tomorrow && due > @now || due < @yesterday",
        ];
        let filters = if rng.u8(0..3) == 0 { timed } else { timeless };
        let filter = filters[rng.usize(0..5)];
        let is_calm = rng.u8(0..4) == 0;
        let is_versioned = rng.u8(0..6) > 0;
        Self {
            filter,
            // Time that passes is then found by comparing now and then.
            server_decides: rng.bool() && !filter.contains('@'),
            sort: ["", "n", "-n,s", "s", if is_versioned { "-updated" } else { "-s" }][rng.usize(0..5)],
            limit: rng.bool().then(|| rng.usize(1..8)),
            slack: rng.usize(0..5),
            is_versioned,
            tick: if rng.bool() { 1 } else { rng.u64(2..60) },
            is_calm,
            sets_clock_back: !is_calm && rng.u8(0..4) == 0,
            is_closed: !is_calm && rng.u8(0..4) == 0,
        }
    }

    fn has_clock(&self) -> bool {
        self.filter.contains('@')
    }

    fn judge(&self) -> Judge {
        let has_clock = self.has_clock();
        match (self.filter, self.server_decides) {
            ("", _) => Judge::Nobody,
            (_, true) => Judge::Server { has_clock },
            (text, false) => {
                let ahead = if has_clock { Ahead::of(text) } else { None };
                Judge::Here { filter: Box::new(Filter::parse(text, Dialect::Any).unwrap()), has_clock, ahead }
            }
        }
    }

    fn draw_user(&self, rng: &mut fastrand::Rng) -> u8 {
        rng.u8(u8::from(self.is_calm || self.is_closed)..if self.is_calm { 2 } else { 3 })
    }
}

/// Who the client is. The server may not take its token any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Who {
    /// 0 is a guest.
    user: u8,
    is_taken: bool,
}

impl Who {
    /// Whom the server answers.
    fn seen_as(self) -> u8 {
        if self.is_taken { self.user } else { 0 }
    }
}

struct Asked {
    number: u64,
    wanted: Wanted,
    who: Who,
    answer_at: u64,
    deliver_at: u64,
    /// What the server read, once it has.
    answer: Option<Vec<Value>>,
}

struct World {
    rng: fastrand::Rng,
    setup: Setup,
    filter: Option<Filter>,
    schema: Schema,
    order: Order,
    records: BTreeMap<String, Value>,
    hides: i64,
    start: Instant,
    /// Milliseconds since the start, and the server's clock.
    time: u64,
    wall: u64,
    machine: Machine,
    who: Who,
    live: bool,
    /// Messages on their way, and when they arrive.
    flight: Vec<(u64, Message)>,
    asked: Option<Asked>,
    rows: Rows,
    waiting: Waiting,
    folded: Vec<Row>,
    is_first: bool,
    /// Every state that a user could see, and when a record was last not to be listed for that user.
    history: HashSet<(u8, String)>,
    outs: HashMap<(u8, String), u64>,
    shown_at: HashMap<String, u64>,
    /// A gap was told, and no list was answered since.
    in_gap: bool,
    /// Lists and proofs that the current identity has got.
    answers: (u32, u32),
    ticket: u64,
    proved: u64,
    /// Records that are in by now and not shown, and since when.
    missing: HashMap<String, u64>,
    /// Another user, for whom nothing has been listed yet.
    is_another: bool,
    tells: bool,
    seed: u64,
}

impl World {
    fn new(seed: u64, tells: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let setup = Setup::draw(&mut rng);
        if tells {
            eprintln!("{setup:?}");
        }
        let fields = json!([
            {"name": "n", "type": "number"}, {"name": "s", "type": "text"}, {"name": "open", "type": "bool"},
            {"name": "who", "type": "number"}, {"name": "updated", "type": "autodate"},
            {"name": "due", "type": "date"},
        ]);
        let schema = Schema::of_collection(&json!({"type": "base", "fields": fields})).unwrap();
        let parse = |text: &str| {
            let mut filter = Filter::parse(text, Dialect::New).unwrap();
            filter.know(&schema);
            filter
        };
        let filter = (!setup.filter.is_empty()).then(|| parse(setup.filter));
        let order = Order::parse(setup.sort).unwrap();
        let judge = setup.judge();
        let settings = Settings {
            order: order.clone(),
            judge,
            question: Question::new(setup.filter, 2, None).unwrap(),
            limit: setup.limit,
            slack: setup.slack,
            audit: (!setup.is_calm && rng.bool()).then(|| Duration::from_secs(5)),
            is_final_untaken: false,
            is_patient: true,
        };
        let mut machine = Machine::new(settings);
        let who = Who { user: setup.draw_user(&mut rng), is_taken: true };
        machine.identity(who.user > 0);
        Self {
            setup,
            filter,
            schema,
            order,
            records: BTreeMap::new(),
            hides: -1,
            start: Instant::now(),
            time: 0,
            wall: START,
            machine,
            who,
            live: false,
            flight: Vec::new(),
            asked: None,
            rows: Rows::default(),
            waiting: Waiting::default(),
            folded: Vec::new(),
            is_first: true,
            history: HashSet::new(),
            outs: HashMap::new(),
            shown_at: HashMap::new(),
            in_gap: false,
            answers: (0, 0),
            ticket: 0,
            proved: 0,
            missing: HashMap::new(),
            is_another: false,
            tells,
            seed,
            rng,
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.start + Duration::from_millis(self.time), wall: self.wall }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            eprintln!("{:6} {}", self.time, what());
        }
    }

    // ---- The network ----

    fn step(&mut self) {
        match self.rng.u8(0..100) {
            0..40 => self.write(),
            40..42 if !self.setup.is_calm => self.cut(),
            42..50 if !self.live => self.connect(),
            50..52 => self.take(),
            52 => {
                self.ticket += 1;
                self.machine.prove(self.ticket);
            }
            53 if !self.setup.is_calm => self.change_who(),
            54 if !self.setup.is_calm => {
                self.hides = self.rng.i64(-1..9);
                self.tell(|| format!("hides n = {}", self.hides));
                let records: Vec<Value> = self.records.values().cloned().collect();
                records.iter().for_each(|record| self.note(record));
            }
            55 if self.setup.sets_clock_back => self.wall -= self.rng.u64(0..2_000),
            55 if self.setup.has_clock() => self.wall += self.rng.u64(0..5_000),
            56 if !self.setup.is_calm => self.fail(),
            _ => {}
        }
        let passed = if self.rng.u8(0..50) == 0 { self.rng.u64(100..3_000) } else { self.rng.u64(0..8) };
        self.pass(passed);
    }

    fn connect(&mut self) {
        self.live = true;
        self.tell(|| "connects".into());
        if !self.is_first || self.rng.bool() {
            self.machine.gap();
            self.in_gap = true;
        }
        self.machine.link(true);
    }

    fn cut(&mut self) {
        self.live = false;
        let before = self.flight.len();
        let keeps = self.rng.usize(0..before + 1);
        // What has arrived is read all the same.
        self.rng.shuffle(&mut self.flight);
        self.flight.truncate(keeps);
        for (_, message) in std::mem::take(&mut self.flight) {
            self.machine.message(self.now(), message);
        }
        self.tell(|| format!("cuts: {keeps} of {before} messages arrive"));
        self.machine.link(false);
        if self.rng.bool() {
            self.fail();
        }
    }

    fn fail(&mut self) {
        if let Some(Asked { number, .. }) = self.asked.take() {
            let status = [500, 429, 414, 502][self.rng.usize(0..4)];
            self.refuse(number, status);
        }
    }

    fn refuse(&mut self, number: u64, status: u16) {
        self.tell(|| format!("refuses request {number} with {status}"));
        let pause = Duration::from_millis(self.rng.u64(1..100));
        let error = Error::Refused(Refusal::new(status, Vec::new(), None));
        self.machine.failure(self.now(), number, Failure { error, is_denied: status == 403, pause });
    }

    fn change_who(&mut self) {
        let before = self.who;
        match self.rng.u8(0..3) {
            // It has expired, or been revoked: nobody is told.
            0 if self.who.user > 0 => self.who.is_taken = false,
            1 => {
                self.who.is_taken = true;
                self.machine.new_token();
            }
            _ => {
                self.who = Who { user: self.setup.draw_user(&mut self.rng), is_taken: true };
                if self.who.user != before.user {
                    self.flight.clear();
                    self.asked = None;
                    self.answers = (0, 0);
                    self.machine.identity(self.who.user > 0);
                    self.is_another = true;
                    // The stream is replaced.
                    self.live = false;
                    self.machine.link(false);
                } else {
                    self.machine.new_token();
                }
            }
        }
        self.tell(|| format!("was {before:?}, is {:?}", self.who));
        if before.seen_as() != self.who.seen_as() && self.live {
            // A stream that became a guest's misses what only the user sees, until another takes its place.
            self.cut();
        }
    }

    /// Lets time pass, with all that comes in it.
    fn pass(&mut self, time: u64) {
        let until = self.time + time;
        loop {
            self.obey();
            let deadline = self.machine.deadline(self.now());
            let deadline = deadline.map(|at| {
                u64::try_from(at.saturating_duration_since(self.start).as_micros().div_ceil(1_000)).unwrap()
            });
            let message = self.flight.iter().map(|(at, _)| *at).min();
            let asked = self.asked.as_ref().map(|asked| match asked.answer {
                None => asked.answer_at,
                Some(_) => asked.deliver_at,
            });
            let next = [deadline, message, asked].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            let passed = next.saturating_sub(self.time);
            (self.time, self.wall) = (self.time + passed, self.wall + passed);
            if deadline == Some(next) {
                self.machine.timeout(self.now());
            }
            while let Some(at) = self.flight.iter().position(|(at, _)| *at <= self.time) {
                let (_, message) = self.flight.swap_remove(at);
                self.tell(|| format!("brings {message:?}"));
                self.machine.message(self.now(), message);
                self.obey();
            }
            self.serve();
        }
        let passed = until.saturating_sub(self.time);
        (self.time, self.wall) = (self.time + passed, self.wall + passed);
        self.obey();
    }

    /// The server reads at one moment, and its answer arrives at another.
    fn serve(&mut self) {
        self.note_time();
        let Some(asked) = &self.asked else { return };
        if asked.answer.is_none() && asked.answer_at <= self.time {
            let is_list = matches!(asked.wanted, Wanted::List { .. });
            if is_list && self.setup.is_closed && !self.who.is_taken {
                let number = asked.number;
                self.asked = None;
                return self.refuse(number, 403);
            }
            let answer = match &asked.wanted {
                Wanted::List { query } => self.list(self.who.seen_as().min(asked.who.user), query),
                Wanted::Proof => Vec::new(),
            };
            if let Some(asked) = &mut self.asked {
                asked.answer = Some(answer);
                // The token that it came with is looked at here.
                asked.who.is_taken = self.who.is_taken;
            }
        } else if asked.answer.is_some() && asked.deliver_at <= self.time {
            let Some(Asked { number, wanted, who, answer, .. }) = self.asked.take() else { return };
            match wanted {
                Wanted::List { .. } => {
                    self.in_gap = false;
                    self.answers.0 += 1;
                    self.machine.page(self.now(), number, &answer.unwrap_or_default());
                }
                Wanted::Proof => {
                    self.in_gap = false;
                    self.answers.1 += u32::from(who.is_taken);
                    let refusal = (!who.is_taken).then_some(Error::Closed);
                    self.machine.proof(self.now(), number, refusal, Duration::from_millis(200));
                }
            }
        }
    }

    // ---- What comes out, and whether it is right ----

    fn obey(&mut self) {
        while let Some(output) = self.machine.poll(self.now()) {
            match output {
                Output::Ask { number, wanted } => {
                    self.tell(|| format!("asks {number}: {wanted:?}"));
                    self.check_another(&wanted);
                    let answer_at = self.time + self.rng.u64(0..6);
                    let deliver_at = answer_at + self.rng.u64(0..6);
                    self.asked =
                        Some(Asked { number, wanted, who: self.who, answer_at, deliver_at, answer: None });
                }
                Output::Show { rows, changes, is_first, .. } => {
                    self.tell(|| format!("shows {} rows, {changes:?}", rows.len()));
                    let is_proven = self.answers.0 > 0 && (self.who.user == 0 || self.answers.1 > 0);
                    assert!(is_proven && (is_first || !self.is_first), "V2: seed {}", self.seed);
                    self.is_first = false;
                    self.check_between();
                    self.check_identity(&rows);
                    self.waiting.push(changes, &rows);
                    self.rows = rows;
                }
                Output::Proved(ticket) => self.proved = ticket,
                Output::Standing(standing) => self.tell(|| format!("{standing:?}")),
                Output::End(error) => panic!("seed {}: {error}", self.seed),
            }
        }
        self.check_memory();
        self.check_first();
        self.check_late();
        if self.rng.u8(0..8) == 0 {
            self.take();
        }
    }

    fn take(&mut self) {
        if self.is_first {
            return;
        }
        let deltas = self.waiting.take(&self.rows, &self.order);
        self.check_folding(&deltas);
    }
}

fn story(seed: u64, steps: u64, tells: bool) {
    let mut world = World::new(seed, tells);
    for _ in 0..world.rng.usize(0..30) {
        world.write();
    }
    world.connect();
    for step in 1..=steps {
        world.step();
        if step % 200 == 0 {
            world.check_rest();
        }
    }
}

#[test]
fn views_hold_what_they_promise_whatever_the_network_does() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("TIDINGS_SEED") {
        return story(seed, 400, true);
    }
    let stories = number("TIDINGS_VIEW_STEPS").unwrap_or(40_000) / 400;
    for seed in 1..=stories {
        story(seed, 400, false);
    }
}

/// Seen with 10,000 records on a busy machine: each cut began the list anew, and no proof ever came.
#[test]
fn a_list_ends_although_the_link_is_cut_more_often_than_it_takes() {
    for seed in 1..=50 {
        let mut world = World::new(seed, false);
        for _ in 0..30 {
            world.write();
        }
        world.check_rest();
        world.ticket += 1;
        world.machine.prove(world.ticket);
        for _ in 0..60 {
            // Time for one answer, and there are three at least: versions, bodies, and whether the token is taken.
            world.pass(11);
            world.cut();
            world.connect();
            world.machine.gap();
        }
        assert_eq!(world.proved, world.ticket, "seed {seed}");
    }
}

/// Nothing is written after the list, so that no event tells of what is to come.
#[test]
fn what_time_brings_in_is_there_soon_after() {
    let mut count = 0;
    for seed in 1..=600 {
        let mut world = World::new(seed, false);
        if !world.setup.is_calm || !world.setup.has_clock() || world.setup.limit.is_some() {
            continue;
        }
        for _ in 0..60 {
            world.write();
        }
        world.connect();
        for _ in 0..250 {
            world.pass(20);
        }
        world.check_rest();
        count += 1;
    }
    assert!(count > 10, "{count}");
}
