//! The hub's RustBaaS endpoint, as the documentation of RustBaaS describes it.
#![cfg(feature = "hub")]

#[path = "hub_parity/plain_client.rs"]
#[expect(dead_code, reason = "the parity suite uses the rest of it")]
mod plain_client;

use std::time::Duration;

use plain_client::{End, Stream, ask};
use serde_json::{Value, json};
use tidings::hub::{Answer, Endpoint, Hub};

const PATH: &str = "/api/realms/acme/apps/web/collections/posts/events";

fn open(hub: &Hub, path: &str) -> Stream {
    ask(hub.addr(), "GET", path).header("accept", "text/event-stream").open().expect("a stream")
}

/// The name and the data of the next event, read byte for byte.
#[track_caller]
fn next(stream: &mut Stream) -> (String, Value) {
    let raw = stream.next_raw();
    let read = || {
        let (event, data) = raw.strip_prefix("event: ")?.strip_suffix("\n\n")?.split_once("\ndata: ")?;
        Some((event.to_owned(), serde_json::from_str(data).ok()?))
    };
    read().unwrap_or_else(|| panic!("event, data and a blank line, not {raw:?}"))
}

#[test]
fn tells_every_change_of_a_collection_and_nothing_of_others() {
    let hub = Hub::start().expect("a hub");
    let mut stream = open(&hub, PATH);
    assert_eq!((stream.status, stream.header("content-type")), (200, Some("text/event-stream")));
    // Changes come from the hub's owner and over the records API alike.
    let post = hub.create("posts", json!({ "title": "Hello", "n": 1 }));
    let (event, data) = next(&mut stream);
    assert_eq!(event, "record_created");
    let time = post["created"].as_str().expect("a time").replace(' ', "T");
    let expected = json!({
        "id": post["id"], "collection": "posts", "fields": { "title": "Hello", "n": 1 },
        "created_at": time, "updated_at": time,
    });
    assert_eq!(data, expected);

    hub.create("authors", json!({ "name": "Ann" }));
    let id = post["id"].as_str().expect("an id");
    let path = format!("/api/collections/posts/records/{id}");
    assert_eq!(ask(hub.addr(), "PATCH", &path).json(&json!({ "n": 2 })).send().status, 200);
    let (event, data) = next(&mut stream);
    assert_eq!((event.as_str(), &data["fields"]), ("record_updated", &json!({ "title": "Hello", "n": 2 })));
    assert_eq!(ask(hub.addr(), "DELETE", &path).send().status, 204);
    assert_eq!(next(&mut stream), ("record_deleted".into(), json!({ "id": id })));
}

#[test]
fn writes_events_in_the_order_that_the_page_shows() {
    let hub = Hub::start().expect("a hub");
    let mut stream = open(&hub, PATH);
    let post = hub.create("posts", json!({}));
    let time = post["created"].as_str().expect("a time").replace(' ', "T");
    let expected = format!(
        "event: record_created\ndata: {{\"id\":{},\"collection\":\"posts\",\"fields\":{{}},\
         \"created_at\":\"{time}\",\"updated_at\":\"{time}\"}}\n\n",
        post["id"],
    );
    assert_eq!(stream.next_raw(), expected);
}

#[test]
fn wraps_changes_where_told_to_and_in_workspaces() {
    let hub = Hub::builder().rustbaas_wrapped().start().expect("a hub");
    let in_workspace = PATH.replace("realms", "workspaces");
    let mut streams = [open(&hub, PATH), open(&hub, &in_workspace)];
    let post = hub.create("posts", json!({ "title": "Hello" }));
    let id = post["id"].as_str().expect("an id");
    hub.delete("posts", id);
    for stream in &mut streams {
        let (event, data) = next(stream);
        assert_eq!((event.as_str(), &data["kind"]), ("record_created", &json!("record_created")));
        assert_eq!(
            (&data["record"]["id"], &data["record"]["fields"]["title"]),
            (&json!(id), &json!("Hello"))
        );
        let deleted = json!({ "kind": "record_deleted", "record": { "id": id } });
        assert_eq!(next(stream), ("record_deleted".into(), deleted));
    }
}

#[test]
fn filters_in_workspaces_alone() {
    let hub = Hub::start().expect("a hub");
    hub.collection("posts", json!({ "n": 0 }));
    let in_workspace = PATH.replace("realms", "workspaces");
    let mut filtered = open(&hub, &format!("{in_workspace}?filter=n%3E1"));
    let mut all = open(&hub, &format!("{PATH}?filter=n%3E1"));
    for n in [1, 2] {
        hub.create("posts", json!({ "n": n }));
        assert_eq!(next(&mut all).1["fields"]["n"], n);
    }
    assert_eq!(next(&mut filtered).1["record"]["fields"]["n"], 2);
    for bad in ["n%3E", "nothing%3D1"] {
        assert_eq!(open(&hub, &format!("{in_workspace}?filter={bad}")).status, 400, "{bad}");
    }
}

#[test]
fn logs_in_to_an_app_by_identity_or_email() {
    let hub = Hub::builder().require_token().start().expect("a hub");
    let user = hub.add_user("users", "ann@example.com", "secret");
    for place in ["realms", "workspaces"] {
        let path = format!("/api/{place}/acme/apps/web/auth/users/login");
        for name in ["identity", "email"] {
            let body = json!({ name: "ann@example.com", "password": "secret" });
            let answer = ask(hub.addr(), "POST", &path).json(&body).send();
            assert_eq!((answer.status, &answer.value()["user"]["id"]), (200, &json!(user)));
            let token = answer.value()["access_token"].as_str().expect("a token").to_owned();
            assert_eq!(open(&hub, &format!("{PATH}?access_token={token}")).status, 200);
        }
        let wrong = json!({ "email": "ann@example.com", "password": "no" });
        assert_eq!(ask(hub.addr(), "POST", &path).json(&wrong).send().status, 400);
    }
}

#[test]
fn reaches_both_protocols_with_one_change() {
    let hub = Hub::start().expect("a hub");
    let mut direct = open(&hub, PATH);
    let mut multiplexed = Stream::open(hub.addr());
    let set = json!({ "clientId": multiplexed.client_id, "subscriptions": ["posts/*"] });
    assert_eq!(ask(hub.addr(), "POST", "/api/realtime").json(&set).send().status, 204);
    let post = hub.create("posts", json!({}));
    assert_eq!(next(&mut direct).1["id"], post["id"]);
    assert_eq!(multiplexed.next().value()["record"]["id"], post["id"]);
    assert_eq!((hub.stats().streams, hub.stats().connects), (2, 2));
}

#[test]
fn publishes_custom_events_under_their_type() {
    let hub = Hub::start().expect("a hub");
    assert_eq!(hub.rustbaas_publish("posts", json!({ "type": "chat", "payload": 1 })), 0);
    let mut streams = [open(&hub, PATH), open(&hub, PATH)];
    let other = open(&hub, &PATH.replace("posts", "authors"));
    for (message, event, data) in [
        (json!({ "type": "chat", "payload": { "text": "Hi" } }), "chat", json!({ "text": "Hi" })),
        (json!({ "payload": { "foo": 1 } }), "custom", json!({ "foo": 1 })),
        (json!({ "foo": 1 }), "custom", json!({ "foo": 1 })),
    ] {
        assert_eq!(hub.rustbaas_publish("posts", message), 2);
        for stream in &mut streams {
            assert_eq!(next(stream), (event.into(), data.clone()));
        }
    }
    drop(other);
}

#[test]
fn wants_a_token_only_when_told_to() {
    let hub = Hub::start().expect("a hub");
    assert_eq!(open(&hub, PATH).status, 200);

    let hub = Hub::builder().require_token().start().expect("a hub");
    let user = hub.add_user("users", "ann@example.com", "secret");
    let token = hub.token("users", &user, Duration::from_secs(60));
    let expired = hub.token("users", &user, Duration::ZERO);
    let with = |authorization: &str, path: &str| {
        let request = ask(hub.addr(), "GET", path).header("authorization", authorization);
        request.open().expect("an answer").status
    };
    assert_eq!(open(&hub, PATH).status, 401);
    assert_eq!(with(&format!("Bearer {token}"), PATH), 200);
    assert_eq!(with(&format!("Bearer {expired}"), PATH), 401);
    assert_eq!(with(&token, PATH), 401);
    assert_eq!(open(&hub, &format!("{PATH}?access_token={token}")).status, 200);
    assert_eq!(open(&hub, &format!("{PATH}?access_token={expired}")).status, 401);
    // The header decides where both are there.
    assert_eq!(with("Bearer x", &format!("{PATH}?access_token={token}")), 401);
    hub.revoke(&user);
    let refused = ask(hub.addr(), "GET", PATH).header("authorization", &format!("Bearer {token}")).send();
    assert_eq!((refused.status, refused.header("content-type")), (401, Some("application/json")));
    assert_eq!(refused.value()["status"], 401);
}

#[test]
fn sends_heartbeats_until_they_are_lost() {
    let hub = Hub::builder().heartbeat(Duration::from_millis(20)).start().expect("a hub");
    let mut stream = open(&hub, PATH);
    for _ in 0..3 {
        assert_eq!(stream.next_raw(), ":keepalive\n\n");
    }
    hub.faults().lose_heartbeats(true);
    // One may have been on its way.
    hub.create("posts", json!({}));
    while stream.next_raw() == ":keepalive\n\n" {}
    assert!(stream.is_silent_for(Duration::from_millis(200)));
    hub.faults().clear();
    assert_eq!(stream.next_raw(), ":keepalive\n\n");
}

#[test]
fn forgets_what_happens_while_nobody_listens() {
    let hub = Hub::start().expect("a hub");
    let mut stream = open(&hub, PATH);
    hub.create("posts", json!({ "n": 1 }));
    assert_eq!(next(&mut stream).1["fields"]["n"], 1);
    assert_eq!(hub.faults().end_streams(), 1);
    assert_eq!(stream.end(), End::Clean);
    assert!(hub.wait_until(|stats| stats.streams == 0, Duration::from_secs(10)));
    hub.create("posts", json!({ "n": 2 }));
    let request = ask(hub.addr(), "GET", PATH).header("last-event-id", "1");
    let mut stream = request.open().expect("a stream");
    hub.create("posts", json!({ "n": 3 }));
    assert_eq!(next(&mut stream).1["fields"]["n"], 3);
}

#[test]
fn knows_its_collections_where_it_is_strict() {
    let hub = Hub::builder().strict().start().expect("a hub");
    assert_eq!(open(&hub, PATH).status, 404);
    hub.collection("posts", json!({}));
    assert_eq!(open(&hub, PATH).status, 200);
    assert_eq!(open(&hub, &PATH.replace("posts", "_superusers")).status, 404);
    hub.faults().answer_next(Endpoint::Events, Answer::status(503), 1);
    assert_eq!(open(&hub, PATH).status, 503);
    assert_eq!(hub.rustbaas_url("acme", "web", "posts"), format!("{}{PATH}", hub.url()));
}

#[test]
fn shows_no_addresses_of_accounts() {
    let hub = Hub::start().expect("a hub");
    let mut stream = open(&hub, &PATH.replace("posts", "users"));
    hub.add_user("users", "ann@example.com", "secret");
    let raw = stream.next_raw();
    assert!(raw.starts_with("event: record_created") && !raw.contains("ann@"), "{raw}");
}
