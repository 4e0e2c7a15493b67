//! RustBaaS: one stream for each collection, its changes and custom events.
//!
//! Older servers, with apps in realms, as the documentation describes them; newer
//! ones, with apps in workspaces, and the login as read in their source. No real
//! server was at hand to compare with. Realms, workspaces and apps are taken as
//! they come: all share the hub's collections.

use std::sync::Arc;

use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::auth::SUPERUSERS;
use super::list::Lens;
use super::records::{Action, Collection, Kind, Requester, may_be_made};
use super::refusal::Refusal;
use super::state::State;
use super::stream::{Feed, Order, Origin, Outlet};
use super::wire::Link;
use crate::filter::Filter;

/// What a record has beside its fields.
const ENVELOPE: [&str; 5] = ["id", "collectionId", "collectionName", "created", "updated"];

impl State {
    /// Opens a stream of a collection's events, for whoever holds a valid token.
    ///
    /// `token` is what came as `Authorization: Bearer` or `access_token`;
    /// `filter` is what came as `?filter=` below `/api/workspaces/`.
    pub(super) fn open_feed(
        &mut self,
        collection: &str,
        in_workspace: bool,
        filter: Option<String>,
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
        let filter = filter.filter(|filter| in_workspace && !filter.is_empty());
        if let Some(filter) = &filter {
            let filter = Filter::parse(filter, self.filter_dialect()).map_err(|_| Refusal::vague())?;
            if let Some(collection) = self.collections.get(collection) {
                self.check_filter(&filter, collection, &Requester::default())?;
            }
        }
        let wrapped = in_workspace || self.settings.wrapped;
        Ok(self.open_outlet(link, Origin::Feed(Feed { collection: collection.to_owned(), wrapped, filter })))
    }

    /// Logs in an account of the app; the names of the answer are the hub's choice.
    pub(super) fn log_in_to_app(&mut self, body: &[u8]) -> Result<Value, Refusal> {
        let mut fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        if !fields.contains_key("identity")
            && let Some(email) = fields.remove("email")
        {
            fields.insert("identity".into(), email);
        }
        let body = Value::Object(fields).to_string();
        let mut answer = self.auth_with_password("users", body.as_bytes())?;
        Ok(json!({ "access_token": answer["token"].take(), "user": answer["record"].take() }))
    }

    /// Sends a change to the streams of a collection; rules do not apply there.
    pub(super) fn announce_to_feeds(&mut self, action: Action, collection: &str, record: &Value) {
        let feeds = self.feeds_of(collection);
        let Some(collection) = self.collections.get(collection).filter(|_| !feeds.is_empty()) else { return };
        let (event, data) = match action {
            Action::Create => ("record_created", envelope(collection, record)),
            Action::Update => ("record_updated", envelope(collection, record)),
            Action::Delete => ("record_deleted", format!("{{\"id\":{}}}", record["id"])),
        };
        let wrapped = frame(event, format!("{{\"kind\":\"{event}\",\"record\":{data}}}").as_bytes());
        let bare = frame(event, data.as_bytes());
        let requester = Requester::default();
        let matches = |filter: &String| {
            let lens = Lens { state: self, collection, record, requester: &requester };
            Filter::parse(filter, self.filter_dialect()).is_ok_and(|filter| lens.passes(&filter))
        };
        let reached: Vec<(u64, bool)> = feeds
            .into_iter()
            .filter(|(_, feed)| feed.filter.as_ref().is_none_or(matches))
            .map(|(stream, feed)| (stream, feed.wrapped))
            .collect();
        for (stream, is_wrapped) in reached {
            let frame = if is_wrapped { &wrapped } else { &bare };
            self.push(stream, frame.clone(), Order::Free);
        }
    }

    /// Sends what a hook published: under the name `type`, with `payload` as
    /// data. An object without a `payload` is its own. No filter applies.
    pub(super) fn publish_to_feed(&mut self, collection: &str, message: &Value) -> usize {
        let event = message["type"].as_str().unwrap_or("custom");
        let data = message.get("payload").unwrap_or(message).to_string();
        let frame = frame(event, data.as_bytes());
        let feeds = self.feeds_of(collection);
        for (stream, _) in &feeds {
            self.push(*stream, frame.clone(), Order::Free);
        }
        feeds.len()
    }

    fn feeds_of(&self, collection: &str) -> Vec<(u64, Feed)> {
        let of = |(stream, outlet): (&u64, &Outlet)| match &outlet.origin {
            Origin::Feed(feed) if feed.collection == collection => Some((*stream, feed.clone())),
            _ => None,
        };
        self.outlets.iter().filter_map(of).collect()
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
