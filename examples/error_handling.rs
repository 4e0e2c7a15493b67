//! What can go wrong, where it is told, and what to do about it. Runs on `futures::executor`.
//!
//! `cargo run --example error_handling`, or with the URL of a PocketBase: the last two cases need a server that
//! misbehaves on demand and are left out then.

use futures::executor::block_on;
use serde_json::json;
use tidings::{
    Action, Client, Error,
    hub::{Endpoint, Hub},
};

/// What a program would do about an error.
fn react(error: &Error) -> String {
    let reaction = match error {
        // The program's own mistakes, found before anything is sent.
        Error::InvalidUrl { .. } | Error::InvalidTopic { .. } | Error::InvalidArgument { .. } => {
            "fix the call"
        }
        // The server's answer, with its status.
        Error::Refused(refusal) => match refusal.status() {
            400 => "correct the input",
            401 => "log in again",
            403 => "ask for permission",
            404 => "check the name",
            429 => "slow down",
            _ => "read the server's log",
        },
        Error::Network(_) | Error::Timeout { .. } => "try again later",
        Error::Protocol(_) => "check that the URL is that of the server",
        Error::Closed => "nothing: we closed the client",
        _ => "report it",
    };
    format!("{error}\n    -> {reaction}")
}

async fn mistakes(url: &str) -> Result<(), Error> {
    println!("A URL that cannot be right:");
    if let Err(error) = Client::new("localhost:8090") {
        println!("  {}", react(&error));
    }

    println!("A server that is not there:");
    let nowhere = Client::new("http://127.0.0.1:9")?;
    if let Err(error) = nowhere.collection("posts").subscribe("*").await {
        println!("  {}", react(&error));
    }

    let client = Client::new(url)?;
    println!("A topic that cannot be right:");
    if let Err(error) = client.collection("posts").subscribe("").await {
        println!("  {}", react(&error));
    }

    println!("A filter with a value missing:");
    if let Err(error) = client.filter("status = {:status}", json!({"state": "open"})) {
        println!("  {}", react(&error));
    }

    println!("A wrong password:");
    if let Err(error) = client.collection("users").auth_with_password("ada@example.com", "guess").await {
        println!("  {}", react(&error));
    }

    println!("A record that is not there:");
    let path = "/api/collections/posts/records/nosuchrecord000";
    if let Err(error) = client.send("GET", path, None).await {
        println!("  {}", react(&error));
    }
    Ok(())
}

async fn refusals(hub: &Hub) -> Result<(), Error> {
    let client = Client::new(&hub.url())?;

    println!("A topic that the server refuses, told by the call:");
    hub.faults().refuse_next(Endpoint::Submit, 403, 1);
    match client.collection("posts").subscribe("*").await {
        Ok(_) => println!("  subscribed"),
        Err(error) => println!("  {}", react(&error)),
    }

    println!("A connection that is cut, told as a gap, while the client reconnects on its own:");
    let mut posts = client.collection("posts").subscribe("*").await?;
    hub.faults().cut_streams();
    while let Some(event) = posts.next().await {
        if event.action() == Action::Gap {
            println!("  {:?}\n    -> list the records again", event.gap().map(|gap| gap.reason));
            break;
        }
    }
    Ok(())
}

fn main() -> Result<(), Error> {
    let hub = Hub::builder().strict().start().expect("there is a free port on 127.0.0.1");
    hub.collection("posts", json!({"title": ""}));
    match std::env::args().nth(1) {
        Some(url) => block_on(mistakes(&url)),
        None => {
            block_on(mistakes(&hub.url()))?;
            block_on(refusals(&hub))
        }
    }
}
