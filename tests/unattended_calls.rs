//! A program with an event loop that stood still while it logged in, subscribed or sent: calls that nobody waits for, whose
//! results come through the queue.
#![cfg(all(feature = "hub", any(feature = "async-io", feature = "tokio")))]

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tidings::{
    Error, Overflow,
    blocking::{Client, Item, Tag},
    hub::{Endpoint, Hub},
};

const PATIENCE: Duration = Duration::from_secs(30);

fn start() -> (Hub, Client) {
    let hub = Hub::start().unwrap();
    let client = Client::new(&hub.url()).unwrap();
    (hub, client)
}

/// The next item.
fn next(client: &Client) -> Item {
    let mut batch = Vec::new();
    assert_eq!(client.next(&mut batch, 1, Some(PATIENCE)).unwrap(), 1, "nothing came");
    batch.pop().unwrap()
}

/// Nothing that was put into the queue before this is left in it.
fn is_quiet(client: &Client) -> bool {
    client.next(&mut Vec::new(), 1, Some(Duration::ZERO)).unwrap() == 0
}

fn tag(number: u32) -> (Tag, Weak<u32>) {
    let tag = Arc::new(number);
    let weak = Arc::downgrade(&tag);
    (tag, weak)
}

fn number(tag: Option<Tag>) -> u32 {
    *tag.unwrap().downcast::<u32>().unwrap()
}

fn submit_post(client: &Client, with: Option<Tag>) -> u64 {
    let post = client.get().unwrap().send("POST", "/api/collections/posts/records", json!({"title": "a"}));
    let call = client.call(post).unwrap();
    client.submit(call, with).unwrap()
}

#[test]
fn a_request_completes_in_the_queue_with_its_tag() {
    let (_hub, client) = start();
    let (sent, weak) = tag(7);
    let id = submit_post(&client, Some(sent));
    let Item::Completed { call, answer: Ok(answer), tag } = next(&client) else { panic!() };
    let response = answer.downcast::<tidings::Response>().unwrap();
    assert_eq!((call, response.status(), number(tag)), (id, 200, 7));
    assert!(weak.upgrade().is_none(), "nothing holds the tag any more");
    assert!(!client.cancel(id).unwrap(), "it is over");
}

#[test]
fn a_refused_login_completes_with_the_status() {
    let (_hub, client) = start();
    let users = client.get().unwrap().collection("users");
    let login = client.call(async move { users.auth_with_password("nobody", "wrong").await }).unwrap();
    client.submit(login, None).unwrap();
    let Item::Completed { answer: Err(Error::Refused(refusal)), .. } = next(&client) else { panic!() };
    assert_eq!(refusal.status(), 400);
}

#[test]
fn a_cancelled_call_leaves_nothing_in_the_queue() {
    let (_hub, client) = start();
    let (sent, weak) = tag(1);
    let id = submit_post(&client, Some(sent));
    assert!(client.cancel(id).unwrap());
    assert!(weak.upgrade().is_none());
    // What comes after it came alone.
    let after = submit_post(&client, None);
    let Item::Completed { call, .. } = next(&client) else { panic!() };
    assert_eq!(call, after);
    assert!(is_quiet(&client));
}

#[test]
fn closing_drops_the_calls_that_run() {
    let (_hub, client) = start();
    let (sent, weak) = tag(1);
    submit_post(&client, Some(sent));
    client.close();
    assert!(weak.upgrade().is_none());
    let late = client.call(async { Ok(()) }).unwrap();
    assert!(matches!(client.submit(late, None), Err(Error::Closed)));
}

/// A host's own data, whose end calls into the client.
struct Calls(Arc<Client>, Arc<AtomicU32>);

impl Drop for Calls {
    fn drop(&mut self) {
        let _ = self.0.lost(1);
        let _ = self.0.next(&mut Vec::new(), 1, Some(Duration::ZERO));
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn what_the_host_gave_is_dropped_without_a_lock_when_the_client_closes() {
    let (hub, client) = start();
    let client = Arc::new(client);
    let drops = Arc::<AtomicU32>::default();
    let tag = || -> Tag { Arc::new(Calls(client.clone(), drops.clone())) };
    let posts = || client.get().unwrap().collection("posts").subscribe("*");
    // One with nothing in its queue, one with something, one that is paused, and one that nobody has heard of.
    for _ in 0..3 {
        let (id, call) = client.subscribe_queued(posts().tagged(tag())).unwrap();
        call.wait().unwrap();
        if id % 2 == 0 {
            client.pause(id, true).unwrap();
        }
    }
    hub.publish("posts/*", json!({"action": "create", "record": {"id": "1"}}).to_string());
    client.submit_subscribe(posts(), Some(tag())).unwrap();
    client.close();
    while drops.load(Ordering::SeqCst) < 4 {
        std::thread::yield_now();
    }
    assert_eq!(Arc::strong_count(&client), 1);
}

#[test]
fn the_acknowledgement_comes_before_the_first_event() {
    let (hub, client) = start();
    let (sent, weak) = tag(3);
    let subscribe = client.get().unwrap().collection("posts").subscribe("*");
    let id = client.submit_subscribe(subscribe, Some(sent)).unwrap();
    // It is acknowledged, and there are events, before anything is taken.
    let other = client.get().unwrap().collection("posts").subscribe("*");
    client.subscribe(other).unwrap().wait().unwrap();
    for n in 0..3 {
        hub.publish("posts/*", json!({"action": "create", "record": {"id": format!("{n}")}}).to_string());
    }
    let Item::Acknowledged { subscription, tag } = next(&client) else { panic!() };
    assert_eq!((subscription, number(tag)), (id, 3));
    for n in 0..3 {
        let Item::Event { subscription, event, tag } = next(&client) else { panic!() };
        assert_eq!((subscription, number(tag)), (id, 3));
        assert_eq!(event.record_id(), Some(&*n.to_string()));
        assert_eq!(event.record_text().unwrap(), format!(r#"{{"id":"{n}"}}"#));
    }
    client.unsubscribe(id).unwrap();
    let Item::Ended { why: None, tag, .. } = next(&client) else { panic!() };
    assert_eq!(number(tag), 3);
    assert!(weak.upgrade().is_none(), "the subscription is gone, and so is its tag");
}

#[test]
fn a_refused_subscription_ends_once_and_with_the_reason() {
    let (hub, client) = start();
    hub.faults().refuse_next(Endpoint::Submit, 403, 1);
    let subscribe = client.get().unwrap().collection("posts").subscribe("*");
    let id = client.submit_subscribe(subscribe, None).unwrap();
    let Item::Ended { subscription, why: Some(Error::Refused(refusal)), .. } = next(&client) else {
        panic!()
    };
    assert_eq!((subscription, refusal.status()), (id, 403));
    assert!(is_quiet(&client));
}

#[test]
fn a_subscription_withdrawn_before_its_acknowledgement_ends_once() {
    let (_hub, client) = start();
    let subscribe = client.get().unwrap().collection("posts").subscribe("*");
    let id = client.submit_subscribe(subscribe, None).unwrap();
    client.unsubscribe(id).unwrap();
    let Item::Ended { subscription, why: None, .. } = next(&client) else { panic!() };
    assert_eq!(subscription, id);
    assert!(is_quiet(&client));
}

#[test]
fn one_that_was_started_reports_its_acknowledgement_if_asked() {
    let (_hub, client) = start();
    let posts = client.get().unwrap().collection("posts");
    let id = client.start_queued(posts.subscribe("*").acknowledged()).unwrap();
    let Item::Acknowledged { subscription, .. } = next(&client) else { panic!() };
    assert_eq!(subscription, id);
}

#[test]
fn nothing_of_an_id_is_in_the_queue_before_the_host_has_noted_it() {
    let (hub, client) = start();
    let subscribe = client.get().unwrap().collection("posts").subscribe("*");
    let (id, call) = client.subscribe_held(subscribe).unwrap();
    let held = call.wait().unwrap();
    let other = client.get().unwrap().collection("posts").subscribe("*");
    let (_, call) = client.subscribe_queued(other).unwrap();
    call.wait().unwrap();
    hub.publish("posts/*", json!({"action": "create", "record": {"id": "1"}}).to_string());
    // The other one has it.
    let Item::Event { subscription, .. } = next(&client) else { panic!() };
    assert_ne!(subscription, id);
    assert!(is_quiet(&client));
    drop(held);
    let Item::Event { subscription, .. } = next(&client) else { panic!() };
    assert_eq!(subscription, id);
}

#[test]
fn a_host_takes_from_one_subscription_and_pauses_another() {
    let (hub, client) = start();
    let subscribe = |topic: &str, queue| {
        let subscribe = client.get().unwrap().collection("posts").subscribe(topic);
        let (id, call) = client.subscribe_queued(subscribe.queue(queue, Overflow::DropOldest)).unwrap();
        call.wait().unwrap();
        id
    };
    let (slow, fast) = (subscribe("a", 2), subscribe("b", 100));
    client.pause(slow, true).unwrap();
    for n in 0..5 {
        for id in ["a", "b"] {
            let record = json!({"id": id, "n": n});
            hub.publish(&format!("posts/{id}"), json!({"action": "update", "record": record}).to_string());
        }
    }
    let mut batch = Vec::new();
    while batch.len() < 5 {
        client.next(&mut batch, 5, Some(PATIENCE)).unwrap();
    }
    let from =
        |id| move |item: &Item| matches!(item, Item::Event { subscription, .. } if *subscription == id);
    assert!(batch.iter().all(from(fast)));
    assert_eq!(client.ready(10).unwrap(), Vec::<u64>::new());
    assert!(is_quiet(&client), "what is paused does not wake");

    client.pause(slow, false).unwrap();
    assert_eq!(client.ready(10).unwrap(), [slow]);
    batch.clear();
    assert_eq!(client.take(fast, &mut batch, 10).unwrap(), 0);
    // A notice of the loss, and what the queue holds.
    assert_eq!(client.take(slow, &mut batch, 10).unwrap(), 3);
    assert_eq!(client.lost(slow).unwrap(), 3);
    assert_eq!(client.ready(10).unwrap(), Vec::<u64>::new());
    assert!(is_quiet(&client));

    client.pause(slow, true).unwrap();
    client.unsubscribe(slow).unwrap();
    let Item::Ended { subscription, .. } = next(&client) else { panic!() };
    assert_eq!(subscription, slow, "the end comes also to one that is paused");
}
