//! The machine under a virtual clock.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        retry: SECOND,
        backoff: Bounds { min: Duration::from_millis(200), max: 20 * SECOND },
        read_timeout: None,
        once: false,
        on_status: Arc::new(Policy::of),
    }
}

fn machine(settings: Settings) -> Machine {
    Machine::new(settings, Decoder::new().comments(true), 1)
}

fn opened() -> Opened {
    Opened::new("http://host/".parse().unwrap(), hyper::HeaderMap::new())
}

fn refused(status: u16, retry_after: Option<Duration>) -> Option<Failure> {
    Some(Failure::Refused(Refusal::new(status, Vec::new(), retry_after)))
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
    let ends = |status, on_status: Arc<dyn Fn(u16) -> Policy + Send + Sync>| {
        let mut machine = machine(Settings { on_status, ..settings() });
        machine.step(now);
        machine.ended(now, refused(status, None));
        matches!(drain(&mut machine)[..], [SourceEvent::Closed { why: Some(_) }])
    };
    for status in [201, 204, 206, 301, 304, 400, 401, 403, 404, 410] {
        assert!(ends(status, Arc::new(Policy::of)), "{status}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 599] {
        assert!(!ends(status, Arc::new(Policy::of)), "{status}");
        assert!(ends(status, Arc::new(|_| Policy::Fail)), "{status}");
    }
    assert!(!ends(404, Arc::new(|_| Policy::Retry)));
    assert!(ends(204, Arc::new(|_| Policy::Retry)));
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
        let mut machine = machine(Settings { once: true, ..settings() });
        open(&mut machine, now);
        drain(&mut machine);
        cause(&mut machine, now);
        let [SourceEvent::Closed { why }] = &drain(&mut machine)[..] else { panic!() };
        assert_eq!((why.is_some(), machine.step(now)), (is_error, Step::End));
    }
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

/// A source on a server that does anything in any order, against what a host may rely on.
#[test]
fn any_schedule_keeps_the_id_the_bounds_and_the_order() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let min = Duration::from_millis(rng.u64(1..500));
        let max = min + Duration::from_millis(rng.u64(0..30_000));
        let read_timeout = rng.bool().then(|| Duration::from_millis(rng.u64(1..90_000)));
        let retry = Duration::from_millis(rng.u64(0..3000));
        let settings =
            Settings { retry, backoff: Bounds { min, max }, read_timeout, once: false, ..settings() };
        let mut machine = Machine::new(settings, Decoder::new(), seed);
        let mut now = Instant::now();
        // What the server has told, and what has been seen.
        let (mut id, mut base) = (String::new(), retry);
        let mut restarted = true;
        let mut connects: Vec<Instant> = Vec::new();
        let mut open = false;

        for _ in 0..300 {
            match machine.step(now) {
                Step::Connect(header) => {
                    let header = header.map(|id| String::from_utf8(id.as_bytes().to_vec()).unwrap());
                    assert_eq!(header, Some(id.clone()).filter(|id| !id.is_empty()), "seed {seed}");
                    if !restarted {
                        let gap = now - *connects.last().unwrap();
                        assert!(gap >= min.max(base), "seed {seed}: a spin of {gap:?}");
                    }
                    restarted = false;
                    connects.push(now);
                    match rng.u8(0..4) {
                        0 => machine.ended(now, lost()),
                        1 => machine.ended(now, refused(503, None)),
                        _ => {
                            machine.opened(now, opened());
                            open = true;
                        }
                    }
                }
                Step::Exchange { silent_at } => {
                    assert!(open);
                    now += Duration::from_millis(rng.u64(0..40_000));
                    if let Some(silent_at) = silent_at.filter(|silent_at| *silent_at <= now) {
                        now = silent_at;
                        machine.silent(now);
                        open = false;
                        continue;
                    }
                    machine.heard(now);
                    match rng.u8(0..8) {
                        0 => {
                            id = rng.u32(0..100).to_string();
                            machine.feed(format!("id: {id}\ndata: x\n\n").as_bytes());
                        }
                        1 => {
                            id.clear();
                            machine.feed(b"id:\ndata: x\n\n");
                        }
                        2 => machine.feed(b"data: x\n\n"),
                        3 => {
                            base = Duration::from_millis(rng.u64(0..2000));
                            machine.feed(format!("retry: {}\n\n", base.as_millis()).as_bytes());
                        }
                        // What is cut off does not count, but for the reconnection time.
                        4 => {
                            base = Duration::from_millis(7);
                            machine.feed(b"retry: 7\nid: cut\ndata: cut");
                            machine.ended(now, lost());
                            open = false;
                        }
                        5 => {
                            machine.restart();
                            (open, restarted) = (false, true);
                        }
                        6 => {
                            machine.ended(now, lost());
                            open = false;
                        }
                        _ => {
                            machine.ended(now, None);
                            open = false;
                        }
                    }
                }
                Step::Wait(until) => {
                    let base = base.max(min);
                    assert!(until - now <= max.max(base * 3 / 2), "seed {seed}: {:?}", until - now);
                    assert!(until - now >= base, "seed {seed}: {:?}", until - now);
                    now = until;
                }
                Step::End => unreachable!(),
            }
            if rng.bool() {
                drain(&mut machine);
                assert_eq!(machine.last_event_id(), id, "seed {seed}");
            }
        }
        assert!(connects.len() > 10);
        machine.close();
        assert!(matches!(drain(&mut machine)[..], [SourceEvent::Closed { why: None }]));
        assert_eq!(machine.step(now), Step::End);
    }
}
