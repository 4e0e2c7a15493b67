//! Whether this is still the process that made something.

use std::{fmt, process};

use crate::Error;

/// A value that only the process that made it may touch. In a forked child its locks may stay locked indefinitely and its
/// threads are gone, so it is not even dropped there.
pub(super) struct Owned<T> {
    /// Taken when dropped.
    value: Option<T>,
    process: u32,
}

impl<T> Owned<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: Some(value), process: process::id() }
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
        self.process == process::id()
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
