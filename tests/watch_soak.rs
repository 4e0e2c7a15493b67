//! Live views of the real PocketBase while everything happens at once: writes at full pace of which a third crosses the
//! filter, a link that is cut every two seconds, a server that is killed every half minute, and a user who is somebody else
//! every ten seconds. At each `prove`, no row differs from the server's own list, order included.
//!
//! `make test` runs this for some seconds against a current PocketBase and against 0.22, with few records. `make soak-watch`
//! runs it for five minutes with 10,000: WATCH_SECONDS, WATCH_RECORDS, WATCH_SEED.
#![cfg(feature = "async-io")]

mod fault_proxy;
mod real;

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use fault_proxy::{End, Proxy};
use futures::{
    FutureExt,
    future::{Either, join_all, select},
};
use real::{PASSWORD, PocketBase, create, soon};
use serde_json::{Value, json};
use smol::{Timer, lock::RwLock};
use tidings::{Client, Error, Row, View};

const LIST: &str = "/api/collections/tasks/records";
const SORT: &str = "-n,title";
const EXACT: &str = "open = true && n > 3";
const WRITERS: usize = 8;
const PROOF: Duration = Duration::from_secs(180);

/// A collection with a rule: what has no owner is everybody's.
async fn tasks(server: &PocketBase) {
    let root = server.root().await;
    let field = |name: &str, kind: &str| match server.legacy {
        true => json!({"name": name, "type": kind, "options": {}}),
        false => json!({"name": name, "type": kind}),
    };
    let mut fields =
        vec![field("title", "text"), field("n", "number"), field("open", "bool"), field("owner", "text")];
    if !server.legacy {
        for (name, on_update) in [("created", false), ("updated", true)] {
            fields.push(json!({"name": name, "type": "autodate", "onCreate": true, "onUpdate": on_update}));
        }
    }
    let rule = "owner = '' || owner = @request.auth.id";
    let mut collection = json!({
        "name": "tasks", "type": "base",
        "listRule": rule, "viewRule": rule, "createRule": "", "updateRule": "", "deleteRule": "",
    });
    collection[if server.legacy { "schema" } else { "fields" }] = fields.into();
    root.send("POST", "/api/collections", collection).await.unwrap();
}

/// Asks until the server answers: it is killed now and then. `None` for what is not there.
async fn asked(client: &Client, path: &str, query: &[(&str, String)]) -> Option<Value> {
    loop {
        let queries = query.iter().map(|(name, value)| (*name, value.as_str()));
        match client.send("GET", path, None).queries(queries).await {
            Ok(answer) => return Some(answer.json().unwrap()),
            Err(error) if error.status() == Some(404) => return None,
            Err(Error::Refused(refusal)) => panic!("{path}: {refusal:?}"),
            Err(_) => _ = Timer::after(Duration::from_millis(50)).await,
        }
    }
}

/// The server's own list, by page number: nothing is written meanwhile.
async fn listed(client: &Client, filter: &str, limit: usize) -> Vec<Value> {
    let mut found = Vec::new();
    for page in 1.. {
        let query = [
            ("page", page.to_string()),
            ("perPage", "500".to_owned()),
            ("skipTotal", "1".to_owned()),
            ("filter", filter.to_owned()),
            ("sort", format!("{SORT},id")),
        ];
        let mut answer = asked(client, LIST, &query).await.unwrap();
        let Value::Array(items) = answer["items"].take() else { panic!("a list: {answer}") };
        let is_last = items.len() < 500;
        found.extend(items);
        if is_last || found.len() >= limit {
            break;
        }
    }
    found.truncate(limit);
    found
}

/// A view, and a reader who folds its deltas.
struct Watcher {
    name: &'static str,
    client: Client,
    view: View,
    folded: Vec<Row>,
    filter: &'static str,
    limit: usize,
}

impl Watcher {
    async fn new(name: &'static str, client: &Client, filter: &'static str, limit: Option<usize>) -> Self {
        let mut watch = client.collection("tasks").watch().filter(filter).sort(SORT).audit(None);
        if let Some(limit) = limit {
            watch = watch.limit(limit);
        }
        if name.contains("on the server") {
            watch = watch.filter_on_server();
        }
        let view = soon("a view", watch.into_future()).await.unwrap();
        let limit = limit.unwrap_or(usize::MAX);
        Self { name, client: client.clone(), view, folded: Vec::new(), filter, limit }
    }

    async fn prove(&self) {
        let proof = std::pin::pin!(self.view.prove());
        // Lists of 10,000 rows, six at once, between two cuts: a busy machine needs several.
        match select(proof, std::pin::pin!(Timer::after(PROOF))).await {
            Either::Left((proof, _)) => proof.unwrap(),
            Either::Right(_) => panic!("{}: no proof in {PROOF:?}; {:?}", self.name, self.view.status()),
        }
    }

    /// Proves, and says how many rows there are.
    async fn check(&mut self, server: &str) -> usize {
        self.prove().await;
        // Past the proxy, and as the same user.
        let direct = Client::new(server).unwrap();
        if let Some(token) = self.client.auth().token() {
            direct.auth().set_token(&token).unwrap();
        }
        let truth = listed(&direct, self.filter, self.limit).await;
        let shown: Vec<Value> = self.view.rows().iter().map(Row::json).collect();
        let unlike: Vec<_> =
            truth.iter().zip(&shown).filter(|(truth, shown)| truth != shown).take(3).collect();
        assert!(
            unlike.is_empty() && shown.len() == truth.len(),
            "{}: {} rows, and the server has {}; {unlike:?}",
            self.name,
            shown.len(),
            truth.len()
        );
        if let Some(changes) = self.view.take() {
            changes.deltas().iter().for_each(|delta| delta.apply_to(&mut self.folded));
        }
        assert!(self.folded.iter().eq(self.view.rows().iter()), "{}: the deltas give the rows", self.name);
        shown.len()
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A record as far as the filter is concerned.
struct Known {
    id: String,
    open: bool,
    n: i64,
}

impl Known {
    fn of(record: &Value) -> Self {
        let id = record["id"].as_str().unwrap().to_owned();
        Self { id, open: record["open"] == true, n: record["n"].as_i64().unwrap() }
    }

    fn matches(&self) -> bool {
        self.open && self.n > 3
    }
}

/// What has been done so far.
#[derive(Debug, Default)]
struct Counts {
    writes: Cell<u64>,
    crossings: Cell<u64>,
    cuts: Cell<u64>,
    kills: Cell<u64>,
    switches: Cell<u64>,
    proofs: Cell<u64>,
    rows: Cell<usize>,
}

fn add(counter: &Cell<u64>, count: u64) {
    counter.set(counter.get() + count);
}

/// Everything that happens beside the views.
struct Scene<'a> {
    root: &'a Client,
    /// Held by who writes or changes users, and by who compares.
    gate: RwLock<()>,
    owners: [String; 3],
    counts: Counts,
    is_over: Cell<bool>,
}

impl Scene<'_> {
    fn record(&self, rng: &mut fastrand::Rng, open: bool, n: i64) -> Value {
        let title = format!("t{}", rng.u32(0..1000));
        json!({"title": title, "n": n, "open": open, "owner": self.owners[rng.usize(0..3)]})
    }

    /// Writes at full pace, 30 % of it across the filter.
    async fn write(&self, mut rng: fastrand::Rng, mut known: Vec<Known>) {
        while !self.is_over.get() {
            let _open = self.gate.read().await;
            let at = rng.usize(0..known.len());
            let one = &mut known[at];
            let was = one.matches();
            let change = match rng.u8(0..100) {
                0..34 if was => json!({"open": false}),
                0..34 => json!({"open": true, "n": rng.i64(4..20)}),
                34..60 => json!({"title": format!("t{}", rng.u32(0..1000))}),
                60..80 => json!({"n": if was { rng.i64(4..20) } else { rng.i64(-2..4) }}),
                80..90 => json!({"owner": self.owners[rng.usize(0..3)]}),
                _ => {
                    self.replace(&mut rng, one).await;
                    continue;
                }
            };
            let path = format!("{LIST}/{}", one.id);
            let answer = self.root.send("PATCH", &path, change).await;
            match answer.map(|answer| answer.json::<Value>().unwrap()) {
                Ok(record) => *one = Known::of(&record),
                // It may have been done or not.
                Err(_) => match asked(self.root, &path, &[]).await {
                    Some(record) => *one = Known::of(&record),
                    None => panic!("{path} is gone, and nobody deleted it"),
                },
            }
            add(&self.counts.writes, 1);
            add(&self.counts.crossings, u64::from(one.matches() != was));
        }
    }

    /// Deletes a record and makes one like it.
    async fn replace(&self, rng: &mut fastrand::Rng, one: &mut Known) {
        let path = format!("{LIST}/{}", one.id);
        while asked(self.root, &path, &[("fields", "id".to_owned())]).await.is_some() {
            _ = self.root.send("DELETE", &path, None).await;
        }
        let record = self.record(rng, one.open, one.n);
        loop {
            if let Ok(answer) = self.root.send("POST", LIST, record.clone()).await {
                *one = Known::of(&answer.json().unwrap());
                return add(&self.counts.writes, 2);
            }
            Timer::after(Duration::from_millis(50)).await;
        }
    }

    async fn cut(&self, proxy: &Proxy) {
        for count in 0.. {
            Timer::after(Duration::from_secs(2)).await;
            proxy.end_all(if count % 3 == 2 { End::Fin } else { End::Rst });
            add(&self.counts.cuts, 1);
        }
    }

    async fn kill(&self, server: PocketBase, interval: Duration) {
        let server = RefCell::new(Some(server));
        loop {
            Timer::after(interval).await;
            let mut running = server.take().unwrap();
            let started = smol::unblock(move || {
                running.kill();
                running.restart();
                running
            });
            server.replace(Some(started.await));
            add(&self.counts.kills, 1);
        }
    }

    async fn switch(&self, user: &Client, tokens: [Option<String>; 3], interval: Duration) {
        for count in 1.. {
            Timer::after(interval).await;
            let _open = self.gate.read().await;
            match &tokens[count % 3] {
                Some(token) => user.auth().set_token(token).unwrap(),
                None => user.auth().clear(),
            }
            add(&self.counts.switches, 1);
        }
    }

    async fn compare(&self, watchers: &mut [Watcher], server: &str, interval: Duration, until: Instant) {
        while Instant::now() < until {
            Timer::after(interval).await;
            let _closed = self.gate.write().await;
            let rows = join_all(watchers.iter_mut().map(|watcher| watcher.check(server))).await;
            add(&self.counts.proofs, rows.len() as u64);
            self.counts.rows.set(self.counts.rows.get() + rows.iter().sum::<usize>());
        }
        self.is_over.set(true);
    }
}

#[test]
fn no_row_differs_from_the_servers_list_whatever_happens_meanwhile() {
    let (seconds, records) = (number("WATCH_SECONDS", 12), number("WATCH_RECORDS", 640));
    let seed = number("WATCH_SEED", 7);
    eprintln!("WATCH_SECONDS={seconds} WATCH_RECORDS={records} WATCH_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    smol::block_on(async {
        let server = PocketBase::start("");
        tasks(&server).await;
        let users = ["ann@example.com", "ben@example.com"];
        let owners = [String::new(), server.user(users[0]).await, server.user(users[1]).await];
        let token = async |email: &str| {
            server.client().collection("users").auth_with_password(email, PASSWORD).await.unwrap().token
        };
        let tokens = [Some(token(users[0]).await), Some(token(users[1]).await), None];
        let (root, url, proxy) = (server.root().await, server.url(), Proxy::start(server.addr()));
        let scene = Scene {
            root: &root,
            gate: RwLock::new(()),
            owners,
            counts: Counts::default(),
            is_over: Cell::new(false),
        };

        let mut known: Vec<Vec<Known>> = (0..WRITERS).map(|_| Vec::new()).collect();
        let make = async |known: &mut Vec<Known>, mut rng: fastrand::Rng| {
            for _ in 0..records / WRITERS as u64 {
                let (open, n) = (rng.bool(), rng.i64(-2..20));
                let id = create(&root, "tasks", scene.record(&mut rng, open, n)).await;
                known.push(Known { id, open, n });
            }
        };
        join_all(known.iter_mut().map(|known| make(known, rng.fork()))).await;

        let client = || Client::new(&proxy.url()).unwrap();
        let (guest, user, superuser) = (client(), client(), client());
        user.auth().set_token(tokens[0].as_ref().unwrap()).unwrap();
        superuser.auth().set_token(&root.auth().token().unwrap()).unwrap();
        let mut watchers = [
            Watcher::new("a guest", &guest, EXACT, None).await,
            Watcher::new("a guest, filtered on the server", &guest, EXACT, None).await,
            Watcher::new("a user", &user, EXACT, None).await,
            Watcher::new("a user, filtered on the server", &user, "title ~ 't1' || n > 9", None).await,
            Watcher::new("a superuser", &superuser, "", None).await,
            Watcher::new("a superuser's window", &superuser, EXACT, Some(20)).await,
        ];
        let part = |most: u64, share: u64| Duration::from_secs(most.min(seconds / share));
        let writers = join_all(known.into_iter().map(|known| scene.write(rng.fork(), known)));
        let faults = select(
            select(scene.cut(&proxy).boxed_local(), scene.kill(server, part(30, 3)).boxed_local()),
            scene.switch(&user, tokens, part(10, 5)).boxed_local(),
        );
        let until = Instant::now() + Duration::from_secs(seconds);
        let work = async { futures::join!(scene.compare(&mut watchers, &url, part(15, 4), until), writers) };
        select(work.boxed_local(), faults).await;
        let counts = &scene.counts;
        println!("{counts:?}");
        let share = 100 * counts.crossings.get() / counts.writes.get();
        println!("{share} % of the writes crossed the filter");
        let least = [&counts.proofs, &counts.cuts, &counts.kills, &counts.switches].map(Cell::get);
        assert!(scene.is_over.get() && least.iter().all(|count| *count > 0), "{counts:?}");
    });
}
