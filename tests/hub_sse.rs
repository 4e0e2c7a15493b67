//! The hub's plain event streams, and its log of requests.
#![cfg(feature = "hub")]

#[path = "hub_parity/plain_client.rs"]
#[expect(dead_code, reason = "the parity suite uses the rest of it")]
mod plain_client;

use std::time::Duration;

use plain_client::{Ask, End, Stream, ask};
use tidings::hub::{Answer, Endpoint, Hub, Message, Seen};

const PATIENCE: Duration = Duration::from_secs(10);

fn get(hub: &Hub) -> Ask<'static> {
    ask(hub.addr(), "GET", "/news")
}

fn open(request: Ask<'_>) -> Stream {
    request.open().expect("a stream")
}

#[test]
fn sends_each_field_as_it_was_given() {
    let hub = Hub::start().expect("a hub");
    let news = hub.sse("/news");
    assert_eq!((news.url(), news.send("lost")), (format!("{}/news", hub.url()), 0));
    let mut streams = [open(get(&hub)), open(get(&hub).header("accept", "text/event-stream"))];
    assert_eq!((streams[0].status, streams[0].header("content-type")), (200, Some("text/event-stream")));
    let whole =
        Message::data("two\nlines").event("note").id("7").retry(Duration::from_millis(1500)).comment("x\ny");
    for (message, wire) in [
        (Message::from("plain"), "data: plain\n\n"),
        (whole, ": x\n: y\nretry: 1500\nid: 7\nevent: note\ndata: two\ndata: lines\n\n"),
        (Message::new().retry(Duration::ZERO), "retry: 0\n\n"),
        (Message::data("").id(""), "id: \ndata: \n\n"),
    ] {
        assert_eq!(news.send(message), 2);
        for stream in &mut streams {
            assert_eq!(stream.next_raw(), wire);
        }
    }
    assert_eq!(news.send_raw("data: torn\r"), 2);
    assert_eq!(streams[0].next_raw(), "data: torn\r");
    assert_eq!(hub.sse("/other").send("elsewhere"), 0);
    assert_eq!((news.streams(), hub.stats().streams, hub.stats().connects), (2, 2, 2));
    assert_eq!(news.end_streams(), 2);
    assert_eq!(streams[0].end(), End::Clean);
}

#[test]
fn replays_what_was_sent_after_the_last_id() {
    let hub = Hub::start().expect("a hub");
    let news = hub.sse("/news");
    for id in ["1", "2", "3"] {
        news.send(Message::data(format!("news {id}")).id(id));
        news.send("without an id");
    }
    let after = |id: &str| open(get(&hub).header("last-event-id", id));
    let mut stream = after("1");
    assert_eq!(stream.next_raw(), "id: 2\ndata: news 2\n\n");
    assert_eq!(stream.next_raw(), "id: 3\ndata: news 3\n\n");
    // Nothing is replayed to who has all, or names no id.
    let mut others = [after("3"), after(""), open(get(&hub))];
    news.keep(2);
    let mut behind = after("x");
    assert_eq!(behind.next_raw(), "id: 2\ndata: news 2\n\n", "an id forgotten: all that is kept");
    news.send(Message::data("news 4").id("4"));
    for stream in &mut others {
        assert_eq!(stream.next_raw(), "id: 4\ndata: news 4\n\n");
    }
    let mut lost = after("1");
    assert_eq!(lost.next_raw(), "id: 3\ndata: news 3\n\n");
    // The same path is the same stream.
    assert_eq!(hub.sse("/news").streams(), 6);
}

#[test]
fn remembers_what_was_asked() {
    let hub = Hub::start().expect("a hub");
    let news = hub.sse("/news");
    let request = ask(hub.addr(), "REPORT", "/news?a=%20b").token("secret");
    let stream = open(request.raw("application/json", r#"{"watch":"all"}"#));
    assert_eq!(stream.status, 200);
    assert_eq!(ask(hub.addr(), "GET", "/api/health").send().status, 200);
    let seen = news.requests();
    assert_eq!((seen.len(), hub.requests().len()), (1, 2));
    let [request] = &seen[..] else { panic!("one request") };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("REPORT", "/news"));
    assert_eq!(request.query.as_deref(), Some("a=%20b"));
    assert_eq!((request.header("Authorization"), request.header("last-event-id")), (Some("secret"), None));
    assert_eq!(request.body, br#"{"watch":"all"}"#);
    assert!(request.headers().any(|header| header == ("content-type", b"application/json")));
    assert!(!format!("{request:?}").contains("secret"));
    assert_eq!(hub.requests()[1].path, "/api/health");
}

#[test]
fn gives_planned_answers_at_one_path_or_at_all() {
    let hub = Hub::start().expect("a hub");
    let (old, new) = (hub.sse("/news"), hub.sse("/new"));
    old.answer_next(Answer::redirect(&new.url()), 1);
    old.answer_next(Answer::status(204), 1);
    hub.faults().refuse_next(Endpoint::Sse, 503, 1);
    assert_eq!(open(ask(hub.addr(), "GET", "/new")).status, 503);
    let redirected = open(get(&hub));
    assert_eq!((redirected.status, redirected.header("location")), (307, Some(new.url().as_str())));
    assert_eq!((open(get(&hub)).status, open(get(&hub)).status), (204, 200));
}

#[test]
fn suffers_the_faults_of_every_stream() {
    let hub = Hub::start().expect("a hub");
    let news = hub.sse("/news");
    let mut stream = open(get(&hub));
    assert_eq!(hub.faults().cut_streams(), 1);
    assert_eq!(stream.end(), End::Cut);
    assert!(hub.wait_until(|stats| stats.streams == 0, PATIENCE));
    let mut stream = open(get(&hub));
    hub.faults().idle(Duration::from_millis(20));
    assert_eq!(stream.end(), End::Clean);
    assert!(hub.wait_until(|stats| stats.streams == 0, PATIENCE));
    assert_eq!(news.streams(), 0);
}

#[test]
fn forgets_the_oldest_requests() {
    let hub = Hub::start().expect("a hub");
    let news = hub.sse("/news");
    for n in 0..3 {
        let request = ask(hub.addr(), "POST", "/news").header("n", &n.to_string());
        assert_eq!(open(request.raw("text/plain", vec![b'x'; 7 << 20])).status, 200);
    }
    let kept =
        |seen: Vec<Seen>| seen.iter().filter_map(|r| r.header("n").map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(
        (kept(news.requests()), kept(hub.requests())),
        (vec!["1".into(), "2".into()], vec!["1".into(), "2".into()])
    );
    for _ in 0..1024 {
        assert_eq!(ask(hub.addr(), "GET", "/api/health").send().status, 200);
    }
    assert_eq!((hub.requests().len(), kept(hub.requests()), news.requests().len()), (1024, vec![], 2));
}
