//! What a client and an event source do about a redirect of the embedded server. The whole table is in `redirect_table.rs`.
#![cfg(all(feature = "hub", feature = "async-io"))]

use serde_json::json;
use tidings::{
    Client, Error,
    hub::{Answer, Endpoint, Hub},
};

#[test]
fn a_stream_follows_a_redirect_within_its_origin_and_submits_there() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.faults().answer_next(Endpoint::Connect, Answer::redirect("/api/realtime?again"), 1);
        let client = Client::builder(&hub.url()).token("s3cret").build().unwrap();
        let mut posts = client.collection("posts").subscribe("*").await.unwrap();
        hub.create("posts", json!({}));
        assert!(posts.next().await.is_some());
        assert!(hub.submits()[0].had_authorization);
    });
}

#[test]
fn a_redirect_to_another_origin_is_an_error_and_gets_no_token() {
    smol::block_on(async {
        let (hub, other) = (Hub::start().unwrap(), Hub::start().unwrap());
        let there = format!("{}/api/realtime", other.url());
        hub.faults().answer_next(Endpoint::Connect, Answer::redirect(&there), 1);
        let client = Client::builder(&hub.url()).token("s3cret").build().unwrap();
        let error = client.collection("posts").subscribe("*").await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Protocol(_)) && text.contains(&other.url()), "{text}");
        assert!(!text.contains("s3cret"));
        assert_eq!(other.stats().requests, 0);

        let health = format!("{}/api/health", other.url());
        hub.faults().answer_next(Endpoint::Health, Answer::redirect(&health), 2);
        let error = client.send("GET", "/api/health", None).await.unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{error:?}");
        // A guest has no token to lose, and would take a stranger's answer for the server's.
        client.auth().clear();
        let error = client.send("GET", "/api/health", None).await.unwrap_err();
        assert!(error.to_string().contains(&other.url()), "{error}");
        assert_eq!(other.stats().requests, 0);
    });
}
