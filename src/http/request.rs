//! What is sent, and the head of what comes back.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use url::Url;

use super::HttpConfig;
use super::body::Body;
use super::error::{HttpError, place};
use super::redirect::Redirects;
use crate::shown::shown;

/// One request.
///
/// `user:password@` in the URL is sent as Basic authorization, unless there is an `Authorization`
/// header; it goes no further than the URL's origin.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// Take precedence over the client's default headers. Values marked as sensitive are treated
    /// like `Authorization`: never shown, and never sent to another origin.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Connect to this address instead of resolving the host (not through a proxy, and not after
    /// a redirect to another origin).
    pub(crate) pin: Option<SocketAddr>,
    /// How long it may take until the head of the answer is there, redirects included.
    pub(crate) timeout: Option<Duration>,
    pub(crate) redirects: Redirects,
    /// Whether it may use a connection that others have used, and leave it to others. Whoever sets it sees to
    /// [`HttpClient::expire_idle`](super::HttpClient::expire_idle).
    pub(crate) shares: bool,
    /// Whether a server that gets it twice is in the same state as after the first time. Those whose method is safe need
    /// not say so.
    pub(crate) repeats: bool,
    /// Whether a server may have begun to act on it.
    pub(crate) sent: Sent,
}

/// Whether a server may have begun to act on a request. While not, a request that failed can be repeated without harm,
/// whatever its method. Clones show the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent(Arc<AtomicBool>);

impl Sent {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, sent: bool) {
        self.0.store(sent, Ordering::Relaxed);
    }
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            pin: None,
            timeout: None,
            redirects: Redirects::default(),
            shares: false,
            repeats: false,
            sent: Sent::default(),
        }
    }

    /// Fills in what every request of this client has, and takes out what is not the caller's to
    /// say: framing belongs to hyper, and credentials of a proxy would reach the server.
    pub(super) fn prepare(mut self, config: &HttpConfig) -> Result<Self, HttpError> {
        const NOT_THE_CALLERS: [HeaderName; 7] = [
            header::CONNECTION,
            header::CONTENT_LENGTH,
            header::PROXY_AUTHORIZATION,
            header::TE,
            header::TRAILER,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
        ];

        for name in config.default_headers.keys() {
            if !self.headers.contains_key(name) {
                for value in config.default_headers.get_all(name) {
                    self.headers.append(name, value.clone());
                }
            }
        }
        for name in &NOT_THE_CALLERS {
            self.headers.remove(name);
        }
        // Nothing here decompresses, and a compressed stream would arrive late.
        self.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if !self.headers.contains_key(header::USER_AGENT) {
            self.headers.insert(header::USER_AGENT, config.user_agent.clone());
        }
        if let Some(credentials) = take_userinfo(&mut self.url) {
            self.headers.entry(header::AUTHORIZATION).or_insert(credentials);
        }
        self.url.set_fragment(None);
        Ok(self)
    }

    /// Whether something in it could be a secret.
    pub(super) fn carries_secrets(&self) -> bool {
        self.headers.contains_key(header::AUTHORIZATION)
            || self.headers.contains_key(header::COOKIE)
            || self.headers.values().any(HeaderValue::is_sensitive)
            // Such as a token for where headers cannot be set.
            || self.url.query().is_some_and(|query| !query.is_empty())
            // Such as the password of a login.
            || !self.body.is_empty()
    }

    /// The request as it goes over the wire: with a path alone to the server, with the whole URL
    /// to a proxy that forwards it.
    pub(super) fn to_wire(
        &self,
        to_proxy: Option<&ProxyHeaders>,
    ) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
        let unusable = |_| HttpError::invalid_url(&self.url, "it cannot be sent over HTTP");
        let target = match to_proxy {
            Some(_) => self.url.as_str(),
            None => &self.url[url::Position::BeforePath..],
        };
        let uri: Uri = target.parse().map_err(unusable)?;

        let mut wire = hyper::Request::new(Full::new(self.body.clone()));
        *wire.method_mut() = self.method.clone();
        *wire.uri_mut() = uri;
        *wire.headers_mut() = self.headers.clone();
        if !self.headers.contains_key(header::HOST) {
            let host = &self.url[url::Position::BeforeHost..url::Position::AfterPort];
            let host = HeaderValue::from_str(host)
                .map_err(|_| HttpError::invalid_url(&self.url, "its host cannot be sent over HTTP"))?;
            wire.headers_mut().insert(header::HOST, host);
        }
        let has_use_for_a_body = matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        if self.body.is_empty() && has_use_for_a_body {
            // hyper says nothing, and there are servers that answer 411 then (RFC 9110, section 8.6).
            wire.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some(ProxyHeaders { authorization: Some(value) }) = to_proxy {
            wire.headers_mut().insert(header::PROXY_AUTHORIZATION, value.clone());
        }
        Ok(wire)
    }
}

/// Takes user and password out of a URL, so that nothing is ever built from it that has them; gives them as the value of
/// `Authorization`.
pub(crate) fn take_userinfo(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(url.password().unwrap_or_default()));
    let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(credentials));
    let mut value = HeaderValue::try_from(value).expect("Base64 is ASCII");
    value.set_sensitive(true);
    // Neither fails on a URL that had them.
    _ = url.set_username("");
    _ = url.set_password(None);
    Some(value)
}

/// What a forwarding proxy gets on top.
pub(super) struct ProxyHeaders {
    pub(super) authorization: Option<HeaderValue>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &place(&self.url))
            .field("headers", &HeaderNames(&self.headers))
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("pin", &self.pin)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// The head of an answer, and its body to come.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// What was asked in the end, after redirects, and who answered.
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// The address that answered; none through a proxy.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) body: Body,
}

impl Response {
    /// Method and URL, as they may be shown.
    pub(crate) fn asked(&self) -> String {
        format!("{} {}", self.method, shown(&place(&self.url), 300))
    }

    /// How the body is encoded, if it is: nothing here decodes, and nobody asked for it.
    pub(crate) fn coding(&self) -> Option<&str> {
        let coding = self.headers.get(header::CONTENT_ENCODING)?.to_str().unwrap_or("?").trim();
        let is_plain = coding.is_empty() || coding.eq_ignore_ascii_case("identity");
        (!is_plain && !self.body.is_empty()).then_some(coding)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &HeaderNames(&self.headers))
            .field("url", &place(&self.url))
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Shows the names alone: tokens and cookies hide behind many of them.
pub(super) struct HeaderNames<'a>(pub(super) &'a HeaderMap);

impl fmt::Debug for HeaderNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys().map(HeaderName::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::take_userinfo;

    #[test]
    fn user_and_password_are_split_off() {
        let mut url = "http://us%40er:p%3Ass@host/x".parse().unwrap();
        let value = take_userinfo(&mut url).unwrap();
        // us@er:p:ss
        assert_eq!(value, "Basic dXNAZXI6cDpzcw==");
        assert!(value.is_sensitive());
        assert_eq!(url.as_str(), "http://host/x");
        assert_eq!(take_userinfo(&mut url), None);
    }
}
