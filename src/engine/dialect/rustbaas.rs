//! RustBaaS: a stream for each collection, opened with the token, with heartbeats and without anything to submit.
//!
//! Its servers differ by age. Older ones keep apps in realms and send all of a collection; newer ones keep them in
//! workspaces and filter what they send, so there each filter of a collection has a stream of its own.

use std::{borrow::Cow, sync::Arc, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Dialect, Request, Streams, TokenPlace};
use crate::{
    Action, Error, Refusal,
    event::{Direct, Shape},
    sse::Message,
    topic::{Topic, is_dots},
};

#[derive(Debug)]
pub(crate) struct RustBaas {
    pub(crate) place: Place,
    pub(crate) app: String,
    pub(crate) token_in_query: bool,
    /// The server's interval; a stream that misses three is dead.
    pub(crate) heartbeat: Duration,
}

/// What an app belongs to.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// On older servers, which do not filter.
    Realm(String),
    /// On newer ones, which do.
    Workspace(String),
}

/// The server's interval unless another is configured.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// Longer names than this are a mistake.
const MAX_KEY: usize = 2500;

/// What may stand in a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The collection whose accounts log in.
const USERS: &str = "users";

impl Place {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Realm(name) | Self::Workspace(name) => name,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Realm(_) => "realm",
            Self::Workspace(_) => "workspace",
        }
    }
}

impl RustBaas {
    /// The path of the app.
    fn app_path(&self) -> String {
        let encode = |text| utf8_percent_encode(text, SEGMENT);
        format!("/api/{}s/{}/apps/{}", self.place.kind(), encode(self.place.name()), encode(&self.app))
    }

    fn filters(&self) -> bool {
        matches!(self.place, Place::Workspace(_))
    }
}

impl Dialect for RustBaas {
    fn key(&self, topic: &Topic) -> Result<Arc<str>, Error> {
        let is_known = |option: &str| self.filters() && option == "filter";
        if let Some(option) = topic.query.keys().find(|option| !is_known(option)) {
            let reason = match option.as_str() {
                "filter" => {
                    "its server does not filter what it sends; use `only_if`, which runs here, or, if its apps are in \
                     workspaces, build the client with `rustbaas_workspace`"
                }
                _ if self.filters() => "its server only filters what it sends",
                _ => "its server does not filter or expand what it sends; use `only_if`, which runs here",
            };
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
                    && !topic.name.contains('?')
                    && !record.contains('/') =>
            {
                let mut topic = topic.clone();
                topic.query.retain(|_, value| !value.is_empty());
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

    /// The key without the record: a collection, and the options that hold the filter.
    fn stream_of<'a>(&self, key: &'a str) -> Cow<'a, str> {
        let (collection, rest) = key.split_once('/').unwrap_or((key, ""));
        match rest.find('?') {
            Some(at) => format!("{collection}{}", &rest[at..]).into(),
            None => collection.into(),
        }
    }

    fn is_local(&self, _key: &str) -> bool {
        false
    }

    fn silence_limit(&self) -> Duration {
        3 * self.heartbeat
    }

    fn open_request(&self, stream: &str) -> Request {
        let encode = |text| utf8_percent_encode(text, SEGMENT);
        let (collection, options) = split(stream);
        let mut path = format!("{}/collections/{}/events", self.app_path(), encode(collection));
        if let Some(filter) = filter_in(options) {
            path += &format!("?filter={}", encode(&filter));
        }
        let token = if self.token_in_query { TokenPlace::Query("access_token") } else { TokenPlace::Header };
        Request { method: "GET", path, body: None, token, pin: None }
    }

    /// How it reads them is not documented.
    fn reads_pocketbase_filters(&self) -> bool {
        false
    }

    fn hint(&self, refusal: &Refusal) -> Option<&'static str> {
        match self.place {
            _ if refusal.status() != 404 => None,
            Place::Realm(_) => Some(
                "newer RustBaaS servers keep their apps in workspaces: if this is one, build the client with \
                 `rustbaas_workspace`",
            ),
            Place::Workspace(_) => Some(
                "older RustBaaS servers keep their apps in realms: if this is one, build the client with `rustbaas`",
            ),
        }
    }

    fn log_in_path(&self, _collection: &str) -> Result<String, Error> {
        let reason =
            "RustBaaS is not known to have it; log in with a password, or give a token to `auth().set_token`";
        Err(Error::unsupported("a login through another site", reason))
    }

    fn auth_path(&self, collection: &str, what: &str) -> Result<String, Error> {
        match what {
            "auth-with-password" if collection == USERS => {
                Ok(format!("{}/auth/{USERS}/login", self.app_path()))
            }
            "auth-with-password" => {
                let reason = "accounts of a RustBaaS app are in `users`; get other tokens from the server and give \
                              them to `auth().set_token`";
                Err(Error::unsupported(format!("a login to {collection:?}"), reason))
            }
            _ => {
                let reason = "RustBaaS is not known to exchange tokens; log in again";
                Err(Error::unsupported("a refresh of the token", reason))
            }
        }
    }

    fn records_path(&self, _collection: &str) -> Result<String, Error> {
        let reason = "where RustBaaS has them, and in which form, is not documented; use `send`";
        Err(Error::unsupported("reading and writing records", reason))
    }

    /// Which of the names the server reads is not documented.
    fn credentials(&self, identity: &str, password: &str) -> Value {
        json!({"identity": identity, "email": identity, "password": password})
    }

    /// The server sends all of the collection; who watches one record gets its changes from here.
    fn route(&self, stream: &str, message: &Message<'_>, to: &mut dyn FnMut(&str, Shape)) {
        let of_change = |name: &str| match name {
            "record_created" => Action::Create,
            "record_updated" => Action::Update,
            "record_deleted" => Action::Delete,
            _ => Action::Custom,
        };
        let (collection, options) = split(stream);
        let mut key = format!("{collection}/*{options}");
        let mut action = of_change(message.event());
        // What has a name is what it says; "message" is what no name is called.
        let is_unnamed = message.event() == "message";
        let payload = match action {
            Action::Custom if !is_unnamed => Direct::default(),
            _ => Direct::parse(message.data()),
        };
        if is_unnamed && let Some(kind) = &payload.kind {
            action = of_change(kind);
        }
        to(&key, Shape::Bare(action));
        if action != Action::Custom
            && let Some(record) = payload.record_id
        {
            key.clear();
            key.extend([collection, "/", &record, options]);
            to(&key, Shape::Bare(action));
        }
    }
}

/// A stream's collection, and its options from the `?` on.
fn split(stream: &str) -> (&str, &str) {
    stream.split_at(stream.find('?').unwrap_or(stream.len()))
}

fn filter_in(options: &str) -> Option<String> {
    let json = percent_decode_str(options.split_once("options=")?.1).decode_utf8().ok()?;
    let options: Value = serde_json::from_str(&json).ok()?;
    options.get("query")?.get("filter")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::{Decoder, Item};

    fn dialect() -> RustBaas {
        let place = Place::Realm("ac me".into());
        RustBaas { place, app: "web".into(), token_in_query: false, heartbeat: HEARTBEAT }
    }

    fn workspaces() -> RustBaas {
        RustBaas { place: Place::Workspace("ac me".into()), ..dialect() }
    }

    fn filtered(name: &str, filter: &str) -> Topic {
        let mut topic = Topic::new(name);
        topic.query.insert("filter".into(), filter.into());
        topic
    }

    fn routes_on(stream: &str, event: &str, data: &str) -> Vec<(String, Shape)> {
        let mut decoder = Decoder::new();
        let text = format!("event: {event}\ndata: {data}\n\n");
        let mut items = decoder.feed(text.as_bytes());
        let Some(Item::Message(message)) = items.next() else { panic!("no message") };
        let mut routes = Vec::new();
        dialect().route(stream, &message, &mut |key, shape| routes.push((key.to_owned(), shape)));
        routes
    }

    fn routes(event: &str, data: &str) -> Vec<(String, Shape)> {
        routes_on("posts", event, data)
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
    fn a_wrapped_change_goes_the_same_way_whether_it_has_a_name_or_not() {
        for (event, data, action) in [
            (
                "record_created",
                r#"{"kind":"record_created","record":{"id":"01H","fields":{}}}"#,
                Action::Create,
            ),
            ("", r#"{"kind":"record_created","record":{"id":"01H","fields":{}}}"#, Action::Create),
            ("", r#"{"kind":"record_updated","id":"01H","fields":{}}"#, Action::Update),
            ("", r#"{"kind":"record_deleted","record":{"id":"01H"}}"#, Action::Delete),
            ("", r#"{"kind":"record_deleted","id":"01H"}"#, Action::Delete),
            // The name counts where there is one.
            ("record_deleted", r#"{"kind":"record_created","id":"01H"}"#, Action::Delete),
        ] {
            let expected = ["posts/*", "posts/01H"].map(|key| (key.to_owned(), Shape::Bare(action)));
            assert_eq!(routes(event, data), expected, "{event} {data}");
        }
        for (event, data) in [
            ("chat", r#"{"kind":"record_created","record":{"id":"01H"}}"#),
            ("", r#"{"kind":"chat","record":{"id":"01H"}}"#),
            ("", "not json"),
        ] {
            assert_eq!(
                routes(event, data),
                [("posts/*".to_owned(), Shape::Bare(Action::Custom))],
                "{event} {data}"
            );
        }
    }

    #[test]
    fn each_filter_of_a_collection_has_a_stream_of_its_own() {
        let dialect = workspaces();
        let [all, one] =
            ["posts/*", "posts/01H"].map(|name| dialect.key(&filtered(name, "a = 'ü' && b>1")).unwrap());
        let stream = dialect.stream_of(&all);
        assert_eq!(stream, dialect.stream_of(&one));
        assert_ne!(stream, dialect.stream_of(&dialect.key(&filtered("posts/*", "a = 1")).unwrap()));
        let path = "/api/workspaces/ac%20me/apps/web/collections/posts/events";
        let filter = "a%20%3D%20%27%C3%BC%27%20%26%26%20b%3E1";
        assert_eq!(dialect.open_request(&stream).path, format!("{path}?filter={filter}"));
        let routed = routes_on(&stream, "record_deleted", r#"{"id":"01H"}"#);
        assert_eq!(routed, [&all, &one].map(|key| (key.to_string(), Shape::Bare(Action::Delete))));

        let bare = dialect.key(&filtered("posts/*", "")).unwrap();
        assert_eq!(
            (&*bare, dialect.open_request(&dialect.stream_of(&bare)).path),
            ("posts/*", path.to_owned())
        );
        let mut expanded = filtered("posts/*", "a = 1");
        expanded.query.insert("expand".into(), "author".into());
        assert!(matches!(dialect.key(&expanded), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn logins_go_to_the_accounts_of_the_app() {
        let path = |what| dialect().auth_path("users", what);
        assert_eq!(path("auth-with-password").unwrap(), "/api/realms/ac%20me/apps/web/auth/users/login");
        assert!(matches!(path("auth-refresh"), Err(Error::Unsupported { .. })));
        let elsewhere = workspaces().auth_path("../x", "auth-with-password");
        assert!(matches!(elsewhere, Err(Error::Unsupported { .. })));
    }

    #[test]
    fn what_the_server_cannot_do_is_refused_with_what_to_do_instead() {
        let error = dialect().key(&filtered("posts/*", "a = 1")).unwrap_err();
        assert!(
            matches!(error, Error::Unsupported { .. }) && error.to_string().contains("only_if"),
            "{error}"
        );
        for name in ["posts", "/x", "posts/", "a/b/c", "PB_CONNECT", "posts/*?options=%7B%7D"] {
            assert!(dialect().key(&Topic::new(name)).is_err(), "{name}");
        }
        assert_eq!(&*dialect().key(&Topic::new("posts/01H")).unwrap(), "posts/01H");
    }
}
