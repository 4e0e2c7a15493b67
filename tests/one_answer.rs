//! Requests that must not be repeated: how often the server sees them, what the end was, and what a refusal says.
#![cfg(feature = "async-io")]

mod scripted;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use futures::{StreamExt, executor::block_on};
use scripted::{Follower, PATIENCE, Peer, Server, follow};
use serde_json::json;
use tidings::{
    Cut, Error, EventSource, EventSourceBuilder, Policy, Reason, Refusal, SourceEvent, SourceRequest,
    blocking,
};

/// A prompt, whose retries do not wait.
fn prompt(url: &str) -> EventSourceBuilder {
    let millisecond = Duration::from_millis(1);
    EventSource::builder(url)
        .no_proxy()
        .json(&json!({"stream": true}))
        .retry(millisecond)
        .backoff(millisecond, millisecond)
}

fn start(builder: EventSourceBuilder) -> Follower {
    follow(builder.build().unwrap())
}

/// A whole answer, with its mark.
fn answer(mut peer: Peer) {
    assert_eq!(peer.request_line.split(' ').next(), Some("POST"));
    peer.send("data: Hel\n\ndata: lo\n\ndata: [DONE]\n\n");
    peer.end();
}

#[test]
fn a_whole_answer_is_asked_for_once() {
    let server = Server::start();
    let source = start(prompt(&server.url("/")));
    answer(server.accept_stream());
    source.opened();
    let texts: Vec<_> = (0..3).map(|_| source.message().into_data()).collect();
    assert_eq!(texts, ["Hel", "lo", "[DONE]"]);
    assert!(source.ended().is_none());
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn a_host_that_lags_behind_does_not_ask_again() {
    let server = Server::start();
    for breaks in [true, false] {
        // It reads ahead, and so meets the end long before the host does.
        let source = blocking::EventSource::build(prompt(&server.url("/"))).unwrap();
        answer(server.accept_stream());
        let deadline = Instant::now() + PATIENCE;
        while !source.state().unwrap().is_closed() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        let mut messages = 0;
        while let Poll::Ready(Some(event)) = source.next(Some(PATIENCE)).unwrap() {
            let SourceEvent::Message(message) = event else { continue };
            messages += 1;
            if breaks && message.data() == "[DONE]" {
                break;
            }
        }
        assert_eq!((messages, server.unaccepted()), (3, 0));
        drop(source);
        assert_eq!(server.unaccepted(), 0);
    }
}

#[test]
fn a_cut_is_an_error_that_says_how_much_had_come() {
    let server = Server::start();
    let mut source = prompt(&server.url("/")).build().unwrap();
    let peer = std::thread::spawn(move || {
        let mut peer = server.accept_stream();
        peer.send("data: a\n\ndata: b\n\ndata: c");
        peer.cut();
        server
    });
    let error = block_on(async {
        while source.next_message().await?.is_some() {}
        Ok::<_, Error>(())
    });
    let error = error.unwrap_err();
    assert_eq!(error.cut().map(Cut::messages), Some(2), "{error}");
    assert!(matches!(error.cut().unwrap().why(), Error::Network(_)), "{error}");
    assert!(
        error.to_string().starts_with("the stream was cut after 2 messages: http://127.0.0.1"),
        "{error}"
    );
    assert_eq!(peer.join().unwrap().unaccepted(), 0);
}

#[test]
fn silence_is_a_cut_too() {
    let server = Server::start();
    let source = start(prompt(&server.url("/")).read_timeout(Duration::from_millis(50)));
    let mut peer = server.accept_stream();
    peer.send("data: a\n\n");
    source.opened();
    source.message();
    let error = source.ended().unwrap();
    let cut = error.cut().unwrap();
    assert!(matches!((cut.messages(), cut.why()), (1, Error::Timeout { .. })), "{error}");
    peer.waits_for_the_end();
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn a_connection_that_breaks_before_the_answer_may_have_been_heard() {
    let server = Server::start();
    let source = start(prompt(&server.url("/")));
    server.accept().cut();
    let error = source.ended().unwrap();
    assert!(matches!(error, Error::Network(_)) && error.cut().is_none(), "{error}");
    assert_eq!(server.unaccepted(), 0);

    let limit = Duration::from_millis(50);
    let source = start(prompt(&server.url("/")).read_timeout(limit).connect_timeout(limit));
    let silent = server.accept();
    assert!(matches!(source.ended(), Some(Error::Timeout { .. })));
    silent.waits_for_the_end();
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn dropping_it_anywhere_does_not_ask_again() {
    let server = Server::start();
    let mut source = prompt(&server.url("/")).build().unwrap();
    let first = std::thread::spawn(move || {
        assert!(block_on(source.next_message()).unwrap().is_some());
        source
    });
    let mut peer = server.accept_stream();
    peer.send("data: a\n\n");
    let mut source = first.join().unwrap();
    // A task that is cancelled while it waits.
    assert!(futures::FutureExt::now_or_never(source.next_message()).is_none());
    drop(source);
    peer.waits_for_the_end();
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn a_refusal_of_the_moment_is_followed_by_a_second_request() {
    for (status, headers) in
        [(429, "retry-after: 1\r\n"), (429, ""), (503, "retry-after: 1\r\n"), (503, ""), (529, "")]
    {
        let server = Server::start();
        let source = start(prompt(&server.url("/")));
        let peer = server.accept();
        assert_eq!(peer.body, br#"{"stream":true}"#);
        let before = Instant::now();
        peer.answer(status, headers, r#"{"error": {"message": "busy"}}"#);
        let (why, retry_at) = source.disconnected();
        assert!(matches!(&why, Reason::Refused(error) if error.status() == Some(status)), "{why}");
        assert!(headers.is_empty() || retry_at >= before + Duration::from_secs(1));
        let peer = server.accept_stream();
        assert_eq!(peer.body, br#"{"stream":true}"#);
        answer(peer);
        source.opened();
        for _ in 0..3 {
            source.message();
        }
        assert!(source.ended().is_none());
        assert_eq!(server.unaccepted(), 0, "{status}");
    }
}

#[test]
fn every_other_status_ends_it() {
    let server = Server::start();
    for status in [201, 202, 204, 301, 304, 400, 401, 403, 404, 408, 409, 425, 500, 502, 504] {
        let source = start(prompt(&server.url("/")));
        server.accept().answer(status, "", "");
        assert_eq!(source.ended().unwrap().status(), Some(status));
        assert_eq!(server.unaccepted(), 0, "{status}");
    }
}

#[test]
fn a_server_that_is_always_busy_is_an_error() {
    for (builder, tries) in [
        (prompt as fn(&str) -> EventSourceBuilder, 3),
        (|url| prompt(url).max_tries(5), 5),
        (|url| prompt(url).method("GET").max_tries(2), 2),
        (|url| prompt(url).reconnect(true).max_tries(1), 1),
    ] {
        let server = Server::start();
        let source = start(builder(&server.url("/")));
        for _ in 1..tries {
            server.accept().answer(429, "", "");
            source.disconnected();
        }
        server.accept().answer(429, "x-ratelimit-remaining: 0\r\n", r#"{"error": "Too busy."}"#);
        let error = source.ended().unwrap();
        let Error::GaveUp { tries: reported, .. } = error else { panic!("{error}") };
        assert_eq!((reported, error.status()), (tries, Some(429)));
        assert!(error.to_string().ends_with("the server answered 429: Too busy."), "{error}");
        assert_eq!(error.refusal().unwrap().header("X-RateLimit-Remaining"), Some("0"));
        assert_eq!(server.unaccepted(), 0);
    }
}

#[test]
fn nobody_there_is_tried_again_within_the_limits() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}/");
    let source = start(prompt(&url).retry_forever());
    for _ in 0..4 {
        let (why, _) = source.disconnected();
        assert!(matches!(why, Reason::Lost(Error::Network(_))), "{why}");
    }
    let server = Server::listen(std::net::TcpListener::bind(address).unwrap());
    answer(server.accept_stream());
    while !matches!(source.next(), SourceEvent::Open(_)) {}
    for _ in 0..3 {
        source.message();
    }
    assert!(source.ended().is_none());
    drop(server);
}

#[test]
fn a_redirect_that_keeps_the_request_leaves_it_unsent() {
    for (status, again) in [(307, true), (308, true), (303, false)] {
        let (server, gone) = (Server::start(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let address = gone.local_addr().unwrap();
        drop(gone);
        // Without a body nothing keeps it from another origin.
        let source = start(prompt(&server.url("/")).body("").method("POST"));
        server.accept().redirect(status, &format!("http://{address}/"));
        if again {
            let (why, _) = source.disconnected();
            assert!(why.to_string().contains(&address.to_string()), "{why}");
            answer(server.accept_stream());
            source.opened();
        } else {
            // Whoever answers 303 has done what it was asked for.
            assert!(source.ended().is_some());
            assert_eq!(server.unaccepted(), 0);
        }
    }
}

#[test]
fn reconnect_decides_against_the_method() {
    let server = Server::start();
    let source = start(prompt(&server.url("/")).reconnect(true));
    for _ in 0..2 {
        answer(server.accept_stream());
        source.opened();
        for _ in 0..3 {
            source.message();
        }
        source.disconnected();
    }
    drop(source);
    let server = Server::start();
    let source = start(prompt(&server.url("/")).method("GET").reconnect(false));
    server.accept_stream().end();
    source.opened();
    assert!(source.ended().is_none());
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn a_restart_asks_again_as_the_host_does() {
    let server = Server::start();
    let source = start(prompt(&server.url("/")));
    let peer = server.accept_stream();
    source.opened();
    source.handle.restart();
    peer.waits_for_the_end();
    answer(server.accept_stream());
    source.opened();
    source.message();
}

#[test]
fn a_last_message_without_a_blank_line_is_reported_and_is_no_message() {
    let server = Server::start();
    let source = start(prompt(&server.url("/")));
    let mut peer = server.accept_stream();
    peer.send("data: a\n\ndata: [DONE]\n");
    peer.end();
    source.opened();
    source.message();
    let SourceEvent::Unfinished(message) = source.next() else { panic!() };
    assert_eq!(message.data(), "[DONE]");
    assert!(source.ended().is_none());
}

#[test]
fn a_message_that_is_too_large_is_an_error_of_the_loop_and_of_nothing_else() {
    let server = Server::start();
    let mut source = prompt(&server.url("/")).message_limit(10).build().unwrap();
    let peer = std::thread::spawn(move || {
        let mut peer = server.accept_stream();
        peer.send(format!("data: {}\n\ndata: after\n\n", "x".repeat(11)));
        peer.end();
    });
    block_on(async {
        let error = source.next_message().await.unwrap_err();
        assert!(error.to_string().contains("larger than 10 bytes"), "{error}");
        assert_eq!(source.next_message().await.unwrap().unwrap().data(), "after");
        assert!(source.next_message().await.unwrap().is_none());
    });
    peer.join().unwrap();
}

#[test]
fn a_200_that_is_no_stream_is_readable() {
    let server = Server::start();
    for builder in [prompt as fn(&str) -> EventSourceBuilder, |url| prompt(url).method("GET")] {
        let source = start(builder(&server.url("/")));
        let body = r#"{"error": {"message": "The model is loading.", "type": "server_error"}}"#;
        server.accept().answer(200, "content-type: application/json\r\nx-request-id: r1\r\n", body);
        let error = source.ended().unwrap();
        assert!(matches!(error, Error::Protocol(_)));
        assert!(error.to_string().ends_with("instead of an event stream: The model is loading."), "{error}");
        let answer = error.refusal().unwrap();
        assert_eq!((answer.status(), answer.body()), (200, body.as_bytes()));
        assert_eq!(answer.header("X-Request-Id"), Some("r1"));
        assert_eq!(answer.json().unwrap()["error"]["type"], "server_error");
    }

    // Up to 64 KiB of it.
    let source = start(prompt(&server.url("/")));
    server.accept().answer(200, "content-type: text/html\r\n", &"x".repeat(100_000));
    let error = source.ended().unwrap();
    assert_eq!(error.refusal().map(|answer| answer.body().len()), Some(64 << 10));
    assert!(!format!("{error:?}").contains("xxx"));
}

#[test]
fn a_refusal_has_its_headers_and_its_message() {
    let server = Server::start();
    let source = start(prompt(&server.url("/")));
    let headers = "content-type: application/json\r\nx-request-id: r2\r\nset-cookie: s3cret\r\n";
    server.accept().answer(401, headers, r#"{"error": {"message": "Wrong key."}}"#);
    let error = source.ended().unwrap();
    let refusal = error.refusal().unwrap();
    assert_eq!((refusal.message(), refusal.header("x-request-id")), ("Wrong key.", Some("r2")));
    assert!(refusal.headers().any(|header| header == ("content-type", "application/json")));
    assert!(error.to_string().ends_with("/: the server answered 401: Wrong key."), "{error}");
    assert!(!format!("{error:?} {refusal:?}").contains("s3cret"));
}

#[test]
fn other_content_types_are_taken_if_they_are_asked_for() {
    let server = Server::start();
    for (accepted, label) in
        [("text/plain", "text/plain; charset=utf-8"), ("application/json", "Application/JSON")]
    {
        let source = start(prompt(&server.url("/")).accept_type("text/other").accept_type(accepted));
        let mut peer = server.accept();
        // What is asked for stays as it is: it is the server that is wrong.
        assert_eq!(peer.header("accept"), Some("text/event-stream"));
        peer.open(label);
        answer(peer);
        source.opened();
        source.message();
    }
    let source = start(prompt(&server.url("/")).accept_type(""));
    server.accept().answer(200, "", "data: a\n\n");
    source.opened();
    source.message();
}

#[test]
fn an_open_stream_shows_its_head() {
    let server = Server::start();
    let source = start(prompt(&server.url("/chat?key=s3cret")));
    let _peer = server.accept_stream();
    let SourceEvent::Open(opened) = source.next() else { panic!() };
    assert_eq!((opened.status(), opened.url()), (200, &*server.url("/chat?key=s3cret")));
    assert!(opened.headers().any(|header| header == ("content-type", "text/event-stream")));
    assert!(!format!("{opened:?}").contains("s3cret"));
}

#[test]
fn each_connection_is_made_with_what_the_host_says_then() {
    let (server, other) = (Server::start(), Server::start());
    let asked = Arc::new(AtomicU32::new(0));
    let millisecond = Duration::from_millis(1);
    let (count, url) = (asked.clone(), other.url("/other"));
    let source = start(
        EventSource::builder(&server.url("/"))
            .no_proxy()
            .retry(millisecond)
            .backoff(millisecond, millisecond)
            .header("X-Kept", "k")
            .header("X-Try", "none")
            .token("old")
            .on_connect(move || {
                let (number, url) = (count.fetch_add(1, Ordering::Relaxed), url.clone());
                async move {
                    futures::future::ready(()).await;
                    let request =
                        SourceRequest::new().token(format!("t{number}")).header("x-try", number.to_string());
                    match number {
                        2 => Err("the vault is closed".to_owned()),
                        3 => Ok(request.url(url)),
                        _ => Ok(request),
                    }
                }
            }),
    );
    for number in 0..2 {
        let peer = server.accept_stream();
        assert_eq!(peer.header("authorization"), Some(&*format!("Bearer t{number}")));
        assert_eq!((peer.header("x-try"), peer.header("x-kept")), (Some(&*number.to_string()), Some("k")));
        source.opened();
        peer.cut();
        source.disconnected();
    }
    let (why, _) = source.disconnected();
    assert!(
        matches!(&why, Reason::Lost(Error::TokenProvider(text)) if text == "the vault is closed"),
        "{why}"
    );
    let peer = other.accept_stream();
    assert_eq!(
        (&*peer.request_line, peer.header("authorization")),
        ("GET /other HTTP/1.1", Some("Bearer t3"))
    );
    source.opened();
    assert_eq!((server.unaccepted(), asked.load(Ordering::Relaxed)), (0, 4));
}

#[test]
fn a_token_provider_is_asked_before_each_connection() {
    let server = Server::start();
    let tokens = std::sync::Mutex::new(vec![None, Some("second"), Some("first")]);
    let millisecond = Duration::from_millis(1);
    let builder = EventSource::builder(&server.url("/")).no_proxy().retry(millisecond);
    let source = start(builder.backoff(millisecond, millisecond).token_provider(move || {
        let token = tokens.lock().unwrap().pop().unwrap_or(Some("bad token"));
        async move { Ok::<_, Error>(token.map(str::to_owned)) }
    }));
    for token in [Some("Bearer first"), Some("Bearer second"), None] {
        let peer = server.accept_stream();
        assert_eq!(peer.header("authorization"), token);
        source.opened();
        peer.end();
        source.disconnected();
    }
    // One that cannot be sent will not do better next time.
    let error = source.ended().unwrap();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn closing_does_not_wait_for_a_provider() {
    let server = Server::start();
    let asked = Arc::new(());
    let held = asked.clone();
    let source = EventSource::builder(&server.url("/")).no_proxy().on_connect(move || {
        let held = held.clone();
        async move {
            let _held = held;
            futures::future::pending::<Result<SourceRequest, Error>>().await
        }
    });
    let mut source = source.build().unwrap();
    let handle = source.handle();
    assert!(futures::FutureExt::now_or_never(source.next()).is_none());
    assert_eq!(Arc::strong_count(&asked), 3);
    handle.close();
    assert_eq!(Arc::strong_count(&asked), 2);
    assert!(matches!(block_on(source.next()), Some(SourceEvent::Closed { why: None })));
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn the_default_policy_can_be_left_as_it_is() {
    let server = Server::start();
    let source = start(prompt(&server.url("/")).on_status(|status| match status {
        502 => Policy::Retry,
        _ => Policy::Default,
    }));
    server.accept().answer(502, "", "");
    source.disconnected();
    server.accept().answer(500, "", "");
    assert_eq!(source.ended().unwrap().refusal().map(Refusal::status), Some(500));
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn a_host_that_blocks_answers_questions_where_it_takes_events() {
    use blocking::{Questions, SourceItem};

    let server = Server::start();
    let questions = Questions { connect: true, status: true };
    let source = blocking::EventSource::build_asking(prompt(&server.url("/")), questions).unwrap();
    let next = || match source.next_item(Some(PATIENCE)).unwrap() {
        Poll::Ready(Some(item)) => item,
        other => panic!("{other:?}"),
    };
    for number in 0..2 {
        let SourceItem::ConnectAsked(question) = next() else { panic!() };
        question.answer(Ok(SourceRequest::new().header("x-try", number.to_string())));
        let peer = server.accept();
        assert_eq!(peer.header("x-try"), Some(&*number.to_string()));
        peer.answer(418, "", "");
        let SourceItem::StatusAsked(question) = next() else { panic!() };
        assert_eq!(question.status(), 418);
        question.answer(Policy::Retry);
        assert!(matches!(next(), SourceItem::Event(SourceEvent::Disconnected { .. }, _)));
    }
    // A question that is dropped: a failure, and the default.
    drop(next());
    let SourceItem::Event(SourceEvent::Closed { why: Some(error) }, _) = next() else { panic!() };
    assert!(
        matches!(&error, Error::GaveUp { tries: 3, why, .. } if matches!(**why, Error::TokenProvider(_))),
        "{error}"
    );
    assert_eq!(server.unaccepted(), 0);

    // Closing does not wait for an answer, nor does an answer for anything.
    let source = blocking::EventSource::build_asking(prompt(&server.url("/")), questions).unwrap();
    let Poll::Ready(Some(SourceItem::ConnectAsked(question))) = source.next_item(Some(PATIENCE)).unwrap()
    else {
        panic!()
    };
    source.close();
    question.answer(Ok(SourceRequest::new()));
    assert!(matches!(source.next(None).unwrap(), Poll::Ready(None)));
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn a_host_that_blocks_may_be_asked_on_a_thread() {
    let server = Server::start();
    let (ask, asked) = std::sync::mpsc::channel();
    let (give, given) = std::sync::mpsc::channel::<Result<SourceRequest, String>>();
    let given = std::sync::Mutex::new(given);
    let builder = blocking::EventSource::ask_on_thread(prompt(&server.url("/")), move || {
        ask.send(()).unwrap();
        given.lock().unwrap().recv().unwrap_or(Err("gone".to_owned()))
    });
    let source = blocking::EventSource::build(builder).unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    give.send(Err("not yet".to_owned())).unwrap();
    let Poll::Ready(Some(SourceEvent::Disconnected { why, .. })) = source.next(Some(PATIENCE)).unwrap()
    else {
        panic!()
    };
    assert_eq!(why.to_string(), "the token provider failed: not yet");
    asked.recv_timeout(PATIENCE).unwrap();
    // It is asked, has not answered, and is not waited for.
    source.close();
    drop(give);
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn what_one_try_has_sent_says_nothing_about_the_next() {
    let server = Server::start();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tries = AtomicU32::new(0);
    let source = start(prompt(&server.url("/")).on_connect(move || {
        let request = SourceRequest::new();
        let request = match tries.fetch_add(1, Ordering::Relaxed) {
            1 => request.url(format!("http://{gone}/")),
            _ => request,
        };
        async { Ok::<_, Error>(request) }
    }));
    server.accept().answer(503, "", "");
    source.disconnected();
    let (why, _) = source.disconnected();
    assert!(why.to_string().contains(&gone.to_string()), "{why}");
    answer(server.accept_stream());
    source.opened();
}
