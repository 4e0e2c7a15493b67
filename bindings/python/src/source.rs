//! An event source.

use std::{
    sync::{Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyDict};
use tidings::{
    Policy, SourceEvent, SourceRequest,
    blocking::{self, SourceItem},
};

use crate::{
    error::{exception, headers, raise},
    interpreter::let_go,
    options,
    state::State,
    wait,
};

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct EventSource {
    source: blocking::EventSource,
    /// Taken by `wait` and not yet by `take`; `None` in it means that nothing more comes.
    ahead: Mutex<Option<Option<SourceItem>>>,
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
        if let Poll::Ready(item) = self.source.next_item(Some(limit))? {
            *lock() = Some(item);
        }
        Ok(lock().is_some())
    }
}

#[pymethods]
impl EventSource {
    #[new]
    fn new(url: &str, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let (builder, questions) = options::event_source(url, options)?;
        let source = blocking::EventSource::build_asking(builder, questions).map_err(raise)?;
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

    #[cfg(unix)]
    fn ring(&self) -> PyResult<Option<i32>> {
        let descriptor = self.fileno()?;
        let is_ready = self.is_ready(Duration::ZERO).map_err(raise)?;
        Ok((!is_ready).then_some(descriptor))
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if !self.is_ready(Duration::ZERO).map_err(raise)? {
            return Ok(None);
        }
        let taken = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.map(|item| in_python(py, item)).transpose()
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

fn in_python(py: Python<'_>, item: Option<SourceItem>) -> PyResult<Bound<'_, PyAny>> {
    let none = None::<u8>;
    let event = match item {
        None => return Ok(("end", none, none, none).into_pyobject(py)?.into_any()),
        Some(SourceItem::Event(event, _)) => event,
        Some(SourceItem::ConnectAsked(question)) => {
            let question = ConnectQuestion(Mutex::new(Some(question)));
            return Ok(("connect_asked", question, none, none).into_pyobject(py)?.into_any());
        }
        Some(SourceItem::StatusAsked(question)) => {
            let status = question.status();
            let question = StatusQuestion(Mutex::new(Some(question)));
            return Ok(("status_asked", question, status, none).into_pyobject(py)?.into_any());
        }
        // A newer core has more to ask than this knows; dropped, it counts as unanswered.
        Some(_) => return Ok(("other", none, none, none).into_pyobject(py)?.into_any()),
    };
    let tuple = match event {
        SourceEvent::Open(opened) => {
            let headers = headers(py, opened.headers())?;
            ("open", opened.url(), opened.status(), headers).into_pyobject(py)?
        }
        SourceEvent::Message(message) => {
            ("message", message.event(), message.data(), message.id()).into_pyobject(py)?
        }
        SourceEvent::Unfinished(message) => {
            ("unfinished", message.event(), message.data(), message.id()).into_pyobject(py)?
        }
        SourceEvent::Comment(text) => ("comment", text, none, none).into_pyobject(py)?,
        SourceEvent::TooLarge { limit } => ("too_large", limit, none, none).into_pyobject(py)?,
        SourceEvent::Disconnected { why, retry_at } => {
            let error = why.error().map(|error| exception(py, error)).transpose()?;
            let wait = retry_at.saturating_duration_since(Instant::now()).as_secs_f64();
            ("disconnected", why.to_string(), wait, error).into_pyobject(py)?
        }
        SourceEvent::Closed { why } => {
            let why = why.as_ref().map(|why| exception(py, why)).transpose()?;
            ("closed", why, none, none).into_pyobject(py)?
        }
        // A newer core has more to report than this knows.
        _ => ("other", none, none, none).into_pyobject(py)?,
    };
    Ok(tuple.into_any())
}

/// Takes a question that is to be answered once.
fn once<T>(question: &Mutex<Option<T>>) -> PyResult<T> {
    let question = question.lock().unwrap_or_else(PoisonError::into_inner).take();
    question.ok_or_else(|| PyRuntimeError::new_err("the question was answered already"))
}

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct ConnectQuestion(Mutex<Option<blocking::ConnectQuestion>>);

#[pymethods]
impl ConnectQuestion {
    fn answer(
        &self,
        url: Option<String>,
        token: Option<String>,
        headers: Vec<(String, String)>,
    ) -> PyResult<()> {
        let mut request = SourceRequest::new();
        if let Some(url) = url {
            request = request.url(url);
        }
        if let Some(token) = token {
            request = request.token(token);
        }
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        once(&self.0)?.answer(Ok(request));
        Ok(())
    }

    fn fail(&self, reason: String) -> PyResult<()> {
        once(&self.0)?.answer(Err(reason));
        Ok(())
    }
}

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct StatusQuestion(Mutex<Option<blocking::StatusQuestion>>);

#[pymethods]
impl StatusQuestion {
    fn answer(&self, again: Option<bool>) -> PyResult<()> {
        once(&self.0)?.answer(match again {
            Some(true) => Policy::Retry,
            Some(false) => Policy::Fail,
            None => Policy::Default,
        });
        Ok(())
    }
}
