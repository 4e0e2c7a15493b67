//! One thread for the I/O of many: the event sources of a host that has no executor.
//!
//! It begins with the first of them and ends with the last. A forked child, in which it does not exist, has its own.

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::pin,
    process,
    sync::{
        Arc, Condvar, Mutex, TryLockError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    thread::{self, JoinHandle},
};

use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{FusedStream, FuturesUnordered},
};

use super::background;
use crate::{Error, lock::lock, rt::Runtime};

type Job = BoxFuture<'static, ()>;

/// The thread, while somebody has a seat.
struct Common {
    runtime: Arc<dyn Runtime>,
    jobs: async_channel::Sender<Job>,
    thread: JoinHandle<()>,
}

/// The process whose thread it is, and the thread.
static COMMON: Mutex<(u32, Weak<Common>)> = Mutex::new((0, Weak::new()));

/// The process that locked it last. In a child that was forked meanwhile it stays locked.
static HOLDER: AtomicU32 = AtomicU32::new(0);

/// A place on the thread, for one future. Dropping it lets the future go on to its end.
pub(crate) struct Seat {
    common: Arc<Common>,
    done: Arc<Done>,
}

impl Seat {
    /// # Errors
    /// When the system gives no thread, or none of what a runtime needs.
    pub(crate) fn take() -> Result<Self, Error> {
        let own = process::id();
        let mut current = match COMMON.try_lock() {
            Err(TryLockError::WouldBlock) if HOLDER.load(Ordering::Relaxed) != own => {
                return Ok(Self::at(Arc::new(Common::start()?)));
            }
            Err(TryLockError::WouldBlock) => lock(&COMMON),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Ok(current) => current,
        };
        HOLDER.store(own, Ordering::Relaxed);
        let common = match current.1.upgrade().filter(|_| current.0 == own) {
            Some(common) => common,
            None => Arc::new(Common::start()?),
        };
        *current = (own, Arc::downgrade(&common));
        Ok(Self::at(common))
    }

    fn at(common: Arc<Common>) -> Self {
        Self { common, done: Arc::default() }
    }

    /// What the future is to use for its I/O.
    pub(crate) fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::clone(&self.common.runtime)
    }

    /// Runs the future. A panic in it ends it alone.
    pub(crate) fn run(&self, future: impl Future<Output = ()> + Send + 'static) {
        let ends = Ends(Arc::clone(&self.done));
        let job = Box::pin(async move {
            // Last, when the future is dropped.
            let _ends = ends;
            _ = AssertUnwindSafe(future).catch_unwind().await;
        });
        // The thread takes jobs as long as somebody has a seat.
        _ = self.common.jobs.try_send(job);
    }

    /// Waits until the future has ended and is dropped; and the thread too, if that was the last one. On the thread
    /// itself, it does not wait.
    pub(crate) fn leave(self) {
        if self.common.thread.thread().id() == thread::current().id() {
            return;
        }
        let mut is_done = lock(&self.done.0);
        while !*is_done {
            is_done = self.done.1.wait(is_done).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        drop(is_done);
        if let Some(Common { jobs, thread, .. }) = Arc::into_inner(self.common) {
            drop(jobs);
            // It has finished but for its last few instructions.
            _ = thread.join();
        }
    }
}

#[derive(Default)]
struct Done(Mutex<bool>, Condvar);

/// Says so when it is dropped, whatever the reason.
struct Ends(Arc<Done>);

impl Drop for Ends {
    fn drop(&mut self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }
}

impl Common {
    fn start() -> Result<Self, Error> {
        let (runtime, block_on) = background::own_runtime()?;
        let (jobs, taken) = async_channel::unbounded();
        let thread = background::spawn(move || block_on(Box::pin(work(taken))))?;
        Ok(Self { runtime, jobs, thread })
    }
}

/// Runs the jobs until there is none and nobody can bring one.
async fn work(jobs: async_channel::Receiver<Job>) {
    let mut jobs = pin!(jobs);
    let mut running = FuturesUnordered::new();
    poll_fn(|cx| {
        while let Poll::Ready(Some(job)) = jobs.poll_next_unpin(cx) {
            running.push(job);
        }
        while let Poll::Ready(Some(())) = running.poll_next_unpin(cx) {}
        if running.is_empty() && jobs.is_terminated() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
