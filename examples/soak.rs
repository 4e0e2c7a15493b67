//! Ten minutes with a fault every second: `make soak`.
//!
//! Four clients, each with streams, callbacks, visits, requests and changing tokens, listen to a hub on which
//! something breaks every second. Each event that is published has a number. At the end the clients must be live,
//! nothing may have leaked, and each number must have reached each listener or be covered by what the listener was
//! told: a `Gap` over the time when it was published, or a `Lagged` that counts it.
//!
//! `SOAK_SECONDS` says how long, `SOAK_SEED` replays the faults of a run: the same faults at the same seconds, though
//! not the same bytes at the same microseconds.

use std::{
    env, fs,
    process::ExitCode,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures::future::{Either, select};
use serde_json::json;
use tidings::{
    Action, Client, Error, Event, Overflow, Subscription, SubscriptionState,
    hub::{Answer, Endpoint, Hub},
};

const CLIENTS: usize = 4;
const TOPICS: [&str; 3] = ["ledger/red", "ledger/green", "ledger/blue"];

/// Between two numbers on each topic.
const TICK: Duration = Duration::from_millis(10);
const BETWEEN_FAULTS: Duration = Duration::from_secs(1);

/// How long what was published may be on its way, at the most: the hub writes byte by byte or is frozen.
const ON_ITS_WAY: Duration = Duration::from_secs(3);

/// How long a shuffled event may be held back by the hub, and a received one by a thread that waits for its turn.
const OUT_OF_ORDER: Duration = Duration::from_millis(200);

/// Until everything works again after the last fault: the longest backoff and the longest timeout.
const RECOVERY: Duration = Duration::from_secs(60);

/// What memory may grow between the middle and the end, in KiB. A connection that stays costs 100, and there are
/// hundreds.
const GROWTH: u64 = 4 << 10;

fn main() -> ExitCode {
    let seconds = setting("SOAK_SECONDS").unwrap_or(600).max(10);
    let seed = setting("SOAK_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("{seconds} s with SOAK_SEED={seed}");
    let soak = Soak::new(Duration::from_secs(seconds), seed);
    let complaints = soak.run();
    for complaint in complaints.iter().take(20) {
        println!("BROKEN: {complaint}");
    }
    match complaints.len() {
        0 => {
            println!("all promises kept");
            ExitCode::SUCCESS
        }
        n => {
            println!("{n} broken promises; replay with SOAK_SEED={seed}");
            ExitCode::FAILURE
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

struct Soak {
    hub: Hub,
    users: Vec<String>,
    /// When each number was published: before the call and after it.
    times: Mutex<Vec<(Instant, Instant)>>,
    ledgers: Mutex<Vec<Arc<Mutex<Ledger>>>>,
    /// No more numbers, no more faults.
    over: AtomicBool,
    /// Answered and failed.
    requests: [AtomicU64; 2],
    visits: AtomicU64,
    start: Instant,
    length: Duration,
    seed: u64,
}

/// Not arrived.
const AWAITED: u32 = u32::MAX;

/// What one listener has received.
struct Ledger {
    name: String,
    topic: &'static str,
    /// The server had acknowledged the topic.
    from: Instant,
    /// When the listener left, and how it stood then.
    left: Option<(Instant, SubscriptionState)>,
    /// By number, for all that there will be: the milliseconds after `start`, or [`AWAITED`].
    arrived: Vec<u32>,
    start: Instant,
    last: Option<u64>,
    twice: u64,
    gaps: Vec<tidings::Gap>,
    lagged: u64,
    /// What the subscription says at the end.
    lost: u64,
    ended: Option<String>,
}

impl Soak {
    fn new(length: Duration, seed: u64) -> Self {
        let hub = Hub::builder().seed(seed).start().expect("a free port");
        let users = (0..3).map(|n| hub.add_user("users", &format!("{n}@example.com"), "password")).collect();
        Self {
            hub,
            users,
            times: Mutex::default(),
            ledgers: Mutex::default(),
            over: AtomicBool::new(false),
            requests: Default::default(),
            visits: AtomicU64::new(0),
            start: Instant::now(),
            length,
            seed,
        }
    }

    fn run(&self) -> Vec<String> {
        // What is made once for the process: threads of the reactor, buffers of the allocator.
        smol::block_on(async {
            let client = self.client(0);
            let _warm = client.realtime().subscribe("warm").on(|_| {}).await.expect("the hub answers");
            client.close().await;
            smol::spawn(async {}).await;
        });
        assert!(self.hub.wait_until(|stats| stats.sockets == 0, RECOVERY), "the first client stays");
        let at_rest = (count("/proc/self/task"), count("/proc/self/fd"));

        let mut complaints = Vec::new();
        let mut memory = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| self.publish());
            let clients: Vec<_> =
                (0..CLIENTS).map(|n| scope.spawn(move || smol::block_on(self.live(n)))).collect();
            memory = self.break_things();
            let settled = smol::block_on(self.settle());
            complaints.extend(settled);
            self.over.store(true, Ordering::SeqCst);
            for client in clients {
                complaints.extend(client.join().unwrap_or_else(|_| vec!["a client panicked".into()]));
            }
        });
        complaints.extend(self.audit());
        complaints.extend(self.weigh(&memory, at_rest));
        let [answered, failed] = [0, 1].map(|at| self.requests[at].load(Ordering::SeqCst));
        let visits = self.visits.load(Ordering::SeqCst);
        println!("{visits} visits; requests: {answered} answered, {failed} failed; {:?}", self.hub.stats());
        complaints
    }

    fn client(&self, n: usize) -> Client {
        let builder = Client::builder(&self.hub.url()).no_proxy().seed(self.seed ^ n as u64);
        builder.backoff(Duration::from_millis(50), Duration::from_secs(2)).build().expect("a client")
    }

    /// Publishes the numbers until the end.
    fn publish(&self) {
        let start = Instant::now();
        for n in 0.. {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let payload = json!({"action": "update", "record": {"id": "r", "n": n}}).to_string();
            let before = Instant::now();
            for topic in TOPICS {
                self.hub.publish(topic, payload.as_str());
            }
            lock(&self.times).push((before, Instant::now()));
            // The pace of the numbers.
            thread::sleep((start + TICK * (n + 1)).saturating_duration_since(Instant::now()));
        }
    }

    /// Breaks something every second, and then repairs everything. Returns how much memory there was at each second.
    fn break_things(&self) -> Vec<u64> {
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let start = Instant::now();
        let mut memory = Vec::new();
        let mut at = start;
        while at < start + self.length {
            let name = self.break_one(&mut rng);
            if env::var_os("SOAK_VERBOSE").is_some() {
                println!("{:>5.1} s: {name}", start.elapsed().as_secs_f64());
            }
            at += BETWEEN_FAULTS;
            thread::sleep(at.saturating_duration_since(Instant::now()));
            self.hub.faults().clear();
            memory.push(resident());
        }
        memory
    }

    fn break_one(&self, rng: &mut fastrand::Rng) -> &'static str {
        let faults = self.hub.faults();
        let stretch = |rng: &mut fastrand::Rng| thread::sleep(Duration::from_millis(rng.u64(50..900)));
        let times = rng.usize(1..=4);
        let endpoint = *rng.choice(&[Endpoint::Connect, Endpoint::Submit]).expect("two");
        match rng.u32(..20) {
            0 => {
                faults.end_streams();
                "end"
            }
            1 => {
                faults.cut_streams();
                "cut"
            }
            2 => {
                faults.reset_streams();
                "reset"
            }
            3 => {
                faults.freeze(true);
                stretch(rng);
                faults.freeze(false);
                "freeze"
            }
            4 => {
                faults.split_bytes(true);
                stretch(rng);
                "split bytes"
            }
            5 => {
                faults.freeze(true);
                faults.reset_streams();
                stretch(rng);
                "freeze and reset"
            }
            6 => {
                faults.life(Duration::from_millis(rng.u64(100..600)));
                "short lives"
            }
            7 => {
                faults.reorder(rng.usize(2..8));
                "reorder"
            }
            8 => {
                faults.delay(endpoint, Duration::from_millis(rng.u64(10..900)));
                faults.cut_streams();
                "delay"
            }
            9 => {
                let statuses = [429, 500, 502, 503, 504];
                faults.refuse_next(endpoint, *rng.choice(&statuses).expect("five"), times);
                faults.reset_streams();
                "refuse"
            }
            10 => {
                faults.refuse_next(Endpoint::Connect, *rng.choice(&[401, 403, 404]).expect("three"), times);
                faults.cut_streams();
                "refuse as if for good"
            }
            11 => {
                faults.answer_next(endpoint, Answer::html("<h1>Sign in</h1>"), times);
                faults.end_streams();
                "a log-in page"
            }
            12 => {
                faults.answer_next(endpoint, Answer::hang_up(), times);
                faults.cut_streams();
                "hang up"
            }
            13 => {
                faults.answer_next(endpoint, Answer::reset(), times);
                faults.cut_streams();
                "reset"
            }
            14 => {
                faults.answer_next(Endpoint::Submit, Answer::silence(), 1);
                faults.cut_streams();
                "silence"
            }
            15 => {
                faults.answer_next(Endpoint::Connect, Answer::mislabelled("text/plain"), times);
                faults.cut_streams();
                "mislabelled"
            }
            16 => {
                self.hub.restart().expect("the port is free again");
                "restart"
            }
            17 => {
                self.hub.stop();
                stretch(rng);
                self.hub.restart().expect("the port is free again");
                "a while without a server"
            }
            18 => {
                let user = rng.choice(&self.users).expect("three");
                self.hub.revoke(user);
                "revoke"
            }
            _ => {
                faults.cut_streams();
                faults.answer_next(Endpoint::Records, Answer::reset(), times);
                "requests reset"
            }
        }
    }

    /// One client, from its subscriptions to its end.
    async fn live(&self, number: usize) -> Vec<String> {
        let mut rng = fastrand::Rng::with_seed(self.seed.wrapping_add(number as u64 * 7919));
        let client = self.client(number);
        let mut complaints = Vec::new();
        let mut readers = Vec::new();
        let mut kept = Vec::new();
        for topic in TOPICS {
            let named = |kind: &str| format!("client {number}, {kind} of {topic}");
            match self.subscribe(&client, topic).await {
                Ok(stream) => {
                    let ledger = self.ledger(named("stream"), topic);
                    readers.push(smol::spawn(read(stream, ledger)));
                }
                Err(error) => complaints.push(format!("{}: {error}", named("stream"))),
            }
            for (kind, pause, queue) in [("callback", Duration::ZERO, 8192), ("slow callback", TICK * 2, 16)]
            {
                // What comes before the server's word is not owed yet.
                let ledger = self.ledger(named(kind), topic);
                let own = ledger.clone();
                let subscribe = client.realtime().subscribe(topic).queue(queue, Overflow::DropOldest);
                let calls = subscribe.on(move |event| {
                    lock(&own).note(&event);
                    thread::sleep(pause);
                });
                let calls = calls.start().expect("nothing is wrong with it");
                match calls.ready().await {
                    Ok(()) => lock(&ledger).from = Instant::now(),
                    Err(error) => complaints.push(format!("{}: {error}", named(kind))),
                }
                kept.push((calls, ledger));
            }
        }
        while !self.over.load(Ordering::SeqCst) {
            self.change_identity(&client, &mut rng).await;
            self.visit(&client, number, &mut rng).await;
        }

        // Slow callbacks are let finish what they have.
        for (calls, ledger) in kept {
            let mut before = u64::MAX;
            loop {
                let now = { lock(&ledger).arrived.iter().filter(|at| **at != AWAITED).count() as u64 };
                if now == before {
                    break;
                }
                before = now;
                smol::Timer::after(Duration::from_millis(200)).await;
            }
            lock(&ledger).lost = calls.lost();
        }
        let stats = client.stats();
        println!(
            "client {number}: {} connects, {:?}, {} submits",
            stats.connects, stats.disconnects, stats.submits
        );
        let closing = Instant::now();
        client.close().await;
        if closing.elapsed() > Duration::from_secs(2) {
            complaints.push(format!("client {number} took {:?} to close", closing.elapsed()));
        }
        for reader in readers {
            reader.await;
        }
        complaints
    }

    /// Subscribes, however often it takes: a refusal that the faults have ordered is no failure of the client.
    async fn subscribe(&self, client: &Client, topic: &str) -> Result<Subscription, Error> {
        let deadline = Instant::now() + RECOVERY;
        loop {
            match client.realtime().subscribe(topic).await {
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => _ = smol::Timer::after(Duration::from_millis(50)).await,
                done => return done,
            }
        }
    }

    async fn change_identity(&self, client: &Client, rng: &mut fastrand::Rng) {
        let user = rng.usize(..self.users.len());
        match rng.u32(..4) {
            0 => client.auth().clear(),
            1 => {
                let lifetime = Duration::from_secs(rng.u64(0..60));
                let token = self.hub.token("users", &self.users[user], lifetime);
                client.auth().set_token(&token).expect("a token");
            }
            2 => {
                let users = client.collection("users");
                self.count(
                    users.auth_with_password(&format!("{user}@example.com"), "password").await.is_ok(),
                );
            }
            _ => self.count(client.collection("users").auth_refresh().await.is_ok()),
        }
    }

    /// Subscribes for a while, makes a request and leaves.
    async fn visit(&self, client: &Client, number: usize, rng: &mut fastrand::Rng) {
        let topic = TOPICS[rng.usize(..TOPICS.len())];
        let Ok(mut visit) = client.realtime().subscribe(topic).await else { return };
        let ledger = self.ledger(format!("client {number}, visit to {topic}"), topic);
        let leave = Instant::now() + Duration::from_millis(rng.u64(..4000));
        let made = client.send("POST", "/api/collections/notes/records", json!({"n": number}));
        if let Ok(made) = made.timeout(Duration::from_secs(2)).await {
            self.count(true);
            let id = made
                .json::<serde_json::Value>()
                .map(|made| made["id"].as_str().unwrap_or_default().to_owned());
            let path = format!("/api/collections/notes/records/{}", id.unwrap_or_default());
            self.count(client.send("DELETE", &path, None).timeout(Duration::from_secs(2)).await.is_ok());
        } else {
            self.count(false);
        }
        while let Either::Left((Some(event), _)) = select(visit.next(), smol::Timer::at(leave)).await {
            lock(&ledger).note(&event);
        }
        let mut own = lock(&ledger);
        own.left = Some((Instant::now(), visit.state()));
        own.lost = visit.lost();
        let is_right = own.complaint(&lock(&self.times)).is_none();
        drop(own);
        self.visits.fetch_add(1, Ordering::Relaxed);
        if is_right {
            lock(&self.ledgers).retain(|kept| !Arc::ptr_eq(kept, &ledger));
        }
    }

    fn count(&self, answered: bool) {
        self.requests[usize::from(!answered)].fetch_add(1, Ordering::Relaxed);
    }

    fn ledger(&self, name: String, topic: &'static str) -> Arc<Mutex<Ledger>> {
        let expected = (self.length + 2 * RECOVERY).as_millis() / TICK.as_millis();
        let ledger = Arc::new(Mutex::new(Ledger {
            name,
            topic,
            from: Instant::now(),
            left: None,
            arrived: vec![AWAITED; expected as usize],
            start: self.start,
            last: None,
            twice: 0,
            gaps: Vec::new(),
            lagged: 0,
            lost: 0,
            ended: None,
        }));
        lock(&self.ledgers).push(ledger.clone());
        ledger
    }

    /// Waits until every listener that stays has a number that was published after the last fault.
    async fn settle(&self) -> Vec<String> {
        let calm = lock(&self.times).len() as u64;
        let deadline = Instant::now() + RECOVERY;
        loop {
            let behind: Vec<String> = lock(&self.ledgers)
                .iter()
                .map(|ledger| lock(ledger))
                .filter(|ledger| ledger.left.is_none() && ledger.last.is_none_or(|last| last < calm))
                .map(|ledger| format!("{} has nothing {RECOVERY:?} after the last fault", ledger.name))
                .collect();
            if behind.is_empty() {
                println!(
                    "all had news again {:?} after the last fault",
                    RECOVERY - (deadline - Instant::now())
                );
                return behind;
            }
            if Instant::now() > deadline {
                return behind;
            }
            smol::Timer::after(Duration::from_millis(20)).await;
        }
    }

    /// Compares what was published with what each listener got and was told.
    fn audit(&self) -> Vec<String> {
        let times = lock(&self.times);
        let ledgers = lock(&self.ledgers);
        let (mut received, mut gaps, mut lagged, mut twice) = (0, 0, 0, 0);
        let mut complaints = Vec::new();
        for ledger in ledgers.iter() {
            let ledger = lock(ledger);
            received += ledger.arrived.iter().filter(|at| **at != AWAITED).count();
            gaps += ledger.gaps.len();
            lagged += ledger.lagged;
            twice += ledger.twice;
            complaints.extend(ledger.complaint(&times));
        }
        println!(
            "{} numbers on {} topics, {} listeners to the end: {received} received, {gaps} gaps, {lagged} lagged, \
             {twice} twice",
            times.len(),
            TOPICS.len(),
            ledgers.len(),
        );
        complaints
    }

    /// Nothing may be left, and nothing may have grown.
    fn weigh(&self, memory: &[u64], at_rest: (usize, usize)) -> Vec<String> {
        let mut complaints = Vec::new();
        let left = || (count("/proc/self/task"), count("/proc/self/fd"));
        let deadline = Instant::now() + RECOVERY;
        while left() > at_rest && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        if left() != at_rest {
            complaints.push(format!("threads and descriptors were {at_rest:?}, are {:?}", left()));
        }
        let median = |part: &[u64]| {
            let mut part = part.to_vec();
            part.sort_unstable();
            part[part.len() / 2]
        };
        let fifth = memory.len() / 5;
        let middle = median(&memory[2 * fifth..3 * fifth]);
        let end = median(&memory[4 * fifth..]);
        println!(
            "memory: {middle} KiB in the middle, {end} KiB at the end; threads, descriptors: {at_rest:?}"
        );
        if end > middle + GROWTH {
            complaints.push(format!("memory grew from {middle} to {end} KiB"));
        }
        complaints
    }
}

impl Ledger {
    fn note(&mut self, event: &Event) {
        #[derive(serde::Deserialize)]
        struct Record {
            n: u64,
        }
        match event.action() {
            Action::Update => match event.record() {
                Ok(Record { n }) => {
                    let now = self.start.elapsed().as_millis() as u32;
                    match self.arrived.get_mut(n as usize) {
                        Some(at) => self.twice += u64::from(std::mem::replace(at, now) != AWAITED),
                        None => self.ended = Some(format!("the number {n} is too large")),
                    }
                    self.last = self.last.max(Some(n));
                }
                Err(error) => self.ended = Some(error.to_string()),
            },
            Action::Lagged(n) => self.lagged += n,
            Action::Gap => self.gaps.extend(event.gap()),
            _ => self.ended = Some(format!("{event:?}")),
        }
    }

    /// What this listener can complain about, given when each number was published.
    fn complaint(&self, times: &[(Instant, Instant)]) -> Option<String> {
        if let Some(ended) = &self.ended {
            return Some(format!("{}: {ended}", self.name));
        }
        if self.lost != self.lagged {
            return Some(format!("{}: {} lost, {} told", self.name, self.lost, self.lagged));
        }
        if self.twice > 0 {
            return Some(format!("{}: {} received twice", self.name, self.twice));
        }
        let last = match self.left {
            // What was published at last may still be on its way to one who leaves.
            Some((left, SubscriptionState::Live)) => {
                times.partition_point(|(_, after)| *after + ON_ITS_WAY < left) as u64
            }
            // Who leaves while the link is down is told so by the state alone. Eight may be out of order.
            Some(_) => self.last.map_or(0, |last| last.saturating_sub(8)),
            None => self.last.map_or(0, |last| last.saturating_sub(100)),
        };
        // A gap covers what was published before the server acknowledged the topic again, and was not followed by
        // anything on the stream that was lost: then it was lost before, and in silence.
        let is_told = |before: Instant, next: Option<Instant>| {
            self.gaps
                .iter()
                .any(|gap| before <= gap.until && next.is_none_or(|next| next + OUT_OF_ORDER >= gap.since))
        };
        let (mut missing, mut next) = (Vec::new(), None);
        for (n, (before, _)) in times.iter().enumerate().rev() {
            match self.arrived[n] {
                AWAITED if *before > self.from && (n as u64) < last && !is_told(*before, next) => {
                    missing.push(n)
                }
                AWAITED => {}
                at => next = Some(self.start + Duration::from_millis(at.into())),
            }
        }
        missing.reverse();
        if missing.len() as u64 > self.lagged {
            let (first, count) = (missing[0], missing.len());
            return Some(format!(
                "{}: {count} of {} neither came nor were told, {} lagged; the first is {first}; gaps near it: {:?}",
                self.name,
                self.topic,
                self.lagged,
                self.gaps
                    .iter()
                    .map(|gap| (
                        times.partition_point(|(before, _)| *before < gap.since),
                        times.partition_point(|(before, _)| *before < gap.until)
                    ))
                    .filter(|(_, until)| until.abs_diff(first) < 500)
                    .collect::<Vec<_>>(),
            ));
        }
        None
    }
}

async fn read(mut stream: Subscription, ledger: Arc<Mutex<Ledger>>) {
    while let Some(event) = stream.next().await {
        let mut ledger = lock(&ledger);
        ledger.note(&event);
        ledger.lost = stream.lost();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(dir: &str) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}

/// Memory of the process that is in RAM and its own, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
