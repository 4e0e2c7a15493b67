//! Live views whose server lists nothing, refuses to list, is slow or lies: rows stay, the status says why, and what is shown
//! afterwards is the difference and nothing else.
#![cfg(all(feature = "hub", feature = "async-io"))]

mod fault_proxy;

use std::{
    future::{Future, IntoFuture},
    io,
    net::SocketAddr,
    pin::Pin,
    time::{Duration, Instant},
};

use fault_proxy::{End, Proxy};
use futures::future::BoxFuture;
use serde_json::json;
use tidings::{
    Client, Delta, Doubt, Freshness, Row, View, Why,
    hub::{Answer, Endpoint, Hub},
    rt::{AsyncIo, BoxIo, Runtime, Timer},
};

/// Connects to the proxy, whatever the address: the hub wants to be called by its own.
#[derive(Debug)]
struct ToTheProxy(SocketAddr);

impl Runtime for ToTheProxy {
    fn connect(&self, _address: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
        AsyncIo.connect(self.0)
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn Timer>> {
        AsyncIo.new_timer(at)
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let alarm = std::pin::pin!(smol::Timer::after(Duration::from_secs(30)));
    match futures::future::select(std::pin::pin!(future), alarm).await {
        futures::future::Either::Left((value, _)) => value,
        futures::future::Either::Right(_) => panic!("{what} did not come"),
    }
}

/// A hub with notes of one user, and her view of them.
async fn scene(count: usize) -> (Hub, Client, View, Vec<String>) {
    let hub = Hub::start().unwrap();
    hub.collection("notes", json!({"title": "", "n": 0, "owner": ""}));
    hub.list_rule("notes", |request, record| record["owner"] == request.auth_id());
    let ann = hub.add_user("users", "ann@example.com", "secret");
    let id = |n: usize| {
        let note = hub.create("notes", json!({"title": format!("{n}"), "n": n, "owner": ann}));
        note["id"].as_str().unwrap().to_owned()
    };
    let ids = (0..count).map(id).collect();
    let client = Client::new(&hub.url()).unwrap();
    client.auth().set_token(&hub.token("users", &ann, Duration::from_secs(3_600))).unwrap();
    let view = client.collection("notes").watch().sort("n").audit(None).into_future();
    let mut view = soon("a view", view).await.unwrap();
    view.take();
    assert_eq!(view.rows().len(), count);
    (hub, client, view, ids)
}

/// Takes batches until the status is so, and returns their deltas.
async fn until(view: &mut View, wanted: impl Fn(&Freshness) -> bool) -> Vec<Delta> {
    let mut deltas = Vec::new();
    while !wanted(&view.status().freshness) {
        let changes = soon("a status", view.next()).await.expect("the view goes on");
        deltas.extend(changes.deltas().to_vec());
    }
    deltas
}

fn is_proven(freshness: &Freshness) -> bool {
    matches!(freshness, Freshness::Proven { .. })
}

#[test]
fn rows_stay_while_lists_fail_and_then_only_the_difference_is_shown() {
    smol::block_on(async {
        for status in [429, 500, 503] {
            let (hub, _client, mut view, ids) = scene(5).await;
            hub.faults().refuse_next(Endpoint::Lists, status, 2);
            hub.stop();
            hub.update("notes", &ids[2], json!({"title": "new"}));
            hub.restart().unwrap();
            let failed = |freshness: &Freshness| {
                matches!(freshness, Freshness::InDoubt { why: Doubt::ListFailed(error), .. }
                    if error.status() == Some(status))
            };
            assert_eq!(until(&mut view, failed).await, [], "{status}");
            assert_eq!(view.rows().len(), 5);
            let deltas = until(&mut view, is_proven).await;
            assert!(matches!(&deltas[..], [Delta::Update { row, .. }] if row.id() == ids[2]), "{deltas:?}");
        }
    });
}

#[test]
fn a_list_that_is_refused_for_good_ends_the_view_with_its_status() {
    smol::block_on(async {
        for (status, message) in
            [(403, "Only superusers can perform this action."), (404, "Missing collection context.")]
        {
            let (hub, _client, mut view, _) = scene(3).await;
            let body = json!({"status": status, "message": message, "data": {}}).to_string();
            let answer = Answer::status(status).body(body).content_type("application/json");
            hub.faults().answer_next(Endpoint::Lists, answer, 1);
            let error = soon("the end", view.prove()).await.unwrap_err();
            assert_eq!(error.status(), Some(status));
            soon("the end", async { while view.next().await.is_some() {} }).await;
            assert_eq!((view.error().unwrap().status(), view.rows().len()), (Some(status), 3), "rows stay");
        }
    });
}

#[test]
fn rows_stay_in_doubt_while_a_list_takes_its_time() {
    smol::block_on(async {
        let (hub, _client, mut view, ids) = scene(3).await;
        hub.faults().delay(Endpoint::Lists, Duration::from_millis(300));
        hub.stop();
        hub.delete("notes", &ids[0]);
        hub.restart().unwrap();
        let is_comparing =
            |freshness: &Freshness| matches!(freshness, Freshness::InDoubt { why: Doubt::Comparing, .. });
        assert_eq!(until(&mut view, is_comparing).await, []);
        assert_eq!(view.rows().len(), 3);
        let deltas = until(&mut view, is_proven).await;
        assert!(matches!(&deltas[..], [Delta::Remove { at: 0, why: Why::Gone, .. }]), "{deltas:?}");
    });
}

#[test]
fn an_empty_list_of_a_guest_does_not_empty_the_view_of_a_user() {
    smol::block_on(async {
        let (hub, _client, mut view, _) = scene(4).await;
        hub.faults().lose_tokens(true);
        hub.faults().cut_streams();
        let is_untaken = |freshness: &Freshness| {
            matches!(freshness, Freshness::InDoubt { why: Doubt::Identity(Some(error)), .. }
                if error.status() == Some(401))
        };
        assert_eq!(until(&mut view, is_untaken).await, []);
        assert_eq!(view.rows().len(), 4);
        hub.faults().lose_tokens(false);
        soon("a proof", view.prove()).await.unwrap();
        assert_eq!((until(&mut view, is_proven).await, view.rows().len()), (vec![], 4));
    });
}

#[test]
fn what_a_rule_hides_from_now_on_is_gone_after_the_next_proof() {
    smol::block_on(async {
        let (hub, _client, mut view, _) = scene(4).await;
        hub.list_rule("notes", |request, record| record["owner"] == request.auth_id() && record["n"] != 2);
        assert_eq!(view.rows().len(), 4, "nobody is told");
        soon("a proof", view.prove()).await.unwrap();
        let changes = view.take().unwrap();
        assert!(matches!(changes.deltas(), [Delta::Remove { at: 2, why: Why::Gone, .. }]), "{changes:?}");
    });
}

/// Bytes on the wire, both answers and events, of a full list and of what follows a gap.
#[test]
fn ten_changes_in_ten_thousand_rows_are_ten_deltas_and_a_fraction_of_the_bytes() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let text = "The quick brown fox jumps over the lazy dog, and then does it again. ".repeat(8);
        hub.collection("posts", json!({"title": "", "body": ""}));
        let make = |n: usize| hub.create("posts", json!({"title": format!("Post {n:05}"), "body": text}));
        let ids: Vec<String> = (0..10_000).map(|n| make(n)["id"].as_str().unwrap().to_owned()).collect();
        let proxy = Proxy::start(hub.addr());
        let (client, driver) = Client::builder(&hub.url()).connect_with(ToTheProxy(proxy.addr())).unwrap();
        smol::spawn(driver).detach();
        let watch = client.collection("posts").watch().audit(None);
        let mut view = soon("a view", watch.timeout(Duration::from_secs(60)).into_future()).await.unwrap();
        view.take();
        let mut list: Vec<Row> = view.rows().iter().cloned().collect();
        let full = proxy.carried();

        proxy.refuse(true);
        proxy.end_all(End::Rst);
        let is_down = |freshness: &Freshness| matches!(freshness, Freshness::InDoubt { .. });
        assert_eq!(until(&mut view, is_down).await, []);
        ids[100..106].iter().for_each(|id| _ = hub.update("posts", id, json!({"title": "new"})));
        hub.delete("posts", &ids[5_000]);
        hub.delete("posts", &ids[9_999]);
        make(10_000);
        make(10_001);
        let before = proxy.carried();
        proxy.refuse(false);
        let deltas = until(&mut view, is_proven).await;
        let bytes = proxy.carried() - before;
        deltas.iter().for_each(|delta| delta.apply_to(&mut list));
        println!("{bytes} bytes of {full} for the full list: {:.1} %", 100.0 * bytes as f64 / full as f64);
        assert_eq!(deltas.len(), 10, "{deltas:?}");
        assert!(list.iter().eq(view.rows().iter()) && bytes * 100 <= full * 15, "{bytes} of {full}");
    });
}
