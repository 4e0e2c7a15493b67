//! Cookies of an answer come back, so that a load balancer keeps a stream and the requests about it on one instance.
#![cfg(feature = "async-io")]

mod scripted;

use std::{future::IntoFuture, io::Write};

use scripted::{Peer, Server, follow};
use tidings::{Client, EventSource};

fn open_stream(peer: &mut Peer, cookies: &str) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{cookies}\r\n");
    let hello = "id:1\nevent:PB_CONNECT\ndata:{\"clientId\":\"1\"}\n\n";
    peer.socket.write_all(format!("{head}{hello}").as_bytes()).unwrap();
}

#[test]
fn what_the_stream_sets_comes_back_with_the_submit_and_with_requests() {
    let server = Server::start();
    let own = server.url("");
    let client = Client::builder(&own).verify_topics(false).header("Cookie", "own=1").build().unwrap();
    let subscribing = client.collection("posts").subscribe("*").start().unwrap();
    let mut stream = server.accept();
    assert_eq!(stream.header("cookie"), Some("own=1"));
    open_stream(
        &mut stream,
        "set-cookie: AWSALB=a; Path=/; HttpOnly\r\nset-cookie: far=1; Path=/elsewhere\r\n",
    );
    let submit = server.accept();
    assert!(submit.request_line.starts_with("POST"));
    assert_eq!(submit.header("cookie"), Some("own=1; AWSALB=a"));
    submit.answer(204, "", "");
    futures::executor::block_on(subscribing.ready()).unwrap();

    let sending = client.clone();
    let request = std::thread::spawn(move || {
        futures::executor::block_on(sending.send("GET", "/x", None).into_future())
    });
    let peer = server.accept();
    assert_eq!(peer.header("cookie"), Some("own=1; AWSALB=a"));
    peer.answer(200, "set-cookie: AWSALB=; Max-Age=0; Path=/\r\n", "{}");
    request.join().unwrap().unwrap();

    // Another client begins without.
    let other = Client::new(&own).unwrap();
    let _subscribing = other.collection("posts").subscribe("*").start().unwrap();
    assert_eq!(server.accept().header("cookie"), None);
}

#[test]
fn an_event_source_comes_back_with_its_cookie_and_takes_none_elsewhere() {
    let (server, other) = (Server::start(), Server::start());
    let source = EventSource::builder(&server.url("/s"));
    let source = follow(source.retry(std::time::Duration::ZERO).no_proxy().build().unwrap());
    let mut stream = server.accept();
    open_stream(&mut stream, "set-cookie: node=7\r\n");
    source.opened();
    source.message();
    stream.cut();
    source.disconnected();
    let again = server.accept();
    assert_eq!(again.header("cookie"), Some("node=7"));
    again.redirect(302, &other.url("/s"));
    assert_eq!(other.accept_stream().header("cookie"), None);
    source.opened();
}

/// Without a cookie or something like it, the submit comes to another server, which does not know the stream.
#[test]
fn a_stream_that_is_unknown_at_once_is_explained() {
    let server = Server::start();
    let client = Client::builder(&server.url("")).verify_topics(false).build().unwrap();
    let asking = client.collection("posts").subscribe("*").into_future();
    let asking = std::thread::spawn(move || futures::executor::block_on(asking).map(drop));
    // A caller that waits is given three streams.
    for _ in 0..3 {
        let mut stream = server.accept();
        open_stream(&mut stream, "");
        let submit = server.accept();
        submit.answer(404, "", r#"{"message":"Missing or invalid client id.","status":404}"#);
    }
    let error = asking.join().unwrap().unwrap_err();
    assert_eq!(error.status(), Some(404));
    assert!(error.to_string().contains("sticky sessions"), "{error}");
}
