//! The client against the real server.
//!
//! `make test` runs this against a current PocketBase and against 0.22, whose superusers, collections and error
//! bodies differ.

mod real;

use std::{collections::BTreeSet, ops::Range, sync::mpsc, time::Duration};

use futures::{
    StreamExt,
    future::{Either, join_all, select},
};
use real::{PASSWORD, PocketBase, create, delete, soon, update};
use serde_json::{Value, json};
use tidings::{Action, Client, Error, Event, GapReason, State, Subscription, SubscriptionState, rt};

/// The next event that is no notice.
async fn next(subscription: &mut Subscription) -> Event {
    let event = soon("an event", subscription.next()).await.expect("the stream goes on");
    assert!(!event.is_notice(), "{event:?}");
    event
}

async fn until(client: &Client, what: impl Fn(&State) -> bool) -> State {
    let states = client.states();
    let state =
        soon("a state", states.filter(|state| std::future::ready(what(state))).boxed_local().next()).await;
    state.expect("the client is open")
}

#[test]
fn changes_of_a_collection_and_of_a_record_arrive() {
    smol::block_on(async {
        let server = PocketBase::start("");
        let id = server.collection("posts", &["title"], &[], "").await;
        let client = server.client();
        let mut all = client.collection("posts").subscribe("*").await.unwrap();
        let mut by_id = client.collection(&id).subscribe("*").await.unwrap();
        let first = create(&client, "posts", json!({"title": "one"})).await;
        let mut one = client.collection("posts").subscribe(&first).await.unwrap();
        let second = create(&client, "posts", json!({"title": "two"})).await;
        update(&client, "posts", &first, json!({"title": "1"})).await;
        delete(&client, "posts", &first).await;

        // The server promises no order, so what came is compared as a set.
        let mut seen = BTreeSet::new();
        for _ in 0..4 {
            let event = next(&mut all).await;
            seen.insert((event.action().as_str(), event.record_id().unwrap().to_owned()));
        }
        let expected = [("create", &first), ("create", &second), ("update", &first), ("delete", &first)];
        assert_eq!(seen, expected.map(|(action, id)| (action, id.clone())).into());
        assert_eq!(next(&mut by_id).await.topic(), format!("{id}/*"));
        let actions = [next(&mut one).await, next(&mut one).await].map(|event| event.action());
        assert!(actions.contains(&Action::Update) && actions.contains(&Action::Delete), "{actions:?}");
    });
}

#[test]
fn filter_expand_fields_and_headers_ride_in_the_topic() {
    smol::block_on(async {
        let server = PocketBase::start("");
        let authors = server.collection("authors", &["name"], &[], "").await;
        server.collection("posts", &["title", "status"], &[("author", &authors)], "").await;
        let rule = match server.legacy {
            true => "@request.headers.x_room = 'blue' && @request.query.who = 'me'",
            false => "@request.headers.x_room = \"blue\" && @request.query.who = \"me\"",
        };
        server.collection("rooms", &["title"], &[], rule).await;
        let client = server.client();
        let author = create(&client, "authors", json!({"name": "Ada"})).await;

        let filter = client.filter("status = {:s}", json!({"s": "it's \"on\""})).unwrap();
        let posts = client.collection("posts");
        let mut filtered = posts.subscribe("*").filter(filter).expand("author").await.unwrap();
        let mut trimmed = posts.subscribe("*").fields("title").await.unwrap();
        let rooms = client.collection("rooms");
        let mut room = rooms.subscribe("*").header("X-Room", "blue").query("who", "me").await.unwrap();
        let mut closed = rooms.subscribe("*").header("X-Room", "red").query("who", "me").await.unwrap();

        create(&client, "posts", json!({"title": "no", "status": "off", "author": author})).await;
        create(&client, "posts", json!({"title": "yes", "status": "it's \"on\"", "author": author})).await;
        let event = next(&mut filtered).await;
        let record: Value = event.record().unwrap();
        assert_eq!((&record["title"], &record["expand"]["author"]["name"]), (&json!("yes"), &json!("Ada")));
        let trimmed = next(&mut trimmed).await;
        assert_eq!(trimmed.record_id(), None);
        assert_eq!(trimmed.record::<Value>().unwrap().as_object().unwrap().len(), 1);

        // The rule denies a guest its own record on the list, and says so of the create only by silence.
        create(&server.root().await, "rooms", json!({"title": "x"})).await;
        assert_eq!(next(&mut room).await.record::<Value>().unwrap()["title"], "x");
        // What comes after it on the same stream proves that nothing came before.
        drop(room);
        let mut fence = posts.subscribe("*").await.unwrap();
        create(&client, "posts", json!({"title": "fence"})).await;
        next(&mut fence).await;
        assert!(futures::poll!(closed.next()).is_pending());
    });
}

/// Publishes `{topic, data}` of `POST /publish` to whoever has subscribed to the topic.
const PUBLISH: &str = r#"
routerAdd("POST", "/publish", (e) => {
    const { topic, data } = e.requestInfo().body
    const message = new SubscriptionMessage({ name: topic, data })
    for (const client of Object.values($app.subscriptionsBroker().clients())) {
        if (client.hasSubscription(topic)) client.send(message)
    }
    return e.noContent(204)
})
"#;

const PUBLISH_LEGACY: &str = r#"
routerAdd("POST", "/publish", (c) => {
    const { topic, data } = $apis.requestInfo(c).data
    const message = new SubscriptionMessage({ name: topic, data })
    const clients = $app.subscriptionsBroker().clients()
    for (const id in clients) {
        if (clients[id].hasSubscription(topic)) clients[id].send(message)
    }
    return c.noContent(204)
})
"#;

#[test]
fn raw_topics_carry_what_server_hooks_send() {
    smol::block_on(async {
        let legacy = PocketBase::stopped("").legacy;
        let server = PocketBase::start(if legacy { PUBLISH_LEGACY } else { PUBLISH });
        let client = server.client();
        let mut jobs = client.realtime().subscribe("jobs/finished").await.unwrap();
        for data in [r#"{"job":7}"#, "not json", "7"] {
            client.send("POST", "/publish", json!({"topic": "jobs/finished", "data": data})).await.unwrap();
            let event = next(&mut jobs).await;
            assert_eq!((event.action(), event.raw()), (Action::Custom, data.as_bytes()));
        }
        // Raw newlines break the framing; what follows must not suffer.
        client
            .send("POST", "/publish", json!({"topic": "jobs/finished", "data": "a\n\nevent: x\nb"}))
            .await
            .unwrap();
        client.send("POST", "/publish", json!({"topic": "jobs/finished", "data": "whole"})).await.unwrap();
        assert_eq!(next(&mut jobs).await.raw(), b"a");
        assert_eq!(next(&mut jobs).await.raw(), b"whole");
    });
}

#[test]
fn a_guest_becomes_a_user_on_the_same_stream() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("notes", &["title"], &[], "@request.auth.id != ''").await;
        let ada = server.user("ada@example.com").await;
        let root = server.root().await;
        let client = server.client();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        let stream = client.realtime().client_id();
        create(&root, "notes", json!({"title": "for users"})).await;

        let login = client.collection("users").auth_with_password("ada@example.com", PASSWORD).await.unwrap();
        assert_eq!(login.record["id"], ada);
        assert!(client.auth().is_valid());
        assert_eq!(client.auth().record().unwrap()["id"], ada);
        // From here on the server takes the stream for Ada's; what came before only she could see.
        let gap = soon("a gap", notes.next()).await.unwrap();
        assert_eq!(gap.gap().unwrap().reason, GapReason::IdentityChanged);
        create(&root, "notes", json!({"title": "for Ada"})).await;
        assert_eq!(next(&mut notes).await.record::<Value>().unwrap()["title"], "for Ada");
        assert_eq!(client.realtime().client_id(), stream);
        client.collection("users").auth_refresh().await.unwrap();
    });
}

#[test]
fn another_user_gets_another_stream_and_nothing_of_the_old_one() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("notes", &["owner"], &[], "owner = @request.auth.id").await;
        let (ada, bob) = (server.user("ada@example.com").await, server.user("bob@example.com").await);
        let root = server.root().await;
        let client = server.client();
        client.collection("users").auth_with_password("ada@example.com", PASSWORD).await.unwrap();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        let stream = client.realtime().client_id();
        create(&root, "notes", json!({"owner": ada})).await;
        assert_eq!(next(&mut notes).await.record::<Value>().unwrap()["owner"], ada);

        client.collection("users").auth_with_password("bob@example.com", PASSWORD).await.unwrap();
        create(&root, "notes", json!({"owner": ada})).await;
        let gap = soon("a gap", notes.next()).await.unwrap();
        assert_eq!(gap.gap().unwrap().reason, GapReason::IdentityChanged);
        assert_ne!(client.realtime().client_id(), stream);
        create(&root, "notes", json!({"owner": ada})).await;
        create(&root, "notes", json!({"owner": bob})).await;
        assert_eq!(next(&mut notes).await.record::<Value>().unwrap()["owner"], bob);
        assert_eq!(client.stats().submits_failed, 0, "the server refused nothing");
    });
}

#[test]
fn wrong_credentials_and_wrong_requests_are_refused_with_status_and_message() {
    smol::block_on(async {
        let server = PocketBase::start("");
        let client = server.client();
        let users = client.collection("users");
        let error = users.auth_with_password("nobody@example.com", "x").await.unwrap_err();
        assert_eq!(error.status(), Some(400));
        assert!(error.to_string().contains("Failed to authenticate"), "{error}");
        let error = client.send("GET", "/api/collections/nope/records", None).await.unwrap_err();
        assert_eq!(error.status(), Some(404));
        assert!(!error.refusal().unwrap().message().is_empty());
        let error = users.auth_refresh().await.unwrap_err();
        assert_eq!(error.status(), Some(401));
        let error =
            client.collection("_superusers").auth_with_password("x@example.com", "x").await.unwrap_err();
        assert_eq!(error.status(), Some(400));
    });
}

/// Refuses what the topics ask for.
const REFUSE: &str = r#"
onRealtimeSubscribeRequest((e) => {
    for (const topic of e.subscriptions) {
        if (topic == "rooms/forbidden") throw new ForbiddenError("Not your room.")
        if (topic == "rooms/bad") throw new BadRequestError("No such room.")
        if (topic == "rooms/missing") throw new NotFoundError("It is gone.")
    }
    e.next()
})
"#;

const REFUSE_LEGACY: &str = r#"
onRealtimeBeforeSubscribeRequest((e) => {
    for (const topic of e.subscriptions) {
        if (topic == "rooms/forbidden") throw new ForbiddenError("Not your room.")
        if (topic == "rooms/bad") throw new BadRequestError("No such room.")
        if (topic == "rooms/missing") throw new NotFoundError("It is gone.")
    }
})
"#;

#[test]
fn a_refused_topic_is_told_to_its_caller_and_costs_the_others_nothing() {
    smol::block_on(async {
        let legacy = PocketBase::stopped("").legacy;
        let server = PocketBase::start(if legacy { REFUSE_LEGACY } else { REFUSE });
        server.collection("posts", &["title"], &[], "").await;
        let client = server.client();
        let topics = ["posts/*", "rooms/forbidden", "rooms/good", "rooms/bad", "rooms/missing", "rooms/fine"];
        let realtime = client.realtime();
        let all = join_all(topics.map(|topic| realtime.subscribe(topic).into_future()));
        let answers = soon("the answers", all).await;
        let told: Vec<_> = answers
            .iter()
            .map(|answer| answer.as_ref().err().map(|error| (error.status().unwrap(), error.to_string())))
            .collect();
        assert_eq!(told[0], None);
        assert_eq!(told[2], None);
        assert_eq!(told[5], None);
        for (place, status, message) in
            [(1, 403, "Not your room."), (3, 400, "No such room."), (4, 404, "It is gone.")]
        {
            let (code, text) = told[place].as_ref().expect("refused");
            assert!(*code == status && text.contains(message), "{place}: {told:?}");
        }
        let mut posts = answers.into_iter().next().unwrap().unwrap();
        create(&client, "posts", json!({"title": "x"})).await;
        assert_eq!(next(&mut posts).await.action(), Action::Create);
        assert_eq!(
            realtime.active_subscriptions(),
            ["posts/*"],
            "the others were dropped with their answers"
        );
    });
}

#[test]
fn a_wrong_url_is_told_with_its_status_and_a_missing_server_with_its_address() {
    smol::block_on(async {
        let mut server = PocketBase::start("");
        let client = Client::new(&format!("{}/somewhere/else", server.url())).unwrap();
        let error =
            soon("an answer", client.collection("posts").subscribe("*").into_future()).await.unwrap_err();
        assert_eq!(error.status(), Some(404), "{error}");
        assert!(matches!(client.state(), State::Closed { why: Some(_) }), "{:?}", client.state());
        server.kill();
        let client = server.client();
        let error =
            soon("an answer", client.collection("posts").subscribe("*").into_future()).await.unwrap_err();
        assert!(matches!(error, Error::Network(_)), "{error:?}");
        assert!(error.to_string().contains(&server.addr().to_string()), "{error}");
        assert!(matches!(client.state(), State::Idle));
    });
}

#[test]
fn everything_comes_back_after_the_server_was_killed_and_started_again() {
    smol::block_on(async {
        let mut server = PocketBase::start("");
        server.collection("notes", &["title"], &[], "@request.auth.id != ''").await;
        server.user("ada@example.com").await;
        let client = server.client();
        client.collection("users").auth_with_password("ada@example.com", PASSWORD).await.unwrap();
        let mut all = client.collection("notes").subscribe("*").await.unwrap();
        let mut filtered = client.collection("notes").subscribe("*").filter("title = 'b'").await.unwrap();
        let mut hello = client.realtime().subscribe("PB_CONNECT").await.unwrap();
        let (told, disconnects) = mpsc::channel();
        client.realtime().on_disconnect(move |topics| told.send(topics.to_vec()).unwrap()).unwrap();
        let id = create(&client, "notes", json!({"title": "a"})).await;
        assert_eq!(next(&mut all).await.record_id(), Some(&*id));

        server.kill();
        until(&client, |state| matches!(state, State::Waiting { .. })).await;
        assert_eq!(all.state(), SubscriptionState::Interrupted);
        server.restart();
        until(&client, State::is_live).await;
        for subscription in [&mut all, &mut filtered] {
            let notice = soon("a gap", subscription.next()).await.unwrap();
            assert_eq!(notice.gap().expect("a gap").reason, GapReason::Disconnected);
            assert_eq!(subscription.state(), SubscriptionState::Live);
        }
        let hello = soon("PB_CONNECT", hello.next()).await.unwrap();
        let client_id = hello.json().unwrap()["clientId"].as_str().map(str::to_owned);
        assert_eq!((hello.action(), client_id), (Action::Connect, client.realtime().client_id()));
        create(&client, "notes", json!({"title": "b"})).await;
        assert_eq!(next(&mut all).await.record::<Value>().unwrap()["title"], "b");
        assert_eq!(next(&mut filtered).await.record::<Value>().unwrap()["title"], "b");
        let topics = disconnects.recv_timeout(real::PATIENCE).unwrap();
        assert_eq!(topics, client.realtime().active_subscriptions());
        assert_eq!(topics.len(), 3);
    });
}

#[test]
fn a_subscription_started_offline_is_made_when_the_server_is_there() {
    smol::block_on(async {
        let mut server = PocketBase::stopped("");
        let client = server.client();
        let mut posts = client.collection("posts").subscribe("*").start().unwrap();
        until(&client, |state| matches!(state, State::Waiting { .. })).await;
        assert_eq!(posts.state(), SubscriptionState::Pending);
        server.restart();
        soon("the server's answer", posts.ready()).await.unwrap();
        server.collection("posts", &["title"], &[], "").await;
        create(&client, "posts", json!({"title": "x"})).await;
        assert_eq!(next(&mut posts).await.action(), Action::Create);
    });
}

#[test]
fn a_thousand_subscriptions_started_together_make_at_most_three_submits() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("posts", &["title"], &[], "").await;
        // Polled here, after the calls, so that all have been made together before the client does anything, however
        // busy the machine is.
        let (client, mut driver) = Client::builder(&server.url()).connect_with(rt::AsyncIo).unwrap();
        let posts = client.collection("posts");
        let subscribe = |n: usize| posts.subscribe(&format!("record{n:09}")).into_future();
        let mut together = async |range: Range<usize>| match soon(
            "all answers",
            select(join_all(range.map(subscribe)), &mut driver),
        )
        .await
        {
            Either::Left((answers, _)) => answers.into_iter().collect::<Result<Vec<_>, _>>().unwrap(),
            Either::Right(_) => panic!("the client has ended"),
        };
        let _cold = together(0..800).await;
        assert!(client.stats().submits <= 3, "{:?}", client.stats());
        // And again while the stream is up, with more topics than one stream takes.
        let before = client.stats();
        let _warm = together(800..1800).await;
        let after = client.stats();
        assert!(after.submits - before.submits <= 6 && after.streams == 2, "{after:?}");
    });
}

#[test]
fn ten_thousand_topics_just_work() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("posts", &["title"], &[], "").await;
        let client = server.client();
        let posts = client.collection("posts");
        let mut all = Vec::new();
        for n in 0..10_000 {
            all.push(posts.subscribe(&format!("record{n:09}")).start().unwrap());
        }
        soon("all answers", join_all(all.iter().map(Subscription::ready))).await;
        assert_eq!(client.stats().streams, 12);
        let record = json!({"id": "record000009999", "title": "x"});
        create(&client, "posts", record).await;
        assert_eq!(next(&mut all[9_999]).await.record_id(), Some("record000009999"));
        client.close().await;
        assert_eq!(all[0].state(), SubscriptionState::Ended);
    });
}

#[test]
fn listeners_share_a_topic_and_leave_it_each_in_its_own_way() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("posts", &["title"], &[], "").await;
        let client = server.client();
        let posts = client.collection("posts");
        let mut a = posts.subscribe("*").await.unwrap();
        let mut b = posts.subscribe("*").await.unwrap();
        let mut c = posts.subscribe("*").expand("x").await.unwrap();
        assert_eq!(client.realtime().active_subscriptions().len(), 2);
        drop(b);
        create(&client, "posts", json!({"title": "x"})).await;
        next(&mut a).await;
        next(&mut c).await;
        b = posts.subscribe("*").await.unwrap();
        assert_eq!(posts.unsubscribe(Some("*")), 3, "with and without options");
        for subscription in [&mut a, &mut b, &mut c] {
            assert!(soon("the end", subscription.next()).await.is_none());
        }
        until(&client, |state| matches!(state, State::Idle)).await;
        let mut one = posts.subscribe("abc").await.unwrap();
        let mut other = client.realtime().subscribe("postscript").await.unwrap();
        assert_eq!(client.realtime().unsubscribe_by_prefix("posts/"), 1);
        assert!(soon("the end", one.next()).await.is_none());
        assert!(futures::poll!(other.next()).is_pending());
        assert_eq!(client.realtime().unsubscribe(None), 1);
        assert!(soon("the end", other.next()).await.is_none());
        until(&client, |state| matches!(state, State::Idle)).await;
    });
}

#[test]
fn callbacks_get_events_in_order_and_the_handle_ends_them() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("posts", &["title"], &[], "").await;
        let client = server.client();
        let (send, events) = mpsc::channel();
        let handle = client
            .collection("posts")
            .subscribe("*")
            .on(move |event| {
                send.send((event.action(), std::thread::current().name().map(str::to_owned))).unwrap()
            })
            .await
            .unwrap();
        let id = create(&client, "posts", json!({"title": "x"})).await;
        assert_eq!(
            events.recv_timeout(real::PATIENCE).unwrap(),
            (Action::Create, Some("tidings-callbacks".into()))
        );
        drop(handle);
        // The callback is dropped, and its sender with it.
        delete(&client, "posts", &id).await;
        assert_eq!(events.recv_timeout(real::PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
    });
}

/// No value may change the meaning of the expression that it is put into: a list filtered by it must find the
/// record that has that value, and no other.
#[test]
fn no_value_changes_the_meaning_of_a_filter() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("posts", &["title"], &[], "").await;
        let root = server.root().await;
        let seed = 20261121;
        let mut random = fastrand::Rng::with_seed(seed);
        let pieces = [
            "'",
            "\"",
            "\\",
            "\\'",
            "\\\"",
            "' || id != '",
            "\" || 1=1 || \"",
            "%",
            "_",
            "{:x}",
            "}",
            "&&",
            "||",
            "(",
            ")",
            "//",
            "/*",
            "@now",
            "null",
            "true",
            "\n",
            "\t",
            "ü",
            "日",
            "🦀",
            "a",
            " ",
            "1",
            "~",
            "`",
            "$",
            "?",
            "\u{1}",
            "\\n",
            "\\t",
            "\\r",
            "\\0",
            "\\x41",
            "\\u0041",
            "\\%",
            "\r",
        ];
        let mut values: Vec<String> = pieces.iter().map(|piece| format!("x{piece}y")).collect();
        for _ in 0..300 {
            let length = random.usize(1..8);
            values.push((0..length).map(|_| pieces[random.usize(..pieces.len())]).collect());
        }
        values.sort();
        values.dedup();
        values.retain(|value| !value.trim().is_empty() && value.trim() == value);
        // What a server before 0.39 has no way to write.
        let is_unwritable = |value: &str| {
            server.legacy && (value.ends_with('\\') || value.contains("\\'") && value.contains("\\\""))
        };
        for value in ["C:\\new", "a\\\\b", "b\\'q", "\\\\\\n", "it's a \\\\\"b\\\""] {
            assert!(!is_unwritable(value));
            values.push(value.into());
        }
        values.sort();
        values.dedup();
        let mut made = Vec::new();
        for value in &values {
            made.push(create(&root, "posts", json!({"title": value})).await);
        }
        for (value, id) in values.iter().zip(&made) {
            let filter = root
                .filter("title = {:v} && (id != {:v} || title = {:v}) // why", json!({"v": value}))
                .unwrap();
            let list =
                root.send("GET", "/api/collections/posts/records", None).query("filter", &filter).await;
            let list: Value = match list {
                Err(error) if is_unwritable(value) && error.status() == Some(400) => continue,
                list => list.unwrap_or_else(|error| panic!("{value:?} as {filter}: {error}")).json().unwrap(),
            };
            let items = list["items"].as_array().unwrap();
            let found: Vec<_> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
            if found.is_empty() && is_unwritable(value) {
                continue;
            }
            assert_eq!(found, [id.as_str()], "seed {seed}: {value:?} as {filter}");
        }
    });
}

#[test]
fn a_subscription_finds_backslashes_on_servers_of_any_age() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("posts", &["title"], &[], "").await;
        let client = server.client();
        for title in ["C:\\new", "a\\\\b", "b\\'q"] {
            let filter = client.filter("title = {:title}", json!({"title": title})).unwrap();
            let mut posts = client.collection("posts").subscribe("*").filter(filter).await.unwrap();
            for other in ["C:\new", "a\\b", "b'q", "a\\\\\\\\b"] {
                create(&client, "posts", json!({"title": other})).await;
            }
            let id = create(&client, "posts", json!({"title": title})).await;
            assert_eq!(next(&mut posts).await.record_id(), Some(&*id), "{title}");
        }
    });
}

#[test]
fn closing_takes_no_longer_than_a_second_even_from_a_dead_server() {
    smol::block_on(async {
        let mut server = PocketBase::start("");
        server.collection("posts", &["title"], &[], "").await;
        let client = server.client();
        let mut posts = client.collection("posts").subscribe("*").await.unwrap();
        server.kill();
        until(&client, |state| matches!(state, State::Waiting { .. })).await;
        let started = std::time::Instant::now();
        client.close().await;
        assert!(started.elapsed() < Duration::from_secs(1));
        assert!(posts.next().await.is_none());
        assert!(matches!(client.state(), State::Closed { why: None }));
        let error = client.collection("posts").subscribe("*").await.unwrap_err();
        assert!(matches!(error, Error::Closed), "{error:?}");
    });
}
