//! The settings of a client, and what is made of them.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use url::Url;

use super::{
    Client,
    request::{LONGEST, insert_headers},
    server_url,
};
use crate::{
    Error, Overflow,
    delivery::batches::Batches,
    driver::Driver,
    driver::account::{Failed, TokenProvider},
    driver::shared::{Handle, Settings, Shared},
    engine::{
        Bounds, Config, Engine, Limits,
        dialect::{
            Dialect,
            pocketbase::PocketBase,
            rustbaas::{HEARTBEAT, Place, RustBaas},
        },
        identity::Token,
    },
    http::{ClientCertificate, HttpClient, HttpConfig, ProxyMode, take_userinfo},
    rt::Runtime,
    topic::is_dots,
};

#[cfg(any(feature = "async-io", feature = "tokio"))]
use crate::driver::background::Background;

/// The settings for a new client. Returned by [`Client::builder`]. Unset settings keep their defaults.
///
/// Invalid settings are reported by [`build`](Self::build) and [`connect_with`](Self::connect_with).
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    url: String,
    name: Option<String>,
    /// Realm or workspace, and app, of a RustBaaS server.
    rustbaas: Option<(Place, String)>,
    token_in_query: bool,
    /// `None` for the default, and all that PocketBase can have.
    heartbeat: Option<Duration>,
    identity_check: Option<Duration>,
    token: Option<String>,
    headers: Vec<(String, String)>,
    http: HttpConfig,
    user_agent: Option<String>,
    engine: Config,
    limits: Limits,
    gather: Duration,
    seed: Option<u64>,
    provider: Option<TokenProvider>,
}

impl ClientBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            name: None,
            rustbaas: None,
            token_in_query: false,
            heartbeat: None,
            identity_check: None,
            token: None,
            headers: Vec::new(),
            http: HttpConfig::default(),
            user_agent: None,
            engine: Config::default(),
            limits: Limits::default(),
            gather: GATHER,
            seed: None,
            provider: None,
        }
    }

    /// Selects RustBaaS as the backend, with the realm and app of the collections. See [`Client::rustbaas`].
    pub fn rustbaas(mut self, realm: impl Into<String>, app: impl Into<String>) -> Self {
        self.rustbaas = Some((Place::Realm(realm.into()), app.into()));
        self
    }

    /// The server is a newer RustBaaS, whose apps are below `/api/workspaces/`, and the collections belong to this app
    /// of this workspace. As [`rustbaas`](Self::rustbaas), but [`filter`](crate::Subscribe::filter) of a subscription
    /// goes to the server, as `?filter=` and in the server's own language. Each filter of a collection has a stream of
    /// its own, shared by all subscriptions with the same one; `expand` and `fields` are refused.
    ///
    /// That there are such servers was read in the source of RustBaaS, and not tried on one. A server of the other kind
    /// answers with 404, and the error then says which of the two settings to try.
    ///
    /// ```
    /// let client = tidings::Client::builder("http://127.0.0.1:8080").rustbaas_workspace("acme", "web").build()?;
    /// let drafts = client.collection("posts").subscribe("*").filter("status = 'draft'");
    /// # Ok::<(), tidings::Error>(())
    /// ```
    pub fn rustbaas_workspace(mut self, workspace: impl Into<String>, app: impl Into<String>) -> Self {
        self.rustbaas = Some((Place::Workspace(workspace.into()), app.into()));
        self
    }

    /// The interval of a RustBaaS server's heartbeats. Default: 15 seconds. A stream on which three are missed is
    /// considered dead and replaced. PocketBase sends no heartbeats: there it is refused as
    /// [`Error::Unsupported`]; see [`silence_timeout`](Self::silence_timeout).
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// The silence after which a stream is considered dead and replaced. Default: three heartbeats of a RustBaaS server; for
    /// PocketBase, which sends nothing while nothing changes, a little more than the 5 minutes after which it ends an idle
    /// stream itself.
    ///
    /// A shorter one notices a dead connection sooner, at the price of a reconnection, and of a [`Gap`](crate::Gap),
    /// whenever nothing changes for that long.
    pub fn silence_timeout(mut self, timeout: Duration) -> Self {
        self.engine.silence_limit = Some(timeout);
        self
    }

    /// Sends the token of a RustBaaS stream as `?access_token=` instead of in a header. The token then appears in access
    /// logs: use it only where a proxy strips headers.
    pub fn token_in_query(mut self) -> Self {
        self.token_in_query = true;
        self
    }

    /// The initial token. See [`Auth::set_token`](crate::Auth::set_token).
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// A function that returns tokens, so that they can be renewed without your help.
    ///
    /// It is called
    /// - before the first stream is opened;
    /// - one minute before the token expires, or, if its lifetime is under five minutes, in the last fifth of it;
    /// - when the server no longer accepts the token.
    ///
    /// `Ok(None)` makes the client a guest. After an error it is called again, with growing delays; a caller that waits
    /// for its first `subscribe` gets [`Error::TokenProvider`].
    ///
    /// The future runs with the client's I/O, so it must not block. It may use another client, or an executor of its own.
    ///
    /// ```
    /// # async fn from_the_vault() -> Result<String, std::io::Error> { Ok("token".into()) }
    /// let client = tidings::Client::builder("http://127.0.0.1:8090")
    ///     .token_provider(|| async { from_the_vault().await.map(Some) })
    ///     .build()?;
    /// # Ok::<(), tidings::Error>(())
    /// ```
    pub fn token_provider<F, E>(mut self, provider: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Option<String>, E>> + Send + 'static,
        E: Into<Failed>,
    {
        self.provider = Some(Arc::new(move || {
            let token = provider();
            Box::pin(async move { token.await.map_err(Into::into) })
        }));
        self
    }

    /// How often the client asks the server whether it still accepts the client's identity. Default: 5 minutes. PocketBase
    /// drops an identity without a message, for example when the password changes.
    pub fn identity_check(mut self, interval: Duration) -> Self {
        self.identity_check = Some(interval);
        self.engine.proof_interval = interval;
        self
    }

    /// Adds a header to every request. Its value is treated as a secret: it never appears in logs or errors, and a
    /// redirect does not carry it to another origin.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Several headers for every request, from a map or an array of pairs; see [`header`](Self::header).
    pub fn headers<N: Into<String>, V: Into<String>>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        pairs.into_iter().fold(self, |builder, (name, value)| builder.header(name, value))
    }

    /// The client's name in log lines (the field `client`) and in `Debug`. Default: host and port of its URL.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The `User-Agent` header. Default: `tidings/VERSION`.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
        self
    }

    /// Certificates to trust in addition to those of the system, as PEM.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.http.ca_pem = Some(pem.into());
        self
    }

    /// The client certificate, for servers that request one: its chain and its private key, as PEM.
    pub fn client_certificate(mut self, chain_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        self.http.client_cert =
            Some(ClientCertificate { chain_pem: chain_pem.into(), key_pem: key_pem.into() });
        self
    }

    /// The proxy for all requests, as `http://user:password@host:port`. Default: the environment variables `HTTP_PROXY`,
    /// `HTTPS_PROXY` and `NO_PROXY`.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.http.proxy = ProxyMode::Url(url.into());
        self
    }

    /// Uses no proxy, and ignores the environment variables.
    pub fn no_proxy(mut self) -> Self {
        self.http.proxy = ProxyMode::Off;
        self
    }

    /// The timeout for connecting: DNS, TCP, proxy and TLS together. Default: 10 seconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.http.connect_timeout = timeout;
        self.engine.open_timeout = self.engine.open_timeout.max(timeout + Duration::from_secs(10));
        self
    }

    /// How long `subscribe(..).await` waits for the server's answer. Default: 30 seconds.
    ///
    /// It fails sooner
    /// - when the server cannot be reached: with the first failed attempt to connect, also if the client was connected
    ///   before. A stream that was just lost is retried once before that;
    /// - when the server answers 429 or 5xx to the topic or to the connection: with the second such answer in a row.
    ///
    /// To wait as long as it takes, use [`start`](crate::Subscribe::start), and [`ready`](crate::Subscription::ready) where the
    /// acknowledgement matters.
    pub fn subscribe_timeout(mut self, timeout: Duration) -> Self {
        self.engine.subscribe_timeout = timeout;
        self
    }

    /// Whether the client checks that a collection's topic can deliver anything, with one small list request beside the
    /// first submit of the topic. Default: true. PocketBase acknowledges every topic, also that of a collection that does not
    /// exist (the list is refused with 404), that only superusers may list (403), or with a filter that it cannot evaluate
    /// (400), and then sends nothing.
    ///
    /// A refused check fails the caller of `subscribe` with that status; a subscription that nobody waits for becomes
    /// [`Denied`](crate::SubscriptionState::Denied). A temporary answer (429, 5xx, a timeout) fails nothing. The same check is
    /// made once in 5 minutes, at most 8 run at the same time, and [raw topics](crate::Realtime::subscribe) and topics with
    /// headers are not checked.
    pub fn verify_topics(mut self, wanted: bool) -> Self {
        self.engine.verify_topics = wanted;
        self
    }

    /// The shortest and the longest delay before a lost connection is retried. Default: 200 milliseconds and 20 seconds.
    /// Each delay is drawn at random between the shortest and a ceiling (full jitter). The ceiling doubles with every
    /// failure; once the outage has lasted some seconds, it is a third of its length so far.
    ///
    /// With the default, a stream that was live is first retried promptly: within 50 ms if the server ended it in an orderly
    /// way, within 100 ms if it was lost, and within 250 ms if it had lived for less than a second, if the server no longer
    /// knows it, or after a change of the network. There is a budget of ten prompt retries, which regains one for each three
    /// seconds of a live stream.
    ///
    /// If you set it, the shortest delay applies to every reconnect, these included, except after a change of user: then a
    /// new stream is opened at once. A server's `retry:` raises the shortest delay, up to five minutes; `Retry-After` raises a
    /// single delay, up to an hour. If `retry:` exceeds the longest delay, delays are drawn between it and half as much more.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.engine.backoff = Bounds { min, max };
        self
    }

    /// The default queue of each subscription. See [`Subscribe::queue`](crate::Subscribe::queue).
    pub fn queue(mut self, events: usize, overflow: Overflow) -> Self {
        self.limits = Limits { events, overflow, ..self.limits };
        self
    }

    /// The largest message accepted, in bytes. Default: 16 MiB; at least 1,024 bytes. A larger message is dropped and
    /// reported as a [`Gap`](crate::Action::Gap).
    pub fn message_limit(mut self, bytes: usize) -> Self {
        self.engine.message_limit = bytes;
        self
    }

    /// How long events may gather on a busy stream before the socket is read again. Default: 250 microseconds; at most 10
    /// milliseconds; zero reads always at once. Events gather only while more than some 4,000 arrive per second: one wake-up
    /// then serves many of them, which takes a third of the processor time. Slower streams are read at once, and so is every
    /// stream of a client whose I/O the host polls itself ([`connect_with`](Self::connect_with)).
    pub fn gather(mut self, longest: Duration) -> Self {
        self.gather = longest;
        self
    }

    /// The seed of all random delays, for tests. Default: different for each client. With equal seeds, all clients of a
    /// server reconnect at the same moment.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Creates a client whose I/O runs on a background thread of its own, named `tidings`.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`]; [`Error::InvalidArgument`] for a setting that cannot be used, and [`Error::Unsupported`] for one
    /// that the backend does not have; [`Error::Network`] when the thread cannot be created.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn build(self) -> Result<Client, Error> {
        self.build_on(crate::driver::background::runtime()?, None)
    }

    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub(crate) fn build_on(
        self,
        (runtime, block_on): Background,
        batches: Option<Arc<Batches>>,
    ) -> Result<Client, Error> {
        let gather = self.gather;
        let (client, driver) = self.assemble(runtime, batches)?;
        client.handle.set_thread(crate::driver::background::spawn(move || {
            block_on(Box::pin(driver.on_own_thread(gather)))
        })?);
        Ok(client)
    }

    /// Creates a client without a background thread: all its I/O runs in the returned future, on an executor of your
    /// choice. Nothing happens unless that future is polled. It resolves when the client is closed, and dropping it closes
    /// the client.
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
    /// As [`build`](Self::build).
    pub fn connect_with(
        self,
        runtime: impl Runtime,
    ) -> Result<(Client, impl Future<Output = ()> + Send + 'static), Error> {
        self.assemble(Arc::new(runtime), None)
    }

    /// Refuses numbers and times that no client can work with.
    fn check_ranges(&self) -> Result<(), Error> {
        for (name, timeout) in [
            ("connect timeout", self.http.connect_timeout),
            ("subscribe timeout", self.engine.subscribe_timeout),
            ("backoff", self.engine.backoff.min),
            ("heartbeat", self.heartbeat.unwrap_or(HEARTBEAT)),
            ("silence timeout", self.engine.silence_limit.unwrap_or(HEARTBEAT)),
            ("identity check", self.engine.proof_interval),
        ] {
            if timeout.is_zero() || timeout > LONGEST {
                return Err(Error::argument(
                    name,
                    format!("{timeout:?} is out of range; give more than zero and at most a year"),
                ));
            }
        }
        if self.engine.backoff.max < self.engine.backoff.min || self.engine.backoff.max > LONGEST {
            return Err(Error::argument(
                "backoff",
                "the longest delay is less than the shortest, or more than a year",
            ));
        }
        if self.gather > LONGEST_GATHER {
            let why = format!("{:?} is over 10 ms, which keeps everything waiting", self.gather);
            return Err(Error::argument("gather", why));
        }
        if self.limits.events == 0 {
            return Err(Error::argument("queue", "it must hold at least one event"));
        }
        if self.engine.message_limit < 1024 {
            return Err(Error::argument(
                "message limit",
                "it is less than 1,024 bytes, too small for a handshake",
            ));
        }
        Ok(())
    }

    pub(crate) fn assemble(
        self,
        runtime: Arc<dyn Runtime>,
        batches: Option<Arc<Batches>>,
    ) -> Result<(Client, Driver), Error> {
        let mut base = parse_url(&self.url)?;
        let mut headers = HeaderMap::new();
        insert_headers(&mut headers, &self.headers)?;
        if let Some(credentials) = take_userinfo(&mut base) {
            headers.entry(AUTHORIZATION).or_insert(credentials);
        }
        self.check_ranges()?;
        let mut http = self.http;
        if let Some(name) = self.user_agent {
            http.user_agent = HeaderValue::from_str(&name).map_err(|_| {
                Error::argument("user agent", "it contains a character that is not allowed in a header")
            })?;
        }
        let token = self.token.as_deref().map(Token::new).transpose()?;
        let http = HttpClient::new(runtime.clone(), http)?;
        let seed = self.seed.unwrap_or_else(seed);
        let dialect = dialect(self.rustbaas, self.token_in_query, self.heartbeat, self.identity_check)?;
        let name = match self.name {
            Some(name) => name,
            None => match (base.host_str().unwrap_or_default(), base.port()) {
                (host, Some(port)) => format!("{host}:{port}"),
                (host, None) => host.to_owned(),
            },
        };
        let name: Arc<str> = name.into();
        let config = Config { has_provider: self.provider.is_some(), ..self.engine };
        let mut engine = Engine::new(dialect.clone(), config, seed);
        if let Some(token) = token {
            let lasts = crate::driver::account::remaining(&token);
            engine.set_token(runtime.now(), Some(token), lasts);
        }
        let settings =
            Settings { name, base, headers, limits: self.limits, provider: self.provider, batches };
        let shared = Shared::new(engine, dialect, runtime, http, settings);
        let driver = Driver::new(shared.clone());
        Ok((Client { handle: Arc::new(Handle(shared)) }, driver))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("url", &server_url::without_secrets(&self.url))
            .finish_non_exhaustive()
    }
}

/// The dialect of the server, or the setting that it cannot honour.
fn dialect(
    rustbaas: Option<(Place, String)>,
    token_in_query: bool,
    heartbeat: Option<Duration>,
    identity_check: Option<Duration>,
) -> Result<Arc<dyn Dialect>, Error> {
    match rustbaas {
        Some((place, app)) if place.name().is_empty() || app.is_empty() => {
            Err(Error::argument(format!("{} or app", place.kind()), "it is empty"))
        }
        Some((place, app)) if is_dots(place.name()) || is_dots(&app) => {
            let reason = "no name is `.` or `..`, which lead elsewhere";
            Err(Error::argument(format!("{} or app", place.kind()), reason))
        }
        Some(_) if identity_check.is_some() => Err(Error::unsupported(
            "an identity check",
            "RustBaaS reads the token when a stream is opened, and cannot be asked again",
        )),
        Some((place, app)) => {
            let heartbeat = heartbeat.unwrap_or(HEARTBEAT);
            Ok(Arc::new(RustBaas { place, app, token_in_query, heartbeat }))
        }
        None if token_in_query => {
            Err(Error::unsupported("a token in the query", "PocketBase takes it in a header only"))
        }
        None if heartbeat.is_some() => Err(Error::unsupported(
            "a heartbeat",
            "PocketBase sends none; to notice a dead connection sooner, set the silence timeout",
        )),
        None => Ok(Arc::new(PocketBase::default())),
    }
}

/// Checks the URL of a server and removes its query.
fn parse_url(text: &str) -> Result<Url, Error> {
    let mut url = server_url::parse(text)?;
    url.set_query(None);
    // The URL of the dashboard is what people copy.
    for (end, what) in [("/_", "the dashboard"), ("/api", "the API")] {
        if url.path().trim_end_matches('/').ends_with(end) {
            let reason = format!("it is the URL of {what}; leave out {end}");
            return Err(Error::InvalidUrl { url: server_url::without_secrets(text), reason });
        }
    }
    Ok(url)
}

/// How long events gather by default.
const GATHER: Duration = Duration::from_micros(250);

/// The longest that events may gather.
const LONGEST_GATHER: Duration = Duration::from_millis(10);

/// The seed of all random numbers of one client. The process id is part of it, since a forked child would otherwise draw
/// the same delays as its parent.
pub(crate) fn seed() -> u64 {
    fastrand::u64(..) ^ u64::from(std::process::id()).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(all(test, feature = "async-io"))]
mod tests {
    use super::*;

    #[test]
    fn settings_that_the_server_cannot_honour_are_refused() {
        let url = "http://127.0.0.1:8090";
        let second = Duration::from_secs(1);
        for (builder, text) in [
            (Client::builder(url).heartbeat(second), "a heartbeat is not supported here"),
            (Client::builder(url).token_in_query(), "a token in the query is not supported here"),
            (
                Client::builder(url).rustbaas("acme", "web").identity_check(second),
                "an identity check is not supported here",
            ),
        ] {
            let error = builder.build().unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            assert!(error.to_string().starts_with(text), "{error}");
        }
        Client::builder(url).rustbaas("acme", "web").heartbeat(second).token_in_query().build().unwrap();
        Client::builder(url).identity_check(second).silence_timeout(second).build().unwrap();
        let error = Client::builder(url).silence_timeout(Duration::ZERO).build().unwrap_err();
        assert!(error.to_string().contains("silence timeout"), "{error}");
    }

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
