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
