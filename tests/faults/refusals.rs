//! Answers of the real server that are no success, planned by hooks.

use std::{ops::RangeInclusive, time::Duration};

use futures::future::join_all;
use serde_json::json;
use tidings::{Client, Error, State, SubscriptionState};

use crate::{
    Fault,
    fault_proxy::End,
    promises::table,
    real::soon,
    scene::{Scene, new_room, plan_answers, shared_server},
};

/// The topics are refused twice after the stream was cut.
struct Submit<const STATUS: u16>;

impl<const STATUS: u16> Fault for Submit<STATUS> {
    const CUTS: bool = true;
    // What says that the server does not know the stream calls for another one.
    const CONNECTS: RangeInclusive<u64> = if STATUS <= 404 { 3..=3 } else { 1..=1 };
    // After the second that a busy server refuses, the set is sent in parts: it may mean one of them.
    const SUBMITS: u64 = if STATUS <= 404 { 3 } else { 4 };
    // A call is told of a stream that opens but takes no topics only at the third.
    const REFUSES: Option<u16> = None;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        let message = match STATUS {
            400 => "Invalid realtime client.",
            403 => "The current and the previous request authorization don't match.",
            404 => "Missing or invalid client id.",
            _ => "Come back later.",
        };
        let mut plan = json!({"status": STATUS, "message": message});
        if STATUS == 429 {
            plan["retryAfter"] = 1.into();
        }
        scene.plan("submit", 2, plan).await;
        scene.proxy().end_all(End::Fin);
        scene.lost().await;
    }

    async fn heal(_: &mut Scene) {}
}

/// Two streams are refused after one was cut. That of a server that was live is no last word yet.
struct Connect<const STATUS: u16>;

impl<const STATUS: u16> Fault for Connect<STATUS> {
    const CUTS: bool = true;
    const CONNECTS: RangeInclusive<u64> = 3..=3;
    // What may pass is told to a call with the second such answer.
    const REFUSES: Option<u16> = Some(STATUS);

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        scene.plan("connect", 2, json!({"status": STATUS, "message": "No stream now."})).await;
        scene.proxy().end_all(End::Rst);
        scene.lost().await;
        let state = scene.lost().await;
        assert!(
            state.to_string().contains(&format!("the server answered {STATUS}: No stream now.")),
            "{state}"
        );
    }

    async fn heal(_: &mut Scene) {}
}

table! {
    submit_400: Submit<400>;
    submit_403: Submit<403>;
    submit_404: Submit<404>;
    submit_429: Submit<429>;
    submit_500: Submit<500>;
    submit_503: Submit<503>;
    connect_400: Connect<400>;
    connect_403: Connect<403>;
    connect_404: Connect<404>;
    connect_429: Connect<429>;
    connect_503: Connect<503>;
}

/// What the server says for good reaches the call with its status and words, and those that may pass at the latest when
/// patience ends.
#[test]
fn a_refused_set_of_topics_reaches_the_caller_with_status_and_words() {
    smol::block_on(async {
        let server = shared_server();
        let writer = server.client();
        let each = [400, 401, 403, 404, 413, 422, 429, 500, 502, 503].map(|status| {
            let writer = writer.clone();
            async move {
                let room = new_room();
                plan_answers(
                    &writer,
                    &room,
                    "submit",
                    1000,
                    json!({"status": status, "message": "Not for you."}),
                )
                .await;
                let client = Client::builder(&server.url())
                    .header("X-Room", &room)
                    .subscribe_timeout(Duration::from_secs(3))
                    .build()
                    .unwrap();
                let error = soon("an answer", client.collection("notes").subscribe("*").into_future())
                    .await
                    .unwrap_err();
                assert_eq!(error.status(), Some(status), "{error}");
                assert!(error.to_string().contains("Not for you."), "{error}");
                let stats = client.stats();
                assert!(stats.submits <= 16 && stats.connects <= 4, "{status}: {stats:?}");
            }
        });
        join_all(each).await;
    });
}

/// A server that takes back what it allowed: the subscription says so as its last word.
#[test]
fn a_live_subscription_that_the_server_takes_back_ends_with_its_answer() {
    smol::block_on(async {
        let mut scene = Scene::behind_a_proxy().await;
        scene.plan("submit", 1000, json!({"status": 403, "message": "Not for you any more."})).await;
        scene.proxy().end_all(End::Rst);
        for notes in &mut scene.notes {
            let mut last = None;
            while let Some(event) = soon("an event", notes.next()).await {
                last = Some(event);
            }
            let last = last.expect("a last word");
            let error = last.error().expect("an error");
            assert_eq!((error.status(), notes.state()), (Some(403), SubscriptionState::Ended));
            assert!(error.to_string().contains("Not for you any more."), "{error}");
        }
    });
}

/// A client that was never live takes a final answer to its request for a stream for what it is.
#[test]
fn a_stream_refused_for_good_ends_in_a_state_that_says_why() {
    smol::block_on(async {
        let server = shared_server();
        let writer = server.client();
        for status in [401, 403, 404] {
            let room = new_room();
            plan_answers(&writer, &room, "connect", 1000, json!({"status": status, "message": "No."})).await;
            let client = Client::builder(&server.url()).header("X-Room", &room).build().unwrap();
            let notes = client.collection("notes").subscribe("*").start().unwrap();
            let error = soon("an answer", notes.ready()).await.unwrap_err();
            assert_eq!(error.status(), Some(status), "{error}");
            assert!(
                matches!(client.state(), State::Closed { why: Some(Error::Refused(_)) }),
                "{}",
                client.state()
            );
            assert_eq!(client.stats().connects, 1);
            // It is no grudge: the next subscription is another try.
            plan_answers(&writer, &room, "connect", 0, json!({})).await;
            let _subscription =
                soon("an answer", client.collection("notes").subscribe("*").into_future()).await.unwrap();
        }
    });
}
