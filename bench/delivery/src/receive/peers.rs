//! What a user would pick instead.

use std::pin::pin;

use eventsource_client::{Client as _, ClientBuilder, SSE};
use eventsource_stream::Eventsource as _;
use futures::{Stream, StreamExt};
use launchdarkly_sdk_transport::HyperTransport;
use tokio::runtime::{Builder, Runtime};

use super::Task;
use crate::{
    TOPIC,
    sender::submit,
    work::{Data, Meter, Took},
};

pub fn reqwest(task: &Task) -> Took {
    many_threads().block_on(count(task, reqwest_stream(task)))
}

pub fn reqwest_one_thread(task: &Task) -> Took {
    one_thread().block_on(count(task, reqwest_stream(task)))
}

pub fn eventsource_client(task: &Task) -> Took {
    many_threads().block_on(count(task, eventsource_client_stream(task)))
}

pub fn eventsource_client_one_thread(task: &Task) -> Took {
    one_thread().block_on(count(task, eventsource_client_stream(task)))
}

/// Name and data of each event.
async fn count(task: &Task, events: impl Future<Output = impl Stream<Item = (String, String)>>) -> Took {
    let mut meter = Meter::new(task.work, task.events);
    let mut events = pin!(events.await);
    let (name, _) = events.next().await.expect("a handshake");
    assert_eq!(name, "PB_CONNECT");
    submit(&task.url);
    loop {
        let (name, data) = events.next().await.expect("events");
        if name == TOPIC
            && let Some(took) = meter.take(&Data(&data))
        {
            return took;
        }
    }
}

async fn reqwest_stream(task: &Task) -> impl Stream<Item = (String, String)> {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = client.get(task.stream()).send().await.expect("an answer");
    answer.bytes_stream().eventsource().map(|event| {
        let event = event.expect("an event");
        (event.event, event.data)
    })
}

async fn eventsource_client_stream(task: &Task) -> impl Stream<Item = (String, String)> {
    let transport = HyperTransport::builder().build_http().expect("a transport");
    let client = ClientBuilder::for_url(&task.stream()).expect("a URL").build_with_transport(transport);
    client.stream().filter_map(|event| async {
        match event.expect("an event") {
            SSE::Event(event) => Some((event.event_type, event.data)),
            _ => None,
        }
    })
}

pub fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub fn many_threads() -> Runtime {
    Builder::new_multi_thread().enable_all().build().expect("a runtime")
}
