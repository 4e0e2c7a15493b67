//! One request of an event source, up to the stream that answers it.

use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderMap},
};

use crate::{
    Error,
    driver::{account::Failed, is_type, not_a_stream, refusal},
    http::{Body, HttpClient, HttpError, Request, Response},
    rt::Runtime,
};

use super::{
    Opened, Policy, SourceRequest,
    machine::{Failure, Repeat},
};

/// What is open towards the server. Dropping it closes the socket.
pub(super) enum Exchange {
    Opening(BoxFuture<'static, Result<(Opened, Body), Failure>>),
    Open(Body),
}

/// What the host wants to be asked.
pub(super) type AskStatus = Arc<dyn Fn(u16) -> BoxFuture<'static, Policy> + Send + Sync>;
pub(super) type AskConnect = Arc<dyn Fn() -> BoxFuture<'static, Result<SourceRequest, Failed>> + Send + Sync>;

/// What all exchanges of a source have in common.
pub(super) struct Terms {
    pub(super) http: HttpClient,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) repeat: Repeat,
    /// Content types taken for an event stream besides `text/event-stream`.
    pub(super) accepted: Vec<String>,
    pub(super) on_status: Option<AskStatus>,
    pub(super) on_connect: Option<AskConnect>,
}

impl Exchange {
    pub(super) fn start(terms: Arc<Terms>, request: Request) -> Self {
        Self::Opening(Box::pin(async move { terms.open(request).await }))
    }
}

impl Terms {
    async fn open(&self, mut request: Request) -> Result<(Opened, Body), Failure> {
        if let Some(ask) = &self.on_connect {
            let changes =
                ask().await.map_err(|error| Failure::Unsent(Error::TokenProvider(error.to_string())))?;
            changes.apply(&mut request).map_err(Failure::Hopeless)?;
        }
        let sent = request.sent.clone();
        let response = match self.http.send(request).await {
            Ok(response) => response,
            Err(error @ HttpError::Encoded { .. }) => {
                return Err(Failure::NotAStream(error.into(), self.policy(200).await));
            }
            Err(error) => return Err(failed(error, sent.get())),
        };
        if response.status != StatusCode::OK {
            let refusal = refusal(&*self.runtime, response).await.of_any_server();
            let policy = self.policy(refusal.status()).await;
            return Err(Failure::Refused(refusal, policy));
        }
        if !self.is_stream(&response.headers) {
            let error = self.unexpected(response).await;
            return Err(Failure::NotAStream(error, self.policy(200).await));
        }
        Ok((Opened::new(response.status, response.url, response.headers), response.body))
    }

    async fn policy(&self, status: u16) -> Policy {
        match &self.on_status {
            Some(ask) if self.repeat.asks_about(status) => ask(status).await,
            _ => Policy::Default,
        }
    }

    fn is_stream(&self, headers: &HeaderMap) -> bool {
        is_type(headers, "text/event-stream")
            || self.accepted.iter().any(|accepted| is_type(headers, accepted))
    }

    /// An answer with status 200 that is not a stream. Many servers report errors so, in JSON.
    async fn unexpected(&self, response: Response) -> Error {
        let host = response.url.host_str().unwrap_or_default().to_owned();
        let content_type = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("no content type").to_owned();
        let hint = not_a_stream(&response).to_string();
        let answer = refusal(&*self.runtime, response).await.of_any_server();
        let text = match answer.message() {
            "" => hint,
            message => format!("{host} answered with {content_type} instead of an event stream: {message}"),
        };
        Error::unexpected_answer(text, answer)
    }
}

fn failed(error: HttpError, sent: bool) -> Failure {
    match error {
        HttpError::InvalidUrl { .. } | HttpError::Config { .. } | HttpError::BadRedirect { .. } => {
            Failure::Hopeless(error.into())
        }
        error if sent => Failure::Lost(error.into()),
        error => Failure::Unsent(error.into()),
    }
}
