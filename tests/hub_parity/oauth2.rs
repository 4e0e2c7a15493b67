//! OAuth2: what a client sees of it, from the providers to the token.

use std::cell::RefCell;

use serde_json::{Value, json};

use crate::plain_client::Answer;
use crate::servers::{Server, encoded, on_both};

const REDIRECT: &str = "http://127.0.0.1:1/api/oauth2-redirect";

fn provider(server: &Server, members: &str) -> Value {
    let path = format!("/api/collections/{members}/auth-methods");
    let methods = server.ask("GET", &path).send().value();
    assert_eq!(methods["oauth2"]["enabled"], true);
    assert_eq!(methods["authProviders"].as_array().map(Vec::len), Some(1));
    methods["oauth2"]["providers"][0].clone()
}

fn log_in(server: &Server, members: &str, body: &Value) -> Answer {
    let path = format!("/api/collections/{members}/auth-with-oauth2");
    server.ask("POST", &path).json(body).send()
}

#[test]
fn lists_providers() {
    on_both(|server| {
        let members = server.members();
        let provider = provider(server, &members);
        let text = |name: &str| provider[name].as_str().expect(name);
        assert_eq!((text("name"), text("state").len()), ("oidc", 30));
        let (url, verifier) = (text("authURL"), text("codeVerifier"));
        assert!(url.contains(&format!("&state={}&", text("state"))), "{url}");
        assert!(url.ends_with("&redirect_uri="), "{url}");
        assert!(url.contains(&format!("code_challenge={}&", text("codeChallenge"))), "{url}");
        assert!(url.contains(&format!("code_challenge_method={}&", text("codeChallengeMethod"))), "{url}");
        assert_eq!((verifier.len(), text("authUrl")), (43, url));
    });
}

#[test]
fn tells_the_stream_that_is_the_state_once() {
    on_both(|server| {
        let mut stream = server.stream();
        let id = stream.client_id.clone();
        let go = |query: &str| {
            let answer = server.ask("GET", &format!("/api/oauth2-redirect?{query}")).send();
            let location = answer.header("location").map(str::to_owned).unwrap_or_default();
            assert_eq!(answer.status, 307);
            location.strip_prefix("../_/#/auth/oauth2-redirect-").expect("a page").to_owned()
        };
        assert_eq!(go(&format!("state={id}&code=a")), "failure");
        server.subscribe(&stream, &["@oauth2", "other"]);
        assert_eq!(go(&format!("state={id}&code=a%22b")), "success");
        let message = stream.next();
        assert_eq!(message.event, "@oauth2");
        assert_eq!(message.data, format!(r#"{{"state":"{id}","code":"a\"b"}}"#));
        assert_eq!(go(&format!("state={id}&code=a")), "failure");
        assert_eq!(server.publish("other", "still there"), 1);
        assert_eq!(stream.next().data, "still there");

        server.subscribe(&stream, &["@oauth2"]);
        assert_eq!(go(&format!("state={id}&error=access_denied")), "failure");
        let expected = format!(r#"{{"state":"{id}","code":"","error":"access_denied"}}"#);
        assert_eq!(stream.next().data, expected);
        server.subscribe(&stream, &["@oauth2"]);
        assert_eq!(go(&format!("state={id}")), "failure");
        assert_eq!(stream.next().data, format!(r#"{{"state":"{id}","code":""}}"#));
        assert_eq!((go("state=nobody&code=a"), go("")), ("failure".into(), "failure".into()));
    });
}

#[test]
fn exchanges_a_code_for_a_token() {
    on_both(|server| {
        let members = server.members();
        for is_new in [true, false] {
            let provider = provider(server, &members);
            let url = format!("{}{}", provider["authURL"].as_str().expect("a URL"), encoded(REDIRECT));
            let body = json!({
                "provider": "oidc",
                "code": server.code(&url),
                "codeVerifier": provider["codeVerifier"],
                "redirectURL": REDIRECT,
            });
            let answer = log_in(server, &members, &body);
            assert_eq!(answer.status, 200, "{}: {}", server.name, answer.body);
            let answer = answer.value();
            assert_eq!(answer["meta"]["isNew"], is_new);
            assert_eq!(answer["meta"]["email"], "ann@example.com");
            let record = &answer["record"];
            assert_eq!((&record["email"], &record["verified"]), (&json!("ann@example.com"), &json!(true)));
            let refresh = format!("/api/collections/{members}/auth-refresh");
            let token = answer["token"].as_str().expect("a token");
            let refreshed = server.ask("POST", &refresh).token(token).send().value();
            assert_eq!(refreshed["record"]["id"], record["id"]);
            let mut keys: Vec<_> = answer["meta"].as_object().expect("an object").keys().cloned().collect();
            keys.sort();
            let expected =
                "accessToken avatarURL avatarUrl email expiry id isNew name rawUser refreshToken username";
            assert_eq!(keys.join(" "), expected);
        }
    });
}

#[test]
fn refuses_oauth2_with_the_same_words() {
    let first = RefCell::new(None);
    on_both(|server| {
        let members = server.members();
        let whole = json!({ "provider": "oidc", "code": "x", "codeVerifier": "x", "redirectURL": REDIRECT });
        let with = |name: &str, value: &str| {
            let mut body = whole.clone();
            body[name] = json!(value);
            body
        };
        let said: Vec<(u16, Value)> = [
            (members.as_str(), json!({})),
            (&members, with("provider", "nope")),
            (&members, with("code", "")),
            (&members, json!(5)),
            ("nowhere", whole.clone()),
            ("_superusers", whole.clone()),
        ]
        .iter()
        .map(|(collection, body)| log_in(server, collection, body))
        .map(|answer| (answer.status, answer.value()))
        .collect();
        assert_eq!(*first.borrow_mut().get_or_insert(said.clone()), said);
    });
}
