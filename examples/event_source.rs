//! Follows any stream of server-sent events and prints what it delivers.
//!
//! `cargo run --example event_source -- http://127.0.0.1:8090/stream [LAST-EVENT-ID]`

use std::{process::ExitCode, time::Duration};

use futures::StreamExt;
use tidings::{Error, EventSource, SourceEvent};

async fn watch(url: &str, last_event_id: &str) -> Result<(), Error> {
    let mut source = EventSource::builder(url)
        .last_event_id(last_event_id)
        // Longer than the pause between two of the server's heartbeats.
        .read_timeout(Duration::from_secs(60))
        .build()?;

    while let Some(event) = source.next().await {
        match event {
            SourceEvent::Open(stream) => println!("connected to {}", stream.url()),
            SourceEvent::Message(message) => println!("{}: {}", message.event(), message.data()),
            SourceEvent::Disconnected { why, .. } => println!("reconnecting: {why}"),
            SourceEvent::Closed { why: Some(why) } => return Err(why),
            _ => {}
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(url) = arguments.next() else {
        eprintln!("usage: event_source URL [LAST-EVENT-ID]");
        return ExitCode::FAILURE;
    };
    match smol::block_on(watch(&url, &arguments.next().unwrap_or_default())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
