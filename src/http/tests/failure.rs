//! What fails, and what is said about it.

use std::error::Error;

use socket2::SockRef;

use super::*;

/// What was sent last is lost, as when a host or a NAT forgets the connection.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_refused_port_names_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = send(get(format!("http://{address}/secret?token=t0ken"))).unwrap_err();
    assert!(matches!(&error, HttpError::Connect { attempts, .. } if attempts.len() == 1));
    let text = error.to_string();
    assert_eq!(text, format!("cannot reach {address}: connection refused; is the server running?"));
    assert!(error.source().unwrap().to_string().contains("refused"));
}

#[test]
fn an_unknown_host_is_named() {
    // A label longer than DNS allows fails in the resolver here, without a question to the network.
    let host = "x".repeat(70);
    let error = send(get(format!("http://{host}/"))).unwrap_err();
    assert!(matches!(&error, HttpError::Resolve { host: named, .. } if *named == host), "{error}");
    assert!(error.to_string().starts_with(&format!("cannot find the host {host}")));
}

#[test]
fn only_http_urls_are_requested() {
    let error = send(get("ftp://user:pa55@example.org/x?y")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot request ftp://example.org/x: only http:// and https:// URLs can be requested"
    );
}

#[test]
fn a_silent_server_runs_into_the_time_limit() {
    let address = server(|mut stream| wait_for_end(&mut stream));
    let request = Request { timeout: Some(Duration::from_millis(50)), ..get(format!("http://{address}/")) };
    let error = send(request).unwrap_err();
    assert!(matches!(error, HttpError::Timeout { what: "the answer", .. }), "{error}");
    assert_eq!(error.to_string(), format!("http://{address}/: the answer took longer than 50ms"));
}

#[test]
fn interim_responses_without_end_are_no_answer() {
    // As fast as they go: hyper would read on for ever in one poll.
    let address = server(|mut stream| {
        Received::from(&mut stream);
        while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {}
    });
    let error = send(Request { timeout: None, ..get(format!("http://{address}/")) }).unwrap_err();
    assert!(matches!(error, HttpError::Protocol { .. }), "{error:?}");
    assert!(error.to_string().ends_with("it sends interim responses and no answer"), "{error}");

    // One now and then.
    let address = server(|mut stream| {
        Received::from(&mut stream);
        while stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let config = HttpConfig { connect_timeout: Duration::from_millis(100), ..direct() };
    let request = Request { timeout: None, ..get(format!("http://{address}/")) };
    let error = block_on(client(config).send(request)).unwrap_err();
    assert!(matches!(error, HttpError::Timeout { .. }), "{error:?}");
}

#[test]
fn an_answer_may_have_many_headers_and_a_few_interim_responses() {
    let headers: String = (0..900).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(20);
    let (address, _requests) =
        answering(format!("{interim}HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n"));
    let response = send(get(format!("http://{address}/"))).unwrap();
    assert_eq!(response.headers["x-899"], "899");
}

#[test]
fn a_body_that_is_encoded_is_refused_and_a_refusal_keeps_its_status() {
    for (head, is_refused) in [
        ("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2", true),
        ("200 OK\r\ncontent-encoding: br\r\ntransfer-encoding: chunked", true),
        ("200 OK\r\ncontent-encoding: identity\r\ncontent-length: 2", false),
        ("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0", false),
        ("204 No Content\r\ncontent-encoding: gzip", false),
        ("404 Not Found\r\ncontent-encoding: gzip\r\ncontent-length: 2", false),
    ] {
        let (address, _requests) = answering(format!("HTTP/1.1 {head}\r\n\r\n\u{1f}x"));
        match send(get(format!("http://{address}/"))) {
            Ok(response) => {
                assert!(!is_refused, "{head}");
                assert_eq!(response.coding().is_some(), response.status == 404, "{head}");
            }
            Err(error) => {
                assert!(is_refused && matches!(error, HttpError::Encoded { .. }), "{head}: {error:?}");
                assert!(error.to_string().contains("not asked for"), "{error}");
            }
        }
    }
}

#[test]
fn the_body_has_no_time_limit() {
    let (go_on, signal) = mpsc::channel::<()>();
    let signal = std::sync::Mutex::new(signal);
    let address = server(move |mut stream| {
        Received::from(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").unwrap();
        signal.lock().unwrap().recv().unwrap();
        stream.write_all(b"late").unwrap();
        wait_for_end(&mut stream);
    });
    let limit = Duration::from_millis(300);
    let response = send(Request { timeout: Some(limit), ..get(format!("http://{address}/")) }).unwrap();
    thread::sleep(limit);
    go_on.send(()).unwrap();
    assert_eq!(text(response), "late");
}

#[test]
fn a_handshake_that_is_never_answered_runs_into_the_connect_time_limit() {
    let address = server(|mut stream| wait_for_end(&mut stream));
    let config = HttpConfig { connect_timeout: Duration::from_millis(50), ..direct() };
    let error = block_on(client(config).send(get(format!("https://{address}/")))).unwrap_err();
    assert!(matches!(error, HttpError::Timeout { what: "connecting", .. }), "{error}");
}

#[test]
fn a_limit_beyond_the_clock_is_none() {
    let (address, _requests) = answering(ok("fine"));
    let request = Request { timeout: Some(Duration::MAX), ..get(format!("http://{address}/")) };
    assert_eq!(text(send(request).unwrap()), "fine");
}

#[test]
fn what_is_not_http_is_said_to_be() {
    for answer in ["SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 20000 \r\n\r\n", "\u{0}\u{1}\u{2}\u{3}"] {
        let (address, _requests) = answering(answer);
        let error = send(get(format!("http://{address}/"))).unwrap_err();
        assert!(matches!(error, HttpError::Protocol { .. }), "{answer:?}: {error:?}");
        assert!(error.to_string().starts_with(&format!("http://{address}/ does not answer in HTTP/1")));
    }
}

#[test]
fn a_chunk_size_that_is_no_number_breaks_the_rules() {
    let (address, _requests) =
        answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\nzz\r\n");
    let mut body = send(get(format!("http://{address}/"))).unwrap().body;
    assert_eq!(block_on(body.chunk()).unwrap().unwrap(), "one");
    let error = block_on(body.chunk()).unwrap_err();
    assert!(matches!(error, HttpError::Protocol { .. }), "{error:?}");
}

#[test]
fn the_head_is_bounded() {
    let (sent, size) = mpsc::channel();
    let address = server(move |mut stream| {
        Received::from(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        let line = format!("x-a: {}\r\n", "a".repeat(1000));
        let mut total = 0;
        // For ever, if the client lets it.
        while stream.write_all(line.as_bytes()).is_ok() && total < 100_000_000 {
            total += line.len();
        }
        sent.send(total).unwrap();
    });
    let error = send(get(format!("http://{address}/"))).unwrap_err();
    assert!(matches!(error, HttpError::Protocol { .. }), "{error:?}");
    assert!(error.to_string().ends_with("message head is too large"), "{error}");
    assert!(size.recv().unwrap() < 100_000_000);
}

#[test]
fn the_limit_of_the_head_is_not_that_of_the_buffer() {
    for (size, accepted) in [(30_000, true), (70_000, false)] {
        let (address, _requests) =
            answering(format!("HTTP/1.1 204 No Content\r\nx-a: {}\r\n\r\n", "a".repeat(size)));
        let config = HttpConfig { max_buffer: 1 << 20, ..direct() };
        let answer = block_on(client(config).send(get(format!("http://{address}/"))));
        assert_eq!(answer.is_ok(), accepted, "{size} bytes");
    }
}

#[test]
fn a_server_that_leaves_without_an_answer_is_an_unexpected_end() {
    for sent in ["", "HTTP/1.1 200 OK\r\nconte"] {
        let address = server(move |mut stream| {
            Received::from(&mut stream);
            stream.write_all(sent.as_bytes()).unwrap();
        });
        let error = send(get(format!("http://{address}/"))).unwrap_err();
        assert!(matches!(error, HttpError::UnexpectedEnd { .. }), "{error:?}");
    }
}

#[test]
fn a_body_that_is_cut_is_not_a_body_that_has_ended() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let counted = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    for (head, sent) in [
        (chunked, "5\r\nfirst\r\n"),      // between chunks
        (chunked, "5\r\nfirst\r\n9\r\n"), // before a chunk's bytes
        (chunked, "5\r\nfirst\r\n0\r\n"), // inside the terminator
        (counted, "first"),
    ] {
        let address = server(move |mut stream| {
            Received::from(&mut stream);
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(sent.as_bytes()).unwrap();
        });
        let mut body = send(get(format!("http://{address}/"))).unwrap().body;
        assert_eq!(block_on(body.chunk()).unwrap().unwrap(), "first");
        for _ in 0..2 {
            let error = block_on(body.chunk()).unwrap_err();
            assert!(matches!(error, HttpError::UnexpectedEnd { .. }), "{sent:?}: {error:?}");
        }
    }
}

#[test]
fn an_answer_without_a_length_ends_with_its_connection() {
    let address = server(move |mut stream| {
        Received::from(&mut stream);
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nold school").unwrap();
    });
    assert_eq!(text(send(get(format!("http://{address}/"))).unwrap()), "old school");
}

#[test]
fn a_reset_says_so() {
    let address = server(|mut stream| {
        Received::from(&mut stream);
        reset(stream);
    });
    let error = send(get(format!("http://{address}/"))).unwrap_err();
    assert!(matches!(error, HttpError::Reset { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!("the connection to http://{address}/ broke: connection reset by the other side")
    );

    let (go_on, signal) = mpsc::channel::<()>();
    let signal = std::sync::Mutex::new(signal);
    let address = server(move |mut stream| {
        Received::from(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").unwrap();
        signal.lock().unwrap().recv().unwrap();
        reset(stream);
    });
    let mut body = send(get(format!("http://{address}/"))).unwrap().body;
    assert_eq!(block_on(body.chunk()).unwrap().unwrap(), "first");
    go_on.send(()).unwrap();
    let error = block_on(body.chunk()).unwrap_err();
    assert!(matches!(error, HttpError::Reset { .. }), "{error:?}");
}

#[test]
fn collecting_is_bounded() {
    let (address, _requests) = answering(ok("four"));
    let url = format!("http://{address}/");
    assert_eq!(block_on(send(get(&url)).unwrap().body.collect(4)).unwrap(), "four");
    let error = block_on(send(get(&url)).unwrap().body.collect(3)).unwrap_err();
    assert!(matches!(error, HttpError::BodyTooLarge { limit: 3, .. }), "{error:?}");

    // Without a length that could be read off the head.
    let (address, _requests) =
        answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nfo\r\n2\r\nur\r\n0\r\n\r\n");
    let url = format!("http://{address}/");
    assert_eq!(block_on(send(get(&url)).unwrap().body.collect(4)).unwrap(), "four");
    let error = block_on(send(get(&url)).unwrap().body.collect(3)).unwrap_err();
    assert!(matches!(error, HttpError::BodyTooLarge { limit: 3, .. }), "{error:?}");
}

#[test]
fn nothing_secret_is_shown() {
    let (address, _requests) =
        answering("HTTP/1.1 200 OK\r\nset-cookie: c=s3cret\r\ncontent-length: 0\r\n\r\n");
    let mut config = direct();
    config.default_headers.insert("authorization", "s3cret".parse().unwrap());
    config.proxy = ProxyMode::Url("http://user:s3cret@127.0.0.1:1".to_owned());
    let mut request = post(format!("http://user:s3cret@{address}/?token=s3cret"), "s3cret");
    request.headers.insert("cookie", "s3cret".parse().unwrap());
    let proxied = client(config.clone());
    let refused = block_on(proxied.send(request.clone())).unwrap_err();
    let response = send(request.clone()).unwrap();
    for shown in [
        format!("{request:?} {config:?} {proxied:?} {response:?} {refused:?} {refused}"),
        format!("{:#?}", response.body),
    ] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
