//! Where a redirect leads, the token does not follow, and the caller is told.
#![cfg(all(feature = "hub", feature = "async-io"))]

use std::time::Duration;

use serde_json::json;
use tidings::{
    Client, Error,
    hub::{Answer, Endpoint, Hub},
};

const PATIENCE: Duration = Duration::from_secs(10);

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
        assert_eq!(other.stats().submits, 0);
        assert!(other.wait_until(|stats| stats.streams == 0, PATIENCE));

        let health = format!("{}/api/health", other.url());
        hub.faults().answer_next(Endpoint::Health, Answer::redirect(&health), 2);
        let error = client.send("GET", "/api/health", None).await.unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{error:?}");
        // A guest has nothing to lose.
        client.auth().clear();
        assert_eq!(client.send("GET", "/api/health", None).await.unwrap().status(), 200);
    });
}
