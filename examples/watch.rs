//! A table on the terminal that is always what the server has, or says that it is in doubt.
//!
//! `cargo run --example watch` brings its own server, which writes, and goes away for a moment. With a server of yours:
//! `cargo run --example watch -- http://127.0.0.1:8090 tasks 'open = true' -priority`.

use std::{env, error::Error, thread, time::Duration};

use serde_json::json;
use tidings::{Client, Delta, View, hub::Hub};

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = env::args().skip(1).collect();
    let [url, collection, filter, sort] = [0, 1, 2, 3].map(|at| given.get(at).cloned().unwrap_or_default());
    if url.is_empty() {
        let hub = Hub::start()?;
        let url = hub.url();
        hub.collection("tasks", json!({"title": "", "open": true, "priority": 0}));
        thread::spawn(move || work(&hub));
        return smol::block_on(show(&url, "tasks", "open = true", "-priority"));
    }
    smol::block_on(show(&url, &collection, &filter, &sort))
}

async fn show(url: &str, collection: &str, filter: &str, sort: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::new(url)?;
    let mut view = client.collection(collection).watch().filter(filter).sort(sort).limit(10).await?;
    while let Some(changes) = view.next().await {
        draw(&view);
        for delta in changes.deltas() {
            match delta {
                Delta::Insert { at, row } => println!("  + {} at {at}", row.id()),
                Delta::Update { from, to, row, .. } => println!("  ~ {} from {from} to {to}", row.id()),
                Delta::Remove { row, why, .. } => println!("  - {}: {}", row.id(), why.as_str()),
                _ => println!("  = all rows"),
            }
        }
        if changes.rows().iter().any(|row| row.json()["title"] == "the end") {
            return Ok(());
        }
    }
    view.error().map_or(Ok(()), |error| Err(error.into()))
}

fn draw(view: &View) {
    let rows = view.rows();
    println!("\n{} rows, {}", rows.len(), if view.status().is_proven() { "proven" } else { "in doubt" });
    for row in rows.iter() {
        let record = row.json();
        println!("{:>8}  {}", record["priority"], record["title"].as_str().unwrap_or(row.id()));
    }
}

/// Somebody else's program.
fn work(hub: &Hub) {
    let pause = || thread::sleep(Duration::from_millis(300));
    let id = |task: serde_json::Value| task["id"].as_str().unwrap_or_default().to_owned();
    let tea = id(hub.create("tasks", json!({"title": "Make tea", "priority": 1})));
    let letter = id(hub.create("tasks", json!({"title": "Write a letter", "priority": 3})));
    pause();
    hub.update("tasks", &tea, json!({"priority": 5}));
    pause();
    hub.update("tasks", &tea, json!({"open": false}));
    pause();
    hub.stop();
    hub.delete("tasks", &letter);
    hub.create("tasks", json!({"title": "Made while nobody listened"}));
    pause();
    if hub.restart().is_ok() {
        pause();
        hub.create("tasks", json!({"title": "the end", "priority": 9}));
        thread::sleep(Duration::from_secs(5));
    }
}
