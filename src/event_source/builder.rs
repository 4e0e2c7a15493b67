//! The settings of an event source.

use std::{fmt, future::ready, sync::Arc, time::Duration};

use hyper::{
    Method,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use serde::Serialize;

use crate::{
    Error,
    client::request::LONGEST,
    client::request::insert_headers,
    client::seed,
    client::server_url,
    driver::account::Failed,
    engine::Bounds,
    http::{ClientCertificate, HttpClient, HttpConfig, ProxyMode, Redirects, Request},
    rt::Runtime,
    sse::{DEFAULT_LIMIT, Decoder},
};

use super::{
    EventSource, Policy, SourceRequest,
    exchange::{AskConnect, AskStatus, Terms},
    machine::{Limits, Machine, Repeat, Settings},
    request::bearer,
};

/// The settings for creating an [`EventSource`]. Made by [`EventSource::builder`].
///
/// [`build`](Self::build) reports what is wrong with a setting.
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct EventSourceBuilder {
    url: String,
    method: Option<String>,
    headers: Vec<(String, String)>,
    body: Result<Vec<u8>, Error>,
    token: Option<String>,
    last_event_id: String,
    http: HttpConfig,
    user_agent: Option<String>,
    retry: Duration,
    backoff: Bounds,
    read_timeout: Option<Duration>,
    once: bool,
    reconnect: Option<bool>,
    limits: Option<Limits>,
    comments: bool,
    message_limit: usize,
    accepted: Vec<String>,
    on_status: Option<AskStatus>,
    on_connect: Option<AskConnect>,
    runtime: Option<Arc<dyn Runtime>>,
    seed: Option<u64>,
}

impl EventSourceBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            method: None,
            headers: Vec::new(),
            body: Ok(Vec::new()),
            token: None,
            last_event_id: String::new(),
            http: HttpConfig::default(),
            user_agent: None,
            retry: Duration::from_secs(1),
            backoff: Bounds::default(),
            read_timeout: None,
            once: false,
            reconnect: None,
            limits: None,
            comments: false,
            message_limit: DEFAULT_LIMIT,
            accepted: Vec::new(),
            on_status: None,
            on_connect: None,
            runtime: None,
            seed: None,
        }
    }

    /// The method: any but `CONNECT` and `HEAD`. The default is `GET`, and `POST` if there is a body.
    ///
    /// The method also decides what happens when the stream ends. With `GET` the source reconnects until it is closed.
    /// With any other method it takes **one answer**: see [`reconnect`](Self::reconnect).
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Adds a header to each request; a later one replaces an earlier one of the same name. `Accept` and `Cache-Control`
    /// replace the defaults. Values are treated as secrets, except those of a few names that never hold one
    /// (`Content-Type` among them): they are never logged, and never sent to another origin after a redirect.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The body of each request. It makes `POST` the default method. Set its `Content-Type` with
    /// [`header`](Self::header).
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Ok(body.into());
        self
    }

    /// A body of JSON, with its `Content-Type`. It makes `POST` the default method.
    ///
    /// ```
    /// # use tidings::EventSource;
    /// let chat = EventSource::builder("https://llm.example/v1/chat")
    ///     .token("s3cret")
    ///     .json(&serde_json::json!({"stream": true, "messages": []}));
    /// ```
    pub fn json(mut self, body: &(impl Serialize + ?Sized)) -> Self {
        self.body = serde_json::to_vec(body).map_err(|error| Error::argument("body", error.to_string()));
        self.header("Content-Type", "application/json")
    }

    /// A token, sent as `Authorization: Bearer …` to the origin of the URL and to no other. For one that expires see
    /// [`token_provider`](Self::token_provider).
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Asks for a token before each connection, so that a stream that is open for days survives the expiry of its token.
    /// `None` stands for no token. It is [`on_connect`](Self::on_connect) for tokens alone, and replaces it.
    ///
    /// ```
    /// # async fn from_the_vault() -> Result<String, std::io::Error> { Ok("token".into()) }
    /// let flags = tidings::EventSource::builder("https://flags.example/stream")
    ///     .token_provider(|| async { from_the_vault().await.map(Some) });
    /// ```
    pub fn token_provider<F, E>(self, provider: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Option<String>, E>> + Send + 'static,
        E: Into<Failed>,
    {
        self.on_connect(move || {
            let token = provider();
            async move {
                let request = SourceRequest::new();
                Ok::<_, E>(token.await?.into_iter().fold(request, SourceRequest::token))
            }
        })
    }

    /// Asks for the URL, the token and further headers of each connection before it is made.
    ///
    /// The future runs with the I/O of the source, in the task that polls it, and is dropped when the source is closed
    /// or restarted. It has no time limit of its own. A failure counts as a failed connection:
    /// [`Error::TokenProvider`], tried again after a delay.
    ///
    /// ```
    /// # async fn nearest() -> Result<String, std::io::Error> { Ok("https://eu.flags.example/stream".into()) }
    /// use tidings::{EventSource, SourceRequest};
    ///
    /// let flags = EventSource::builder("https://flags.example/stream")
    ///     .on_connect(|| async { nearest().await.map(|url| SourceRequest::new().url(url)) });
    /// ```
    pub fn on_connect<F, E>(mut self, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<SourceRequest, E>> + Send + 'static,
        E: Into<Failed>,
    {
        self.on_connect = Some(Arc::new(move || {
            let request = ask();
            Box::pin(async move { request.await.map_err(Into::into) })
        }));
        self
    }

    /// The id to continue after, as saved from [`EventSource::last_event_id`]. It is sent with the first request, and is
    /// in force until the server sends another. Empty means none.
    pub fn last_event_id(mut self, id: impl Into<String>) -> Self {
        self.last_event_id = id.into();
        self
    }

    /// How long a stream may be silent before it counts as lost; comments count as activity, which is why servers send
    /// them. No limit by default: TCP keep-alive notices within half a minute that a server has vanished, but not that
    /// one is stuck. Before the first byte, [`connect_timeout`](Self::connect_timeout) is added to it.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = Some(timeout);
        self
    }

    /// The timeout for connecting: DNS, TCP, proxy and TLS. The default is 10 seconds. The answer has that time too once
    /// the server has sent an interim one (such as `100 Continue`).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.http.connect_timeout = timeout;
        self
    }

    /// The reconnection time to begin with; the default is 1 second. The server's `retry:` replaces it, up to 5 minutes.
    ///
    /// After a stream that delivered a message, or lasted for a minute, and was ended in an orderly way, the source
    /// reconnects after this time plus up to half of it, drawn at random. See [`backoff`](Self::backoff) for everything
    /// else.
    pub fn retry(mut self, time: Duration) -> Self {
        self.retry = time;
        self
    }

    /// The shortest and the longest delay of the backoff after failures. Default: 200 milliseconds and 20 seconds.
    ///
    /// A delay is drawn at random between the reconnection time, or `min` if that is longer, and a ceiling that
    /// doubles with every failure, up to `max`, or one and a half reconnection times if that is longer. The failures
    /// are forgotten after a stream that was open for a minute. A `Retry-After` of up to an hour is respected as well.
    /// Whatever the server says, the source never reconnects faster than `min`.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.backoff = Bounds { min, max };
        self
    }

    /// Whether the source makes its request again when the stream has ended.
    ///
    /// By default the method decides. `GET` reconnects, as the standard says: that is how feeds of changes are read.
    /// Every other method takes **one answer**, since the request may have effects: a prompt sent twice is answered and
    /// paid for twice, and its answers run into each other. A client must not repeat such a request on its own (RFC 9110,
    /// section 9.2.2). So with one answer
    ///
    /// - the request is repeated only until the answer has begun, and only if the server cannot have acted on it: there
    ///   was no connection, or the status was 429, 503 or 529, with or without `Retry-After`;
    /// - at most [3 tries](Self::max_tries) are made within [60 seconds](Self::retry_for);
    /// - once bytes of a 200 have arrived, an end is the end: [`SourceEvent::Closed`](super::SourceEvent::Closed) without
    ///   an error after an orderly one, or with an error that says after how many messages the stream was
    ///   [cut](Error::cut).
    ///
    /// `true` reconnects with any method, for servers whose feed is read with `POST`. `false` takes one answer with
    /// `GET` too. [`EventSource::restart`] makes the request again in either case, because the host asks for it.
    pub fn reconnect(mut self, wanted: bool) -> Self {
        self.reconnect = Some(wanted);
        self
    }

    /// Makes the request once: when the stream ends, or cannot be opened, the source ends. Unlike
    /// [`reconnect(false)`](Self::reconnect) it is not repeated before the answer either.
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// How many connections in a row may fail before the source ends with [`Error::GaveUp`]; at least 1. A stream that
    /// delivers a message, or lasts for a minute, begins a new count.
    ///
    /// By default a source that [reconnects](Self::reconnect) never gives up, and one that takes one answer makes 3
    /// tries within 60 seconds. Setting either limit replaces both defaults.
    pub fn max_tries(mut self, tries: u32) -> Self {
        self.limits.get_or_insert_default().tries = Some(tries);
        self
    }

    /// For how long failed connections are repeated before the source ends with [`Error::GaveUp`], counted from the first
    /// failing one. It ends early if the next try would be later than that, for example because of a long `Retry-After`.
    /// See [`max_tries`](Self::max_tries) for the defaults.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.limits.get_or_insert_default().time = Some(time);
        self
    }

    /// Sets no limit of tries or of time.
    pub fn retry_forever(mut self) -> Self {
        self.limits = Some(Limits::default());
        self
    }

    /// Whether comments are delivered too, as [`SourceEvent::Comment`](super::SourceEvent::Comment). The default is no.
    pub fn comments(mut self, wanted: bool) -> Self {
        self.comments = wanted;
        self
    }

    /// The largest message accepted, in bytes; the default is 16 MiB. A larger one is dropped and reported as
    /// [`SourceEvent::TooLarge`](super::SourceEvent::TooLarge), and the stream goes on.
    pub fn message_limit(mut self, bytes: usize) -> Self {
        self.message_limit = bytes;
        self
    }

    /// A content type to accept besides `text/event-stream`, for servers that label their streams wrongly, such as
    /// `"text/plain"`. May be called more than once. Empty accepts an answer without a content type.
    pub fn accept_type(mut self, content_type: impl Into<String>) -> Self {
        self.accepted.push(content_type.into());
        self
    }

    /// Decides about answers that are not an event stream, by their status. Default: [`Policy::Default`]. The status
    /// is 200 if the content type was not accepted. It is not asked about 204, which ends the source for good, nor about
    /// redirects that were followed, and, by a source that takes [one answer](Self::reconnect), not about any 2xx.
    ///
    /// It is called from within the poll of the source, in the task that reads it, and may call anything.
    ///
    /// ```
    /// use tidings::{EventSource, Policy};
    ///
    /// // A service that comes up after its gateway: 404 until then.
    /// let source = EventSource::builder("http://127.0.0.1:8090/stream")
    ///     .on_status(|status| if status == 404 { Policy::Retry } else { Policy::Default });
    /// ```
    pub fn on_status(self, policy: impl Fn(u16) -> Policy + Send + Sync + 'static) -> Self {
        self.ask_status(Arc::new(move |status| Box::pin(ready(policy(status)))))
    }

    pub(crate) fn ask_status(mut self, ask: AskStatus) -> Self {
        self.on_status = Some(ask);
        self
    }

    /// Ends with every answer that is not an event stream, whatever its status, as the standard says. Lost connections
    /// are still retried. It is [`on_status`](Self::on_status) with [`Policy::Fail`], and replaces it.
    pub fn strict(self) -> Self {
        self.on_status(|_| Policy::Fail)
    }

    /// The `User-Agent`; the default is `tidings/VERSION`.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
        self
    }

    /// Certificates to trust in addition to those of the system, in PEM.
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

    /// The proxy, as `http://user:password@host:port`, instead of what `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.http.proxy = ProxyMode::Url(url.into());
        self
    }

    /// No proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> Self {
        self.http.proxy = ProxyMode::Off;
        self
    }

    /// The sockets and timers to use. Default: those of `rt::AsyncIo`, or, without the feature `async-io`, those of the
    /// tokio runtime in which [`build`](Self::build) is called.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use tidings::{EventSource, rt};
    ///
    /// let runtime = rt::Tokio::current()?;
    /// let source = EventSource::builder("http://127.0.0.1:8090/stream").runtime(runtime).build()?;
    /// # Ok(()) }
    /// ```
    pub fn runtime(self, runtime: impl Runtime) -> Self {
        self.runtime_arc(Arc::new(runtime))
    }

    pub(crate) fn runtime_arc(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// The seed of all random delays, for tests. Default: different for each source, since sources with equal delays
    /// reconnect at the same moment.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The event source. Nothing is connected before it is polled.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] and [`Error::InvalidArgument`] for what is wrong with a setting.
    pub fn build(self) -> Result<EventSource, Error> {
        let url = server_url::parse(&self.url)?;
        self.check_limits()?;
        let body = self.body?;
        let method = method(self.method.as_deref(), body.is_empty())?;
        let repeat = match (self.once, self.reconnect) {
            (true, Some(true)) => {
                return Err(Error::argument("reconnect", "it contradicts `once`; set one of them"));
            }
            (true, _) => Repeat::Never,
            (false, Some(true)) => Repeat::Always,
            (false, Some(false)) => Repeat::UntilAnswered,
            (false, None) => Repeat::of(&method),
        };
        let mut request = Request::new(method, url);
        request.body = body.into();
        request.redirects = Redirects::Roam;
        let (headers, last_event_id) = headers(&self.headers, self.last_event_id, self.token.as_deref())?;
        request.headers = headers;
        // A server that has accepted the request and says nothing is as silent as one in the middle of a stream.
        request.timeout = self.read_timeout.map(|timeout| timeout + self.http.connect_timeout);

        let mut http = self.http;
        if let Some(name) = self.user_agent {
            http.user_agent = HeaderValue::from_str(&name).map_err(|_| {
                Error::argument("user agent", "it has a character that cannot stand in a header")
            })?;
        }
        let runtime = self.runtime.map_or_else(default_runtime, Ok)?;
        let http = HttpClient::new(runtime.clone(), http)?;
        let settings = Settings {
            retry: self.retry,
            backoff: self.backoff,
            read_timeout: self.read_timeout,
            repeat,
            limits: self.limits.unwrap_or_else(|| repeat.limits()),
        };
        let decoder =
            Decoder::with_limit(self.message_limit).comments(self.comments).resume_from(&last_event_id);
        let machine = Machine::new(settings, decoder, self.seed.unwrap_or_else(seed));
        let terms = Terms {
            http,
            runtime,
            repeat,
            accepted: self.accepted,
            on_status: self.on_status,
            on_connect: self.on_connect,
        };
        Ok(EventSource::assemble(machine, request, terms))
    }

    fn check_limits(&self) -> Result<(), Error> {
        for (name, time, may_be_zero) in [
            ("connect timeout", self.http.connect_timeout, false),
            ("read timeout", self.read_timeout.unwrap_or(LONGEST), false),
            ("retry time", self.retry, true),
            ("time limit", self.limits.and_then(|limits| limits.time).unwrap_or_default(), true),
            ("backoff", self.backoff.min, false),
        ] {
            if time > LONGEST || time.is_zero() && !may_be_zero {
                return Err(Error::argument(name, format!("{time:?} is not between nothing and a year")));
            }
        }
        if self.backoff.max < self.backoff.min || self.backoff.max > LONGEST {
            let reason = "the longest delay is shorter than the least, or over a year";
            return Err(Error::argument("backoff", reason));
        }
        if self.limits.is_some_and(|limits| limits.tries == Some(0)) {
            return Err(Error::argument("limit of tries", "it allows none; give 1 or more"));
        }
        if self.message_limit == 0 {
            return Err(Error::argument("message limit", "no message fits into nothing"));
        }
        Ok(())
    }
}

impl fmt::Debug for EventSourceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers, body and token may be secret.
        f.debug_struct("EventSourceBuilder")
            .field("url", &server_url::without_secrets(&self.url))
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

fn method(name: Option<&str>, bodiless: bool) -> Result<Method, Error> {
    let Some(name) = name else { return Ok(if bodiless { Method::GET } else { Method::POST }) };
    let method = Method::from_bytes(name.as_bytes())
        .map_err(|_| Error::argument("method", format!("{name:?} is no HTTP method")))?;
    match method {
        Method::CONNECT | Method::HEAD => {
            Err(Error::argument("method", format!("{name} is never answered with a stream")))
        }
        method => Ok(method),
    }
}

/// The headers of each request, and the id for the first.
fn headers(
    given: &[(String, String)],
    mut last_event_id: String,
    token: Option<&str>,
) -> Result<(HeaderMap, String), Error> {
    // A redirect to another origin takes the secrets away; without these the request would be another one.
    const NEVER_SECRET: [HeaderName; 5] = [
        header::ACCEPT,
        header::ACCEPT_LANGUAGE,
        header::CACHE_CONTROL,
        header::CONTENT_TYPE,
        header::USER_AGENT,
    ];

    let mut headers = HeaderMap::new();
    insert_headers(&mut headers, given)?;
    for name in NEVER_SECRET {
        headers.get_mut(name).into_iter().for_each(|value| value.set_sensitive(false));
    }
    headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("text/event-stream"));
    // What the cache mode "no-store" that the standard sets looks like on the wire (Fetch, "HTTP-network-or-cache
    // fetch").
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    if let Some(id) = headers.remove(super::LAST_EVENT_ID)
        && last_event_id.is_empty()
    {
        last_event_id = String::from_utf8_lossy(id.as_bytes()).into_owned();
    }
    if HeaderValue::from_bytes(last_event_id.as_bytes()).is_err() {
        return Err(Error::argument("last event id", "it has a character that cannot stand in a header"));
    }
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, bearer(token)?);
    }
    Ok((headers, last_event_id))
}

#[cfg(feature = "async-io")]
fn default_runtime() -> Result<Arc<dyn Runtime>, Error> {
    Ok(Arc::new(crate::rt::AsyncIo))
}

#[cfg(all(feature = "tokio", not(feature = "async-io")))]
fn default_runtime() -> Result<Arc<dyn Runtime>, Error> {
    let reason = "this thread is in no tokio runtime; give one with `runtime`";
    let runtime = crate::rt::Tokio::current().map_err(|_| Error::argument("runtime", reason))?;
    Ok(Arc::new(runtime))
}

#[cfg(not(any(feature = "async-io", feature = "tokio")))]
fn default_runtime() -> Result<Arc<dyn Runtime>, Error> {
    Err(Error::argument("runtime", "there is none without a feature; give one with `runtime`"))
}
