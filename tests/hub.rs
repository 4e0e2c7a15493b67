//! What the hub does that the real server does not: faults, observation, stopping.
#![cfg(feature = "hub")]

#[path = "hub_parity/plain_client.rs"]
#[expect(dead_code, reason = "the parity suite uses the rest of it")]
mod plain_client;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use plain_client::{Ask, End, Stream, ask};
use serde_json::json;
use tidings::hub::{Answer, Endpoint, Hub, Stats};

const PATIENCE: Duration = Duration::from_secs(10);

fn start() -> Hub {
    Hub::start().expect("a hub")
}

fn submit(hub: &Hub, client_id: &str, topics: &[&str]) -> Ask<'static> {
    let body = json!({ "clientId": client_id, "subscriptions": topics });
    ask(hub.addr(), "POST", "/api/realtime").json(&body)
}

/// A stream that is subscribed.
fn subscribed(hub: &Hub, topics: &[&str]) -> Stream {
    let stream = Stream::open(hub.addr());
    assert_eq!(submit(hub, &stream.client_id, topics).send().status, 204);
    stream
}

fn health(hub: &Hub) -> Ask<'static> {
    ask(hub.addr(), "GET", "/api/health")
}

#[test]
fn answers_only_what_was_meant_for_this_machine() {
    let hub = start();
    let port = hub.addr().port();
    let answer_to = |target: &str, hosts: &[&str]| {
        let mut socket = TcpStream::connect(hub.addr()).expect("a connection");
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        write!(socket, "GET {target} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").expect("a request");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer.split(' ').nth(1).expect("a status").to_owned()
    };
    let hosts = [format!("localhost:{port}"), format!("evil.example:{port}")];
    let [here, evil] = hosts.each_ref().map(String::as_str);
    assert_eq!(answer_to("/api/health", &[here]), "200");
    assert_eq!(answer_to("/api/health", &[&hub.addr().to_string()]), "200");
    assert_eq!(answer_to(&format!("http://{here}/api/health"), &[here]), "200");
    for hosts in [&[][..], &[evil], &["localhost"], &["localhost:1"], &[here, evil], &[evil, here]] {
        assert_eq!(answer_to("/api/health", hosts), "421", "{hosts:?}");
    }
    assert_eq!(answer_to(&format!("http://{evil}/api/health"), &[here]), "421");
    // Streams and paths of the owner's are no exception.
    let _sse = hub.sse("/mine");
    for path in ["/api/realtime", "/mine", "/api/collections/posts/records"] {
        assert_eq!(answer_to(path, &[evil]), "421", "{path}");
    }
}

#[test]
fn ends_streams_cleanly_after_what_was_queued() {
    let hub = start();
    let mut streams = [subscribed(&hub, &["a"]), subscribed(&hub, &["a"])];
    assert_eq!(hub.publish("a", "last words"), 2);
    assert_eq!(hub.faults().end_streams(), 2);
    for stream in &mut streams {
        assert_eq!(stream.next().data, "last words");
        assert_eq!(stream.end(), End::Clean);
    }
    assert!(hub.wait_until(|stats| stats.streams == 0, PATIENCE));
    // The connections stay open for another request.
    assert_eq!(hub.stats().sockets, 2);
}

#[test]
fn cuts_and_resets_streams() {
    let hub = start();
    let mut stream = subscribed(&hub, &["a"]);
    assert_eq!(hub.faults().cut_streams(), 1);
    assert_eq!(stream.end(), End::Cut);
    assert!(hub.wait_until(|stats| stats.streams == 0, PATIENCE));
    let mut stream = subscribed(&hub, &["a"]);
    assert_eq!(hub.faults().reset_streams(), 1);
    assert_eq!(stream.end(), End::Reset);
    assert!(hub.wait_until(|stats| stats.streams == 0 && stats.sockets == 0, PATIENCE));
}

#[test]
fn leaves_other_connections_alone_when_it_cuts_streams() {
    let hub = start();
    let mut ended = subscribed(&hub, &["a"]);
    hub.faults().end_streams();
    assert_eq!(ended.end(), End::Clean);
    assert_eq!(hub.faults().cut_streams(), 0);
    let other = subscribed(&hub, &["a"]);
    assert_eq!(hub.faults().reset_streams(), 1);
    drop(other);
    assert!(hub.wait_until(|stats| stats.sockets == 1, PATIENCE));
}

#[test]
fn freezes_and_thaws() {
    let hub = start();
    let mut stream = subscribed(&hub, &["a"]);
    hub.faults().freeze(true);
    assert_eq!(hub.publish("a", "late"), 1);
    assert!(stream.is_silent_for(Duration::from_millis(100)));
    let request = health(&hub);
    let answer = std::thread::spawn(move || request.send());
    // It is accepted, and not answered.
    assert!(hub.wait_until(|stats| stats.sockets == 2, PATIENCE));
    assert!(!hub.wait_until(|stats| stats.requests > 2, Duration::from_millis(100)));
    hub.faults().freeze(false);
    assert_eq!(stream.next().data, "late");
    assert_eq!(answer.join().expect("an answer").status, 200);
}

#[test]
fn refuses_the_next_requests_and_then_no_more() {
    let hub = start();
    let faults = hub.faults();
    faults.refuse_next(Endpoint::Connect, 503, 2);
    for _ in 0..2 {
        assert_eq!(Stream::open(hub.addr()).status, 503);
    }
    let stream = Stream::open(hub.addr());
    assert_eq!(stream.status, 200);

    let busy = Answer::status(429).retry_after(Duration::from_millis(1500));
    faults.answer_next(Endpoint::Submit, busy, 1);
    let answer = submit(&hub, &stream.client_id, &["a"]).send();
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("2")));
    assert_eq!(answer.body, r#"{"data":{},"message":"Too Many Requests.","status":429}"#);
    assert_eq!(submit(&hub, &stream.client_id, &["a"]).token("x").send().status, 204);
    let log: Vec<_> = hub
        .submits()
        .into_iter()
        .map(|submit| (submit.client_id, submit.topics, submit.status, submit.had_authorization))
        .collect();
    let (id, topics) = (stream.client_id.clone(), vec!["a".to_owned()]);
    assert_eq!(log, [(id.clone(), topics.clone(), 429, false), (id, topics, 204, true)]);

    faults.answer_next(Endpoint::Health, Answer::html("<p>Sign in</p>"), 1);
    let answer = health(&hub).send();
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!((answer.status, answer.body.as_str()), (200, "<p>Sign in</p>"));
    faults.answer_next(Endpoint::Connect, Answer::redirect("http://127.0.0.1:1/x"), 1);
    let redirected = Stream::open(hub.addr());
    assert_eq!(redirected.status, 307);
    assert_eq!(redirected.header("location"), Some("http://127.0.0.1:1/x"));
    faults.answer_next(Endpoint::Connect, Answer::mislabelled("text/plain"), 1);
    let mislabelled = Stream::open(hub.addr());
    assert_eq!(mislabelled.header("content-type"), Some("text/plain"));
    assert_eq!(mislabelled.client_id.len(), 40);

    faults.refuse_next(Endpoint::Health, 500, 9);
    faults.clear();
    assert_eq!(health(&hub).send().status, 200);
}

#[test]
fn hangs_up_and_keeps_silent() {
    let hub = start();
    hub.faults().answer_next(Endpoint::Health, Answer::hang_up(), 1);
    let error = health(&hub).try_send().expect_err("no answer");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    hub.faults().answer_next(Endpoint::Health, Answer::reset(), 1);
    let error = health(&hub).try_send().expect_err("no answer");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    hub.faults().answer_next(Endpoint::Connect, Answer::silence(), 1);
    let addr = hub.addr();
    let waiting = std::thread::spawn(move || Stream::try_open(addr).is_err());
    assert!(hub.wait_until(|stats| stats.connects == 1, PATIENCE));
    assert_eq!(hub.stats().streams, 0);
    // Only the hub's end frees who waits for headers that never come.
    hub.stop();
    assert!(waiting.join().expect("the reader"));
}

#[test]
fn delays_requests() {
    let hub = start();
    let delay = Duration::from_millis(500);
    hub.faults().delay(Endpoint::Health, delay);
    let before = Instant::now();
    assert_eq!(health(&hub).send().status, 200);
    assert!(before.elapsed() >= delay);
    let before = Instant::now();
    assert_eq!(Stream::open(hub.addr()).status, 200);
    assert!(before.elapsed() < delay);
}

#[test]
fn writes_every_byte_of_a_stream_by_itself() {
    let hub = start();
    let mut stream = subscribed(&hub, &["a"]);
    hub.faults().split_bytes(true);
    let payload = "x".repeat(2000);
    hub.publish("a", payload.as_str());
    let (mut reads, mut bytes) = (0, Vec::new());
    while !bytes.ends_with(b"x\n\n\r\n") {
        let mut chunk = [0; 4096];
        let n = stream.socket().read(&mut chunk).expect("a byte");
        bytes.extend_from_slice(&chunk[..n]);
        reads += 1;
    }
    // The kernel may join some; without the fault it is one read or two.
    assert!(reads > 20, "{reads} reads");
    hub.faults().split_bytes(false);
    hub.publish("a", "whole");
    assert_eq!(stream.next().data, "whole");
}

#[test]
fn limits_life_and_idleness() {
    let hub = start();
    let mut stream = subscribed(&hub, &["a"]);
    hub.faults().idle(Duration::from_millis(50));
    assert_eq!(stream.end(), End::Clean);

    hub.faults().clear();
    let mut stream = subscribed(&hub, &["a"]);
    hub.faults().life(Duration::from_millis(50));
    let before = Instant::now();
    while hub.publish("a", "busy") == 1 {
        assert!(before.elapsed() < PATIENCE, "a busy stream lives on");
        std::thread::yield_now();
    }
    assert_eq!(stream.end(), End::Clean);
}

#[test]
fn cuts_a_reader_that_stalls() {
    let hub = Hub::builder().queue(100).start().expect("a hub");
    let stalled = subscribed(&hub, &["a"]);
    let payload = vec![b'x'; 64 << 10];
    let before = Instant::now();
    while hub.stats().overflowed == 0 {
        hub.publish("a", payload.as_slice());
        assert!(before.elapsed() < PATIENCE, "the queue has no end");
    }
    assert!(hub.wait_until(|stats| stats.streams == 0, PATIENCE));
    assert_eq!(hub.stats().overflowed, 1);
    drop(stalled);
}

#[test]
fn restarts_on_the_same_port_and_forgets_clients() {
    let hub = start();
    let user = hub.add_user("users", "ann@example.com", "secret");
    let token = hub.token("users", &user, Duration::from_secs(60));
    let post = hub.create("posts", json!({ "title": "kept" }));
    let mut before = subscribed(&hub, &["posts/*"]);
    let addr = hub.addr();
    hub.restart().expect("the same port");
    assert_eq!(before.end(), End::Clean);
    assert_eq!((hub.addr(), hub.stats().streams, hub.topics().len()), (addr, 0, 0));
    assert_eq!(submit(&hub, &before.client_id, &["posts/*"]).send().status, 404);
    assert_eq!(hub.records("posts"), [post]);
    let mut after = Stream::open(addr);
    assert_ne!(after.client_id, before.client_id);
    let answer = submit(&hub, &after.client_id, &["posts/*"]).token(&token).send();
    assert_eq!(answer.status, 204);
    hub.create("posts", json!({ "title": "new" }));
    assert_eq!(after.next().value()["record"]["title"], "new");
}

#[test]
fn draws_ids_and_order_from_the_seed() {
    let run = |seed: u64| {
        let hub = Hub::builder().seed(seed).start().expect("a hub");
        let mut stream = subscribed(&hub, &["posts/*"]);
        hub.faults().reorder(8);
        for n in 0..8 {
            hub.create("posts", json!({ "n": n }));
        }
        let told: Vec<_> = (0..8).map(|_| stream.next().value()["record"]["n"].clone()).collect();
        let ids: Vec<_> = hub.records("posts").iter().map(|post| post["id"].clone()).collect();
        (stream.client_id.clone(), ids, told)
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
    let in_order: Vec<_> = (0..8).map(|n| json!(n)).collect();
    assert_ne!(first.2, in_order);
    let mut sorted = first.2;
    sorted.sort_by_key(serde_json::Value::as_u64);
    assert_eq!(sorted, in_order);
}

#[test]
fn drops_identities_silently() {
    let hub = start();
    let user = hub.add_user("users", "ann@example.com", "secret");
    hub.list_rule("notes", |request, record| record["owner"] == request.auth_id());
    let token = hub.token("users", &user, Duration::from_secs(60));
    let expired = hub.token("users", &user, Duration::ZERO);
    let mut stream = Stream::open(hub.addr());
    let with = |token: &str| submit(&hub, &stream.client_id, &["notes/*", "x"]).token(token).send();
    assert_eq!(with(&token).status, 204);
    assert_eq!(with(&expired).status, 403);
    let list = |token: &str| {
        let path = "/api/collections/notes/records";
        ask(hub.addr(), "GET", path).token(token).send().value()["totalItems"].clone()
    };
    hub.create("notes", json!({ "owner": user }));
    assert_eq!(stream.next().event, "notes/*");
    assert_eq!((list(&token), list(&expired)), (json!(1), json!(0)));
    assert!(hub.revoke(&user));
    assert!(!hub.revoke("nobody"));
    hub.create("notes", json!({ "owner": user }));
    hub.publish("x", "after it");
    assert_eq!(stream.next().event, "x");
    assert_eq!(list(&token), json!(0));
    let fresh = hub.token("users", &user, Duration::from_secs(60));
    assert_eq!(list(&fresh), json!(2));
}

#[test]
fn expands_six_relations_deep() {
    let hub = start();
    hub.relation("links", "next", "links");
    let mut id = String::new();
    for _ in 0..9 {
        let link = hub.create("links", json!({ "next": id }));
        id = link["id"].as_str().expect("an id").to_owned();
    }
    let path = format!("/api/collections/links/records/{id}?expand={}", ["next"; 8].join("."));
    let mut link = &ask(hub.addr(), "GET", &path).send().value();
    let mut depth = 0;
    while let Some(next) = link["expand"].get("next") {
        (link, depth) = (next, depth + 1);
    }
    assert_eq!(depth, 6);
}

#[test]
fn makes_collections_unless_strict() {
    let posts = |hub: &Hub, method: &'static str| {
        ask(hub.addr(), method, "/api/collections/posts/records").send().status
    };
    let hub = start();
    assert_eq!((posts(&hub, "GET"), posts(&hub, "POST")), (200, 200));
    let strict = Hub::builder().strict().start().expect("a hub");
    assert_eq!((posts(&strict, "GET"), posts(&strict, "POST")), (404, 404));
    strict.collection("posts", json!({ "title": "" }));
    assert_eq!((posts(&strict, "GET"), posts(&strict, "POST")), (200, 200));
}

#[test]
fn serves_a_thousand_streams() {
    let hub = start();
    let mut streams: Vec<_> = (0..1000).map(|_| Stream::open(hub.addr())).collect();
    for stream in &streams {
        assert_eq!(submit(&hub, &stream.client_id, &["posts/*", "all"]).send().status, 204);
    }
    let full = |stats: &Stats| stats.streams == 1000 && stats.accepted == 1000;
    assert!(hub.wait_until(full, PATIENCE));
    assert_eq!(hub.stats().topics, 2);
    hub.create("posts", json!({ "n": 1 }));
    assert_eq!(hub.publish("all", "2"), 1000);
    for stream in &mut streams {
        assert_eq!((stream.next().event, stream.next().event), ("posts/*".into(), "all".into()));
    }
    assert_eq!(hub.faults().end_streams(), 1000);
    for stream in &mut streams {
        assert_eq!(stream.end(), End::Clean);
    }
    let asked = Instant::now();
    hub.stop();
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[test]
fn plays_the_provider_of_a_login_with_oauth2() {
    let hub = start();
    hub.oauth2("users", "yes", Some("ann@example.com"));
    hub.oauth2("users", "no", None);
    let back = format!("{}/api/oauth2-redirect", hub.url());
    let go = |url: &str| {
        let path = url.strip_prefix(&hub.url()).expect("a page of the hub");
        let answer = ask(hub.addr(), "GET", path).send();
        assert_eq!(answer.status, 307, "{}", answer.body);
        answer.header("location").expect("a location").to_owned()
    };
    let methods = ask(hub.addr(), "GET", "/api/collections/users/auth-methods").send().value();
    // What a client does for each provider, in the order of their names.
    let log_in = |at: usize| {
        let mut stream = subscribed(&hub, &["@oauth2"]);
        let provider = &methods["oauth2"]["providers"][at];
        let mut url = url::Url::parse(provider["authURL"].as_str().expect("a URL")).expect("a URL");
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        url.query_pairs_mut().clear().extend_pairs(pairs.into_iter().map(|(name, value)| {
            let value = match name.as_str() {
                "state" => stream.client_id.clone(),
                "redirect_uri" => back.clone(),
                _ => value,
            };
            (name, value)
        }));
        let last = go(&go(url.as_str()));
        (stream.next().value(), provider["codeVerifier"].clone(), last)
    };
    let (told, _, last) = log_in(0);
    assert_eq!((&told["error"], &told["code"]), (&json!("access_denied"), &json!("")));
    assert!(last.ends_with("failure"), "{last}");

    let exchange = |code: &serde_json::Value, verifier: &serde_json::Value, back: &str| {
        let body = json!({ "provider": "yes", "code": code, "codeVerifier": verifier, "redirectURL": back });
        ask(hub.addr(), "POST", "/api/collections/users/auth-with-oauth2").json(&body).send()
    };
    let (told, verifier, last) = log_in(1);
    assert!(last.ends_with("success"), "{last}");
    let answer = exchange(&told["code"], &verifier, &back);
    assert_eq!((answer.status, &answer.value()["meta"]["isNew"]), (200, &json!(true)), "{}", answer.body);
    // A code is good once, with its own verifier, for its own page.
    assert_eq!(exchange(&told["code"], &verifier, &back).status, 400);
    assert_eq!(exchange(&log_in(1).0["code"], &json!("x"), &back).status, 400);
    assert_eq!(exchange(&log_in(1).0["code"], &verifier, "http://127.0.0.1:1").status, 400);
    let answer = exchange(&log_in(1).0["code"], &verifier, &back);
    assert_eq!((answer.status, &answer.value()["meta"]["isNew"]), (200, &json!(false)));
    assert_eq!(hub.records("users").len(), 1);
}
