//! Lets a conformance suite drive an `EventSource` from outside, over HTTP.
//!
//! `cargo run --example sse_service -- 8000` listens on that port of every address (or on the one in `PORT`, or on
//! 8000; 0 takes a free one) and prints `listening on http://…`. It speaks the protocol of the contract tests that
//! LaunchDarkly runs against its clients (github.com/launchdarkly/sse-contract-tests):
//!
//! | request | what it does |
//! |---|---|
//! | `GET /` | 200 and `{"name", "capabilities": […]}`, the optional features that may be tested |
//! | `POST /` | opens a stream; 201 with its address in `Location`, or 400 |
//! | `POST /streams/N` | `{"command": "restart"}` drops the connection and connects again; `{"command": "listen", "listen": {"type": "…"}}` is accepted, as all types are reported anyway; 202, 400 or 404 |
//! | `DELETE /streams/N` | closes the stream; 204 or 404 |
//! | `DELETE /` | ends the program; 204 |
//!
//! A stream is opened with a JSON object of `streamUrl` (or `url`), `callbackUrl`, and, all optional, `tag` (shown in
//! the log), `initialDelayMs` (the reconnection time), `readTimeoutMs`, `lastEventId`, `headers` (names and values),
//! `method` and `body`.
//!
//! What the stream brings is posted to `callbackUrl/1`, `callbackUrl/2` and so on, in order, as one of
//!
//! ```json
//! {"kind": "event", "event": {"type": "message", "data": "…", "id": "…"}}
//! {"kind": "comment", "comment": "…"}
//! {"kind": "error", "error": "…"}
//! ```
//!
//! An error is reported whenever a stream ends, breaks or is refused, but not for a restart.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    pin::Pin,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite, StreamExt};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use serde::Deserialize;
use serde_json::{Value, json};
use smol::{
    channel,
    future::or,
    net::{TcpListener, TcpStream},
};
use tidings::{Client, Error, EventSource, SourceEvent, SourceHandle, rt};

/// By the names that the published suite knows.
const CAPABILITIES: [&str; 12] = [
    "bom",
    "comments",
    "cr-only",
    "empty-or-missing-location",
    "headers",
    "last-event-id",
    "payload-size-stress-testable",
    "post",
    "read-timeout",
    "report",
    "restart",
    "server-directed-shutdown-request",
];

/// The largest request, in bytes.
const REQUEST_LIMIT: usize = 64 << 20;

#[derive(Default)]
struct Service {
    streams: Mutex<HashMap<u64, SourceHandle>>,
    last_stream: AtomicU64,
    quitting: AtomicBool,
}

/// What `POST /` asks for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    #[serde(alias = "url")]
    stream_url: String,
    callback_url: String,
    #[serde(default)]
    tag: String,
    initial_delay_ms: Option<u64>,
    read_timeout_ms: Option<u64>,
    last_event_id: Option<String>,
    #[serde(default)]
    headers: HashMap<String, String>,
    method: Option<String>,
    body: Option<String>,
}

#[derive(Deserialize)]
struct Command {
    command: String,
}

type Answer = Response<Full<Bytes>>;

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, REQUEST_LIMIT).collect().await.map(|body| body.to_bytes()) else {
            return answer(StatusCode::BAD_REQUEST, "the body is too large or broken");
        };
        let path = head.uri.path();
        let stream = path.strip_prefix("/streams/").and_then(|number| number.parse().ok());
        match (head.method, path, stream) {
            (Method::GET, "/", _) => {
                let about = json!({"name": "tidings", "capabilities": CAPABILITIES});
                answer(StatusCode::OK, about.to_string())
            }
            (Method::POST, "/", _) => match self.open(&body) {
                Ok(number) => {
                    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
                    let location = format!("http://{}/streams/{number}", host.unwrap_or_default());
                    let mut answer = answer(StatusCode::CREATED, "");
                    answer
                        .headers_mut()
                        .insert(header::LOCATION, location.parse().expect("a host and a number"));
                    answer
                }
                Err(why) => answer(StatusCode::BAD_REQUEST, why),
            },
            (Method::DELETE, "/", _) => {
                self.quitting.store(true, Ordering::Relaxed);
                let mut answer = answer(StatusCode::NO_CONTENT, "");
                answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
                answer
            }
            (Method::POST, _, Some(number)) => {
                let handle = self.streams.lock().unwrap().get(&number).cloned();
                let command = serde_json::from_slice::<Command>(&body).map(|command| command.command);
                match (handle, command.as_deref()) {
                    (None, _) => answer(StatusCode::NOT_FOUND, "no such stream"),
                    (Some(_), Ok("listen")) => answer(StatusCode::ACCEPTED, ""),
                    (Some(handle), Ok("restart")) => {
                        handle.restart();
                        answer(StatusCode::ACCEPTED, "")
                    }
                    _ => answer(StatusCode::BAD_REQUEST, "no such command"),
                }
            }
            (Method::DELETE, _, Some(number)) => match self.streams.lock().unwrap().remove(&number) {
                Some(handle) => {
                    handle.close();
                    answer(StatusCode::NO_CONTENT, "")
                }
                None => answer(StatusCode::NOT_FOUND, "no such stream"),
            },
            _ => answer(StatusCode::NOT_FOUND, "no such place"),
        }
    }

    /// Opens a stream, and returns its number.
    fn open(&self, body: &[u8]) -> Result<u64, String> {
        let wanted: Wanted = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        // The suite wants every method to reconnect, with its body.
        let mut builder = EventSource::builder(&wanted.stream_url).comments(true).reconnect(true);
        for (name, value) in &wanted.headers {
            builder = builder.header(name, value);
        }
        if let Some(method) = &wanted.method {
            builder = builder.method(method);
        }
        if let Some(body) = &wanted.body {
            builder = builder.body(body.as_bytes());
        }
        if let Some(id) = &wanted.last_event_id {
            builder = builder.last_event_id(id);
        }
        if let Some(delay) = wanted.initial_delay_ms {
            builder = builder.retry(Duration::from_millis(delay));
        }
        if let Some(timeout) = wanted.read_timeout_ms {
            builder = builder.read_timeout(Duration::from_millis(timeout));
        }
        let source = builder.build().map_err(|error| error.to_string())?;
        let callbacks = Callbacks::new(&wanted).map_err(|error| error.to_string())?;

        let number = self.last_stream.fetch_add(1, Ordering::Relaxed) + 1;
        self.streams.lock().unwrap().insert(number, source.handle());
        eprintln!("stream {number}: {}", wanted.tag);
        smol::spawn(report(source, callbacks)).detach();
        Ok(number)
    }
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
}

/// Posts all that a source brings.
async fn report(mut source: EventSource, mut callbacks: Callbacks) {
    while let Some(item) = source.next().await {
        let error = match item {
            SourceEvent::Message(message) => {
                let event = json!({"type": message.event(), "data": message.data(), "id": message.id()});
                callbacks.post(json!({"kind": "event", "event": event})).await;
                continue;
            }
            SourceEvent::Comment(comment) => {
                callbacks.post(json!({"kind": "comment", "comment": comment})).await;
                continue;
            }
            SourceEvent::TooLarge { limit } => format!("a message was larger than {limit} bytes"),
            SourceEvent::Disconnected { why, .. } => why.to_string(),
            SourceEvent::Closed { why: Some(why) } => why.to_string(),
            _ => continue,
        };
        callbacks.post(json!({"kind": "error", "error": error})).await;
    }
}

struct Callbacks {
    client: Client,
    posted: u64,
}

impl Callbacks {
    fn new(wanted: &Wanted) -> Result<Self, Error> {
        let (client, driver) = Client::builder(&wanted.callback_url).connect_with(rt::AsyncIo)?;
        smol::spawn(driver).detach();
        Ok(Self { client, posted: 0 })
    }

    async fn post(&mut self, message: Value) {
        self.posted += 1;
        if let Err(error) = self.client.send("POST", &format!("/{}", self.posted), message).await {
            eprintln!("callback {}: {error}", self.posted);
        }
    }
}

/// A socket for hyper.
struct Io {
    socket: TcpStream,
    read: Box<[u8]>,
}

impl hyper::rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { socket, read } = &mut *self;
        let wanted = cursor.remaining().min(read.len());
        let count = ready!(Pin::new(socket).poll_read(cx, &mut read[..wanted]))?;
        cursor.put_slice(&read[..count]);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

/// Serves until somebody asks it to quit.
async fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    println!("listening on http://127.0.0.1:{}", listener.local_addr()?.port());
    let service = Arc::new(Service::default());
    let (quit, quits) = channel::bounded::<()>(1);
    let accept = async {
        loop {
            let (socket, _) = listener.accept().await?;
            let (service, quit) = (service.clone(), quit.clone());
            smol::spawn(async move {
                let io = Io { socket, read: vec![0; 64 << 10].into() };
                let answers =
                    service_fn(|request| async { Ok::<_, Infallible>(service.answer(request).await) });
                // A client that goes away is no matter of ours.
                _ = http1::Builder::new().serve_connection(io, answers).await;
                // Only now is the answer to whoever asked on its way.
                if service.quitting.load(Ordering::Relaxed) {
                    _ = quit.try_send(());
                }
            })
            .detach();
        }
    };
    let quits = async {
        _ = quits.recv().await;
        Ok(())
    };
    or(quits, accept).await
}

fn main() -> ExitCode {
    let port = std::env::args().nth(1).or_else(|| std::env::var("PORT").ok());
    let Ok(port) = port.as_deref().unwrap_or("8000").parse() else {
        eprintln!("usage: sse_service [PORT]");
        return ExitCode::FAILURE;
    };
    match smol::block_on(serve(port)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}
