//! What one connection of an event source is made with.

use std::fmt;

use hyper::header::{AUTHORIZATION, HeaderValue};

use crate::{
    Error,
    client::{request::insert_headers, server_url},
    engine::identity::Token,
    http::Request,
};

/// What the next connection of an [`EventSource`](super::EventSource) is made with: the answer of
/// [`on_connect`](super::EventSourceBuilder::on_connect). What is not set is as the builder has it.
///
/// ```
/// use tidings::SourceRequest;
///
/// let request = SourceRequest::new().token("s3cret").header("X-Attempt", "2");
/// assert!(!format!("{request:?}").contains("s3cret"));
/// ```
#[derive(Clone, Default)]
pub struct SourceRequest {
    url: Option<String>,
    token: Option<String>,
    headers: Vec<(String, String)>,
}

impl SourceRequest {
    /// A request as the builder has it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another URL. The builder's headers, token and body are sent to it, whatever its origin.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// A token, sent as `Authorization: Bearer …`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// A header; it replaces one of the builder's with the same name. Its value is treated as a secret.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn apply(self, request: &mut Request) -> Result<(), Error> {
        if let Some(url) = self.url {
            request.url = server_url::parse(&url)?;
        }
        insert_headers(&mut request.headers, &self.headers)?;
        if let Some(token) = self.token {
            request.headers.insert(AUTHORIZATION, bearer(&token)?);
        }
        Ok(())
    }
}

impl fmt::Debug for SourceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and token may be secret.
        f.debug_struct("SourceRequest")
            .field("url", &self.url.as_deref().map(server_url::without_secrets))
            .finish_non_exhaustive()
    }
}

pub(super) fn bearer(token: &str) -> Result<HeaderValue, Error> {
    let token = Token::new(token)?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.as_str()))
        .expect("a token has only characters that can stand in a header");
    value.set_sensitive(true);
    Ok(value)
}
