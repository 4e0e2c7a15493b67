//! Requests that a host sends through the client.
#![cfg(all(feature = "hub", feature = "async-io"))]

use std::time::Duration;

use futures::future::join_all;
use tidings::{
    Client, Error,
    hub::{Endpoint, Hub},
};

#[test]
fn waiting_in_line_counts_as_time() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.faults().delay(Endpoint::Records, Duration::from_secs(600));
        let client = Client::new(&hub.url()).unwrap();
        let list = |timeout| {
            client.send("GET", "/api/collections/posts/records", None).timeout(timeout).into_future()
        };
        // As many as run beside each other, and one whose time is over when its turn comes.
        let full = (0..32).map(|_| list(Duration::from_secs(3)));
        let all = full.chain([list(Duration::from_secs(1))]);
        for answer in join_all(all).await {
            assert!(matches!(answer, Err(Error::Timeout { .. })), "{answer:?}");
        }
        assert_eq!(hub.stats().requests, 32, "the last one was not sent");
    });
}

/// Whatever a path or a name from outside holds, it does not lead out of the server's URL.
#[test]
fn no_path_leads_out_of_the_servers_url() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = Client::new(&format!("{}/pb", hub.url())).unwrap();
        for path in ["../../etc", "/api/../../etc", "%2e%2e/etc", "/a/%2E./etc", "..\\etc", "..%2Fetc", "/."]
        {
            let error = client.send("GET", path, None).await.unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{path}: {error:?}");
        }
        for name in ["..", ".", "../x", "%2e%2e"] {
            let collection = client.collection(name);
            if name.starts_with('.') {
                let error = collection.subscribe("*").await.unwrap_err();
                assert!(matches!(error, Error::InvalidTopic { .. }), "{name}: {error:?}");
            }
            let error = collection.auth_with_password("ann", "s3cret").await.unwrap_err();
            // In the name of a collection a slash and a per cent sign are encoded, and lead nowhere else.
            assert!(
                matches!(error, Error::InvalidArgument { .. }) || error.status() == Some(404),
                "{name}: {error:?}"
            );
        }
        let realm = |realm: &str, app: &str| Client::rustbaas(&hub.url(), realm, app);
        for error in [realm("..", "web").unwrap_err(), realm("acme", ".").unwrap_err()] {
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        }
        let app = realm("acme", "web").unwrap();
        let error = app.realtime().subscribe("../*").await.unwrap_err();
        assert!(matches!(error, Error::InvalidTopic { .. }), "{error:?}");
        for request in hub.requests() {
            assert!(request.path.starts_with("/pb/api/collections/"), "{}", request.path);
        }
    });
}
