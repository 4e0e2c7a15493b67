//! What was asked of the hub, for its owner to look at.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use hyper::{Method, Uri};

/// The log keeps this many requests, and this many bytes of their bodies.
const MAX_REQUESTS: usize = 4096;
const MAX_BYTES: usize = 64 << 20;

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
    headers: HeaderMap,
}

impl Seen {
    /// The first header of this name in any case, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All headers, their names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
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
    entries: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    at: Instant,
}

impl Requests {
    pub(super) fn note(&mut self, head: &Parts, body: Bytes) {
        self.bytes += body.len();
        self.entries.push_back(Entry {
            method: head.method.clone(),
            uri: head.uri.clone(),
            headers: head.headers.clone(),
            body,
            at: Instant::now(),
        });
        while self.entries.len() > MAX_REQUESTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.body.len();
        }
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        self.entries.iter().map(Entry::seen).collect()
    }

    pub(super) fn of_path(&self, path: &str) -> Vec<Seen> {
        let ours = self.entries.iter().filter(|entry| entry.uri.path() == path);
        ours.map(Entry::seen).collect()
    }
}

impl Entry {
    fn seen(&self) -> Seen {
        Seen {
            method: self.method.to_string(),
            path: self.uri.path().to_owned(),
            query: self.uri.query().map(str::to_owned),
            body: self.body.to_vec(),
            at: self.at,
            headers: self.headers.clone(),
        }
    }
}
