//! A subscription that is read by itself.

use std::{
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    task::Poll,
    time::Duration,
};

use pyo3::prelude::*;
use tidings::{Error, blocking};

use crate::{error::raise, event::Event, wait};

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct Subscription {
    id: u64,
    /// Locked only by who does not hold the interpreter while it waits for the lock.
    reader: Mutex<Reader>,
}

struct Reader {
    subscription: blocking::Subscription,
    /// What `take` gives; `None` in it means that nothing more comes.
    next: Option<Option<tidings::Event>>,
}

impl Subscription {
    pub(crate) fn new(subscription: blocking::Subscription) -> PyResult<Self> {
        let id = subscription.id().map_err(raise)?;
        Ok(Self { id, reader: Mutex::new(Reader { subscription, next: None }) })
    }

    fn lock(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    fn is_ready(
        &mut self,
        next: impl FnOnce(&mut blocking::Subscription) -> Result<Poll<Option<tidings::Event>>, Error>,
    ) -> Result<bool, Error> {
        if self.next.is_none()
            && let Poll::Ready(event) = next(&mut self.subscription)?
        {
            self.next = Some(event);
        }
        Ok(self.next.is_some())
    }
}

#[pymethods]
impl Subscription {
    #[getter]
    fn id(&self) -> u64 {
        self.id
    }

    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        wait(py, timeout, |limit| {
            let mut reader = match self.reader.try_lock() {
                Ok(reader) => reader,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // Another thread reads.
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(limit.min(Duration::from_millis(1)));
                    return Ok(false);
                }
            };
            reader.is_ready(|subscription| subscription.next(Some(limit)))
        })
    }

    fn poll(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        let poll = || self.lock().is_ready(|subscription| subscription.poll_queued(number));
        py.detach(poll).map_err(raise)
    }

    fn take(&self, py: Python<'_>) -> Option<Event> {
        py.detach(|| self.lock().next.take().flatten()).map(Event::new)
    }
}
