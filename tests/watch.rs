//! The live view, against the embedded server.
#![cfg(all(feature = "hub", feature = "async-io"))]

use std::{
    future::IntoFuture,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tidings::{Client, Delta, Error, Row, View, Why, hub::Hub};

fn title(row: &Row) -> String {
    row.json()["title"].as_str().unwrap_or_default().to_owned()
}

fn titles(view: &View) -> Vec<String> {
    view.rows().iter().map(title).collect()
}

/// Takes batches until what they fold to is as wanted.
async fn until(view: &mut View, list: &mut Vec<Row>, wanted: &[&str]) -> Vec<Delta> {
    let mut all = Vec::new();
    while list.iter().map(title).collect::<Vec<_>>() != wanted {
        let changes = view.next().await.expect("the view goes on");
        for delta in changes.deltas() {
            delta.apply_to(list);
            all.push(delta.clone());
        }
        assert!(list.iter().eq(changes.rows().iter()), "the deltas give the rows");
    }
    all
}

fn hub() -> Hub {
    let hub = Hub::start().unwrap();
    hub.collection("tasks", json!({"title": "", "n": 0, "open": true}));
    hub
}

#[test]
fn rows_come_change_move_leave_the_filter_and_go() {
    smol::block_on(async {
        let hub = hub();
        let add = |title: &str, n: i64| hub.create("tasks", json!({"title": title, "n": n, "open": true}));
        let (b, _) = (add("b", 2), add("d", 4));
        hub.create("tasks", json!({"title": "closed", "n": 3, "open": false}));
        let client = Client::new(&hub.url()).unwrap();
        for server_decides in [false, true] {
            let watch = client.collection("tasks").watch().filter("open = true").sort("-n");
            let watch = if server_decides { watch.filter_on_server() } else { watch };
            let mut view = watch.await.unwrap();
            assert_eq!(titles(&view), ["d", "b"]);
            assert!(view.status().is_proven());
            let mut list = Vec::new();
            let first = until(&mut view, &mut list, &["d", "b"]).await;
            assert!(matches!(&first[..], [Delta::Reset { .. }]), "{first:?}");

            let c = add("c", 3);
            let id = |record: &Value| record["id"].as_str().unwrap().to_owned();
            let deltas = until(&mut view, &mut list, &["d", "c", "b"]).await;
            assert!(matches!(&deltas[..], [Delta::Insert { at: 1, .. }]), "{deltas:?}");
            hub.update("tasks", &id(&b), json!({"n": 9}));
            let deltas = until(&mut view, &mut list, &["b", "d", "c"]).await;
            assert!(matches!(&deltas[..], [Delta::Update { from: 2, to: 0, .. }]), "{deltas:?}");
            hub.update("tasks", &id(&b), json!({"open": false}));
            let deltas = until(&mut view, &mut list, &["d", "c"]).await;
            assert!(matches!(&deltas[..], [Delta::Remove { at: 0, why: Why::LeftFilter, .. }]), "{deltas:?}");
            hub.update("tasks", &id(&b), json!({"open": true, "n": 2}));
            until(&mut view, &mut list, &["d", "c", "b"]).await;
            hub.delete("tasks", &id(&c));
            let deltas = until(&mut view, &mut list, &["d", "b"]).await;
            assert!(matches!(&deltas[..], [Delta::Remove { at: 1, why: Why::Deleted, .. }]), "{deltas:?}");
        }
    });
}

#[test]
fn what_happened_in_an_outage_is_exactly_the_deltas_after_it() {
    smol::block_on(async {
        let hub = hub();
        let ids: Vec<String> = (0..1_200)
            .map(|n| {
                hub.create("tasks", json!({"title": format!("{n:04}"), "n": n}))["id"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        let client = Client::new(&hub.url()).unwrap();
        let mut view = client.collection("tasks").watch().sort("n").await.unwrap();
        assert_eq!(view.rows().len(), 1_200);
        let mut list: Vec<Row> = view.rows().iter().cloned().collect();
        view.take();

        hub.stop();
        while view.status().is_proven() {
            let changes = view.next().await.unwrap();
            assert!(changes.deltas().is_empty(), "an outage takes nothing away");
        }
        assert_eq!(view.rows().len(), 1_200);
        for id in &ids[3..10] {
            hub.update("tasks", id, json!({"title": "new"}));
        }
        hub.delete("tasks", &ids[600]);
        hub.create("tasks", json!({"title": "x", "n": -1}));
        hub.create("tasks", json!({"title": "y", "n": 5_000}));
        hub.restart().unwrap();

        let mut deltas = Vec::new();
        while !view.status().is_proven() || deltas.is_empty() {
            let changes = view.next().await.unwrap();
            changes.deltas().iter().for_each(|delta| delta.apply_to(&mut list));
            deltas.extend(changes.deltas().to_vec());
        }
        assert_eq!(deltas.len(), 10, "{deltas:?}");
        assert!(deltas.iter().any(|delta| matches!(delta, Delta::Remove { why: Why::Gone, .. })));
        assert!(list.iter().eq(view.rows().iter()));
    });
}

#[test]
fn a_window_is_refilled_when_its_rows_go() {
    smol::block_on(async {
        let hub = hub();
        let make = |n: i64| hub.create("tasks", json!({"title": format!("{n:02}"), "n": n}));
        let ids: Vec<String> = (0..40).map(|n| make(n)["id"].as_str().unwrap().to_owned()).collect();
        let client = Client::new(&hub.url()).unwrap();
        let view = client.collection("tasks").watch().sort("n").limit(5).slack(2).await.unwrap();
        let shows = |from: i64| (from..from + 5).map(|n| format!("{n:02}")).collect::<Vec<_>>();
        assert_eq!(titles(&view), shows(0));
        for (gone, id) in ids.iter().take(20).enumerate() {
            hub.delete("tasks", id);
            view.prove().await.unwrap();
            assert_eq!(titles(&view), shows(gone as i64 + 1));
        }
        for id in &ids[20..30] {
            hub.delete("tasks", id);
        }
        make(25);
        view.prove().await.unwrap();
        assert_eq!(titles(&view), ["25", "30", "31", "32", "33"]);
    });
}

/// Of records that have not changed since the list no event tells.
#[test]
fn what_time_brings_in_is_asked_for_by_its_id_and_the_list_is_not_compared_again() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.collection("tasks", json!({"title": "", "due": ""}));
        let due = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(4));
        let parts: Vec<&str> = due.split(' ').collect();
        let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(parts[2]).unwrap() / 3 + 1;
        let due = format!("{}-{month:02}-{} {}.000Z", parts[3], parts[1], parts[4]);
        for (title, due) in [("a", &*due), ("b", &due), ("far", "9000-01-01 00:00:00.000Z")] {
            hub.create("tasks", json!({"title": title, "due": due}));
        }
        let client = Client::new(&hub.url()).unwrap();
        let watch = client.collection("tasks").watch().filter("due != '' && due < @now").sort("title");
        let mut view = watch.audit(None).await.unwrap();
        assert_eq!(titles(&view), [""; 0]);
        until(&mut view, &mut Vec::new(), &["a", "b"]).await;
        let lists: Vec<String> = hub.requests().into_iter().filter_map(|request| request.query).collect();
        let has = |part: &str| lists.iter().filter(|query| query.contains(part)).count();
        assert_eq!(has("fields=id%2Cupdated"), 0, "{lists:?}");
        assert_eq!((has("sort=due"), has("perPage=500")), (1, 1), "{lists:?}");
    });
}

#[test]
fn rows_are_right_though_nobody_reads_and_a_late_reader_gets_what_is_left_of_it() {
    smol::block_on(async {
        let hub = hub();
        let client = Client::new(&hub.url()).unwrap();
        let mut view = client.collection("tasks").watch().sort("n").await.unwrap();
        view.take();
        let id = hub.create("tasks", json!({"title": "a"}))["id"].as_str().unwrap().to_owned();
        for n in 0..500 {
            hub.update("tasks", &id, json!({"n": n}));
        }
        view.prove().await.unwrap();
        assert_eq!(view.rows().get(0).unwrap().json()["n"], 499);
        let changes = view.take().unwrap();
        assert!(matches!(changes.deltas(), [Delta::Insert { at: 0, .. }]), "{changes:?}");
        assert!(view.take().is_none());
    });
}

#[test]
fn bad_input_is_told_before_the_network() {
    // Nothing listens there.
    let client = Client::new("http://127.0.0.1:9").unwrap();
    let tasks = client.collection("tasks");
    let long = format!("title = '{}'", "x".repeat(3_500));
    for (watch, text) in [
        (tasks.watch().filter("title ="), "filter"),
        (tasks.watch().filter(long), "3500"),
        (tasks.watch().filter("title:nope = 1"), "unknown"),
        (tasks.watch().sort("@random"), "@random"),
        (tasks.watch().sort("-@rowid"), "@rowid"),
        (tasks.watch().limit(0), "at least one row"),
        (client.collection("").watch(), "empty"),
    ] {
        let error = watch.start().expect_err(text);
        assert!(matches!(error, Error::InvalidArgument { .. } | Error::InvalidTopic { .. }), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
    }
    let rustbaas = Client::rustbaas("http://127.0.0.1:9", "acme", "web").unwrap();
    assert!(matches!(rustbaas.collection("tasks").watch().start(), Err(Error::Unsupported { .. })));
}

#[test]
fn what_the_server_refuses_fails_with_its_status_and_harms_no_other_view() {
    smol::block_on(async {
        let hub = Hub::builder().strict().start().unwrap();
        hub.collection("tasks", json!({"title": ""}));
        let client = Client::new(&hub.url()).unwrap();
        let good = client.collection("tasks").watch().await.unwrap();
        let missing = client.collection("missing").watch().await.unwrap_err();
        assert_eq!(missing.status(), Some(404), "{missing}");
        let field = client.collection("tasks").watch().filter("nope = 1").await.unwrap_err();
        assert_eq!(field.status(), Some(400), "{field}");
        let request = client.collection("tasks").watch().filter("@request.auth.id = ''").await.unwrap_err();
        assert_eq!(request.status(), Some(403), "{request}");
        hub.create("tasks", json!({"title": "a"}));
        good.prove().await.unwrap();
        assert_eq!(titles(&good), ["a"]);
    });
}

#[test]
fn nothing_is_left_of_a_view_that_was_dropped_and_a_closed_client_ends_it() {
    smol::block_on(async {
        let hub = hub();
        let client = Client::new(&hub.url()).unwrap();
        let collection = client.collection("tasks");
        let views: Vec<View> = futures::future::join_all((0..20).map(|_| collection.watch().into_future()))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(hub.topics().len(), 1, "20 views are one topic");
        drop(views);
        assert!(hub.wait_until(|stats| stats.topics == 0, Duration::from_secs(20)), "nothing is subscribed");
        let mut view = collection.watch().await.unwrap();
        view.take();
        // The host's own unsubscribing is not for views.
        collection.unsubscribe(None);
        hub.create("tasks", json!({"title": "a"}));
        view.prove().await.unwrap();
        assert_eq!(titles(&view), ["a"]);
        view.take();
        client.close().await;
        assert!(view.next().await.is_none_or(|changes| changes.deltas().is_empty()));
        assert!(view.next().await.is_none());
        assert!(
            matches!(view.error(), Some(Error::Closed)) && matches!(view.prove().await, Err(Error::Closed))
        );
        assert_eq!(titles(&view), ["a"], "what was shown last stays");
    });
}

#[test]
fn a_callback_gets_each_batch_also_after_a_panic_until_the_client_is_closed() {
    smol::block_on(async {
        let hub = hub();
        let client = Client::new(&hub.url()).unwrap();
        let (news, received) = async_channel::unbounded();
        let watch = client.collection("tasks").watch().sort("title").on(move |changes| {
            let changes = changes.expect("nothing has ended it");
            let titles: Vec<String> = changes.rows().iter().map(title).collect();
            news.send_blocking(titles.clone()).unwrap();
            assert_ne!(titles, ["a"], "this once it panics");
        });
        let view = watch.await.unwrap();
        let until = async |wanted: &[&str]| while received.recv().await.unwrap() != wanted {};
        until(&[]).await;
        for (name, wanted) in [("a", ["a"].as_slice()), ("b", &["a", "b"]), ("c", &["a", "b", "c"])] {
            hub.create("tasks", json!({"title": name}));
            until(wanted).await;
        }
        assert_eq!(client.stats().panics, 1);
        client.close().await;
        // Dropped with its sender, and not told what its host did itself.
        while received.recv().await.is_ok() {}
        assert!(view.has_ended());
    });
}

#[test]
fn a_callback_is_told_why_a_view_that_nobody_waited_for_has_ended() {
    smol::block_on(async {
        let hub = Hub::builder().strict().start().unwrap();
        let client = Client::new(&hub.url()).unwrap();
        let (news, received) = async_channel::unbounded();
        let watch = client.collection("nowhere").watch().on(move |changes| {
            news.send_blocking(changes.map(drop)).unwrap();
        });
        let _view = watch.start().unwrap();
        let error = loop {
            if let Err(error) = received.recv().await.unwrap() {
                break error;
            }
        };
        assert_eq!(error.status(), Some(404), "{error}");
        assert!(received.recv().await.is_err(), "it was the last call");
    });
}
