//! Logging in, tokens, and what they let see.

use serde_json::{Value, json};

use crate::servers::on_both;

fn refusal(status: u16, message: &str) -> String {
    json!({ "data": {}, "message": message, "status": status }).to_string()
}

#[test]
fn logs_in_and_refreshes() {
    on_both(|server| {
        let (id, email, _) = server.user();
        let session = server.login(&email, "correct-horse-1").value();
        let keys: Vec<&String> = session.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["record", "token"]);
        assert_eq!(session["record"]["id"], *id);
        assert_eq!(session["record"]["email"], *email);
        assert_eq!(session["record"]["collectionId"], "_pb_users_auth_");
        assert_eq!(session["record"]["verified"], false);
        assert!(session["record"].get("password").is_none());
        let token = session["token"].as_str().unwrap();
        assert_eq!(token.split('.').count(), 3);

        let path = "/api/collections/users/auth-refresh";
        for token in [token.to_owned(), format!("Bearer {token}"), format!("bearer {token}")] {
            let answer = server.ask("POST", path).token(&token).send();
            assert_eq!(answer.status, 200, "{} {}", server.name, answer.body);
            assert_eq!(answer.value()["record"], session["record"]);
        }
        let invalid = refusal(401, "The request requires valid record authorization token.");
        assert_eq!(server.ask("POST", path).send().body.trim_end(), invalid);
        assert_eq!(server.ask("POST", path).token("garbage").send().body.trim_end(), invalid);
        let (claims, signature) = token.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{claims}.{first}{}", &signature[1..]);
        assert_eq!(server.ask("POST", path).token(&forged).send().body.trim_end(), invalid);
        let path = "/api/collections/_superusers/auth-refresh";
        // The message names the collection of the token, not the one asked for.
        let message = "The request requires auth record from users collection.";
        let other = refusal(403, message);
        assert_eq!(server.ask("POST", path).token(token).send().body.trim_end(), other);
    });
}

#[test]
fn refuses_logins_with_the_same_words() {
    on_both(|server| {
        let (_, email, _) = server.user();
        let failed = refusal(400, "Failed to authenticate.");
        assert_eq!(server.login(&email, "wrong-horse-1").body.trim_end(), failed);
        assert_eq!(server.login("nobody@example.com", "correct-horse-1").body.trim_end(), failed);
        let blank = json!({ "code": "validation_required", "message": "Cannot be blank." });
        let expected = json!({
            "data": { "identity": blank, "password": blank },
            "message": "An error occurred while validating the submitted data.",
            "status": 400,
        });
        assert_eq!(server.login("", "").value(), expected);
        let login = json!({ "identity": "x", "password": "y" });
        let loading = "An error occurred while loading the submitted data.";
        for (name, status, message) in [
            ("nope".to_owned(), 404, "Missing or invalid collection context."),
            (server.posts().name, 404, "Missing or invalid auth collection context."),
        ] {
            let path = format!("/api/collections/{name}/auth-with-password");
            let answer = server.ask("POST", &path).json(&login).send();
            assert_eq!(answer.body.trim_end(), refusal(status, message), "{}", server.name);
        }
        let path = "/api/collections/users/auth-with-password";
        let answer = server.ask("POST", path).raw("application/json", "{").send();
        assert_eq!(answer.body.trim_end(), refusal(400, loading), "{}", server.name);
    });
}

#[test]
fn shows_accounts_to_their_owners() {
    on_both(|server| {
        let (id, email, token) = server.user();
        let path = "/api/collections/users/records";
        // Nobody and a bad token alike: an empty list and no error.
        for token in ["", "garbage"] {
            let answer = server.ask("GET", path).token(token).send();
            assert_eq!((answer.status, &answer.value()["items"]), (200, &json!([])));
        }
        let own = server.ask("GET", path).token(&token).send().value();
        assert_eq!(own["totalItems"], 1);
        assert_eq!((&own["items"][0]["id"], &own["items"][0]["email"]), (&json!(id), &json!(email)));
        let (_, _, other) = server.user();
        let one = format!("{path}/{id}");
        assert_eq!(server.ask("GET", &one).token(&other).send().status, 404);
        assert_eq!(server.ask("GET", &one).token(&token).send().status, 200);

        let claims = token.split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&decoded(claims)).unwrap();
        let keys: Vec<&String> = claims.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["collectionId", "exp", "id", "refreshable", "type"], "{}", server.name);
        assert_eq!((&claims["id"], &claims["type"]), (&json!(id), &json!("auth")));
    });
}

#[test]
fn lists_how_to_log_in() {
    on_both(|server| {
        let answer = server.ask("GET", "/api/collections/users/auth-methods").send().value();
        let password = json!({ "identityFields": ["email"], "enabled": true });
        assert_eq!(answer["password"], password);
        assert_eq!(answer["emailPassword"], true);
        assert_eq!(answer["oauth2"], json!({ "providers": [], "enabled": false }));
    });
}

fn decoded(base64url: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = base64url.bytes().flat_map(|c| {
        let value = digits.iter().position(|&d| d == c).expect("a digit of base64url");
        (0..6).rev().map(move |bit| (value >> bit & 1) as u8)
    });
    let bits: Vec<u8> = bits.collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | bit)).collect()
}
