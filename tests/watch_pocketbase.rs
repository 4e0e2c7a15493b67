//! Live views against the real PocketBase: each `prove` finds no row that differs from the server's own list, order included,
//! while the collection is written to, links are cut, the server restarts and users change.
//!
//! `make test` runs this against a current PocketBase and against 0.22. `make soak-watch` does so for longer: WATCH_ROUNDS says
//! how many rounds, WATCH_RECORDS with how many records.
#![cfg(feature = "async-io")]

mod fault_proxy;
mod real;

use std::time::Duration;

use fault_proxy::{End, Proxy};
use futures::future::join_all;
use real::{EMAIL, PASSWORD, PocketBase, create, delete, soon, update};
use serde_json::{Value, json};
use tidings::{Client, Delta, Doubt, Error, Freshness, Row, View, Why};

/// A collection with a rule: what has no owner is everybody's.
async fn tasks(server: &PocketBase, rule: Option<&str>) {
    let root = server.root().await;
    let field = |name: &str, kind: &str| match server.legacy {
        true => json!({"name": name, "type": kind, "options": {}}),
        false => json!({"name": name, "type": kind}),
    };
    let mut fields = vec![
        field("title", "text"),
        field("n", "number"),
        field("open", "bool"),
        field("owner", "text"),
        field("due", "date"),
    ];
    if !server.legacy {
        for (name, on_update) in [("created", false), ("updated", true)] {
            fields.push(json!({"name": name, "type": "autodate", "onCreate": true, "onUpdate": on_update}));
        }
    }
    let mut collection = json!({
        "name": "tasks", "type": "base",
        "listRule": rule, "viewRule": rule, "createRule": "", "updateRule": "", "deleteRule": "",
    });
    collection[if server.legacy { "schema" } else { "fields" }] = fields.into();
    root.send("POST", "/api/collections", collection).await.unwrap();
}

/// The server's own list.
async fn listed(client: &Client, query: &[(&str, &str)], limit: usize) -> Vec<Value> {
    let mut found = Vec::new();
    for page in 1.. {
        let request = client.send("GET", "/api/collections/tasks/records", None).query("page", page);
        let request =
            request.queries([("perPage", "500"), ("skipTotal", "1")]).queries(query.iter().copied());
        let answer: Value = request.await.unwrap().json().unwrap();
        let items = answer["items"].as_array().unwrap().clone();
        let is_last = items.len() < 500;
        found.extend(items);
        if is_last || found.len() >= limit {
            break;
        }
    }
    found.truncate(limit);
    found
}

fn rows(view: &View) -> Vec<Value> {
    view.rows().iter().map(Row::json).collect()
}

/// A view, a reader who folds its deltas, and a client that asks the server itself.
struct Watcher {
    name: &'static str,
    client: Client,
    view: View,
    folded: Vec<Row>,
    query: Vec<(&'static str, &'static str)>,
    limit: usize,
}

impl Watcher {
    async fn new(name: &'static str, client: Client, filter: &'static str, limit: Option<usize>) -> Self {
        let sort = "-n,title";
        let mut watch = client.collection("tasks").watch().filter(filter).sort(sort).audit(None);
        if let Some(limit) = limit {
            watch = watch.limit(limit);
        }
        if name.contains("on the server") {
            watch = watch.filter_on_server();
        }
        let view = soon("a view", watch.into_future()).await.unwrap();
        let query = vec![("filter", filter), ("sort", "-n,title,id")];
        Self { name, client, view, folded: Vec::new(), query, limit: limit.unwrap_or(usize::MAX) }
    }

    async fn check(&mut self, direct: &Client) {
        soon("a proof", self.view.prove()).await.unwrap();
        // Past the proxy, and as the same user.
        match self.client.auth().token() {
            Some(token) => direct.auth().set_token(&token).unwrap(),
            None => direct.auth().clear(),
        }
        let truth = listed(direct, &self.query, self.limit).await;
        let shown = rows(&self.view);
        let differ = truth.iter().zip(&shown).filter(|(truth, shown)| truth != shown).count();
        assert_eq!((differ, shown.len()), (0, truth.len()), "{}", self.name);
        if let Some(changes) = self.view.take() {
            changes.deltas().iter().for_each(|delta| delta.apply_to(&mut self.folded));
        }
        assert!(self.folded.iter().eq(self.view.rows().iter()), "{}: the deltas give the rows", self.name);
    }
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn record(rng: &mut fastrand::Rng, owners: &[String]) -> Value {
    json!({
        "title": format!("t{}", rng.u32(0..1000)),
        "n": rng.i32(-2..20),
        "open": rng.bool(),
        "owner": owners[rng.usize(0..owners.len())],
    })
}

/// Writes at full pace, about a third of it across the filter.
async fn write(root: &Client, rng: &mut fastrand::Rng, ids: &mut Vec<String>, owners: &[String]) {
    for _ in 0..12 {
        let mut writes = Vec::new();
        for _ in 0..8 {
            let at = rng.usize(0..ids.len());
            let id = ids[at].clone();
            let change = match rng.u8(0..4) {
                0 => json!({"open": rng.bool()}),
                1 => json!({"n": rng.i32(-2..20)}),
                2 => json!({"owner": owners[rng.usize(0..owners.len())]}),
                _ => json!({"title": format!("t{}", rng.u32(0..1000))}),
            };
            writes.push(async move { update(root, "tasks", &id, change).await });
        }
        join_all(writes).await;
        let at = rng.usize(0..ids.len());
        delete(root, "tasks", &ids.swap_remove(at)).await;
        ids.push(create(root, "tasks", record(rng, owners)).await);
    }
}

#[test]
fn no_row_differs_from_the_servers_list_after_any_proof() {
    smol::block_on(async {
        let mut server = PocketBase::start("");
        tasks(&server, Some("owner = '' || owner = @request.auth.id")).await;
        let users = ["ann@example.com", "ben@example.com"];
        let owners = [String::new(), server.user(users[0]).await, server.user(users[1]).await];
        let mut rng = fastrand::Rng::with_seed(7);
        let root = server.root().await;
        let mut ids = Vec::new();
        for _ in 0..number("WATCH_RECORDS", 640) / 16 {
            let records: Vec<Value> = (0..16).map(|_| record(&mut rng, &owners)).collect();
            ids.extend(join_all(records.into_iter().map(|record| create(&root, "tasks", record))).await);
        }
        let proxy = Proxy::start(server.addr());
        let client = || Client::new(&proxy.url()).unwrap();
        let (user, super_user, direct) = (client(), client(), server.client());
        user.collection("users").auth_with_password(users[0], PASSWORD).await.unwrap();
        super_user.auth().set_token(&root.auth().token().unwrap()).unwrap();
        let exact = "open = true && n > 3";
        let mut watchers = vec![
            Watcher::new("a guest", client(), exact, None).await,
            Watcher::new("a guest, filtered on the server", client(), exact, None).await,
            Watcher::new("a user", user.clone(), exact, None).await,
            Watcher::new("a user, filtered on the server", user.clone(), "title ~ 't1' || n > 9", None).await,
            Watcher::new("a superuser", super_user.clone(), "", None).await,
            Watcher::new("a superuser's window", super_user, exact, Some(20)).await,
        ];
        for round in 0..number("WATCH_ROUNDS", 6) {
            write(&root, &mut rng, &mut ids, &owners).await;
            match round % 6 {
                1 | 4 => proxy.end_all(End::Rst),
                2 => proxy.end_all(End::Fin),
                3 => {
                    server.kill();
                    server.restart();
                }
                _ => {}
            }
            if round % 2 == 1 {
                let who = users[round / 2 % 2];
                server.client().collection("users").auth_with_password(who, PASSWORD).await.unwrap();
                let login = server.client();
                let answer = login.collection("users").auth_with_password(who, PASSWORD).await.unwrap();
                user.auth().set_token(&answer.token).unwrap();
            }
            write(&root, &mut rng, &mut ids, &owners).await;
            for watcher in &mut watchers {
                watcher.check(&direct).await;
            }
        }
    });
}

#[test]
fn a_row_that_left_a_rule_is_gone_after_an_audit_and_one_that_left_the_filter_at_once() {
    smol::block_on(async {
        let server = PocketBase::start("");
        tasks(&server, Some("owner = ''")).await;
        let root = server.root().await;
        let first = create(&root, "tasks", json!({"title": "a", "n": 1})).await;
        let second = create(&root, "tasks", json!({"title": "b", "n": 2})).await;
        create(&root, "tasks", json!({"title": "c", "n": 3})).await;
        let client = server.client();
        let watch = client.collection("tasks").watch().filter("n > 0").filter_on_server();
        let mut view = soon("a view", watch.audit(Duration::from_secs(1)).into_future()).await.unwrap();
        assert_eq!(view.take().unwrap().rows().len(), 3);
        let next = async |view: &mut View| loop {
            let changes = soon("a change", view.next()).await.unwrap();
            if let [delta] = changes.deltas() {
                return delta.clone();
            }
        };
        update(&root, "tasks", &first, json!({"n": -1})).await;
        let delta = next(&mut view).await;
        assert!(
            matches!(&delta, Delta::Remove { row, why: Why::LeftFilter, .. } if row.id() == first),
            "{delta:?}"
        );
        update(&root, "tasks", &second, json!({"owner": "somebody"})).await;
        let delta = next(&mut view).await;
        assert!(
            matches!(&delta, Delta::Remove { row, why: Why::Gone, .. } if row.id() == second),
            "{delta:?}"
        );
    });
}

#[test]
fn a_time_that_passes_takes_rows_out_of_a_filter_and_brings_them_in() {
    smol::block_on(async {
        let server = PocketBase::start("");
        tasks(&server, Some("")).await;
        let root = server.root().await;
        let client = server.client();
        let at = |view: Result<View, Error>| view.unwrap();
        let coming =
            at(soon("a view", client.collection("tasks").watch().filter("due > @now").into_future()).await);
        let over = client.collection("tasks").watch().filter("due != '' && due <= @now");
        let over = at(soon("a view", over.into_future()).await);
        let answer = root.send("GET", "/api/health", None).await.unwrap();
        let date = httpdate::parse_http_date(answer.header("date").unwrap()).unwrap();
        let due = httpdate::fmt_http_date(date + Duration::from_secs(3));
        let day = |text: &str| {
            let parts: Vec<&str> = text.split(' ').collect();
            let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(parts[2]).unwrap() / 3 + 1;
            format!("{}-{month:02}-{} {}.000Z", parts[3], parts[1], parts[4])
        };
        create(&root, "tasks", json!({"title": "a", "due": day(&due)})).await;
        coming.prove().await.unwrap();
        assert_eq!((coming.rows().len(), over.rows().len()), (1, 0));
        let mut over = over;
        soon("the time", async {
            while over.rows().is_empty() {
                over.next().await;
            }
        })
        .await;
        coming.prove().await.unwrap();
        assert_eq!(coming.rows().len(), 0);
    });
}

#[test]
fn what_the_server_refuses_is_an_error_of_await_with_its_status() {
    smol::block_on(async {
        let server = PocketBase::start("");
        tasks(&server, None).await;
        let client = server.client();
        let status = async |name: &str, filter: &str| {
            let watch = client.collection(name).watch().filter(filter);
            soon("an answer", watch.into_future()).await.err().and_then(|error| error.status())
        };
        assert_eq!(status("tasks", "").await, Some(403));
        assert_eq!(status("nowhere", "").await, Some(404));
        let open = server.root().await;
        let good = soon("a view", open.collection("tasks").watch().into_future()).await.unwrap();
        let bad = soon("an answer", open.collection("tasks").watch().filter("nope = 1").into_future()).await;
        assert_eq!(bad.err().and_then(|error| error.status()), Some(400));
        create(&open, "tasks", json!({"title": "a"})).await;
        good.prove().await.unwrap();
        assert_eq!(good.rows().len(), 1, "nothing is lost of another view");

        // A token that is none: its list would be a guest's.
        let odd = server.client();
        odd.auth()
            .set_token("eyJhbGciOiJIUzI1NiJ9.eyJpZCI6ImEiLCJjb2xsZWN0aW9uSWQiOiJfcGJfdXNlcnNfYXV0aF8ifQ.x")
            .unwrap();
        server.collection("open", &["title"], &[], "").await;
        let error = soon("an answer", odd.collection("open").watch().into_future()).await.unwrap_err();
        assert_eq!(error.status(), Some(401), "{error}");
    });
}

/// To the server, who bears a revoked token is a guest, and may not list.
#[test]
fn a_refusal_that_an_untaken_token_explains_leaves_the_view_in_doubt_until_there_is_another() {
    smol::block_on(async {
        let mut server = PocketBase::start("");
        tasks(&server, None).await;
        let root = server.root().await;
        create(&root, "tasks", json!({"title": "a"})).await;
        let mut view = soon("a view", root.collection("tasks").watch().into_future()).await.unwrap();
        let path = match (server.legacy, root.auth().record()) {
            (true, Some(admin)) => format!("/api/admins/{}", admin["id"].as_str().unwrap()),
            (_, record) => {
                format!("/api/collections/_superusers/records/{}", record.unwrap()["id"].as_str().unwrap())
            }
        };
        let words = json!({"password": "another-horse-2", "passwordConfirm": "another-horse-2"});
        root.send("PATCH", &path, words).await.unwrap();
        server.kill();
        server.restart();
        soon("doubt about the identity", async {
            while !matches!(view.status().freshness, Freshness::InDoubt { why: Doubt::Identity(Some(_)), .. })
            {
                view.next().await.expect("the view goes on");
            }
        })
        .await;
        assert_eq!(view.rows().len(), 1, "the rows stay");
        let login = root.collection("_superusers");
        soon("a log-in", login.auth_with_password(EMAIL, "another-horse-2").into_future()).await.unwrap();
        create(&root, "tasks", json!({"title": "b"})).await;
        soon("a proof", view.prove()).await.unwrap();
        assert_eq!(view.rows().len(), 2);
    });
}
