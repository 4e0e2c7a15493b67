//! Whether this is still the process that made something.

use std::{
    fmt, process,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::Error;

/// A process, to be compared with that of a later call.
///
/// Asking the system which one it is takes a call to the kernel, and for each event that was a good part of its cost in
/// Python. A host that is told of each fork, as Python's is, tells it here instead.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

/// How many times this process and its ancestors were forked, counted from [`FIRST`]; 0 if nobody counts.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// More than any process has for a number.
const FIRST: u32 = 1 << 31;

impl Process {
    /// The one that calls.
    pub fn current() -> Self {
        match FORKS.load(Ordering::Relaxed) {
            0 => Self(process::id()),
            forks => Self(forks),
        }
    }

    /// From now on [`forked`](Self::forked) is called in each child, before anything else of this crate is. To be called
    /// before anything is made.
    pub fn count_forks() {
        let _ = FORKS.compare_exchange(0, FIRST, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// This process is a child that was forked just now.
    pub fn forked() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
}

/// A value that only the process that made it may touch. In a forked child its locks may stay locked indefinitely and its
/// threads are gone, so it is not even dropped there.
pub(super) struct Owned<T> {
    /// Taken when dropped.
    value: Option<T>,
    process: Process,
}

impl<T> Owned<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: Some(value), process: Process::current() }
    }

    pub(super) fn get(&self) -> Result<&T, Error> {
        self.value.as_ref().filter(|_| self.is_ours()).ok_or(Error::Forked)
    }

    pub(super) fn get_mut(&mut self) -> Result<&mut T, Error> {
        let is_ours = self.is_ours();
        self.value.as_mut().filter(|_| is_ours).ok_or(Error::Forked)
    }

    /// Something else made of the value, that belongs to the same process.
    pub(super) fn map<U>(mut self, map: impl FnOnce(T) -> U) -> Owned<U> {
        Owned { value: self.value.take().map(map), process: self.process }
    }

    fn is_ours(&self) -> bool {
        self.process == Process::current()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.is_ours() {
            std::mem::forget(self.value.take());
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Owned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Ok(value) => value.fmt(f),
            Err(error) => error.fmt(f),
        }
    }
}
