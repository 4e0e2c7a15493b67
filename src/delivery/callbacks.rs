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

/// Something besides a mailbox that calls the host in turn with the others: the reader of a view. It is in the queue at most
/// once.
pub(crate) trait Turns: Send + Sync {
    /// Calls the host once, if there is something for it.
    fn take_turn(self: Arc<Self>);
    /// Drops what belongs to the host: it is not called any more.
    fn end(&self);
}

/// Who has a turn.
enum Ready {
    Mailbox(Arc<Mailbox>),
    Turns(Arc<dyn Turns>),
}

impl Ready {
    /// There are no turns any more. Dropping what belongs to the host may run its code.
    fn end(self) {
        match self {
            Self::Mailbox(mailbox) => drop(mailbox.take_turn()),
            Self::Turns(turns) => turns.end(),
        }
    }
}

/// How many calls may be queued. More means that the host is stuck while the network flaps; the oldest are dropped.
const CALLS: usize = 1024;

/// The turn of one listener. Its last event may take longer. A fast callback runs many times in one turn, so a slow one does
/// not slow it down to one event a round.
const TURN: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(crate) struct Callbacks {
    inner: Mutex<Inner>,
    work: Condvar,
    panics: AtomicU64,
}

#[derive(Default)]
struct Inner {
    /// Those with events, each at most once, so that a listener with a backlog and a slow callback does not starve the
    /// others.
    ready: VecDeque<Ready>,
    calls: VecDeque<Call>,
    thread: Option<JoinHandle<()>>,
    /// Code of the host is running.
    busy: bool,
    /// The thread waits for something to do, and has to be woken; otherwise it looks again by itself.
    waits: bool,
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

    pub(crate) fn enqueue(&self, mailbox: Arc<Mailbox>) {
        self.enqueue_ready(Ready::Mailbox(mailbox));
    }

    pub(crate) fn enqueue_turns(&self, turns: Arc<dyn Turns>) {
        self.enqueue_ready(Ready::Turns(turns));
    }

    fn enqueue_ready(&self, ready: Ready) {
        let mut inner = self.lock();
        if inner.closed {
            // The callback is dropped with the last reference, and not under this lock.
            drop(inner);
            return ready.end();
        }
        inner.ready.push_back(ready);
        self.wake(inner);
    }

    fn wake(&self, mut inner: MutexGuard<'_, Inner>) {
        let waits = std::mem::replace(&mut inner.waits, false);
        drop(inner);
        if waits {
            // A system call, whether somebody waits or not.
            self.work.notify_one();
        }
    }

    pub(crate) fn call(&self, call: impl FnOnce() + Send + 'static) {
        let mut inner = self.lock();
        let dropped = if inner.calls.len() >= CALLS { inner.calls.pop_front() } else { None };
        if !inner.closed {
            inner.calls.push_back(Box::new(call));
        }
        self.wake(inner);
        drop(dropped);
    }

    /// The same for a caller that waits for the result: on the callback thread itself it runs at once, since waiting there
    /// would never end.
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

    /// Waits for the thread to end, unless it is the caller's own or is running code of the host, which may never return.
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
            } else if let Some(ready) = inner.ready.pop_front() {
                inner.busy = true;
                drop(inner);
                match ready {
                    Ready::Mailbox(mailbox) => self.serve(mailbox),
                    Ready::Turns(turns) => self.guard(|| turns.take_turn()),
                }
            } else {
                inner.waits = true;
                inner = self.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            inner = self.lock();
            inner.busy = false;
        }
        let (ready, calls) = (std::mem::take(&mut inner.ready), std::mem::take(&mut inner.calls));
        inner.busy = !ready.is_empty() || !calls.is_empty();
        drop(inner);
        // They belong to the host: dropping them may run its code.
        self.guard(move || drop(calls));
        for one in ready {
            self.guard(|| one.end());
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
                inner.ready.push_back(Ready::Mailbox(mailbox));
                return;
            }
        }
    }

    fn guard(&self, call: impl FnOnce()) {
        // The panic hook has printed the message. Count it, and go on with the others.
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
        f.debug_struct("Callbacks").field("waiting", &self.lock().ready.len()).finish_non_exhaustive()
    }
}
