//! The RustBaaS page, line by line, against the hub: tests of its sentences are named for them. Then what its server
//! does beside its page.
#![cfg(all(feature = "hub", feature = "async-io"))]

use std::time::Duration;

use serde_json::{Value, json};
use tidings::{
    Action, Client, Error, Event, GapReason, State, Subscription,
    hub::{Answer, Endpoint, Hub, Message},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn client(hub: &Hub) -> Client {
    Client::rustbaas(&hub.url(), "acme", "web").unwrap()
}

fn workspace(hub: &Hub) -> Client {
    Client::builder(&hub.url()).rustbaas_workspace("acme", "web").build().unwrap()
}

async fn next(subscription: &mut Subscription) -> Event {
    let event = subscription.next().await.expect("the stream goes on");
    assert!(!event.is_notice(), "{event:?}");
    event
}

/// What a program does with either backend, to the letter.
async fn program(client: Client, changes: impl FnOnce()) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    let mut posts = client.collection("posts").subscribe("*").await.unwrap();
    changes();
    while let Some(event) = posts.next().await {
        seen.push((event.action().to_string(), event.record_id().unwrap_or("?").to_owned()));
        if event.action() == Action::Delete {
            break;
        }
    }
    seen
}

#[test]
fn the_same_program_runs_against_either_backend() {
    let run = |client: fn(&Hub) -> Client| {
        let hub = Hub::builder().seed(7).start().unwrap();
        let changes = || {
            let id = hub.create("posts", json!({"title": "x"}))["id"].as_str().unwrap().to_owned();
            hub.update("posts", &id, json!({"title": "y"}));
            hub.delete("posts", &id);
        };
        smol::block_on(program(client(&hub), changes))
    };
    let seen = run(|hub| Client::new(&hub.url()).unwrap());
    assert_eq!(seen.iter().map(|(action, _)| &**action).collect::<Vec<_>>(), ["create", "update", "delete"]);
    assert_eq!(seen, run(client));
    assert_eq!(seen, run(workspace));
}

#[test]
fn event_shape() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = client(&hub);
        let mut posts = client.collection("posts").subscribe("*").await.unwrap();
        let id = hub.create("posts", json!({"title": "x"}))["id"].as_str().unwrap().to_owned();
        let event = next(&mut posts).await;
        assert_eq!((event.action(), event.name()), (Action::Create, "record_created"));
        let raw: Value = serde_json::from_slice(event.raw()).unwrap();
        assert_eq!((&raw["id"], &raw["collection"]), (&json!(id), &json!("posts")));
        assert_eq!(raw["fields"]["title"], "x");
        // The record reads as elsewhere: its fields beside its id.
        let record: Value = event.record().unwrap();
        assert_eq!(
            (&record["id"], &record["title"], &record["fields"]),
            (&json!(id), &json!("x"), &Value::Null)
        );
        assert_eq!(event.json().unwrap()["record"], record);
        hub.delete("posts", &id);
        let event = next(&mut posts).await;
        assert_eq!((event.action(), event.name()), (Action::Delete, "record_deleted"));
        assert_eq!(event.record::<Value>().unwrap(), json!({"id": id}));
    });
}

#[test]
fn authorization_bearer_token() {
    smol::block_on(async {
        let hub = Hub::builder().require_token().start().unwrap();
        let user = hub.add_user("users", "ada@example.com", "correct-horse-1");
        let token = hub.token("users", &user, Duration::from_secs(60));
        for in_query in [false, true] {
            let mut builder = Client::builder(&hub.url()).rustbaas("acme", "web").token(&token);
            if in_query {
                builder = builder.token_in_query();
            }
            let client = builder.build().unwrap();
            let mut posts = client.collection("posts").subscribe("*").await.unwrap();
            hub.create("posts", json!({}));
            next(&mut posts).await;
        }
        let error = client(&hub).collection("posts").subscribe("*").await.unwrap_err();
        assert_eq!(error.status(), Some(401));
    });
}

#[test]
fn a_token_set_later_opens_what_was_refused_and_another_users_token_a_new_stream() {
    smol::block_on(async {
        let hub = Hub::builder().require_token().start().unwrap();
        let [ada, bob] = ["ada@example.com", "bob@example.com"].map(|email| {
            let user = hub.add_user("users", email, "correct-horse-1");
            hub.token("users", &user, Duration::from_secs(60))
        });
        let client = client(&hub);
        let refused = client.collection("posts").subscribe("*").await.unwrap_err();
        assert_eq!(refused.status(), Some(401));
        client.auth().set_token(&ada).unwrap();
        let mut posts = client.collection("posts").subscribe("*").await.unwrap();
        let before = client.stats().connects;
        client.auth().set_token(&bob).unwrap();
        let gap = posts.next().await.unwrap();
        assert_eq!(gap.gap().unwrap().reason, GapReason::IdentityChanged);
        assert_eq!(client.stats().connects, before + 1);
        hub.create("posts", json!({}));
        next(&mut posts).await;
    });
}

#[test]
fn subscriptions_are_per_collection_and_share_its_stream() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = client(&hub);
        let mut posts = client.collection("posts").subscribe("*").await.unwrap();
        let mut again = client.collection("posts").subscribe("*").await.unwrap();
        let record = client.collection("posts").subscribe("01HXY").await.unwrap();
        let mut rooms = client.collection("rooms").subscribe("*").await.unwrap();
        assert_eq!(client.stats().streams, 2);
        hub.create("rooms", json!({}));
        hub.create("posts", json!({}));
        assert_eq!(next(&mut rooms).await.topic(), "rooms/*");
        assert_eq!(next(&mut posts).await.topic(), "posts/*");
        next(&mut again).await;
        drop((posts, again, record));
        assert!(hub.wait_until(|stats| stats.streams == 1, PATIENCE));
    });
}

#[test]
fn a_record_is_watched_by_its_id_among_ten_thousand_others() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = client(&hub);
        // Room for all, so that nothing but the topic decides what comes.
        let posts = client.collection("posts");
        let mut one =
            posts.subscribe("watchedrecord01").queue(20_000, tidings::Overflow::DropOldest).await.unwrap();
        for n in 0..10_000 {
            if n == 5_000 {
                hub.create("posts", json!({"id": "watchedrecord01", "n": n}));
            }
            hub.create("posts", json!({"n": n}));
        }
        hub.update("posts", "watchedrecord01", json!({"n": -1}));
        assert_eq!(next(&mut one).await.action(), Action::Create);
        let event = next(&mut one).await;
        assert_eq!((event.action(), event.record_id()), (Action::Update, Some("watchedrecord01")));
        assert_eq!(one.lost(), 0);
    });
}

#[test]
fn to_narrow_further_filter_on_the_client() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = client(&hub);
        let wanted = |event: &Event| event.record::<Value>().is_ok_and(|record| record["n"] == 2);
        let mut two = client.collection("posts").subscribe("*").only_if(wanted).await.unwrap();
        (0..4).for_each(|n| drop(hub.create("posts", json!({"n": n}))));
        assert_eq!(next(&mut two).await.record::<Value>().unwrap()["n"], 2);
        for refused in [
            client.collection("posts").subscribe("*").filter("n = 2"),
            client.collection("posts").subscribe("*").expand("author"),
            client.collection("posts").subscribe("*").header("X-A", "b"),
        ] {
            let error = refused.await.unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        }
        let error = client.realtime().subscribe("PB_CONNECT").await.unwrap_err();
        assert!(matches!(error, Error::InvalidTopic { .. }), "{error:?}");
    });
}

#[test]
fn custom_events_keep_their_name_and_payload() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = client(&hub);
        let mut posts = client.collection("posts").subscribe("*").await.unwrap();
        hub.rustbaas_publish("posts", json!({"type": "chat", "payload": {"id": "x", "text": "hi"}}));
        hub.rustbaas_publish("posts", json!({"payload": {"foo": 1}}));
        let chat = next(&mut posts).await;
        assert_eq!((chat.action(), chat.name(), chat.record_id()), (Action::Custom, "chat", None));
        assert_eq!(chat.json().unwrap(), json!({"id": "x", "text": "hi"}));
        assert_eq!(next(&mut posts).await.name(), "custom");
    });
}

#[test]
fn heartbeats_keep_a_quiet_stream_and_three_missed_ones_end_it() {
    smol::block_on(async {
        let interval = Duration::from_millis(100);
        let hub = Hub::builder().heartbeat(interval).start().unwrap();
        let client = Client::builder(&hub.url()).rustbaas("acme", "web").heartbeat(interval).build().unwrap();
        let mut posts = client.collection("posts").subscribe("*").await.unwrap();
        // Ten limits long nothing but heartbeats.
        smol::Timer::after(30 * interval).await;
        assert_eq!(client.stats().disconnects, Default::default());
        hub.faults().lose_heartbeats(true);
        let mut states = client.states();
        loop {
            match states.next().await.unwrap() {
                State::Waiting { why, .. } => {
                    assert!(
                        matches!(why, tidings::Reason::Silence(silence) if silence == 3 * interval),
                        "{why:?}"
                    );
                    break;
                }
                State::Live => {}
                state => panic!("{state:?}"),
            }
        }
        hub.faults().lose_heartbeats(false);
        let gap = posts.next().await.unwrap();
        assert_eq!(gap.gap().unwrap().reason, GapReason::Disconnected);
        hub.create("posts", json!({}));
        next(&mut posts).await;
    });
}

#[test]
fn a_subscriber_that_disconnects_does_not_get_what_it_missed_and_is_told_so() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = client(&hub);
        let mut posts = client.collection("posts").subscribe("*").await.unwrap();
        hub.stop();
        let mut states = client.states();
        while !matches!(states.next().await.unwrap(), State::Waiting { .. }) {}
        let missed = std::time::Instant::now();
        hub.restart().unwrap();
        hub.create("posts", json!({"title": "missed"}));
        let gap = posts.next().await.unwrap().gap().expect("a gap");
        assert!(gap.since <= missed && missed <= gap.until);
    });
}

#[test]
fn a_wrapped_payload_reads_as_the_page_has_it() {
    smol::block_on(async {
        let read = async |hub: Hub| {
            let client = client(&hub);
            let posts = client.collection("posts");
            let mut all = posts.subscribe("*").await.unwrap();
            let mut one = posts.subscribe("watchedrecord01").await.unwrap();
            hub.create("posts", json!({"id": "watchedrecord01", "title": "x"}));
            hub.create("posts", json!({"id": "anotherrecord01", "title": "y"}));
            hub.update("posts", "watchedrecord01", json!({"title": "z"}));
            hub.delete("posts", "watchedrecord01");
            let mut seen = Vec::new();
            for (subscription, n) in [(&mut all, 4), (&mut one, 3)] {
                for _ in 0..n {
                    let event = next(subscription).await;
                    let mut record: Value = event.record().unwrap();
                    assert_eq!(record["id"], event.record_id().unwrap());
                    assert_eq!(
                        event.json().unwrap(),
                        json!({"action": event.action().as_str(), "record": record})
                    );
                    let record = record.as_object_mut().unwrap();
                    record.retain(|name, _| !name.ends_with("_at"));
                    seen.push((event.topic().to_owned(), event.name().to_owned(), record.clone()));
                }
            }
            seen
        };
        let bare = read(Hub::start().unwrap()).await;
        assert_eq!(bare[0].2["title"], "x");
        assert_eq!(bare, read(Hub::builder().rustbaas_wrapped().start().unwrap()).await);
    });
}

#[test]
fn a_change_without_a_name_is_what_its_kind_says() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let stream = hub.sse("/api/realms/acme/apps/web/collections/posts/events");
        let client = client(&hub);
        let mut posts = client.collection("posts").subscribe("*").await.unwrap();
        let mut one = client.collection("posts").subscribe("01H").await.unwrap();
        stream.send(Message::data(
            "{\"kind\":\"record_created\",\"record\":{\"id\":\"01H\",\"fields\":{\"n\":1}}}",
        ));
        stream.send(Message::data("{\"kind\":\"record_deleted\",\"id\":\"01H\"}"));
        for action in [Action::Create, Action::Delete] {
            for subscription in [&mut posts, &mut one] {
                let event = next(subscription).await;
                assert_eq!((event.action(), event.record_id()), (action, Some("01H")));
                assert_eq!(event.json().unwrap()["record"]["id"], "01H");
            }
        }
    });
}

#[test]
fn in_a_workspace_the_server_filters_and_each_filter_has_its_stream() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.collection("posts", json!({"n": 0}));
        let client = workspace(&hub);
        let posts = client.collection("posts");
        let mut two = posts.subscribe("*").filter("n = 2").await.unwrap();
        let mut again = posts.subscribe("watchedrecord02").filter("n = 2").await.unwrap();
        let mut all = posts.subscribe("*").filter("").await.unwrap();
        assert_eq!(client.stats().streams, 2);
        for n in 0..4 {
            hub.create("posts", json!({"id": format!("watchedrecord0{n}"), "n": n}));
        }
        assert_eq!(next(&mut two).await.record_id(), Some("watchedrecord02"));
        assert_eq!(next(&mut again).await.record_id(), Some("watchedrecord02"));
        for n in 0..4 {
            assert_eq!(next(&mut all).await.record::<Value>().unwrap()["n"], n);
        }
        // The two with a filter share a stream, and one message.
        assert_eq!(hub.stats().messages, 5);

        let error = posts.subscribe("*").filter("n = ").await.unwrap_err();
        assert_eq!(error.status(), Some(400));
        let error = posts.subscribe("*").expand("author").await.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        assert_eq!(posts.unsubscribe(Some("*")), 2);
        assert!(hub.wait_until(|stats| stats.streams == 1, PATIENCE));
    });
}

#[test]
fn a_404_says_which_setting_a_server_of_the_other_kind_wants() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let not_found = || Answer::status(404);
        for (client, other) in [
            (client(&hub), "build the client with `rustbaas_workspace`"),
            (workspace(&hub), "with `rustbaas`"),
        ] {
            hub.faults().answer_next(Endpoint::Events, not_found(), 1);
            let error = client.collection("posts").subscribe("*").await.unwrap_err();
            assert_eq!(error.status(), Some(404));
            assert!(error.to_string().contains(other), "{error}");
            hub.faults().answer_next(Endpoint::Auth, not_found(), 1);
            let error = client.collection("users").auth_with_password("a", "b").await.unwrap_err();
            assert!(error.to_string().contains(other), "{error}");
        }
    });
}

#[test]
fn an_account_of_the_app_logs_in_and_what_is_not_known_is_refused_with_why() {
    smol::block_on(async {
        let hub = Hub::builder().require_token().start().unwrap();
        let user = hub.add_user("users", "ada@example.com", "correct-horse-1");
        for client in [client(&hub), workspace(&hub)] {
            let users = client.collection("users");
            let error = users.auth_with_password("ada@example.com", "wrong").await.unwrap_err();
            assert_eq!(error.status(), Some(400));
            let answer = users.auth_with_password("ada@example.com", "correct-horse-1").await.unwrap();
            assert_eq!((&answer.record["id"], client.auth().token()), (&json!(user), Some(answer.token)));
            drop(client.collection("posts").subscribe("*").await.unwrap());

            let is_unsupported = |error: Error, reason: &str| {
                assert!(
                    matches!(error, Error::Unsupported { .. }) && error.to_string().contains(reason),
                    "{error:?}"
                );
            };
            is_unsupported(users.auth_refresh().await.unwrap_err(), "log in again");
            is_unsupported(
                users.auth_with_oauth2("github", |_| {}).await.unwrap_err(),
                "log in with a password",
            );
            let other = client.collection("_superusers").auth_with_password("a", "b").await;
            is_unsupported(other.unwrap_err(), "accounts of a RustBaaS app are in `users`");
        }
        let login = hub.requests().into_iter().find(|seen| seen.path.ends_with("/login")).unwrap();
        let body: Value = serde_json::from_slice(&login.body).unwrap();
        let expected =
            json!({"identity": "ada@example.com", "email": "ada@example.com", "password": "wrong"});
        assert_eq!(body, expected);

        // Whichever names the answer has.
        for answer in [
            json!({"token": "a.b.c", "record": {"id": "x"}}),
            json!({"access_token": "a.b.c", "user": {"id": "x"}}),
        ] {
            let client = client(&hub);
            hub.faults().answer_next(Endpoint::Auth, Answer::status(200).body(answer.to_string()), 1);
            let answer = client.collection("users").auth_with_password("a", "b").await.unwrap();
            assert_eq!((&*answer.token, &answer.record["id"]), ("a.b.c", &json!("x")));
        }
    });
}
