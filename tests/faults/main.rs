//! Faults on demand, and the promises kept under each: a table whose rows are faults, whose columns are promises, and
//! whose cells are tests. What does not fit the table stands below it.
//!
//! Faults of the network are made by a proxy in front of the real server, faults of the server with signals and
//! hooks; the last rows are those that the embedded hub can make.

#[path = "../fault_proxy/mod.rs"]
mod fault_proxy;
#[path = "../real/mod.rs"]
mod real;

use std::{
    ops::RangeInclusive,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fault_proxy::{End, Proxy, Way};
use futures::{
    StreamExt,
    future::{Either, join_all},
};
use real::{PATIENCE, PocketBase, create, soon, update};
use serde_json::{Value, json};
use tidings::{
    Client, Error, Event, Gap, GapReason, State, States, Subscription, SubscriptionState,
    hub::{Answer, Endpoint, Hub},
};

/// The promise is a second; the rest is for a loaded machine.
const CLOSING: Duration = Duration::from_millis(1500);

/// The least delay before a try that follows a failure.
const LEAST_DELAY: Duration = Duration::from_millis(200);

/// One row of the table.
trait Fault {
    /// Whether the stream is lost by it. If not, everything is late at most.
    const CUTS: bool;

    /// Whether tries to connect go on failing until it is healed.
    const LASTS: bool = false;

    /// Streams that it takes to be back, where that is certain, and sets of topics.
    const CONNECTS: RangeInclusive<u64> = 1..=1;
    const SUBMITS: u64 = 1;

    /// The status that a call made meanwhile may get for an answer.
    const REFUSES: Option<u16> = None;

    async fn arrange() -> Scene;

    async fn strike(scene: &mut Scene);

    async fn heal(scene: &mut Scene);
}

/// A server, a client of it with three subscriptions that are live, and a way to publish that no fault of the network is in.
struct Scene {
    client: Client,
    states: States,
    notes: Vec<Subscription>,
    room: String,
    /// The record that has a subscription of its own.
    own: String,
    writer: Option<Client>,
    proxy: Option<Proxy>,
    server: Server,
    /// The server is there and takes records.
    takes_records: bool,
    published: Vec<Published>,
}

enum Server {
    Shared(&'static PocketBase),
    Own(PocketBase),
    Hub(Hub),
}

/// A change, made somewhere between two instants.
struct Published {
    title: String,
    began: Instant,
    ended: Instant,
}

/// What one subscription was told.
#[derive(Debug, Default)]
struct Told {
    titles: Vec<String>,
    gaps: Vec<Gap>,
}

/// Answers planned for one client, told by a header, so that tests can share a server.
const HOOKS: &str = r#"
routerAdd("POST", "/plan", (e) => {
    const plan = e.requestInfo().body
    $app.store().set(plan.endpoint + plan.room, JSON.stringify(plan))
    return e.noContent(204)
})
onRealtimeConnectRequest((e) => {
    const key = "connect" + e.requestInfo().headers["x_room"]
    const plan = JSON.parse($app.store().get(key) || '{"times": 0}')
    if (plan.times-- > 0) {
        $app.store().set(key, JSON.stringify(plan))
        if (plan.status) {
            throw new ApiError(plan.status, plan.message)
        }
        if (plan.idle) {
            e.idleTimeout = plan.idle * 1000000
        }
        if (plan.life) {
            e.maxTimeout = plan.life * 1000000
        }
    }
    return e.next()
})
onRealtimeSubscribeRequest((e) => {
    const key = "submit" + e.requestInfo().headers["x_room"]
    const plan = JSON.parse($app.store().get(key) || '{"times": 0}')
    if (plan.times-- > 0) {
        $app.store().set(key, JSON.stringify(plan))
        if (plan.retryAfter) {
            e.requestEvent.response.header().set("Retry-After", String(plan.retryAfter))
        }
        throw new ApiError(plan.status, plan.message)
    }
    return e.next()
})
"#;

impl Scene {
    /// The client reaches a server that tests share through a proxy of its own.
    async fn behind_a_proxy() -> Self {
        Self::behind_a_proxy_with(None).await
    }

    /// The same with a plan for the first stream.
    async fn behind_a_proxy_with(plan: Option<Value>) -> Self {
        let server = shared_server();
        let proxy = Proxy::start(server.addr());
        let url = proxy.url();
        Self::new(Server::Shared(server), Some(proxy), &url, plan).await
    }

    async fn with_a_server_of_its_own() -> Self {
        let server = PocketBase::start(HOOKS);
        server.collection("notes", &["room", "title"], &[], "").await;
        let url = server.url();
        Self::new(Server::Own(server), None, &url, None).await
    }

    async fn on_the_hub() -> Self {
        let hub = Hub::start().unwrap();
        let url = hub.url();
        Self::new(Server::Hub(hub), None, &url, None).await
    }

    async fn new(server: Server, proxy: Option<Proxy>, url: &str, plan: Option<Value>) -> Self {
        let room = new_room();
        let writer = match &server {
            Server::Shared(server) => Some(server.client()),
            Server::Own(server) => Some(server.client()),
            Server::Hub(_) => None,
        };
        let record = json!({"room": "", "title": ""});
        let own = match (&server, &writer) {
            (Server::Hub(hub), _) => hub.create("notes", record)["id"].as_str().unwrap().to_owned(),
            (_, writer) => create(writer.as_ref().unwrap(), "notes", record).await,
        };
        if let Some(plan) = plan {
            plan_answers(writer.as_ref().unwrap(), &room, "connect", 1, plan).await;
        }
        let client = Client::builder(url).header("X-Room", &room).build().unwrap();
        let notes = client.collection("notes");
        let filter = client.filter("room = {:room}", json!({"room": room})).unwrap();
        let notes = [
            notes.subscribe("*").filter(&filter),
            notes.subscribe("*").filter(&filter).fields("id,title"),
            notes.subscribe(&own),
        ];
        let notes = soon("all answers", join_all(notes.map(IntoFuture::into_future))).await;
        let notes = notes.into_iter().map(Result::unwrap).collect();
        let mut states = client.states();
        let first = states.next().await.unwrap();
        assert!(first.is_live(), "{first}");
        Self {
            client,
            states,
            notes,
            room,
            own,
            writer,
            proxy,
            server,
            takes_records: true,
            published: Vec::new(),
        }
    }

    fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().unwrap()
    }

    fn server(&mut self) -> &mut PocketBase {
        match &mut self.server {
            Server::Own(server) => server,
            _ => panic!("this scene has no server of its own"),
        }
    }

    fn hub(&self) -> &Hub {
        match &self.server {
            Server::Hub(hub) => hub,
            _ => panic!("this scene has no hub"),
        }
    }

    /// Has the real server's hooks react to the next requests of this client.
    async fn plan(&self, endpoint: &str, times: u32, plan: Value) {
        plan_answers(self.writer.as_ref().unwrap(), &self.room, endpoint, times, plan).await;
    }

    /// Makes a change that each of the three subscriptions is to be told of, if the server takes any.
    async fn publish(&mut self, title: &str) {
        if !self.takes_records {
            return;
        }
        let began = Instant::now();
        let (note, change) = (json!({"room": self.room, "title": title}), json!({"title": title}));
        match (&self.server, &self.writer) {
            (Server::Hub(hub), _) => {
                hub.create("notes", note);
                hub.update("notes", &self.own, change);
            }
            (_, writer) => {
                create(writer.as_ref().unwrap(), "notes", note).await;
                update(writer.as_ref().unwrap(), "notes", &self.own, change).await;
            }
        }
        self.published.push(Published { title: title.to_owned(), began, ended: Instant::now() });
    }

    /// Waits until the host is told of a state.
    async fn told(&mut self, wanted: impl Fn(&State) -> bool) -> State {
        loop {
            let state = soon("a state", self.states.next()).await.expect("the client is open");
            if wanted(&state) {
                return state;
            }
        }
    }

    async fn lost(&mut self) -> State {
        self.told(|state| matches!(state, State::Waiting { .. })).await
    }

    /// Reads each subscription until the change that was published last, or the gap that it fell into.
    async fn read(&mut self) -> Vec<Told> {
        let last = self.published.last().unwrap();
        let mut all = Vec::new();
        for notes in &mut self.notes {
            let mut told = Told::default();
            while told.titles.last() != Some(&last.title) && !told.gaps.iter().any(|gap| last.is_in(gap)) {
                let event = soon("an event", notes.next()).await.expect("the stream goes on");
                match event.gap() {
                    Some(gap) => told.gaps.push(gap),
                    None => told.titles.push(title(&event)),
                }
            }
            all.push(told);
        }
        all
    }

    /// Waits for the stream to be back, if it was lost, and for a change to come through.
    async fn recover<F: Fault>(&mut self) -> Vec<Told> {
        if F::CUTS {
            self.told(State::is_live).await;
        }
        self.publish("last").await;
        self.read().await
    }
}

impl Published {
    /// Whether the gap holds all of the time in which it may have been made.
    fn is_in(&self, gap: &Gap) -> bool {
        gap.since <= self.began && self.began <= gap.until
    }
}

fn new_room() -> String {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    format!("room{}", SERIAL.fetch_add(1, Ordering::Relaxed))
}

async fn plan_answers(writer: &Client, room: &str, endpoint: &str, times: u32, mut plan: Value) {
    plan["endpoint"] = endpoint.into();
    plan["room"] = room.into();
    plan["times"] = times.into();
    writer.send("POST", "/plan", plan).await.unwrap();
}

fn title(event: &Event) -> String {
    assert!(!event.is_notice(), "{event:?}");
    event.json().unwrap()["record"]["title"].as_str().unwrap().to_owned()
}

fn shared_server() -> &'static PocketBase {
    static SERVER: OnceLock<PocketBase> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = PocketBase::start(HOOKS);
        smol::block_on(server.collection("notes", &["room", "title"], &[], ""));
        server
    })
}

// ---- The columns ----

/// The host does nothing, and each subscription is back.
async fn comes_back<F: Fault>() {
    let mut scene = F::arrange().await;
    F::strike(&mut scene).await;
    F::heal(&mut scene).await;
    scene.recover::<F>().await;
    for notes in &scene.notes {
        assert_eq!(notes.state(), SubscriptionState::Live);
    }
}

/// Each change is delivered, or a gap covers it; and there is no gap without a reason.
async fn delivers_or_tells_the_gap<F: Fault>() {
    let mut scene = F::arrange().await;
    scene.publish("before").await;
    let mut all = scene.read().await;
    // Whoever made the next change did it after this one was here.
    F::strike(&mut scene).await;
    for n in 0..3 {
        scene.publish(&format!("meanwhile {n}")).await;
    }
    F::heal(&mut scene).await;
    scene.publish("at once").await;
    for (before, after) in all.iter_mut().zip(scene.recover::<F>().await) {
        before.titles.extend(after.titles);
        before.gaps.extend(after.gaps);
    }
    for told in &all {
        assert_eq!(!told.gaps.is_empty(), F::CUTS, "{told:?}");
        for gap in &told.gaps {
            assert_eq!(gap.reason, GapReason::Disconnected);
        }
        accounts_for(told, &scene.published);
        let mut once = told.titles.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), told.titles.len(), "delivered twice: {told:?}");
    }
}

fn accounts_for(told: &Told, published: &[Published]) {
    for change in published {
        assert!(
            told.titles.contains(&change.title) || told.gaps.iter().any(|gap| change.is_in(gap)),
            "{:?}, made between {:?} and {:?}, is neither delivered nor in a gap: {told:?}",
            change.title,
            change.began,
            change.ended,
        );
    }
}

/// The host is told that the stream was lost, and why, and that it is back; or nothing, if it was not lost.
async fn tells_the_state<F: Fault>() {
    let mut scene = F::arrange().await;
    // Where the stream is lost this has waited for the state that says so.
    F::strike(&mut scene).await;
    if F::LASTS {
        assert!(scene.notes.iter().all(|notes| notes.state() == SubscriptionState::Interrupted));
        assert!(!scene.client.state().is_live());
    }
    F::heal(&mut scene).await;
    scene.recover::<F>().await;
    assert!(scene.client.state().is_live());
    if !F::CUTS {
        let next = futures::poll!(scene.states.next());
        assert!(next.is_pending(), "{next:?}");
    }
}

/// However long it lasts, tries keep the distance that was set.
async fn does_not_spin<F: Fault>() {
    let mut scene = F::arrange().await;
    let (began, before) = (Instant::now(), scene.client.stats());
    F::strike(&mut scene).await;
    if F::LASTS {
        for _ in 0..4 {
            scene.lost().await;
        }
    }
    F::heal(&mut scene).await;
    scene.recover::<F>().await;
    let after = scene.client.stats();
    let (connects, submits) = (after.connects - before.connects, after.submits - before.submits);
    if F::LASTS {
        // The first try may follow at once: a clean end, or a stream that the server does not know.
        let most = 1 + (began.elapsed().as_millis() / LEAST_DELAY.as_millis()) as u64;
        assert!((4..=most).contains(&connects), "{connects} connects in {:?}", began.elapsed());
        assert!(submits <= connects, "{submits} submits on {connects} streams");
    } else {
        let (least, most) = if F::CUTS { F::CONNECTS.into_inner() } else { (0, 0) };
        assert!((least..=most).contains(&connects), "{connects} connects");
        assert_eq!(submits, if F::CUTS { F::SUBMITS } else { 0 });
    }
}

/// In the middle of it the client closes within the second, and its streams end.
async fn closes<F: Fault>() {
    let mut scene = F::arrange().await;
    F::strike(&mut scene).await;
    let began = Instant::now();
    soon("the end", scene.client.close()).await;
    assert!(began.elapsed() < CLOSING, "{:?}", began.elapsed());
    for notes in &mut scene.notes {
        while let Some(event) = soon("the end", notes.next()).await {
            assert!(!event.is_notice(), "{event:?}");
        }
        assert_eq!(notes.state(), SubscriptionState::Ended);
    }
    assert!(matches!(scene.client.state(), State::Closed { why: None }));
}

/// A call made in the middle of it returns: with success when the network is back, or with what the server said.
async fn answers_calls<F: Fault>() {
    let mut scene = F::arrange().await;
    F::strike(&mut scene).await;
    let call = smol::spawn(scene.client.realtime().subscribe("jobs/finished").into_future());
    F::heal(&mut scene).await;
    scene.recover::<F>().await;
    match soon("the server's answer", call).await {
        Ok(_) => {}
        Err(error) => assert!(error.status().is_some() && error.status() == F::REFUSES, "{error}"),
    }
}

macro_rules! table {
    ($($row:ident: $fault:ty;)*) => { $(
        mod $row {
            use super::*;

            #[test]
            fn comes_back() {
                smol::block_on(super::comes_back::<$fault>());
            }

            #[test]
            fn delivers_or_tells_the_gap() {
                smol::block_on(super::delivers_or_tells_the_gap::<$fault>());
            }

            #[test]
            fn tells_the_state() {
                smol::block_on(super::tells_the_state::<$fault>());
            }

            #[test]
            fn does_not_spin() {
                smol::block_on(super::does_not_spin::<$fault>());
            }

            #[test]
            fn closes() {
                smol::block_on(super::closes::<$fault>());
            }

            #[test]
            fn answers_calls() {
                smol::block_on(super::answers_calls::<$fault>());
            }
        }
    )* };
}

table! {
    killed: Killed;
    terminated: Terminated;
    suspended: Suspended;
    cut_in_the_middle_of_an_event: MidEvent<FIN>;
    reset_in_the_middle_of_an_event: MidEvent<RST>;
    black_hole: BlackHole;
    refused: RefusedConnections;
    frozen_towards_the_client: Frozen<DOWN>;
    frozen_towards_the_server: Frozen<UP>;
    torn_into_bytes: Torn;
    delayed: Delayed;
    idle_limit: Limit<IDLE>;
    life_limit: Limit<LIFE>;
    submit_400: Submit<400>;
    submit_403: Submit<403>;
    submit_404: Submit<404>;
    submit_429: Submit<429>;
    submit_500: Submit<500>;
    submit_503: Submit<503>;
    connect_400: Connect<400>;
    connect_403: Connect<403>;
    connect_404: Connect<404>;
    connect_429: Connect<429>;
    connect_503: Connect<503>;
    hub_ended: HubLoss<END>;
    hub_cut: HubLoss<CUT>;
    hub_reset: HubLoss<RESET>;
    hub_restarted: HubLoss<RESTART>;
    hub_frozen: HubFrozen;
    hub_torn_into_bytes: HubTorn;
    hub_connect_503: HubAnswers<CONNECT, 503>;
    hub_connect_204: HubAnswers<CONNECT, 204>;
    hub_connect_html: HubAnswers<CONNECT, HTML>;
    hub_connect_hang_up: HubAnswers<CONNECT, HANG_UP>;
    hub_connect_reset: HubAnswers<CONNECT, ABORT>;
    hub_connect_mislabelled: HubAnswers<CONNECT, MISLABELLED>;
    hub_submit_503: HubAnswers<SUBMIT, 503>;
    hub_submit_429: HubAnswers<SUBMIT, 429>;
    hub_submit_html: HubAnswers<SUBMIT, HTML>;
    hub_submit_hang_up: HubAnswers<SUBMIT, HANG_UP>;
    hub_submit_reset: HubAnswers<SUBMIT, ABORT>;
}

// ---- The rows ----

/// SIGKILL, and started again.
struct Killed;

impl Fault for Killed {
    const CUTS: bool = true;
    const LASTS: bool = true;

    async fn arrange() -> Scene {
        Scene::with_a_server_of_its_own().await
    }

    async fn strike(scene: &mut Scene) {
        scene.server().kill();
        scene.takes_records = false;
        let state = scene.lost().await;
        assert!(
            state.to_string().contains("closed the connection before the answer was complete"),
            "{state}"
        );
    }

    async fn heal(scene: &mut Scene) {
        scene.server().restart();
        scene.takes_records = true;
    }
}

/// SIGTERM, on which the server ends its streams and itself; and started again.
struct Terminated;

impl Fault for Terminated {
    const CUTS: bool = true;
    const LASTS: bool = true;

    async fn arrange() -> Scene {
        Scene::with_a_server_of_its_own().await
    }

    async fn strike(scene: &mut Scene) {
        scene.server().signal("-TERM");
        scene.takes_records = false;
        let state = scene.lost().await;
        assert!(state.to_string().contains("the server ended the stream"), "{state}");
        scene.server().kill();
    }

    async fn heal(scene: &mut Scene) {
        scene.server().restart();
        scene.takes_records = true;
    }
}

/// SIGSTOP and SIGCONT: a host that is out of breath.
struct Suspended;

impl Fault for Suspended {
    const CUTS: bool = false;

    async fn arrange() -> Scene {
        Scene::with_a_server_of_its_own().await
    }

    async fn strike(scene: &mut Scene) {
        scene.server().signal("-STOP");
        scene.takes_records = false;
    }

    async fn heal(scene: &mut Scene) {
        scene.server().signal("-CONT");
        scene.takes_records = true;
    }
}

const FIN: bool = false;
const RST: bool = true;

/// The connection ends when a part of an event has come.
struct MidEvent<const END: bool>;

impl<const END: bool> Fault for MidEvent<END> {
    const CUTS: bool = true;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        let (end, why) = match END {
            FIN => (End::Fin, "closed the connection before the answer was complete"),
            RST => (End::Rst, "connection reset by the other side"),
        };
        scene.proxy().cut_stream_after(120, end);
        scene.publish("torn").await;
        let state = scene.lost().await;
        assert!(state.to_string().contains(why), "{state}");
    }

    async fn heal(_: &mut Scene) {}
}

/// The link drops everything and says nothing. What was open ends, and what is opened leads nowhere.
struct BlackHole;

impl Fault for BlackHole {
    const CUTS: bool = true;
    const CONNECTS: RangeInclusive<u64> = 2..=2;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        scene.proxy().black_hole(true);
        scene.publish("dropped").await;
        let before = scene.proxy().accepted();
        scene.proxy().end_all(End::Fin);
        scene.lost().await;
        soon("another try", scene.proxy().accepts_more_than(before)).await;
    }

    async fn heal(scene: &mut Scene) {
        scene.proxy().black_hole(false);
    }
}

/// Nobody listens for a while.
struct RefusedConnections;

impl Fault for RefusedConnections {
    const CUTS: bool = true;
    const LASTS: bool = true;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        scene.proxy().refuse(true);
        scene.proxy().end_all(End::Fin);
        scene.lost().await;
        let state = scene.lost().await;
        assert!(state.to_string().contains("connection refused; is the server running?"), "{state}");
    }

    async fn heal(scene: &mut Scene) {
        scene.proxy().refuse(false);
    }
}

const UP: bool = false;
const DOWN: bool = true;

/// One direction stands still.
struct Frozen<const WAY: bool>;

impl<const WAY: bool> Fault for Frozen<WAY> {
    const CUTS: bool = false;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        scene.proxy().freeze(Some(if WAY == UP { Way::Up } else { Way::Down }));
    }

    async fn heal(scene: &mut Scene) {
        scene.proxy().freeze(None);
    }
}

/// Every byte comes by itself, and goes on doing so.
struct Torn;

impl Fault for Torn {
    const CUTS: bool = false;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        scene.proxy().split_bytes(true);
    }

    async fn heal(_: &mut Scene) {}
}

/// Whatever comes comes late, and goes on doing so.
struct Delayed;

impl Fault for Delayed {
    const CUTS: bool = false;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        scene.proxy().delay(Duration::from_millis(100));
    }

    async fn heal(_: &mut Scene) {}
}

const IDLE: bool = false;
const LIFE: bool = true;

/// The server ends the stream at a limit of its own.
struct Limit<const KIND: bool>;

impl<const KIND: bool> Fault for Limit<KIND> {
    const CUTS: bool = true;

    async fn arrange() -> Scene {
        let plan = if KIND == IDLE { json!({"idle": 1500}) } else { json!({"life": 1500}) };
        Scene::behind_a_proxy_with(Some(plan)).await
    }

    async fn strike(scene: &mut Scene) {
        let state = scene.lost().await;
        assert!(state.to_string().contains("the server ended the stream"), "{state}");
    }

    async fn heal(_: &mut Scene) {}
}

/// The topics are refused twice after the stream was cut.
struct Submit<const STATUS: u16>;

impl<const STATUS: u16> Fault for Submit<STATUS> {
    const CUTS: bool = true;
    // What says that the server does not know the stream calls for another one.
    const CONNECTS: RangeInclusive<u64> = if STATUS <= 404 { 3..=3 } else { 1..=1 };
    const SUBMITS: u64 = 3;
    // A call is told of a stream that opens but takes no topics only at the third.
    const REFUSES: Option<u16> = None;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        let message = match STATUS {
            400 => "Invalid realtime client.",
            403 => "The current and the previous request authorization don't match.",
            404 => "Missing or invalid client id.",
            _ => "Come back later.",
        };
        let mut plan = json!({"status": STATUS, "message": message});
        if STATUS == 429 {
            plan["retryAfter"] = 1.into();
        }
        scene.plan("submit", 2, plan).await;
        scene.proxy().end_all(End::Fin);
        scene.lost().await;
    }

    async fn heal(_: &mut Scene) {}
}

/// Two streams are refused after one was cut. That of a server that was live is no last word yet.
struct Connect<const STATUS: u16>;

impl<const STATUS: u16> Fault for Connect<STATUS> {
    const CUTS: bool = true;
    const CONNECTS: RangeInclusive<u64> = 3..=3;
    const REFUSES: Option<u16> = if STATUS <= 404 { Some(STATUS) } else { None };

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        scene.plan("connect", 2, json!({"status": STATUS, "message": "No stream now."})).await;
        scene.proxy().end_all(End::Rst);
        scene.lost().await;
        let state = scene.lost().await;
        assert!(
            state.to_string().contains(&format!("the server answered {STATUS}: No stream now.")),
            "{state}"
        );
    }

    async fn heal(_: &mut Scene) {}
}

/// The stream ends as the hub ends it.
struct HubLoss<const HOW: u8>;

const END: u8 = 0;
const CUT: u8 = 1;
const RESET: u8 = 2;
const RESTART: u8 = 3;

impl<const HOW: u8> Fault for HubLoss<HOW> {
    const CUTS: bool = true;
    // A restarted hub may not listen yet when the client is there.
    const CONNECTS: RangeInclusive<u64> = if HOW == RESTART { 1..=2 } else { 1..=1 };

    async fn arrange() -> Scene {
        Scene::on_the_hub().await
    }

    async fn strike(scene: &mut Scene) {
        match HOW {
            END => assert_eq!(scene.hub().faults().end_streams(), 1),
            CUT => assert_eq!(scene.hub().faults().cut_streams(), 1),
            RESET => assert_eq!(scene.hub().faults().reset_streams(), 1),
            _ => scene.hub().restart().unwrap(),
        }
        scene.lost().await;
    }

    async fn heal(_: &mut Scene) {}
}

struct HubFrozen;

impl Fault for HubFrozen {
    const CUTS: bool = false;

    async fn arrange() -> Scene {
        Scene::on_the_hub().await
    }

    async fn strike(scene: &mut Scene) {
        scene.hub().faults().freeze(true);
    }

    async fn heal(scene: &mut Scene) {
        scene.hub().faults().freeze(false);
    }
}

struct HubTorn;

impl Fault for HubTorn {
    const CUTS: bool = false;

    async fn arrange() -> Scene {
        Scene::on_the_hub().await
    }

    async fn strike(scene: &mut Scene) {
        scene.hub().faults().split_bytes(true);
    }

    async fn heal(_: &mut Scene) {}
}

/// The stream is cut, and the next two requests for a stream, or with topics, get something else than their answer.
struct HubAnswers<const ENDPOINT: bool, const WHAT: u16>;

const CONNECT: bool = false;
const SUBMIT: bool = true;
const HTML: u16 = 1000;
const HANG_UP: u16 = 1001;
const ABORT: u16 = 1002;
const MISLABELLED: u16 = 1003;

impl<const ENDPOINT: bool, const WHAT: u16> Fault for HubAnswers<ENDPOINT, WHAT> {
    const CUTS: bool = true;
    const CONNECTS: RangeInclusive<u64> = if ENDPOINT == CONNECT { 3..=3 } else { 1..=1 };
    const SUBMITS: u64 = if ENDPOINT == CONNECT { 1 } else { 3 };
    const REFUSES: Option<u16> = if WHAT == 204 { Some(WHAT) } else { None };

    async fn arrange() -> Scene {
        Scene::on_the_hub().await
    }

    async fn strike(scene: &mut Scene) {
        let answer = match WHAT {
            HTML => Answer::html("<h1>Sign in to the Wi-Fi</h1>"),
            HANG_UP => Answer::hang_up(),
            ABORT => Answer::reset(),
            MISLABELLED => Answer::mislabelled("text/plain"),
            status => Answer::status(status),
        };
        let endpoint = if ENDPOINT == CONNECT { Endpoint::Connect } else { Endpoint::Submit };
        scene.hub().faults().answer_next(endpoint, answer, 2);
        scene.hub().faults().cut_streams();
        scene.lost().await;
    }

    async fn heal(_: &mut Scene) {}
}

// ---- What does not fit the table ----

/// Longer than a submit may take: who only listens notices nothing, who has asked for something is told.
#[test]
fn twenty_seconds_of_a_suspended_server() {
    smol::block_on(async {
        let mut scene = Scene::with_a_server_of_its_own().await;
        let asking = scene.server().client();
        let mut asking_for = asking.collection("notes").subscribe("*").await.unwrap();
        let mut states = asking.states();
        scene.server().signal("-STOP");
        let stopped = Instant::now();
        let call = smol::spawn(asking.realtime().subscribe("jobs/finished").into_future());
        let record = json!({"room": scene.room, "title": "asked while it stood still"});
        let writer = scene.writer.clone().unwrap();
        let write = smol::spawn(async move { create(&writer, "notes", record).await });
        let mut waiting = states
            .by_ref()
            .filter(|state| std::future::ready(matches!(state, State::Waiting { .. })))
            .boxed();
        let state = soon("a state", waiting.next()).await.unwrap();
        assert!(
            state.to_string().contains("the answer to the topics submitted took longer than 15s"),
            "{state}"
        );
        smol::Timer::at(stopped + Duration::from_secs(20)).await;
        scene.server().signal("-CONT");
        soon("the record", write).await;
        soon("the server's answer", call).await.unwrap();
        let notice = soon("a gap", asking_for.next()).await.unwrap();
        // The stream that was given up has brought what was written since; this one may have missed it.
        let mut notice = Some(notice);
        while let Some(event) = notice.take_if(|event| event.gap().is_none()) {
            assert_eq!(title(&event), "asked while it stood still");
            notice = Some(soon("a gap", asking_for.next()).await.unwrap());
        }
        scene.publish("last").await;
        for told in scene.read().await {
            assert!(told.gaps.is_empty(), "{told:?}");
        }
        assert!(futures::poll!(scene.states.next()).is_pending());
        assert_eq!(scene.client.stats().connects, 1);
    });
}

/// A link that drops everything: a request for a stream and a set of topics each have their time, and the text says
/// what was waited for.
#[test]
fn what_falls_into_a_black_hole_has_its_time() {
    smol::block_on(async {
        let mut scene = Scene::behind_a_proxy().await;
        scene.proxy().black_hole(true);
        let fresh = Client::new(&scene.proxy().url()).unwrap();
        let connect = smol::spawn(fresh.realtime().subscribe("jobs/finished").into_future());
        let submit = smol::spawn(scene.client.realtime().subscribe("jobs/finished").into_future());
        let state = scene.lost().await;
        assert!(
            state.to_string().contains("the answer to the topics submitted took longer than 15s"),
            "{state}"
        );
        let error = soon("the end of patience", connect).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("head of the event stream") && text.contains("proxy") && text.contains("20s"),
            "{text}"
        );
        scene.proxy().black_hole(false);
        soon("the server's answer", submit).await.unwrap();
        scene.publish("last").await;
        for told in scene.read().await {
            assert_eq!(told.gaps.len(), 1);
        }
    });
}

/// A stream that is cut before it is one, wherever in the head of the answer or in the handshake that is.
#[test]
fn a_stream_cut_anywhere_in_its_beginning_is_opened_again() {
    smol::block_on(async {
        let server = shared_server();
        let each = (1..450).step_by(23).map(|bytes| async move {
            let proxy = Proxy::start(server.addr());
            proxy.cut_stream_after(bytes, if bytes % 2 == 0 { End::Fin } else { End::Rst });
            let client = Client::new(&proxy.url()).unwrap();
            let jobs = client.realtime().subscribe("jobs/finished").start().unwrap();
            soon("the server's answer", jobs.ready()).await.unwrap();
            (client.stats().connects, client.stats().submits)
        });
        let counts = join_all(each).await;
        // The last ones may come through before enough has come to be cut.
        assert!(
            counts.iter().all(|(connects, submits)| (1..=2).contains(connects) && *submits <= 2),
            "{counts:?}"
        );
        assert!(counts.iter().filter(|(connects, _)| *connects == 2).count() >= 10, "{counts:?}");
    });
}

/// Each stream lives a second, whether busy or not, and the host loses nothing that it is not told of.
#[test]
fn short_lives_in_a_row_lose_nothing_untold() {
    smol::block_on(async {
        let mut scene = Scene::behind_a_proxy().await;
        scene.plan("connect", 5, json!({"life": 1000})).await;
        scene.proxy().end_all(End::Fin);
        scene.lost().await;
        let began = Instant::now();
        while scene.client.stats().disconnects.ended_by_server < 5 {
            assert!(began.elapsed() < PATIENCE, "{:?}", scene.client.stats());
            scene.publish(&format!("{}", scene.published.len())).await;
            smol::Timer::after(Duration::from_millis(20)).await;
        }
        let connects = scene.client.stats().connects;
        assert!(connects <= 7, "{connects} connects in {:?}", began.elapsed());
        let client = scene.client.clone();
        let live = scene.told(|state| state.is_live() && client.stats().connected == 7).await;
        assert!(live.is_live());
        scene.publish("last").await;
        let lives = scene.published.len();
        for notes in &mut scene.notes {
            let mut told = Told::default();
            while told.titles.last().is_none_or(|title| title != "last") {
                let event = soon("an event", notes.next()).await.unwrap();
                match event.gap() {
                    Some(gap) => told.gaps.push(gap),
                    None => told.titles.push(title(&event)),
                }
            }
            // A stream's last moments overlap with a change: the server may have sent what follows it and not itself.
            for change in &scene.published {
                let covered =
                    told.gaps.iter().any(|gap| gap.since <= change.ended && change.began <= gap.until);
                assert!(
                    covered || told.titles.contains(&change.title),
                    "{} of {lives}: {told:?}",
                    change.title
                );
            }
            assert_eq!(told.gaps.len(), 6, "{:?}", told.gaps);
        }
    });
}

/// A message over the limit is not delivered, and its gap holds the time in which it was made.
#[test]
fn a_message_over_the_limit_is_in_the_gap_that_tells_of_it() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = Client::builder(&hub.url()).message_limit(4096).build().unwrap();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        hub.create("notes", json!({"title": "small"}));
        assert_eq!(title(&soon("an event", notes.next()).await.unwrap()), "small");
        let began = Instant::now();
        hub.create("notes", json!({"title": "large".repeat(2000)}));
        let gap = soon("a gap", notes.next()).await.unwrap().gap().unwrap();
        assert_eq!(gap.reason, GapReason::TooLarge);
        assert!(gap.since <= began && began <= gap.until, "made at {began:?}: {gap:?}");
        hub.create("notes", json!({"title": "small again"}));
        assert_eq!(title(&soon("an event", notes.next()).await.unwrap()), "small again");
    });
}

/// What the server says for good reaches the call with its status and words, and those that may pass at the latest when
/// patience ends.
#[test]
fn a_refused_set_of_topics_reaches_the_caller_with_status_and_words() {
    smol::block_on(async {
        let server = shared_server();
        let writer = server.client();
        let each = [400, 401, 403, 404, 413, 422, 429, 500, 502, 503].map(|status| {
            let writer = writer.clone();
            async move {
                let room = new_room();
                plan_answers(
                    &writer,
                    &room,
                    "submit",
                    1000,
                    json!({"status": status, "message": "Not for you."}),
                )
                .await;
                let client = Client::builder(&server.url())
                    .header("X-Room", &room)
                    .subscribe_timeout(Duration::from_secs(3))
                    .build()
                    .unwrap();
                let error = soon("an answer", client.collection("notes").subscribe("*").into_future())
                    .await
                    .unwrap_err();
                assert_eq!(error.status(), Some(status), "{error}");
                assert!(error.to_string().contains("Not for you."), "{error}");
                let stats = client.stats();
                assert!(stats.submits <= 16 && stats.connects <= 4, "{status}: {stats:?}");
            }
        });
        join_all(each).await;
    });
}

/// A server that takes back what it allowed: the subscription says so as its last word.
#[test]
fn a_live_subscription_that_the_server_takes_back_ends_with_its_answer() {
    smol::block_on(async {
        let mut scene = Scene::behind_a_proxy().await;
        scene.plan("submit", 1000, json!({"status": 403, "message": "Not for you any more."})).await;
        scene.proxy().end_all(End::Rst);
        for notes in &mut scene.notes {
            let mut last = None;
            while let Some(event) = soon("an event", notes.next()).await {
                last = Some(event);
            }
            let last = last.expect("a last word");
            let error = last.error().expect("an error");
            assert_eq!((error.status(), notes.state()), (Some(403), SubscriptionState::Ended));
            assert!(error.to_string().contains("Not for you any more."), "{error}");
        }
    });
}

/// A client that was never live takes a final answer to its request for a stream for what it is.
#[test]
fn a_stream_refused_for_good_ends_in_a_state_that_says_why() {
    smol::block_on(async {
        let server = shared_server();
        let writer = server.client();
        for status in [401, 403, 404] {
            let room = new_room();
            plan_answers(&writer, &room, "connect", 1000, json!({"status": status, "message": "No."})).await;
            let client = Client::builder(&server.url()).header("X-Room", &room).build().unwrap();
            let notes = client.collection("notes").subscribe("*").start().unwrap();
            let error = soon("an answer", notes.ready()).await.unwrap_err();
            assert_eq!(error.status(), Some(status), "{error}");
            assert!(
                matches!(client.state(), State::Closed { why: Some(Error::Refused(_)) }),
                "{}",
                client.state()
            );
            assert_eq!(client.stats().connects, 1);
            // It is no grudge: the next subscription is another try.
            plan_answers(&writer, &room, "connect", 0, json!({})).await;
            soon("an answer", client.collection("notes").subscribe("*").into_future()).await.unwrap();
        }
    });
}

/// A host that vanishes without a word, with the default settings: nothing comes, nothing is refused, and only the
/// kernel's probes of the connection find out.
#[test]
fn a_half_open_link_is_found_within_about_thirty_seconds() {
    smol::block_on(async {
        let island = Island::new();
        let server = PocketBase::start_in(&island.name, island.address(1));
        server.collection("notes", &["title"], &[], "").await;
        let writer = server.client();
        let client = Client::new(&format!("http://{}", island.address(0))).unwrap();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        create(&writer, "notes", json!({"title": "before"})).await;
        assert_eq!(title(&soon("an event", notes.next()).await.unwrap()), "before");

        let states = client.states();
        island.link("down");
        let dark = Instant::now();
        create(&writer, "notes", json!({"title": "in the dark"})).await;
        let mut lost =
            states.filter(|state| std::future::ready(matches!(state, State::Waiting { .. }))).boxed();
        let alarm = smol::Timer::after(Duration::from_secs(60));
        let state = match futures::future::select(lost.next(), alarm).await {
            Either::Left((state, _)) => state.unwrap(),
            Either::Right(_) => panic!("dead for a minute, and nobody noticed: {}", client.state()),
        };
        let noticed = dark.elapsed();
        eprintln!("half-open link found after {noticed:.1?}: {state}");
        assert!(noticed < Duration::from_secs(40), "{noticed:?}");
        let text = state.to_string();
        assert!(
            text.contains("has not answered for too long") || text.contains("host is unreachable"),
            "{text}"
        );

        island.link("up");
        let gap = soon("a gap", notes.next()).await.unwrap().gap().unwrap();
        assert!(gap.since < dark && dark < gap.until, "dark at {dark:?}: {gap:?}");
        create(&writer, "notes", json!({"title": "after"})).await;
        assert_eq!(title(&soon("an event", notes.next()).await.unwrap()), "after");
    });
}

/// A network namespace with two links to ours: one to be cut, and one over which records are written meanwhile.
struct Island {
    name: String,
    number: u32,
}

impl Island {
    fn new() -> Self {
        let number = std::process::id();
        let island = Self { name: format!("tidings-{number}"), number };
        ip(&format!("netns add {}", island.name));
        for link in 0..2 {
            let (near, far) = (island.interface('n', link), island.interface('f', link));
            let network = 4 * link;
            ip(&format!("link add {near} type veth peer name {far} netns {}", island.name));
            ip(&format!("addr add {}/30 dev {near}", island.ip(network + 1)));
            ip(&format!("-n {} addr add {}/30 dev {far}", island.name, island.ip(network + 2)));
            ip(&format!("link set {near} up"));
            ip(&format!("-n {} link set {far} up", island.name));
        }
        ip(&format!("-n {} link set lo up", island.name));
        island
    }

    /// Takes down or up the far end of the first link.
    fn link(&self, state: &str) {
        ip(&format!("-n {} link set {} {state}", self.name, self.interface('f', 0)));
    }

    fn interface(&self, end: char, link: u32) -> String {
        format!("td{}{end}{link}", self.number)
    }

    /// Of the networks that are set aside for tests of network devices (RFC 2544).
    fn ip(&self, host: u32) -> std::net::Ipv4Addr {
        std::net::Ipv4Addr::from(0xC612_0000 | (self.number % 0x1000) << 4 | host)
    }

    fn address(&self, link: u32) -> std::net::SocketAddr {
        (self.ip(4 * link + 2), 8090).into()
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) {
    let needs = "this test needs a network namespace of its own: run it as root, with iproute2 and the right to make one";
    let output = std::process::Command::new("ip").args(arguments.split(' ')).output();
    let output = output.unwrap_or_else(|error| panic!("ip: {error}; {needs}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || std::thread::panicking(), "ip {arguments}: {said}; {needs}");
}
