//! A queue that the host's own threads wait for: with a condition variable to block on, and a descriptor to poll.

use std::{
    fmt,
    sync::{Condvar, Mutex, MutexGuard},
    time::Instant,
};

#[cfg(unix)]
use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::Arc,
};

#[cfg(unix)]
use super::bell::Bell;
use crate::{Error, lock::lock};

/// What an inbox holds. Bounded by whoever puts something in.
pub(crate) trait Contents: Default {
    fn is_empty(&self) -> bool;
}

pub(crate) struct Inbox<C> {
    inner: Mutex<Inner<C>>,
    arrived: Condvar,
}

#[derive(Default)]
struct Inner<C> {
    contents: C,
    closed: bool,
    /// Threads that wait, and have to be woken: notifying is a system call, whether somebody waits or not.
    waiting: usize,
    /// Created when a host asks for it; most hosts that block do not.
    #[cfg(unix)]
    bell: Option<Arc<Bell>>,
    /// The bell is set: the descriptor is readable.
    #[cfg(unix)]
    is_rung: bool,
}

impl<C: Contents> Inbox<C> {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::default(), arrived: Condvar::new() }
    }

    /// Changes the contents and wakes a waiter. After `close`, `put` is not called.
    pub(crate) fn put(&self, put: impl FnOnce(&mut C)) {
        let mut inner = lock(&self.inner);
        if inner.closed {
            return;
        }
        put(&mut inner.contents);
        inner.show();
        let somebody_waits = inner.waiting > 0;
        drop(inner);
        if somebody_waits {
            self.arrived.notify_one();
        }
    }

    /// Reads the contents, or changes what no waiter waits for. After `close` they are empty.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&mut C) -> R) -> R {
        let mut inner = lock(&self.inner);
        let seen = look(&mut inner.contents);
        inner.show();
        seen
    }

    /// Waits until `take` returns something or the deadline has passed; without a deadline, indefinitely.
    ///
    /// # Errors
    /// [`Error::Closed`], at once, after `close`.
    pub(crate) fn take<R>(
        &self,
        deadline: Option<Instant>,
        mut take: impl FnMut(&mut C) -> Option<R>,
    ) -> Result<Option<R>, Error> {
        let mut inner = lock(&self.inner);
        loop {
            if inner.closed {
                return Err(Error::Closed);
            }
            let taken = take(&mut inner.contents);
            // Also if nothing came of what was there, such as of a listener that has been paused meanwhile: a descriptor that
            // stayed readable would not tell of what comes next.
            inner.show();
            if taken.is_some() {
                if !inner.contents.is_empty() && inner.waiting > 0 {
                    // One notification may have stood for many things.
                    self.arrived.notify_one();
                }
                return Ok(taken);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            inner.waiting += 1;
            inner = match left {
                None => self.wait(inner),
                Some(left) => self.arrived.wait_timeout(inner, left).unwrap_or_else(|e| e.into_inner()).0,
            };
            inner.waiting -= 1;
        }
    }

    /// Drops the contents and wakes all waiters. Nothing can be put afterwards.
    pub(crate) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        let contents = std::mem::take(&mut inner.contents);
        inner.show();
        #[cfg(unix)]
        {
            inner.bell = None;
        }
        drop(inner);
        // The contents may belong to the host.
        drop(contents);
        self.arrived.notify_all();
    }

    /// A descriptor that is readable exactly while [`take`](Self::take) would not wait.
    #[cfg(unix)]
    pub(crate) fn descriptor(&self) -> std::io::Result<Descriptor> {
        let mut inner = lock(&self.inner);
        if let Some(bell) = &inner.bell {
            return Ok(Descriptor(bell.clone()));
        }
        let bell = Arc::new(Bell::new()?);
        inner.is_rung = false;
        inner.bell = Some(bell.clone());
        inner.show();
        if inner.closed {
            inner.bell = None;
        }
        Ok(Descriptor(bell))
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner<C>>) -> MutexGuard<'a, Inner<C>> {
        self.arrived.wait(inner).unwrap_or_else(|e| e.into_inner())
    }
}

impl<C: Contents> Inner<C> {
    /// Makes the descriptor readable exactly if there is something to take.
    fn show(&mut self) {
        #[cfg(unix)]
        if let Some(bell) = &self.bell {
            let wanted = self.closed || !self.contents.is_empty();
            if std::mem::replace(&mut self.is_rung, wanted) != wanted {
                bell.set(wanted);
            }
        }
    }
}

/// A descriptor that is readable while there is something to take, for `poll`, `epoll`, `kqueue` or an event loop based on
/// them. Only wait for it; never read from it. It stays open as long as this value, and is readable after the client has been
/// closed.
#[cfg(unix)]
#[derive(Clone)]
pub struct Descriptor(Arc<Bell>);

#[cfg(unix)]
impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(unix)]
impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[cfg(unix)]
impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Descriptor").field(&self.as_raw_fd()).finish()
    }
}

impl<C> fmt::Debug for Inbox<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    impl Contents for Vec<u32> {
        fn is_empty(&self) -> bool {
            Vec::is_empty(self)
        }
    }

    #[test]
    fn everything_put_is_taken_once_by_whichever_thread_waits() {
        let inbox = Arc::new(Inbox::<Vec<u32>>::new());
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let inbox = inbox.clone();
                std::thread::spawn(move || {
                    let mut taken = Vec::new();
                    while let Ok(Some(n)) = inbox.take(None, Vec::pop) {
                        taken.push(n);
                    }
                    taken
                })
            })
            .collect();
        for n in 0..1000 {
            inbox.put(|contents| contents.extend([2 * n, 2 * n + 1]));
        }
        while inbox
            .take(Some(Instant::now()), |contents| (!contents.is_empty()).then_some(()))
            .unwrap()
            .is_some()
        {
            std::thread::yield_now();
        }
        inbox.close();
        let mut all: Vec<u32> = takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, Vec::from_iter(0..2000));
    }

    #[cfg(unix)]
    #[test]
    fn the_descriptor_is_readable_exactly_while_there_is_something() {
        let inbox = Inbox::<Vec<u32>>::new();
        inbox.put(|contents| contents.push(1));
        let descriptor = inbox.descriptor().unwrap();
        let is_readable = || super::super::bell::is_readable(&descriptor);
        assert!(is_readable(), "what was there before counts");
        for _ in 0..3 {
            inbox.put(|contents| contents.extend([1, 2]));
            assert!(is_readable());
            while inbox.take(Some(Instant::now()), Vec::pop).unwrap().is_some() {
                assert_eq!(is_readable(), !lock(&inbox.inner).contents.is_empty());
            }
            assert!(!is_readable());
        }
        inbox.close();
        assert!(is_readable(), "the end is not waited for");
        assert!(super::super::bell::is_readable(&inbox.descriptor().unwrap()));
        assert!(matches!(inbox.take(None, Vec::pop), Err(Error::Closed)));
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        let inbox = Inbox::<Vec<u32>>::new();
        let deadline = Instant::now() + Duration::from_millis(1);
        assert_eq!(inbox.take(Some(deadline), Vec::pop).unwrap(), None);
    }
}
