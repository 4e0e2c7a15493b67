//! One-off requests, so that a host needs no second HTTP client.

use std::{fmt, future::IntoFuture, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hyper::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Error,
    driver::shared::Handle,
    driver::{refusal, run_job},
    error::unexpected,
};

/// Longer than any time a host can mean, and short enough to be added to any clock.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The largest answer taken, in bytes.
const BODY_LIMIT: usize = 64 << 20;

/// A builder for a request; `.await` sends it. Returned by [`Client::send`](crate::Client::send).
///
/// Dropping the future cancels the request, although the server may have received it already. Functions that take a
/// future, such as `block_on`, `spawn` and `join`, need [`into_future`](IntoFuture::into_future).
///
/// At most 32 requests of a client run at the same time; others are queued.
#[must_use = "a request is sent when it is awaited"]
pub struct Request {
    pub(crate) handle: Arc<Handle>,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timeout: Duration,
    /// What the builder was given and cannot use.
    error: Option<Error>,
}

impl Request {
    pub(crate) fn new(handle: Arc<Handle>, method: &str, path: &str, body: Option<Value>) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        let body = body.map(|body| body.to_string().into_bytes());
        let timeout = Duration::from_secs(30);
        Self { handle, method, path, body, query: Vec::new(), headers: Vec::new(), timeout, error: None }
    }

    /// Adds a parameter to the query of the URL; it is percent-encoded as needed. A text is taken as it is, also one in a
    /// [`Value`]; anything else as its JSON: `7`, `true`, `["a","b"]`.
    pub fn query(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        match query_text(&name, &value) {
            Ok(text) => self.query.push((name, text)),
            Err(error) => self.error = Some(error),
        }
        self
    }

    /// Adds several parameters, from a map or an array of pairs; each as [`query`](Self::query) does.
    ///
    /// ```no_run
    /// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
    /// let posts = client.send("GET", "/api/collections/posts/records", None);
    /// let newest = posts.queries([("sort", "-created"), ("perPage", "10")]).await?;
    /// # Ok(()) }
    /// ```
    pub fn queries<N: Into<String>, V: Serialize>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        pairs.into_iter().fold(self, |request, (name, value)| request.query(name, value))
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds several headers, from a map or an array of pairs.
    pub fn headers<N: Into<String>, V: Into<String>>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        pairs.into_iter().fold(self, |request, (name, value)| request.header(name, value))
    }

    /// Sets a body of any type, such as a form with files, and its `Content-Type`.
    pub fn body(mut self, body: impl Into<Vec<u8>>, content_type: impl Into<String>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", content_type)
    }

    /// Sets the timeout for the whole exchange, including the time in the queue. Default: 30 seconds; at most a year.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST);
        self
    }

    async fn perform(self) -> Result<Response, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let shared = &self.handle;
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| Error::argument("method", format!("{:?} is not an HTTP method", self.method)))?;
        if self.path.split('?').next().is_some_and(|path| path.contains("://")) {
            // The token must not go to wherever a path from outside points.
            return Err(Error::argument(
                "path",
                "it is a full URL; give a path relative to the server's URL",
            ));
        }
        let mut url = shared.url(&self.path)?;
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        let token = shared.engine().token().cloned();
        let mut request = shared.request(method, url, token.as_ref(), self.body);
        insert_headers(&mut request.headers, &self.headers)?;

        let http = shared.http.clone();
        let (runtime, timers) = (shared.runtime.clone(), shared.runtime.clone());
        let after = self.timeout;
        // From now, not from when its turn comes.
        let until = runtime.now() + after;
        let exchange = async move {
            let response = http.send(request).await?;
            if !response.status.is_success() {
                return Err(Error::Refused(refusal(&*timers, response).await));
            }
            let (status, headers) = (response.status.as_u16(), response.headers);
            let body = response.body.collect(BODY_LIMIT).await?.to_vec();
            Ok(Response { status, headers, body })
        };
        let limited = async move {
            let mut timer = runtime.new_timer(until);
            let alarm = futures::future::poll_fn(move |cx| timer.as_mut().poll(cx));
            match futures::future::select(std::pin::pin!(exchange), alarm).await {
                futures::future::Either::Left((result, _)) => result,
                futures::future::Either::Right(_) => {
                    Err(Error::Timeout { what: "the request".into(), after })
                }
            }
        };
        run_job(shared, limited).await?
    }
}

impl IntoFuture for Request {
    type Output = Result<Response, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.perform())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest may be secret: a password in the body, a key in a header.
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path.split('?').next())
            .finish_non_exhaustive()
    }
}

/// The answer to a successful [`Client::send`](crate::Client::send).
#[derive(Clone)]
pub struct Response {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Response {
    /// The HTTP status, from 200 to 299.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of a header, if it is present and is text. Names are not case-sensitive.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as received, at most 64 MiB; a larger answer is an error.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body, deserialized from JSON into a type of yours; [`serde_json::Value`] accepts any JSON.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the body is not JSON or does not fit `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| unexpected("the body of the answer", &error))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The body may hold a token.
        f.debug_struct("Response").field("status", &self.status).field("body_len", &self.body.len()).finish()
    }
}

/// A value as it stands in a query. The quotes of a text's JSON would be part of it to the server, which then finds nothing.
pub(crate) fn query_text(name: &str, value: &impl Serialize) -> Result<String, Error> {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => Ok(text),
        Ok(value) => Ok(value.to_string()),
        Err(error) => Err(Error::argument(format!("value of {name}"), error.to_string())),
    }
}

/// Adds the host's headers, all of which may be secret.
pub(crate) fn insert_headers(headers: &mut HeaderMap, added: &[(String, String)]) -> Result<(), Error> {
    for (name, value) in added {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Error::argument("header", format!("{name:?} is not a header name")))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            Error::argument(
                "header",
                format!("the value of {name} contains a character that is not allowed in a header"),
            )
        })?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(())
}
