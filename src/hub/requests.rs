//! What was asked of the hub, for its owner to look at.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use hyper::http::request::Parts;

/// A log keeps this many requests, and this many bytes of them.
const MAX_REQUESTS: usize = 1024;
const MAX_BYTES: usize = 16 << 20;

/// A request as the hub saw it, whatever it answered: see
/// [`Hub::requests`](super::Hub::requests).
///
/// `Debug` shows no values of headers and no query: there may be tokens in them.
#[derive(Clone)]
#[non_exhaustive]
pub struct Seen {
    /// `GET`, `POST`, or what else it was.
    pub method: String,
    /// The path as it came, without the query.
    pub path: String,
    /// What came after `?`, not decoded.
    pub query: Option<String>,
    /// The body, whole.
    pub body: Vec<u8>,
    /// When the body had come.
    pub at: Instant,
    headers: Vec<(String, Vec<u8>)>,
}

impl Seen {
    /// Copies all of it: to keep hyper's own would keep its read buffers.
    pub(super) fn new(head: &Parts, body: &[u8]) -> Self {
        let headers = head.headers.iter();
        Self {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            body: body.to_owned(),
            at: Instant::now(),
            headers: headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_owned())).collect(),
        }
    }

    /// The first header of this name in any case, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// All headers, their names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    fn bytes(&self) -> usize {
        let headers: usize = self.headers().map(|(name, value)| name.len() + value.len()).sum();
        self.path.len() + self.query.as_ref().map_or(0, String::len) + self.body.len() + headers
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers().map(|(name, _)| name).collect();
        f.debug_struct("Seen")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &names)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}

/// The last requests, oldest first.
#[derive(Debug, Default)]
pub(super) struct Requests {
    entries: VecDeque<Seen>,
    bytes: usize,
}

impl Requests {
    pub(super) fn note(&mut self, request: Seen) {
        self.bytes += request.bytes();
        self.entries.push_back(request);
        while self.entries.len() > MAX_REQUESTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        self.entries.iter().cloned().collect()
    }
}
