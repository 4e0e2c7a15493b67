//! An embedded PocketBase-like server: for quick starts, and for tests, with
//! faults on demand.
//!
//! [`Hub::start`] serves on a free port of 127.0.0.1 from one background
//! thread, everything in memory. It answers the realtime endpoint and enough
//! of the record and auth endpoints for a whole program to run offline, and
//! what it answers is checked against the real server: one test suite runs
//! against both (`tests/hub_parity`).
//!
//! ```
//! use serde_json::json;
//! use tidings::hub::Hub;
//!
//! let hub = Hub::start()?;
//! println!("point a client at {}", hub.url());
//!
//! // Collections are created when they are first used.
//! let post = hub.create("posts", json!({ "title": "Hello" }));
//! hub.update("posts", post["id"].as_str().unwrap(), json!({ "title": "Hello again" }));
//! assert_eq!(hub.records("posts")[0]["title"], "Hello again");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The same changes reach the streams of **RustBaaS**, a server with one stream
//! for each collection: `/api/realms/:realm/apps/:app/collections/:coll/events`,
//! or with `/api/workspaces/:workspace/` as newer servers have it, where
//! `?filter=` is evaluated, in the language of PocketBase. Accounts of `users`
//! log in at `…/apps/:app/auth/users/login`.
//! [`Hub::sse`] makes plain event streams, for clients that know no backend.
//!
//! # What differs from the real server
//! - Messages of a stream keep their order, unless [`Faults::reorder`] says otherwise.
//! - A collection that was not [declared](Hub::collection) has no schema: it
//!   keeps whatever fields it is given, and a filter may name those that it has seen.
//! - Everyone may read and write every record, except that accounts are seen
//!   and changed by their owners only, until [`Hub::list_rule`] and
//!   [`Hub::view_rule`] say otherwise.
//! - Batch requests work without being enabled.
//! - Bodies are JSON; forms are read for `POST /api/realtime` alone.
//! - Tokens are signed with a plain keyed hash: the hub provides no security.
//!
//! # What it is not
//! A server for anybody else. It listens on 127.0.0.1 alone, and a request whose
//! `Host` is not a loopback address or `localhost` with its port gets a 421, so
//! that no page in a browser reaches it by a name that was made to point here; a
//! proxy in front of it must send such a `Host`. Whoever can connect from this
//! machine can do everything: forge tokens, read every record, fill its memory. It
//! has no TLS, keeps passwords as they are, and writes nothing to disk. Use it
//! with data that is made up.
//!
//! # Source
//! This module may be used by any other and uses none of them. `server` accepts
//! and routes what `host` lets through; `realtime` keeps the streams, with `topic` for what clients
//! subscribe to; `records`, `shape`, `list` and `filter` keep the data, `auth` and
//! `oauth2` the accounts, `batch` makes several changes at once; `rustbaas` and
//! `sse` are the other protocols, `stream` carries all three; `faults`, `answer`,
//! `storm`, `gzip` and `wire` break things; `requests` remembers what was asked;
//! `state` is what they share.

mod answer;
mod auth;
mod batch;
mod builder;
mod clock;
mod faults;
mod gzip;
mod host;
mod list;
mod oauth2;
mod realtime;
mod records;
mod refusal;
mod requests;
mod rustbaas;
mod server;
mod shape;
mod sse;
mod state;
mod storm;
mod stream;
mod topic;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

pub use answer::Answer;
pub use builder::Builder;
pub use faults::{Endpoint, Faults};
pub use requests::Seen;
pub use sse::{Message, Sse};
pub use state::{Stats, Submit};
pub use storm::{Storm, Strike};

use records::{Collection, Kind, Requester, Rule};
use state::Shared;

/// A running server. Dropping it stops it.
///
/// All methods may be called from any thread, and each acts at once: a record
/// created here has been sent to every subscribed stream's queue when
/// [`create`](Self::create) returns.
pub struct Hub {
    shared: Arc<Shared>,
    addr: SocketAddr,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The request that a rule judges: see [`Hub::list_rule`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// The record of the user who makes the request; `None` for guests.
    pub auth: Option<Value>,
    /// The query: of the request, or of the subscription's options.
    pub query: BTreeMap<String, String>,
    /// The headers, their names in snake case: of the request, or of the
    /// subscription's options.
    pub headers: BTreeMap<String, String>,
}

impl Request {
    /// The id of the user who makes the request; the empty string for guests.
    #[must_use]
    pub fn auth_id(&self) -> &str {
        self.auth.as_ref().and_then(|record| record["id"].as_str()).unwrap_or_default()
    }
}

impl Hub {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If no port can be bound or no thread started.
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Creates a builder, to start a hub with settings of your own.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The URL that it serves: `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The address that it listens on. [`restart`](Self::restart) keeps it.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The seed of client ids, record ids and the order of [`Faults::reorder`].
    /// Random by default; print it when a test fails.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.look().settings.seed
    }

    /// Declares a collection, and returns its id. Records then have these
    /// fields, with these values where they are given none; others are dropped,
    /// as the real server does. Declaring it again changes the fields.
    ///
    /// ```
    /// # use serde_json::json;
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.collection("tasks", json!({ "title": "", "done": false }));
    /// let task = hub.create("tasks", json!({ "title": "Sleep", "colour": "blue" }));
    /// assert_eq!((&task["done"], task.get("colour")), (&json!(false), None));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `fields` is not an object.
    pub fn collection(&self, name: &str, fields: Value) -> String {
        let fields = object(fields);
        self.declare(name, Kind::Base, |collection| collection.declared = Some(fields))
    }

    /// The same with fields as PocketBase describes them, from 0.23 on: a list of objects with `name`, `type`, and
    /// `maxSelect` and `collectionId` (an id or a name) where they have them. A filter then compares as it does there:
    /// a JSON field is strict, a select field with several values has `:each`.
    ///
    /// ```
    /// let hub = tidings::hub::Hub::start()?;
    /// hub.schema("posts", serde_json::json!([
    ///     { "name": "title", "type": "text" },
    ///     { "name": "tags", "type": "select", "maxSelect": 3 },
    /// ]));
    /// let post = hub.create("posts", serde_json::json!({ "title": "Hello" }));
    /// assert_eq!(post["tags"], serde_json::json!([]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `fields` is not a list, or a relation's collection is not there.
    pub fn schema(&self, name: &str, fields: Value) -> String {
        let list = fields.as_array().expect("a list of fields").clone();
        self.declare(name, Kind::Base, |_| {});
        for field in list.iter().filter(|field| field["type"] == "relation") {
            let target = field["collectionId"].as_str().unwrap_or("");
            let target = self.shared.look().collection(target).map(|target| target.name.clone());
            let target = target.expect("the collection of the relation");
            self.relation(name, field["name"].as_str().unwrap_or(""), &target);
        }
        self.declare(name, Kind::Base, |collection| collection.describe(&list))
    }

    /// Makes `field` of a collection a relation: it holds the id of a record in
    /// `target`, or a list of ids, and can be expanded and filtered through.
    /// Both collections are created if necessary.
    pub fn relation(&self, collection: &str, field: &str, target: &str) {
        self.declare(target, Kind::Base, |_| {});
        self.declare(collection, Kind::Base, |collection| {
            collection.relations.insert(field.to_owned(), target.to_owned());
        });
    }

    /// Sets the rule for who sees which records of a collection in lists and
    /// through `NAME/*`. Superusers and the hub's own methods see all records.
    ///
    /// The rule runs while the hub is locked: it must not call the hub.
    ///
    /// ```
    /// # use serde_json::json;
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.list_rule("notes", |request, record| record["owner"] == request.auth_id());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn list_rule(
        &self,
        collection: &str,
        rule: impl Fn(&Request, &Value) -> bool + Send + Sync + 'static,
    ) {
        let rule: Rule = Arc::new(rule);
        self.declare(collection, Kind::Base, |collection| collection.list_rule = Some(rule));
    }

    /// Sets the rule for who sees which records of a collection by id, expanded
    /// in others, and through `NAME/ID`. Otherwise as
    /// [`list_rule`](Self::list_rule).
    pub fn view_rule(
        &self,
        collection: &str,
        rule: impl Fn(&Request, &Value) -> bool + Send + Sync + 'static,
    ) {
        let rule: Rule = Arc::new(rule);
        self.declare(collection, Kind::Base, |collection| collection.view_rule = Some(rule));
    }

    /// Creates a record, as a superuser would over HTTP, and returns it. An
    /// `id` of 15 characters may be given.
    ///
    /// # Panics
    /// If the server would refuse it: a bad or taken id, a relation to a record
    /// that is not there, an unknown collection where the hub is strict; or if
    /// `record` is not an object.
    #[track_caller]
    pub fn create(&self, collection: &str, record: Value) -> Value {
        let fields = object(record);
        let host = Requester::host();
        granted(self.shared.change(|state| state.create(collection, fields, &host)))
    }

    /// Changes fields of a record, and returns the whole of it.
    ///
    /// # Panics
    /// If there is no such record, or as [`create`](Self::create).
    #[track_caller]
    pub fn update(&self, collection: &str, id: &str, changes: Value) -> Value {
        let fields = object(changes);
        let host = Requester::host();
        granted(self.shared.change(|state| state.update(collection, id, fields, &host)))
    }

    /// Deletes a record.
    ///
    /// # Panics
    /// If there is no such record.
    #[track_caller]
    pub fn delete(&self, collection: &str, id: &str) {
        granted(self.shared.change(|state| state.delete(collection, id, &Requester::host())));
    }

    /// The records of a collection, in order of creation; none if there is no
    /// such collection.
    #[must_use]
    pub fn records(&self, collection: &str) -> Vec<Value> {
        let state = self.shared.look();
        state.collection(collection).map_or_else(Vec::new, |found| found.records().cloned().collect())
    }

    /// Sends a message of your own to every stream that subscribed to exactly
    /// `topic`, options included. Returns how many streams that were.
    ///
    /// The payload goes out as it is: a newline in it breaks the framing, as it
    /// does on the real server.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// assert_eq!(hub.publish("jobs/finished", r#"{"job":7}"#), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) -> usize {
        self.shared.change(|state| state.publish(topic, &payload.into()))
    }

    /// Sends an event of your own to every RustBaaS stream of a collection, as
    /// a hook there does with `$app.realtime.publish`. Its name is the
    /// message's `type` (`custom` where there is none), its data the JSON of
    /// the message's `payload` (of the whole message where there is none).
    /// Returns how many streams that were.
    ///
    /// ```
    /// # use serde_json::json;
    /// # let hub = tidings::hub::Hub::start()?;
    /// let chat = json!({ "type": "chat", "payload": { "text": "Hello" } });
    /// assert_eq!(hub.rustbaas_publish("posts", chat), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `type` holds a line end.
    #[track_caller]
    pub fn rustbaas_publish(&self, collection: &str, message: Value) -> usize {
        let event = message["type"].as_str().unwrap_or_default();
        assert!(!event.contains(['\r', '\n']), "the type {event:?} is not one line");
        self.shared.change(|state| state.publish_to_feed(collection, &message))
    }

    /// Where the RustBaaS stream of a collection is. The hub takes every realm
    /// and app: all share its collections. Put `workspaces` for `realms` for the
    /// form of newer servers.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// let url = hub.rustbaas_url("acme", "web", "posts");
    /// assert!(url.ends_with("/api/realms/acme/apps/web/collections/posts/events"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn rustbaas_url(&self, realm: &str, app: &str, collection: &str) -> String {
        format!("{}/api/realms/{realm}/apps/{app}/collections/{collection}/events", self.url())
    }

    /// A plain event stream at a path of your choice, for tests of clients that
    /// know nothing of any backend: see [`Sse`]. The path comes before any that
    /// the hub serves otherwise; asked for again it is the same stream.
    ///
    /// # Panics
    /// If `path` does not begin with a slash.
    #[track_caller]
    #[must_use]
    pub fn sse(&self, path: &str) -> Sse {
        assert!(path.starts_with('/'), "{path} does not begin with a slash");
        Sse::new(self.shared.clone(), self.url(), path)
    }

    /// Adds an account to an auth collection and returns the record's id.
    /// `users` and `_superusers` exist from the start, others are created.
    ///
    /// # Panics
    /// If the password is empty, the e-mail address taken, or the collection
    /// not one of accounts.
    #[track_caller]
    pub fn add_user(&self, collection: &str, email: &str, password: &str) -> String {
        self.declare(collection, Kind::Auth, |collection| {
            assert!(collection.kind == Kind::Auth, "{} holds no accounts", collection.name);
        });
        let account = json!({ "email": email, "password": password, "passwordConfirm": password });
        self.create(collection, account)["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Lets clients log in to an auth collection with OAuth2, at a provider of
    /// this name that the hub plays itself: whoever opens its page has consented
    /// already, and is the account with this e-mail address, which is created if
    /// necessary. `None` stands for a user who declines.
    ///
    /// A browser is not needed: a GET of the URL that the client wants opened,
    /// its redirects followed, is all that one would do.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.oauth2("users", "mock", Some("ann@example.com"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn oauth2(&self, collection: &str, provider: &str, email: Option<&str>) {
        self.declare(collection, Kind::Auth, |_| {});
        self.shared.change(|state| state.providers.enable(collection, provider, email));
    }

    /// A token of an account, valid for this long (whole seconds; zero makes an
    /// expired one). `user` is the id of its record.
    ///
    /// # Panics
    /// If there is no such account.
    #[track_caller]
    #[must_use]
    pub fn token(&self, collection: &str, user: &str, lifetime: Duration) -> String {
        let state = self.shared.look();
        let found = state.collection(collection).filter(|found| found.record(user).is_some());
        let Some(found) = found else { panic!("no account {user} in {collection}") };
        state.accounts.issue(&(found.name.clone(), user.to_owned()), &found.id, Some(lifetime))
    }

    /// Sets how long tokens issued from now on are valid.
    pub fn token_lifetime(&self, lifetime: Duration) {
        self.shared.change(|state| state.accounts.set_lifetime(lifetime));
    }

    /// Revokes every token of an account and makes the streams bound to it a
    /// guest's, without a message to anyone, as a changed password does. `user` is
    /// the id of its record. Returns false if there is no such account.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// let ann = hub.add_user("users", "ann@example.com", "secret");
    /// // Her streams stay open and hear no more of what only she may see.
    /// assert!(hub.revoke(&ann));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn revoke(&self, user: &str) -> bool {
        self.shared.change(|state| {
            let owns = |c: &&Collection| c.kind == Kind::Auth && c.record(user).is_some();
            let name = state.collections.values().find(owns).map(|found| found.name.clone());
            name.is_some_and(|name| state.drop_identity(&(name, user.to_owned())))
        })
    }

    /// Faults on demand: cut streams, freeze, answer with errors, and others.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults::new(self.shared.clone())
    }

    /// What is open now, and what happened since the first start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.look().stats()
    }

    /// The last 4,096 `POST /api/realtime`, oldest first (fewer if their topics
    /// are many).
    #[must_use]
    pub fn submits(&self) -> Vec<Submit> {
        self.shared.look().submits()
    }

    /// The last 1,024 requests of any kind, oldest first (fewer if they are
    /// long), with their headers and bodies.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.look().requests.all()
    }

    /// The topics subscribed now, over all streams, as they were submitted.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<String> {
        self.shared.look().topics().into_iter().map(str::to_owned).collect()
    }

    /// Blocks until `condition` is true of the hub's counters; returns false if it
    /// was not within `timeout`. The condition must not call the hub.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let hub = tidings::hub::Hub::start()?;
    /// assert!(hub.wait_until(|stats| stats.streams == 0, Duration::from_secs(1)));
    /// assert!(!hub.wait_until(|stats| stats.submits > 0, Duration::from_millis(1)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn wait_until(&self, condition: impl FnMut(&Stats) -> bool, timeout: Duration) -> bool {
        self.shared.wait_until(condition, timeout)
    }

    /// Stops the hub: the port is closed first, so that nobody reconnects, then
    /// every stream is ended cleanly. A stream that has not taken its end after
    /// 500 ms is cut. Returns when the thread is gone; does nothing if the hub has
    /// stopped already.
    ///
    /// One thread of the `async-io` crate, shared by the process, stays.
    pub fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.end(thread);
    }

    /// Stops and starts again on the same port: client ids are lost,
    /// records, accounts, tokens, counters and faults are kept.
    ///
    /// # Errors
    /// If the port was taken in between, or no thread can be started.
    pub fn restart(&self) -> io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        self.end(thread.take());
        // The kernel may need a moment to give the port back.
        let patience = Instant::now() + Duration::from_secs(1);
        let listener = loop {
            match server::listen(self.addr.port()) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < patience => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => break result?,
            }
        };
        *thread = Some(run(listener, &self.shared)?);
        Ok(())
    }

    fn end(&self, thread: Option<JoinHandle<()>>) {
        if let Some(thread) = thread {
            self.shared.stop();
            // Its panic, if it had one, has been printed already.
            let _ = thread.join();
        }
    }

    fn declare(&self, name: &str, kind: Kind, set: impl FnOnce(&mut Collection)) -> String {
        self.shared.change(|state| {
            let name = state.collection(name).map_or(name, |found| &found.name).to_owned();
            let collection =
                state.collections.entry(name).or_insert_with_key(|name| Collection::new(name, kind));
            set(collection);
            collection.id.clone()
        })
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.look();
        f.debug_struct("Hub")
            .field("addr", &self.addr)
            .field("seed", &state.settings.seed)
            .field("stats", &state.stats())
            .finish_non_exhaustive()
    }
}

fn run(listener: smol::Async<std::net::TcpListener>, shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    shared.stopping.store(false, Ordering::SeqCst);
    let shared = shared.clone();
    std::thread::Builder::new().name("tidings-hub".into()).spawn(move || server::run(listener, shared))
}

#[track_caller]
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("a record is a JSON object, not {other}"),
    }
}

#[track_caller]
fn granted<T>(result: Result<T, refusal::Refusal>) -> T {
    match result {
        Ok(value) => value,
        Err(refusal) => panic!("the hub refused: {}", refusal.body()),
    }
}
