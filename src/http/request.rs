//! What is sent, and the head of what comes back.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use url::Url;

use super::HttpConfig;
use super::body::Body;
use super::error::{HttpError, place};

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
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), pin: None, timeout: None }
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
        self.take_userinfo()?;
        self.url.set_fragment(None);
        Ok(self)
    }

    fn take_userinfo(&mut self) -> Result<(), HttpError> {
        if self.url.username().is_empty() && self.url.password().is_none() {
            return Ok(());
        }
        if !self.headers.contains_key(header::AUTHORIZATION) {
            let mut credentials: Vec<u8> = percent_decode_str(self.url.username()).collect();
            credentials.push(b':');
            credentials.extend(percent_decode_str(self.url.password().unwrap_or_default()));
            let mut value = HeaderValue::try_from(format!("Basic {}", base64(&credentials)))
                .map_err(|_| HttpError::invalid_url(&self.url, "its user name cannot be sent"))?;
            value.set_sensitive(true);
            self.headers.insert(header::AUTHORIZATION, value);
        }
        // Neither fails on a URL that had them.
        _ = self.url.set_username("");
        _ = self.url.set_password(None);
        Ok(())
    }

    /// Drops what only the origin that was asked may see.
    pub(super) fn forget_origin(&mut self) {
        for name in [header::AUTHORIZATION, header::COOKIE, header::HOST] {
            self.headers.remove(name);
        }
        let sensitive: Vec<HeaderName> =
            self.headers.iter().filter(|(_, v)| v.is_sensitive()).map(|(n, _)| n.clone()).collect();
        for name in sensitive {
            self.headers.remove(name);
        }
        self.pin = None;
    }

    /// Whether something in it would be given away to whoever listens on the wire.
    pub(super) fn carries_secrets(&self) -> bool {
        self.headers.contains_key(header::AUTHORIZATION)
            || self.headers.contains_key(header::COOKIE)
            || self.headers.values().any(HeaderValue::is_sensitive)
            // Such as the password of a log-in.
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
        if let Some(ProxyHeaders { authorization: Some(value) }) = to_proxy {
            wire.headers_mut().insert(header::PROXY_AUTHORIZATION, value.clone());
        }
        Ok(wire)
    }
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
    /// What answered in the end, after redirects.
    pub(crate) url: Url,
    /// The address that answered; none through a proxy.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) body: Body,
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

/// RFC 4648, with padding. A dozen lines instead of a dependency for one header.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().enumerate().fold(0_u32, |bits, (i, b)| bits | u32::from(*b) << (16 - 8 * i));
        for place in 0..4 {
            match place <= group.len() {
                true => text.push(char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize])),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_pads_as_the_standard_shows() {
        // RFC 4648, section 10.
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }
}
