//! The server of a client that was connected goes away, and the program subscribes to something else: it is told at once.
#![cfg(all(feature = "hub", feature = "async-io"))]

mod real;

use std::time::{Duration, Instant};

use real::soon;
use tidings::{Client, Error, State, hub::Hub};

#[test]
fn an_awaited_subscribe_says_at_once_that_the_server_cannot_be_reached() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = Client::builder(&hub.url()).no_proxy().build().unwrap();
        let _news = client.realtime().subscribe("news").await.unwrap();
        hub.stop();
        let mut states = client.states();
        while !matches!(soon("the loss", states.next()).await, Some(State::Waiting { .. })) {}
        let asked = Instant::now();
        let error = soon("an answer", client.realtime().subscribe("more").into_future()).await.unwrap_err();
        assert!(matches!(error, Error::Network(_)), "{error}");
        // It waits up to 30 seconds for a server that may answer yet.
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        let patient = client.realtime().subscribe("more").start().unwrap();
        hub.restart().unwrap();
        soon("the server", patient.ready()).await.unwrap();
    });
}
