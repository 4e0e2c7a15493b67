//! PocketBase and BosBase: one stream for many topics, which a POST sets.

use std::{borrow::Cow, sync::Arc, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Check, Dialect, Lifetimes, Request, Streams, SubmitVerdict, Submits, TokenPlace, is_transient};
use crate::{
    Error, Refusal,
    event::Shape,
    sse::Message,
    topic::{Topic, without_options},
};

#[derive(Debug)]
pub(crate) struct PocketBase {
    /// Topics and bytes of keys that one stream carries.
    pub(crate) capacity: (usize, usize),
}

impl Default for PocketBase {
    /// The server takes 1,000 topics. A full set may weigh 2.5 MB, and nginx by default refuses bodies over 1 MB.
    fn default() -> Self {
        Self { capacity: (900, 900_000) }
    }
}

/// Measured; before 0.38.2 there is no limit to a life.
const LIFETIMES: Lifetimes = Lifetimes { idle: Duration::from_secs(300), life: Duration::from_secs(1800) };

const PATH: &str = "/api/realtime";
const HANDSHAKE: &str = "PB_CONNECT";

/// Part of what the server says when the stream is bound to another user than that of the submit.
const OTHER_USER: &str = "authorization don't match";

/// The longest key that the server takes, in bytes.
const MAX_KEY: usize = 2500;

impl Dialect for PocketBase {
    fn key(&self, topic: &Topic) -> Result<Arc<str>, Error> {
        let key = topic.key(MAX_KEY)?;
        match has_lost_options(&key) {
            false => Ok(key),
            true => Err(Error::InvalidTopic {
                topic: without_options(&key).chars().take(80).collect(),
                reason: "the server could not read its options, and would send everything; give them with `filter`, \
                         `query` and `header`, or encode their JSON as `encodeURIComponent` does"
                    .into(),
            }),
        }
    }

    fn streams(&self) -> Streams {
        let (topics, bytes) = self.capacity;
        Streams::Multiplexed { topics, bytes }
    }

    fn stream_of<'a>(&self, _key: &'a str) -> Cow<'a, str> {
        "".into()
    }

    fn is_local(&self, key: &str) -> bool {
        key == HANDSHAKE
    }

    /// There are no heartbeats.
    fn silence_limit(&self) -> Duration {
        LIFETIMES.idle + Duration::from_secs(20)
    }

    fn lifetimes(&self) -> Option<Lifetimes> {
        Some(LIFETIMES)
    }

    /// No token: the server does not look at it here, the first submit is what binds a stream to a user.
    fn open_request(&self, _stream: &str) -> Request {
        Request { method: "GET", path: PATH.into(), body: None, token: TokenPlace::Nowhere, pin: None }
    }

    /// The event name echoes the key byte for byte.
    fn route(&self, _stream: &str, message: &Message<'_>, to: &mut dyn FnMut(&str, Shape)) {
        to(message.event(), Shape::Wrapped);
    }

    fn log_in_path(&self, collection: &str) -> Result<String, Error> {
        // Names are letters, digits and underscores; anything else must not reach another path.
        const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');
        Ok(format!("/api/collections/{}", utf8_percent_encode(collection, NAME)))
    }

    fn check(&self, topic: &Topic) -> Option<Check> {
        let (collection, record) = topic.name.split_once('/')?;
        // The rules may read them, and a request of ours has no such headers.
        if !topic.headers.is_empty() {
            return None;
        }
        let is_of_record = record != "*";
        let mut path =
            format!("{}/records?perPage=1&skipTotal=1&fields=id", self.log_in_path(collection).ok()?);
        for (name, value) in &topic.query {
            let is_lists_own =
                ["page", "perPage", "skipTotal", "fields", "sort", "expand"].contains(&&**name);
            if !(is_lists_own || is_of_record && name == "filter") {
                let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                path.extend(["&", &encoded(name), "=", &encoded(value)]);
            }
        }
        Some(Check { path: path.into(), is_of_record })
    }

    fn submits(&self) -> Option<&dyn Submits> {
        Some(self)
    }
}

impl Submits for PocketBase {
    fn handshake(&self, message: &Message<'_>) -> Option<Box<str>> {
        #[derive(Deserialize)]
        struct Connect {
            #[serde(rename = "clientId")]
            client_id: Box<str>,
        }
        if message.event() != HANDSHAKE {
            return None;
        }
        let connect = serde_json::from_str::<Connect>(message.data()).ok();
        // The id stands in both places; a server hook may have replaced the data.
        connect
            .map(|connect| connect.client_id)
            .or_else(|| Some(message.id().into()))
            .filter(|id| !id.is_empty())
    }

    fn handshake_topic(&self) -> &'static str {
        HANDSHAKE
    }

    fn submit(&self, client_id: &str, keys: &[&str]) -> Request {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            client_id: &'a str,
            subscriptions: &'a [&'a str],
        }
        let body = Body { client_id, subscriptions: keys };
        let body = serde_json::to_vec(&body).expect("strings always serialize");
        Request { method: "POST", path: PATH.into(), body: Some(body), token: TokenPlace::Header, pin: None }
    }

    fn is_users(&self, refusal: &Refusal) -> bool {
        refusal.status() == 403 && refusal.message().contains(OTHER_USER)
    }

    fn judge(&self, refusal: &Refusal) -> SubmitVerdict {
        let message = refusal.message();
        match refusal.status() {
            status if is_transient(status) => SubmitVerdict::Later,
            // An answer without the server's own body came from something on the way, which knows no stream either.
            404 if message.is_empty() || message.contains("client id") => SubmitVerdict::NewStream,
            403 if message.contains(OTHER_USER) => SubmitVerdict::NewStream,
            400 if message.contains("Invalid realtime client") => SubmitVerdict::NewStream,
            400 => refused_places(refusal).map_or(SubmitVerdict::Refused, SubmitVerdict::RefusedTopics),
            _ => SubmitVerdict::Refused,
        }
    }
}

/// Whether a topic has options that the server would drop without an error, and then send without a filter.
fn has_lost_options(key: &str) -> bool {
    let (sent, fragment) = key.split_once('#').unwrap_or((key, ""));
    let Some((_, query)) = sent.split_once('?') else { return fragment.contains("?options=") };
    // As it reads them: the first of that name; a semicolon or half an escape spoils a pair.
    let Some(raw) = query.split('&').find(|pair| pair.starts_with("options=")) else { return false };
    let is_read = |options: &str| {
        let options = serde_json::from_str(options).unwrap_or(Value::Bool(false));
        let fits = |field| matches!(options.get(field), None | Some(Value::Null | Value::Object(_)));
        matches!(options, Value::Null | Value::Object(_)) && fits("query") && fits("headers")
    };
    let mut escapes = raw.split('%').skip(1);
    let is_whole = |escape: &str| escape.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    let Some((_, options)) = url::form_urlencoded::parse(raw.as_bytes()).next() else { return false };
    if options.is_empty() {
        return false;
    }
    raw.contains(';') || !escapes.all(is_whole) || !is_read(&options)
}

/// The keys of `data.subscriptions`, when they are places in the list: `{"1": {"code": "validation_…"}}`.
fn refused_places(refusal: &Refusal) -> Option<Vec<usize>> {
    let body = refusal.json()?;
    let errors = body.get("data")?.get("subscriptions")?.as_object()?;
    let places: Vec<usize> = errors.keys().filter_map(|place| place.parse().ok()).collect();
    (!places.is_empty()).then_some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, body: &str) -> SubmitVerdict {
        PocketBase::default().judge(&Refusal::new(status, body.into(), None))
    }

    #[test]
    fn every_documented_answer_to_a_submit_is_understood() {
        use SubmitVerdict::*;
        let gone = r#"{"data":{},"message":"Missing or invalid client id.","status":404}"#;
        assert_eq!(verdict(404, gone), NewStream);
        let other = r#"{"data":{},"message":"The current and the previous request authorization don't match.","status":403}"#;
        assert_eq!(verdict(403, other), NewStream);
        assert_eq!(
            verdict(400, r#"{"data":{},"message":"Invalid realtime client.","status":400}"#),
            NewStream
        );
        assert_eq!(verdict(429, r#"{"data":{},"message":"Too Many Requests.","status":429}"#), Later);
        assert_eq!(verdict(502, "<html>"), Later);
        let long = r#"{"data":{"subscriptions":{"1":{"code":"validation_length_too_long"}}},"message":"x"}"#;
        assert_eq!(verdict(400, long), RefusedTopics(vec![1]));
        let many = r#"{"data":{"subscriptions":{"code":"validation_length_too_long"}},"message":"x"}"#;
        assert_eq!(verdict(400, many), Refused);
        assert_eq!(verdict(403, r#"{"data":{},"message":"Not for you.","status":403}"#), Refused);
        assert_eq!(verdict(404, r#"{"data":{},"message":"No such room.","status":404}"#), Refused);
    }

    #[test]
    fn options_that_the_server_would_drop_are_refused() {
        let key = |name: &str| PocketBase::default().key(&Topic::new(name));
        let json = r#"{"query":{"filter":"a = 1 && b = 2"}}"#;
        let encoded: String = url::form_urlencoded::byte_serialize(json.as_bytes()).collect();
        for good in [
            format!("posts/*?options={encoded}"),
            format!("posts/*?options={}", utf8_percent_encode(json, NON_ALPHANUMERIC)),
            r#"posts/*?options={"query":{"filter":"a=1"}}"#.into(),
            format!("jobs?a=1&options={encoded}"),
            "jobs?x=options".into(),
            "jobs?options=".into(),
            "jobs&options={".into(),
        ] {
            assert_eq!(&*key(&good).unwrap(), good);
        }
        for bad in [
            format!("posts/*?options={json}"),
            "posts/*?options={%7".into(),
            "posts/*?options={\"query\":1}".into(),
            format!("posts/*#?options={encoded}"),
            format!("posts/*?options={encoded};"),
        ] {
            let error = key(&bad).unwrap_err().to_string();
            assert!(error.contains("posts/*") && !error.contains("a = 1"), "{error}");
        }
    }

    #[test]
    fn a_submit_names_the_client_and_the_whole_set() {
        let request = PocketBase::default().submit("c1", &["posts/*", "a\"b"]);
        let body = String::from_utf8(request.body.unwrap()).unwrap();
        assert_eq!(body, r#"{"clientId":"c1","subscriptions":["posts/*","a\"b"]}"#);
    }
}
