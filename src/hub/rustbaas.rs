//! RustBaaS: one stream for each collection, its changes and custom events.
//!
//! As its documentation describes them; no real server was at hand to compare
//! with. Realms and apps are taken as they come: all share the hub's collections.

use std::sync::Arc;

use hyper::body::Bytes;
use serde_json::{Map, Value};

use super::auth::SUPERUSERS;
use super::records::{Action, Collection, Kind, may_be_made};
use super::refusal::Refusal;
use super::state::State;
use super::stream::{Order, Origin};
use super::wire::Link;

/// What a record has beside its fields.
const ENVELOPE: [&str; 5] = ["id", "collectionId", "collectionName", "created", "updated"];

impl State {
    /// Opens a stream of a collection's events, for whoever holds a valid token.
    ///
    /// `token` is what came as `Authorization: Bearer` or `access_token`.
    pub(super) fn open_feed(
        &mut self,
        collection: &str,
        token: Option<&str>,
        link: Arc<Link>,
    ) -> Result<u64, Refusal> {
        if self.settings.require_token && self.identify(token).is_none() {
            return Err(Refusal::new(401, "A valid token is required."));
        }
        let known = self.collections.contains_key(collection);
        if collection == SUPERUSERS || !(known || !self.settings.strict && may_be_made(collection)) {
            return Err(Refusal::missing());
        }
        Ok(self.open_outlet(link, Origin::Feed(collection.to_owned())))
    }

    /// Tells the streams of a collection of a change; neither rules nor filters
    /// apply there.
    pub(super) fn announce_to_feeds(&mut self, action: Action, collection: &str, record: &Value) {
        let streams = self.outlets_of(&Origin::Feed(collection.to_owned()));
        if streams.is_empty() {
            return;
        }
        let Some(collection) = self.collections.get(collection) else { return };
        let (event, data) = match action {
            Action::Create => ("record_created", envelope(collection, record)),
            Action::Update => ("record_updated", envelope(collection, record)),
            Action::Delete => ("record_deleted", format!("{{\"id\":{}}}", record["id"])),
        };
        self.broadcast(&streams, event, data.as_bytes());
    }

    /// Sends what a hook published: under the name `type`, with `payload` as
    /// data. An object without a `payload` is its own.
    pub(super) fn publish_to_feed(&mut self, collection: &str, message: &Value) -> usize {
        let event = message["type"].as_str().unwrap_or("custom");
        let data = message.get("payload").unwrap_or(message).to_string();
        let streams = self.outlets_of(&Origin::Feed(collection.to_owned()));
        self.broadcast(&streams, event, data.as_bytes());
        streams.len()
    }

    fn broadcast(&mut self, streams: &[u64], event: &str, data: &[u8]) {
        let frame = frame(event, data);
        for stream in streams {
            self.push(*stream, frame.clone(), Order::Free);
        }
    }
}

/// An event as it goes over the wire.
pub(super) fn frame(event: &str, data: &[u8]) -> Bytes {
    [b"event: ", event.as_bytes(), b"\ndata: ", data, b"\n\n"].concat().into()
}

/// `{"id","collection","fields":{…},"created_at","updated_at"}`, in this order.
fn envelope(collection: &Collection, record: &Value) -> String {
    let own = |name: &&String| !ENVELOPE.contains(&name.as_str());
    let hidden = |name: &&String| collection.kind == Kind::Auth && *name == "email";
    let fields: Map<String, Value> = record
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| own(name) && !hidden(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // The page shows no times; other Rust servers write RFC 3339.
    let time = |field: &str| Value::from(record[field].as_str().unwrap_or_default().replace(' ', "T"));
    format!(
        "{{\"id\":{},\"collection\":{},\"fields\":{},\"created_at\":{},\"updated_at\":{}}}",
        record["id"],
        Value::from(collection.name.as_str()),
        Value::Object(fields),
        time("created"),
        time("updated"),
    )
}
