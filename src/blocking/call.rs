//! Waiting for a future without an executor.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use futures::{FutureExt, TryFutureExt, future::BoxFuture};

use super::process::Owned;
use crate::{Error, delivery::batches::Batches};

/// A call that takes time: [`wait`](Self::wait) for its result, with or without a limit. Dropping it cancels the call.
#[must_use = "a call does nothing until it is waited for"]
pub struct Call<T> {
    future: Owned<BoxFuture<'static, Result<T, Error>>>,
    queue: Queued,
}

impl<T> Call<T> {
    pub(super) fn new(
        batches: Arc<Batches>,
        future: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Self {
        Self { future: Owned::new(future.boxed()), queue: Queued::new(batches) }
    }

    /// Blocks this thread until the result is there.
    ///
    /// # Errors
    /// Those of the call, and [`Error::Forked`].
    pub fn wait(mut self) -> Result<T, Error> {
        loop {
            if let Some(answer) = self.wait_for(Duration::MAX) {
                return answer;
            }
        }
    }

    /// Waits for the result, at most for `limit`: then it returns `None`, and may be called again. It must not be called
    /// after it has returned the result.
    pub fn wait_for(&mut self, limit: Duration) -> Option<Result<T, Error>> {
        match self.future.get_mut() {
            Ok(future) => match wait_for(Some(limit), |cx| future.as_mut().poll(cx)) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            },
            Err(error) => Some(Err(error)),
        }
    }

    /// Converts the result.
    pub fn map<U>(self, map: impl FnOnce(T) -> U + Send + 'static) -> Call<U>
    where
        T: 'static,
    {
        Call { future: self.future.map(|future| future.map_ok(map).boxed()), queue: self.queue }
    }

    /// The answer, if it is there. Otherwise the waker of `cx` is woken when it is worth calling this again. Not to be
    /// called after the answer.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Option<Result<T, Error>> {
        match self.future.get_mut() {
            Ok(future) => match future.as_mut().poll(cx) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            },
            Err(error) => Some(Err(error)),
        }
    }

    /// For the Python bindings, whose event loop waits for the client's descriptor: returns the result if it is there.
    /// Otherwise [`Item::Woken`](super::Item::Woken) with this `number` is queued when it is worth calling again.
    #[doc(hidden)]
    pub fn poll_queued(&mut self, number: u64) -> Option<Result<T, Error>> {
        match self.future.get_mut() {
            Ok(future) => match future.as_mut().poll(&mut self.queue.context(number)) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            },
            Err(error) => Some(Err(error)),
        }
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

/// The waker that puts a number into the queue.
pub(super) struct Queued {
    batches: Arc<Batches>,
    /// One for all polls, so that it is queued at most once.
    waker: Option<(u64, Waker)>,
}

impl Queued {
    pub(super) fn new(batches: Arc<Batches>) -> Self {
        Self { batches, waker: None }
    }

    pub(super) fn context(&mut self, number: u64) -> Context<'_> {
        if self.waker.as_ref().is_none_or(|(known, _)| *known != number) {
            self.waker = Some((number, self.batches.waker(number)));
        }
        let (_, waker) = self.waker.as_ref().expect("made above");
        Context::from_waker(waker)
    }
}

/// Polls on this thread until there is a result or the time is up; with `None` it waits indefinitely.
pub(super) fn wait_for<T>(
    limit: Option<Duration>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    struct Parked(Thread);
    impl Wake for Parked {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(answer) = poll(&mut cx) {
            return Poll::Ready(answer);
        }
        match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(left) if left.is_zero() => return Poll::Pending,
            Some(left) => thread::park_timeout(left),
        }
    }
}
