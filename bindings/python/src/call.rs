//! What takes time.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyBytes};
use tidings::{AuthResponse, Error, Response, blocking};

#[cfg(unix)]
use std::io;

#[cfg(unix)]
use crate::bell::Bell;
use crate::{error::raise, exclusive::Exclusive, json::from_value, subscription::Subscription, view::View};

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct Call {
    asked: Exclusive<Asked>,
    /// Where a person is to go.
    url: Option<Arc<Mutex<Option<String>>>>,
}

struct Asked {
    progress: Progress,
    #[cfg(unix)]
    bell: Option<Bell>,
}

enum Progress {
    Waiting(blocking::Call<Answer>),
    Done(Result<Answer, Error>),
    Taken,
}

/// What a call may result in.
pub(crate) enum Answer {
    Nothing,
    LoggedIn(AuthResponse),
    Response(Response),
    Json(serde_json::Value),
    Subscription(blocking::Subscription),
    View(blocking::View),
}

impl Call {
    pub(crate) fn new(call: blocking::Call<Answer>) -> Self {
        Self {
            asked: Exclusive::new(Asked {
                progress: Progress::Waiting(call),
                #[cfg(unix)]
                bell: None,
            }),
            url: None,
        }
    }

    pub(crate) fn with_url(call: blocking::Call<Answer>, url: Arc<Mutex<Option<String>>>) -> Self {
        Self { url: Some(url), ..Self::new(call) }
    }
}

impl Progress {
    fn is_done(
        &mut self,
        answer: impl FnOnce(&mut blocking::Call<Answer>) -> Option<Result<Answer, Error>>,
    ) -> bool {
        if let Self::Waiting(call) = self
            && let Some(answer) = answer(call)
        {
            *self = Self::Done(answer);
        }
        !matches!(self, Self::Waiting(_))
    }
}

#[pymethods]
impl Call {
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.asked.wait(py, timeout, |asked, limit| Ok(asked.progress.is_done(|call| call.wait_for(limit))))
    }

    fn poll(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        self.asked.with(py, |asked| asked.progress.is_done(|call| call.poll_queued(number)))
    }

    #[cfg(unix)]
    fn ring(&self, py: Python<'_>) -> PyResult<Option<i32>> {
        let ring = |asked: &mut Asked| -> io::Result<Option<i32>> {
            let bell = Bell::of(&mut asked.bell)?;
            let is_done = asked.progress.is_done(|call| call.poll(&mut bell.context()));
            Ok((!is_done).then(|| bell.descriptor()))
        };
        Ok(self.asked.with(py, ring)??)
    }

    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let progress = self.asked.with(py, |asked| match asked.progress {
            Progress::Waiting(_) => None,
            _ => Some(mem::replace(&mut asked.progress, Progress::Taken)),
        })?;
        let progress = progress.unwrap_or(Progress::Taken);
        let Progress::Done(answer) = progress else {
            return Err(PyRuntimeError::new_err("the call is not done, or its result was taken"));
        };
        match answer.map_err(raise)? {
            Answer::Nothing => Ok(py.None().into_bound(py)),
            Answer::LoggedIn(AuthResponse { token, record, .. }) => {
                from_value(py, &serde_json::json!({"token": token, "record": record}))
            }
            Answer::Response(response) => {
                let body = PyBytes::new(py, response.body());
                Ok((response.status(), body).into_pyobject(py)?.into_any())
            }
            Answer::View(view) => Ok(Bound::new(py, View::new(view))?.into_any()),
            Answer::Json(value) => from_value(py, &value),
            Answer::Subscription(subscription) => {
                Ok(Bound::new(py, Subscription::new(subscription)?)?.into_any())
            }
        }
    }

    fn withdraw(&self, py: Python<'_>) -> PyResult<()> {
        let waiting = self.asked.with(py, |asked| mem::replace(&mut asked.progress, Progress::Taken))?;
        drop(waiting);
        Ok(())
    }

    #[getter]
    fn url(&self) -> Option<String> {
        self.url.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
