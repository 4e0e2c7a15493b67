//! A user's own activity: log in, then hear of one's own posts alone. Uses a callback, and `futures::executor` for
//! the few calls that are awaited: no runtime at all.
//!
//! `cargo run --example activity`, or with the URL of a server that has a collection `posts` with the text fields
//! `title` and `author`, which every user may read and write, and with the credentials of a user:
//! `cargo run --example activity -- URL EMAIL PASSWORD`

use std::{error::Error, sync::mpsc, time::Duration};

use futures::executor::block_on;
use serde::Deserialize;
use serde_json::json;
use tidings::{Action, Client, Subscription, hub::Hub};

const POSTS: &str = "/api/collections/posts/records";

#[derive(Deserialize)]
struct Post {
    id: String,
    title: String,
}

/// Calls `tell` for each change of the user's own posts. The callback runs on a thread of the client's, never on the
/// one that reads the socket, so it may take its time.
async fn track(
    client: &Client,
    user: &str,
    mut tell: impl FnMut(String) + Send + 'static,
) -> Result<Subscription, tidings::Error> {
    let own = client.filter("author = {:user}", json!({"user": user}))?;
    let posts = client.collection("posts").subscribe("*").filter(own);
    posts
        .on(move |event| match event.action() {
            action @ (Action::Create | Action::Update | Action::Delete) => match event.record::<Post>() {
                Ok(post) => tell(format!("your post {:?}: {action}", post.title)),
                Err(error) => tell(format!("a post of an unexpected shape: {error}")),
            },
            notice => tell(format!("({notice})")),
        })
        .await
}

fn main() -> Result<(), Box<dyn Error>> {
    let hub = Hub::start()?;
    hub.add_user("users", "ada@example.com", "a secret of hers");
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or(hub.url());
    let email = args.next().unwrap_or("ada@example.com".into());
    let password = args.next().unwrap_or("a secret of hers".into());

    let client = Client::new(&url)?;
    // From now on every request and the stream are this user's; the token is never logged.
    let login = block_on(client.collection("users").auth_with_password(&email, &password))?;
    let user = login.record["id"].as_str().ok_or("the server did not say who we are")?.to_owned();
    println!("logged in as {user}");

    let (sender, told) = mpsc::channel();
    let activity = block_on(track(&client, &user, move |line| _ = sender.send(line)))?;

    block_on(async {
        client.send("POST", POSTS, json!({"title": "Of somebody else", "author": "somebody"})).await?;
        let post: Post =
            client.send("POST", POSTS, json!({"title": "Mine", "author": user})).await?.json()?;
        client.send("PATCH", &format!("{POSTS}/{}", post.id), json!({"title": "Still mine"})).await?;
        Ok::<(), tidings::Error>(())
    })?;

    for _ in 0..2 {
        let line = told.recv_timeout(Duration::from_secs(5));
        println!("{}", line.map_err(|_| "No event came: may this user list the records of `posts`?")?);
    }

    // The callback is not called again once this returns.
    activity.unsubscribe();
    Ok(())
}
