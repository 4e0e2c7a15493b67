//! Several changes in one request: all or none.

use std::cell::RefCell;

use serde_json::{Value, json};

use crate::plain_client::Answer;
use crate::servers::{Server, on_both};

fn batch(server: &Server, requests: &Value) -> Answer {
    server.ask("POST", "/api/batch").json(&json!({ "requests": requests })).send()
}

#[test]
fn makes_several_changes_and_tells_of_each() {
    on_both(|server| {
        let posts = server.posts();
        let mut stream = server.stream();
        server.subscribe(&stream, &[&format!("{}/*", posts.name)]);
        let id = "batchbatchbatch";
        let one = format!("{}/{id}", posts.path);
        let answer = batch(
            server,
            &json!([
                { "method": "POST", "url": posts.path, "body": { "id": id, "title": "A" } },
                { "method": "PATCH", "url": format!("{one}?fields=title,n"), "body": { "n": 2 } },
                { "method": "PUT", "url": posts.path, "body": { "id": id, "title": "B" } },
                { "method": "DELETE", "url": one },
                { "method": "PUT", "url": posts.path, "body": { "title": "C" } },
            ]),
        );
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answers = answer.value();
        let statuses: Vec<_> = answers.as_array().expect("a list").iter().map(|a| &a["status"]).collect();
        assert_eq!(statuses, [200, 200, 200, 204, 200]);
        assert_eq!(answers[0]["body"]["id"], id);
        assert_eq!(answers[1]["body"], json!({ "title": "A", "n": 2 }));
        assert_eq!((&answers[2]["body"]["title"], &answers[2]["body"]["n"]), (&json!("B"), &json!(2)));
        assert_eq!(answers[3]["body"], Value::Null);
        let told = stream.take(5);
        let count = |action: &str| told.iter().filter(|m| m.value()["action"] == action).count();
        assert_eq!((count("create"), count("update"), count("delete")), (2, 2, 1));
    });
}

#[test]
fn makes_no_change_when_one_is_refused() {
    on_both(|server| {
        let posts = server.posts();
        let mut stream = server.stream();
        server.subscribe(&stream, &[&format!("{}/*", posts.name)]);
        let kept = server.create(&posts, &json!({ "title": "kept" }));
        let one = format!("{}/{}", posts.path, kept["id"].as_str().expect("an id"));
        let answer = batch(
            server,
            &json!([
                { "method": "POST", "url": posts.path, "body": { "title": "A" } },
                { "method": "DELETE", "url": one },
                { "method": "PATCH", "url": one, "body": {} },
            ]),
        );
        let response = json!({
            "data": {}, "message": "The requested resource wasn't found.", "status": 404,
        });
        let fault = json!({
            "code": "batch_request_failed", "message": "Batch request failed.", "response": response,
        });
        let expected = json!({
            "data": { "requests": { "2": fault } }, "message": "Batch transaction failed.", "status": 400,
        });
        assert_eq!((answer.status, answer.value()), (400, expected));
        let list = server.ask("GET", &posts.path).send().value();
        assert_eq!(list["items"], json!([kept]), "{}", server.name);
        // Nobody has heard of what did not happen.
        server.create(&posts, &json!({ "title": "after" }));
        let mut titles: Vec<_> = [stream.next(), stream.next()]
            .map(|m| m.value()["record"]["title"].as_str().expect("a title").to_owned())
            .into();
        titles.sort();
        assert_eq!(titles, ["after", "kept"]);
    });
}

#[test]
fn refuses_batches_with_the_same_words() {
    let first = RefCell::new(None);
    on_both(|server| {
        let posts = server.posts();
        let nowhere = "/api/collections/nope/records";
        let many = vec![json!({ "method": "POST", "url": posts.path }); 51];
        let rows = [
            json!([]),
            json!(null),
            json!(5),
            json!(many),
            json!([{}]),
            json!([{ "method": "POST", "url": posts.path }, { "method": "POST" }]),
            json!([{ "method": "OPTIONS", "url": posts.path }]),
            json!([{ "method": "GET", "url": posts.path }]),
            json!([{ "method": "POST", "url": "/api/health" }]),
            json!([{ "method": "POST", "url": nowhere, "body": {} }]),
            json!([{ "method": "PATCH", "url": format!("{nowhere}/abc"), "body": {} }]),
            json!([{ "method": "POST", "url": posts.path, "body": { "id": "x" } }]),
        ];
        let answers: Vec<_> =
            rows.iter().map(|requests| batch(server, requests)).map(|a| (a.status, a.body)).collect();
        let raw = server.ask("POST", "/api/batch").raw("application/json", "{").send();
        assert_eq!(raw.status, 400);
        let said: Vec<(u16, Value)> = answers
            .into_iter()
            .chain([(raw.status, raw.body)])
            .map(|(status, body)| (status, serde_json::from_str(&body).expect("JSON")))
            .collect();
        // What the first server said the second has to say.
        assert_eq!(*first.borrow_mut().get_or_insert(said.clone()), said);
    });
}
