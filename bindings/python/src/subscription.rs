//! A subscription that is read by itself.

use std::task::{Context, Poll, Waker};

use pyo3::prelude::*;
use tidings::{Error, blocking};

#[cfg(unix)]
use crate::bell::Bell;
use crate::{error::raise, event, exclusive::Exclusive};

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct Subscription {
    id: u64,
    reader: Exclusive<Reader>,
}

struct Reader {
    subscription: blocking::Subscription,
    #[cfg(unix)]
    bell: Option<Bell>,
    /// What `take` gives; `None` in it means that nothing more comes.
    next: Option<Option<tidings::Event>>,
}

impl Subscription {
    pub(crate) fn new(subscription: blocking::Subscription) -> PyResult<Self> {
        let id = subscription.id().map_err(raise)?;
        Ok(Self {
            id,
            reader: Exclusive::new(Reader {
                subscription,
                #[cfg(unix)]
                bell: None,
                next: None,
            }),
        })
    }
}

impl Reader {
    fn at_once(subscription: &mut blocking::Subscription) -> Result<Poll<Option<tidings::Event>>, Error> {
        subscription.poll(&mut Context::from_waker(Waker::noop()))
    }

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

    #[cfg(unix)]
    fn ring(&self, py: Python<'_>) -> PyResult<Option<i32>> {
        let ring = |reader: &mut Reader| -> PyResult<Option<i32>> {
            // Away from the reader, which is polled with it.
            let mut own = reader.bell.take();
            let bell = Bell::of(&mut own)?;
            let is_ready = reader.is_ready(|subscription| subscription.poll(&mut bell.context()));
            let descriptor = bell.descriptor();
            reader.bell = own;
            Ok((!is_ready.map_err(raise)?).then_some(descriptor))
        };
        self.reader.with(py, ring)?
    }

    fn take_now<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let take = |reader: &mut Reader| {
            reader.is_ready(Reader::at_once)?;
            // The end stays, for the one who asks why there is nothing.
            Ok(if matches!(reader.next, Some(Some(_))) { reader.next.take().flatten() } else { None })
        };
        let taken = self.reader.with(py, take)?.map_err(raise)?;
        taken.map(|event| event::in_python(py, event)).transpose()
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let taken = self.reader.with(py, |reader| reader.next.take().flatten())?;
        taken.map(|event| event::in_python(py, event)).transpose()
    }
}
