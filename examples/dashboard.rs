//! A dashboard: several collections, one loop. Runs on tokio's multi-threaded runtime.
//!
//! `cargo run --example dashboard`, or with the URL of a server that has these public collections:
//! `people` (text `name`), `posts` (text `title`, text `status`, relation `author` to `people`) and
//! `comments` (text `text`, text `postId`, relation `user` to `people`).

use std::{error::Error, time::Duration};

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tidings::{Action, Client, hub::Hub};

async fn dashboard(url: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::new(url)?;

    // Only published posts, each with its author in the same message. Both topics share one connection, and are
    // submitted together when they are awaited together.
    let posts = client.collection("posts").subscribe("*").filter("status = 'published'").expand("author");
    let comments = client.collection("comments").subscribe("*").expand("user");
    let (posts, comments) = tokio::try_join!(posts, comments)?;
    println!("watching {:?}", client.realtime().active_subscriptions());

    // Somebody works meanwhile. The handle is cloned: it is the same client.
    let somebody = tokio::spawn(work(client.clone()));

    let mut comment_count = 0;
    let mut news = stream::select(posts, comments);
    while let Some(event) = news.next().await {
        if event.is_notice() {
            // A dashboard would now fetch its numbers again: see the README.
            println!("({})", event.action());
            continue;
        }
        let record: Value = event.record()?;
        match (event.topic().split('/').next(), event.action()) {
            (Some("posts"), Action::Create) => {
                println!("new post: {} by {}", record["title"], record["expand"]["author"]["name"]);
            }
            (Some("posts"), Action::Update) => println!("post updated: {}", record["title"]),
            (Some("comments"), Action::Create) => {
                comment_count += 1;
                println!(
                    "comment {comment_count}: {} says {}",
                    record["expand"]["user"]["name"], record["text"]
                );
                if record["text"] == "Last one!" {
                    break;
                }
            }
            _ => {}
        }
    }
    somebody.await??;
    println!("{} events delivered", client.stats().delivered);
    Ok(())
}

/// A day's work on the site.
async fn work(client: Client) -> Result<(), tidings::Error> {
    let create = async |collection: &str, record: Value| -> Result<Value, tidings::Error> {
        client.send("POST", &format!("/api/collections/{collection}/records"), record).await?.json()
    };
    let ada = create("people", json!({"name": "Ada"})).await?;
    create("posts", json!({"title": "Unseen", "status": "draft", "author": ada["id"]})).await?;
    let post =
        create("posts", json!({"title": "Engines", "status": "published", "author": ada["id"]})).await?;
    let id = post["id"].as_str().unwrap_or_default();
    client
        .send("PATCH", &format!("/api/collections/posts/records/{id}"), json!({"title": "Engines II"}))
        .await?;
    for text in ["First!", "Last one!"] {
        create("comments", json!({"text": text, "postId": id, "user": ada["id"]})).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let hub = Hub::start()?;
    hub.relation("posts", "author", "people");
    hub.relation("comments", "user", "people");
    let url = std::env::args().nth(1).unwrap_or(hub.url());
    tokio::time::timeout(Duration::from_secs(10), dashboard(&url))
        .await
        .map_err(|_| "Too few events came: may everybody list `posts`, `comments` and `people`?")?
}
