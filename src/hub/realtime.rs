//! `/api/realtime`: streams, the topics set on them, and what is sent to them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::auth::{Identity, SUPERUSERS};
use super::list::Lens;
use super::records::{Action, Collection, Kind, Look, Requester, Sight};
use super::refusal::Refusal;
use super::state::{State, Submit};
use super::stream::{Order, Origin};
use super::topic::Topic;
use super::wire::Link;

const MAX_TOPICS: usize = 1000;
const MAX_TOPIC_BYTES: usize = 2500;
const MAX_CLIENT_ID: usize = 255;

/// Who a stream of `/api/realtime` belongs to, and what it is subscribed to.
pub(super) struct Client {
    id: String,
    outlet: u64,
    ip: IpAddr,
    /// Who the stream is bound to; guests are nobody.
    pub(super) identity: Option<Identity>,
    /// By the part of the key before `?`, each in order of submission.
    topics: HashMap<String, Vec<Topic>>,
}

/// Topics on their way to a stream.
pub(super) struct Replacement {
    client_id: String,
    topics: Vec<String>,
}

impl Client {
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.values().flatten().map(|topic| topic.key.as_str())
    }

    pub(super) fn unsubscribe(&mut self, topic: &str) {
        for same_base in self.topics.values_mut() {
            same_base.retain(|other| other.key != topic);
        }
    }

    pub(super) fn frame(&self, event: &str, data: &[u8]) -> Bytes {
        let mut frame = Vec::with_capacity(self.id.len() + event.len() + data.len() + 18);
        for part in [b"id:", self.id.as_bytes(), b"\nevent:", event.as_bytes(), b"\ndata:", data] {
            frame.extend_from_slice(part);
        }
        frame.extend_from_slice(b"\n\n");
        frame.into()
    }
}

impl State {
    /// Opens a stream: a client with a new id, its `PB_CONNECT` queued.
    pub(super) fn open(&mut self, ip: IpAddr, link: Arc<Link>) -> u64 {
        let id = self.ids.client();
        let outlet = self.open_outlet(link, Origin::Client(id.clone()));
        let client = Client { id: id.clone(), outlet, ip, identity: None, topics: HashMap::new() };
        let handshake = client.frame("PB_CONNECT", format!("{{\"clientId\":\"{id}\"}}").as_bytes());
        self.clients.insert(id, client);
        self.push(outlet, handshake, Order::Kept);
        outlet
    }

    /// Sets the topics of a stream, after the checks that the real server
    /// makes, in its order. With a window in between to be waited for, the
    /// topics are taken away, and come back to be [set](Self::set_topics).
    pub(super) fn submit(
        &mut self,
        content_type: Option<&str>,
        body: &[u8],
        authorization: Option<&str>,
        ip: IpAddr,
    ) -> Result<Option<Replacement>, Refusal> {
        let (client_id, topics) = bind(content_type, body).ok_or_else(Refusal::vague)?;
        let wrong = faults_of_submit(&client_id, &topics);
        if !wrong.is_empty() {
            return Err(Refusal::vague().with_data(wrong));
        }
        let requester = self.identify(authorization);
        let client = self
            .clients
            .get_mut(&client_id)
            .ok_or_else(|| Refusal::new(404, "Missing or invalid client id."))?;
        if self.settings.check_ip && client.ip != ip {
            return Err(Refusal::new(400, "Invalid realtime client."));
        }
        if client.identity.is_some() && client.identity != requester {
            let message = "The current and the previous request authorization don't match.";
            return Err(Refusal::new(403, message));
        }
        client.identity = requester;
        client.topics.clear();
        let replacement = Replacement { client_id, topics };
        if self.faults.replacement.is_zero() {
            self.set_topics(&replacement);
            return Ok(None);
        }
        Ok(Some(replacement))
    }

    /// The second half of a submit. The stream may be gone by now.
    pub(super) fn set_topics(&mut self, replacement: &Replacement) {
        let dialect = self.filter_dialect();
        let Some(client) = self.clients.get_mut(&replacement.client_id) else { return };
        client.topics.clear();
        for key in &replacement.topics {
            let topic = Topic::parse(key, dialect);
            let same_base = client.topics.entry(topic.base().to_owned()).or_default();
            if same_base.iter().all(|other| other.key != topic.key) {
                same_base.push(topic);
            }
        }
    }

    /// Sends a custom message to every client that subscribed to exactly this topic.
    pub(super) fn publish(&mut self, topic: &str, payload: &[u8]) -> usize {
        let subscribed = |client: &&Client| client.topics().any(|key| key == topic);
        let ids: Vec<String> =
            self.clients.values().filter(subscribed).map(|client| client.id.clone()).collect();
        for id in &ids {
            self.send(id, topic, payload);
        }
        ids.len()
    }

    /// Tells every stream of a change to a record: a copy for each matching key.
    pub(super) fn announce(&mut self, action: Action, collection: &str, record: &Value) {
        if let Some(deferred) = &mut self.deferred {
            return deferred.push((action, collection.to_owned(), record.clone()));
        }
        let mut messages = Vec::new();
        if let Some(collection) = self.collections.get(collection).filter(|_| !self.clients.is_empty()) {
            let id = record["id"].as_str().unwrap_or_default();
            let (name, coll_id) = (&collection.name, &collection.id);
            // The bare name is the old form of `/*`.
            let bases = [
                (format!("{name}/{id}"), Look::View),
                (format!("{coll_id}/{id}"), Look::View),
                (format!("{name}/*"), Look::List),
                (format!("{coll_id}/*"), Look::List),
                (name.clone(), Look::List),
                (coll_id.clone(), Look::List),
            ];
            // Most topics have no options: their payload is made once.
            let mut plain: Option<Bytes> = None;
            for client in self.clients.values() {
                for (base, look) in &bases {
                    for topic in client.topics.get(base).into_iter().flatten() {
                        let requester = self.requester_of(client, topic);
                        if !self.reaches(collection, record, &requester, topic, *look) {
                            continue;
                        }
                        let sight = Sight { expand: topic.query("expand"), fields: topic.query("fields") };
                        let bare = sight.expand.is_none() && sight.fields.is_none();
                        let make = || {
                            let record = self.visible(collection, record, &requester, &sight);
                            Bytes::from(payload(action, &record))
                        };
                        let payload = if bare && collection.kind == Kind::Base {
                            plain.get_or_insert_with(make).clone()
                        } else {
                            make()
                        };
                        messages.push((client.id.clone(), topic.key.clone(), payload));
                    }
                }
            }
        }
        for (client, key, payload) in messages {
            self.send(&client, &key, &payload);
        }
        self.announce_to_feeds(action, collection, record);
    }

    fn requester_of(&self, client: &Client, topic: &Topic) -> Requester {
        let identity = client.identity.clone();
        Requester {
            superuser: identity.as_ref().is_some_and(|(collection, _)| collection == SUPERUSERS),
            identity,
            query: topic.options.query.clone(),
            headers: topic.options.headers.clone(),
        }
    }

    fn reaches(
        &self,
        collection: &Collection,
        record: &Value,
        requester: &Requester,
        topic: &Topic,
        look: Look,
    ) -> bool {
        if !self.may_see(collection, record, requester, look) {
            return false;
        }
        match &topic.options.filter {
            None => true,
            Some(Err(_)) => false,
            Some(Ok(filter)) => {
                self.check_filter(filter, collection, requester).is_ok()
                    && Lens { state: self, collection, record, requester }.passes(filter)
            }
        }
    }

    pub(super) fn send(&mut self, client_id: &str, event: &str, data: &[u8]) {
        if let Some(client) = self.clients.get(client_id) {
            self.push(client.outlet, client.frame(event, data), Order::Free);
        }
    }
}

fn payload(action: Action, record: &Value) -> String {
    let action = match action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    };
    format!("{{\"record\":{record},\"action\":\"{action}\"}}")
}

/// A submit as the log keeps it.
pub(super) fn read_submit(
    content_type: Option<&str>,
    body: &[u8],
    authorization: Option<&str>,
    status: u16,
) -> Submit {
    let (client_id, topics) = bind(content_type, body).unwrap_or_default();
    let had_authorization = authorization.is_some_and(|value| !value.is_empty());
    Submit { client_id, topics, status, had_authorization, at: Instant::now() }
}

/// The client id and topics of a submit, or nothing where they have the wrong types.
fn bind(content_type: Option<&str>, body: &[u8]) -> Option<(String, Vec<String>)> {
    if body.is_empty() {
        return Some((String::new(), Vec::new()));
    }
    let media_type = content_type?.split(';').next()?.trim();
    if media_type == "application/x-www-form-urlencoded" {
        let values = |wanted: &'static str| {
            url::form_urlencoded::parse(body).filter(move |(n, _)| n == wanted).map(|(_, v)| v)
        };
        let client_id = values("clientId").next().unwrap_or_default().into_owned();
        return Some((client_id, values("subscriptions").map(|v| v.into_owned()).collect()));
    }
    if media_type != "application/json" {
        return None;
    }
    // Only the first value counts; what follows it is not looked at.
    let first = serde_json::Deserializer::from_slice(body).into_iter::<Value>().next()?.ok()?;
    let fields = match first {
        Value::Null => Map::new(),
        Value::Object(fields) => fields,
        _ => return None,
    };
    let (mut client_id, mut topics) = (String::new(), Vec::new());
    for (name, value) in fields {
        // Go matches the names of fields without regard to case.
        match (name.to_ascii_lowercase().as_str(), value) {
            (_, Value::Null) => {}
            ("clientid", Value::String(id)) => client_id = id,
            ("subscriptions", Value::Array(items)) => {
                for item in items {
                    topics.push(match item {
                        Value::String(topic) => topic,
                        Value::Null => String::new(),
                        _ => return None,
                    });
                }
            }
            ("clientid" | "subscriptions", _) => return None,
            _ => {}
        }
    }
    Some((client_id, topics))
}

fn faults_of_submit(client_id: &str, topics: &[String]) -> Map<String, Value> {
    let mut wrong = Map::new();
    if client_id.is_empty() {
        wrong.insert("clientId".into(), Refusal::blank());
    } else if client_id.len() > MAX_CLIENT_ID {
        let fault = json!({
            "code": "validation_length_out_of_range",
            "message": format!("The length must be between 1 and {MAX_CLIENT_ID}."),
            "params": { "max": MAX_CLIENT_ID, "min": 1 },
        });
        wrong.insert("clientId".into(), fault);
    }
    let too_long = |max: usize| {
        json!({
            "code": "validation_length_too_long",
            "message": format!("The length must be no more than {max}."),
            "params": { "max": max, "min": 0 },
        })
    };
    if topics.len() > MAX_TOPICS {
        wrong.insert("subscriptions".into(), too_long(MAX_TOPICS));
    } else {
        let long: Map<String, Value> = topics
            .iter()
            .enumerate()
            .filter(|(_, topic)| topic.len() > MAX_TOPIC_BYTES)
            .map(|(at, _)| (at.to_string(), too_long(MAX_TOPIC_BYTES)))
            .collect();
        if !long.is_empty() {
            wrong.insert("subscriptions".into(), Value::Object(long));
        }
    }
    wrong
}
