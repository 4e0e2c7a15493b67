//! [`EventSource`]: any stream of server-sent events, whoever serves it.
//!
//! This module stands beside the client: it knows `http`, [`crate::sse`], [`crate::rt`] and the engine's backoff, and
//! nothing of topics or backends. `machine.rs` decides everything, without I/O; `exchange.rs` is one request up to its
//! stream; this file moves bytes and time between the two while it is polled.

use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Instant,
};

use futures::{Stream, StreamExt, task::AtomicWaker};
use hyper::{
    body::Bytes,
    header::{HeaderName, HeaderValue},
};

use crate::{
    Error, State,
    driver::alarm::Alarm,
    http::{Request, Sent},
    lock::lock,
};

mod builder;
mod event;
mod exchange;
mod machine;
mod request;

pub use builder::EventSourceBuilder;
pub use event::{Opened, Policy, SourceEvent, SourceMessage};
pub use request::SourceRequest;

use exchange::{Exchange, Terms};
use machine::{Failure, Machine, Step};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How much of a stream is decoded ahead of what the host has asked for, in bytes.
const PIECE: usize = 16 * 1024;

/// Steps that one poll may take before other tasks get their turn.
const BUDGET: usize = 64;

/// A client for any stream of server-sent events (`text/event-stream`): the `EventSource` of the WHATWG HTML standard,
/// for programs.
///
/// It is a [`Stream`] of [`SourceEvent`]s. With `GET` it keeps one connection open, and reconnects with the id of the last
/// message when it is lost, until it is closed, dropped, or asked by the server to stop. With any other method it takes
/// one answer, and repeats its request only while that is harmless: see [`reconnect`](EventSourceBuilder::reconnect). The
/// last item, [`SourceEvent::Closed`], says why there is no next.
///
/// A prompt to a language model:
///
/// ```
/// use serde_json::json;
/// use tidings::EventSource;
///
/// # async fn example() -> Result<(), tidings::Error> {
/// let prompt = json!({"stream": true, "messages": [{"role": "user", "content": "Hello"}]});
/// let mut answer = EventSource::builder("https://llm.example/v1/chat").token("s3cret").json(&prompt).build()?;
/// while let Some(message) = answer.next_message().await? {
///     println!("{}", message.data());
/// }
/// # Ok(()) }
/// ```
///
/// A feed of changes, with everything that happens to it:
///
/// ```
/// use futures::StreamExt;
/// use tidings::{EventSource, SourceEvent};
///
/// # async fn example() -> Result<(), tidings::Error> {
/// let mut source = EventSource::new("http://127.0.0.1:8090/stream")?;
/// while let Some(event) = source.next().await {
///     match event {
///         SourceEvent::Message(message) => println!("{}: {}", message.event(), message.data()),
///         SourceEvent::Disconnected { why, .. } => println!("reconnecting: {why}"),
///         SourceEvent::Closed { why: Some(why) } => println!("closed: {why}"),
///         _ => {}
///     }
/// }
/// # Ok(()) }
/// ```
///
/// # Threads and executors
/// All I/O happens while the source is polled, in the task that polls it: there is no thread, nothing is spawned, and any
/// executor will do. This also gives back-pressure: while the host does not poll, nothing is read, the socket's buffers
/// fill, and the server has to wait. No more than 16 KiB of the stream, and one message, are decoded ahead. A timeout that
/// expired while nobody polled counts only if there is nothing to be read. Host names are resolved on a thread that
/// lives as long as the lookup.
///
/// # Cancellation
/// Dropping the future of `next()` loses nothing. Dropping the source closes its socket. A [`SourceHandle`] restarts or
/// closes it from elsewhere.
///
/// # What is sent
/// `Accept: text/event-stream`, `Cache-Control: no-cache`, and what the [builder](EventSourceBuilder) was given. On a
/// reconnect also `Last-Event-ID`, if the server has sent an id that is not empty, has at most 4 KiB, and consists of
/// characters that HTTP can carry; an empty `id:` takes it back.
///
/// # What ends it
/// By default the status 204, any other status that is not 200 and that [trying again](Policy::of) will not change, a
/// content type other than `text/event-stream`, and a redirect that cannot be followed. If the source
/// [reconnects](EventSourceBuilder::reconnect), no failure of the network ends it before a
/// [limit](EventSourceBuilder::max_tries) that was set; otherwise the end of its stream does.
///
/// Redirects (301, 302, 303, 307 and 308, ten in a row) are followed; 303 turns any method into `GET`, 301 and 302 turn a
/// `POST` into one; each reconnect begins at the first URL again. To another origin, other than from `http` to `https` on
/// the same host and the default ports, a redirect is followed only if the request carries nothing that could be a secret
/// (a token, user and password, a header of yours, a query, a body), and never from `https` to `http`.
pub struct EventSource {
    machine: Machine,
    /// What each connection begins with.
    request: Request,
    terms: Arc<Terms>,
    alarm: Alarm,
    /// Read, and not decoded yet.
    chunk: Bytes,
    shared: Arc<Shared>,
}

/// Between a source and its handles.
struct Shared {
    slot: Mutex<Slot>,
    waker: AtomicWaker,
}

struct Slot {
    /// Here, and not in the source, so that closing closes the socket even if nobody polls the source. Taken out while
    /// it is polled: what is polled may wake, and whoever is woken may call a handle.
    exchange: Option<Exchange>,
    wish: Wish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    None,
    Restart,
    /// Final.
    Close,
}

impl EventSource {
    /// Creates an event source with the default settings. Nothing is connected before it is polled.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] unless the URL is an `http` or `https` URL with a host.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// Starts building an event source with other settings.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidings::EventSource;
    ///
    /// let source = EventSource::builder("https://flags.example/stream?env=production")
    ///     .method("REPORT")
    ///     .token("s3cret")
    ///     .body(r#"{"key": "user-1"}"#)
    ///     .read_timeout(Duration::from_secs(300));
    /// assert!(!format!("{source:?}").contains("s3cret"));
    /// ```
    pub fn builder(url: &str) -> EventSourceBuilder {
        EventSourceBuilder::new(url)
    }

    fn assemble(machine: Machine, request: Request, terms: Terms) -> Self {
        let slot = Mutex::new(Slot { exchange: None, wish: Wish::None });
        let shared = Arc::new(Shared { slot, waker: AtomicWaker::new() });
        Self {
            machine,
            request,
            terms: Arc::new(terms),
            alarm: Alarm::default(),
            chunk: Bytes::new(),
            shared,
        }
    }

    /// The next message, skipping changes of the connection.
    ///
    /// `None` when the source is closed or has ended. The future may be dropped and another one awaited without a loss.
    ///
    /// ```
    /// # async fn example(mut source: tidings::EventSource) -> Result<(), tidings::Error> {
    /// while let Some(message) = source.next_message().await? {
    ///     if message.data() == "[DONE]" {
    ///         break;
    ///     }
    ///     println!("{}", message.data());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What ended the source, once: see [`SourceEvent::Closed`]. And [`Error::Protocol`] for each message that was
    /// [too large](SourceEvent::TooLarge), which would otherwise be missed without notice; the next call goes on after it.
    pub async fn next_message(&mut self) -> Result<Option<SourceMessage>, Error> {
        while let Some(event) = self.next().await {
            match event {
                SourceEvent::Message(message) => return Ok(Some(message)),
                SourceEvent::Closed { why: Some(why) } => return Err(why),
                SourceEvent::TooLarge { limit } => {
                    return Err(Error::protocol(format!(
                        "a message was larger than {limit} bytes and was dropped"
                    )));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// The id that is in force after the last item that was taken. Save it, and pass it to
    /// [`last_event_id`](EventSourceBuilder::last_event_id) when the program starts again. Empty if there is none.
    pub fn last_event_id(&self) -> &str {
        self.machine.last_event_id()
    }

    /// The state of the connection as of the last poll: `Idle` before the first one, then `Connecting`, `Live`,
    /// `Waiting` or `Closed`, and never `Suspended`.
    pub fn state(&self) -> State {
        match lock(&self.shared.slot).wish {
            Wish::Close if !self.machine.state().is_closed() => State::Closed { why: None },
            _ => self.machine.state(),
        }
    }

    /// Drops the connection, if there is one, and makes the request again at once, with the id of the last message and
    /// whatever the method. What has been decoded already is still delivered. After the end it does nothing.
    pub fn restart(&self) {
        self.shared.restart();
    }

    /// Closes the source: the socket is closed at once, what has not been taken is dropped, and the stream ends with
    /// [`SourceEvent::Closed`].
    pub fn close(&self) {
        self.shared.close();
    }

    /// A handle to restart or close the source from elsewhere.
    pub fn handle(&self) -> SourceHandle {
        SourceHandle { shared: self.shared.clone() }
    }

    /// Does what the host has asked for since the last time.
    fn obey(&mut self) {
        let wish = {
            let mut slot = lock(&self.shared.slot);
            match slot.wish {
                Wish::Restart => mem::replace(&mut slot.wish, Wish::None),
                wish => wish,
            }
        };
        match wish {
            Wish::None => return,
            Wish::Restart => self.machine.restart(),
            Wish::Close => self.machine.close(),
        }
        self.chunk = Bytes::new();
    }

    fn connect(&mut self, last_event_id: Option<HeaderValue>) {
        let mut request = Request { sent: Sent::default(), ..self.request.clone() };
        if let Some(id) = last_event_id {
            request.headers.insert(LAST_EVENT_ID, id);
        }
        let exchange = Exchange::start(self.terms.clone(), request);
        self.shared.put(exchange);
    }

    /// Moves the exchange on; ready when something has changed.
    fn poll_exchange(&mut self, now: Instant, silent_at: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        // Without an exchange there is a wish that came after the last look.
        let Some(mut exchange) = lock(&self.shared.slot).exchange.take() else { return Poll::Ready(()) };
        let progress = match &mut exchange {
            Exchange::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Pending => None,
                Poll::Ready(Ok((opened, body))) => {
                    exchange = Exchange::Open(body);
                    self.machine.opened(now, opened);
                    Some(Ok(()))
                }
                Poll::Ready(Err(failure)) => Some(Err(Some(failure))),
            },
            Exchange::Open(body) => match body.poll_chunk(cx) {
                Poll::Pending => None,
                Poll::Ready(Ok(Some(chunk))) => {
                    self.machine.heard(now);
                    self.chunk = chunk;
                    Some(Ok(()))
                }
                Poll::Ready(Ok(None)) => Some(Err(None)),
                Poll::Ready(Err(error)) => Some(Err(Some(Failure::Lost(error.into())))),
            },
        };
        match progress {
            Some(Ok(())) => self.shared.put(exchange),
            Some(Err(failure)) => {
                drop(exchange);
                self.machine.ended(now, failure);
            }
            None if silent_at.is_some_and(|silent_at| now >= silent_at) => {
                drop(exchange);
                self.machine.silent(now);
            }
            None => {
                self.shared.put(exchange);
                let Some(silent_at) = silent_at else { return Poll::Pending };
                if !self.alarm.poll(&*self.terms.runtime, silent_at, cx) {
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }
}

impl Stream for EventSource {
    type Item = SourceEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SourceEvent>> {
        let this = &mut *self;
        // Before the wishes are looked at, so that none is missed.
        this.shared.waker.register(cx.waker());
        for _ in 0..BUDGET {
            this.obey();
            if let Some(item) = this.machine.take_item() {
                return Poll::Ready(Some(item));
            }
            if !this.chunk.is_empty() {
                let piece = this.chunk.split_to(this.chunk.len().min(PIECE));
                this.machine.feed(&piece);
                continue;
            }
            let now = this.terms.runtime.now();
            let waits = match this.machine.step(now) {
                Step::Connect(last_event_id) => {
                    this.connect(last_event_id);
                    false
                }
                Step::Exchange { silent_at } => this.poll_exchange(now, silent_at, cx).is_pending(),
                Step::Wait(until) => !this.alarm.poll(&*this.terms.runtime, until, cx),
                Step::End => return Poll::Ready(None),
            };
            if waits {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for EventSource {
    fn drop(&mut self) {
        // A handle may live on; the socket must not.
        self.shared.close();
    }
}

impl fmt::Debug for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSource")
            .field("request", &self.request)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Restarts or closes an [`EventSource`] from elsewhere: another thread, a signal handler's task, a callback. Cheap to
/// clone. It does not keep the source open.
///
/// ```
/// # async fn example(mut source: tidings::EventSource) -> Result<(), tidings::Error> {
/// let handle = source.handle();
/// std::thread::spawn(move || {
///     std::thread::sleep(std::time::Duration::from_secs(60));
///     handle.close();
/// });
/// while let Some(message) = source.next_message().await? {
///     println!("{}", message.data());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SourceHandle {
    shared: Arc<Shared>,
}

impl SourceHandle {
    /// See [`EventSource::restart`].
    pub fn restart(&self) {
        self.shared.restart();
    }

    /// See [`EventSource::close`]. The socket is closed by the call, whether the source is being polled or not.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether the source was closed or dropped. One that has ended for another reason is not closed until then.
    pub fn is_closed(&self) -> bool {
        lock(&self.shared.slot).wish == Wish::Close
    }
}

impl fmt::Debug for SourceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceHandle").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl Shared {
    fn restart(&self) {
        self.ask(|wish| if wish == Wish::Close { Wish::Close } else { Wish::Restart });
    }

    fn close(&self) {
        self.ask(|_| Wish::Close);
    }

    fn ask(&self, wish: impl FnOnce(Wish) -> Wish) {
        let dropped = {
            let mut slot = lock(&self.slot);
            slot.wish = wish(slot.wish);
            slot.exchange.take()
        };
        // Without the lock: a runtime of the host's may do anything when its socket is dropped.
        drop(dropped);
        self.waker.wake();
    }

    /// Keeps an exchange until the next poll, unless it is not wanted any more.
    fn put(&self, exchange: Exchange) {
        let mut slot = lock(&self.slot);
        if slot.wish == Wish::None {
            slot.exchange = Some(exchange);
        } else {
            drop(slot);
            drop(exchange);
        }
    }
}
