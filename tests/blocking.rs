//! The face for hosts that have threads and no executor. Each test runs under a watchdog: a hang is a failure.
#![cfg(all(feature = "hub", any(feature = "async-io", feature = "tokio")))]

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex, mpsc},
    task::Poll,
    thread,
    time::Duration,
};

use serde_json::json;
use tidings::{
    Action, Error, EventSource, SourceEvent, State, SubscriptionState,
    blocking::{self, Builder, Client, Item},
    hub::{Endpoint, Hub, Message},
};

const PATIENCE: Duration = Duration::from_secs(20);

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

fn listen(client: &Client, topic: &str) -> u64 {
    let subscribe = client.get().unwrap().collection("posts").subscribe(topic);
    let (id, call) = client.subscribe_queued(subscribe).unwrap();
    call.wait().unwrap();
    id
}

/// The next items, until `wanted` have come.
fn take(client: &Client, wanted: usize) -> Vec<Item> {
    let mut batch = Vec::new();
    while batch.len() < wanted {
        let room = wanted - batch.len();
        assert_ne!(client.next(&mut batch, room, Some(PATIENCE)).unwrap(), 0, "nothing came");
    }
    batch
}

fn nothing(client: &Client) -> bool {
    client.next(&mut Vec::new(), 1, Some(Duration::ZERO)).unwrap() == 0
}

#[test]
fn one_queue_has_the_events_of_all_subscriptions_each_with_its_id() {
    watched(|hub, client| {
        let everything = listen(&client, "*");
        let one = listen(&client, "record000000abc");
        assert_ne!(everything, one);
        hub.create("posts", json!({"id": "record000000abc", "title": "x"}));
        hub.create("posts", json!({"id": "record000000xyz", "title": "y"}));
        let mut seen: HashMap<u64, Vec<String>> = HashMap::new();
        for item in take(&client, 3) {
            let Item::Event { subscription, event, .. } = item else { panic!("{item:?}") };
            seen.entry(subscription).or_default().push(event.record_id().unwrap().to_owned());
        }
        assert_eq!(seen[&everything], ["record000000abc", "record000000xyz"]);
        assert_eq!(seen[&one], ["record000000abc"]);
        assert!(nothing(&client));
    });
}

#[test]
fn the_end_is_the_last_item_of_a_subscription_and_comes_once() {
    watched(|hub, client| {
        let id = listen(&client, "*");
        hub.create("posts", json!({"title": "x"}));
        while client.get().unwrap().stats().delivered == 0 {
            thread::yield_now();
        }
        // What waits for a host that does not want it any more goes.
        client.unsubscribe(id).unwrap();
        client.unsubscribe(id).unwrap();
        let items = take(&client, 1);
        let [Item::Ended { subscription, why: None, .. }] = &items[..] else { panic!("{items:?}") };
        assert_eq!(*subscription, id);
        assert!(nothing(&client));
        assert_eq!(client.subscription_state(id).unwrap(), SubscriptionState::Ended);
        assert_eq!(client.lost(id).unwrap(), 0);
    });
}

#[test]
fn a_refusal_is_told_before_the_end() {
    watched(|hub, client| {
        let id = listen(&client, "*");
        assert_eq!(client.subscription_state(id).unwrap(), SubscriptionState::Live);
        hub.faults().refuse_next(Endpoint::Submit, 403, 1000);
        hub.faults().end_streams();
        let mut seen = Vec::new();
        while !matches!(seen.last(), Some(Item::Ended { .. })) {
            seen.extend(take(&client, 1));
        }
        let [.., Item::Event { event, .. }, Item::Ended { why: Some(why), .. }] = &seen[..] else {
            panic!("{seen:?}")
        };
        assert_eq!((event.action(), why.status()), (Action::Refused, Some(403)));
    });
}

#[test]
fn a_backlog_does_not_keep_the_others_waiting() {
    watched(|hub, client| {
        let noisy = listen(&client, "*");
        for n in 0..500 {
            hub.create("posts", json!({"title": n}));
        }
        let quiet = listen(&client, "record000000abc");
        hub.create("posts", json!({"id": "record000000abc", "title": "x"}));
        while client.get().unwrap().stats().delivered < 502 {
            thread::yield_now();
        }
        // It may be lined up a moment after it was counted.
        let batch = take(&client, 400);
        let of = |id| {
            batch
                .iter()
                .filter(move |item| matches!(item, Item::Event { subscription, .. } if *subscription == id))
        };
        assert_eq!((of(noisy).count(), of(quiet).count()), (399, 1));
    });
}

#[test]
fn close_wakes_whoever_waits() {
    watched(|_, client| {
        let id = listen(&client, "*");
        let client = Arc::new(client);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let client = client.clone();
                thread::spawn(move || client.next(&mut Vec::new(), 1, None))
            })
            .collect();
        client.close();
        for waiting in waiting {
            assert!(matches!(waiting.join().unwrap(), Err(Error::Closed)));
        }
        assert!(matches!(client.next(&mut Vec::new(), 1, None), Err(Error::Closed)));
        assert!(matches!(client.get().unwrap().state(), State::Closed { why: None }));
        client.unsubscribe(id).unwrap();
        client.close();
    });
}

#[cfg(unix)]
#[test]
fn the_descriptor_is_readable_exactly_while_next_would_not_wait() {
    use std::os::fd::{AsFd, AsRawFd};
    watched(|hub, client| {
        let descriptor = client.descriptor().unwrap();
        let again = client.descriptor().unwrap();
        assert_eq!(again.as_raw_fd(), descriptor.as_raw_fd(), "it is one for the life of the client");
        let readable = |patience| is_readable(descriptor.as_fd(), patience);
        let id = listen(&client, "*");
        // The word of the server wakes nobody: there is nothing to take.
        assert!(!readable(Duration::ZERO));
        for n in 0..300 {
            hub.create("posts", json!({"title": n}));
        }
        let mut left = 300;
        while left > 0 {
            assert!(readable(PATIENCE), "{left} are left");
            left -= client.next(&mut Vec::new(), 7, Some(Duration::ZERO)).unwrap();
        }
        assert!(!readable(Duration::ZERO));
        client.unsubscribe(id).unwrap();
        assert!(readable(Duration::ZERO), "the end is an item");
        take(&client, 1);
        assert!(!readable(Duration::ZERO));
        client.close();
        assert!(readable(Duration::ZERO), "next says at once that the client is closed");
    });
}

/// Whether a descriptor becomes readable in time, without reading from it.
#[cfg(unix)]
fn is_readable(descriptor: std::os::fd::BorrowedFd<'_>, patience: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let patience = patience.try_into().unwrap();
    poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&patience)).unwrap() == 1
}

#[test]
fn a_call_can_be_waited_for_in_slices() {
    watched(|hub, client| {
        hub.faults().delay(Endpoint::Records, Duration::from_millis(300));
        let request = client.get().unwrap().send("GET", "/api/collections/posts/records", None);
        let mut call = client.call(request).unwrap();
        assert!(call.wait_for(Duration::from_millis(1)).is_none());
        let answer = loop {
            if let Some(answer) = call.wait_for(Duration::from_millis(20)) {
                break answer;
            }
        };
        assert_eq!(answer.unwrap().status(), 200);
    });
}

#[test]
fn a_call_can_be_polled_by_one_who_waits_for_the_queue_alone() {
    watched(|_, client| {
        let subscribe = client.get().unwrap().collection("posts").subscribe("*");
        let (id, mut call) = client.subscribe_queued(subscribe).unwrap();
        let answer = loop {
            if let Some(answer) = call.poll_queued(7) {
                break answer;
            }
            assert!(matches!(take(&client, 1)[..], [Item::Woken(7)]));
        };
        answer.unwrap();
        assert_eq!(client.subscription_state(id).unwrap(), SubscriptionState::Live);
    });
}

#[test]
fn a_subscribe_that_fails_leaves_nothing_in_the_queue() {
    watched(|hub, client| {
        hub.faults().refuse_next(Endpoint::Submit, 400, 1000);
        let subscribe = client.get().unwrap().collection("posts").subscribe("*");
        let (_, call) = client.subscribe_queued(subscribe).unwrap();
        assert_eq!(call.wait().unwrap_err().status(), Some(400));
        assert!(nothing(&client), "an item of a subscription that there is not");
        hub.faults().clear();
        hub.faults().delay(Endpoint::Submit, PATIENCE);
        let subscribe = client.get().unwrap().collection("posts").subscribe("*");
        let (_, call) = client.subscribe_queued(subscribe.timeout(Duration::from_millis(50))).unwrap();
        call.wait().unwrap_err();
        assert!(nothing(&client), "an item of a subscription that there is not");
    });
}

#[test]
fn a_subscription_can_be_read_by_itself() {
    watched(|hub, client| {
        let subscribe = client.get().unwrap().collection("posts").subscribe("*");
        let mut posts = client.subscribe(subscribe).unwrap().wait().unwrap();
        assert!(matches!(posts.next(Some(Duration::from_millis(1))), Ok(Poll::Pending)));
        hub.create("posts", json!({"title": "x"}));
        assert!(matches!(posts.next(None), Ok(Poll::Ready(Some(event))) if event.action() == Action::Create));
        for _ in 0..2 {
            assert!(matches!(posts.poll_queued(3), Ok(Poll::Pending)));
            hub.create("posts", json!({"title": "x"}));
            assert!(matches!(take(&client, 1)[..], [Item::Woken(3)]));
            assert!(matches!(posts.poll_queued(3), Ok(Poll::Ready(Some(_)))));
        }
        client.unsubscribe(posts.id().unwrap()).unwrap();
        assert!(matches!(posts.next(None), Ok(Poll::Ready(None))));
    });
}

#[test]
fn a_dropped_call_withdraws_its_subscription() {
    watched(|hub, client| {
        hub.faults().freeze(true);
        let subscribe = client.get().unwrap().collection("posts").subscribe("*");
        let (_, mut call) = client.subscribe_queued(subscribe).unwrap();
        assert!(call.wait_for(Duration::from_millis(10)).is_none());
        assert_eq!(client.get().unwrap().stats().listeners, 1);
        drop(call);
        assert_eq!(client.get().unwrap().stats().listeners, 0);
    });
}

#[test]
fn any_call_inside_a_callback_that_goes_by_id() {
    watched(|hub, client| {
        let client = Arc::new(client);
        let inside = Arc::downgrade(&client);
        let own = Arc::new(Mutex::new(0));
        let (send, got) = mpsc::channel();
        let subscribe = client.get().unwrap().collection("posts").subscribe("*").on({
            let own = own.clone();
            move |_| {
                let client = inside.upgrade().unwrap();
                let inner = listen(&client, "record000000abc");
                client.unsubscribe(inner).unwrap();
                take(&client, 1);
                client.unsubscribe(*own.lock().unwrap()).unwrap();
                client.close();
                send.send(()).unwrap();
            }
        });
        let (id, call) = client.subscribe_queued(subscribe).unwrap();
        call.wait().unwrap();
        *own.lock().unwrap() = id;
        hub.create("posts", json!({"title": "x"}));
        got.recv_timeout(PATIENCE).unwrap();
    });
}

#[test]
fn eight_threads_use_one_client() {
    watched(|hub, client| {
        thread::scope(|scope| {
            for n in 0..8 {
                let client = &client;
                scope.spawn(move || {
                    for round in 0..25 {
                        let id = listen(client, &format!("t{n}x{round}"));
                        client.unsubscribe(id).unwrap();
                    }
                });
            }
        });
        let ended = take(&client, 200);
        assert!(ended.iter().all(|item| matches!(item, Item::Ended { why: None, .. })));
        assert!(hub.wait_until(|stats| stats.streams == 0, PATIENCE));
    });
}

#[test]
fn changes_of_the_connection_come_in_the_queue_for_who_wants_them() {
    watched(|hub, _| {
        let client = Builder::from(tidings::Client::builder(&hub.url())).notices().build().unwrap();
        listen(&client, "*");
        let state = |client: &Client, wanted: &str| {
            loop {
                if let Item::State(state) = take(client, 1).remove(0)
                    && state.as_str() == wanted
                {
                    break;
                }
            }
        };
        state(&client, "live");
        hub.faults().cut_streams();
        loop {
            if let Item::Disconnected(topics) = take(&client, 1).remove(0) {
                assert_eq!(topics, ["posts/*"]);
                break;
            }
        }
        state(&client, "live");
    });
}

#[test]
fn changes_of_the_state_come_to_a_callback() {
    watched(|hub, client| {
        let (send, got) = mpsc::channel();
        client.on_state(move |state| send.send(state.as_str()).unwrap()).unwrap();
        listen(&client, "*");
        let mut seen = Vec::new();
        while seen.last() != Some(&"live") {
            seen.push(got.recv_timeout(PATIENCE).unwrap());
        }
        assert_eq!(seen, ["connecting", "live"]);
        assert!(hub.stats().streams == 1);
    });
}

#[test]
fn a_handler_that_owns_its_client_goes_when_the_client_is_closed() {
    watched(|_, client| {
        let client = Arc::new(client);
        let inside = client.clone();
        client.on_state(move |_| drop(inside.get().unwrap().state())).unwrap();
        let inside = client.clone();
        let realtime = client.get().unwrap().realtime();
        realtime.on_disconnect(move |_| drop(inside.get().unwrap().state())).unwrap();
        client.close();
        assert_eq!(Arc::strong_count(&client), 1);
    });
}

#[test]
fn a_provider_may_block_and_use_the_client() {
    watched(|hub, _| {
        hub.add_user("users", "ann@example.com", "secret");
        let place: Arc<Mutex<Option<Arc<Client>>>> = Arc::default();
        let inside = place.clone();
        let builder = Builder::from(tidings::Client::builder(&hub.url())).token_provider(move || {
            let client = inside.lock().unwrap().clone().unwrap();
            let body = json!({"identity": "ann@example.com", "password": "secret"});
            let path = "/api/collections/users/auth-with-password";
            let answer = client.call(client.get()?.send("POST", path, body))?.wait()?;
            Ok::<_, Error>(answer.json::<serde_json::Value>()?["token"].as_str().map(Into::into))
        });
        let client = Arc::new(builder.build().unwrap());
        *place.lock().unwrap() = Some(client.clone());
        listen(&client, "*");
        assert!(client.get().unwrap().auth().is_valid());
        client.close();
        place.lock().unwrap().take();
    });
}

#[test]
fn a_token_can_be_asked_for_through_the_queue() {
    watched(|hub, _| {
        let ann = hub.add_user("users", "ann@example.com", "secret");
        let token = hub.token("users", &ann, Duration::from_secs(600));
        let client = Builder::from(tidings::Client::builder(&hub.url())).token_requests().build().unwrap();
        let subscribe = client.get().unwrap().collection("posts").subscribe("*");
        let (_, call) = client.subscribe_queued(subscribe).unwrap();
        let Item::TokenWanted(request) = take(&client, 1).remove(0) else { panic!("it asks for a token") };
        request.answer(Ok(Some(token.clone())));
        call.wait().unwrap();
        assert_eq!(client.get().unwrap().auth().token(), Some(token));
    });
}

#[test]
fn a_token_request_that_is_dropped_is_a_failure_that_says_so() {
    watched(|hub, _| {
        let client = Builder::from(tidings::Client::builder(&hub.url())).token_requests().build().unwrap();
        let subscribe = client.get().unwrap().collection("posts").subscribe("*");
        let (_, call) = client.subscribe_queued(subscribe).unwrap();
        drop(take(&client, 1));
        let error = call.wait().unwrap_err();
        assert!(matches!(error, Error::TokenProvider(_)), "{error:?}");
    });
}

#[test]
fn an_event_source_reads_ahead_no_further_than_it_says() {
    watched(|_, _| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let source =
            blocking::EventSource::new(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let mut socket = listener.accept().unwrap().0;
        assert!(socket.read(&mut [0; 4096]).unwrap() > 0);
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").unwrap();
        // What is not read has no place but the buffers of the two sockets.
        socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let event = format!("data: {}\n\n", "x".repeat(100_000));
        let written = (0..1000).take_while(|_| socket.write_all(event.as_bytes()).is_ok()).count();
        assert!(written < 500, "{written}");
        assert!(matches!(source.next(None), Ok(Poll::Ready(Some(SourceEvent::Open(_))))));
        for _ in 0..written {
            assert!(matches!(source.next(None), Ok(Poll::Ready(Some(SourceEvent::Message(_))))));
        }
    });
}

#[test]
fn an_event_source_gives_every_event_and_its_id() {
    watched(|hub, _| {
        let endpoint = hub.sse("/ticks");
        let source = blocking::EventSource::new(&format!("{}/ticks", hub.url())).unwrap();
        let next = || match source.next(Some(PATIENCE)).unwrap() {
            Poll::Ready(event) => event,
            Poll::Pending => panic!("nothing came"),
        };
        assert!(matches!(next(), Some(SourceEvent::Open(_))));
        assert!(source.state().unwrap().is_live());
        assert!(matches!(source.next(Some(Duration::from_millis(1))), Ok(Poll::Pending)));
        for n in 0..1000 {
            endpoint.send(Message::data(n.to_string()).id(n.to_string()));
        }
        for n in 0..1000 {
            let Some(SourceEvent::Message(message)) = next() else { panic!("no message {n}") };
            assert_eq!(
                (message.data(), &*source.last_event_id().unwrap()),
                (&*n.to_string(), &*n.to_string())
            );
        }
        source.close();
        assert!(matches!(source.next(None), Ok(Poll::Ready(None))));
        assert_eq!(source.last_event_id().unwrap(), "999");
        assert!(source.state().unwrap().is_closed());
    });
}

#[test]
fn an_event_source_tells_its_end_once() {
    watched(|hub, _| {
        let builder = EventSource::builder(&format!("{}/nowhere", hub.url()));
        let source = blocking::EventSource::build(builder).unwrap();
        let Ok(Poll::Ready(Some(SourceEvent::Closed { why: Some(why) }))) = source.next(Some(PATIENCE))
        else {
            panic!("it ends with a reason")
        };
        assert_eq!(why.status(), Some(404));
        assert!(matches!(source.next(None), Ok(Poll::Ready(None))));
    });
}

#[test]
fn closing_an_event_source_wakes_whoever_waits() {
    watched(|hub, _| {
        let _endpoint = hub.sse("/ticks");
        let source = Arc::new(blocking::EventSource::new(&format!("{}/ticks", hub.url())).unwrap());
        assert!(matches!(source.next(Some(PATIENCE)), Ok(Poll::Ready(Some(SourceEvent::Open(_))))));
        let waiting = {
            let source = source.clone();
            thread::spawn(move || matches!(source.next(None), Ok(Poll::Ready(None))))
        };
        source.close();
        assert!(waiting.join().unwrap());
    });
}

#[test]
fn a_token_request_may_be_kept_and_answered_later() {
    watched(|hub, _| {
        let ann = hub.add_user("users", "ann@example.com", "secret");
        let token = hub.token("users", &ann, Duration::from_secs(600));
        let (ask, asked) = mpsc::channel();
        let client = Builder::from(tidings::Client::builder(&hub.url()))
            .on_token_request(move |request| ask.send(request).unwrap())
            .build()
            .unwrap();
        let subscribe = client.get().unwrap().collection("posts").subscribe("*");
        let (_, call) = client.subscribe_queued(subscribe).unwrap();
        asked.recv_timeout(PATIENCE).unwrap().answer(Ok(Some(token.clone())));
        call.wait().unwrap();
        assert_eq!(client.get().unwrap().auth().token(), Some(token));
    });
}

#[test]
fn a_callback_knows_its_id_with_the_first_event() {
    watched(|hub, client| {
        let (tell, told) = mpsc::channel();
        let subscribe = client
            .get()
            .unwrap()
            .collection("posts")
            .subscribe("*")
            .on_with_id(move |id, event| tell.send((id, event)).unwrap());
        let (id, call) = client.subscribe_queued(subscribe).unwrap();
        call.wait().unwrap();
        hub.create("posts", json!({"title": "x"}));
        let (told, event) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!((told, event.action()), (id, Action::Create));
        assert_ne!(id, 0);
    });
}

#[test]
fn a_request_may_have_a_body_of_any_kind() {
    watched(|hub, client| {
        let request = client.get().unwrap().send("POST", "/api/custom", None);
        let _ = client.call(request.body(*b"\0\xff", "application/octet-stream")).unwrap().wait();
        let seen = hub.requests().pop().unwrap();
        assert_eq!(seen.body, b"\0\xff");
        assert_eq!(seen.header("content-type"), Some("application/octet-stream"));
    });
}

#[test]
fn a_view_is_read_and_proven_by_a_thread_and_ended_by_another() {
    watched(|hub, client| {
        hub.create("tasks", json!({"title": "a"}));
        let tasks = client.get().unwrap().collection("tasks");
        let mut view = client.watch(tasks.watch().sort("title")).unwrap().wait().unwrap();
        assert!(view.status().unwrap().is_proven());
        assert_eq!(view.rows().unwrap().len(), 1);
        hub.create("tasks", json!({"title": "b"}));
        view.prove().unwrap().wait().unwrap();
        let titles: Vec<_> = view.rows().unwrap().iter().map(|row| row.json()["title"].clone()).collect();
        assert_eq!(titles, ["a", "b"]);
        let taken = view.next(None).unwrap();
        assert!(matches!(&taken, Poll::Ready(Some(changes)) if changes.rows().len() == 2), "{taken:?}");
        let other = view.another();
        let waiting =
            std::thread::spawn(move || while let Poll::Ready(Some(_)) = view.next(None).unwrap() {});
        other.close().unwrap();
        waiting.join().unwrap();
        assert!(matches!(other.error().unwrap(), Some(tidings::Error::Closed)));
        assert_eq!(other.rows().unwrap().len(), 2);
    });
}
