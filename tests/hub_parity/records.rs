//! Records over HTTP: shapes, lists, filters, refusals.

use serde_json::{Value, json};

use crate::servers::{encoded, on_both, on_pocketbase};

fn refusal(status: u16, message: &str) -> String {
    json!({ "data": {}, "message": message, "status": status }).to_string()
}

const VAGUE: &str = "Something went wrong while processing your request.";
const MISSING: &str = "The requested resource wasn't found.";

#[test]
fn creates_views_updates_and_deletes() {
    on_pocketbase(|server| {
        let posts = server.posts();
        let made = server.create(&posts, &json!({ "title": "A", "unknown": 1, "meta": [1] }));
        let keys: Vec<&str> = made.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = [
            "author",
            "collectionId",
            "collectionName",
            "created",
            "id",
            "meta",
            "n",
            "on",
            "title",
            "updated",
        ];
        assert_eq!(keys, expected, "{}", server.name);
        assert_eq!(made["collectionId"], *posts.id);
        assert_eq!(made["collectionName"], *posts.name);
        assert_eq!((&made["n"], &made["on"], &made["author"]), (&json!(0), &json!(false), &json!("")));
        let id = made["id"].as_str().unwrap();
        assert!(id.len() == 15 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
        let created = made["created"].as_str().unwrap();
        let shape: String = created.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00 00:00:00.000Z");

        let path = format!("{}/{id}", posts.path);
        assert_eq!(server.ask("GET", &path).send().value(), made);
        let by_id = format!("/api/collections/{}/records/{id}?fields=n,title", posts.id);
        assert_eq!(server.ask("GET", &by_id).send().value(), json!({ "n": 0, "title": "A" }));
        let changed = server.ask("PATCH", &path).json(&json!({ "n": 7, "title": null })).send();
        let changed = changed.value();
        assert_eq!((&changed["n"], &changed["title"]), (&json!(7), &json!("")));
        assert_eq!(changed["created"], made["created"]);
        assert!(changed["updated"].as_str() >= made["updated"].as_str());
        let gone = server.ask("DELETE", &path).send();
        assert_eq!((gone.status, gone.body.as_str()), (204, ""));
        for method in ["GET", "PATCH", "DELETE"] {
            let answer = server.ask(method, &path).send();
            assert_eq!(answer.body.trim_end(), refusal(404, MISSING), "{} {method}", server.name);
        }
    });
}

#[test]
fn refuses_bad_records_with_the_same_words() {
    on_both(|server| {
        let posts = server.posts();
        let id = "abcdefghij12345";
        server.create(&posts, &json!({ "id": id }));
        let one =
            |field: &str, code: &str, message: &str| json!({ field: { "code": code, "message": message } });
        let text = |end: &str, limit: &str, message: &str| {
            json!({ "id": {
                "code": format!("validation_{end}_text_constraint"),
                "message": message,
                "params": { limit: 15 },
            } })
        };
        for (body, data) in [
            (json!({ "id": id }), one("id", "validation_not_unique", "Value must be unique.")),
            (json!({ "id": "ab" }), text("min", "min", "Must be at least 15 character(s).")),
            (
                json!({ "id": "abcdefghij123456" }),
                text("max", "max", "Must be no more than 15 character(s)."),
            ),
            (
                json!({ "id": "ABCDEFGHIJ12345" }),
                one("id", "validation_invalid_format", "Invalid value format."),
            ),
            (
                json!({ "author": "nobody" }),
                one(
                    "author",
                    "validation_missing_rel_records",
                    "Failed to find all relation records with the provided ids.",
                ),
            ),
        ] {
            let answer = server.ask("POST", &posts.path).json(&body).send();
            let expected = json!({ "data": data, "message": "Failed to create record.", "status": 400 });
            assert_eq!(answer.value(), expected, "{}", server.name);
        }
        let path = format!("{}/{id}", posts.path);
        let moved = server.ask("PATCH", &path).json(&json!({ "id": "abcdefghij99999" })).send();
        let message = "The record primary key cannot be changed.";
        let data = one("id", "validation_pk_change", message);
        let expected = json!({ "data": data, "message": "Failed to update record.", "status": 400 });
        assert_eq!(moved.value(), expected);

        for (content_type, body, message) in [
            ("application/json", "{", VAGUE),
            ("application/json", "[1]", VAGUE),
            ("text/plain", "{}", "Unsupported Content-Type."),
        ] {
            let answer = server.ask("POST", &posts.path).raw(content_type, body).send();
            assert_eq!(answer.body.trim_end(), refusal(400, message), "{} {body}", server.name);
        }
    });
}

#[test]
fn refuses_what_is_not_there_with_the_same_words() {
    on_both(|server| {
        let posts = server.posts();
        let (list, one) = ("/api/collections/nope/records", "/api/collections/nope/records/x");
        let no_context = "Missing collection context.";
        let bad_context = "Missing or invalid collection context.";
        let superusers = "/api/collections/_superusers/records";
        let only = "Only superusers can perform this action.";
        for (method, path, status, message) in [
            ("GET", list, 404, no_context),
            ("POST", list, 404, bad_context),
            ("GET", one, 404, no_context),
            ("PATCH", one, 404, bad_context),
            ("DELETE", one, 404, no_context),
            ("POST", one, 404, MISSING),
            ("DELETE", posts.path.as_str(), 404, MISSING),
            ("PUT", "/api/realtime", 404, MISSING),
            ("GET", "/api/nope", 404, "File not found."),
            ("GET", "/nope", 404, "File not found."),
            ("GET", superusers, 403, only),
        ] {
            let answer = server.ask(method, path).send();
            assert_eq!(answer.status, status, "{} {method} {path}", server.name);
            let expected = refusal(status, message);
            assert_eq!(answer.body.trim_end(), expected, "{} {method} {path}", server.name);
        }
    });
}

#[test]
fn is_healthy() {
    on_both(|server| {
        let answer = server.ask("GET", "/api/health").send();
        assert_eq!(answer.status, 200);
        let body = r#"{"message":"API is healthy.","code":200,"data":{}}"#;
        assert_eq!(answer.body.trim_end(), body);
    });
}

#[test]
fn lists_in_pages() {
    on_both(|server| {
        let posts = server.posts();
        for n in 0..5 {
            server.create(&posts, &json!({ "n": n, "title": format!("t{}", n % 2) }));
        }
        let list = |query: &str| server.ask("GET", &format!("{}?{query}", posts.path)).send();
        let page = list("perPage=2&page=2").value();
        let mut head = page.clone();
        let items = head.as_object_mut().unwrap().remove("items").unwrap();
        assert_eq!(head, json!({ "page": 2, "perPage": 2, "totalItems": 5, "totalPages": 3 }));
        assert_eq!((&items[0]["n"], &items[1]["n"]), (&json!(2), &json!(3)));
        assert_eq!(items[0]["collectionName"], *posts.name);

        for (query, expected) in [
            ("", vec![0, 1, 2, 3, 4]),
            ("sort=-n", vec![4, 3, 2, 1, 0]),
            ("sort=%2Bn", vec![0, 1, 2, 3, 4]),
            ("sort=-title,n", vec![1, 3, 0, 2, 4]),
            ("sort=title,-n", vec![4, 2, 0, 3, 1]),
            ("sort=-@rowid&perPage=2", vec![4, 3]),
            ("page=-1&perPage=1", vec![0]),
            ("perPage=0", vec![0, 1, 2, 3, 4]),
            ("page=9", vec![]),
            ("sort=-created,-n&skipTotal=1&perPage=1", vec![4]),
        ] {
            let answer = list(&format!("{query}&fields=n")).value();
            let found: Vec<_> = answer["items"].as_array().unwrap().iter().collect();
            let expected: Vec<_> = expected.into_iter().map(|n: i32| json!({ "n": n })).collect();
            assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{} {query}", server.name);
        }
        for (query, total, pages, per_page) in [
            ("skipTotal=1", -1, -1, 30),
            ("skipTotal=true&perPage=2", -1, -1, 2),
            ("skipTotal=0", 5, 1, 30),
            ("perPage=5000", 5, 1, 1000),
            ("filter=n%3E99", 0, 0, 30),
        ] {
            let answer = list(query).value();
            let numbers = [&answer["totalItems"], &answer["totalPages"], &answer["perPage"]];
            assert_eq!(numbers, [&json!(total), &json!(pages), &json!(per_page)], "{query}");
        }
        for query in ["page=x", "page=1.5", "perPage=x", "skipTotal=maybe", "sort=nope", "sort=,", "sort=--n"]
        {
            let answer = list(query);
            assert_eq!(answer.body.trim_end(), refusal(400, VAGUE), "{} {query}", server.name);
        }
    });
}

#[test]
fn filters_lists() {
    on_pocketbase(|server| {
        let posts = server.posts();
        let authors = format!("/api/collections/{}/records", posts.authors);
        let ann = server.ask("POST", &authors).json(&json!({ "name": "Ann" })).send().value();
        for record in [
            json!({ "title": "", "n": 0 }),
            json!({
                "title": "abc", "n": 1, "on": true, "author": ann["id"],
                "meta": { "k": 1, "s": "x", "a": [1, 2], "b": true, "z": null },
            }),
            json!({ "title": "1", "n": 2, "meta": "str" }),
            json!({ "title": "Zed % _x", "n": 3.5, "meta": [1, 2, 3] }),
            json!({ "title": "it's", "n": -4, "meta": 5 }),
            json!({ "title": "back\\slash\nline", "n": 10, "meta": false }),
        ] {
            server.create(&posts, &record);
        }
        let all = || vec![-4.0, 0.0, 1.0, 2.0, 3.5, 10.0];
        let but = |out: f64| all().into_iter().filter(|n| *n != out).collect::<Vec<_>>();
        for (filter, expected) in [
            ("n=0 || n=1 && n=2", vec![0.0]),
            ("n=2 && n=1 || n=0", vec![0.0]),
            ("n=1 || (n=2 && title='1') || n=3.5", vec![1.0, 2.0, 3.5]),
            ("title=''", vec![0.0]),
            ("title!=''", but(0.0)),
            ("title=null", vec![0.0]),
            ("title!=null", but(0.0)),
            ("author=null", but(1.0)),
            ("author.name=''", but(1.0)),
            ("author.name!='Ann'", but(1.0)),
            ("author.id!=''", vec![1.0]),
            ("meta.k!=1", but(1.0)),
            ("meta.k=null", but(1.0)),
            ("meta.k=''", vec![]),
            ("meta.k!=''", all()),
            ("meta.k='1'", vec![]),
            ("meta.k>0", vec![1.0]),
            ("meta.b=true", vec![1.0]),
            ("meta.b=1", vec![1.0]),
            ("meta.a~1", vec![1.0]),
            ("meta.a.0=1", vec![1.0]),
            ("meta.k.x=1", vec![]),
            ("meta='str'", vec![2.0]),
            ("meta=5", vec![-4.0]),
            ("meta=false", vec![10.0]),
            ("title=1", vec![]),
            ("title='1'", vec![2.0]),
            ("n='2'", vec![2.0]),
            ("n>'1'", vec![2.0, 3.5, 10.0]),
            ("n<'9'", but(10.0)),
            ("title>1", vec![-4.0, 1.0, 3.5, 10.0]),
            ("1>title", vec![0.0, 2.0]),
            ("title<'a'", vec![0.0, 2.0, 3.5]),
            ("title<='abc'", vec![0.0, 1.0, 2.0, 3.5]),
            ("title~'%'", all()),
            ("title~'\\%'", vec![3.5]),
            ("title~'_'", vec![3.5]),
            ("title~'Z_d%'", vec![3.5]),
            ("title~'ABC'", vec![1.0]),
            ("title~''", all()),
            ("title!~''", vec![]),
            ("title='it\\'s'", vec![-4.0]),
            ("title=\"it\\'s\"", vec![-4.0]),
            ("title='back\\\\slash\\nline'", vec![10.0]),
            ("title='back\\slash\\nline'", vec![10.0]),
            ("n~1", vec![1.0, 10.0]),
            ("on=1", vec![1.0]),
            ("on='true'", vec![]),
            ("on!=true", but(1.0)),
            ("n=n", all()),
            ("n>n", vec![]),
            ("n=null", vec![]),
            ("1=1", all()),
            ("1='1'", vec![]),
            ("null=null", all()),
            ("''=null", all()),
            ("true=1", all()),
            ("'a'~'A'", all()),
            ("n=01", vec![1.0]),
            ("n>-1.5", vec![0.0, 1.0, 2.0, 3.5, 10.0]),
            ("n=1 // c\n&& on=true", vec![1.0]),
            ("n\n=\t1", vec![1.0]),
            ("(((n=1)))", vec![1.0]),
            ("created>'2020-01-01'", all()),
        ] {
            let path = format!("{}?fields=n&sort=n&filter={}", posts.path, encoded(filter));
            let answer = server.ask("GET", &path).send();
            assert_eq!(answer.status, 200, "{} {filter}: {}", server.name, answer.body);
            let answer = answer.value();
            let found: Vec<f64> =
                answer["items"].as_array().unwrap().iter().map(|item| item["n"].as_f64().unwrap()).collect();
            assert_eq!(found, expected, "{} {filter}", server.name);
        }
        let at = |name: &str| format!("Only superusers can filter by {name}.");
        for (filter, status, message) in [
            ("nope=1", 400, VAGUE.to_owned()),
            ("author.nope=1", 400, VAGUE.to_owned()),
            ("meta.s=x", 400, VAGUE.to_owned()),
            ("n", 400, VAGUE.to_owned()),
            ("()", 400, VAGUE.to_owned()),
            ("&& n=1", 400, VAGUE.to_owned()),
            ("n=1 & n=1", 400, VAGUE.to_owned()),
            ("n = +1", 400, VAGUE.to_owned()),
            ("title=\"\\\"", 400, VAGUE.to_owned()),
            ("@random=1", 400, VAGUE.to_owned()),
            ("@request.auth.id=''", 403, at("@request")),
            ("@collection.posts.n=1", 403, at("@collection")),
        ] {
            let path = format!("{}?filter={}", posts.path, encoded(filter));
            let answer = server.ask("GET", &path).send();
            let expected = refusal(status, &message);
            assert_eq!(answer.body.trim_end(), expected, "{} {filter}", server.name);
        }
        let path = format!("{}?filter={}", posts.path, encoded("@request.auth.id!='' && n=1"));
        let answer = server.ask("GET", &path).token(&server.root).send();
        assert_eq!(answer.value()["totalItems"], 1, "{}", server.name);
    });
}

#[test]
fn expands_and_trims_lists() {
    on_both(|server| {
        let posts = server.posts();
        let authors = format!("/api/collections/{}/records", posts.authors);
        let ann = server.ask("POST", &authors).json(&json!({ "name": "Ann" })).send().value();
        let made = server.create(&posts, &json!({ "n": 1, "author": ann["id"] }));
        let item = |query: &str| -> Value {
            let path = format!("{}?{query}", posts.path);
            server.ask("GET", &path).send().value()["items"][0].clone()
        };
        let mut expanded = made.clone();
        expanded["expand"] = json!({ "author": ann });
        assert_eq!(item("expand=author"), expanded, "{}", server.name);
        assert_eq!(item("expand=nope"), made);
        assert_eq!(item("fields=*"), made);
        assert_eq!(item("fields="), made);
        assert_eq!(item("fields=nope"), json!({}));
        let mut trimmed = made.clone();
        trimmed["expand"] = json!({ "author": { "name": "Ann" } });
        assert_eq!(item("fields=*,expand.author.name&expand=author"), trimmed);
        let path = format!("{}/{}?expand=author", posts.path, made["id"].as_str().unwrap());
        assert_eq!(server.ask("GET", &path).send().value(), expanded);
    });
}
