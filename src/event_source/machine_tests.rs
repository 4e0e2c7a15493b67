//! The machine under a virtual clock.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        retry: SECOND,
        backoff: Bounds { min: Duration::from_millis(200), max: 20 * SECOND },
        read_timeout: None,
        repeat: Repeat::Always,
        limits: Limits::default(),
    }
}

fn machine(settings: Settings) -> Machine {
    Machine::new(settings, Decoder::new().comments(true), 1)
}

fn opened() -> Opened {
    Opened::new(hyper::StatusCode::OK, "http://host/".parse().unwrap(), hyper::HeaderMap::new())
}

fn refused(status: u16, retry_after: Option<Duration>) -> Option<Failure> {
    refused_by(Policy::Default, status, retry_after)
}

fn refused_by(policy: Policy, status: u16, retry_after: Option<Duration>) -> Option<Failure> {
    Some(Failure::Refused(Refusal::new(status, Vec::new(), retry_after), policy))
}

fn unsent() -> Option<Failure> {
    Some(Failure::Unsent(Error::Protocol("nobody is there".into())))
}

fn lost() -> Option<Failure> {
    Some(Failure::Lost(Error::Protocol("lost".into())))
}

fn drain(machine: &mut Machine) -> Vec<SourceEvent> {
    std::iter::from_fn(|| machine.take_item()).collect()
}

fn open(machine: &mut Machine, now: Instant) -> Option<HeaderValue> {
    let Step::Connect(id) = machine.step(now) else { panic!("no connect") };
    machine.opened(now, opened());
    id
}

/// The delay after what has just happened.
fn delay(machine: &mut Machine, now: Instant) -> Duration {
    match machine.step(now) {
        Step::Wait(until) => until - now,
        step => panic!("{step:?}"),
    }
}

#[test]
fn an_orderly_end_is_followed_by_the_reconnection_time_and_up_to_a_half_more() {
    let mut machine = machine(settings());
    let mut now = Instant::now();
    let mut delays = Vec::new();
    for _ in 0..200 {
        open(&mut machine, now);
        machine.feed(b"data: a\n\n");
        machine.ended(now, None);
        let delay = delay(&mut machine, now);
        assert!(delay >= SECOND && delay <= SECOND * 3 / 2, "{delay:?}");
        delays.push(delay);
        now += delay;
    }
    assert!(delays.iter().max().unwrap().abs_diff(*delays.iter().min().unwrap()) > SECOND / 3);
}

#[test]
fn failures_and_barren_streams_back_off_further_and_further() {
    let failures: [fn(&mut Machine, Instant); 3] = [
        |machine, now| machine.ended(now, lost()),
        |machine, now| machine.ended(now, refused(503, None)),
        |machine, now| {
            machine.opened(now, opened());
            machine.feed(b": no message\n\nretry: 0\n\n");
            machine.ended(now, None);
        },
    ];
    for failure in failures {
        let mut machine = machine(settings());
        let mut now = Instant::now();
        let mut longest = Duration::ZERO;
        for count in 1..60u32 {
            assert!(matches!(machine.step(now), Step::Connect(None)));
            failure(&mut machine, now);
            let delay = delay(&mut machine, now);
            let ceiling = SECOND.saturating_mul(1u32.checked_shl(count).unwrap_or(u32::MAX)).min(20 * SECOND);
            assert!(delay >= Duration::from_millis(200) && delay <= ceiling, "{count}: {delay:?}");
            longest = longest.max(delay);
            now += delay;
        }
        assert!(longest > 15 * SECOND, "{longest:?}");
    }
}

#[test]
fn retry_is_the_least_time_and_bounded_on_both_sides() {
    for (told, least) in [("0", 200), ("2500", 2500), ("86400000", 300_000)] {
        for orderly in [true, false] {
            let mut machine = machine(settings());
            let now = Instant::now();
            open(&mut machine, now);
            machine.feed(format!("retry: {told}\ndata: a\n\n").as_bytes());
            machine.ended(now, if orderly { None } else { lost() });
            let (delay, least) = (delay(&mut machine, now), Duration::from_millis(least));
            assert!(delay >= least && delay <= 2 * least, "{told} {orderly}: {delay:?}");
        }
    }
}

#[test]
fn a_minute_of_health_forgets_failures() {
    for (age, forgets) in [(59, false), (60, true)] {
        let mut machine = machine(settings());
        let mut now = Instant::now();
        for _ in 0..20 {
            machine.step(now);
            machine.ended(now, lost());
            now += delay(&mut machine, now);
        }
        // The median of many delays that each follow such a stream, as a single one may be short by chance.
        let mut delays: Vec<_> = (0..101)
            .map(|_| {
                open(&mut machine, now);
                now += age * SECOND;
                machine.ended(now, lost());
                let delay = delay(&mut machine, now);
                now += delay;
                delay
            })
            .collect();
        delays.sort();
        assert_eq!(delays[50] <= 2 * SECOND, forgets, "{:?}", delays[50]);
    }
}

#[test]
fn an_orderly_end_forgets_failures() {
    let mut machine = machine(settings());
    let mut now = Instant::now();
    for _ in 0..100 {
        for _ in 0..2 {
            machine.step(now);
            machine.ended(now, lost());
            now += delay(&mut machine, now);
        }
        open(&mut machine, now);
        machine.feed(b"data: a\n\n");
        machine.ended(now, None);
        now += delay(&mut machine, now);
        machine.step(now);
        machine.ended(now, lost());
        assert!(delay(&mut machine, now) <= 2 * SECOND);
        now += 100 * SECOND;
    }
}

#[test]
fn retry_after_is_respected_up_to_an_hour() {
    for (told, least) in [(30, 30), (86_400, 3600)] {
        let mut machine = machine(settings());
        let now = Instant::now();
        machine.step(now);
        machine.ended(now, refused(429, Some(told * SECOND)));
        assert_eq!(delay(&mut machine, now), least * SECOND);
    }
}

#[test]
fn statuses_end_or_retry_as_the_policy_says_and_204_always_ends() {
    let now = Instant::now();
    let ends = |status, policy| {
        let mut machine = machine(settings());
        machine.step(now);
        machine.ended(now, refused_by(policy, status, None));
        matches!(drain(&mut machine)[..], [SourceEvent::Closed { why: Some(_) }])
    };
    for status in [201, 204, 206, 301, 304, 400, 401, 403, 404, 410] {
        assert!(ends(status, Policy::Default), "{status}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 599] {
        assert!(!ends(status, Policy::Default), "{status}");
        assert!(ends(status, Policy::Fail), "{status}");
    }
    assert!(!ends(404, Policy::Retry));
    assert!(ends(204, Policy::Retry));
}

#[test]
fn silence_is_counted_from_the_last_byte() {
    let mut machine = machine(Settings { read_timeout: Some(5 * SECOND), ..settings() });
    let start = Instant::now();
    open(&mut machine, start);
    assert_eq!(machine.step(start), Step::Exchange { silent_at: Some(start + 5 * SECOND) });
    machine.heard(start + 3 * SECOND);
    let silent_at = start + 8 * SECOND;
    assert_eq!(machine.step(start), Step::Exchange { silent_at: Some(silent_at) });
    machine.silent(silent_at);
    let [SourceEvent::Open(_), SourceEvent::Disconnected { why: Reason::Silence(time), retry_at }] =
        &drain(&mut machine)[..]
    else {
        panic!()
    };
    assert_eq!((*time, machine.step(silent_at)), (5 * SECOND, Step::Wait(*retry_at)));
}

#[test]
fn once_never_reconnects() {
    type Cause = fn(&mut Machine, Instant);

    let now = Instant::now();
    let causes: [(Cause, bool); 4] = [
        (|machine, now| machine.ended(now, None), false),
        (|machine, now| machine.ended(now, lost()), true),
        (|machine, now| machine.silent(now), true),
        (|machine, now| machine.ended(now, refused(503, None)), true),
    ];
    for (cause, is_error) in causes {
        let mut machine = machine(Settings { repeat: Repeat::Never, ..settings() });
        open(&mut machine, now);
        drain(&mut machine);
        cause(&mut machine, now);
        let [SourceEvent::Closed { why }] = &drain(&mut machine)[..] else { panic!() };
        assert_eq!((why.is_some(), machine.step(now)), (is_error, Step::End));
    }
}

fn one_answer() -> Machine {
    let repeat = Repeat::UntilAnswered;
    machine(Settings { repeat, limits: repeat.limits(), read_timeout: Some(SECOND), ..settings() })
}

/// The error of a source that has ended, and nothing else.
fn closed(machine: &mut Machine) -> Option<Error> {
    match &drain(machine)[..] {
        [SourceEvent::Closed { why }] => why.clone(),
        items => panic!("{items:?}"),
    }
}

#[test]
fn the_method_decides_how_often_a_request_is_made() {
    for (method, repeat) in [
        ("GET", Repeat::Always),
        ("HEAD", Repeat::Always),
        ("POST", Repeat::UntilAnswered),
        ("REPORT", Repeat::UntilAnswered),
        ("PUT", Repeat::UntilAnswered),
    ] {
        assert_eq!(Repeat::of(&method.parse().unwrap()), repeat, "{method}");
    }
}

#[test]
fn a_request_for_one_answer_is_made_again_only_if_nothing_can_have_been_done() {
    let now = Instant::now();
    let again = |failure| {
        let mut machine = one_answer();
        machine.step(now);
        machine.ended(now, failure);
        matches!(drain(&mut machine)[..], [SourceEvent::Disconnected { .. }])
    };
    assert!(again(unsent()));
    assert!(!again(lost()));
    assert!(!again(Some(Failure::Hopeless(Error::Closed))));
    for status in 201..600 {
        assert_eq!(again(refused(status, None)), matches!(status, 429 | 503 | 529), "{status}");
    }
    assert!(again(refused(429, Some(SECOND))));
    // The host may know more about a status, but not about an answer that has begun.
    assert!(again(refused_by(Policy::Retry, 502, None)));
    assert!(!again(refused_by(Policy::Fail, 503, None)));
    for status in [200, 202, 204] {
        assert!(!again(refused_by(Policy::Retry, status, None)), "{status}");
    }
    assert!(!again(Some(Failure::NotAStream(Error::Closed, Policy::Retry))));
}

#[test]
fn once_an_answer_has_begun_its_end_is_the_end() {
    type Cause = fn(&mut Machine, Instant);

    let now = Instant::now();
    let causes: [(Cause, Option<&str>); 3] = [
        (|machine, now| machine.ended(now, None), None),
        (|machine, now| machine.ended(now, lost()), Some("the stream was cut after 2 messages: lost")),
        (
            |machine, now| machine.silent(now),
            Some("the stream was cut after 2 messages: the next byte took longer than 1s"),
        ),
    ];
    for repeat in [Repeat::UntilAnswered, Repeat::Never] {
        for (cause, text) in causes {
            let mut machine = machine(Settings { repeat, read_timeout: Some(SECOND), ..settings() });
            open(&mut machine, now);
            machine.feed(b"data: 1\n\ndata: 2\n\n");
            drain(&mut machine);
            cause(&mut machine, now);
            let why = closed(&mut machine);
            assert_eq!(why.as_ref().map(ToString::to_string).as_deref(), text);
            assert_eq!(why.and_then(|why| why.cut().map(Cut::messages)), text.map(|_| 2));
            assert_eq!(machine.step(now), Step::End);
        }
    }
}

#[test]
fn what_was_left_unfinished_at_the_end_is_reported() {
    let now = Instant::now();
    for (text, unfinished) in [
        ("data: [DONE]", Some("[DONE]")),
        ("data: [DONE]\n", Some("[DONE]")),
        ("data: [DONE]\r", Some("[DONE]")),
        ("data: a\ndata: b\r\n: note\nda", Some("a\nb")),
        ("data: x\n\n: only a comm", None),
        ("event: end\nid: 7\n", None),
        ("data: x\n\n", None),
    ] {
        let mut machine = one_answer();
        open(&mut machine, now);
        machine.feed(text.as_bytes());
        drain(&mut machine);
        machine.ended(now, None);
        let items = drain(&mut machine);
        let found: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                SourceEvent::Unfinished(message) => Some(message.data()),
                _ => None,
            })
            .collect();
        assert_eq!(found, Vec::from_iter(unfinished), "{text:?}");
        assert!(matches!(items.last(), Some(SourceEvent::Closed { why: None })), "{items:?}");
        // It is no message, so its id does not count.
        assert_eq!(machine.last_event_id(), "");
    }
}

#[test]
fn a_limit_of_tries_or_of_time_ends_the_series() {
    for repeat in [Repeat::Always, Repeat::UntilAnswered] {
        for limits in [
            Limits { tries: Some(4), time: None },
            Limits { tries: None, time: Some(20 * SECOND) },
            Limits { tries: Some(4), time: Some(20 * SECOND) },
        ] {
            for failure in [|| refused(429, None), || refused(503, Some(2 * SECOND)), unsent] {
                let mut machine = machine(Settings { repeat, limits, ..settings() });
                let start = Instant::now();
                let mut now = start;
                let mut tries = 0;
                let why = loop {
                    machine.step(now);
                    tries += 1;
                    machine.ended(now, failure());
                    match machine.step(now) {
                        Step::Wait(until) => now = until,
                        step => break (step, machine.state()),
                    }
                };
                let (Step::End, State::Closed { why: Some(error) }) = why else { panic!("{why:?}") };
                let Error::GaveUp { tries: reported, after, .. } = &error else { panic!("{error}") };
                assert_eq!((*reported, *after), (tries, now - start));
                assert_eq!(error.status(), failure().and_then(status), "{error}");
                assert!(limits.tries.is_none_or(|most| tries <= most), "{tries}");
                assert!(limits.time.is_none_or(|most| now - start <= most), "{:?}", now - start);
                assert!(tries > 2);
            }
        }
    }
}

fn status(failure: Failure) -> Option<u16> {
    match failure {
        Failure::Refused(refusal, _) => Some(refusal.status()),
        _ => None,
    }
}

#[test]
fn a_retry_after_beyond_the_time_limit_is_not_waited_for() {
    let mut machine = one_answer();
    let now = Instant::now();
    machine.step(now);
    machine.ended(now, refused(429, Some(61 * SECOND)));
    let error = closed(&mut machine).unwrap();
    assert_eq!(error.to_string(), "gave up after 1 try in 0.0 s: the server answered 429");
    assert_eq!(error.refusal().and_then(Refusal::retry_after), Some(61 * SECOND));
}

#[test]
fn a_stream_that_works_begins_a_new_series() {
    let limits = Limits { tries: Some(2), time: Some(100 * SECOND) };
    let mut machine = machine(Settings { limits, ..settings() });
    let mut now = Instant::now();
    for _ in 0..50 {
        machine.step(now);
        machine.ended(now, lost());
        now += delay(&mut machine, now);
        open(&mut machine, now);
        machine.feed(b"data: a\n\n");
        machine.ended(now, lost());
        now += delay(&mut machine, now);
    }
    // Streams without a message are failures.
    for _ in 0..2 {
        open(&mut machine, now);
        drain(&mut machine);
        machine.ended(now, None);
        if let Step::Wait(until) = machine.step(now) {
            now = until;
        }
    }
    let State::Closed { why: Some(error) } = machine.state() else { panic!() };
    let shown = error.to_string();
    assert!(shown.starts_with("gave up after 2 tries in "), "{shown}");
    assert!(shown.ends_with(": the server ended the stream without a message"), "{shown}");
}

#[test]
fn the_id_told_to_the_host_is_that_of_what_it_has_taken() {
    let mut machine = machine(settings());
    let now = Instant::now();
    open(&mut machine, now);
    machine.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\n\n");
    machine.take_item();
    assert_eq!(machine.last_event_id(), "");
    machine.take_item();
    assert_eq!(machine.last_event_id(), "1");
    machine.take_item();
    // The last one was not handed out, as it has no data; nothing is missed by beginning after it.
    assert_eq!(machine.last_event_id(), "3");
    machine.feed(b"id\n\n");
    assert_eq!(machine.last_event_id(), "");
}

#[test]
fn an_id_that_http_cannot_carry_is_not_sent() {
    // Over 4 KiB a head is refused by many servers, and then for good.
    let (fits, is_long) = ("x".repeat(4096), "x".repeat(60_000));
    for (id, sent) in [
        ("1\u{7}", None),
        ("\u{20ac}", Some("\u{20ac}".as_bytes())),
        ("", None),
        (&fits, Some(fits.as_bytes())),
        (&is_long, None),
    ] {
        let mut machine = machine(settings());
        let now = Instant::now();
        open(&mut machine, now);
        machine.feed(format!("id: {id}\ndata: a\n\n").as_bytes());
        machine.restart();
        let Step::Connect(header) = machine.step(now) else { panic!() };
        assert_eq!(header.as_ref().map(HeaderValue::as_bytes), sent);
    }
}

/// A server that does anything in any order, and what it has told its source.
struct Server {
    seed: u64,
    rng: fastrand::Rng,
    machine: Machine,
    now: Instant,
    id: String,
    /// The reconnection time.
    base: Duration,
    bounds: Bounds,
    restarted: bool,
    connects: Vec<Instant>,
    open: bool,
}

impl Server {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let min = Duration::from_millis(rng.u64(1..500));
        let bounds = Bounds { min, max: min + Duration::from_millis(rng.u64(0..30_000)) };
        let read_timeout = rng.bool().then(|| Duration::from_millis(rng.u64(1..90_000)));
        let base = Duration::from_millis(rng.u64(0..3000));
        let settings = Settings { retry: base, backoff: bounds, read_timeout, ..settings() };
        let machine = Machine::new(settings, Decoder::new(), seed);
        let (now, id, connects) = (Instant::now(), String::new(), Vec::new());
        Self { seed, rng, machine, now, id, base, bounds, restarted: true, connects, open: false }
    }

    fn connect(&mut self, header: Option<HeaderValue>) {
        let header = header.map(|id| String::from_utf8(id.as_bytes().to_vec()).unwrap());
        assert_eq!(header, Some(self.id.clone()).filter(|id| !id.is_empty()), "seed {}", self.seed);
        if !self.restarted {
            let gap = self.now - *self.connects.last().unwrap();
            assert!(gap >= self.bounds.min.max(self.base), "seed {}: a spin of {gap:?}", self.seed);
        }
        self.restarted = false;
        self.connects.push(self.now);
        match self.rng.u8(0..4) {
            0 => self.machine.ended(self.now, lost()),
            1 => self.machine.ended(self.now, refused(503, None)),
            _ => {
                self.machine.opened(self.now, opened());
                self.open = true;
            }
        }
    }

    fn exchange(&mut self, silent_at: Option<Instant>) {
        assert!(self.open);
        self.now += Duration::from_millis(self.rng.u64(0..40_000));
        if let Some(silent_at) = silent_at.filter(|silent_at| *silent_at <= self.now) {
            self.now = silent_at;
            self.machine.silent(self.now);
            self.open = false;
            return;
        }
        self.machine.heard(self.now);
        match self.rng.u8(0..8) {
            0 => {
                self.id = self.rng.u32(0..100).to_string();
                self.machine.feed(format!("id: {}\ndata: x\n\n", self.id).as_bytes());
            }
            1 => {
                self.id.clear();
                self.machine.feed(b"id:\ndata: x\n\n");
            }
            2 => self.machine.feed(b"data: x\n\n"),
            3 => {
                self.base = Duration::from_millis(self.rng.u64(0..2000));
                self.machine.feed(format!("retry: {}\n\n", self.base.as_millis()).as_bytes());
            }
            // What is cut off does not count, but for the reconnection time.
            4 => {
                self.base = Duration::from_millis(7);
                self.machine.feed(b"retry: 7\nid: cut\ndata: cut");
                self.end(lost());
            }
            5 => {
                self.machine.restart();
                (self.open, self.restarted) = (false, true);
            }
            6 => self.end(lost()),
            _ => self.end(None),
        }
    }

    fn end(&mut self, why: Option<Failure>) {
        self.machine.ended(self.now, why);
        self.open = false;
    }

    fn wait(&mut self, until: Instant) {
        let (delay, base) = (until - self.now, self.base.max(self.bounds.min));
        assert!(delay <= self.bounds.max.max(base * 3 / 2), "seed {}: {delay:?}", self.seed);
        assert!(delay >= base, "seed {}: {delay:?}", self.seed);
        self.now = until;
    }
}

/// What a host may rely on, whatever the server does.
#[test]
fn any_schedule_keeps_the_id_the_bounds_and_the_order() {
    for seed in 0..300 {
        let mut server = Server::new(seed);
        for _ in 0..300 {
            match server.machine.step(server.now) {
                Step::Connect(header) => server.connect(header),
                Step::Exchange { silent_at } => server.exchange(silent_at),
                Step::Wait(until) => server.wait(until),
                Step::End => unreachable!(),
            }
            if server.rng.bool() {
                drain(&mut server.machine);
                assert_eq!(server.machine.last_event_id(), server.id, "seed {seed}");
            }
        }
        assert!(server.connects.len() > 10);
        server.machine.close();
        assert!(matches!(drain(&mut server.machine)[..], [SourceEvent::Closed { why: None }]));
        assert_eq!(server.machine.step(server.now), Step::End);
    }
}
