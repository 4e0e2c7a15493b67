//! The state of a connection.

use std::time::Instant;

use pyo3::prelude::*;
use tidings::Reason;

use crate::error::exception;

/// A state of the connection.
#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct State(pub(crate) tidings::State);

impl State {
    fn why(&self) -> Option<&Reason> {
        match &self.0 {
            tidings::State::Waiting { why, .. }
            | tidings::State::Suspended { why, .. }
            | tidings::State::Unauthenticated { why } => Some(why),
            _ => None,
        }
    }

    fn cause(&self) -> Option<&tidings::Error> {
        match &self.0 {
            tidings::State::Closed { why } => why.as_ref(),
            _ => self.why()?.error(),
        }
    }
}

#[pymethods]
impl State {
    /// `idle`, `connecting`, `live`, `unauthenticated`, `waiting`, `suspended` or `closed`.
    #[getter]
    fn name(&self) -> &'static str {
        self.0.as_str()
    }

    /// Why it is not connected, as text for a person. None while it is connected, and after `close`.
    #[getter]
    fn reason(&self) -> Option<String> {
        self.why().map(ToString::to_string).or_else(|| self.cause().map(ToString::to_string))
    }

    /// The exception that is the reason, if it is one.
    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.cause().map(|error| exception(py, error)).transpose()
    }

    /// Seconds until the next attempt, while it is `waiting`; None otherwise.
    #[getter]
    fn retry_in(&self) -> Option<f64> {
        match &self.0 {
            tidings::State::Waiting { until, .. } => {
                Some(until.saturating_duration_since(Instant::now()).as_secs_f64())
            }
            _ => None,
        }
    }

    /// For how many seconds there has been no connection, while it is `suspended`; None otherwise.
    #[getter]
    fn offline_seconds(&self) -> Option<f64> {
        match &self.0 {
            tidings::State::Suspended { since, .. } => Some(since.elapsed().as_secs_f64()),
            _ => None,
        }
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<State {}>", self.0)
    }
}
