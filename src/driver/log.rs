//! What a client says in the log: one line for an outage and one for its end, at a level that says what to do about it.
//! Never a token, nor the options of a topic, which may be secret.

use std::{sync::Arc, time::Instant};

use crate::{State, engine::Output, topic::without_options};

#[derive(Debug)]
pub(crate) struct Log {
    /// Which client it is.
    client: Arc<str>,
    connection: Connection,
}

#[derive(Debug)]
enum Connection {
    /// None is wanted, or none was tried yet.
    None,
    Live,
    /// Reported, and not over.
    Out {
        since: Instant,
    },
}

impl Log {
    pub(crate) fn new(client: Arc<str>) -> Self {
        Self { client, connection: Connection::None }
    }

    pub(crate) fn output(&mut self, now: Instant, output: &Output) {
        let client = &*self.client;
        match output {
            Output::Open { conn, request, .. } => {
                let path = without_query(&request.path);
                tracing::debug!(client, ?conn, path, "opening a stream");
            }
            Output::Submit { conn, request, token } => {
                let bytes = request.body.as_ref().map_or(0, Vec::len);
                tracing::debug!(client, ?conn, bytes, with_token = token.is_some(), "submitting topics");
            }
            Output::Drop { conn } => tracing::debug!(client, ?conn, "closing a stream"),
            Output::Check { request, .. } => {
                let path = without_query(&request.path);
                tracing::debug!(client, path, "asking whether a topic can deliver anything");
            }
            Output::Denied { topic, error, for_now: true } => {
                let topic = without_options(topic);
                tracing::warn!(client, topic, %error, "the server refuses a topic for now; it is asked again");
            }
            Output::Denied { topic, error, .. } => {
                let topic = without_options(topic);
                tracing::warn!(
                    client,
                    topic,
                    %error,
                    "no event can come: the server refuses a list with the same options"
                );
            }
            Output::State(state) => self.state(now, state),
            // Without topics it is the client that closed its stream.
            Output::Disconnected(topics) if topics.is_empty() => {
                tracing::debug!(client, "closed the stream: nothing is subscribed");
            }
            Output::Disconnected(topics) => {
                tracing::debug!(client, still_wanted = topics.len(), "disconnected");
            }
            Output::WantToken => tracing::debug!(client, "asking the token provider"),
        }
    }

    /// The first state of an outage is what has to be seen; what the tries in it come to is for who looks closer.
    fn state(&mut self, now: Instant, state: &State) {
        let client = &*self.client;
        match (state, &self.connection) {
            (State::Live, Connection::Out { since }) => {
                let offline = now.saturating_duration_since(*since);
                tracing::info!(client, %state, ?offline, "the connection is back");
            }
            (State::Live, Connection::None) => tracing::info!(client, %state, "connected"),
            (State::Waiting { .. }, Connection::None | Connection::Live) => {
                tracing::warn!(client, %state, "no connection; trying again");
            }
            (State::Suspended { .. }, _) => {
                tracing::warn!(client, %state, "no connection for two minutes; still trying");
            }
            (State::Unauthenticated { .. }, _) => {
                tracing::warn!(client, %state, "the server takes the client for a guest");
            }
            (State::Closed { why: Some(_) }, _) => {
                tracing::error!(client, %state, "the server's answer is final");
            }
            (State::Idle | State::Closed { why: None }, _) => tracing::info!(client, %state, "disconnected"),
            (State::Live | State::Connecting | State::Waiting { .. }, _) => {
                tracing::debug!(client, %state, "state")
            }
        }
        self.connection = match (state, &self.connection) {
            (State::Live | State::Unauthenticated { .. }, _) => Connection::Live,
            (State::Idle | State::Closed { .. }, _) => Connection::None,
            (State::Waiting { .. } | State::Suspended { .. }, Connection::None | Connection::Live) => {
                Connection::Out { since: now }
            }
            // A stream that is replaced on purpose is no outage, until a try fails.
            (State::Connecting | State::Waiting { .. } | State::Suspended { .. }, _) => return,
        };
    }
}

/// A filter may hold values that are nobody else's business.
fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}
