//! The hub as BosBase, where that differs from PocketBase, and the client against it. What was seen of a real BosBase
//! is in the assertions; where both are alike, `tests/hub_parity` runs against the hub in this form too.
#![cfg(all(feature = "hub", feature = "async-io"))]

#[path = "hub_parity/plain_client.rs"]
#[expect(dead_code, reason = "the parity suite uses the rest of it")]
mod plain_client;

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::{FutureExt, future::Either};
use plain_client::{Stream, ask};
use serde_json::{Value, json};
use tidings::{Action, Client, Event, GapReason, Reason, State, Subscription, hub::Hub};

/// Quick enough for a test; the host would choose minutes.
const CHECK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);

/// A hub with notes that only their owners may see, and Ann's id.
fn start() -> (Hub, String) {
    let hub = Hub::builder().bosbase().start().unwrap();
    let ann = hub.add_user("users", "ann@example.com", "correct-horse-1");
    hub.list_rule("notes", |request, record| record["owner"] == request.auth_id());
    (hub, ann)
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match futures::future::select(std::pin::pin!(future), smol::Timer::after(PATIENCE)).await {
        Either::Left((value, _)) => value,
        Either::Right(_) => panic!("{what} did not come"),
    }
}

async fn next(subscription: &mut Subscription) -> Event {
    soon("an event", subscription.next()).await.expect("the stream goes on")
}

async fn ann(hub: &Hub) -> Client {
    let client = Client::builder(&hub.url()).identity_check(CHECK).build().unwrap();
    let users = client.collection("users");
    users.auth_with_password("ann@example.com", "correct-horse-1").await.unwrap();
    client
}

fn change_password(hub: &Hub, user: &str) {
    hub.update("users", user, json!({"password": "another-horse-2", "passwordConfirm": "another-horse-2"}));
}

#[test]
fn ids_are_uuids_and_records_say_who_wrote_them() {
    let (hub, ann) = start();
    let token = hub.token("users", &ann, PATIENCE);
    let path = "/api/collections/posts/records";
    let made =
        ask(hub.addr(), "POST", path).token(&token).json(&json!({"title": "x", "createdBy": "me"})).send();
    let made = made.value();
    let id = made["id"].as_str().unwrap();
    let dashes: Vec<_> = id.match_indices('-').map(|(at, _)| at).collect();
    assert_eq!((id.len(), &dashes[..], ann.len()), (36, &[8, 13, 18, 23][..], 36));
    assert_eq!((&made["createdBy"], &made["updatedBy"]), (&json!(ann), &json!(ann)));
    let changes = json!({"title": "y", "createdBy": "me", "updatedBy": "me"});
    let changed = hub.update("posts", id, changes);
    assert_eq!((&changed["createdBy"], &changed["updatedBy"]), (&json!(ann), &json!("")));
    let given = "0192f0c1-2345-7abc-8def-0123456789ab";
    assert_eq!(hub.create("posts", json!({"id": given}))["id"], given);
    for bad in [given, "0192f0c1-2345-7abc-8def-0123456789AB", "0192f0c1-2345-7abc-8def-0123456789a"] {
        assert_eq!(ask(hub.addr(), "POST", path).json(&json!({"id": bad})).send().status, 400, "{bad}");
    }
}

#[test]
fn a_stream_is_its_users_through_a_changed_password_until_the_user_is_gone() {
    let (hub, ann) = start();
    let token = hub.token("users", &ann, PATIENCE);
    let stream = Stream::open(hub.addr());
    let set = json!({"clientId": stream.client_id, "subscriptions": ["notes/*"]});
    let submit = || ask(hub.addr(), "POST", "/api/realtime").json(&set);
    assert_eq!(submit().token(&token).send().status, 204);
    change_password(&hub, &ann);
    // Nobody in particular is another than the stream is bound to, and the old token is nobody's.
    assert_eq!(submit().send().status, 403);
    assert_eq!(submit().token(&token).send().status, 403);
    let from_elsewhere = submit().from([127, 0, 0, 9]).token(&hub.token("users", &ann, PATIENCE));
    assert_eq!(from_elsewhere.send().status, 204);
    hub.delete("users", &ann);
    assert_eq!(submit().send().status, 204);
}

#[test]
fn the_client_reads_its_records_and_watches_one_by_its_long_id() {
    smol::block_on(async {
        let (hub, user) = start();
        let client = ann(&hub).await;
        let id = hub.create("posts", json!({"title": "x"}))["id"].as_str().unwrap().to_owned();
        let mut one = client.collection("posts").subscribe(&id).await.unwrap();
        let mut all = client.collection("posts").subscribe("*").await.unwrap();
        hub.create("posts", json!({"title": "another"}));
        let path = format!("/api/collections/posts/records/{id}");
        client.send("PATCH", &path, json!({"title": "y"})).await.unwrap();
        let event = next(&mut one).await;
        assert_eq!((event.action(), event.record_id()), (Action::Update, Some(&*id)));
        let record: Value = event.record().unwrap();
        assert_eq!((&record["createdBy"], &record["updatedBy"]), (&json!(""), &json!(user)));
        assert_eq!(next(&mut all).await.action(), Action::Create);
        assert_eq!(next(&mut all).await.record_id(), Some(&*id));
    });
}

#[test]
fn the_client_holds_a_token_of_a_hundred_years_for_valid_and_waits_for_nothing() {
    smol::block_on(async {
        let (hub, user) = start();
        let token = ann(&hub).await.auth().token().unwrap();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let expires = serde_json::from_slice::<Value>(&claims).unwrap()["exp"].as_u64().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!((expires - now + 60) / (24 * 3600), 36_500);
        let (asked, count) = async_channel::unbounded();
        let client = Client::builder(&hub.url())
            .identity_check(CHECK)
            .token_provider(move || {
                let _ = asked.try_send(());
                let token = token.clone();
                async move { Ok::<_, std::io::Error>(Some(token)) }
            })
            .build()
            .unwrap();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        assert!(client.auth().is_valid());
        for n in 0..3 {
            proof(&hub).await;
            hub.create("notes", json!({"owner": user, "n": n}));
            assert_eq!(next(&mut notes).await.record::<Value>().unwrap()["n"], n);
        }
        assert_eq!((count.len(), client.stats().connects), (1, 1));
    });
}

/// The client's next question whether the stream is still its user's.
async fn proof(hub: &Hub) {
    let is_proof = |hub: &Hub| hub.submits().iter().filter(|submit| !submit.had_authorization).count();
    let before = is_proof(hub);
    soon("a proof", async {
        while is_proof(hub) == before {
            smol::Timer::after(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[test]
fn the_client_stays_who_it_is_through_a_changed_password_and_notices_that_the_user_is_gone() {
    smol::block_on(async {
        let (hub, user) = start();
        let client = ann(&hub).await;
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        change_password(&hub, &user);
        // The server answers twice that the stream is still hers.
        for n in 0..2 {
            proof(&hub).await;
            hub.create("notes", json!({"owner": user, "n": n}));
            let event = next(&mut notes).await;
            assert_eq!(event.record::<Value>().unwrap()["n"], n, "{event:?}");
        }
        assert!(client.state().is_live(), "{:?}", client.state());
        assert_eq!(client.stats().connects, 1);

        let mut states = client.states();
        hub.delete("users", &user);
        let why = loop {
            if let State::Unauthenticated { why } = soon("a state", states.next()).await.unwrap() {
                break why;
            }
        };
        assert!(matches!(why, Reason::TokenRevoked), "{why:?}");
    });
}

#[test]
fn after_a_cut_the_old_token_is_nobodys_and_the_client_says_so() {
    smol::block_on(async {
        let (hub, user) = start();
        let client = ann(&hub).await;
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        change_password(&hub, &user);
        let mut states = client.states();
        hub.faults().cut_streams();
        while !matches!(soon("a state", states.next()).await.unwrap(), State::Unauthenticated { .. }) {}
        hub.create("notes", json!({"owner": user, "title": "missed"}));
        let users = client.collection("users");
        users.auth_with_password("ann@example.com", "another-horse-2").await.unwrap();
        while !soon("a state", states.next()).await.unwrap().is_live() {}
        hub.create("notes", json!({"owner": user, "title": "after"}));
        let mut gaps = Vec::new();
        loop {
            let event = next(&mut notes).await;
            match event.gap() {
                Some(gap) => gaps.push(gap.reason),
                None => break assert_eq!(event.record::<Value>().unwrap()["title"], "after"),
            }
        }
        assert!(gaps.contains(&GapReason::IdentityChanged), "{gaps:?}");
    });
}

#[test]
fn a_filter_finds_backslashes() {
    smol::block_on(async {
        let (hub, _) = start();
        let client = Client::new(&hub.url()).unwrap();
        hub.collection("posts", json!({"title": ""}));
        for title in ["C:\\new", "a\\\\b", "b\\'q"] {
            let filter = client.filter("title = {:title}", json!({"title": title})).unwrap();
            let mut posts = client.collection("posts").subscribe("*").filter(&filter).await.unwrap();
            for title in ["C:\new", "a\\b", "b'q", "a\\\\\\\\b", title] {
                hub.create("posts", json!({"title": title}));
            }
            assert_eq!(next(&mut posts).await.record::<Value>().unwrap()["title"], title, "{filter}");
            assert!(posts.next().now_or_never().is_none());
        }
    });
}
