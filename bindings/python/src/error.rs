//! Errors, as the exceptions of `tidings.exceptions`.

use pyo3::{intern, prelude::*, types::PyBytes};
use tidings::Error;

/// The exception for an error.
pub(crate) fn raise(error: Error) -> PyErr {
    Python::attach(|py| match exception(py, &error) {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    })
}

/// The same, not raised but told.
pub(crate) fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let from_native = py.import(intern!(py, "tidings.exceptions"))?.getattr(intern!(py, "from_native"))?;
    let refusal = error.refusal();
    from_native.call1((
        kind(error),
        error.to_string(),
        error.status(),
        refusal.map(|refusal| PyBytes::new(py, refusal.body())),
        refusal.and_then(|refusal| refusal.retry_after()).map(|wait| wait.as_secs_f64()),
    ))
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::InvalidUrl { .. } => "invalid_url",
        Error::InvalidTopic { .. } => "invalid_topic",
        Error::InvalidArgument { .. } => "invalid_argument",
        Error::Unsupported { .. } => "unsupported",
        Error::Refused(_) => "refused",
        Error::TokenProvider(_) => "token_provider",
        Error::Network(_) => "network",
        Error::Timeout { .. } => "timeout",
        Error::Closed => "closed",
        Error::Forked => "forked",
        _ => "protocol",
    }
}
