//! The native part of the Python package: types across the border, and nothing decided. What each thing does is in
//! `python/tidings/_tidings.pyi`, and what people use is the Python beside it.
//!
//! No thread of Rust's enters the interpreter. What takes time releases it and comes back every [`SLICE`], so that Ctrl-C
//! is answered.

#[cfg(unix)]
mod bell;
mod call;
mod client;
mod error;
mod event;
mod exclusive;
mod hub;
mod interpreter;
mod json;
mod options;
mod records;
mod source;
mod state;
mod subscription;
mod view;

use std::{
    ffi::OsString,
    time::{Duration, Instant},
};

use pyo3::prelude::*;

/// How long a wait goes on before signals are looked at.
const SLICE: Duration = Duration::from_millis(50);

/// Waits, in slices and without the interpreter, until `ready` says so or the time is up.
fn wait(
    py: Python<'_>,
    timeout: Option<f64>,
    mut ready: impl FnMut(Duration) -> Result<bool, tidings::Error> + Send,
) -> PyResult<bool> {
    if timeout.is_some_and(f64::is_nan) {
        return Err(error::argument("timeout", "it is not a number; give it seconds"));
    }
    // Without letting go of the interpreter first: what is there already is nothing to wait for.
    if ready(Duration::ZERO).map_err(error::raise)? {
        return Ok(true);
    }
    if timeout.is_some_and(|seconds| seconds <= 0.0) {
        return Ok(false);
    }
    // What is too long to be told is for ever.
    let deadline = timeout
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .and_then(|limit| Instant::now().checked_add(limit));
    loop {
        let left = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()));
        if interpreter::is_ending() {
            return Err(error::raise(tidings::Error::Closed));
        }
        if interpreter::let_go(py, || ready(left.min(SLICE))).map_err(error::raise)? {
            return Ok(true);
        }
        py.check_signals()?;
        if left.is_zero() {
            return Ok(false);
        }
    }
}

/// Puts values into the places of a filter expression.
#[pyfunction]
fn filter(expression: &str, values: &str) -> PyResult<String> {
    let values: serde_json::Value = options::json("values", values)?;
    tidings::filter(expression, values).map_err(error::raise)
}

/// Runs the command `tidings`.
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    interpreter::let_go(py, || tidings_cli::run(arguments))
}

#[pymodule(gil_used = false)]
mod _tidings {
    use pyo3::{prelude::*, types::PyTuple};
    use tidings::Overflow;

    #[pymodule_export]
    use super::{
        call::Call,
        client::{Client, TokenRequest},
        command,
        event::RawEvent,
        filter,
        hub::Hub,
        interpreter::{count_forks, end, forked, inside},
        json::parse,
        records::{Pages, Records},
        source::{ConnectQuestion, EventSource, StatusQuestion},
        state::State,
        subscription::Subscription,
        view::{Rows, View},
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        use super::{client::kind, error, event, interpreter::name};
        name::import(module.py());
        error::import(module.py())?;
        event::import(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("EVENT", kind::EVENT)?;
        module.add("ENDED", kind::ENDED)?;
        module.add("STATE", kind::STATE)?;
        module.add("DISCONNECTED", kind::DISCONNECTED)?;
        module.add("TOKEN_WANTED", kind::TOKEN_WANTED)?;
        module.add("WOKEN", kind::WOKEN)?;
        module.add("NOTICE", kind::NOTICE)?;
        module.add("DENIED", kind::DENIED)?;
        module.add("PARKED", kind::PARKED)?;
        module.add("CHANGED", kind::CHANGED)?;
        module.add("OVERFLOWS", PyTuple::new(module.py(), Overflow::ALL.map(Overflow::as_str))?)
    }
}
