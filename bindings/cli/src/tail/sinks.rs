//! Where events go beside standard output: a command, a URL. One event at a time, in order; what comes meanwhile waits
//! in the queues of the subscriptions, which are bounded and report what they drop.

use std::process::Stdio;

use async_process::Command;
use futures::AsyncWriteExt;
use tidings::{Client, Error, Event};
use url::Url;

use super::{Printer, complain, line::json_line};
use crate::{
    failure::Failure,
    server::{again_and_again, is_waiting},
    text::{plain_topic, tame},
};

pub(super) struct Sinks {
    command: Option<String>,
    forward: Option<Forward>,
}

struct Forward {
    client: Client,
    /// Path and query.
    path: String,
}

impl Sinks {
    pub(super) fn new(command: Option<String>, forward: Option<String>) -> Result<Self, Failure> {
        Ok(Self { command, forward: forward.as_deref().map(Forward::new).transpose()? })
    }

    pub(super) async fn take(&mut self, event: &Event, printer: &Printer) {
        if let Some(command) = &self.command
            && let Err(why) = run(command, event).await
        {
            complain(&format!("exec: {why}"));
        }
        if let Some(forward) = &self.forward {
            forward.post(event, printer).await;
        }
    }
}

async fn run(command: &str, event: &Event) -> Result<(), String> {
    let shell = if cfg!(windows) { ["cmd", "/C"] } else { ["sh", "-c"] };
    let mut child = Command::new(shell[0])
        .args([shell[1], command])
        .env("TIDINGS_ACTION", event.action().as_str())
        .env("TIDINGS_EVENT_TOPIC", plain_topic(event.topic()))
        .env("TIDINGS_RECORD_ID", event.record_id().unwrap_or_default())
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start a shell: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        // A command that does not read its input is no error.
        let _ = input.write_all(format!("{}\n", json_line(event)).as_bytes()).await;
    }
    match child.status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the command ended with {status}")),
        Err(error) => Err(format!("cannot wait for the command: {error}")),
    }
}

impl Forward {
    fn new(url: &str) -> Result<Self, Failure> {
        let parsed =
            Url::parse(url).map_err(|error| Failure::usage(format!("invalid URL for --forward: {error}")))?;
        let path = match parsed.query() {
            Some(query) => format!("{}?{query}", parsed.path()),
            None => parsed.path().to_owned(),
        };
        let mut origin = parsed;
        origin.set_path("");
        origin.set_query(None);
        origin.set_fragment(None);
        Ok(Self { client: Client::new(origin.as_str())?, path })
    }

    async fn post(&self, event: &Event, printer: &Printer) {
        let body = json_line(event);
        let send = async || {
            let request = self.client.send("POST", &self.path, None);
            request.body(body.clone(), "application/json").await
        };
        let sent = again_and_again(send, |error: &Error, wait| {
            printer.status(&format!("forward: {}", is_waiting(error, wait)));
        });
        if let Err(error) = sent.await {
            complain(&format!("forward: an event was not taken: {}", tame(&error.to_string())));
        }
    }
}
