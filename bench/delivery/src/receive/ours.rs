//! tidings, into a `Stream` and into a callback, wherever its I/O may run.

use std::sync::mpsc;

use serde_json::Value;
use tidings::{
    Action, Client, Event, Subscribe, Subscription,
    rt::{AsyncIo, Tokio},
};

use super::{
    Task,
    peers::{many_threads, one_thread},
};
use crate::{
    TOPIC,
    work::{Change, Meter, Took},
};

impl Change for Event {
    fn payload(&self) -> &[u8] {
        self.raw()
    }

    fn read_head(&self) -> usize {
        self.action().as_str().len() + self.record_id().expect("an id").len()
    }

    fn read_record(&self) -> (usize, Value) {
        (self.read_head(), self.record().expect("a record"))
    }
}

pub fn callback_background(task: &Task) -> Took {
    let client = Client::builder(&task.url).build().expect("a client");
    smol::block_on(callback(task, &client))
}

pub fn stream_background(task: &Task) -> Took {
    let client = Client::builder(&task.url).build().expect("a client");
    smol::block_on(stream(task, &client))
}

pub fn callback_smol(task: &Task) -> Took {
    let (client, driver) = Client::builder(&task.url).connect_with(AsyncIo).expect("a client");
    smol::spawn(driver).detach();
    smol::block_on(callback(task, &client))
}

pub fn stream_smol(task: &Task) -> Took {
    let (client, driver) = Client::builder(&task.url).connect_with(AsyncIo).expect("a client");
    smol::spawn(driver).detach();
    smol::block_on(stream(task, &client))
}

pub fn stream_smol_one_thread(task: &Task) -> Took {
    let (client, driver) = Client::builder(&task.url).connect_with(AsyncIo).expect("a client");
    let executor = smol::LocalExecutor::new();
    executor.spawn(driver).detach();
    smol::block_on(executor.run(stream(task, &client)))
}

pub fn callback_tokio(task: &Task) -> Took {
    on_tokio(&many_threads(), task, async |task, client| callback(task, client).await)
}

pub fn stream_tokio(task: &Task) -> Took {
    on_tokio(&many_threads(), task, async |task, client| stream(task, client).await)
}

pub fn stream_tokio_one_thread(task: &Task) -> Took {
    on_tokio(&one_thread(), task, async |task, client| stream(task, client).await)
}

fn on_tokio(
    runtime: &tokio::runtime::Runtime,
    task: &Task,
    receive: impl AsyncFnOnce(&Task, &Client) -> Took,
) -> Took {
    runtime.block_on(async {
        let network = Tokio::new(runtime.handle().clone());
        let (client, driver) = Client::builder(&task.url).connect_with(network).expect("a client");
        tokio::spawn(driver);
        receive(task, &client).await
    })
}

/// With room for what waits while a slow listener works: what is lost would be work left out.
fn subscribe(task: &Task, client: &Client) -> Subscribe {
    client.realtime().subscribe(TOPIC).queue(task.events, tidings::Overflow::DropOldest)
}

async fn stream(task: &Task, client: &Client) -> Took {
    let mut events: Subscription = subscribe(task, client).await.expect("a subscription");
    let mut meter = Meter::new(task.work, task.events);
    loop {
        let event = events.next().await.expect("events");
        if let Some(took) = take(&mut meter, &event) {
            return took;
        }
    }
}

async fn callback(task: &Task, client: &Client) -> Took {
    let (done, took) = mpsc::channel();
    let mut meter = Meter::new(task.work, task.events);
    let on = move |event: Event| {
        if let Some(took) = take(&mut meter, &event) {
            let _ = done.send(took);
        }
    };
    let _subscription = subscribe(task, client).on(on).await.expect("a subscription");
    // Nothing else is to run on this thread: the I/O has another.
    took.recv().expect("events")
}

fn take(meter: &mut Meter, event: &Event) -> Option<Took> {
    if !event.is_notice() {
        return meter.take(event);
    }
    match event.action() {
        Action::Lagged(lost) => meter.lost(lost),
        _ => panic!("the stream was lost"),
    }
}
