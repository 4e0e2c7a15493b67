//! Those who receive, each in a process of its own.

mod ours;
mod peers;
mod references;

use crate::work::{Took, Work};

/// What is received, and what is to be done with it.
#[derive(Clone, Debug)]
pub struct Task {
    /// Without the path that is the same for all clients.
    pub url: String,
    pub events: usize,
    pub work: Work,
}

impl Task {
    /// Where the stream is, for those who do not know.
    pub fn stream(&self) -> String {
        format!("{}/api/realtime", self.url)
    }
}

pub struct Contender {
    pub name: &'static str,
    pub kind: Kind,
    pub receive: fn(&Task) -> Took,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What of the work the machine needs: these read bytes and do not know events.
    Reference,
    Ours,
    Peer,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Ours => "tidings",
            Self::Peer => "peer",
        }
    }
}

const fn contender(name: &'static str, kind: Kind, receive: fn(&Task) -> Took) -> Contender {
    Contender { name, kind, receive }
}

/// The one that all others are compared with.
pub const YARDSTICK: &str = "raw hyper read";

pub const CONTENDERS: [Contender; 15] = [
    contender("raw TCP read, blocking", Kind::Reference, references::tcp),
    contender(YARDSTICK, Kind::Reference, references::hyper),
    contender("hyper + tidings::sse + serde_json", Kind::Reference, references::decoded),
    contender("tidings callback, background thread", Kind::Ours, ours::callback_background),
    contender("tidings Stream, background thread", Kind::Ours, ours::stream_background),
    contender("tidings callback, smol", Kind::Ours, ours::callback_smol),
    contender("tidings Stream, smol", Kind::Ours, ours::stream_smol),
    contender("tidings Stream, smol, one thread", Kind::Ours, ours::stream_smol_one_thread),
    contender("tidings callback, tokio", Kind::Ours, ours::callback_tokio),
    contender("tidings Stream, tokio", Kind::Ours, ours::stream_tokio),
    contender("tidings Stream, tokio, one thread", Kind::Ours, ours::stream_tokio_one_thread),
    contender("reqwest + eventsource-stream, tokio", Kind::Peer, peers::reqwest),
    contender("reqwest + eventsource-stream, one thread", Kind::Peer, peers::reqwest_one_thread),
    contender("eventsource-client, tokio", Kind::Peer, peers::eventsource_client),
    contender("eventsource-client, one thread", Kind::Peer, peers::eventsource_client_one_thread),
];
