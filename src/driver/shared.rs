//! What the handles of a client and its driver have in common.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use event_listener::{Event as Notification, listener};
use futures::{future::BoxFuture, task::AtomicWaker};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use url::Url;

use crate::{
    Error, NetworkError, State,
    delivery::batches::Batches,
    delivery::callbacks::Callbacks,
    delivery::mailbox::Mailbox,
    engine::{Engine, Limits, dialect::Dialect, identity::Token},
    http::{self, HttpClient, HttpError},
    rt::Runtime,
};

pub(crate) type ClientEngine = Engine<Arc<Mailbox>>;
type DisconnectHandler = Arc<dyn Fn(&[String]) + Send + Sync>;
type StateHandler = Arc<dyn Fn(&State) + Send + Sync>;

/// Brings a token, or `None` for a guest.
pub(crate) type TokenProvider =
    Arc<dyn Fn() -> BoxFuture<'static, Result<Option<String>, Failed>> + Send + Sync>;
pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// I/O that a host asked for and the driver does.
pub(crate) type Job = BoxFuture<'static, ()>;

/// Requests that wait for the driver. A caller that finds the line full waits outside.
const JOBS: usize = 256;

/// Changes that wait for a host that watches and does not keep up; the oldest go.
const CHANGES: usize = 64;

pub(crate) struct Shared {
    engine: Mutex<ClientEngine>,
    /// The driver's.
    pub(crate) waker: AtomicWaker,
    pub(crate) dialect: Arc<dyn Dialect>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) http: HttpClient,
    pub(crate) base: Url,
    /// Sent with every request.
    pub(crate) headers: HeaderMap,
    pub(crate) limits: Limits,
    pub(crate) callbacks: Arc<Callbacks>,
    pub(crate) jobs: (async_channel::Sender<Job>, async_channel::Receiver<Job>),
    pub(crate) states: Watchers<State>,
    pub(crate) tokens: Watchers<Option<String>>,
    /// The record that came with the token.
    pub(crate) record: Mutex<Option<serde_json::Value>>,
    on_disconnect: Mutex<Option<DisconnectHandler>>,
    on_state: Mutex<Option<StateHandler>>,
    /// For a host that takes events in batches.
    pub(crate) batches: Option<Arc<Batches>>,
    pub(crate) provider: Option<TokenProvider>,
    /// The driver has let go of everything.
    finished: AtomicBool,
    finish: Notification,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a host has set and requests and subscriptions need.
pub(crate) struct Settings {
    pub(crate) base: Url,
    /// Sent with every request.
    pub(crate) headers: HeaderMap,
    pub(crate) limits: Limits,
    pub(crate) provider: Option<TokenProvider>,
    pub(crate) batches: Option<Arc<Batches>>,
}

impl Shared {
    pub(crate) fn new(
        engine: ClientEngine,
        dialect: Arc<dyn Dialect>,
        runtime: Arc<dyn Runtime>,
        http: HttpClient,
        settings: Settings,
    ) -> Arc<Self> {
        let Settings { base, headers, limits, provider, batches } = settings;
        Arc::new(Self {
            engine: Mutex::new(engine),
            waker: AtomicWaker::new(),
            dialect,
            runtime,
            http,
            base,
            headers,
            limits,
            callbacks: Callbacks::new(),
            jobs: async_channel::bounded(JOBS),
            states: Watchers::default(),
            tokens: Watchers::default(),
            record: Mutex::default(),
            on_disconnect: Mutex::default(),
            on_state: Mutex::default(),
            batches,
            provider,
            finished: AtomicBool::new(false),
            finish: Notification::new(),
            thread: Mutex::default(),
        })
    }

    pub(crate) fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// The engine, for a call of the host: the driver looks at what came of it.
    pub(crate) fn engine(&self) -> Locked<'_> {
        self.locked(true)
    }

    pub(crate) fn engine_for_driver(&self) -> Locked<'_> {
        self.locked(false)
    }

    fn locked(&self, wake_driver: bool) -> Locked<'_> {
        Locked { engine: Some(lock(&self.engine)), shared: self, wake_driver }
    }

    /// A request to `path` below the base URL, with the headers of the host and, if given, a token.
    pub(crate) fn request(
        &self,
        method: hyper::Method,
        url: Url,
        token: Option<&Token>,
        body: Option<Vec<u8>>,
    ) -> http::Request {
        let mut request = http::Request::new(method, url);
        request.headers = self.headers.clone();
        if let Some(token) = token {
            // PocketBase takes the bare token too; the scheme is what RustBaaS and proxies expect.
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.as_str()))
                .expect("a token has only characters that can stand in a header");
            value.set_sensitive(true);
            request.headers.insert(AUTHORIZATION, value);
        }
        if let Some(body) = body {
            request.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
            request.body = body.into();
        }
        request
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}/{}", self.base.path().trim_end_matches('/'), path.trim_start_matches('/')));
        url.set_query(query);
        url
    }

    pub(crate) fn set_on_disconnect(&self, handler: Option<DisconnectHandler>) -> Result<(), Error> {
        if handler.is_some() {
            self.callbacks.start().map_err(no_thread)?;
        }
        let old = std::mem::replace(&mut *lock(&self.on_disconnect), handler);
        // The host's code may run when it goes.
        drop(old);
        Ok(())
    }

    pub(crate) fn set_on_state(&self, handler: StateHandler) -> Result<(), Error> {
        self.callbacks.start().map_err(no_thread)?;
        let old = lock(&self.on_state).replace(handler);
        drop(old);
        Ok(())
    }

    pub(crate) fn tell_state(&self, state: State) {
        self.states.tell(&state);
        if let Some(batches) = &self.batches {
            batches.tell_state(&state);
        }
        let handler = lock(&self.on_state).clone();
        if let Some(handler) = handler {
            self.callbacks.call(move || handler(&state));
        }
    }

    pub(crate) fn tell_disconnected(&self, topics: Vec<Arc<str>>) {
        if let Some(batches) = &self.batches {
            batches.tell_disconnected(&topics);
        }
        let handler = lock(&self.on_disconnect).clone();
        if let Some(handler) = handler {
            let topics: Vec<String> = topics.iter().map(|topic| topic.to_string()).collect();
            self.callbacks.call(move || handler(&topics));
        }
    }

    pub(crate) fn close(&self) {
        // First, so that nobody is told of the ends of single subscriptions.
        self.batches.iter().for_each(|batches| batches.close());
        self.engine().close();
        self.callbacks.close();
        self.jobs.0.close();
    }

    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub(crate) fn set_thread(&self, thread: JoinHandle<()>) {
        *lock(&self.thread) = Some(thread);
    }

    /// The driver has let go of everything.
    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::SeqCst);
        self.states.close();
        self.tokens.close();
        self.finish.notify(usize::MAX);
    }

    /// Waits until nothing of this client is left: no socket, and no thread but one that runs the host's code.
    pub(crate) async fn closed(&self) {
        while !self.finished.load(Ordering::SeqCst) {
            listener!(self.finish => finish);
            if !self.finished.load(Ordering::SeqCst) {
                finish.await;
            }
        }
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread.filter(|handle| handle.thread().id() != thread::current().id()) {
            // It has finished but for its last few instructions.
            let _ = thread.join();
        }
        self.callbacks.join();
        // They may own what owns this client, and are not called any more.
        let handlers = (lock(&self.on_disconnect).take(), lock(&self.on_state).take());
        drop(handlers);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("host", &self.base.host_str()).finish_non_exhaustive()
    }
}

/// Closes the client when the last of its handles and subscriptions goes.
#[derive(Debug)]
pub(crate) struct Handle(pub(crate) Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Deref for Handle {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

/// The engine, locked. When it is let go, those who wait are woken, without the lock: waking and dropping what is
/// the host's may run the host's code.
pub(crate) struct Locked<'a> {
    engine: Option<MutexGuard<'a, ClientEngine>>,
    shared: &'a Shared,
    wake_driver: bool,
}

impl Deref for Locked<'_> {
    type Target = ClientEngine;

    fn deref(&self) -> &ClientEngine {
        self.engine.as_ref().expect("taken only when dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut ClientEngine {
        self.engine.as_mut().expect("taken only when dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let (woken, retired) = self.take_woken();
        drop(self.engine.take());
        for mailbox in &woken {
            mailbox.wake();
        }
        drop(retired);
        if self.wake_driver {
            self.shared.waker.wake();
        }
    }
}

/// Streams of changes to whoever watches.
#[derive(Debug)]
pub(crate) struct Watchers<T>(
    /// `None` when nothing more is told.
    Mutex<Option<Vec<async_channel::Sender<T>>>>,
);

impl<T> Default for Watchers<T> {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

impl<T: Clone> Watchers<T> {
    /// A stream that begins with `first`, asked for under the lock so that no change falls between.
    pub(crate) fn watch(&self, first: impl FnOnce() -> T) -> async_channel::Receiver<T> {
        let (sender, receiver) = async_channel::bounded(CHANGES);
        let mut senders = lock(&self.0);
        let _ = sender.try_send(first());
        if let Some(senders) = &mut *senders {
            senders.push(sender);
        }
        receiver
    }

    pub(crate) fn tell(&self, change: &T) {
        let senders = {
            let mut senders = lock(&self.0);
            let Some(senders) = &mut *senders else { return };
            senders.retain(|sender| !sender.is_closed());
            senders.clone()
        };
        for sender in senders {
            let _ = sender.force_send(change.clone());
        }
    }

    fn close(&self) {
        *lock(&self.0) = None;
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The seed of what is random in one client. Of what a forked child has in common with its parent, the number of the
/// process is what differs: without it both would draw the same delays.
pub(crate) fn seed() -> u64 {
    fastrand::u64(..) ^ u64::from(std::process::id()).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

pub(crate) fn no_thread(error: std::io::Error) -> Error {
    Error::argument("thread", format!("the system gave none: {error}"))
}

impl From<HttpError> for Error {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::InvalidUrl { place, why } => Self::InvalidUrl { url: place, reason: why },
            HttpError::Config { setting, why } => Self::argument(setting, why),
            HttpError::Timeout { what, place, after } => {
                Self::Timeout { what: format!("{what} ({place})").into(), after }
            }
            error @ HttpError::Protocol { .. } => Self::Protocol(error.to_string()),
            error => Self::Network(NetworkError::new(error)),
        }
    }
}
