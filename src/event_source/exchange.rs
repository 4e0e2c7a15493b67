//! One request of an event source, up to the stream that answers it.

use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::StatusCode;

use crate::{
    driver::{is_type, not_a_stream, refusal},
    http::{Body, HttpClient, HttpError, Request},
    rt::Runtime,
};

use super::{Opened, machine::Failure};

/// What is open towards the server. Dropping it closes the socket.
pub(super) enum Exchange {
    Opening(BoxFuture<'static, Result<(Opened, Body), Failure>>),
    Open(Body),
}

impl Exchange {
    pub(super) fn start(http: HttpClient, runtime: Arc<dyn Runtime>, request: Request) -> Self {
        Self::Opening(Box::pin(open(http, runtime, request)))
    }
}

async fn open(
    http: HttpClient,
    runtime: Arc<dyn Runtime>,
    request: Request,
) -> Result<(Opened, Body), Failure> {
    let response = http.send(request).await.map_err(failed)?;
    if response.status != StatusCode::OK {
        return Err(Failure::Refused(refusal(&*runtime, response).await));
    }
    if !is_type(&response.headers, "text/event-stream") {
        return Err(Failure::NotAStream(not_a_stream(&response)));
    }
    Ok((Opened::new(response.url, response.headers), response.body))
}

fn failed(error: HttpError) -> Failure {
    match error {
        HttpError::InvalidUrl { .. } | HttpError::Config { .. } | HttpError::BadRedirect { .. } => {
            Failure::Hopeless(error.into())
        }
        error @ HttpError::Encoded { .. } => Failure::NotAStream(error.into()),
        error => Failure::Lost(error.into()),
    }
}
