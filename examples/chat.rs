//! A chat room: one member reads along while another writes. Runs on smol.
//!
//! `cargo run --example chat`, or with the URL of a server that has a public collection `messages` with the text
//! fields `roomId` and `text`.

use std::{error::Error, time::Duration};

use serde::Deserialize;
use serde_json::json;
use smol::{Timer, future};
use tidings::{Action, Client, Subscription, hub::Hub};

const MESSAGES: &str = "/api/collections/messages/records";

#[derive(Deserialize)]
struct Message {
    id: String,
    text: String,
}

/// The messages of one room. The server applies the filter, so other rooms cost nothing here. The room's name comes
/// from outside: `filter` quotes it, so that it cannot change what the filter means.
async fn join(client: &Client, room: &str) -> Result<Subscription, tidings::Error> {
    let this_room = client.filter("roomId = {:room}", json!({"room": room}))?;
    client.collection("messages").subscribe("*").filter(this_room).await
}

/// Shows what happens in a room until `farewell` has been deleted.
async fn read_along(mut room: Subscription, farewell: &str) -> Result<(), tidings::Error> {
    while let Some(event) = room.next().await {
        match event.action() {
            Action::Create => println!("  new: {}", event.record::<Message>()?.text),
            Action::Update => println!("  edited: {}", event.record::<Message>()?.text),
            Action::Delete => {
                let message: Message = event.record()?;
                println!("  deleted: {}", message.text);
                if message.text == farewell {
                    break;
                }
            }
            // A chat would now list the room's last messages again.
            Action::Gap | Action::Lagged(_) => println!("  (some messages may be missing)"),
            _ => {}
        }
    }
    // Dropping the subscription leaves the room.
    Ok(())
}

async fn write(client: &Client, room: &str, text: &str) -> Result<Message, tidings::Error> {
    client.send("POST", MESSAGES, json!({"roomId": room, "text": text})).await?.json()
}

async fn chat(url: &str) -> Result<(), Box<dyn Error>> {
    let reader = Client::new(url)?;
    let room = join(&reader, "garden").await?;
    println!("joined the garden");
    let reading = smol::spawn(read_along(room, "See you!"));

    let writer = Client::new(url)?;
    write(&writer, "garden", "The roses are out.").await?;
    write(&writer, "kitchen", "Nobody in the garden reads this.").await?;
    let last = write(&writer, "garden", "See you!").await?;
    writer.send("DELETE", &format!("{MESSAGES}/{}", last.id), None).await?;

    reading.await?;
    println!("left the garden");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let hub = Hub::start()?;
    let url = std::env::args().nth(1).unwrap_or(hub.url());
    let limit = async {
        Timer::after(Duration::from_secs(10)).await;
        Err("No message came: may everybody list the records of `messages`?".into())
    };
    smol::block_on(future::or(chat(&url), limit))
}
