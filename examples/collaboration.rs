//! Several editors of one document: a subscription to a single record. Runs on tokio's current-thread runtime, and
//! the client's I/O runs there too: no further thread.
//!
//! `cargo run --example collaboration`, or with the URL of a server that has these public collections:
//! `people` (text `name`) and `documents` (text `body`, relation `lastEditor` to `people`, autodate `updated`).

use std::{error::Error, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tidings::{Action, Client, Subscription, hub::Hub, rt::Tokio};

#[derive(Deserialize)]
struct Document {
    body: String,
    updated: Option<String>,
    expand: Option<Expand>,
}

#[derive(Deserialize)]
struct Expand {
    #[serde(rename = "lastEditor")]
    last_editor: Person,
}

#[derive(Deserialize)]
struct Person {
    name: String,
}

/// Shows who edits until the document is deleted.
async fn follow(mut document: Subscription) -> Result<(), tidings::Error> {
    while let Some(event) = document.next().await {
        match event.action() {
            Action::Update => {
                let document: Document = event.record()?;
                let editor = document.expand.map_or("somebody".into(), |expand| expand.last_editor.name);
                println!(
                    "{editor} wrote {:?} at {}",
                    document.body,
                    document.updated.as_deref().unwrap_or("?")
                );
            }
            Action::Delete => {
                println!("the document is gone");
                break;
            }
            // An editor would now fetch the document again.
            Action::Gap => println!("(edits may have been missed)"),
            _ => {}
        }
    }
    Ok(())
}

async fn collaborate(url: &str) -> Result<(), Box<dyn Error>> {
    // Instead of a thread of the client's own: a future for the executor that is here anyway.
    let (client, driver) = Client::builder(url).connect_with(Tokio::current()?)?;
    tokio::spawn(driver);

    let create = async |collection: &str, record: Value| -> Result<String, Box<dyn Error>> {
        let path = format!("/api/collections/{collection}/records");
        let created: Value = client.send("POST", &path, record).await?.json()?;
        Ok(created["id"].as_str().ok_or("a record without an id")?.to_owned())
    };
    let ada = create("people", json!({"name": "Ada"})).await?;
    let bob = create("people", json!({"name": "Bob"})).await?;
    let id = create("documents", json!({"body": ""})).await?;

    let document = client.collection("documents").subscribe(&id).expand("lastEditor").await?;
    let following = tokio::spawn(follow(document));

    let path = format!("/api/collections/documents/records/{id}");
    for (editor, body) in [(&ada, "Dear"), (&bob, "Dear all"), (&ada, "Dear all,")] {
        client.send("PATCH", &path, json!({"body": body, "lastEditor": editor})).await?;
    }
    client.send("DELETE", &path, None).await?;
    following.await??;

    client.close().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let hub = Hub::start()?;
    hub.relation("documents", "lastEditor", "people");
    let url = std::env::args().nth(1).unwrap_or(hub.url());
    tokio::time::timeout(Duration::from_secs(10), collaborate(&url))
        .await
        .map_err(|_| "Too few events came: may everybody view the records of `documents`?")?
}
