//! Subscribes to a collection, changes it, and prints the events that come back.
//!
//! `cargo run --example quickstart` brings its own server. To use yours, give its URL; it needs a collection `posts`
//! with a text field `title` and public API rules: `cargo run --example quickstart -- http://127.0.0.1:8090`

use std::{process::ExitCode, time::Duration};

use serde::Deserialize;
use serde_json::json;
use smol::{Timer, future};
use tidings::{Action, Client, Error, hub::Hub};

#[derive(Deserialize)]
struct Post {
    id: String,
    title: String,
}

async fn quickstart(url: &str) -> Result<(), Error> {
    let client = Client::new(url)?;

    // The server has acknowledged the topic when this returns: no change from here on is missed.
    let mut posts = client.collection("posts").subscribe("*").await?;
    println!("subscribed to {} at {url}", posts.topic());

    // Changes come from anybody; these are our own.
    let records = "/api/collections/posts/records";
    let post: Post = client.send("POST", records, json!({"title": "Hello"})).await?.json()?;
    let record = format!("{records}/{}", post.id);
    client.send("PATCH", &record, json!({"title": "Hello, world"})).await?;
    client.send("DELETE", &record, None).await?;

    while let Some(event) = posts.next().await {
        match event.action() {
            action @ (Action::Create | Action::Update | Action::Delete) => {
                println!("{action}: {}", event.record::<Post>()?.title);
                if action == Action::Delete && event.record_id() == Some(&post.id) {
                    break;
                }
            }
            // The README says what to do about each of these.
            notice => println!("({notice})"),
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let hub = Hub::start().expect("there is a free port on 127.0.0.1");
    let url = std::env::args().nth(1).unwrap_or(hub.url());
    let limit = async {
        let after = Duration::from_secs(10);
        Timer::after(after).await;
        Err(Error::Timeout { what: "waiting for events".into(), after })
    };
    match smol::block_on(future::or(quickstart(&url), limit)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n{}", what_to_do(&error));
            ExitCode::FAILURE
        }
    }
}

fn what_to_do(error: &Error) -> &'static str {
    match (error, error.status()) {
        (_, Some(404)) => "Create a collection `posts` with a text field `title` and public API rules.",
        (_, Some(400 | 401 | 403)) => {
            "Let everybody create, update and delete records of `posts` (API rules)."
        }
        (Error::Timeout { .. }, _) => "Let everybody list and view records of `posts` (API rules).",
        (Error::Protocol(_), _) => "Is it a PocketBase, and has its collection `posts` a text field `title`?",
        _ => "Check the URL and start the server, or leave the URL out to use one in this process.",
    }
}
