//! What a fault strikes: a server, a client of it, and a way to publish that no fault of the network is in.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use futures::future::join_all;
use serde_json::{Value, json};
use tidings::{Client, Event, Gap, State, States, Subscription, hub::Hub};

use crate::{
    Fault,
    fault_proxy::Proxy,
    real::{PocketBase, create, soon, update},
};

/// A server, a client of it with three subscriptions that are live, and a way to publish that no fault of the network is in.
pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) states: States,
    pub(crate) notes: Vec<Subscription>,
    pub(crate) room: String,
    /// The record that has a subscription of its own.
    pub(crate) own: String,
    pub(crate) writer: Option<Client>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) server: Server,
    /// The server is there and takes records.
    pub(crate) takes_records: bool,
    pub(crate) published: Vec<Published>,
}

pub(crate) enum Server {
    Shared(&'static PocketBase),
    Own(PocketBase),
    Hub(Hub),
}

/// A change, made somewhere between two instants.
pub(crate) struct Published {
    pub(crate) title: String,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

/// What one subscription was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) titles: Vec<String>,
    pub(crate) gaps: Vec<Gap>,
}

/// Answers planned for one client, told by a header, so that tests can share a server.
pub(crate) const HOOKS: &str = r#"
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
    pub(crate) async fn behind_a_proxy() -> Self {
        Self::behind_a_proxy_with(None).await
    }

    /// The same with a plan for the first stream.
    pub(crate) async fn behind_a_proxy_with(plan: Option<Value>) -> Self {
        let server = shared_server();
        let proxy = Proxy::start(server.addr());
        let url = proxy.url();
        Self::new(Server::Shared(server), Some(proxy), &url, plan).await
    }

    pub(crate) async fn with_a_server_of_its_own() -> Self {
        let server = PocketBase::start(HOOKS);
        server.collection("notes", &["room", "title"], &[], "").await;
        let url = server.url();
        Self::new(Server::Own(server), None, &url, None).await
    }

    pub(crate) async fn on_the_hub() -> Self {
        let hub = Hub::start().unwrap();
        let url = hub.url();
        Self::new(Server::Hub(hub), None, &url, None).await
    }

    pub(crate) async fn new(server: Server, proxy: Option<Proxy>, url: &str, plan: Option<Value>) -> Self {
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

    pub(crate) fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().unwrap()
    }

    pub(crate) fn server(&mut self) -> &mut PocketBase {
        match &mut self.server {
            Server::Own(server) => server,
            _ => panic!("this scene has no server of its own"),
        }
    }

    pub(crate) fn hub(&self) -> &Hub {
        match &self.server {
            Server::Hub(hub) => hub,
            _ => panic!("this scene has no hub"),
        }
    }

    /// Has the real server's hooks react to the next requests of this client.
    pub(crate) async fn plan(&self, endpoint: &str, times: u32, plan: Value) {
        plan_answers(self.writer.as_ref().unwrap(), &self.room, endpoint, times, plan).await;
    }

    /// Makes a change that each of the three subscriptions is to be told of, if the server takes any.
    pub(crate) async fn publish(&mut self, title: &str) {
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
    pub(crate) async fn told(&mut self, wanted: impl Fn(&State) -> bool) -> State {
        loop {
            let state = soon("a state", self.states.next()).await.expect("the client is open");
            if wanted(&state) {
                return state;
            }
        }
    }

    pub(crate) async fn lost(&mut self) -> State {
        self.told(|state| matches!(state, State::Waiting { .. })).await
    }

    /// Reads each subscription until the change that was published last, or the gap that it fell into.
    pub(crate) async fn read(&mut self) -> Vec<Told> {
        self.read_until(|last, told| {
            told.titles.last() == Some(&last.title) || told.gaps.iter().any(|gap| last.is_in(gap))
        })
        .await
    }

    async fn read_until(&mut self, is_read: impl Fn(&Published, &Told) -> bool) -> Vec<Told> {
        let last = self.published.last().unwrap();
        let mut all = Vec::new();
        for notes in &mut self.notes {
            let mut told = Told::default();
            while !is_read(last, &told) {
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
    pub(crate) async fn recover<F: Fault>(&mut self) -> Vec<Told> {
        if F::CUTS {
            self.told(State::is_live).await;
        }
        self.publish("last").await;
        if !F::CUTS {
            return self.read().await;
        }
        // The server sends as soon as it has registered a topic, so the first event may come before the answer that
        // acknowledges the topic, and with that before the gap.
        self.read_until(|last, told| {
            told.gaps.iter().any(|gap| last.is_in(gap))
                || !told.gaps.is_empty() && told.titles.last() == Some(&last.title)
        })
        .await
    }
}

impl Published {
    /// Whether the gap holds all of the time in which it may have been made.
    pub(crate) fn is_in(&self, gap: &Gap) -> bool {
        gap.since <= self.began && self.began <= gap.until
    }
}

pub(crate) fn new_room() -> String {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    format!("room{}", SERIAL.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn plan_answers(writer: &Client, room: &str, endpoint: &str, times: u32, mut plan: Value) {
    plan["endpoint"] = endpoint.into();
    plan["room"] = room.into();
    plan["times"] = times.into();
    writer.send("POST", "/plan", plan).await.unwrap();
}

pub(crate) fn title(event: &Event) -> String {
    assert!(!event.is_notice(), "{event:?}");
    event.json().unwrap()["record"]["title"].as_str().unwrap().to_owned()
}

pub(crate) fn shared_server() -> &'static PocketBase {
    static SERVER: OnceLock<PocketBase> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = PocketBase::start(HOOKS);
        smol::block_on(server.collection("notes", &["room", "title"], &[], ""));
        server
    })
}
