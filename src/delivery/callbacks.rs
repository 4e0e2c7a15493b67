//! The thread that runs the host's callbacks, one at a time, so that a slow one never stalls the socket.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{delivery::mailbox::Mailbox, lock::lock};

/// A call that is not for a subscription, such as `on_disconnect`.
type Call = Box<dyn FnOnce() + Send>;

/// Calls that may wait. More than that means a host that is stuck while the network flaps; the oldest go.
const CALLS: usize = 1024;

/// How long one listener's turn is. Its last event may take longer; a quick callback makes many calls in that time, and
/// so is not held to the pace of a slow one.
const TURN: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(crate) struct Callbacks {
    inner: Mutex<Inner>,
    work: Condvar,
    panics: AtomicU64,
}

#[derive(Default)]
struct Inner {
    /// Mailboxes with something to do, each at most once, so that a listener with a backlog and a slow callback
    /// leaves room for the others.
    line: VecDeque<Arc<Mailbox>>,
    calls: VecDeque<Call>,
    thread: Option<JoinHandle<()>>,
    /// Code of the host is running.
    busy: bool,
    closed: bool,
}

impl Callbacks {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Starts the thread, if it is not running yet.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let mut inner = self.lock();
        if inner.thread.is_none() && !inner.closed {
            let own = self.clone();
            inner.thread = Some(crate::thread::spawn("tidings-callbacks", move || own.run())?);
        }
        Ok(())
    }

    pub(crate) fn line_up(&self, mailbox: Arc<Mailbox>) {
        let mut inner = self.lock();
        if inner.closed {
            // The callback is dropped with the last reference, and not under this lock.
            drop(inner);
            drop(mailbox.take_turn());
            return;
        }
        inner.line.push_back(mailbox);
        drop(inner);
        self.work.notify_one();
    }

    pub(crate) fn call(&self, call: impl FnOnce() + Send + 'static) {
        let mut inner = self.lock();
        let dropped = if inner.calls.len() >= CALLS { inner.calls.pop_front() } else { None };
        if !inner.closed {
            inner.calls.push_back(Box::new(call));
        }
        drop(inner);
        drop(dropped);
        self.work.notify_one();
    }

    /// The same for one who waits until it is done: who waits on the callback thread would wait for ever.
    pub(crate) fn call_for_waiter(&self, call: impl FnOnce() + Send + 'static) {
        let here = thread::current().id();
        let is_own = self.lock().thread.as_ref().is_some_and(|handle| handle.thread().id() == here);
        if is_own { self.guard(call) } else { self.call(call) }
    }

    /// Lets the thread end after the callback that runs now, if one does.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    /// Waits for the thread to end, unless it is the caller's own or busy with code of the host: that ends when
    /// the host's code does, and waiting for it here could be for ever.
    pub(crate) fn join(&self) {
        let mut inner = self.lock();
        if !inner.busy
            && inner.thread.as_ref().is_some_and(|handle| handle.thread().id() != thread::current().id())
            && let Some(handle) = inner.thread.take()
        {
            drop(inner);
            let _ = handle.join();
        }
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    fn run(self: Arc<Self>) {
        let mut inner = self.lock();
        loop {
            if inner.closed {
                break;
            }
            if let Some(call) = inner.calls.pop_front() {
                inner.busy = true;
                drop(inner);
                self.guard(call);
            } else if let Some(mailbox) = inner.line.pop_front() {
                inner.busy = true;
                drop(inner);
                self.serve(mailbox);
            } else {
                inner = self.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            inner = self.lock();
            inner.busy = false;
        }
        let (line, calls) = (std::mem::take(&mut inner.line), std::mem::take(&mut inner.calls));
        inner.busy = !line.is_empty() || !calls.is_empty();
        drop(inner);
        // What these own is the host's, and so is the code that dropping it runs.
        self.guard(move || drop(calls));
        for mailbox in line {
            self.guard(|| drop(mailbox.take_turn()));
        }
        self.lock().busy = false;
    }

    /// One turn of one mailbox.
    fn serve(&self, mailbox: Arc<Mailbox>) {
        let began = Instant::now();
        while let Some((event, mut callback)) = mailbox.take_turn() {
            self.guard(|| callback(event));
            mailbox.end_turn(callback);
            let mut inner = self.lock();
            if inner.closed || !inner.calls.is_empty() || began.elapsed() >= TURN {
                inner.line.push_back(mailbox);
                return;
            }
        }
    }

    fn guard(&self, call: impl FnOnce()) {
        // The panic hook has printed the message; here it is counted, and the others go on.
        if catch_unwind(AssertUnwindSafe(call)).is_err() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").field("waiting", &self.lock().line.len()).finish_non_exhaustive()
    }
}
