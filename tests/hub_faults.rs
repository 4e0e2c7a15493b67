//! Faults that the network and the server's payloads make, on every kind of stream.
#![cfg(feature = "hub")]

#[path = "hub_parity/plain_client.rs"]
#[expect(dead_code, reason = "the parity suite uses the rest of it")]
mod plain_client;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plain_client::{Ask, End, Stream, ask};
use serde_json::{Value, json};
use tidings::hub::{Answer, Endpoint, Hub, Strike};

const PATIENCE: Duration = Duration::from_secs(10);
const EVENTS: &str = "/api/realms/acme/apps/web/collections/posts/events";

fn start() -> Hub {
    Hub::start().expect("a hub")
}

fn submit(hub: &Hub, client_id: &str, topics: &[&str]) -> Ask<'static> {
    let body = json!({ "clientId": client_id, "subscriptions": topics });
    ask(hub.addr(), "POST", "/api/realtime").json(&body)
}

fn subscribed(hub: &Hub, topics: &[&str]) -> Stream {
    let stream = Stream::open(hub.addr());
    assert_eq!(submit(hub, &stream.client_id, topics).send().status, 204);
    stream
}

/// A stream of each kind; the plain one is at `/news`.
fn one_of_each(hub: &Hub) -> [Stream; 3] {
    let _ = hub.sse("/news");
    let open = |path| ask(hub.addr(), "GET", path).open().expect("a stream");
    [subscribed(hub, &["posts/*", "z"]), open(EVENTS), open("/news")]
}

#[test]
fn tears_a_message_within_its_chunk() {
    let hub = start();
    let streams = one_of_each(&hub);
    assert_eq!(hub.faults().truncate_streams(), 3);
    hub.publish("z", "z".repeat(500));
    hub.rustbaas_publish("posts", json!("z".repeat(500)));
    hub.sse("/news").send("z".repeat(500));
    for stream in streams {
        let mut came = String::new();
        stream.socket().read_to_string(&mut came).expect("a FIN");
        let (size, rest) = came.split_once("\r\n").expect("the size of a chunk");
        let size = usize::from_str_radix(size, 16).expect("a size");
        assert!(rest.contains("zzz") && rest.len() < size, "{} of {size} bytes", rest.len());
    }
    assert!(hub.wait_until(|stats| stats.streams == 0 && stats.sockets == 0, PATIENCE));
    // It happens once.
    let mut stream = subscribed(&hub, &["a"]);
    hub.publish("a", "whole");
    assert_eq!(stream.next().data, "whole");
}

#[test]
fn goes_silent_on_open_connections_and_works_on_new_ones() {
    let hub = start();
    let mut lost = subscribed(&hub, &["a"]);
    assert_eq!(hub.faults().half_open(), 1);
    let mut found = subscribed(&hub, &["a"]);
    assert_eq!(hub.publish("a", "news"), 2);
    assert_eq!(found.next().data, "news");
    assert!(lost.is_silent_for(Duration::from_millis(100)));
    assert_eq!(hub.stats().streams, 2, "the hub knows nothing");
    hub.faults().clear();
    assert_eq!(lost.end(), End::Reset);
    assert!(hub.wait_until(|stats| stats.streams == 1, PATIENCE));
    hub.publish("a", "more");
    assert_eq!(found.next().data, "more");
}

#[test]
fn stops_with_half_open_connections() {
    let hub = start();
    let mut lost = subscribed(&hub, &["a"]);
    hub.faults().half_open();
    let asked = Instant::now();
    hub.stop();
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert_eq!(lost.end(), End::Cut);
}

#[test]
fn spoils_payloads_on_every_kind_of_stream() {
    let hub = start();
    let idle = Stream::open(hub.addr());
    let mut streams = one_of_each(&hub);
    let prefixes = [
        format!("id:{}\nevent:posts/*\ndata:", streams[0].client_id),
        "event: record_updated\ndata: ".to_owned(),
        "event: message\ndata: ".to_owned(),
    ];
    // A stream without topics has no name to send under.
    assert_eq!((hub.faults().bad_json(), hub.faults().raw_newlines()), (3, 3));
    assert_eq!(hub.faults().huge_event(5 << 20), 3);
    for (stream, prefix) in streams.iter_mut().zip(&prefixes) {
        let payload = |raw: String| {
            let payload = raw.strip_prefix(prefix.as_str()).and_then(|raw| raw.strip_suffix("\n\n"));
            payload.unwrap_or_else(|| panic!("{prefix:?}, not {:?}", raw.get(..80))).to_owned()
        };
        let bad = payload(stream.next_raw());
        assert!(serde_json::from_str::<Value>(&bad).is_err() && !bad.contains('\n'), "{bad}");
        let broken = payload(stream.next_raw());
        assert!(broken.contains("\n\n") && broken.contains('\r'), "{broken}");
        let huge = payload(stream.next_raw());
        assert_eq!(huge.len(), 5 << 20);
        assert!(serde_json::from_str::<Value>(&huge).is_ok());
    }
    hub.publish("z", "after it");
    assert_eq!(streams[0].next().data, "after it");
    drop(idle);
}

#[test]
fn throttles_connections() {
    let hub = start();
    let mut stream = subscribed(&hub, &["a"]);
    hub.faults().throttle(20_000);
    let before = Instant::now();
    hub.publish("a", "x".repeat(10_000));
    assert_eq!(stream.next().data.len(), 10_000);
    // Half a second's worth; the last portion is not waited for.
    assert!(before.elapsed() >= Duration::from_millis(400), "{:?}", before.elapsed());
    hub.faults().throttle(0);
    let before = Instant::now();
    hub.publish("a", "x".repeat(10_000));
    assert_eq!(stream.next().data.len(), 10_000);
    assert!(before.elapsed() < Duration::from_millis(400), "{:?}", before.elapsed());
}

#[test]
fn loses_what_happens_while_topics_are_replaced() {
    let hub = start();
    let mut stream = subscribed(&hub, &["stays"]);
    hub.faults().replacement_window(Duration::from_millis(300));
    let request = submit(&hub, &stream.client_id, &["stays", "new"]);
    let answer = std::thread::spawn(move || request.send());
    assert!(hub.wait_until(|stats| stats.topics == 0, PATIENCE));
    assert_eq!(hub.publish("stays", "lost"), 0);
    assert_eq!(hub.submits().len(), 1, "not answered yet");
    assert_eq!(answer.join().expect("an answer").status, 204);
    assert_eq!((hub.stats().topics, hub.stats().accepted), (2, 2));
    assert_eq!(hub.publish("stays", "told"), 1);
    assert_eq!(stream.next().data, "told");
    // What is refused takes no topics away.
    assert_eq!(submit(&hub, "nobody", &[]).send().status, 404);
    assert_eq!(hub.stats().topics, 2);
}

#[test]
fn limits_rates_with_and_without_a_time() {
    let hub = start();
    let stream = Stream::open(hub.addr());
    hub.faults().answer_next(Endpoint::Submit, Answer::status(429).retry_after(Duration::from_secs(2)), 1);
    hub.faults().refuse_next(Endpoint::Submit, 429, 1);
    let answers = [(); 3].map(|()| submit(&hub, &stream.client_id, &["a"]).send());
    let told: Vec<_> = answers.iter().map(|answer| (answer.status, answer.header("retry-after"))).collect();
    assert_eq!(told, [(429, Some("2")), (429, None), (204, None)]);
}

/// Asks on a connection that closes, and gives the head and the body that gzip reads.
fn unzipped(hub: &Hub, path: &str, meanwhile: impl FnOnce()) -> (String, String) {
    let mut socket = TcpStream::connect(hub.addr()).expect("a connection");
    let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", hub.addr());
    socket.write_all(head.as_bytes()).expect("a request");
    meanwhile();
    let mut came = Vec::new();
    socket.read_to_end(&mut came).expect("the end");
    let split = came.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let (head, mut rest) = came.split_at(split);
    let mut zipped = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        zipped.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    let mut gzip =
        Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    gzip.stdin.take().expect("its input").write_all(&zipped).expect("its input");
    let output = gzip.wait_with_output().expect("its output");
    assert!(output.status.success());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (text(head).to_ascii_lowercase(), text(&output.stdout))
}

#[test]
fn compresses_what_nobody_asked_it_to() {
    let hub = start();
    hub.create("posts", json!({ "title": "x".repeat(100_000) }));
    hub.faults().answer_next(Endpoint::Records, Answer::gzipped(), 1);
    let (head, body) = unzipped(&hub, "/api/collections/posts/records", || {});
    assert!(head.contains("content-encoding: gzip") && head.contains("application/json"), "{head}");
    let list: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(list["items"][0]["title"].as_str().map(str::len), Some(100_000));

    hub.faults().answer_next(Endpoint::Connect, Answer::gzipped(), 1);
    let (head, body) = unzipped(&hub, "/api/realtime", || {
        assert!(hub.wait_until(|stats| stats.streams == 1, PATIENCE));
        hub.faults().end_streams();
    });
    assert!(head.contains("text/event-stream"), "{head}");
    assert!(body.contains("event:PB_CONNECT\n") && body.ends_with("\n\n"), "{body}");

    hub.faults().answer_next(Endpoint::Submit, Answer::gzipped(), 1);
    let stream = Stream::open(hub.addr());
    let answer = submit(&hub, &stream.client_id, &[]).send();
    assert_eq!((answer.status, answer.header("content-encoding")), (204, None));
}

#[test]
fn compares_addresses_unless_told_not_to() {
    for (hub, status) in [(start(), 400), (Hub::builder().any_address().start().expect("a hub"), 204)] {
        let stream = Stream::open(hub.addr());
        let answer = submit(&hub, &stream.client_id, &["a"]).from([127, 0, 0, 2]).send();
        assert_eq!(answer.status, status);
        assert_eq!(submit(&hub, &stream.client_id, &["a"]).send().status, 204);
    }
}

#[test]
fn strikes_the_same_way_again_from_the_same_seed() {
    let strikes = |seed: u64| {
        let hub = start();
        let mut storm = hub.faults().random(seed);
        (0..300).map(|_| storm.strike()).collect::<Vec<_>>()
    };
    let first = strikes(1);
    assert_eq!(first, strikes(1));
    assert_ne!(first, strikes(2));
    let kinds: HashSet<_> = first.iter().map(std::mem::discriminant).collect();
    assert_eq!(kinds.len(), 19);
}

#[test]
fn takes_every_strike_back() {
    let hub = start();
    hub.faults().life(Duration::from_secs(77));
    let before = format!("{:?}", hub.faults());
    let mut storm = hub.faults().random(3);
    for _ in 0..300 {
        // Half-open connections stay so: nothing is open here.
        let strike = storm.strike();
        let after = format!("{:?}", hub.faults());
        storm.calm();
        assert_eq!(format!("{:?}", hub.faults()), before, "after {strike:?}");
        if matches!(strike, Strike::Freeze | Strike::Delay(_) | Strike::RefuseSubmit(_)) {
            assert_ne!(after, before);
        }
    }
    storm.strike();
    drop(storm);
    assert_eq!(format!("{:?}", hub.faults()), before);
}

#[test]
fn is_well_again_after_a_storm() {
    let hub = start();
    let mut storm = hub.faults().random(4);
    for n in 0..40 {
        // Whoever is refused or hung up on comes again with the next strike.
        let open = |path| ask(hub.addr(), "GET", path).patience(Duration::from_millis(50)).open();
        let streams = [open("/api/realtime"), open(EVENTS)];
        storm.strike();
        hub.create("posts", json!({ "n": n }));
        drop(streams);
    }
    drop(storm);
    hub.faults().clear();
    let streams = one_of_each(&hub);
    hub.create("posts", json!({ "n": "last" }));
    for stream in streams.into_iter().take(2) {
        let mut stream = stream;
        let raw = stream.next_raw();
        assert!(raw.contains("\"last\""), "{raw}");
    }
    assert!(hub.wait_until(|stats| stats.sockets <= 1, PATIENCE));
}
