//! Requests over HTTP/1, for a driver that polls.
//!
//! [`HttpClient::send`] resolves, connects (through a proxy and TLS where asked to), follows
//! redirects and returns the head of the answer; the rest arrives through its [`Body`]. Everything
//! happens inside the futures that the caller polls: nothing is spawned, nothing goes on after
//! they are dropped. Requests that [share](Request::shares) use connections one after the other, which wait in `idle.rs`;
//! any other request has one of its own.
//!
//! Where a request may go, and what goes along, is decided in `redirect.rs`.
//!
//! This room knows [`crate::rt`] and nothing of events, topics or tokens.
#![allow(dead_code)] // Until the driver uses it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::header::{self, HeaderMap, HeaderValue};

use crate::lock::lock;
use crate::rt::Runtime;

mod body;
mod connect;
mod cookies;
mod error;
mod exchange;
mod idle;
mod io;
mod proxy;
mod redirect;
mod request;
#[cfg(all(test, feature = "async-io", feature = "tokio", feature = "tls", feature = "proxy"))]
mod tests;
mod tls;
#[cfg(feature = "tls")]
mod trust;

pub(crate) use self::body::{Body, yield_now};
pub(crate) use self::error::HttpError;
use self::exchange::NoAnswer;
pub(crate) use self::redirect::Redirects;
pub(crate) use self::request::{Request, Response, Sent, take_userinfo};

/// Sends requests. Cheap to clone; clones share their settings, cookies and TLS sessions.
#[derive(Clone)]
pub(crate) struct HttpClient {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Arc<dyn Runtime>,
    config: HttpConfig,
    proxies: proxy::Proxies,
    tls: tls::Tls,
    cookies: Mutex<cookies::Jar>,
    idle: Arc<idle::Idle>,
}

impl HttpClient {
    /// Builds a client; the environment's proxies are read now, the system's certificates with the
    /// first https connection.
    ///
    /// # Errors
    ///
    /// `Config` if a certificate, a key or the proxy's URL cannot be used.
    pub(crate) fn new(runtime: Arc<dyn Runtime>, config: HttpConfig) -> Result<Self, HttpError> {
        let proxies = proxy::Proxies::new(&config.proxy)?;
        let tls = tls::Tls::new(&config)?;
        let cookies = Mutex::default();
        let idle = idle::Idle::new(runtime.clone());
        Ok(Self { shared: Arc::new(Shared { runtime, config, proxies, tls, cookies, idle }) })
    }

    /// Sends one request and follows redirects; resolves when the head of the final answer is
    /// there, whatever its status.
    ///
    /// Nothing happens before the first poll. Dropping the future, or the body of the answer before its end,
    /// closes the socket.
    ///
    /// # Errors
    ///
    /// Any [`HttpError`] but `BodyTooLarge`; `Config` if the environment's certificates cannot be used.
    pub(crate) fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, HttpError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let request = request.prepare(&shared.config)?;
            let url = request.url.clone();
            match request.timeout {
                Some(after) => {
                    let answer = shared.follow(request);
                    connect::within(&*shared.runtime, after, "the answer", &url, answer).await
                }
                None => shared.follow(request).await,
            }
        })
    }

    /// Closes the connections that have waited for a request long enough. When to call it again, if any is left.
    pub(crate) fn expire_idle(&self) -> Option<Instant> {
        self.shared.idle.expire()
    }

    /// Closes all connections that wait for a request.
    pub(crate) fn close_idle(&self) {
        self.shared.idle.clear();
    }
}

impl Shared {
    async fn follow(&self, request: Request) -> Result<Response, HttpError> {
        let mut walk = redirect::Walk::new(request);
        loop {
            let (response, cookies_changed) = self.exchange(&walk.request, walk.is_home).await?;
            let limit = self.config.max_redirects;
            if walk.follow(response.status, &response.headers, cookies_changed, limit)? {
                // Whoever sends the whole request elsewhere has done nothing about it.
                if matches!(response.status.as_u16(), 307 | 308) {
                    walk.request.sent.set(false);
                }
                continue;
            }
            // One that refuses keeps its status, which says more than its body.
            if let Some(coding) = response.coding().filter(|_| response.status.is_success()) {
                let place = error::place(&response.url);
                return Err(HttpError::Encoded { place, coding: crate::shown::shown(coding, 20) });
            }
            return Ok(response);
        }
    }

    /// One request and the head of its answer; and whether that brought cookies which the next request will carry.
    async fn exchange(&self, request: &Request, is_home: bool) -> Result<(Response, bool), HttpError> {
        let may_repeat = request.repeats || request.method.is_safe();
        if request.shares {
            let key = idle::Key::new(&request.url, is_home);
            if let Some(link) = self.idle.take(&key, request.pin, !may_repeat) {
                let answer = self.exchange_over(link, request, is_home).await?;
                self.idle.learn(&key, answer.is_ok());
                match answer {
                    Ok(answer) => return Ok(answer),
                    // The server closed it just now, as it may at any time. A new connection says what is the matter.
                    Err(failed) if failed.is_unsent || (failed.is_untouched && may_repeat) => {}
                    Err(failed) => return Err(failed.into_error(&error::place(&request.url))),
                }
            }
        }
        let connecting = connect::connect(self, &request.url, request.pin, is_home);
        let after = self.config.connect_timeout;
        let link = connect::within(&*self.runtime, after, "connecting", &request.url, connecting).await?;
        let answer = self.exchange_over(link, request, is_home).await?;
        answer.map_err(|failed| failed.into_error(&error::place(&request.url)))
    }

    /// The same, over this connection.
    async fn exchange_over(
        &self,
        mut link: idle::Link,
        request: &Request,
        is_home: bool,
    ) -> Result<Result<(Response, bool), NoAnswer>, HttpError> {
        let mut wire = request.to_wire(link.route.forwarder.as_ref())?;
        if is_home {
            let own = request.headers.get(header::COOKIE);
            let cookies = self.cookies().header(&request.url, own, self.runtime.now());
            cookies.map(|cookies| wire.headers_mut().insert(header::COOKIE, cookies));
        }
        request.sent.set(true);
        let (after, arriving) = (self.config.connect_timeout, link.exchange.head());
        let sending = link.exchange.send(wire).map(Ok);
        let sending = connect::within_of_interim(&*self.runtime, after, &request.url, &arriving, sending);
        let (head, incoming) = match sending.await? {
            Ok(answer) => answer.into_parts(),
            Err(failed) => {
                request.sent.set(!failed.is_unsent);
                return Ok(Err(failed));
            }
        };
        let cookies_changed = is_home && self.cookies().keep(&request.url, &head.headers, self.runtime.now());
        let afterwards = request.shares.then(|| {
            let key = idle::Key::new(&request.url, is_home);
            Box::new(idle::Place::new(&self.idle, key, &link.route, &head.headers))
        });
        let response = Response {
            status: head.status,
            headers: head.headers,
            method: request.method.clone(),
            url: request.url.clone(),
            peer: link.route.peer,
            body: Body::new(error::place(&request.url), incoming, link.exchange, afterwards),
        };
        Ok(Ok((response, cookies_changed)))
    }

    fn cookies(&self) -> MutexGuard<'_, cookies::Jar> {
        lock(&self.cookies)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("runtime", &self.shared.runtime)
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

/// The settings of a client.
#[derive(Clone)]
pub(crate) struct HttpConfig {
    /// Certificates of authorities that are trusted besides the system's, in PEM.
    pub(crate) ca_pem: Option<Vec<u8>>,
    /// What to show to servers that ask who we are.
    pub(crate) client_cert: Option<ClientCertificate>,
    pub(crate) proxy: ProxyMode,
    /// For each request that does not have the header itself. Values marked as sensitive are
    /// treated like `Authorization`.
    pub(crate) default_headers: HeaderMap,
    pub(crate) user_agent: HeaderValue,
    pub(crate) max_redirects: usize,
    /// For everything up to a connection that is ready to be written to: resolving, TCP, the
    /// proxy's consent and TLS. And for the answer, once there were interim responses (1xx).
    pub(crate) connect_timeout: Duration,
    /// hyper's buffer for one connection, at least 8 KiB.
    pub(crate) max_buffer: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            ca_pem: None,
            client_cert: None,
            proxy: ProxyMode::Environment,
            default_headers: HeaderMap::new(),
            user_agent: HeaderValue::from_static(concat!("tidings/", env!("CARGO_PKG_VERSION"))),
            max_redirects: 10,
            connect_timeout: Duration::from_secs(10),
            max_buffer: 128 * 1024,
        }
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("ca_pem", &self.ca_pem.as_ref().map(|pem| format!("{} bytes", pem.len())))
            .field("client_cert", &self.client_cert)
            .field("proxy", &self.proxy)
            .field("default_headers", &request::HeaderNames(&self.default_headers))
            .field("user_agent", &self.user_agent)
            .field("max_redirects", &self.max_redirects)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_buffer", &self.max_buffer)
            .finish()
    }
}

/// A certificate and its private key, in PEM; both may be in one file, given twice.
#[derive(Clone)]
pub(crate) struct ClientCertificate {
    /// The certificate, then those that lead to its root.
    pub(crate) chain_pem: Vec<u8>,
    pub(crate) key_pem: Vec<u8>,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}

/// Which proxy to use.
#[derive(Clone, Default)]
pub(crate) enum ProxyMode {
    /// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, as curl reads them.
    #[default]
    Environment,
    /// None, whatever the environment says.
    Off,
    /// This one for every request, `http://user:password@host:port` or https.
    Url(String),
}

impl fmt::Debug for ProxyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "Environment",
            Self::Off => "Off",
            // The URL may hold a password.
            Self::Url(_) => "Url(..)",
        })
    }
}
