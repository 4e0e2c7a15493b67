//! RustBaaS: a stream for each collection, opened with the token, with heartbeats and without anything to submit.

use std::{sync::Arc, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{Dialect, Request, Streams, TokenPlace};
use crate::{
    Action, Error,
    event::Shape,
    sse::Message,
    topic::{Topic, is_dots},
};

#[derive(Debug)]
pub(crate) struct RustBaas {
    pub(crate) realm: String,
    pub(crate) app: String,
    pub(crate) token_in_query: bool,
    /// The server's interval; a stream that misses three is dead.
    pub(crate) heartbeat: Duration,
}

/// The server's interval unless another is configured.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// Longer names than this are a mistake.
const MAX_KEY: usize = 2500;

/// What may stand in a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl Dialect for RustBaas {
    fn key(&self, topic: &Topic) -> Result<Arc<str>, Error> {
        if let Some(option) = topic.query.keys().next() {
            let reason = "its server does not filter or expand what it sends; use `only_if`, which runs here";
            return Err(Error::unsupported(format!("`{option}` of a subscription"), reason));
        }
        if !topic.headers.is_empty() {
            let reason = "a subscription has no headers of its own; give them to the client";
            return Err(Error::unsupported("`header` of a subscription", reason));
        }
        match topic.name.split_once('/') {
            Some((collection, record))
                if !collection.is_empty()
                    && !is_dots(collection)
                    && !record.is_empty()
                    && !record.contains('/') =>
            {
                topic.key(MAX_KEY)
            }
            _ => {
                let reason = "topics are `COLLECTION/*` and `COLLECTION/RECORD_ID`";
                Err(Error::InvalidTopic { topic: topic.name.clone(), reason: reason.into() })
            }
        }
    }

    fn streams(&self) -> Streams {
        Streams::Direct
    }

    fn stream_of<'a>(&self, key: &'a str) -> &'a str {
        key.split_once('/').map_or(key, |(collection, _)| collection)
    }

    fn is_local(&self, _key: &str) -> bool {
        false
    }

    fn silence_limit(&self) -> Duration {
        3 * self.heartbeat
    }

    fn open_request(&self, stream: &str) -> Request {
        let encode = |text| utf8_percent_encode(text, SEGMENT);
        let (realm, app, collection) = (encode(&self.realm), encode(&self.app), encode(stream));
        let path = format!("/api/realms/{realm}/apps/{app}/collections/{collection}/events");
        let token = if self.token_in_query { TokenPlace::Query("access_token") } else { TokenPlace::Header };
        Request { method: "GET", path, body: None, token, pin: None }
    }

    fn log_in_path(&self, _collection: &str) -> Result<String, Error> {
        let reason =
            "how RustBaaS logs in is not documented; get a token from it and give it to `auth().set_token`";
        Err(Error::unsupported("a log-in", reason))
    }

    /// The server sends all of the collection; who watches one record gets its changes from here.
    fn route(&self, stream: &str, message: &Message<'_>, to: &mut dyn FnMut(&str, Shape)) {
        #[derive(Deserialize)]
        struct Record {
            id: Box<str>,
        }
        let action = match message.event() {
            "record_created" => Action::Create,
            "record_updated" => Action::Update,
            "record_deleted" => Action::Delete,
            _ => Action::Custom,
        };
        let mut key = format!("{stream}/*");
        to(&key, Shape::Bare(action));
        if action != Action::Custom
            && let Ok(record) = serde_json::from_str::<Record>(message.data())
        {
            key.truncate(key.len() - 1);
            key.push_str(&record.id);
            to(&key, Shape::Bare(action));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::{Decoder, Item};

    fn dialect() -> RustBaas {
        RustBaas { realm: "ac me".into(), app: "web".into(), token_in_query: false, heartbeat: HEARTBEAT }
    }

    fn routes(event: &str, data: &str) -> Vec<(String, Shape)> {
        let mut decoder = Decoder::new();
        let text = format!("event: {event}\ndata: {data}\n\n");
        let mut items = decoder.feed(text.as_bytes());
        let Some(Item::Message(message)) = items.next() else { panic!("no message") };
        let mut routes = Vec::new();
        dialect().route("posts", &message, &mut |key, shape| routes.push((key.to_owned(), shape)));
        routes
    }

    #[test]
    fn names_stand_in_the_path_encoded() {
        let path = "/api/realms/ac%20me/apps/web/collections/po%2Fsts/events";
        assert_eq!(dialect().open_request("po/sts").path, path);
    }

    #[test]
    fn a_change_goes_to_the_collection_and_to_the_record() {
        let all = ("posts/*".to_owned(), Shape::Bare(Action::Delete));
        let one = ("posts/01H".to_owned(), Shape::Bare(Action::Delete));
        assert_eq!(routes("record_deleted", r#"{"id":"01H"}"#), [all, one]);
        let custom = ("posts/*".to_owned(), Shape::Bare(Action::Custom));
        assert_eq!(routes("chat", r#"{"id":"01H"}"#), [custom]);
    }

    #[test]
    fn what_the_server_cannot_do_is_refused_with_what_to_do_instead() {
        let mut topic = Topic::new("posts/*");
        topic.query.insert("filter".into(), "a = 1".into());
        let error = dialect().key(&topic).unwrap_err();
        assert!(
            matches!(error, Error::Unsupported { .. }) && error.to_string().contains("only_if"),
            "{error}"
        );
        for name in ["posts", "/x", "posts/", "a/b/c", "PB_CONNECT"] {
            assert!(dialect().key(&Topic::new(name)).is_err(), "{name}");
        }
        assert_eq!(&*dialect().key(&Topic::new("posts/01H")).unwrap(), "posts/01H");
    }
}
