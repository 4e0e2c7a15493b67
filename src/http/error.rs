//! What can go wrong between a URL and an answer, in words that can be acted on.
//!
//! No text here holds more of a URL than scheme, host, port and path, or anything of a header or a
//! body: errors end up in logs.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use url::Url;

use crate::shown::shown;

type Cause = Arc<dyn Error + Send + Sync>;

/// Why there is no answer, or not the whole of it.
#[derive(Clone, Debug)]
pub(crate) enum HttpError {
    /// The URL cannot be requested at all: an unknown scheme, or https without TLS built in.
    InvalidUrl { place: String, why: String },
    /// The client cannot be built with this setting.
    Config { setting: &'static str, why: String },
    /// The host's name has no address.
    Resolve { host: String, cause: Arc<io::Error> },
    /// No address accepted the connection; each with its reason, in the order in which they failed.
    Connect { place: String, attempts: Vec<(SocketAddr, Arc<io::Error>)> },
    /// The TLS handshake failed, or the peer ended the session with an alert.
    Tls { host: String, why: String, cause: Cause },
    /// The proxy cannot be reached or used, or refused; `status` is its answer if it gave one.
    Proxy { proxy: String, status: Option<StatusCode>, cause: Option<Arc<HttpError>> },
    /// `what` took longer than `after`.
    Timeout { what: &'static str, place: String, after: Duration },
    /// The answer is not HTTP/1, or breaks its rules, or its head is too large.
    Protocol { place: String, why: String, cause: Option<Cause> },
    /// The connection broke before the message was complete.
    Reset { place: String, cause: Arc<io::Error> },
    /// The peer closed the connection before the message was complete.
    UnexpectedEnd { place: String },
    /// More redirects than allowed.
    TooManyRedirects { place: String, limit: usize },
    /// A redirect that cannot or must not be followed.
    BadRedirect { place: String, why: String },
    /// The body is compressed, although `identity` was asked for.
    Encoded { place: String, coding: String },
    /// The body is larger than the caller allowed, in bytes.
    BodyTooLarge { place: String, limit: usize },
}

impl HttpError {
    pub(super) fn invalid_url(url: &Url, why: impl Into<String>) -> Self {
        Self::InvalidUrl { place: place(url), why: why.into() }
    }

    /// An error of an exchange that has begun. hyper's own text names the symptom at best: what
    /// happened is in its sources.
    pub(super) fn from_hyper(place: &str, error: hyper::Error) -> Self {
        let place = place.to_owned();
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                #[cfg(feature = "tls")]
                if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    return super::tls::explain(&place, tls);
                }
                return match io.kind() {
                    // hyper wraps the end inside a chunk in an error of this kind; so does rustls
                    // for a TLS stream that was cut.
                    io::ErrorKind::UnexpectedEof => Self::UnexpectedEnd { place },
                    io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                        Self::Protocol { place, why: io.to_string(), cause: Some(Arc::new(error)) }
                    }
                    kind => Self::Reset { place, cause: Arc::new(restate(kind, io)) },
                };
            }
            source = cause.source();
        }

        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            return Self::UnexpectedEnd { place };
        }
        Self::Protocol { place, why: error.to_string(), cause: Some(Arc::new(error)) }
    }
}

/// `io::Error` cannot be cloned; its code or its text can.
fn restate(kind: io::ErrorKind, error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(kind, error.to_string()),
    }
}

/// The part of a URL that may be shown, of which a redirect may have made anything.
pub(super) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    shown(&format!("{}://{host}{port}{}", url.scheme(), url.path()), LONGEST_PLACE)
}

/// What is shown of a URL, in characters. A name in it has 253 at most.
pub(super) const LONGEST_PLACE: usize = 400;

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUrl { place, why } => write!(f, "cannot request {place}: {why}"),
            Self::Config { setting, why } => write!(f, "cannot use {setting}: {why}"),
            Self::Resolve { host, cause } => {
                write!(f, "cannot find the host {}: {cause}", shown(host, LONGEST_PLACE))
            }
            Self::Connect { place, attempts } => {
                write!(f, "cannot reach {place}: ")?;
                for (index, (address, error)) in attempts.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    // With a single address that is already in the host, once is enough.
                    match attempts.len() == 1 && *place == address.to_string() {
                        true => write!(f, "{}", words(error))?,
                        false => write!(f, "{comma}{} at {address}", words(error))?,
                    }
                }
                let refused =
                    |(_, error): &(_, Arc<io::Error>)| error.kind() == io::ErrorKind::ConnectionRefused;
                match attempts.iter().all(refused) {
                    true => write!(f, "; is the server running?"),
                    false => Ok(()),
                }
            }
            Self::Tls { host, why, .. } => write!(f, "no secure connection to {host}: {why}"),
            Self::Proxy { proxy, status: Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED), .. } => write!(
                f,
                "the proxy {proxy} wants other credentials (407); give them in the proxy's URL, \
                 http://user:password@host:port"
            ),
            Self::Proxy { proxy, status: Some(status), .. } => {
                write!(f, "the proxy {proxy} refused to connect ({status})")
            }
            Self::Proxy { proxy, cause: Some(cause), .. } => {
                write!(f, "the proxy {proxy} failed: {cause}")
            }
            Self::Proxy { proxy, .. } => {
                write!(f, "the proxy {proxy} cannot be used: only http:// and https:// proxies are supported")
            }
            Self::Timeout { what, place, after } => {
                write!(f, "{place}: {what} took longer than {after:?}")
            }
            Self::Protocol { place, why, .. } => {
                write!(f, "{place} does not answer in HTTP/1 as it should: {why}")
            }
            Self::Reset { place, cause } => {
                write!(f, "the connection to {place} broke: {}", words(cause))
            }
            Self::UnexpectedEnd { place } => {
                write!(f, "{place} closed the connection before the answer was complete")
            }
            Self::TooManyRedirects { place, limit } => {
                write!(f, "gave up at {place} after {limit} redirects; do they form a loop?")
            }
            Self::BadRedirect { place, why } => write!(f, "cannot follow the redirect of {place}: {why}"),
            Self::Encoded { place, coding } => write!(
                f,
                "{place} answered with a body encoded as {coding}, which was not asked for and is not read; is there a \
                 proxy on the way that compresses everything?"
            ),
            Self::BodyTooLarge { place, limit } => {
                write!(f, "the answer of {place} is larger than {limit} bytes")
            }
        }
    }
}

/// The usual reasons without the number of the operating system.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by the other side".to_owned(),
        io::ErrorKind::TimedOut => "the other side has not answered for too long".to_owned(),
        io::ErrorKind::NetworkUnreachable => "the network is unreachable".to_owned(),
        io::ErrorKind::HostUnreachable => "the host is unreachable".to_owned(),
        _ => error.to_string(),
    }
}

impl Error for HttpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Resolve { cause, .. } | Self::Reset { cause, .. } => Some(&**cause),
            Self::Connect { attempts, .. } => attempts.last().map(|(_, error)| &**error as _),
            Self::Tls { cause, .. } | Self::Protocol { cause: Some(cause), .. } => Some(&**cause),
            Self::Proxy { cause: Some(cause), .. } => Some(&**cause),
            _ => None,
        }
    }
}
