//! An event source.

use std::{
    sync::{Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use pyo3::{prelude::*, types::PyDict};
use tidings::{SourceEvent, blocking};

use crate::{
    error::{exception, raise},
    interpreter::let_go,
    options,
    state::State,
    wait,
};

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct EventSource {
    source: blocking::EventSource,
    /// Taken by `wait` and not yet by `take`; `None` in it means that nothing more comes.
    ahead: Mutex<Option<Option<SourceEvent>>>,
    #[cfg(unix)]
    descriptor: Mutex<Option<blocking::Descriptor>>,
}

impl EventSource {
    /// Whether there is something in `ahead`.
    fn is_ready(&self, limit: Duration) -> Result<bool, tidings::Error> {
        let lock = || self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().is_some() {
            return Ok(true);
        }
        if let Poll::Ready(event) = self.source.next(Some(limit))? {
            *lock() = Some(event);
        }
        Ok(lock().is_some())
    }
}

#[pymethods]
impl EventSource {
    #[new]
    fn new(url: &str, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let source = blocking::EventSource::build(options::event_source(url, options)?).map_err(raise)?;
        Ok(Self {
            source,
            ahead: Mutex::default(),
            #[cfg(unix)]
            descriptor: Mutex::default(),
        })
    }

    fn fileno(&self) -> PyResult<i32> {
        #[cfg(unix)]
        {
            use std::os::fd::AsRawFd;
            let descriptor = self.source.descriptor().map_err(raise)?;
            Ok(self
                .descriptor
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(descriptor)
                .as_raw_fd())
        }
        #[cfg(not(unix))]
        Ok(-1)
    }

    /// Nobody watches the descriptor any more.
    fn release(&self) {
        #[cfg(unix)]
        self.descriptor.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        wait(py, timeout, |limit| self.is_ready(limit))
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if !self.is_ready(Duration::ZERO).map_err(raise)? {
            return Ok(None);
        }
        let taken = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.map(|event| in_python(py, event)).transpose()
    }

    #[getter]
    fn last_event_id(&self) -> PyResult<String> {
        self.source.last_event_id().map_err(raise)
    }

    fn state(&self) -> PyResult<State> {
        self.source.state().map(State).map_err(raise)
    }

    fn restart(&self) -> PyResult<()> {
        self.source.restart().map_err(raise)
    }

    fn close(&self, py: Python<'_>) {
        let_go(py, || self.source.close());
    }
}

fn in_python(py: Python<'_>, event: Option<SourceEvent>) -> PyResult<Bound<'_, PyAny>> {
    let none = None::<u8>;
    let told = match event {
        None => ("end", none, none, none).into_pyobject(py)?,
        Some(SourceEvent::Open(opened)) => ("open", opened.url(), none, none).into_pyobject(py)?,
        Some(SourceEvent::Message(message)) => {
            ("message", message.event(), message.data(), message.id()).into_pyobject(py)?
        }
        Some(SourceEvent::Comment(text)) => ("comment", text, none, none).into_pyobject(py)?,
        Some(SourceEvent::TooLarge { limit }) => ("too_large", limit, none, none).into_pyobject(py)?,
        Some(SourceEvent::Disconnected { why, retry_at }) => {
            let error = why.error().map(|error| exception(py, error)).transpose()?;
            let wait = retry_at.saturating_duration_since(Instant::now()).as_secs_f64();
            ("disconnected", why.to_string(), wait, error).into_pyobject(py)?
        }
        Some(SourceEvent::Closed { why }) => {
            let why = why.as_ref().map(|why| exception(py, why)).transpose()?;
            ("closed", why, none, none).into_pyobject(py)?
        }
        // A newer core has more to tell than this knows.
        Some(_) => ("other", none, none, none).into_pyobject(py)?,
    };
    Ok(told.into_any())
}
