//! Carries the engine's outputs to the network and the network's answers to the engine. It decides nothing.
//!
//! All I/O of a client happens inside this one future: streams, submits and the requests of hosts are jobs that it
//! polls. Nothing is spawned, so any executor will do, and dropping the future drops every socket.

pub(crate) mod account;
pub(crate) mod alarm;
#[cfg(any(feature = "async-io", feature = "tokio"))]
pub(crate) mod background;
#[cfg(any(feature = "async-io", feature = "tokio"))]
pub(crate) mod common;
#[cfg(feature = "tracing")]
mod log;
#[cfg(any(feature = "async-io", feature = "tokio"))]
mod pacer;
mod path;
pub(crate) mod shared;

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use futures::{
    FutureExt, StreamExt,
    future::{AbortHandle, Abortable, Either, select},
    stream::FuturesUnordered,
};
use hyper::{
    StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use url::Url;

use crate::{
    Error, Refusal,
    driver::alarm::Alarm,
    driver::shared::{Job, Shared},
    engine::{
        ConnId, Output,
        dialect::{Failure, Request, TokenPlace},
        identity::Token,
    },
    http::{Response, yield_now},
    rt::Runtime,
    shown::shown,
};

/// The part of a refusal's body that is kept.
pub(crate) const REFUSAL_LIMIT: usize = 64 << 10;

/// How long that may take. Some servers label their refusals as event streams and never end them.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the server has to say whether a topic can deliver anything.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests of hosts that are under way at the same time.
const CONCURRENT_REQUESTS: usize = 32;

/// Chunks that one stream may bring, and rounds that the driver may make, before others get their turn.
const BUDGET: usize = 64;

#[derive(Debug)]
pub(crate) struct Driver {
    shared: Arc<Shared>,
    jobs: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    connections: HashMap<ConnId, Connection>,
    requests: usize,
    alarm: Alarm,
    #[cfg(feature = "tracing")]
    log: log::Log,
}

/// What belongs to one connection and goes with it.
#[derive(Debug)]
struct Connection {
    stream: AbortHandle,
    submit: Option<AbortHandle>,
    /// Where the stream was found, after redirects: the topics are submitted there, since a redirect turns a POST
    /// into a GET.
    found_at: Arc<OnceLock<Url>>,
}

/// A job that has ended.
enum Done {
    Connection,
    Request,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            #[cfg(feature = "tracing")]
            log: log::Log::new(shared.name.clone()),
            shared,
            jobs: FuturesUnordered::new(),
            connections: HashMap::new(),
            requests: 0,
            alarm: Alarm::default(),
        }
    }

    /// Does what the engine wants. Whether it wanted anything.
    fn obey(&mut self) -> bool {
        let mut any = false;
        loop {
            // Not in the head of the loop: the lock would be held for the whole body.
            let output = self.shared.engine_for_driver().poll_output();
            let Some(output) = output else { return any };
            any = true;
            #[cfg(feature = "tracing")]
            self.log.output(self.shared.now(), &output);
            match output {
                Output::Open { conn, request, token } => {
                    // The network may have changed: what a new stream is asked for goes the way that it goes.
                    self.shared.http.close_idle();
                    let found_at = Arc::default();
                    let job = stream(self.shared.clone(), conn, request, token, Arc::clone(&found_at));
                    let stream = self.start(job);
                    self.connections.insert(conn, Connection { stream, submit: None, found_at });
                }
                Output::Submit { conn, request, token } => {
                    let Some(Connection { found_at, .. }) = self.connections.get(&conn) else { continue };
                    let url = found_at.get().cloned().map_or_else(|| self.shared.url(&request.path), Ok);
                    let submit = self.start(submit(self.shared.clone(), conn, request, url, token));
                    if let Some(connection) = self.connections.get_mut(&conn) {
                        connection.submit = Some(submit);
                    }
                }
                Output::Drop { conn } => {
                    if let Some(connection) = self.connections.remove(&conn) {
                        connection.stream.abort();
                        connection.submit.inspect(AbortHandle::abort);
                    }
                }
                Output::Check { number, request, token } => {
                    let check = check(self.shared.clone(), number, request, token);
                    self.jobs.push(Box::pin(check.map(|()| Done::Connection)));
                }
                Output::Denied { topic, error, for_now } => {
                    self.shared.notices.report_denied(&topic, &error, for_now);
                }
                Output::State(state) => self.shared.notices.report_state(state),
                Output::Disconnected(topics) => self.shared.notices.report_disconnected(topics),
                Output::WantToken => {
                    let asking = account::ask_provider(self.shared.clone());
                    self.jobs.push(Box::pin(asking.map(|()| Done::Connection)));
                }
            }
        }
    }

    fn start(&mut self, job: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        self.jobs.push(Box::pin(Abortable::new(job, registration).map(|_| Done::Connection)));
        handle
    }

    fn take_requests(&mut self) -> bool {
        let mut any = false;
        while self.requests < CONCURRENT_REQUESTS
            && let Ok(job) = self.shared.jobs.1.try_recv()
        {
            self.requests += 1;
            self.jobs.push(Box::pin(job.map(|()| Done::Request)));
            any = true;
        }
        while let Ok(job) = self.shared.views.1.try_recv() {
            self.jobs.push(Box::pin(job.map(|()| Done::Connection)));
            any = true;
        }
        any
    }

    fn poll_jobs(&mut self, cx: &mut Context<'_>) -> bool {
        match self.jobs.poll_next_unpin(cx) {
            Poll::Ready(Some(done)) => {
                if let Done::Request = done {
                    self.requests -= 1;
                }
                true
            }
            Poll::Ready(None) | Poll::Pending => false,
        }
    }

    fn poll_time(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.shared.now();
        let mut engine = self.shared.engine_for_driver();
        engine.look_at_clocks(now, SystemTime::now());
        let deadline = engine.deadline(now);
        drop(engine);
        let idle = self.shared.http.expire_idle();
        let Some(deadline) = deadline.into_iter().chain(idle).min() else { return false };
        if now >= deadline || self.alarm.poll(&*self.shared.runtime, deadline, cx) {
            self.shared.engine_for_driver().handle_timeout(self.shared.now());
            return true;
        }
        false
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.shared.waker.register(cx.waker());
        for _ in 0..BUDGET {
            let mut progress = this.obey();
            if this.shared.engine_for_driver().is_closed() {
                this.obey();
                this.let_go();
                return Poll::Ready(());
            }
            progress |= this.take_requests();
            progress |= this.poll_jobs(cx);
            progress |= this.poll_time(cx);
            if !progress {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Driver {
    /// The same on a thread that does nothing else, so that it may be kept waiting while events gather, `bound` at most at
    /// a time.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub(crate) async fn on_own_thread(mut self, bound: Duration) {
        let mut pacer = pacer::Pacer::new(bound);
        let (mut events, mut bytes) = (0, 0);
        poll_fn(move |cx| {
            let polled = self.poll_unpin(cx);
            if polled.is_pending() {
                let (had, read) = (events, bytes);
                (events, bytes) = self.shared.engine_for_driver().received_so_far();
                let pause = pacer.pause(self.shared.now(), events - had, bytes - read);
                if !pause.is_zero() {
                    std::thread::sleep(pause);
                }
            }
            polled
        })
        .await;
    }

    fn let_go(&mut self) {
        self.jobs.clear();
        self.connections.clear();
        self.alarm = Alarm::default();
        while self.shared.jobs.1.try_recv().is_ok() {}
        self.shared.http.close_idle();
        while self.shared.views.1.try_recv().is_ok() {}
        self.shared.finish();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A host that drops the driver, or whose executor does, has closed the client.
        self.shared.close();
        self.obey();
        self.let_go();
    }
}

/// The life of one stream.
async fn stream(
    shared: Arc<Shared>,
    conn: ConnId,
    request: Request,
    token: Option<Token>,
    found_at: Arc<OnceLock<Url>>,
) {
    let failure = read(&shared, conn, request, token, &found_at).await.err();
    shared.engine_for_driver().ended(shared.now(), conn, failure);
}

/// Reads a stream to its clean end.
async fn read(
    shared: &Shared,
    conn: ConnId,
    request: Request,
    token: Option<Token>,
    found_at: &OnceLock<Url>,
) -> Result<(), Failure> {
    let url = shared.url(&request.path).map_err(Failure::Lost)?;
    let mut http = http_request(shared, url, request, token.as_ref());
    http.shares = false;
    http.headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    http.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let response = shared.http.send(http).await.map_err(lost)?;
    // The status first: PocketBase labels its refusals as event streams too.
    if response.status != StatusCode::OK {
        return Err(refused(shared, response).await);
    }
    if !is_type(&response.headers, "text/event-stream") {
        return Err(Failure::Lost(not_a_stream(&response)));
    }
    // The topics go where the stream is, and the token with them.
    let _ = found_at.set(response.url);
    shared.engine_for_driver().opened(shared.now(), conn, response.peer);
    let mut body = response.body;
    let mut chunks = Vec::new();
    while body.chunks(&mut chunks, BUDGET).await.map_err(lost)? {
        let is_busy = chunks.len() == BUDGET;
        {
            // Once for all of them: the lock, and waking those whose events they bring.
            let mut engine = shared.engine_for_driver();
            let now = shared.now();
            chunks.drain(..).for_each(|chunk| engine.received(now, conn, &chunk));
        }
        if is_busy {
            yield_now().await;
        }
    }
    Ok(())
}

async fn submit(
    shared: Arc<Shared>,
    conn: ConnId,
    request: Request,
    url: Result<Url, Error>,
    token: Option<Token>,
) {
    let answer = match url {
        Ok(url) => {
            let mut http = http_request(&shared, url, request, token.as_ref());
            // The same topics again change nothing.
            http.repeats = true;
            shared.http.send(http).await.map_err(lost)
        }
        Err(error) => Err(Failure::Lost(error)),
    };
    let answer = match answer {
        Ok(response) if !response.status.is_success() => Err(refused(&shared, response).await),
        // A login page of the network answers everything with a page; a redirect made the POST a GET.
        Ok(response)
            if is_type(&response.headers, "text/html") || is_type(&response.headers, "text/event-stream") =>
        {
            Err(Failure::Lost(Error::protocol(format!(
                "{} did not take the topics but answered with something else: is a redirect, a proxy or a login \
                 page in the way?",
                response.url.host_str().unwrap_or_default()
            ))))
        }
        Ok(_) => Ok(()),
        Err(failure) => Err(failure),
    };
    shared.engine_for_driver().submitted(shared.now(), conn, answer);
}

/// Asks what the engine wants to know, which is not waited for long.
async fn check(shared: Arc<Shared>, number: u64, request: Request, token: Option<Token>) {
    let mut timer = shared.runtime.new_timer(shared.now() + CHECK_TIMEOUT);
    let alarm = poll_fn(|cx| timer.as_mut().poll(cx));
    let exchange = async {
        let url = shared.url(&request.path).map_err(Failure::Lost)?;
        let http = http_request(&shared, url, request, token.as_ref());
        match shared.http.send(http).await.map_err(lost)? {
            response if response.status.is_success() => Ok(()),
            response => Err(refused(&shared, response).await),
        }
    };
    let answer = match select(pin!(exchange), alarm).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => {
            let what = "the answer to whether a topic can deliver anything".into();
            Err(Failure::Lost(Error::Timeout { what, after: CHECK_TIMEOUT }))
        }
    };
    shared.engine_for_driver().checked(shared.now(), number, answer);
}

fn http_request(shared: &Shared, url: Url, request: Request, token: Option<&Token>) -> crate::http::Request {
    let method = if request.method == "POST" { hyper::Method::POST } else { hyper::Method::GET };
    let mut url = url;
    let token = match request.token {
        TokenPlace::Nowhere => None,
        TokenPlace::Header => token,
        TokenPlace::Query(name) => {
            if let Some(token) = token {
                url.query_pairs_mut().append_pair(name, token.as_str());
            }
            None
        }
    };
    let mut http = shared.request(method, url, token, request.body);
    http.pin = request.pin;
    http
}

fn lost(error: crate::http::HttpError) -> Failure {
    Failure::Lost(error.into())
}

async fn refused(shared: &Shared, response: Response) -> Failure {
    Failure::Refused(refusal(&*shared.runtime, response).await)
}

/// Reads the body that comes with a status other than success.
pub(crate) async fn refusal(runtime: &dyn Runtime, response: Response) -> Refusal {
    let status = response.status.as_u16();
    let retry_after = retry_after(&response.headers);
    let headers = response.headers.clone();
    let mut timer = runtime.new_timer(runtime.now() + REFUSAL_TIMEOUT);
    let alarm = poll_fn(move |cx| timer.as_mut().poll(cx));
    let (request, coding) = (response.asked(), response.coding().map(str::to_owned));
    let body = response.body.beginning(REFUSAL_LIMIT, alarm).await;
    Refusal::new(status, body, retry_after).of(request, coding, headers)
}

/// How long `Retry-After` asks to wait. A date in it is compared with the server's own clock where it tells that, since
/// this machine's may be wrong.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let value = text(RETRY_AFTER)?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now =
        text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
    Some(until.duration_since(now).unwrap_or_default())
}

pub(crate) fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(wanted)
}

pub(crate) fn not_a_stream(response: &Response) -> Error {
    let host = response.url.host_str().unwrap_or_default();
    let content_type = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Error::protocol(format!(
        "{host} answered with {} where an event stream was expected: is it the right URL, or is a proxy or a \
         login page in the way?",
        content_type.map_or("no content type".into(), |name| shown(name, 100)),
    ))
}

/// What a host asks for runs here too: see [`crate::Client::send`].
pub(crate) async fn run_job<T: Send + 'static>(
    shared: &Shared,
    job: impl Future<Output = T> + Send + 'static,
) -> Result<T, Error> {
    let (mut sender, receiver) = futures::channel::oneshot::channel();
    let job: Job = Box::pin(async move {
        let job = std::pin::pin!(job);
        // A caller that is gone cancels its request.
        if let futures::future::Either::Left((result, _)) =
            futures::future::select(job, sender.cancellation()).await
        {
            let _ = sender.send(result);
        }
    });
    shared.jobs.0.send(job).await.map_err(|_| Error::Closed)?;
    shared.waker.wake();
    receiver.await.map_err(|_| Error::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(retry_after: &'static str, date: Option<&'static str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(retry_after));
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_static(date));
        }
        super::retry_after(&headers)
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date_by_the_clock_of_the_server() {
        let date = Some("Fri, 31 Dec 1999 23:59:29 GMT");
        assert_eq!(wait(" 7 ", date), Some(Duration::from_secs(7)));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT", date), Some(Duration::from_secs(30)));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:00 GMT", date), Some(Duration::ZERO), "it is past");
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT", None), Some(Duration::ZERO));
        assert!(wait("Tue, 31 Dec 2999 23:59:59 GMT", None) > Some(Duration::from_secs(1 << 30)));
        assert_eq!(wait("soon", date), None);
        assert_eq!(wait("-1", date), None);
    }
}
