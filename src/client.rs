//! The client: a cheap handle to one driver.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, future::BoxFuture};
use hyper::header::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use crate::{
    Auth, Collection, Error, Overflow, Realtime, State, Stats,
    driver::Driver,
    engine::{Bounds, Config, Engine, Limits, dialect::pocketbase::PocketBase, identity::Token},
    filter,
    http::{ClientCertificate, HttpClient, HttpConfig, ProxyMode},
    request::{Request, insert_headers},
    rt::Runtime,
    shared::{Handle, Shared},
};

/// A client of one server. Cheap to clone: clones are handles to one connection.
///
/// When the last handle and the last subscription are gone, the client closes.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
}

impl Client {
    /// A client with the default settings, whose I/O runs on a background thread of its own. Its futures and streams
    /// work on any executor.
    ///
    /// Nothing is connected before the first subscription.
    ///
    /// ```
    /// let client = tidings::Client::new("http://127.0.0.1:8090")?;
    /// assert!(matches!(client.state(), tidings::State::Idle));
    /// # Ok::<(), tidings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] when the URL is not one of `http` or `https` with a host.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// A client with settings of your own.
    pub fn builder(url: &str) -> ClientBuilder {
        ClientBuilder::new(url)
    }

    /// A collection of records, by name or id.
    pub fn collection(&self, name: &str) -> Collection {
        Collection { handle: self.handle.clone(), name: name.to_owned() }
    }

    /// Raw topics and the connection.
    pub fn realtime(&self) -> Realtime {
        Realtime { handle: self.handle.clone() }
    }

    /// Who the client is.
    pub fn auth(&self) -> Auth {
        Auth { handle: self.handle.clone() }
    }

    /// The same as [`tidings::filter`](crate::filter()).
    ///
    /// # Errors
    /// See there.
    pub fn filter(&self, expression: &str, values: impl Serialize) -> Result<String, Error> {
        filter::filter(expression, values)
    }

    /// One request with the client's token; `path` is below the server's URL and may have a query.
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
    /// When awaited: [`Error::Refused`] for any status but 2xx, [`Error::Network`], [`Error::Timeout`],
    /// [`Error::InvalidArgument`], [`Error::Closed`].
    pub fn send(&self, method: &str, path: &str, body: impl Into<Option<Value>>) -> Request {
        Request::new(self.handle.clone(), method, path, body.into())
    }

    /// The state of the connection.
    pub fn state(&self) -> State {
        self.handle.engine().state().clone()
    }

    /// The state of now, and then each change of it. When a watcher does not keep up, it misses the oldest changes.
    /// Ends when the client is closed.
    pub fn states(&self) -> States {
        States { states: Box::pin(self.handle.states.watch(|| self.state())) }
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats { panics: self.handle.callbacks.panics(), ..self.handle.engine().stats() }
    }

    /// Closes the client: all subscriptions end, all requests under way fail with [`Error::Closed`], the connection
    /// goes. This happens with the call, not with the `await`, and may be done from anywhere, callbacks included.
    ///
    /// Awaiting it waits until no socket and no thread of the client is left, within a second; a callback that is
    /// running is not waited for.
    pub fn close(&self) -> Close {
        self.handle.close();
        let shared = Arc::clone(&self.handle.0);
        Close { closed: Box::pin(async move { shared.closed().await }) }
    }
}

/// What [`Client::close`] returns: a future that resolves when nothing is left. It need not be awaited.
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
}

impl States {
    /// The next state; `None` when the client is closed.
    pub fn next(&mut self) -> futures::stream::Next<'_, Self> {
        futures::StreamExt::next(self)
    }
}

impl Stream for States {
    type Item = State;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<State>> {
        self.states.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").finish_non_exhaustive()
    }
}

/// The settings of a client to be. Made by [`Client::builder`].
///
/// What is wrong with a setting is told by [`build`](Self::build) and [`connect_with`](Self::connect_with).
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    url: String,
    token: Option<String>,
    headers: Vec<(String, String)>,
    http: HttpConfig,
    user_agent: Option<String>,
    engine: Config,
    limits: Limits,
    seed: Option<u64>,
}

impl ClientBuilder {
    fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            token: None,
            headers: Vec::new(),
            http: HttpConfig::default(),
            user_agent: None,
            engine: Config::default(),
            limits: Limits::default(),
            seed: None,
        }
    }

    /// The token to begin with. See [`Auth::set_token`].
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// A header for every request. Its value is taken for a secret: it is never shown, and never sent to another
    /// origin after a redirect.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// What to call itself, `tidings/VERSION` unless set.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
        self
    }

    /// Certificates to trust besides those of the system, in PEM.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.http.ca_pem = Some(pem.into());
        self
    }

    /// The certificate to show to servers that ask for one: its chain and its key, in PEM.
    pub fn client_certificate(mut self, chain_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        self.http.client_cert =
            Some(ClientCertificate { chain_pem: chain_pem.into(), key_pem: key_pem.into() });
        self
    }

    /// The proxy for all requests, as `http://user:password@host:port`, instead of what `HTTP_PROXY`, `HTTPS_PROXY`
    /// and `NO_PROXY` say.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.http.proxy = ProxyMode::Url(url.into());
        self
    }

    /// No proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> Self {
        self.http.proxy = ProxyMode::Off;
        self
    }

    /// How long a connection may take until it can be written to: name, TCP, proxy and TLS. 10 seconds unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.http.connect_timeout = timeout;
        self.engine.open_timeout = self.engine.open_timeout.max(timeout + Duration::from_secs(10));
        self
    }

    /// How long `subscribe(..).await` waits for the server's word. 30 seconds unless set. A client that was connected
    /// before waits so long for a lost connection to come back; one that never was fails with its first try.
    pub fn subscribe_timeout(mut self, timeout: Duration) -> Self {
        self.engine.subscribe_timeout = timeout;
        self
    }

    /// The least and the longest delay before a lost connection is tried again. 200 milliseconds and 20 seconds
    /// unless set; each delay is drawn at random between the least and a ceiling that doubles with every failure.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.engine.backoff = Bounds { min, max };
        self
    }

    /// The queue of each subscription, unless it has one of its own. See [`Subscribe::queue`](crate::Subscribe::queue).
    pub fn queue(mut self, events: usize, overflow: Overflow) -> Self {
        self.limits = Limits { events, overflow, ..self.limits };
        self
    }

    /// The largest message taken, in bytes; 16 MiB unless set. A larger one is dropped and told as a
    /// [`Gap`](crate::Action::Gap).
    pub fn message_limit(mut self, bytes: usize) -> Self {
        self.engine.message_limit = bytes;
        self
    }

    /// The seed of everything random, for tests. Different for each client unless set, since clients that draw
    /// the same delays come back as one.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// A client whose I/O runs on a background thread of its own, named `tidings`.
    ///
    /// # Errors
    /// What is wrong with the URL or with a setting, or that the system gives no thread.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn build(self) -> Result<Client, Error> {
        let (runtime, block_on) = crate::background::runtime()?;
        let (client, driver) = self.assemble(runtime)?;
        client.handle.set_thread(crate::background::spawn(move || block_on(driver))?);
        Ok(client)
    }

    /// A client whose I/O runs in the future returned, which the host polls on an executor of its choice; it must be
    /// polled for anything to happen, and resolves when the client is closed. Dropping it closes the client.
    ///
    /// ```
    /// # #[cfg(feature = "async-io")] {
    /// let (client, driver) = tidings::Client::builder("http://127.0.0.1:8090").connect_with(tidings::rt::AsyncIo)?;
    /// smol::spawn(driver).detach();
    /// # }
    /// # Ok::<(), tidings::Error>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with the URL or with a setting.
    pub fn connect_with(
        self,
        runtime: impl Runtime,
    ) -> Result<(Client, impl Future<Output = ()> + Send + 'static), Error> {
        self.assemble(Arc::new(runtime))
    }

    fn assemble(self, runtime: Arc<dyn Runtime>) -> Result<(Client, Driver), Error> {
        let base = parse_url(&self.url)?;
        let mut headers = HeaderMap::new();
        insert_headers(&mut headers, &self.headers)?;
        let mut http = self.http;
        if let Some(name) = self.user_agent {
            http.user_agent = HeaderValue::from_str(&name).map_err(|_| {
                Error::argument("user agent", "it has a character that cannot stand in a header")
            })?;
        }
        for (name, timeout) in [
            ("connect timeout", http.connect_timeout),
            ("subscribe timeout", self.engine.subscribe_timeout),
            ("back-off", self.engine.backoff.min),
        ] {
            if timeout.is_zero() || timeout > LONGEST {
                return Err(Error::argument(name, format!("{timeout:?} is not between nothing and a year")));
            }
        }
        if self.engine.backoff.max < self.engine.backoff.min || self.engine.backoff.max > LONGEST {
            return Err(Error::argument(
                "back-off",
                "the longest delay is shorter than the least, or over a year",
            ));
        }
        if self.limits.events == 0 {
            return Err(Error::argument("queue", "it has no room; give it room for one event at least"));
        }
        if self.engine.message_limit < 1024 {
            return Err(Error::argument(
                "message limit",
                "it is under 1,024 bytes, too little for a handshake",
            ));
        }
        let token = self.token.as_deref().map(Token::new).transpose()?;
        let http = HttpClient::new(runtime.clone(), http)?;
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        let dialect = Arc::new(PocketBase::default());
        let mut engine = Engine::new(dialect.clone(), self.engine, seed);
        engine.set_token(runtime.now(), token);
        let shared = Shared::new(engine, dialect, runtime, http, base, headers, self.limits);
        let driver = Driver::new(shared.clone());
        Ok((Client { handle: Arc::new(Handle(shared)) }, driver))
    }
}

/// Longer than any time a host can mean, and short enough to be added to any clock.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("url", &without_secrets(&self.url)).finish_non_exhaustive()
    }
}

fn parse_url(text: &str) -> Result<Url, Error> {
    let invalid = |reason: String| Error::InvalidUrl { url: without_secrets(text), reason };
    let mut url = Url::parse(text.trim()).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => {
            invalid("it has no scheme; begin it with http:// or https://".into())
        }
        error => invalid(error.to_string()),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        // `localhost:8090` has a scheme as URLs go.
        if url.path().starts_with(|c: char| c.is_ascii_digit()) {
            return Err(invalid("it has no scheme; begin it with http:// or https://".into()));
        }
        return Err(invalid(format!("its scheme is {:?}; only http and https are spoken", url.scheme())));
    }
    if cfg!(not(feature = "tls")) && url.scheme() == "https" {
        return Err(invalid("https needs the feature `tls`".into()));
    }
    url.set_query(None);
    url.set_fragment(None);
    // The address of the dashboard is what people copy.
    for (end, what) in [("/_", "the dashboard"), ("/api", "the API")] {
        if url.path().trim_end_matches('/').ends_with(end) {
            return Err(invalid(format!("it is that of {what}; leave out {end}")));
        }
    }
    Ok(url)
}

/// A URL as it may be shown: without user and password, and without query.
fn without_secrets(text: &str) -> String {
    let is_scheme = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric());
    let (scheme, rest) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).unwrap_or(("", text));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let user = match rest[..end].contains(':') {
        // A password whose `/`, `?` or `#` was not encoded goes on behind it.
        true => rest.rfind('@'),
        false => rest[..end].rfind('@'),
    };
    let place = rest[user.map_or(0, |at| at + 1)..].split(['?', '#']).next().unwrap_or_default();
    let shown: String = place.chars().take(200).collect();
    if scheme.is_empty() { shown } else { format!("{scheme}://{shown}") }
}

#[cfg(all(test, feature = "async-io"))]
mod tests {
    use super::*;

    #[test]
    fn bad_urls_are_refused_with_what_to_do_and_without_their_secrets() {
        for (url, text) in [
            ("", "no scheme"),
            ("127.0.0.1:8090", "no scheme"),
            ("localhost:8090", "no scheme"),
            ("mailto:a@b.c", "only http and https"),
            ("http://127.0.0.1:8090/_/", "leave out /_"),
            ("https://host/pb/api", "leave out /api"),
            ("ftp://host/", "only http and https"),
            ("http://", "empty host"),
            ("http://user:s3cret@host:99999/?token=s3cret", "port"),
            ("http://user:s3cret@ho st/", "domain name"),
            ("http://user:a/s3cret@host/", "port"),
            ("http://user:a?s3cret@host/", "port"),
        ] {
            let error = Client::new(url).unwrap_err().to_string();
            assert!(error.contains(text), "{url}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
