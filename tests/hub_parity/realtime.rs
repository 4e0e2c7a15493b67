//! The realtime endpoint: handshake, submits, topics, options, identity.

use serde_json::{Value, json};

use crate::plain_client::{Message, Stream};
use crate::servers::{Posts, Server, encoded, on_both, on_pocketbase, with_options};

const VAGUE: &str = "Something went wrong while processing your request.";

#[test]
fn handshakes_byte_for_byte() {
    on_both(|server| {
        let stream = server.stream();
        assert_eq!(stream.status, 200);
        assert_eq!(stream.header("content-type"), Some("text/event-stream"));
        assert_eq!(stream.header("cache-control"), Some("no-store"));
        assert_eq!(stream.header("x-accel-buffering"), Some("no"));
        assert_eq!(stream.header("transfer-encoding"), Some("chunked"));
        let id = &stream.client_id;
        assert_eq!(id.len(), 40);
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
        let expected = format!("id:{id}\nevent:PB_CONNECT\ndata:{{\"clientId\":\"{id}\"}}\n\n");
        assert_eq!(stream.handshake, expected);
        assert_ne!(server.stream().client_id, *id);
    });
}

#[test]
fn refuses_submits_with_the_same_words() {
    on_both(|server| {
        let stream = server.stream();
        let id = stream.client_id.as_str();
        let blank = json!({ "code": "validation_required", "message": "Cannot be blank." });
        let too_long = |max: usize| {
            json!({
                "code": "validation_length_too_long",
                "message": format!("The length must be no more than {max}."),
                "params": { "max": max, "min": 0 },
            })
        };
        let out_of_range = json!({
            "code": "validation_length_out_of_range",
            "message": "The length must be between 1 and 255.",
            "params": { "max": 255, "min": 1 },
        });
        let many = vec!["a"; 1001];
        let (long, wide) = ("b".repeat(2501), "é".repeat(1251));
        let missing = "Missing or invalid client id.";
        let rows: Vec<(Value, u16, &str, Value)> = vec![
            (json!({}), 400, VAGUE, json!({ "clientId": blank })),
            (Value::Null, 400, VAGUE, json!({ "clientId": blank })),
            (json!({ "clientId": "" }), 400, VAGUE, json!({ "clientId": blank })),
            (json!({ "clientId": null }), 400, VAGUE, json!({ "clientId": blank })),
            (json!({ "clientId": 5 }), 400, VAGUE, json!({})),
            (json!([]), 400, VAGUE, json!({})),
            (json!({ "clientId": "x".repeat(256) }), 400, VAGUE, json!({ "clientId": out_of_range })),
            (json!({ "clientId": id, "subscriptions": "a" }), 400, VAGUE, json!({})),
            (json!({ "clientId": id, "subscriptions": [1] }), 400, VAGUE, json!({})),
            (
                json!({ "clientId": id, "subscriptions": many }),
                400,
                VAGUE,
                json!({ "subscriptions": too_long(1000) }),
            ),
            (
                json!({ "clientId": id, "subscriptions": ["a", long] }),
                400,
                VAGUE,
                json!({ "subscriptions": { "1": too_long(2500) } }),
            ),
            (
                json!({ "clientId": id, "subscriptions": [wide] }),
                400,
                VAGUE,
                json!({ "subscriptions": { "0": too_long(2500) } }),
            ),
            (
                json!({ "subscriptions": [long, "a", long] }),
                400,
                VAGUE,
                json!({
                    "clientId": blank,
                    "subscriptions": { "0": too_long(2500), "2": too_long(2500) },
                }),
            ),
            (json!({ "clientId": "nobody" }), 404, missing, json!({})),
            (json!({ "CLIENTID": "nobody", "Subscriptions": [null] }), 404, missing, json!({})),
        ];
        for (body, status, message, data) in rows {
            let answer = server.ask("POST", "/api/realtime").json(&body).send();
            let expected = json!({ "data": data, "message": message, "status": status });
            assert_eq!(answer.status, status, "{}: {}", server.name, answer.body);
            assert_eq!(answer.body.trim_end(), expected.to_string(), "{}", server.name);
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    });
}

#[test]
fn reads_bodies_by_their_content_type() {
    on_both(|server| {
        let stream = server.stream();
        let id = stream.client_id.as_str();
        let json = json!({ "clientId": id, "subscriptions": ["a"] }).to_string();
        for (content_type, body, status) in [
            ("application/json", json.clone(), 204),
            ("application/json; charset=utf-8", json.clone(), 204),
            ("application/json", format!("{json} and more"), 204),
            ("application/json", "{".to_owned(), 400),
            ("application/json", String::new(), 400),
            ("text/plain", json.clone(), 400),
            ("application/x-www-form-urlencoded", format!("clientId={id}&subscriptions=a"), 204),
            ("application/x-www-form-urlencoded", "subscriptions=a".to_owned(), 400),
        ] {
            let answer = server.ask("POST", "/api/realtime").raw(content_type, &*body).send();
            assert_eq!(answer.status, status, "{}: {content_type} {body}", server.name);
        }
    });
}

#[test]
fn accepts_sets_at_the_limits_and_empty_ones() {
    on_both(|server| {
        let stream = server.stream();
        server.subscribe(&stream, &vec!["a"; 1000]);
        server.subscribe(&stream, &[&"é".repeat(1250), "", " ", "no-such-collection/*"]);
        server.subscribe(&stream, &[]);
        for body in [
            json!({ "clientId": stream.client_id, "subscriptions": null }),
            json!({ "clientId": stream.client_id }),
        ] {
            let answer = server.ask("POST", "/api/realtime").json(&body).send();
            assert_eq!((answer.status, answer.body.as_str()), (204, ""));
        }
    });
}

#[test]
fn refuses_a_submit_from_another_address() {
    on_pocketbase(|server| {
        let stream = server.stream();
        let answer = server.submit(&stream, &["a"]).from([127, 0, 0, 2]).send();
        let body = r#"{"data":{},"message":"Invalid realtime client.","status":400}"#;
        assert_eq!((answer.status, answer.body.trim_end()), (400, body));
        server.subscribe(&stream, &["a"]);
    });
}

#[test]
fn tells_every_kind_of_topic_and_echoes_its_key() {
    on_both(|server| {
        let posts = server.posts();
        let record = server.create(&posts, &json!({ "title": "one" }));
        let (name, coll) = (&posts.name, &posts.id);
        let id = record["id"].as_str().unwrap();
        let matching = [
            format!("{name}/*"),
            format!("{coll}/*"),
            name.clone(),
            coll.clone(),
            format!("{name}/{id}"),
            format!("{coll}/{id}"),
            format!("{name}/*?other=1"),
            format!("{name}/*?options="),
            format!("{name}?options=%7B%7D"),
        ];
        let other = [
            name.to_uppercase(),
            format!("{name}/* "),
            format!("{name}/"),
            format!("{name}/%2A"),
            format!("{name}/*#x"),
            format!("{name}/zzzzzzzzzzzzzzz"),
            format!("{}/*", posts.authors),
        ];
        let mut stream = server.stream();
        let topics: Vec<&str> = matching.iter().chain(&other).map(String::as_str).collect();
        server.subscribe(&stream, &topics);

        let path = format!("{}/{id}", posts.path);
        let updated = server.ask("PATCH", &path).json(&json!({ "title": "two" })).send().value();
        assert_told(server, &mut stream, &matching, &updated, "update");
        assert_eq!(server.ask("DELETE", &path).send().status, 204);
        assert_told(server, &mut stream, &matching, &updated, "delete");
        let created = server.create(&posts, &json!({ "title": "three" }));
        let general: Vec<String> = matching.iter().filter(|topic| !topic.contains(id)).cloned().collect();
        assert_told(server, &mut stream, &general, &created, "create");
    });
}

#[track_caller]
fn assert_told(server: &Server, stream: &mut Stream, topics: &[String], record: &Value, action: &str) {
    let messages = stream.take(topics.len());
    let mut expected = topics.to_vec();
    expected.sort();
    let events: Vec<&str> = messages.iter().map(|message| message.event.as_str()).collect();
    assert_eq!(events, expected, "{}", server.name);
    for message in &messages {
        assert_eq!(message.id, stream.client_id);
        // Byte for byte: the record first, its keys sorted.
        let data = format!("{{\"record\":{record},\"action\":\"{action}\"}}");
        assert_eq!(message.data, data, "{}", server.name);
    }
}

/// Subscribes to the plain collection and to it with each query; makes the
/// changes; returns which of the queries the plain topic's message came with.
fn delivered(server: &Server, posts: &Posts, options: &[String], record: &Value) -> Vec<Message> {
    let mut stream = server.stream();
    let sentinel = format!("{}/*", posts.name);
    let mut topics: Vec<&str> = options.iter().map(String::as_str).collect();
    topics.push(&sentinel);
    server.subscribe(&stream, &topics);
    server.create(posts, record);
    // Deliveries of one change come together but in any order: after the
    // sentinel a second change flushes the rest.
    let mut messages = Vec::new();
    let mut sentinels = 0;
    while sentinels < 2 {
        let message = stream.next();
        if message.event == sentinel {
            sentinels += 1;
            if sentinels == 1 {
                server.subscribe(&stream, &[&sentinel]);
                server.create(posts, record);
            }
        } else {
            messages.push(message);
        }
    }
    messages.sort();
    messages
}

#[test]
fn filters_subscriptions() {
    on_both(|server| {
        let posts = server.posts();
        let author = format!("/api/collections/{}/records", posts.authors);
        let ann = server.ask("POST", &author).json(&json!({ "name": "Ann" })).send().value();
        let record = json!({
            "title": "It's 5%", "n": 5, "on": true, "author": ann["id"],
            "meta": { "k": 1, "list": [10, 20], "s": "x" },
        });
        let filter = |filter: &str| {
            with_options(&format!("{}/*", posts.name), &json!({ "query": { "filter": filter } }))
        };
        let yes = [
            "n=5",
            "n = \"5\"",
            "n>4&&n<6",
            "n>=5 && n<=5",
            "n!=4",
            "on=true",
            "on != false",
            "title='It\\'s 5%'",
            "title=\"It's 5%\"",
            "title~'IT'",
            "title~'5\\%'",
            "title~'it%'",
            "title!~'zzz'",
            "(n=1||n=5)&&on=true",
            "n=5 || n=1 && n=2",
            "meta.k=1",
            "meta.list.1=20",
            "meta.s='x'",
            "author.name='Ann'",
            "author.name~'n'",
            "meta.nothing=null",
            "title:lower=\"it's 5%\"",
            "created<=@now",
            "created>@yearStart",
            "n?=5",
            "n>0 // a comment",
            "id!=''",
            "5=n",
            "TRUE=on",
            "",
            "-1<n",
        ];
        let no = [
            "n=6",
            "n>5",
            "n!=5",
            "on=false",
            "title=\"it's 5%\"",
            "title~'_'",
            "title!~'it'",
            "title='5'",
            "meta.k='1'",
            "meta.k=2",
            "author.name='Bob'",
            "author.name!='Ann'",
            "n=1 && n=5 || n=2",
            "title=null",
            "created>@now",
            // Unknown, forbidden or unparsable: no events at all, and no error.
            "nope=5",
            "author.nope=1",
            "n",
            "n=",
            "(n=5",
            "n=5)",
            "n==5",
            "n=5 and n=5",
            "  ",
            "n=5e0",
            "n=.5",
            "@nope=1",
            "@request.auth.id=''",
            "title='open",
            "n=(5)",
            "!on=true",
        ];
        let topics: Vec<String> = yes.iter().chain(&no).map(|text| filter(text)).collect();
        let told = delivered(server, &posts, &topics, &record);
        let told: Vec<&str> = told.iter().map(|message| message.event.as_str()).collect();
        for text in yes {
            assert!(told.contains(&filter(text).as_str()), "{} keeps back {text}", server.name);
        }
        for text in no {
            assert!(!told.contains(&filter(text).as_str()), "{} delivers {text}", server.name);
        }
    });
}

#[test]
fn trims_and_expands_what_is_delivered() {
    on_both(|server| {
        let posts = server.posts();
        let author = format!("/api/collections/{}/records", posts.authors);
        let ann = server.ask("POST", &author).json(&json!({ "name": "Ann" })).send().value();
        let record = json!({ "title": "T", "n": 1, "author": ann["id"], "meta": { "a": 1, "b": 2 } });
        let query = |query: Value| {
            with_options(&format!("{}/*", posts.name), &json!({ "query": query, "headers": {} }))
        };
        let cases = [
            (query(json!({ "fields": "title,n" })), json!({ "title": "T", "n": 1 })),
            (query(json!({ "fields": " title , nope" })), json!({ "title": "T" })),
            (query(json!({ "fields": "meta.b" })), json!({ "meta": { "b": 2 } })),
            (query(json!({ "fields": 5 })), json!({})),
            (
                query(json!({ "fields": "expand.author.name", "expand": "author" })),
                json!({ "expand": { "author": { "name": "Ann" } } }),
            ),
            (query(json!({ "fields": "n", "expand": "nope,author" })), json!({ "n": 1 })),
            (
                query(json!({ "fields": "expand", "expand": "author" })),
                json!({ "expand": { "author": ann } }),
            ),
        ];
        let topics: Vec<String> = cases.iter().map(|(topic, _)| topic.clone()).collect();
        let told = delivered(server, &posts, &topics, &record);
        assert_eq!(told.len(), cases.len(), "{}", server.name);
        for (topic, expected) in cases {
            let message = told.iter().find(|message| message.event == topic).unwrap();
            assert_eq!(message.value()["record"], expected, "{} {topic}", server.name);
        }
    });
}

#[test]
fn drops_options_that_it_cannot_read() {
    on_both(|server| {
        let posts = server.posts();
        let topic = |raw: &str| format!("{}/*?{raw}", posts.name);
        let options = |json: &str| topic(&format!("options={}", encoded(json)));
        let nothing_passes = r#"{"query":{"filter":"n>5"}}"#;
        let unfiltered = [
            topic("options={bad"),
            topic("options=%zz"),
            options("5"),
            options("[]"),
            options(r#"{"query":5}"#),
            options(r#"{"headers":5,"query":{"filter":"n>5"}}"#),
            options(r#"{"query":{"filter":["n>5"]}}"#),
            options(r#"{"query":{"filter":null}}"#),
            options(r#"{"Query":{"filter":"n>5"}}"#),
            topic(&format!("a=1?options={}", encoded(nothing_passes))),
            topic(&format!("a=1#&options={}", encoded(nothing_passes))),
            topic(&format!("options={}\u{1}", encoded(nothing_passes))),
            topic(&format!("options={};", encoded(nothing_passes))),
            topic(&format!("options={}%zz", encoded(nothing_passes))),
        ];
        let filtered = [
            options(nothing_passes),
            options(r#"{"query":{"filter":"n>5"},"headers":5}"#),
            options(r#"{"query":{"filter":"n>5"}"#),
            options(r#"{"query":{"filter":"n>5"},"x":1}"#),
            options(r#"{"query":{"filter":true}}"#),
            topic(&format!("a=1&options={}", encoded(nothing_passes))),
            topic(&format!("a=1;b&options={}", encoded(nothing_passes))),
            topic(&format!("a=%zz&options={}", encoded(nothing_passes))),
            topic(&format!("options={}&options=%7B%7D", encoded(nothing_passes))),
            topic(&format!("options={}#x", encoded(nothing_passes))),
            topic(&format!("options={nothing_passes}")),
            topic(r#"options={"query":{"filter":"n+>+5"}}"#),
        ];
        let topics: Vec<String> = unfiltered.iter().chain(&filtered).cloned().collect();
        let told = delivered(server, &posts, &topics, &json!({ "n": 1 }));
        let mut expected = unfiltered.to_vec();
        expected.sort();
        let told: Vec<&str> = told.iter().map(|message| message.event.as_str()).collect();
        assert_eq!(told, expected, "{}", server.name);
    });
}

#[test]
fn replaces_the_whole_set() {
    on_both(|server| {
        let posts = server.posts();
        let (all, bare) = (format!("{}/*", posts.name), posts.name.clone());
        let mut stream = server.stream();
        server.subscribe(&stream, &[&all]);
        server.create(&posts, &json!({ "n": 1 }));
        assert_eq!(stream.next().event, all);
        server.subscribe(&stream, &[&bare, &bare]);
        server.create(&posts, &json!({ "n": 2 }));
        assert_eq!(stream.next().event, bare);
        server.subscribe(&stream, &[]);
        server.create(&posts, &json!({ "n": 3 }));
        server.subscribe(&stream, &[&all]);
        server.create(&posts, &json!({ "n": 4 }));
        // One message each: neither the duplicate key nor the cleared set tells.
        assert_eq!(stream.next().value()["record"]["n"], 4);
    });
}

#[test]
fn tells_nothing_when_a_record_leaves_a_filter() {
    on_both(|server| {
        let posts = server.posts();
        let record = server.create(&posts, &json!({ "n": 1 }));
        let path = format!("{}/{}", posts.path, record["id"].as_str().unwrap());
        let set = |n: i32| server.ask("PATCH", &path).json(&json!({ "n": n })).send().status;
        let topic = with_options(&format!("{}/*", posts.name), &json!({ "query": { "filter": "n<5" } }));
        let mut stream = server.stream();
        server.subscribe(&stream, &[&topic]);
        assert_eq!((set(9), set(2)), (200, 200));
        let back = stream.next().value();
        assert_eq!((&back["record"]["n"], &back["action"]), (&json!(2), &json!("update")));
        assert_eq!(set(9), 200);
        assert_eq!(server.ask("DELETE", &path).send().status, 204);
        server.create(&posts, &json!({ "n": 3 }));
        assert_eq!(stream.next().value()["action"], "create");
    });
}

#[test]
fn publishes_custom_messages_unescaped() {
    on_both(|server| {
        let mut stream = server.stream();
        let exact = format!("jobs/{}", stream.client_id);
        let with_query = format!("{exact}?x=1");
        server.subscribe(&stream, &[&exact]);
        assert_eq!(server.publish(&with_query, "not for us"), 0);
        assert_eq!(server.publish(&exact, "hello\nid:5\n\nworld"), 1);
        let raw = format!("id:{}\nevent:{exact}\ndata:hello\nid:5\n\nworld\n\n", stream.client_id);
        assert_eq!(stream.next_raw(), raw);
        assert_eq!(server.publish(&exact, ""), 1);
        let raw = format!("id:{}\nevent:{exact}\ndata:\n\n", stream.client_id);
        assert_eq!(stream.next_raw(), raw);
    });
}

#[test]
fn binds_a_stream_to_its_first_user() {
    on_both(|server| {
        let (id, _, token) = server.user();
        let (_, _, other) = server.user();
        let mut stream = server.stream();
        server.subscribe(&stream, &["users/*"]);
        let submit = |token: Option<&str>| {
            let ask = server.submit(&stream, &["users/*"]);
            let answer = token.into_iter().fold(ask, |ask, token| ask.token(token)).send();
            (answer.status, answer.body.trim_end().to_owned())
        };
        // A token that means nobody leaves a guest a guest.
        assert_eq!(submit(Some("garbage")).0, 204);
        assert_eq!(submit(Some(&token)).0, 204);
        assert_eq!(submit(Some(&format!("Bearer {token}"))).0, 204);
        let refused = "{\"data\":{},\"message\":\"The current and the previous request \
                       authorization don't match.\",\"status\":403}";
        for stranger in [Some(other.as_str()), None, Some("garbage"), Some(&server.root)] {
            assert_eq!(submit(stranger), (403, refused.to_owned()), "{}", server.name);
        }
        let refresh = "/api/collections/users/auth-refresh";
        let renewed = server.ask("POST", refresh).token(&token).send().value();
        assert_eq!(submit(renewed["token"].as_str()).0, 204);

        // Bound, it sees what the user may see: the own account and no other.
        let (stranger, _, _) = server.user();
        for account in [stranger, id.clone()] {
            let path = format!("/api/collections/users/records/{account}");
            let answer = server.ask("PATCH", &path).token(&server.root).json(&json!({ "name": "X" })).send();
            assert_eq!(answer.status, 200);
        }
        assert_eq!(stream.next().value()["record"]["id"], *id);
    });
}

#[test]
fn makes_a_stream_a_guests_when_the_password_changes() {
    on_pocketbase(|server| {
        let (id, _, token) = server.user();
        let stream = server.stream();
        assert_eq!(server.submit(&stream, &["a"]).token(&token).send().status, 204);
        assert_eq!(server.submit(&stream, &["a"]).send().status, 403);
        let path = format!("/api/collections/users/records/{id}");
        let change = json!({ "password": "another-horse-2", "passwordConfirm": "another-horse-2" });
        let answer = server.ask("PATCH", &path).token(&server.root).json(&change).send();
        assert_eq!(answer.status, 200, "{}", answer.body);
        // The old token means nobody now, and so does the stream.
        assert_eq!(server.submit(&stream, &["a"]).token(&token).send().status, 204);
        assert_eq!(server.submit(&stream, &["a"]).send().status, 204);
    });
}
