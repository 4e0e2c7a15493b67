//! The client: a cheap handle to one driver.

pub(crate) mod auth;
mod builder;
mod collection;
mod filter;
mod oauth2;
mod realtime;
mod records;
pub(crate) mod request;
pub(crate) mod server_url;
mod subscription;
mod walk;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Stream, future::BoxFuture};
use serde::Serialize;
use serde_json::Value;

pub use self::{
    auth::{Auth, TokenChanges},
    builder::ClientBuilder,
    collection::{AuthResponse, Collection},
    filter::filter,
    oauth2::OAuth2,
    realtime::Realtime,
    records::{List, Page, Pages, RecordRequest, Records},
    request::{Request, Response},
    subscription::{Subscribe, Subscription},
};

pub(crate) use self::builder::seed;

use crate::{
    Error, State, Stats,
    driver::Driver,
    driver::shared::{Handle, Settings, Shared},
    engine::{Config, Engine},
};

/// A client of one server. Cheap to clone: clones are handles to the same client and connection.
///
/// The client closes when its last handle and last subscription have been dropped, or with [`close`](Self::close).
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) handle: Arc<Handle>,
}

impl Client {
    /// Creates a client with the default settings. Its I/O runs on a background thread of its own; its futures and
    /// streams work on any executor.
    ///
    /// It connects with the first subscription, not before.
    ///
    /// ```
    /// let client = tidings::Client::new("http://127.0.0.1:8090")?;
    /// assert!(matches!(client.state(), tidings::State::Idle));
    /// # Ok::<(), tidings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] unless the URL has the scheme `http` or `https` and a host.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// Creates a client of an app on a RustBaaS server, with the default settings. As [`new`](Self::new), plus the realm
    /// and the app to which the collections belong.
    ///
    /// Each collection has its own stream, shared by all its subscriptions. RustBaaS has no filters and no `expand`: using
    /// them is [`Error::Unsupported`]. Filter in the client instead, with
    /// [`Subscribe::only_if`](crate::Subscribe::only_if). Newer servers, whose apps are in workspaces, do filter: see
    /// [`rustbaas_workspace`](ClientBuilder::rustbaas_workspace).
    ///
    /// ```
    /// let client = tidings::Client::rustbaas("http://127.0.0.1:8080", "acme", "web")?;
    /// # Ok::<(), tidings::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn rustbaas(url: &str, realm: &str, app: &str) -> Result<Self, Error> {
        Self::builder(url).rustbaas(realm, app).build()
    }

    /// A guest's client of the same server, for a stream of its own, and its driver.
    pub(crate) fn beside(handle: &Handle) -> (Self, Driver) {
        // What it is made for stands and falls with its first stream, by whose id the server knows it.
        let config = Config { hand_over: false, ..Config::default() };
        let engine = Engine::new(handle.dialect.clone(), config, seed());
        let (runtime, http) = (handle.runtime.clone(), handle.http.clone());
        let settings = Settings {
            name: handle.name.clone(),
            base: handle.base.clone(),
            headers: handle.headers.clone(),
            limits: handle.limits,
            provider: None,
            batches: None,
        };
        let shared = Shared::new(engine, handle.dialect.clone(), runtime, http, settings);
        let driver = Driver::new(shared.clone());
        (Self { handle: Arc::new(Handle(shared)) }, driver)
    }

    /// Creates a builder, for a client with settings of your own.
    ///
    /// `http://user:password@host` sends `Authorization: Basic …` with every request that has no other `Authorization`,
    /// as a gate in front of the server wants it. A token stands in the same header and takes its place, so behind such
    /// a gate a client is a guest, unless the gate lets `Bearer` pass or the token goes
    /// [into the query](ClientBuilder::token_in_query).
    pub fn builder(url: &str) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    /// A collection of records, by name or id.
    pub fn collection(&self, name: &str) -> Collection {
        Collection { handle: self.handle.clone(), name: name.to_owned() }
    }

    /// Raw topics, and the connection itself.
    pub fn realtime(&self) -> Realtime {
        Realtime { handle: self.handle.clone() }
    }

    /// The identity: token, record, changes of both.
    pub fn auth(&self) -> Auth {
        Auth { handle: self.handle.clone() }
    }

    /// Builds a filter expression with safely quoted values: the same as [`tidings::filter`](crate::filter()). What it
    /// returns fits servers of any age, so no server is asked.
    ///
    /// # Errors
    /// See there.
    pub fn filter(&self, expression: &str, values: impl Serialize) -> Result<String, Error> {
        filter::filter(expression, values)
    }

    /// Makes one HTTP request with the client's token. `path` is relative to the server's URL and may have a query.
    ///
    /// ```no_run
    /// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
    /// use serde_json::{Value, json};
    /// let records = "/api/collections/posts/records";
    /// let post: Value = client.send("POST", records, json!({"title": "Hello"})).await?.json()?;
    /// let id = post["id"].as_str().unwrap_or_default();
    /// client.send("DELETE", &format!("{records}/{id}"), None).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When awaited: [`Error::Refused`] for any status other than 2xx, [`Error::Network`], [`Error::Timeout`],
    /// [`Error::InvalidArgument`], [`Error::Protocol`], [`Error::Closed`].
    pub fn send(&self, method: &str, path: &str, body: impl Into<Option<Value>>) -> Request {
        Request::new(self.handle.clone(), method, path, body.into())
    }

    /// The client's name in log lines: host and port of its URL, or what [`ClientBuilder::name`] was given.
    pub fn name(&self) -> &str {
        &self.handle.name
    }

    /// The current state of the connection.
    pub fn state(&self) -> State {
        self.handle.engine().state().clone()
    }

    /// The current state of the connection, then each change of it. If more than 64 changes are waiting to be read, the
    /// oldest are dropped. The stream ends when the client is closed.
    pub fn states(&self) -> States {
        States { states: Box::pin(self.handle.notices.states.watch(|| self.state())), last: None }
    }

    /// Counters: connects, events delivered and lost, and others, for a dashboard.
    pub fn stats(&self) -> Stats {
        Stats { panics: self.handle.callbacks.panics(), ..self.handle.engine().stats() }
    }

    /// Notifies the client that the network has changed, as mobile operating systems report it. Connections that are
    /// waiting to be retried are tried at once. Live ones are checked, where that is possible without a side effect, or
    /// replaced.
    pub fn network_changed(&self) {
        let now = self.handle.now();
        self.handle.http.close_idle();
        self.handle.engine().suspect(now);
    }

    /// Closes the client: all subscriptions end, all pending requests fail with [`Error::Closed`], and the connection is
    /// closed. The call itself does this, awaited or not. It may be made from anywhere, callbacks included.
    ///
    /// Awaiting the result waits until no socket and no thread of the client is left, which takes less than a second. It
    /// does not wait for a callback that is running.
    pub fn close(&self) -> Close {
        self.handle.close();
        let shared = Arc::clone(&self.handle.0);
        Close { closed: Box::pin(async move { shared.closed().await }) }
    }
}

/// The future that [`Client::close`] returns. It resolves when no socket and no thread is left, and need not be awaited.
pub struct Close {
    closed: BoxFuture<'static, ()>,
}

impl Future for Close {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.closed.as_mut().poll(cx)
    }
}

impl fmt::Debug for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Close").finish_non_exhaustive()
    }
}

/// The stream that [`Client::states`] returns.
pub struct States {
    states: Pin<Box<async_channel::Receiver<State>>>,
    /// The state that a watcher begins with may be on its way to it too.
    last: Option<State>,
}

impl States {
    /// The next state; `None` when the client is closed.
    #[expect(clippy::should_implement_trait, reason = "it is what streams call it")]
    pub fn next(&mut self) -> futures::stream::Next<'_, Self> {
        futures::StreamExt::next(self)
    }
}

impl Stream for States {
    type Item = State;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<State>> {
        loop {
            let state = std::task::ready!(self.states.as_mut().poll_next(cx));
            match (&self.last, &state) {
                (Some(last), Some(state)) if last.is_same(state) => {}
                _ => {
                    self.last.clone_from(&state);
                    return Poll::Ready(state);
                }
            }
        }
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").finish_non_exhaustive()
    }
}
