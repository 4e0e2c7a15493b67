//! No event is lost while the set of topics changes, though the server forgets all topics for a moment then.
#![cfg(all(feature = "hub", feature = "async-io"))]

mod real;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::future::join_all;
use real::{PATIENCE, PocketBase, create, soon};
use serde_json::json;
use tidings::{Action, Client, Subscription, hub::Hub};

/// The next event, which is no notice, as text.
async fn next(subscription: &mut Subscription) -> String {
    let event = soon("an event", subscription.next()).await.expect("the stream goes on");
    assert!(!event.is_notice(), "{event:?}");
    String::from_utf8_lossy(event.raw()).into_owned()
}

/// A client with a subscription that has just had an event.
async fn busy(hub: &Hub) -> (Client, Subscription) {
    let client = Client::new(&hub.url()).unwrap();
    let mut jobs = client.realtime().subscribe("jobs").await.unwrap();
    hub.publish("jobs", "0");
    assert_eq!(next(&mut jobs).await, "0");
    (client, jobs)
}

#[test]
fn what_happens_while_the_server_replaces_the_topics_arrives_once() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let (client, mut jobs) = busy(&hub).await;
        hub.faults().replacement_window(Duration::from_millis(200));
        for round in 1..=4 {
            let news = client.realtime().subscribe(&format!("news/{round}")).start().unwrap();
            // In the window: the submit has come and is not answered.
            assert!(hub.wait_until(|stats| stats.submits == round + 1, PATIENCE));
            hub.publish("jobs", round.to_string());
            soon("the answer", news.ready()).await.unwrap();
            hub.publish("jobs", format!("{round} and after"));
            assert_eq!(next(&mut jobs).await, round.to_string());
            assert_eq!(next(&mut jobs).await, format!("{round} and after"));
            news.detach();
        }
        assert!(client.stats().hand_overs > 0);
        assert_eq!(hub.stats().connects, 2, "they took turns");
        assert!(hub.wait_until(|stats| stats.streams == 1, PATIENCE), "one of them was let go");
        hub.publish("jobs", "last");
        assert_eq!(next(&mut jobs).await, "last");
    });
}

#[test]
fn equal_messages_are_delivered_as_often_as_they_were_sent() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let (client, mut jobs) = busy(&hub).await;
        client.realtime().subscribe("news").await.unwrap().detach();
        for _ in 0..5 {
            hub.publish("jobs", "tick");
        }
        hub.publish("jobs", "end");
        for _ in 0..5 {
            assert_eq!(next(&mut jobs).await, "tick");
        }
        assert_eq!(next(&mut jobs).await, "end");
        // Behind all copies.
        hub.publish("jobs", "fence");
        assert_eq!(next(&mut jobs).await, "fence");
        assert_eq!(client.stats().hand_overs, 1);
    });
}

#[test]
fn a_set_that_changes_in_silence_costs_no_second_stream() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = Client::new(&hub.url()).unwrap();
        let _jobs = client.realtime().subscribe("jobs").await.unwrap();
        let _news = client.realtime().subscribe("news").await.unwrap();
        assert_eq!((client.stats().hand_overs, hub.stats().connects), (0, 1));
    });
}

#[test]
fn where_there_is_no_second_stream_to_be_had_the_first_one_does() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let (client, mut jobs) = busy(&hub).await;
        hub.faults().refuse_next(tidings::hub::Endpoint::Connect, 503, 1);
        let mut news = client.realtime().subscribe("news").await.unwrap();
        hub.publish("news", "1");
        hub.publish("jobs", "1");
        assert_eq!(next(&mut news).await, "1");
        assert_eq!(next(&mut jobs).await, "1");
        assert!(client.state().is_live());
        // A topic that the server does not take is told to its caller, and to nobody else.
        let (client, mut jobs) = busy(&hub).await;
        hub.faults().refuse_next(tidings::hub::Endpoint::Submit, 400, 2);
        let refused = client.realtime().subscribe("bad").await.unwrap_err();
        assert_eq!(refused.status(), Some(400));
        hub.publish("jobs", "2");
        assert_eq!(next(&mut jobs).await, "2");
        assert!(client.state().is_live());
    });
}

/// With many topics the real server takes long enough to replace them that events fall into it.
#[test]
fn the_real_server_loses_nothing_beside_changes_of_the_set() {
    const WRITERS: usize = 3;
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("posts", &["title"], &[], "").await;
        let client = server.client();
        let mut posts = client.collection("posts").subscribe("*").await.unwrap();
        let realtime = client.realtime();
        join_all((0..800).map(|n| realtime.subscribe(&format!("jobs/{n}")).into_future()))
            .await
            .into_iter()
            .for_each(|job| job.unwrap().detach());
        let is_over = AtomicBool::new(false);
        let write = async |n: usize| {
            let writer = server.client();
            let mut written = 0;
            while !is_over.load(Ordering::SeqCst) {
                create(&writer, "posts", json!({"title": format!("{n}/{written}")})).await;
                written += 1;
            }
            written
        };
        let change = async {
            let mut extra = Vec::new();
            for n in 0..150 {
                extra.push(
                    soon(
                        "the answer",
                        client.collection("posts").subscribe(&format!("record{n:09}")).into_future(),
                    )
                    .await
                    .unwrap(),
                );
                if n % 3 == 2 {
                    extra.drain(..2).for_each(drop);
                }
            }
            is_over.store(true, Ordering::SeqCst);
        };
        let (written, ()) = futures::join!(join_all((0..WRITERS).map(write)), change);
        let written: usize = written.into_iter().sum();
        let mut seen = BTreeMap::new();
        while seen.len() < written {
            let event = soon("an event", posts.next()).await.unwrap();
            assert_eq!(event.action(), Action::Create, "{event:?}");
            *seen.entry(event.record_id().unwrap().to_owned()).or_insert(0) += 1;
        }
        assert!(seen.values().all(|times| *times == 1));
        let stats = client.stats();
        eprintln!(
            "{written} events beside {} changes of the set, {} streams",
            stats.hand_overs, stats.connects
        );
        assert!(stats.hand_overs > 50, "{stats:?}");
        assert_eq!(stats.disconnects, Default::default());
    });
}
