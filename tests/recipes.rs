//! The recipes of docs/event-source.md, against servers that behave as those they are for.
#![cfg(all(feature = "async-io", feature = "hub"))]
#![allow(unreachable_pub)] // The recipes are those of a program.

#[path = "../examples/recipes/anthropic.rs"]
mod anthropic;
#[path = "../examples/recipes/flags.rs"]
mod flags;
#[path = "../examples/recipes/mcp.rs"]
mod mcp;
#[path = "../examples/recipes/openai.rs"]
mod openai;
mod scripted;

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use futures::executor::block_on;
use scripted::{PATIENCE, Peer, Server};
use serde_json::{Value, json};
use tidings::{
    Error,
    hub::{Hub, Message},
};

const JSON: &str = "content-type: application/json\r\n";

type Chat = thread::JoinHandle<Result<String, String>>;

fn ask_openai(server: &Server) -> Chat {
    let url = server.url("/v1/chat/completions");
    thread::spawn(move || block_on(openai::chat(&url, "key", "Hello")).map_err(|error| error.to_string()))
}

fn ask_anthropic(server: &Server) -> Chat {
    let url = server.url("/v1/messages");
    thread::spawn(move || block_on(anthropic::chat(&url, "key", "Hello")).map_err(|error| error.to_string()))
}

/// What OpenAI sends for a piece of text.
fn piece(text: &str) -> String {
    format!(
        "data: {}\n\n",
        json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
    )
}

/// What Anthropic sends for one.
fn delta(text: &str) -> String {
    let data =
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    format!("event: content_block_delta\ndata: {data}\n\n")
}

fn checked(peer: Peer, header: &str, value: &str) -> Peer {
    assert!(peer.request_line.starts_with("POST /v1/"), "{}", peer.request_line);
    assert_eq!(peer.header(header), Some(value));
    let body: Value = serde_json::from_slice(&peer.body).unwrap();
    assert_eq!((&body["stream"], &body["messages"][0]["content"]), (&json!(true), &json!("Hello")));
    peer
}

#[test]
fn openai_answers_after_429_once() {
    let server = Server::start();
    let chat = ask_openai(&server);
    let busy = r#"{"error": {"message": "Rate limit reached", "type": "requests"}}"#;
    checked(server.accept(), "authorization", "Bearer key").answer(429, "retry-after: 1\r\n", busy);
    let mut peer = checked(server.accept_stream(), "authorization", "Bearer key");
    let first = json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]});
    peer.send(format!(": keep-alive\n\ndata: {first}\n\n{}{}", piece("Hel"), piece("lo")));
    // The last chunk of some servers has no choices, but the usage.
    peer.send("data: {\"choices\": [], \"usage\": {\"total_tokens\": 9}}\n\ndata: [DONE]\n\n");
    peer.end();
    assert_eq!(chat.join().unwrap().unwrap(), "Hello");
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn openai_fails_in_all_the_ways_it_can() {
    let server = Server::start();
    let chat = ask_openai(&server);
    server.accept().answer(401, JSON, r#"{"error": {"message": "Incorrect API key provided"}}"#);
    let error = chat.join().unwrap().unwrap_err();
    assert!(error.ends_with("/completions: the server answered 401: Incorrect API key provided"), "{error}");

    let chat = ask_openai(&server);
    let mut peer = server.accept_stream();
    peer.send(piece("Hel"));
    peer.cut();
    let error = chat.join().unwrap().unwrap_err();
    assert!(error.starts_with("the stream was cut after 1 message: "), "{error}");

    let chat = ask_openai(&server);
    let mut peer = server.accept_stream();
    peer.send(piece("Hel") + "data: {\"error\": {\"message\": \"The server had an error\"}}\n\n");
    peer.end();
    assert_eq!(chat.join().unwrap().unwrap_err(), "The server had an error");

    let chat = ask_openai(&server);
    let mut peer = server.accept_stream();
    peer.send(piece("Hel"));
    peer.end();
    assert_eq!(chat.join().unwrap().unwrap_err(), "the answer ended before [DONE]");
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn anthropic_answers_after_529_once() {
    let server = Server::start();
    let chat = ask_anthropic(&server);
    let busy = r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#;
    checked(server.accept(), "x-api-key", "key").answer(529, JSON, busy);
    let mut peer = checked(server.accept_stream(), "x-api-key", "key");
    assert_eq!(peer.header("anthropic-version"), Some("2023-06-01"));
    peer.send(
        "event: message_start\ndata: {\"type\": \"message_start\", \"message\": {\"content\": []}}\n\n",
    );
    peer.send("event: ping\ndata: {\"type\": \"ping\"}\n\n");
    peer.send(delta("Hel") + &delta("lo") + "event: message_stop\ndata: {\"type\": \"message_stop\"}\n\n");
    peer.end();
    assert_eq!(chat.join().unwrap().unwrap(), "Hello");
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn anthropic_fails_in_all_the_ways_it_can() {
    let server = Server::start();
    let chat = ask_anthropic(&server);
    let mut peer = server.accept_stream();
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    peer.send(delta("Hel") + &format!("event: error\ndata: {error}\n\n"));
    peer.end();
    assert_eq!(chat.join().unwrap().unwrap_err(), "Overloaded");

    let chat = ask_anthropic(&server);
    let mut peer = server.accept_stream();
    peer.send(delta("Hel") + "event: ping\ndata: {\"type\": \"ping\"}\n\n");
    peer.cut();
    let error = chat.join().unwrap().unwrap_err();
    assert!(error.starts_with("the stream was cut after 2 messages: "), "{error}");
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn flags_resume_with_the_last_id_and_a_new_token() {
    let hub = Hub::start().unwrap();
    let stream = hub.sse("/flags");
    let (sender, changes) = mpsc::channel();
    let asked = Arc::new(Mutex::new(0));
    // As a program that starts again with what it has saved.
    for (saved, first) in [("", 1), ("2", 3)] {
        let (url, asked, sender) = (stream.url(), asked.clone(), sender.clone());
        let ends = thread::spawn(move || {
            let token = move || {
                *asked.lock().unwrap() += 1;
                let token = format!("t{}", asked.lock().unwrap());
                async move { Ok::<_, io::Error>(Some(token)) }
            };
            block_on(flags::follow(&url, saved, token, |flag, value, id| {
                sender.send((flag.to_owned(), value.clone(), id.to_owned())).unwrap();
            }))
        });
        let change = || changes.recv_timeout(PATIENCE).unwrap();
        let until = |streams| {
            while stream.streams() != streams {
                thread::yield_now();
            }
        };
        until(1);
        if first == 1 {
            stream.send(Message::data(r#"{"dark": true}"#).event("put").id("1"));
            assert_eq!(change(), ("dark".to_owned(), json!(true), "1".to_owned()));
        } else {
            // Missed while the program was not running.
            assert_eq!(change(), ("dark".to_owned(), json!(3), "3".to_owned()));
        }
        stream.end_streams();
        until(0);
        // Missed while the stream was down.
        stream.send(
            Message::data(format!(r#"{{"dark": {}}}"#, first + 1)).event("patch").id((first + 1).to_string()),
        );
        assert_eq!(change(), ("dark".to_owned(), json!(first + 1), (first + 1).to_string()));
        stream.answer_next(tidings::hub::Answer::status(204), 1);
        stream.end_streams();
        // 204 is an error here: whoever follows flags for ever wants to know.
        assert_eq!(ends.join().unwrap().unwrap_err().status(), Some(204));
        stream.send(Message::data(r#"{"dark": 3}"#).event("patch").id("3"));
    }
    let seen: Vec<_> = stream.requests();
    let ids: Vec<_> =
        seen.iter().map(|request| request.header("last-event-id").unwrap_or_default()).collect();
    assert_eq!(ids, ["", "1", "2", "2", "3", "4"]);
    let tokens: Vec<_> =
        seen.iter().map(|request| request.header("authorization").unwrap_or_default()).collect();
    assert_eq!(tokens, ["Bearer t1", "Bearer t2", "Bearer t3", "Bearer t4", "Bearer t5", "Bearer t6"]);
}

#[test]
fn mcp_answers_with_json_or_with_a_stream_in_one_session() {
    let server = Server::start();
    let url = server.url("/mcp");
    let calls = thread::spawn(move || {
        block_on(async {
            let mut session = None;
            let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}});
            let first = mcp::call(&url, &mut session, &initialize).await?;
            let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
            let second = mcp::call(&url, &mut session, &list).await?;
            let gone = mcp::call(&url, &mut session, &list).await.unwrap_err();
            Ok::<_, Error>((first, second, session, gone))
        })
    });
    let peer = server.accept();
    assert_eq!(peer.header("accept"), Some("application/json, text/event-stream"));
    assert_eq!(peer.header("mcp-session-id"), None);
    let reply = r#"{"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": "2025-06-18"}}"#;
    peer.answer(200, "content-type: application/json\r\nmcp-session-id: s1\r\n", reply);

    let mut peer = server.accept_stream();
    assert_eq!(peer.header("mcp-session-id"), Some("s1"));
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}});
    let reply = json!({"jsonrpc": "2.0", "id": 2, "result": {"tools": []}});
    peer.send(format!("id: 1\nevent: message\ndata: {progress}\n\nid: 2\ndata: {reply}\n\n"));
    peer.end();
    server.accept().answer(
        404,
        JSON,
        r#"{"jsonrpc": "2.0", "error": {"code": -32001, "message": "No session"}}"#,
    );

    let (first, second, session, gone) = calls.join().unwrap().unwrap();
    assert_eq!(first["result"]["protocolVersion"], "2025-06-18");
    assert_eq!((second, session.as_deref()), (reply, Some("s1")));
    assert!(gone.to_string().ends_with("/mcp: the server answered 404: No session"), "{gone}");
    assert_eq!(server.unaccepted(), 0);
}

#[test]
fn the_page_shows_the_recipes_as_they_are_and_they_are_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/event-source.md")).unwrap();
    let mut count = 0;
    for file in fs::read_dir(root.join("examples/recipes")).unwrap() {
        let path = file.unwrap().path();
        let Some("rs" | "py") = path.extension().and_then(|extension| extension.to_str()) else { continue };
        let recipe = fs::read_to_string(&path).unwrap();
        let body = recipe.trim_end();
        assert!(page.contains(&format!("\n{body}\n```\n")), "{} is not on the page as it is", path.display());
        let lines = body.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//"));
        assert!(lines.count() <= 25, "{}", path.display());
        count += 1;
    }
    assert_eq!(count, 8);
}
