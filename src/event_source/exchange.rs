//! One request of an event source, up to the stream that answers it.

use std::{sync::Arc, time::Duration};

use futures::future::{BoxFuture, Either, select};
use hyper::StatusCode;

use crate::{
    Refusal,
    driver::{is_type, not_a_stream, refusal, retry_after},
    http::{Body, HttpClient, HttpError, Request},
    rt::Runtime,
};

use super::{Opened, machine::Failure};

/// How long a refusal's body may take. Some servers label their refusals as event streams and never end them.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

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
        let (status, after) = (response.status.as_u16(), retry_after(&response.headers));
        let mut timer = runtime.new_timer(runtime.now() + REFUSAL_TIMEOUT);
        let alarm = futures::future::poll_fn(move |cx| timer.as_mut().poll(cx));
        return Err(Failure::Refused(match select(Box::pin(refusal(response)), alarm).await {
            Either::Left((refusal, _)) => refusal,
            Either::Right(_) => Refusal::new(status, Vec::new(), after),
        }));
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
        error => Failure::Lost(error.into()),
    }
}
