//! What the handles of a client and its driver share.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard,
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
    Error,
    delivery::{batches::Batches, callbacks::Callbacks, mailbox::Mailbox, notices::Notices},
    driver::account::{Account, TokenProvider},
    driver::path::below,
    engine::{Engine, Limits, dialect::Dialect, identity::Token},
    http::{self, HttpClient},
    lock::lock,
    rt::Runtime,
};

pub(crate) type ClientEngine = Engine<Arc<Mailbox>>;

/// I/O that a host asked for and the driver does.
pub(crate) type Job = BoxFuture<'static, ()>;

/// Requests queued for the driver. When the queue is full, a caller waits for room.
const JOBS: usize = 256;

/// Views that wait for the driver to begin with them. It takes all of them whenever it runs.
const VIEWS: usize = 4_096;

pub(crate) struct Shared {
    engine: Mutex<ClientEngine>,
    /// The driver's.
    pub(crate) waker: AtomicWaker,
    pub(crate) dialect: Arc<dyn Dialect>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) http: HttpClient,
    /// Without user and password: what is built from it may be shown, and sent to others.
    pub(crate) base: Url,
    /// What the client is called where several are: in the log and in `Debug`.
    pub(crate) name: Arc<str>,
    /// Sent with every request; also the user and the password of the URL, unless the host gave an `Authorization`.
    pub(crate) headers: HeaderMap,
    pub(crate) limits: Limits,
    pub(crate) callbacks: Arc<Callbacks>,
    pub(crate) jobs: (async_channel::Sender<Job>, async_channel::Receiver<Job>),
    /// The I/O of views, which goes on for as long as they live.
    pub(crate) views: (async_channel::Sender<Job>, async_channel::Receiver<Job>),
    pub(crate) notices: Notices,
    pub(crate) account: Account,
    /// The driver has closed everything.
    finished: AtomicBool,
    finish: Notification,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The settings that requests and subscriptions need.
pub(crate) struct Settings {
    pub(crate) name: Arc<str>,
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
        let Settings { name, base, headers, limits, provider, batches } = settings;
        let callbacks = Callbacks::new();
        Arc::new(Self {
            engine: Mutex::new(engine),
            waker: AtomicWaker::new(),
            dialect,
            runtime,
            http,
            base,
            name,
            headers,
            limits,
            notices: Notices::new(callbacks.clone(), batches),
            callbacks,
            account: Account::new(provider),
            jobs: async_channel::bounded(JOBS),
            views: async_channel::bounded(VIEWS),
            finished: AtomicBool::new(false),
            finish: Notification::new(),
            thread: Mutex::default(),
        })
    }

    pub(crate) fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// The engine, for a call of the host: afterwards the driver is woken to carry out its outputs.
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
        request.shares = true;
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

    /// `path`, which may have a query, below the base URL.
    pub(crate) fn url(&self, path: &str) -> Result<Url, Error> {
        below(&self.base, path)
    }

    /// Runs a job that lasts, beside the requests and not counted among them.
    pub(crate) fn begin(&self, job: Job) -> Result<(), Error> {
        match self.views.0.try_send(job) {
            Ok(()) => self.waker.wake(),
            Err(async_channel::TrySendError::Closed(_)) => return Err(Error::Closed),
            Err(async_channel::TrySendError::Full(_)) => {
                let reason = format!("{VIEWS} are waiting for the driver; start some, and then more");
                return Err(Error::unsupported("starting more views", reason));
            }
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        self.notices.close_batches();
        self.engine().close();
        self.callbacks.close();
        self.jobs.0.close();
        self.views.0.close();
    }

    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub(crate) fn set_thread(&self, thread: JoinHandle<()>) {
        *lock(&self.thread) = Some(thread);
    }

    /// The driver has closed everything.
    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::SeqCst);
        self.notices.states.close();
        self.account.tokens.close();
        self.finish.notify(usize::MAX);
    }

    /// Waits until no socket of this client is left, and no thread except one that is running the host's code.
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
        self.notices.drop_handlers();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .field("host", &self.base.host_str())
            .finish_non_exhaustive()
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

/// The engine, locked. When the lock is released, waiters are woken, without the lock: waking, and dropping what belongs to
/// the host, may run the host's code.
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
