//! A subscription that is read by itself.

use std::task::Poll;

use pyo3::prelude::*;
use tidings::{Error, blocking};

use crate::{error::raise, event, exclusive::Exclusive};

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct Subscription {
    id: u64,
    reader: Exclusive<Reader>,
}

struct Reader {
    subscription: blocking::Subscription,
    /// What `take` gives; `None` in it means that nothing more comes.
    next: Option<Option<tidings::Event>>,
}

impl Subscription {
    pub(crate) fn new(subscription: blocking::Subscription) -> PyResult<Self> {
        let id = subscription.id().map_err(raise)?;
        Ok(Self { id, reader: Exclusive::new(Reader { subscription, next: None }) })
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
        self.reader
            .wait(py, timeout, |reader, limit| reader.is_ready(|subscription| subscription.next(Some(limit))))
    }

    fn poll(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        let poll = |reader: &mut Reader| reader.is_ready(|subscription| subscription.poll_queued(number));
        self.reader.with(py, poll)?.map_err(raise)
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let taken = self.reader.with(py, |reader| reader.next.take().flatten())?;
        taken.map(|event| event::in_python(py, event)).transpose()
    }
}
