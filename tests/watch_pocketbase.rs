//! Live views against the real PocketBase: what leaves a rule or the filter, what time brings and takes, what the server
//! refuses. That no row differs whatever happens meanwhile is in `watch_soak.rs`.
//!
//! `make test` runs this against a current PocketBase and against 0.22.
#![cfg(feature = "async-io")]

mod real;

use std::time::{Duration, SystemTime};

use real::{EMAIL, PocketBase, create, soon, update};
use serde_json::json;
use tidings::{Delta, Doubt, Freshness, View, Why};

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
        let answer = root.send("GET", "/api/health", None).await.unwrap();
        let date = httpdate::parse_http_date(answer.header("date").unwrap()).unwrap();
        let due = date + Duration::from_secs(4);
        let day = |text: &str| {
            let parts: Vec<&str> = text.split(' ').collect();
            let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(parts[2]).unwrap() / 3 + 1;
            format!("{}-{month:02}-{} {}.000Z", parts[3], parts[1], parts[4])
        };
        // Nothing is heard of them after the list.
        for title in ["a", "b"] {
            let due = day(&httpdate::fmt_http_date(due));
            create(&root, "tasks", json!({"title": title, "due": due})).await;
        }
        let watch =
            |filter: &str| client.collection("tasks").watch().filter(filter).audit(None).into_future();
        let coming = soon("a view", watch("due > @now")).await.unwrap();
        let mut over = soon("a view", watch("due != '' && due <= @now")).await.unwrap();
        assert_eq!((coming.rows().len(), over.rows().len()), (2, 0));
        soon("the time", async {
            while over.rows().is_empty() {
                over.next().await;
            }
        })
        .await;
        let late = SystemTime::now().duration_since(due).expect("not before its time, on one machine");
        println!("{} ms late", late.as_millis());
        assert_eq!(over.rows().len(), 2);
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
        let bad = bad.unwrap_err();
        assert_eq!(bad.status(), Some(400));
        assert!(bad.to_string().contains("may name a field that the collection does not have"), "{bad}");
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
