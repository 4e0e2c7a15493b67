//! Events, mapping-like, whose payload becomes Python objects when something in it is first touched.

use std::sync::OnceLock;

use jiter::{PythonParse, StringCacheMode};
use pyo3::{
    exceptions::PyKeyError,
    prelude::*,
    types::{PyBytes, PyDict, PyString},
};
use tidings::{Action, Error, GapReason};

use crate::{
    error::{exception, raise},
    interpreter::{Inside, name},
};

/// One change of a record, one message, or a notice.
///
/// It is mapping-like over its payload, which is parsed when it is first touched: `event["record"]["title"]`. What is no JSON
/// object is an empty mapping; `raw` has it as it came.
#[pyclass(frozen, mapping, module = "tidings._tidings")]
pub(crate) struct Event {
    event: tidings::Event,
    /// Not pyo3's own: that lets go of the interpreter while it is filled, see `interpreter`.
    payload: OnceLock<Py<PyAny>>,
}

impl Event {
    pub(crate) fn new(event: tidings::Event) -> Self {
        Self { event, payload: OnceLock::new() }
    }

    /// What `event[…]` looks into: the payload, if it is an object, or what a notice has to say in that form.
    fn mapping<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let payload = match self.payload.get() {
            Some(payload) => payload,
            None => {
                let parsed = self.parse(py)?.unbind();
                self.payload.get_or_init(|| parsed)
            }
        };
        match payload.bind(py).cast::<PyDict>() {
            Ok(payload) => Ok(payload.clone()),
            Err(_) => Ok(PyDict::new(py)),
        }
    }

    fn parse<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.event.is_notice() {
            let notice = PyDict::new(py);
            notice.set_item(name::action(py), self.action(py))?;
            // Any field of it is None: a callback that knows no notices reads on.
            notice.set_item(name::record(py), no_record(py)?)?;
            return Ok(notice.into_any());
        }
        // Server hooks may send anything.
        let text = || PyString::new(py, &String::from_utf8_lossy(self.event.raw())).into_any();
        let json = self.event.json_source().ok().and_then(|source| to_python(py, source.as_bytes()).ok());
        Ok(json.unwrap_or_else(text))
    }
}

/// Looked up once, when the module is imported: an import runs bytecode, see `error`.
static NO_RECORD: OnceLock<Py<PyAny>> = OnceLock::new();

pub(crate) fn import(py: Python<'_>) -> PyResult<()> {
    let class = py.import("tidings._no_record")?.getattr("NoRecord")?.unbind();
    let _ = NO_RECORD.set(class);
    Ok(())
}

fn no_record(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    match NO_RECORD.get() {
        Some(class) => class.bind(py).call0(),
        None => Ok(PyDict::new(py).into_any()),
    }
}

/// JSON as Python objects.
pub(crate) fn to_python<'py>(py: Python<'py>, json: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // Before Python 3.12 any new object may start the collector, which runs what it likes.
    let _inside = Inside::enter();
    // The keys of records repeat, and their values seldom do.
    let parse =
        PythonParse { allow_inf_nan: false, cache_mode: StringCacheMode::Keys, ..PythonParse::default() };
    parse.python_parse(py, json).map_err(|error| jiter::map_json_error(json, &error))
}

#[pymethods]
impl Event {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str) {
        ("action", "record")
    }

    /// The topic as it stands on the wire, options included.
    #[getter]
    fn topic(&self) -> &str {
        self.event.topic()
    }

    /// The name of the event as the server sent it; for notices the topic.
    #[getter]
    fn name(&self) -> &str {
        self.event.name()
    }

    /// `create`, `update`, `delete`, `connect`, `custom` for any other message, or of a notice `gap`, `lagged`, `refused`.
    #[getter]
    fn action<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        match self.event.action() {
            Action::Create => name::create(py).clone(),
            Action::Update => name::update(py).clone(),
            Action::Delete => name::delete(py).clone(),
            other => PyString::intern(py, other.as_str()),
        }
    }

    /// The record; empty where there is none.
    #[getter]
    fn record<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let record = self.mapping(py)?.get_item(name::record(py))?;
        Ok(record.and_then(|record| record.cast_into().ok()).unwrap_or_else(|| PyDict::new(py)))
    }

    /// The id of the record, if there is one.
    #[getter]
    fn record_id(&self) -> Option<&str> {
        self.event.record_id()
    }

    /// The payload as received; empty for notices.
    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.event.raw())
    }

    /// Whether it is a notice of what was or may have been missed, or of the end, and not from the server.
    #[getter]
    fn is_notice(&self) -> bool {
        self.event.is_notice()
    }

    /// How many events were dropped, in a `lagged` notice; 0 in others.
    #[getter]
    fn lagged(&self) -> u64 {
        match self.event.is_notice().then(|| self.event.action()) {
            Some(Action::Lagged(lost)) => lost,
            _ => 0,
        }
    }

    /// How long a `gap` was, in seconds; None in others.
    #[getter]
    fn gap_seconds(&self) -> Option<f64> {
        self.event.gap().map(|gap| gap.duration().as_secs_f64())
    }

    /// Why there is a `gap`: `disconnected`, `identity_changed` or `too_large`; None in others.
    #[getter]
    fn gap_reason(&self) -> Option<&'static str> {
        self.event.gap().map(|gap| match gap.reason {
            GapReason::IdentityChanged => "identity_changed",
            GapReason::TooLarge => "too_large",
            _ => "disconnected",
        })
    }

    /// Why it is `refused`; None in others.
    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.event.error().map(|error| exception(py, error)).transpose()
    }

    /// The payload as parsed JSON, whatever it is.
    ///
    /// Raises ProtocolError if it is no JSON that can be read.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // One parser is enough for what is JSON, and the other knows what to say of what is not.
        to_python(py, self.event.json_source().map_err(raise)?.as_bytes()).map_err(|error| {
            let unreadable = || Error::Protocol(format!("the payload cannot be read: {error}"));
            raise(self.event.json().err().unwrap_or_else(unreadable))
        })
    }

    /// The value of a key of the payload, or the default.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.mapping(py)?.get_item(key)?.or(default))
    }

    /// The keys of the payload.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.mapping(py)?.call_method0(name::keys(py))
    }

    /// The values of the payload.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.mapping(py)?.call_method0(name::values(py))
    }

    /// The keys and values of the payload.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.mapping(py)?.call_method0(name::items(py))
    }

    fn __getitem__<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let found = self.mapping(py)?.get_item(key)?;
        found.ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.mapping(py)?.contains(key)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.mapping(py)?.try_iter()?.into_any())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.mapping(py)?.len())
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let own = self.mapping(py)?;
        match other.cast::<Event>() {
            Ok(other) => {
                let other = other.get();
                Ok(self.event.topic() == other.event.topic() && own.eq(other.mapping(py)?)?)
            }
            Err(_) => own.eq(other),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        // The options of a topic may be secret.
        let topic = self.event.topic().split('?').next().unwrap_or_default();
        Ok(format!("<Event {} {topic} {}>", self.event.action(), self.mapping(py)?.repr()?))
    }
}
