//! What the standard and practice ask of an event source, rule by rule, over real sockets.
#![cfg(feature = "async-io")]

mod scripted;

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use futures::{
    StreamExt,
    executor::block_on,
    future::{BoxFuture, pending},
};
use scripted::{Follower, PATIENCE, Server, follow};
use tidings::{
    Error, EventSource, EventSourceBuilder, Policy, Reason, SourceEvent, SourceHandle, State,
    rt::{self, BoxIo, Runtime, Timer},
};

/// Reconnects as soon as the bounds let it.
fn eager(url: &str) -> EventSourceBuilder {
    let millisecond = Duration::from_millis(1);
    EventSource::builder(url).no_proxy().retry(millisecond).backoff(millisecond, millisecond)
}

/// Does not reconnect while a test lasts, unless told to.
fn patient(url: &str) -> EventSourceBuilder {
    EventSource::builder(url).no_proxy().retry(Duration::from_secs(3600))
}

fn start(builder: EventSourceBuilder) -> Follower {
    follow(builder.build().unwrap())
}

#[test]
fn sends_the_headers_of_the_standard_and_those_of_the_host() {
    let server = Server::start();
    let source = eager(&server.url("/stream?a=1")).header("X-Key", "k").token("t").user_agent("me/1");
    let source = start(source);
    let peer = server.accept_stream();
    assert_eq!(peer.request_line, "GET /stream?a=1 HTTP/1.1");
    for (name, value) in [
        ("accept", "text/event-stream"),
        ("cache-control", "no-cache"),
        ("accept-encoding", "identity"),
        ("authorization", "Bearer t"),
        ("x-key", "k"),
        ("user-agent", "me/1"),
    ] {
        assert_eq!(peer.header(name), Some(value), "{name}");
    }
    assert_eq!(peer.header("last-event-id"), None);
    source.opened();
}

#[test]
fn the_last_event_id_persists_over_messages_and_reconnects() {
    let server = Server::start();
    let source = start(eager(&server.url("/")));
    let mut peer = server.accept_stream();
    source.opened();
    peer.send("id: 7\u{e9}\ndata: a\n\ndata: b\n\n");
    assert_eq!((source.message().id(), source.message().id()), ("7\u{e9}", "7\u{e9}"));
    // Whether the stream ends or breaks.
    peer.end();
    source.disconnected();
    let peer = server.accept_stream();
    assert_eq!(peer.header("last-event-id"), Some("7\u{e9}"));
    source.opened();
    peer.cut();
    source.disconnected();
    let mut peer = server.accept_stream();
    assert_eq!(peer.header("last-event-id"), Some("7\u{e9}"));
    source.opened();
    peer.send("data: c\n\n");
    assert_eq!(source.message().id(), "7\u{e9}");
}

#[test]
fn an_empty_id_resets_the_last_event_id() {
    let server = Server::start();
    let source = start(eager(&server.url("/")).last_event_id("42"));
    let mut peer = server.accept_stream();
    peer.send("id: 1\ndata: a\n\nid\ndata: b\n\n");
    source.opened();
    assert_eq!((source.message().id(), source.message().id()), ("1", ""));
    peer.end();
    assert_eq!(server.accept_stream().header("last-event-id"), None);
}

#[test]
fn an_initial_last_event_id_is_sent_with_the_first_request() {
    for builder in
        [|url: &str| eager(url).last_event_id("42"), |url: &str| eager(url).header("Last-Event-ID", "42")]
    {
        let server = Server::start();
        let source = builder(&server.url("/")).build().unwrap();
        assert_eq!(source.last_event_id(), "42");
        let source = follow(source);
        let mut peer = server.accept_stream();
        assert_eq!(peer.header("last-event-id"), Some("42"));
        source.opened();
        peer.send("data: a\n\n");
        assert_eq!(source.message().id(), "42");
    }
}

#[test]
fn an_unfinished_message_is_dropped_with_its_id() {
    let server = Server::start();
    let source = start(eager(&server.url("/")));
    let mut peer = server.accept_stream();
    source.opened();
    peer.send("id: whole\ndata: a\n\nid: cut\nevent: cut\ndata: cut");
    source.message();
    peer.cut();
    source.disconnected();
    let mut peer = server.accept_stream();
    assert_eq!(peer.header("last-event-id"), Some("whole"));
    source.opened();
    peer.send("data: b\n\n");
    let message = source.message();
    assert_eq!((message.event(), message.data(), message.id()), ("message", "b", "whole"));
}

#[test]
fn retry_sets_the_reconnection_time() {
    let server = Server::start();
    let source = start(eager(&server.url("/")));
    let mut peer = server.accept_stream();
    source.opened();
    peer.send("retry: 400000\nretry: x\nretry: 90000\n\ndata: a\n\n");
    source.message();
    let before = Instant::now();
    peer.end();
    let (why, retry_at) = source.disconnected();
    assert!(matches!(why, Reason::EndedByServer), "{why}");
    let (least, most) = (before + Duration::from_secs(90), Instant::now() + Duration::from_secs(135));
    assert!(retry_at >= least && retry_at <= most);
}

#[test]
fn status_204_ends_it_for_good() {
    let server = Server::start();
    let source = start(eager(&server.url("/")).on_status(|_| Policy::Retry));
    server.accept_stream().end();
    source.opened();
    source.disconnected();
    server.accept().answer(204, "", "");
    assert_eq!(source.ended().unwrap().status(), Some(204));
}

#[test]
fn a_refusal_ends_it_with_the_servers_words() {
    let server = Server::start();
    let mut source = eager(&server.url("/")).build().unwrap();
    assert!(matches!(source.state(), State::Idle));
    let answers = std::thread::spawn(move || {
        server.accept().answer(403, "content-type: text/event-stream\r\n", r#"{"message":"No."}"#);
    });
    let error = block_on(source.next_message()).unwrap_err();
    answers.join().unwrap();
    assert_eq!((error.status(), error.refusal().unwrap().message()), (Some(403), "No."));
    assert!(matches!(source.state(), State::Closed { why: Some(_) }));
    assert!(block_on(source.next()).is_none());
    assert!(block_on(source.next_message()).unwrap().is_none());
}

#[test]
fn a_passing_refusal_is_tried_again_after_the_time_it_names() {
    let server = Server::start();
    let source = start(eager(&server.url("/")));
    server.accept().answer(500, "", "");
    let (why, _) = source.disconnected();
    assert!(matches!(why, Reason::Refused(Error::Refused(ref refusal)) if refusal.status() == 500));
    let before = Instant::now();
    server.accept().answer(429, "retry-after: 77\r\n", "");
    let (_, retry_at) = source.disconnected();
    assert!(retry_at >= before + Duration::from_secs(77), "{:?}", retry_at - before);
}

#[test]
fn a_refusal_without_an_end_is_a_refusal_all_the_same() {
    let server = Server::start();
    let source = start(eager(&server.url("/")));
    let mut peer = server.accept();
    let head = "HTTP/1.1 403 No\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    peer.socket.write_all(head.as_bytes()).unwrap();
    peer.send("data: no\n\n");
    assert_eq!(source.ended().unwrap().status(), Some(403));
    peer.waits_for_the_end();
}

#[test]
fn the_policy_decides_by_status_and_may_call_anything() {
    let server = Server::start();
    let handle: Arc<OnceLock<SourceHandle>> = Arc::default();
    let in_policy = handle.clone();
    let source = start(eager(&server.url("/")).on_status(move |status| {
        if status == 418 {
            in_policy.get().unwrap().close();
        }
        Policy::Retry
    }));
    handle.set(source.handle.clone()).unwrap();
    server.accept().answer(404, "", "");
    source.disconnected();
    server.accept().answer(200, "content-type: text/html\r\n", "Log in.");
    let (why, _) = source.disconnected();
    assert!(matches!(why, Reason::Lost(Error::Protocol(_))), "{why}");
    server.accept().answer(418, "", "");
    assert!(source.ended().is_none());
}

#[test]
fn strict_fails_with_every_status_but_200() {
    let server = Server::start();
    let source = start(eager(&server.url("/")).strict());
    server.accept().answer(503, "", "");
    assert_eq!(source.ended().unwrap().status(), Some(503));
}

#[test]
fn a_wrong_content_type_ends_it() {
    for headers in ["content-type: text/plain\r\n", "content-type: text/event-streams\r\n", ""] {
        let server = Server::start();
        let source = start(eager(&server.url("/")));
        server.accept().answer(200, headers, "data: a\n\n");
        let error = source.ended().unwrap();
        assert!(matches!(error, Error::Protocol(_)), "{error:?}");
    }
}

#[test]
fn the_content_type_may_have_parameters_and_any_case() {
    for content_type in ["text/event-stream;charset=utf-8", "Text/Event-Stream ; x=y"] {
        let server = Server::start();
        let source = start(eager(&server.url("/")));
        server.accept().open(content_type);
        source.opened();
    }
}

#[test]
fn redirects_of_each_kind_are_followed_with_the_method_they_ask_for() {
    for (status, sent, followed) in [
        (301, "GET", "GET"),
        (302, "GET", "GET"),
        (303, "GET", "GET"),
        (307, "GET", "GET"),
        (308, "GET", "GET"),
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
        (301, "REPORT", "REPORT"),
        (303, "REPORT", "GET"),
    ] {
        let server = Server::start();
        let url = server.url("/old");
        let mut builder = eager(&url).method(sent).reconnect(true).token("t").last_event_id("9");
        if sent != "GET" {
            builder = builder.body("question");
        }
        let source = start(builder);
        let peer = server.accept();
        assert!(peer.request_line.starts_with(sent));
        peer.redirect(status, "new?b=2");

        let mut peer = server.accept_stream();
        assert_eq!(peer.request_line, format!("{followed} /new?b=2 HTTP/1.1"), "{status} {sent}");
        assert_eq!(peer.body, if followed == "GET" { &b""[..] } else { b"question" }, "{status} {sent}");
        for (name, value) in
            [("accept", "text/event-stream"), ("authorization", "Bearer t"), ("last-event-id", "9")]
        {
            assert_eq!(peer.header(name), Some(value));
        }
        let SourceEvent::Open(opened) = source.next() else { panic!() };
        assert_eq!(opened.url(), server.url("/new?b=2"));
        peer.send("data: a\n\n");
        source.message();
        peer.end();
        source.disconnected();
        // Also after a permanent one: the standard has each reconnect begin anew.
        assert_eq!(server.accept_stream().request_line, format!("{sent} /old HTTP/1.1"));
    }
}

#[test]
fn a_redirect_to_another_origin_is_followed_by_who_has_no_secret() {
    for status in [301, 302, 303, 307, 308] {
        let (server, other) = (Server::start(), Server::start());
        let builder =
            || eager(&server.url("/")).header("Content-Type", "application/json").last_event_id("9");
        for secret in [
            builder().token("s3cret"),
            builder().header("X-Key", "s3cret"),
            builder().header("Cookie", "s3cret"),
            // Also where the status would drop it: what is a secret does not depend on that.
            builder().body("{}"),
        ] {
            let source = start(secret);
            server.accept().redirect(status, &other.url("/there"));
            let error = source.ended().unwrap().to_string();
            assert!(error.contains(&server.url("/")) && error.contains(other.url("").as_str()), "{error}");
        }

        let source = start(builder());
        server.accept().redirect(status, &other.url("/there"));
        let peer = other.accept_stream();
        assert_eq!(peer.header("last-event-id"), Some("9"));
        source.opened();
    }
}

#[test]
fn a_redirect_to_nowhere_is_an_error_and_no_loop() {
    for status in [301, 307] {
        let server = Server::start();
        let source = start(eager(&server.url("/")));
        server.accept().answer(status, "", "");
        assert_eq!(source.ended().unwrap().status(), Some(status));

        let source = start(eager(&server.url("/")));
        server.accept().redirect(status, "ftp://127.0.0.1/");
        let error = source.ended().unwrap();
        assert!(error.to_string().contains("ftp"), "{error}");

        for target in ["", "/"] {
            let source = start(eager(&server.url("/")));
            server.accept().redirect(status, target);
            source.ended().unwrap();
        }

        let source = start(patient(&server.url("/")));
        for hop in 0..11 {
            server.accept().redirect(status, &format!("/{hop}"));
        }
        let (why, _) = source.disconnected();
        assert!(why.to_string().contains("redirects"), "{why}");
    }
}

#[test]
fn one_leading_bom_of_each_stream_is_dropped() {
    let server = Server::start();
    let source = start(eager(&server.url("/")));
    for _ in 0..2 {
        let mut peer = server.accept_stream();
        source.opened();
        peer.send(b"\xef");
        peer.send(b"\xbb");
        peer.send(b"\xbf");
        peer.send("data: \u{feff}a\n\n\u{feff}data: no field\n\ndata: b\n\n");
        assert_eq!((source.message().data(), source.message().data()), ("\u{feff}a", "b"));
        peer.end();
        source.disconnected();
    }
}

#[test]
fn lines_end_in_cr_lf_or_crlf_however_they_are_split() {
    for end in ["\n", "\r", "\r\n"] {
        let text = ["id: 1", "event: e", "data: \u{20ac}", "data: 2", "", "data: next", "", ""].join(end);
        for size in [1, 2, 3, text.len()] {
            let server = Server::start();
            let source = start(eager(&server.url("/")));
            let mut peer = server.accept_stream();
            source.opened();
            for piece in text.as_bytes().chunks(size) {
                peer.send(piece);
            }
            let message = source.message();
            assert_eq!((message.id(), message.event(), message.data()), ("1", "e", "\u{20ac}\n2"));
            assert_eq!(message.into_data(), "\u{20ac}\n2");
            let message = source.message();
            assert_eq!((message.id(), message.event(), message.data()), ("1", "message", "next"));
        }
    }
}

#[test]
fn comments_are_told_to_those_who_ask() {
    for wanted in [true, false] {
        let server = Server::start();
        let source = start(eager(&server.url("/")).comments(wanted));
        let mut peer = server.accept_stream();
        source.opened();
        peer.send(":one\n: two\n\ndata: a\n\n");
        for text in ["one", "two"].into_iter().filter(|_| wanted) {
            assert!(matches!(source.next(), SourceEvent::Comment(comment) if comment == text));
        }
        assert_eq!(source.message().data(), "a");
    }
}

#[test]
fn large_messages_arrive_whole_and_too_large_ones_are_told() {
    let server = Server::start();
    let source = start(eager(&server.url("/")).message_limit(8 << 20));
    let mut peer = server.accept_stream();
    source.opened();
    for size in [1, 1024, 4096, 16 << 10, (16 << 10) + 1, 128 << 10, 8 << 20] {
        let data: String = ('a'..='z').cycle().take(size).collect();
        peer.send(format!("data: {data}\n\n"));
        assert!(source.message().data() == data, "{size}");
    }
    peer.send(format!("id: big\ndata: {}\n\ndata: after\n\n", "x".repeat((8 << 20) + 1)));
    assert!(matches!(source.next(), SourceEvent::TooLarge { limit } if limit == 8 << 20));
    let message = source.message();
    assert_eq!((message.data(), message.id()), ("after", "big"));
}

#[test]
fn post_and_report_send_their_body_with_each_reconnect_if_they_are_to_reconnect() {
    for method in [Some("POST"), Some("REPORT"), None] {
        let server = Server::start();
        let mut builder =
            eager(&server.url("/")).reconnect(true).json(&serde_json::json!({"hello": "world"}));
        if let Some(method) = method {
            builder = builder.method(method);
        }
        let _source = start(builder);
        for _ in 0..3 {
            let peer = server.accept_stream();
            assert_eq!(peer.request_line, format!("{} / HTTP/1.1", method.unwrap_or("POST")));
            assert_eq!(peer.header("content-type"), Some("application/json"));
            assert_eq!(peer.body, br#"{"hello":"world"}"#);
            peer.end();
        }
    }
}

#[test]
fn silence_longer_than_the_read_timeout_reconnects() {
    let timeout = Duration::from_millis(100);
    let server = Server::start();
    let source = start(eager(&server.url("/")).read_timeout(timeout).connect_timeout(timeout));
    let mut peer = server.accept_stream();
    source.opened();
    peer.send("id: 3\ndata: a\n\n");
    source.message();
    let (why, _) = source.disconnected();
    assert!(matches!(why, Reason::Silence(time) if time == timeout), "{why}");
    peer.waits_for_the_end();
    // Silent before the stream is open.
    let silent = server.accept();
    assert_eq!(silent.header("last-event-id"), Some("3"));
    let (why, _) = source.disconnected();
    assert!(matches!(why, Reason::Lost(Error::Timeout { .. })), "{why}");
    silent.waits_for_the_end();
}

#[test]
fn restart_connects_again_at_once_with_the_last_id() {
    let server = Server::start();
    let source = start(patient(&server.url("/")));
    let mut peer = server.accept_stream();
    source.opened();
    peer.send("id: 5\ndata: a\n\n");
    source.message();
    source.handle.restart();
    peer.waits_for_the_end();
    // While it waits for the answer.
    let peer = server.accept();
    assert_eq!(peer.header("last-event-id"), Some("5"));
    source.handle.restart();
    peer.waits_for_the_end();
    // While it waits for an hour.
    server.accept_stream().end();
    source.opened();
    source.disconnected();
    source.handle.restart();
    let mut peer = server.accept_stream();
    source.opened();
    peer.send("data: b\n\n");
    assert_eq!(source.message().id(), "5");
}

#[test]
fn a_network_that_fails_is_tried_again_until_it_works() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let source = start(eager(&format!("http://{address}/")));
    for _ in 0..3 {
        let (why, _) = source.disconnected();
        assert!(matches!(why, Reason::Lost(Error::Network(_))), "{why}");
    }
    let server = Server::listen(TcpListener::bind(address).unwrap());
    server.accept_stream();
    while !matches!(source.next(), SourceEvent::Open(_)) {}
}

#[test]
fn once_ends_with_the_stream() {
    let server = Server::start();
    let source = start(eager(&server.url("/")).once());
    let mut peer = server.accept_stream();
    peer.send("data: a\n\n");
    peer.end();
    source.opened();
    source.message();
    assert!(source.ended().is_none());

    let source = start(eager(&server.url("/")).once());
    server.accept_stream().cut();
    source.opened();
    assert!(matches!(source.ended(), Some(Error::Network(_))));
}

#[test]
fn close_drops_the_socket_even_if_nobody_polls() {
    let server = Server::start();
    for close in [true, false] {
        let mut source = eager(&server.url("/")).build().unwrap();
        let handle = source.handle();
        let next = std::thread::scope(|scope| {
            let next = scope.spawn(|| block_on(source.next()));
            let mut peer = server.accept_stream();
            peer.send("data: unread\n\n");
            assert!(matches!(next.join().unwrap(), Some(SourceEvent::Open(_))));
            peer
        });
        if close {
            handle.close();
            handle.restart();
            next.waits_for_the_end();
            assert!(source.state().is_closed() && handle.is_closed());
            assert!(matches!(block_on(source.next()), Some(SourceEvent::Closed { why: None })));
            assert!(block_on(source.next()).is_none());
        } else {
            drop(source);
            next.waits_for_the_end();
            assert!(handle.is_closed());
        }
    }
}

/// Closes the source from within its own poll.
#[derive(Debug, Default)]
struct Closing {
    handle: OnceLock<SourceHandle>,
    connecting: Arc<()>,
}

#[derive(Clone, Debug)]
struct Closer(Arc<Closing>);

impl Runtime for Closer {
    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
        self.0.handle.get().unwrap().close();
        let connecting = self.0.connecting.clone();
        Box::pin(async move {
            let _connecting = connecting;
            pending().await
        })
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn Timer>> {
        rt::AsyncIo.new_timer(at)
    }
}

#[test]
fn close_may_be_called_while_it_is_polled() {
    let closing = Arc::new(Closing::default());
    let mut source = eager("http://127.0.0.1:1/").runtime(Closer(closing.clone())).build().unwrap();
    closing.handle.set(source.handle()).unwrap();
    assert!(matches!(block_on(source.next()), Some(SourceEvent::Closed { why: None })));
    // The source is still there, but what it had begun is not.
    assert_eq!(Arc::strong_count(&closing.connecting), 1);
    assert!(block_on(source.next()).is_none());
}

#[test]
fn a_host_that_does_not_poll_holds_the_server_back() {
    let server = Server::start();
    let mut source = eager(&server.url("/")).build().unwrap();
    let mut peer = std::thread::scope(|scope| {
        let next = scope.spawn(|| block_on(source.next()));
        let peer = server.accept_stream();
        next.join().unwrap();
        peer
    });
    // More than the kernel buffers. If the source read on, this would come to its end.
    peer.socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let chunk = format!("40000\r\n{}\r\n", "data: 0123456789\n".repeat(1 << 14).split_at(0x40000).0);
    let stopped = (0..1000).map(|_| peer.socket.write_all(chunk.as_bytes())).find_map(Result::err);
    assert!(stopped.is_some_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
}

#[test]
#[cfg(feature = "tokio")]
fn runs_on_tokio_with_its_sockets() {
    let server = Server::start();
    let url = server.url("/");
    let peer = std::thread::spawn(move || {
        let mut peer = server.accept_stream();
        peer.send("data: a\n\n");
        peer
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut source = eager(&url).runtime(rt::Tokio::current().unwrap()).build().unwrap();
        let message = tokio::spawn(async move { source.next_message().await });
        let message = tokio::time::timeout(PATIENCE, message).await.unwrap().unwrap();
        assert_eq!(message.unwrap().unwrap().data(), "a");
    });
    peer.join().unwrap().waits_for_the_end();
}

#[test]
fn what_cannot_work_is_refused_before_the_network() {
    let url = "http://user:s3cret@127.0.0.1:1/?token=s3cret";
    for (builder, word) in [
        (EventSource::builder("ftp://host/"), "http"),
        (EventSource::builder(url).method("GE T"), "method"),
        (EventSource::builder(url).method("HEAD"), "method"),
        (EventSource::builder(url).header("a b", "c"), "header"),
        (EventSource::builder(url).header("x-key", "s3cret\n"), "header"),
        (EventSource::builder(url).token("s3cret s3cret"), "token"),
        (EventSource::builder(url).last_event_id("a\0b"), "last event id"),
        (EventSource::builder(url).read_timeout(Duration::ZERO), "read timeout"),
        (EventSource::builder(url).backoff(Duration::ZERO, Duration::ZERO), "backoff"),
        (EventSource::builder(url).retry(Duration::MAX), "retry"),
        (EventSource::builder(url).message_limit(0), "message limit"),
        (EventSource::builder(url).max_tries(0), "limit of tries"),
        (EventSource::builder(url).retry_for(Duration::MAX), "time limit"),
        (EventSource::builder(url).once().reconnect(true), "reconnect"),
        (EventSource::builder(url).proxy("socks5://127.0.0.1"), "proxy"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(word) && !error.contains("s3cret"), "{word}: {error}");
    }
}

#[test]
fn secrets_are_shown_nowhere() {
    let server = Server::start();
    let url = server.url("/?token=s3cret").replace("://", "://user:s3cret@");
    let builder = eager(&url).token("s3cret").header("X-Key", "s3cret").body("s3cret");
    let source = builder.clone().build().unwrap();
    assert!(!format!("{builder:?} {source:?} {:?}", source.handle()).contains("s3cret"));
    let source = follow(source);
    server.accept_stream().cut();
    for _ in 0..2 {
        let item = format!("{:?}", source.next());
        assert!(!item.contains("s3cret"), "{item}");
    }
}
