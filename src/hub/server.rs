//! The hub's thread: accepts connections, reads requests, routes them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::{self, Either, select};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use smol::{Async, LocalExecutor, Timer};

use super::answer::{Alteration, Answer, Reaction};
use super::auth::SUPERUSERS;
use super::faults::Endpoint;
use super::gzip::Gzip;
use super::host;
use super::realtime::read_submit;
use super::records::Requester;
use super::refusal::Refusal;
use super::requests::Seen;
use super::state::{Shared, State};
use super::stream::Stream;
use super::topic::snake_case;
use super::wire::{self, Fate, Link, Wire};

/// How long a stopping hub waits for its streams to take their clean end.
const FAREWELL: Duration = Duration::from_millis(500);
const MAX_BODY: usize = 32 << 20;

/// Serves until the hub is told to stop. Runs on the hub's thread.
pub(super) fn run(listener: Async<TcpListener>, shared: Arc<Shared>) {
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        accept(&executor, listener, &shared).await;
        // The port is closed by now: no client can reconnect to a hub that leaves.
        shared.change(|state| {
            state.outlets.values_mut().for_each(|outlet| outlet.end());
            state.links.values().for_each(|link| {
                link.decide(Fate::Finish);
            });
        });
        let quiet = future::poll_fn(|cx| {
            shared.stop.register(cx.waker());
            if shared.look().links.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        });
        select(quiet, Timer::after(FAREWELL)).await;
    }));
    // Dropping the executor drops the connections that are left.
    drop(executor);
    shared.change(|state| {
        state.clients.clear();
        state.outlets.clear();
        state.links.clear();
    });
}

async fn accept(executor: &LocalExecutor<'_>, listener: Async<TcpListener>, shared: &Arc<Shared>) {
    let mut serial = 0;
    loop {
        let stopped = future::poll_fn(|cx| {
            shared.stop.register(cx.waker());
            if shared.stopping.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        });
        match select(stopped, pin!(listener.accept())).await {
            Either::Left(_) => return,
            Either::Right((Ok((socket, peer)), _)) => {
                serial += 1;
                executor.spawn(serve(socket, peer.ip(), serial, shared.clone())).detach();
            }
            // Out of descriptors, or the peer gave up in the backlog: the
            // former only gets better with time.
            Either::Right((Err(_), _)) => {
                Timer::after(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn serve(socket: Async<TcpStream>, ip: IpAddr, serial: u64, shared: Arc<Shared>) {
    // Without this the kernel would join what `split_bytes` splits.
    let _ = socket.get_ref().set_nodelay(true);
    let socket = Arc::new(socket);
    let link = Arc::new(Link::default());
    shared.change(|state| {
        state.links.insert(serial, link.clone());
    });
    let _entry = Entry { serial, shared: shared.clone() };

    let wire = Wire::new(socket.clone(), link.clone(), shared.switches.clone());
    let port = socket.get_ref().local_addr().map_or(0, |addr| addr.port());
    let service = {
        let link = link.clone();
        service_fn(move |request| {
            let is_meant = host::is_meant(&request, port);
            let (link, shared) = (link.clone(), shared.clone());
            async move {
                match is_meant {
                    true => answer(request, ip, link, shared).await,
                    false => Ok(refuse(&Refusal::new(421, host::MISDIRECTED))),
                }
            }
        })
    };
    let mut connection = Box::pin(http1::Builder::new().serve_connection(wire, service));
    let mut known = None;
    loop {
        let fate = future::poll_fn(|cx| link.poll_fate(known, cx));
        match select(connection.as_mut(), fate).await {
            Either::Left(_) => return,
            Either::Right((Fate::Finish, _)) => {
                connection.as_mut().graceful_shutdown();
                known = Some(Fate::Finish);
            }
            // Dropping the socket sends a FIN, wherever the response was.
            Either::Right((Fate::Cut, _)) => return,
            Either::Right((Fate::Reset, _)) => return wire::arm_reset(&socket),
        }
    }
}

/// Strikes a connection off the list when its task ends, however it ends.
struct Entry {
    serial: u64,
    shared: Arc<Shared>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.change(|state| state.links.remove(&self.serial));
        self.shared.stop.wake();
    }
}

async fn answer(
    request: Request<Incoming>,
    ip: IpAddr,
    link: Arc<Link>,
    shared: Arc<Shared>,
) -> Result<Response<Reply>, Infallible> {
    let (head, body) = request.into_parts();
    let (route, delay, planned) = plan(&head, &shared);
    let endpoint = route.endpoint();
    if let Some(delay) = delay {
        Timer::after(delay).await;
    }
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Ok(refuse(&Refusal::new(413, "Request entity too large")));
    };
    let body = body.to_bytes();
    shared.change(|state| {
        let request = Seen::new(&head, &body);
        if let Some(channel) = state.channels.get_mut(head.uri.path()) {
            channel.requests.note(request.clone());
        }
        state.requests.note(request);
    });
    let ask = Ask { headers: &head.headers, query: head.uri.query(), body, ip };
    let (planned, alteration) = match planned {
        Some(Answer(Reaction::Alter(alteration))) => (None, Some(alteration)),
        Some(Answer(reaction)) => (Some(reaction), None),
        None => (None, None),
    };
    if endpoint == Endpoint::Submit
        && let Some(reaction) = &planned
    {
        // A submit that is kept from the checks is logged all the same.
        let answered = if let Reaction::Respond { status, .. } = reaction { status.as_u16() } else { 0 };
        shared.change(|state| state.log_submit(ask.submit(answered)));
    }
    let mut response = match planned {
        None if endpoint == Endpoint::Submit => submit(&ask, &shared).await,
        None => route.handle(&ask, link, &shared),
        Some(Reaction::Respond { status, headers, body }) => {
            let mut response = Response::new(Reply::full(body));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
        Some(Reaction::End(fate)) => {
            link.decide(fate);
            future::pending().await
        }
        Some(Reaction::Silence | Reaction::Alter(_)) => future::pending().await,
    };
    if let Some(alteration) = alteration {
        response = altered(response, alteration);
    }
    Ok(response)
}

/// Where a request goes, and the delay and the answer that a fault has planned for it. Counts it.
fn plan(head: &Parts, shared: &Shared) -> (Route, Option<Duration>, Option<Answer>) {
    shared.change(|state| {
        let path = head.uri.path();
        let route = match state.channels.contains_key(path) {
            true => Route::Channel(path.to_owned()),
            false => Route::of(&head.method, path),
        };
        let endpoint = route.endpoint();
        let counters = state.counters();
        counters.requests += 1;
        match endpoint {
            Endpoint::Connect | Endpoint::Events | Endpoint::Sse => counters.connects += 1,
            Endpoint::Submit => counters.submits += 1,
            _ => {}
        }
        let (delay, mut planned) = state.planned(endpoint);
        if let Some(channel) = state.channels.get_mut(path).filter(|_| planned.is_none()) {
            planned = channel.answers.pop_front();
        }
        (route, delay, planned)
    })
}

/// The answer as a fault wants it.
fn altered(mut response: Response<Reply>, alteration: Alteration) -> Response<Reply> {
    match alteration {
        Alteration::Mislabel(content_type) => {
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        }
        // What has no body has nothing to wrap.
        Alteration::Gzip if response.status() == StatusCode::NO_CONTENT => {}
        Alteration::Gzip => {
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
            response = response.map(|body| Reply::Gzipped(Box::new(body), Some(Gzip::default())));
        }
    }
    response
}

/// What was asked for.
#[derive(Debug)]
pub(super) enum Route {
    Connect,
    Submit,
    Events {
        collection: String,
        in_workspace: bool,
    },
    LogInToApp,
    Channel(String),
    Health,
    List(String),
    Create(String),
    View(String, String),
    Update(String, String),
    Delete(String, String),
    AuthWithPassword(String),
    AuthRefresh(String),
    AuthMethods(String),
    Batch,
    AuthWithOauth2(String),
    OauthRedirect,
    OauthAuthorize,
    /// The real server serves files on every other GET.
    NoFile,
    Nothing,
}

impl Route {
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let parts: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (get, post) = (method == Method::GET, method == Method::POST);
        match parts[..] {
            ["api", "realtime"] if get => Route::Connect,
            ["api", "realtime"] if post => Route::Submit,
            ["api", place @ ("realms" | "workspaces"), _, "apps", _, "collections", name, "events"]
                if get =>
            {
                Route::Events { collection: name.into(), in_workspace: place == "workspaces" }
            }
            ["api", "realms" | "workspaces", _, "apps", _, "auth", "users", "login"] if post => {
                Route::LogInToApp
            }
            ["api", "health"] if get => Route::Health,
            ["api", "collections", name, "records"] if get => Route::List(name.into()),
            ["api", "collections", name, "records"] if post => Route::Create(name.into()),
            ["api", "collections", name, "records", id] => {
                let (name, id) = (name.into(), id.into());
                match *method {
                    Method::GET => Route::View(name, id),
                    Method::PATCH => Route::Update(name, id),
                    Method::DELETE => Route::Delete(name, id),
                    _ => Route::Nothing,
                }
            }
            ["api", "collections", name, "auth-with-password"] if post => {
                Route::AuthWithPassword(name.into())
            }
            ["api", "collections", name, "auth-refresh"] if post => Route::AuthRefresh(name.into()),
            ["api", "collections", name, "auth-methods"] if get => Route::AuthMethods(name.into()),
            ["api", "collections", name, "auth-with-oauth2"] if post => Route::AuthWithOauth2(name.into()),
            ["api", "oauth2-redirect"] if get => Route::OauthRedirect,
            ["oauth2", "authorize"] if get => Route::OauthAuthorize,
            ["api", "batch"] if post => Route::Batch,
            _ if get => Route::NoFile,
            _ => Route::Nothing,
        }
    }

    fn endpoint(&self) -> Endpoint {
        match self {
            Route::Connect => Endpoint::Connect,
            Route::Submit => Endpoint::Submit,
            Route::Events { .. } => Endpoint::Events,
            Route::Channel(_) => Endpoint::Sse,
            Route::Health => Endpoint::Health,
            Route::List(_) => Endpoint::Lists,
            Route::Create(_) | Route::View(..) | Route::Update(..) | Route::Delete(..) | Route::Batch => {
                Endpoint::Records
            }
            Route::AuthWithPassword(_)
            | Route::LogInToApp
            | Route::AuthRefresh(_)
            | Route::AuthMethods(_)
            | Route::AuthWithOauth2(_)
            | Route::OauthRedirect
            | Route::OauthAuthorize => Endpoint::Auth,
            Route::NoFile | Route::Nothing => Endpoint::Other,
        }
    }

    /// What is asked of the records and accounts; `None` where nothing is returned, or where another part answers.
    fn change(&self, ask: &Ask<'_>, state: &mut State) -> Result<Option<Value>, Refusal> {
        let requester = || ask.requester(state.identify(ask.authorization()));
        match self {
            Route::Connect
            | Route::Submit
            | Route::Events { .. }
            | Route::Channel(_)
            | Route::OauthRedirect
            | Route::OauthAuthorize
            | Route::Health => Ok(None),
            Route::List(name) => state.list(name, &requester()).map(Some),
            Route::View(name, id) => state.view(name, id, &requester()).map(Some),
            Route::Create(name) => {
                let requester = requester();
                ask.fields().and_then(|body| state.create(name, body, &requester)).map(Some)
            }
            Route::Update(name, id) => {
                let requester = requester();
                ask.fields().and_then(|body| state.update(name, id, body, &requester)).map(Some)
            }
            Route::Delete(name, id) => {
                let requester = requester();
                state.delete(name, id, &requester).map(|()| None)
            }
            Route::AuthWithPassword(name) => state.auth_with_password(name, &ask.body).map(Some),
            Route::LogInToApp => state.log_in_to_app(&ask.body).map(Some),
            Route::AuthRefresh(name) => {
                let requester = requester();
                state.auth_refresh(name, &requester).map(Some)
            }
            Route::Batch => {
                let requester = requester();
                state.batch(&ask.body, &requester).map(Some)
            }
            Route::AuthMethods(name) => state.auth_methods(name, &ask.base()).map(Some),
            Route::AuthWithOauth2(name) => state.auth_with_oauth2(name, &ask.body).map(Some),
            Route::NoFile => Err(Refusal::new(404, "File not found.")),
            Route::Nothing => Err(Refusal::missing()),
        }
    }

    fn handle(&self, ask: &Ask<'_>, link: Arc<Link>, shared: &Arc<Shared>) -> Response<Reply> {
        match (self, shared.change(|state| self.change(ask, state))) {
            (Route::Connect, _) => {
                let outlet = shared.change(|state| state.open(ask.ip, link));
                let mut response = stream(outlet, shared, "no-store");
                let unbuffered = header::HeaderName::from_static("x-accel-buffering");
                response.headers_mut().insert(unbuffered, HeaderValue::from_static("no"));
                response
            }
            (Route::Events { collection, in_workspace }, _) => {
                let (token, filter) = (ask.token(), ask.queries().remove("filter"));
                let open = |state: &mut State| {
                    state.open_feed(collection, *in_workspace, filter, token.as_deref(), link)
                };
                match shared.change(open) {
                    Ok(outlet) => stream(outlet, shared, "no-cache"),
                    Err(refusal) => refuse(&refusal),
                }
            }
            (Route::Channel(path), _) => {
                let last_id = ask.headers.get("last-event-id").map(HeaderValue::as_bytes);
                let last_id = last_id.map(String::from_utf8_lossy);
                let open = |state: &mut State| state.open_channel(path, last_id.as_deref(), link);
                stream(shared.change(open), shared, "no-cache")
            }
            (Route::OauthRedirect, _) => {
                redirect(shared.change(|state| state.oauth2_redirect(&ask.queries())))
            }
            (Route::OauthAuthorize, _) => {
                match shared.change(|state| state.oauth2_authorize(&ask.queries())) {
                    Ok(location) => redirect(&location),
                    Err(refusal) => refuse(&refusal),
                }
            }
            (Route::Health, _) => json(r#"{"message":"API is healthy.","code":200,"data":{}}"#.into()),
            (_, Ok(Some(value))) => json(value.to_string()),
            (_, Ok(None)) => status(StatusCode::NO_CONTENT),
            (_, Err(refusal)) => refuse(&refusal),
        }
    }
}

fn stream(outlet: u64, shared: &Arc<Shared>, cache: &'static str) -> Response<Reply> {
    let mut response = Response::new(Reply::Stream(Stream::new(shared.clone(), outlet)));
    for (name, value) in [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, cache)] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn submit(ask: &Ask<'_>, shared: &Arc<Shared>) -> Response<Reply> {
    let (window, result) = shared.change(|state| {
        let result = state.submit(ask.content_type(), &ask.body, ask.authorization(), ask.ip);
        (state.faults.replacement, result)
    });
    if let Ok(Some(_)) = &result {
        Timer::after(window).await;
    }
    let answered = if let Err(refusal) = &result { refusal.status } else { 204 };
    shared.change(|state| {
        if let Ok(Some(replacement)) = &result {
            state.set_topics(replacement);
        }
        state.log_submit(ask.submit(answered));
    });
    match result {
        Ok(_) => status(StatusCode::NO_CONTENT),
        Err(refusal) => refuse(&refusal),
    }
}

/// One request, its body read.
struct Ask<'a> {
    headers: &'a HeaderMap,
    query: Option<&'a str>,
    body: Bytes,
    ip: IpAddr,
}

impl Ask<'_> {
    fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn content_type(&self) -> Option<&str> {
        self.header(header::CONTENT_TYPE)
    }

    fn authorization(&self) -> Option<&str> {
        self.header(header::AUTHORIZATION)
    }

    /// The hub's URL, as who asks knows it.
    fn base(&self) -> String {
        format!("http://{}", self.header(header::HOST).unwrap_or_default())
    }

    fn queries(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(self.query.unwrap_or_default().as_bytes()).into_owned().collect()
    }

    /// The token of a RustBaaS request: the header's, else the query's.
    fn token(&self) -> Option<String> {
        let bearer = self.authorization().and_then(|value| value.strip_prefix("Bearer "));
        bearer.map(str::to_owned).or_else(|| self.queries().remove("access_token"))
    }

    fn requester(&self, identity: Option<super::auth::Identity>) -> Requester {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Requester {
            superuser: identity.as_ref().is_some_and(|(collection, _)| collection == SUPERUSERS),
            identity,
            query: self.queries(),
            headers: self.headers.iter().map(|(n, v)| (snake_case(n.as_str()), text(v))).collect(),
        }
    }

    /// The body as the fields of a record.
    fn fields(&self) -> Result<Map<String, Value>, Refusal> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        let media_type = self.content_type().unwrap_or_default().split(';').next();
        if media_type.map(str::trim) != Some("application/json") {
            return Err(Refusal::new(400, "Unsupported Content-Type."));
        }
        let mut values = serde_json::Deserializer::from_slice(&self.body).into_iter();
        match values.next() {
            Some(Ok(Value::Object(fields))) => Ok(fields),
            Some(Ok(Value::Null)) => Ok(Map::new()),
            _ => Err(Refusal::vague()),
        }
    }

    /// The request as a submit that was answered with this status.
    fn submit(&self, status: u16) -> super::state::Submit {
        read_submit(self.content_type(), &self.body, self.authorization(), status)
    }
}

/// The body of a response.
enum Reply {
    Full(Full<Bytes>),
    Stream(Stream),
    /// Another body in a wrapping that is gone once it has been closed.
    Gzipped(Box<Reply>, Option<Gzip>),
}

impl Reply {
    fn full(body: impl Into<Bytes>) -> Self {
        Reply::Full(Full::new(body.into()))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Reply::Full(full) => Pin::new(full).poll_frame(cx),
            Reply::Stream(stream) => Pin::new(stream).poll_frame(cx),
            Reply::Gzipped(body, gzip) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                let bytes = match frame.and_then(Result::ok).and_then(|frame| frame.into_data().ok()) {
                    Some(bytes) => gzip.as_mut().map(|gzip| gzip.wrap(&bytes)),
                    None => gzip.take().map(Gzip::finish),
                };
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Reply::Full(full) => full.is_end_stream(),
            Reply::Stream(_) | Reply::Gzipped(..) => false,
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Reply::Full(full) => full.size_hint(),
            Reply::Stream(_) | Reply::Gzipped(..) => hyper::body::SizeHint::new(),
        }
    }
}

fn status(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply::full(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn redirect(location: &str) -> Response<Reply> {
    let mut response = status(StatusCode::TEMPORARY_REDIRECT);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn json(body: String) -> Response<Reply> {
    let mut response = Response::new(Reply::full(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn refuse(refusal: &Refusal) -> Response<Reply> {
    let mut response = json(refusal.body().to_string());
    *response.status_mut() =
        StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Listens on 127.0.0.1.
pub(super) fn listen(port: u16) -> io::Result<Async<TcpListener>> {
    Async::<TcpListener>::bind(([127, 0, 0, 1], port))
}
