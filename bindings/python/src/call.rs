//! What takes time.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError, TryLockError},
    time::Duration,
};

use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyBytes};
use serde_json::Value;
use tidings::{AuthResponse, Error, Response, blocking};

use crate::{error::raise, event::to_python, subscription::Subscription, wait};

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct Call {
    /// Locked only by who does not hold the interpreter while it waits for the lock.
    progress: Mutex<Progress>,
    /// Where a person is to go.
    url: Option<Arc<Mutex<Option<String>>>>,
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
    Subscription(blocking::Subscription),
}

impl Call {
    pub(crate) fn new(call: blocking::Call<Answer>) -> Self {
        Self { progress: Mutex::new(Progress::Waiting(call)), url: None }
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
        wait(py, timeout, |limit| {
            let mut progress = match self.progress.try_lock() {
                Ok(progress) => progress,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // Another thread waits for the same.
                Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(limit.min(Duration::from_millis(1)));
                    return Ok(false);
                }
            };
            Ok(progress.is_done(|call| call.wait_for(limit)))
        })
    }

    fn poll(&self, py: Python<'_>, number: u64) -> bool {
        py.detach(|| {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.is_done(|call| call.poll_queued(number))
        })
    }

    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let progress = py.detach(|| {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            match &*progress {
                Progress::Waiting(_) => None,
                _ => Some(mem::replace(&mut *progress, Progress::Taken)),
            }
        });
        let Some(Progress::Done(answer)) = progress else {
            return Err(PyRuntimeError::new_err("the call is not done, or its result was taken"));
        };
        match answer.map_err(raise)? {
            Answer::Nothing => Ok(py.None().into_bound(py)),
            Answer::LoggedIn(AuthResponse { token, record, .. }) => {
                let answer: Value = serde_json::json!({"token": token, "record": record});
                to_python(py, answer.to_string().as_bytes())
            }
            Answer::Response(response) => {
                let body = PyBytes::new(py, response.body());
                Ok((response.status(), body).into_pyobject(py)?.into_any())
            }
            Answer::Subscription(subscription) => {
                Ok(Bound::new(py, Subscription::new(subscription)?)?.into_any())
            }
        }
    }

    #[getter]
    fn url(&self) -> Option<String> {
        self.url.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
