//! What one thread uses at a time, in the process that made it.

use std::{
    sync::{Mutex, PoisonError, TryLockError},
    time::Duration,
};

use pyo3::prelude::*;
use tidings::{Error, blocking::Process};

use crate::{
    error::raise,
    interpreter::{is_ending, let_go},
    wait,
};

/// Nobody waits for its lock with the interpreter in hand: who has the lock may be waiting for the interpreter. In a forked
/// child it is not touched, since the lock may be held by a thread that is not there.
pub(crate) struct Exclusive<T> {
    value: Mutex<T>,
    process: Process,
}

impl<T: Send> Exclusive<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), process: Process::current() }
    }

    /// Uses it, at once if nobody else does.
    pub(crate) fn with<R: Send>(
        &self,
        py: Python<'_>,
        action: impl FnOnce(&mut T) -> R + Send,
    ) -> PyResult<R> {
        self.check().map_err(raise)?;
        match self.value.try_lock() {
            Ok(mut value) => Ok(action(&mut value)),
            // Nobody holds it without the interpreter by then, but who was lost with it.
            Err(_) if is_ending() => Err(raise(Error::Closed)),
            Err(_) => {
                let wait = || action(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner));
                Ok(let_go(py, wait))
            }
        }
    }

    /// Uses it in slices until `ready` says so or the time is up.
    pub(crate) fn wait(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        mut ready: impl FnMut(&mut T, Duration) -> Result<bool, Error> + Send,
    ) -> PyResult<bool> {
        wait(py, timeout, |limit| {
            self.check()?;
            match self.value.try_lock() {
                Ok(mut value) => ready(&mut value, limit),
                Err(TryLockError::Poisoned(poisoned)) => ready(&mut poisoned.into_inner(), limit),
                Err(TryLockError::WouldBlock) => {
                    // Another thread waits for the same.
                    std::thread::sleep(limit.min(Duration::from_millis(1)));
                    Ok(false)
                }
            }
        })
    }

    fn check(&self) -> Result<(), Error> {
        if self.process == Process::current() { Ok(()) } else { Err(Error::Forked) }
    }
}
