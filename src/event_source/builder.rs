//! The settings of an event source.

use std::{fmt, sync::Arc, time::Duration};

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
    engine::{Bounds, identity::Token},
    http::{ClientCertificate, HttpClient, HttpConfig, ProxyMode, Redirects, Request},
    rt::Runtime,
    sse::{DEFAULT_LIMIT, Decoder},
};

use super::{
    EventSource, Policy,
    machine::{Machine, Settings},
};

/// The settings of an [`EventSource`] to be. Made by [`EventSource::builder`].
///
/// What is wrong with a setting is told by [`build`](Self::build).
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
    comments: bool,
    message_limit: usize,
    on_status: Arc<dyn Fn(u16) -> Policy + Send + Sync>,
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
            comments: false,
            message_limit: DEFAULT_LIMIT,
            on_status: Arc::new(Policy::of),
            runtime: None,
            seed: None,
        }
    }

    /// The method, any but `CONNECT` and `HEAD`. Unless set it is `GET`, and `POST` where there is a body.
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// A header for each request; the last of a name counts. `Accept` and `Cache-Control` replace what would be sent
    /// otherwise. Values are taken for secrets, except those of a few names that never are one (`Content-Type` among
    /// them): they are never shown, and never sent to another origin after a redirect.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A body, sent again with each reconnect. Set its `Content-Type` with [`header`](Self::header).
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Ok(body.into());
        self
    }

    /// A body of JSON, with its `Content-Type`.
    ///
    /// ```
    /// # use tidings::EventSource;
    /// let chat = EventSource::builder("https://llm.example/v1/chat")
    ///     .token("s3cret")
    ///     .json(&serde_json::json!({"stream": true, "messages": []}))
    ///     .once();
    /// ```
    pub fn json(mut self, body: &(impl Serialize + ?Sized)) -> Self {
        self.body = serde_json::to_vec(body).map_err(|error| Error::argument("body", error.to_string()));
        self.header("Content-Type", "application/json")
    }

    /// A token, sent as `Authorization: Bearer …` to the origin of the URL and to no other.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The id to begin after, as kept from [`EventSource::last_event_id`]. It is sent with the first request already,
    /// and holds until the server tells another. Empty is the same as none.
    pub fn last_event_id(mut self, id: impl Into<String>) -> Self {
        self.last_event_id = id.into();
        self
    }

    /// How long no byte may come before the stream is taken for lost and opened again; comments count, which is why
    /// servers send them. No limit unless set: TCP keep-alive notices in half a minute that a server has vanished, but
    /// not that one is stuck. Before the first byte, [`connect_timeout`](Self::connect_timeout) comes on top.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = Some(timeout);
        self
    }

    /// How long a connection may take until it can be written to: name, TCP, proxy and TLS. 10 seconds unless set. The
    /// answer has that time too once the server has sent an interim one (such as `100 Continue`).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.http.connect_timeout = timeout;
        self
    }

    /// The reconnection time to begin with, 1 second unless set. The server's `retry:` replaces it, though no more
    /// than 5 minutes are taken from a server.
    ///
    /// After a stream that brought a message, or lasted a minute, and was ended in an orderly way, the source
    /// reconnects after this time and up to a half more, drawn at random. See [`backoff`](Self::backoff) for
    /// everything else.
    pub fn retry(mut self, time: Duration) -> Self {
        self.retry = time;
        self
    }

    /// The bounds of the back-off after failures; 200 milliseconds and 20 seconds unless set.
    ///
    /// A delay is drawn at random between the reconnection time, or `min` if that is longer, and a ceiling that
    /// doubles with every failure, up to `max`, or one and a half reconnection times if that is longer. The failures
    /// are forgotten after a stream that was open for a minute. A `Retry-After` of up to an hour is respected on top.
    /// Nothing that a server says makes a source reconnect faster than `min`.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.backoff = Bounds { min, max };
        self
    }

    /// Never reconnects: when the stream ends, or cannot be opened, the source ends. For requests that must not be
    /// repeated, such as a prompt to a language model.
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Whether comments are told too. They are not unless asked for.
    pub fn comments(mut self, wanted: bool) -> Self {
        self.comments = wanted;
        self
    }

    /// The largest message taken, in bytes; 16 MiB unless set. A larger one is told as
    /// [`SourceEvent::TooLarge`](super::SourceEvent::TooLarge), and the stream goes on.
    pub fn message_limit(mut self, bytes: usize) -> Self {
        self.message_limit = bytes;
        self
    }

    /// What to do about an answer that is no event stream, by its status: [`Policy::of`] unless set. It is asked with
    /// 200 if the status was that and the content type something else than `text/event-stream`. It is not asked
    /// about 204, which ends the source for good, nor about redirects that were followed.
    ///
    /// It is called from within the poll of the source, on the task that reads it, and may call anything.
    ///
    /// ```
    /// use tidings::{EventSource, Policy};
    ///
    /// // A service that comes up after its gateway: 404 until then.
    /// let source = EventSource::builder("http://127.0.0.1:8090/stream")
    ///     .on_status(|status| if status == 404 { Policy::Retry } else { Policy::of(status) });
    /// ```
    pub fn on_status(mut self, policy: impl Fn(u16) -> Policy + Send + Sync + 'static) -> Self {
        self.on_status = Arc::new(policy);
        self
    }

    /// Ends with every answer but an event stream, as the standard wants it. Lost connections are still retried.
    pub fn strict(self) -> Self {
        self.on_status(|_| Policy::Fail)
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

    /// The sockets and timers to use. Unless set they are those of `rt::AsyncIo`, or, without the feature `async-io`,
    /// those of the tokio runtime in which [`build`](Self::build) is called.
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

    /// The seed of everything random, for tests. Different for each source unless set, since sources that draw the
    /// same delays come back as one.
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
        let mut request = Request::new(method(self.method.as_deref(), body.is_empty())?, url);
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
            once: self.once,
            on_status: self.on_status,
        };
        let decoder =
            Decoder::with_limit(self.message_limit).comments(self.comments).resume_from(&last_event_id);
        let machine = Machine::new(settings, decoder, self.seed.unwrap_or_else(seed));
        Ok(EventSource::assemble(machine, request, http, runtime))
    }

    fn check_limits(&self) -> Result<(), Error> {
        for (name, time, may_be_zero) in [
            ("connect timeout", self.http.connect_timeout, false),
            ("read timeout", self.read_timeout.unwrap_or(LONGEST), false),
            ("retry time", self.retry, true),
            ("back-off", self.backoff.min, false),
        ] {
            if time > LONGEST || time.is_zero() && !may_be_zero {
                return Err(Error::argument(name, format!("{time:?} is not between nothing and a year")));
            }
        }
        if self.backoff.max < self.backoff.min || self.backoff.max > LONGEST {
            let reason = "the longest delay is shorter than the least, or over a year";
            return Err(Error::argument("back-off", reason));
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
        let token = Token::new(token)?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.as_str()))
            .expect("a token has only characters that can stand in a header");
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
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
