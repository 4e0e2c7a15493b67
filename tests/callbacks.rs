//! Any call is allowed from inside any callback. Each test runs under a watchdog: a hang is a failure.
#![cfg(all(feature = "hub", feature = "async-io"))]

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tidings::{
    Action, Client, Error, Subscription,
    hub::{Endpoint, Hub},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on a thread of its own, so that a hang is a failure.
fn watched(test: impl FnOnce(&Hub, Client) + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        let hub = Hub::start().unwrap();
        let client = Client::new(&hub.url()).unwrap();
        test(&hub, client);
        done.send(()).unwrap();
    });
    match finished.recv_timeout(2 * PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => thread.join().unwrap(),
    }
}

fn post(hub: &Hub) {
    hub.create("posts", json!({"title": "x"}));
}

#[test]
fn subscribe_inside_a_callback() {
    watched(|hub, client| {
        let (send, got) = mpsc::channel();
        let inside = client.clone();
        let mut kept = Vec::new();
        let outer = client.collection("posts").subscribe("*").on(move |_| {
            let send = send.clone();
            // Waiting for the server inside the callback is slow, but it works.
            let inner = inside.collection("posts").subscribe("*").expand("x").on(move |event| {
                send.send(event.action()).unwrap();
            });
            kept.push(smol::block_on(inner.into_future()).unwrap());
        });
        let _outer = smol::block_on(outer.into_future()).unwrap();
        post(hub);
        assert!(hub.wait_until(|stats| stats.topics == 2, PATIENCE));
        post(hub);
        assert_eq!(got.recv_timeout(PATIENCE), Ok(Action::Create));
    });
}

#[test]
fn unsubscribe_itself_inside_a_callback() {
    watched(|hub, client| {
        let (send, got) = mpsc::channel();
        let own: Arc<Mutex<Option<Subscription>>> = Arc::default();
        let inside = own.clone();
        let subscribe = client.collection("posts").subscribe("*").on(move |event| {
            drop(inside.lock().unwrap().take());
            send.send(event.action()).unwrap();
        });
        *own.lock().unwrap() = Some(smol::block_on(subscribe.into_future()).unwrap());
        post(hub);
        post(hub);
        assert_eq!(got.recv_timeout(PATIENCE), Ok(Action::Create));
        assert_eq!(
            got.recv_timeout(PATIENCE),
            Err(mpsc::RecvTimeoutError::Disconnected),
            "it was called again"
        );
        assert!(hub.wait_until(|stats| stats.streams == 0, PATIENCE));
    });
}

#[test]
fn unsubscribe_everything_inside_a_callback() {
    watched(|hub, client| {
        let (send, got) = mpsc::channel();
        let inside = client.clone();
        let subscribe = client.collection("posts").subscribe("*").on(move |_| {
            send.send(inside.realtime().unsubscribe(None)).unwrap();
        });
        let _posts = smol::block_on(subscribe.into_future()).unwrap();
        let _other = smol::block_on(client.realtime().subscribe("other").into_future()).unwrap();
        post(hub);
        assert_eq!(got.recv_timeout(PATIENCE), Ok(2));
        assert!(hub.wait_until(|stats| stats.streams == 0, PATIENCE));
    });
}

#[test]
fn close_inside_a_callback_and_wait_for_it() {
    watched(|hub, client| {
        let (send, got) = mpsc::channel();
        let inside = client.clone();
        let subscribe = client.collection("posts").subscribe("*").on(move |_| {
            smol::block_on(inside.close());
            let refused = inside.collection("posts").subscribe("*").start();
            send.send(matches!(refused, Err(Error::Closed))).unwrap();
        });
        let _posts = smol::block_on(subscribe.into_future()).unwrap();
        post(hub);
        assert_eq!(got.recv_timeout(PATIENCE), Ok(true));
        assert!(hub.wait_until(|stats| stats.sockets == 0, PATIENCE));
    });
}

#[test]
fn drop_the_last_handle_inside_a_callback() {
    watched(|hub, client| {
        let held: Arc<Mutex<Option<Client>>> = Arc::default();
        let inside = held.clone();
        let (send, got) = mpsc::channel();
        let subscribe = client.collection("posts").subscribe("*").on(move |_| {
            drop(inside.lock().unwrap().take());
            send.send(()).unwrap();
        });
        smol::block_on(subscribe.into_future()).unwrap().detach();
        *held.lock().unwrap() = Some(client);
        post(hub);
        got.recv_timeout(PATIENCE).unwrap();
        assert!(hub.wait_until(|stats| stats.sockets == 0, PATIENCE));
        // The callback goes with the client, and what it owns with it.
        assert_eq!(got.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
    });
}

#[test]
fn requests_tokens_and_questions_inside_a_callback() {
    watched(|hub, client| {
        let (send, got) = mpsc::channel();
        let inside = client.clone();
        let subscribe = client.collection("posts").subscribe("*").on(move |event| {
            if event.is_notice() {
                return;
            }
            let state = inside.state();
            if event.action() == Action::Create {
                let path = format!("/api/collections/posts/records/{}", event.record_id().unwrap());
                smol::block_on(inside.send("DELETE", &path, None).into_future()).unwrap();
            }
            inside.auth().set_token("garbage").unwrap();
            inside.realtime().on_disconnect(|_| {}).unwrap();
            send.send((event.action(), state.as_str(), inside.stats().topics)).unwrap();
        });
        let _posts = smol::block_on(subscribe.into_future()).unwrap();
        post(hub);
        assert_eq!(got.recv_timeout(PATIENCE), Ok((Action::Create, "live", 1)));
        assert_eq!(got.recv_timeout(PATIENCE).unwrap().0, Action::Delete);
    });
}

#[test]
fn calls_inside_on_disconnect() {
    watched(|hub, client| {
        let (send, got) = mpsc::channel();
        let inside = client.clone();
        client
            .realtime()
            .on_disconnect(move |topics| {
                let more = inside.realtime().subscribe("more").start().unwrap();
                more.detach();
                send.send(topics.to_vec()).unwrap();
            })
            .unwrap();
        let _posts = smol::block_on(client.collection("posts").subscribe("*").into_future()).unwrap();
        hub.faults().cut_streams();
        assert_eq!(got.recv_timeout(PATIENCE).unwrap(), ["posts/*"]);
        assert!(hub.wait_until(|stats| stats.topics == 2, PATIENCE));
        smol::block_on(client.close());
    });
}

#[test]
fn a_callback_that_panics_is_counted_and_the_others_go_on() {
    watched(|hub, client| {
        let (send, got) = mpsc::channel();
        let mut calls = 0;
        let bad = client.collection("posts").subscribe("*").on(move |_| {
            calls += 1;
            send.send(calls).unwrap();
            panic!("a bug of the host");
        });
        let _bad = smol::block_on(bad.into_future()).unwrap();
        let (send, good) = mpsc::channel();
        let subscribe = client.collection("posts").subscribe("*").on(move |_| send.send(()).unwrap());
        let _good = smol::block_on(subscribe.into_future()).unwrap();
        for n in 1..=2 {
            post(hub);
            assert_eq!(got.recv_timeout(PATIENCE), Ok(n));
            good.recv_timeout(PATIENCE).unwrap();
        }
        // It tells of its call before it panics, and the panic takes its time to be printed.
        while client.stats().panics < 2 {
            thread::yield_now();
        }
        smol::block_on(client.close());
        assert_eq!(client.stats().panics, 2);
    });
}

#[test]
fn a_slow_callback_leaves_room_for_the_others_and_closing_does_not_wait_for_it() {
    watched(|hub, client| {
        let (enter, entered) = mpsc::channel();
        let (leave, left) = mpsc::channel::<()>();
        let slow = client.collection("slow").subscribe("*").on(move |_| {
            enter.send(()).unwrap();
            let _ = left.recv();
        });
        let _slow = smol::block_on(slow.into_future()).unwrap();
        let mut quick = smol::block_on(client.collection("posts").subscribe("*").into_future()).unwrap();
        hub.create("slow", json!({}));
        entered.recv_timeout(PATIENCE).unwrap();
        post(hub);
        let event = smol::block_on(futures::StreamExt::next(&mut quick)).unwrap();
        assert_eq!(event.action(), Action::Create, "the stream goes on while the callback runs");
        let started = Instant::now();
        smol::block_on(client.close());
        assert!(started.elapsed() < Duration::from_secs(1));
        leave.send(()).unwrap();
    });
}

/// What a callback borrows through its user data may go as soon as `subscribe` has failed.
#[test]
fn a_subscribe_that_fails_drops_its_callback_first_and_never_calls_it() {
    watched(|hub, client| {
        hub.faults().refuse_next(Endpoint::Submit, 400, 1000);
        for _ in 0..20 {
            let kept = Arc::new(());
            let in_callback = kept.clone();
            let subscribe = client.collection("posts").subscribe("*").on(move |event| {
                let _ = &in_callback;
                panic!("{event:?} came to a subscription that there is not");
            });
            let error = smol::block_on(subscribe.into_future()).unwrap_err();
            assert_eq!(error.status(), Some(400));
            assert_eq!(Arc::strong_count(&kept), 1, "the callback is still there");
        }
        assert_eq!(client.stats().panics, 0);
    });
}
