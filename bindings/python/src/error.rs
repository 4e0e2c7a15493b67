//! Errors, as the exceptions of `tidings.exceptions`.
//!
//! No bytecode runs here, neither an `__init__` nor an import: where it does, a thread may lose the interpreter, and one that
//! loses it to the interpreter's end is killed with Rust on its stack, which aborts the process.

use std::sync::OnceLock;

use pyo3::{
    exceptions::PyRuntimeError,
    prelude::*,
    types::{PyBytes, PyDict, PyTuple},
};
use tidings::{Cut, Error};

use crate::interpreter::name;

/// What is looked up once, when the module is imported.
static EXCEPTIONS: OnceLock<Py<PyModule>> = OnceLock::new();

pub(crate) fn import(py: Python<'_>) -> PyResult<()> {
    let exceptions = py.import("tidings.exceptions")?.unbind();
    let _ = EXCEPTIONS.set(exceptions);
    Ok(())
}

/// The exception for an error.
pub(crate) fn raise(error: Error) -> PyErr {
    Python::attach(|py| match exception(py, &error) {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    })
}

/// The same, to be passed on and not raised.
pub(crate) fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let exceptions =
        EXCEPTIONS.get().ok_or_else(|| PyRuntimeError::new_err("the module was not imported"))?.bind(py);
    // What gave up, or was cut, is of the kind of what made it so.
    let mut cause = error;
    while let Some(inner) = match cause {
        Error::GaveUp { why, .. } => Some(&**why),
        error => error.cut().map(Cut::why),
    } {
        cause = inner;
    }
    let (name, is_response) = match cause {
        Error::InvalidUrl { .. } => ("InvalidUrlError", false),
        Error::InvalidTopic { .. } => ("InvalidTopicError", false),
        Error::InvalidArgument { .. } => ("ArgumentError", false),
        Error::Unsupported { .. } => ("UnsupportedError", false),
        Error::Closed => ("ClosedError", false),
        Error::Forked => ("ForkedError", false),
        Error::Refused(_) => ("ClientResponseError", true),
        Error::TokenProvider(_) => ("TokenProviderError", true),
        Error::Network(_) => ("NetworkError", true),
        Error::Timeout { .. } => ("TimedOutError", true),
        _ => ("ProtocolError", true),
    };
    let class = exceptions.getattr(name)?;
    let message = error.to_string();
    // Made, and not initialised: that would be a Python function.
    let made = class.call_method1(name::__new__(py), (&class, &message))?;
    made.setattr(name::args(py), PyTuple::new(py, [&message])?)?;
    if is_response {
        let refusal = error.refusal();
        let body = refusal.map_or(&[][..], |refusal| refusal.body());
        let wait = refusal.and_then(|refusal| refusal.retry_after());
        made.setattr(name::message(py), message)?;
        made.setattr(name::status(py), error.status().unwrap_or(0))?;
        made.setattr(name::body(py), PyBytes::new(py, body))?;
        made.setattr(
            name::headers(py),
            match refusal {
                Some(refusal) => headers(py, refusal.headers())?,
                None => PyDict::new(py),
            },
        )?;
        made.setattr(name::messages(py), error.cut().map(Cut::messages))?;
        made.setattr(name::retry_after(py), wait.map(|wait| wait.as_secs_f64()))?;
    }
    Ok(made)
}

/// Headers as a dict; several of one name are joined, as HTTP allows.
pub(crate) fn headers<'py, 'h>(
    py: Python<'py>,
    headers: impl Iterator<Item = (&'h str, &'h str)>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut joined = std::collections::BTreeMap::<&str, String>::new();
    for (name, value) in headers {
        joined
            .entry(name)
            .and_modify(|before| {
                before.push_str(", ");
                before.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }
    let dict = PyDict::new(py);
    for (name, value) in joined {
        dict.set_item(name, value)?;
    }
    Ok(dict)
}

/// The exception for an argument that cannot be used.
pub(crate) fn argument(name: &str, reason: impl Into<String>) -> PyErr {
    raise(Error::InvalidArgument { argument: name.to_owned(), reason: reason.into() })
}
