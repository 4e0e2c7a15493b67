//! The connection as such: its states, what ends it, what it costs. Runs on smol.
//!
//! `cargo run --example monitoring` restarts a server of its own; with the URL of yours it watches that one until it
//! is interrupted, so stop and start it and see.

use std::{
    error::Error,
    thread,
    time::{Duration, Instant},
};

use tidings::{Action, Client, State, hub::Hub};

/// Prints each state of the connection as it changes; a program would show it to its user.
async fn show_states(client: Client) {
    let mut states = client.states();
    while let Some(state) = states.next().await {
        match state {
            State::Waiting { until, why } => {
                let delay = until.saturating_duration_since(Instant::now());
                println!("state: waiting, next try in {delay:.1?}: {why}");
            }
            // Over two minutes without a connection: tell the user. The client goes on trying.
            State::Suspended { why, .. } => println!("state: offline: {why}"),
            state => println!("state: {state}"),
        }
    }
}

async fn monitor(url: &str, hub: Option<Hub>) -> Result<(), Box<dyn Error>> {
    let client = Client::new(url)?;
    let states = smol::spawn(show_states(client.clone()));

    // Told when a stream is gone, with the topics that are still wanted.
    client.realtime().on_disconnect(|topics| match topics {
        [] => println!("disconnected: nothing is subscribed any more"),
        topics => println!("disconnected: {topics:?} will be resubmitted"),
    })?;

    // Told each time a stream is up with all topics acknowledged on it. `start` does not wait for the server, so a
    // program may come up before it.
    let mut connects = client.realtime().subscribe("PB_CONNECT").start()?;
    let mut posts = client.collection("posts").subscribe("*").start()?;

    let restarting = hub.map(|hub| {
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            hub.stop();
            thread::sleep(Duration::from_millis(700));
            hub.restart().map(|()| hub)
        })
    });

    let mut connected = 0;
    while let Some(event) = connects.next().await {
        if event.action() == Action::Connect {
            connected += 1;
            println!("connected as {}", event.json()?["clientId"]);
        }
        if restarting.is_some() && connected == 2 {
            break;
        }
    }

    if let Some(gap) = posts.next().await.and_then(|event| event.gap()) {
        println!("{} may have missed changes of {:.1?}: {:?}", posts.topic(), gap.duration(), gap.reason);
    }
    println!("{:?}", client.stats());

    client.close().await;
    states.await;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        match std::env::args().nth(1) {
            Some(url) => monitor(&url, None).await,
            None => {
                let hub = Hub::start()?;
                monitor(&hub.url(), Some(hub)).await
            }
        }
    })
}
