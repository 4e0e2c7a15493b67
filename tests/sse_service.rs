//! The service of the conformance suite, as a process, driven once as the suite drives it.
#![cfg(all(feature = "async-io", feature = "hub"))]

mod scripted;

use std::{
    env,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use futures::executor::block_on;
use scripted::{Peer, Server};
use serde_json::{Value, json};
use tidings::{Client, Response};

/// Beside the tests, where `cargo test` puts it; `cargo test --test sse_service` does not.
fn program() -> PathBuf {
    let tests = env::current_exe().unwrap();
    let built = tests.parent().unwrap().parent().unwrap();
    let program = built.join("examples").join(format!("sse_service{}", env::consts::EXE_SUFFIX));
    if !program.exists() {
        let status = Command::new(env!("CARGO")).args(["build", "--example", "sse_service"]).status();
        assert!(status.unwrap().success());
    }
    program
}

struct Service {
    process: Child,
    client: Client,
}

impl Service {
    fn start() -> Self {
        let mut process = Command::new(program()).arg("0").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap();
        Self { client: Client::builder(url).no_proxy().build().unwrap(), process }
    }

    fn send(&self, method: &str, path: &str, body: impl Into<Option<Value>>) -> Response {
        block_on(async { self.client.send(method, path, body).await }).unwrap()
    }

    fn refuses(&self, method: &str, path: &str, body: impl Into<Option<Value>>) -> Option<u16> {
        block_on(async { self.client.send(method, path, body).await }).unwrap_err().status()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// The next callback, with its number.
fn callback(callbacks: &Server) -> (String, Value) {
    let peer: Peer = callbacks.accept();
    let number = peer.request_line.split(' ').nth(1).unwrap().to_owned();
    let message = serde_json::from_slice(&peer.body).unwrap();
    peer.answer(202, "", "");
    (number, message)
}

#[test]
fn a_suite_can_drive_an_event_source_over_http() {
    let mut service = Service::start();
    let (streams, callbacks) = (Server::start(), Server::start());

    let about: Value = service.send("GET", "/", None).json().unwrap();
    for capability in [
        "comments",
        "headers",
        "last-event-id",
        "post",
        "read-timeout",
        "report",
        "restart",
        "server-directed-shutdown-request",
    ] {
        assert!(about["capabilities"].as_array().unwrap().iter().any(|known| known == capability));
    }

    let wanted = json!({
        "streamUrl": streams.url("/stream"),
        "callbackUrl": callbacks.url("/callbacks/9"),
        "tag": "a test",
        "initialDelayMs": 0,
        "readTimeoutMs": 60_000,
        "lastEventId": "abc",
        "headers": {"header-name-1": "value-1", "content-type": "text/plain"},
        "method": "REPORT",
        "body": "question",
    });
    let created = service.send("POST", "/", wanted);
    assert_eq!(created.status(), 201);
    let location = created.header("location").unwrap();
    let stream = format!("/streams/{}", location.rsplit('/').next().unwrap());
    assert!(location.starts_with("http://127.0.0.1:") && location.ends_with(&stream), "{location}");

    let mut peer = streams.accept_stream();
    assert_eq!((&*peer.request_line, &*peer.body), ("REPORT /stream HTTP/1.1", &b"question"[..]));
    assert_eq!(peer.header("last-event-id"), Some("abc"));
    assert_eq!(peer.header("header-name-1"), Some("value-1"));
    assert_eq!(peer.header("content-type"), Some("text/plain"));
    peer.send(": hello\nid: 1\nevent: put\ndata: a\n\n");
    let comment = json!({"kind": "comment", "comment": "hello"});
    assert_eq!(callback(&callbacks), ("/callbacks/9/1".into(), comment));
    let event = json!({"kind": "event", "event": {"type": "put", "data": "a", "id": "1"}});
    assert_eq!(callback(&callbacks), ("/callbacks/9/2".into(), event));

    let listen = json!({"command": "listen", "listen": {"type": "put"}});
    assert_eq!(service.send("POST", &stream, listen).status(), 202);
    assert_eq!(service.send("POST", &stream, json!({"command": "restart"})).status(), 202);
    peer.waits_for_the_end();
    let mut peer = streams.accept_stream();
    assert_eq!(peer.header("last-event-id"), Some("1"));
    // No error for the restart, but one for the loss.
    peer.send("data: b\n\n");
    let event = json!({"kind": "event", "event": {"type": "message", "data": "b", "id": "1"}});
    assert_eq!(callback(&callbacks), ("/callbacks/9/3".into(), event));
    peer.cut();
    let (number, error) = callback(&callbacks);
    assert_eq!((&*number, &error["kind"]), ("/callbacks/9/4", &json!("error")));
    assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()));

    let peer = streams.accept_stream();
    assert_eq!(service.send("DELETE", &stream, None).status(), 204);
    peer.waits_for_the_end();
    assert_eq!(service.refuses("DELETE", &stream, None), Some(404));
    assert_eq!(service.refuses("POST", &stream, json!({"command": "restart"})), Some(404));
    assert_eq!(service.refuses("POST", "/", json!({"callbackUrl": "http://127.0.0.1/"})), Some(400));
    let bad = json!({"streamUrl": "ftp://127.0.0.1/", "callbackUrl": "http://127.0.0.1/"});
    assert_eq!(service.refuses("POST", "/", bad), Some(400));

    // 204 is the server's wish that nobody comes back.
    let wanted =
        json!({"streamUrl": streams.url("/"), "callbackUrl": callbacks.url("/"), "initialDelayMs": 0});
    service.send("POST", "/", wanted);
    streams.accept_stream().end();
    assert_eq!(callback(&callbacks).1["kind"], "error");
    streams.accept().answer(204, "", "");
    assert_eq!(callback(&callbacks).1["kind"], "error");
    assert_eq!(streams.unaccepted(), 0);

    assert_eq!(service.send("DELETE", "/", None).status(), 204);
    assert!(service.process.wait().unwrap().success());
}
