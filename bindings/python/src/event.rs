//! Events: what the core knows of each, and the Python object over it, a dict of the payload.

use std::sync::OnceLock;

use pyo3::{
    IntoPyObjectExt,
    prelude::*,
    types::{PyBytes, PyDict, PyString, PyTuple},
};
use tidings::{Action, GapReason};

use crate::{
    error::{exception, raise},
    interpreter::{Inside, name},
    json::to_python,
};

/// What the core knows of an event; `tidings.Event` is the dict over it.
#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct RawEvent {
    event: tidings::Event,
}

/// Looked up once, when the module is imported: an import runs bytecode, see `error`.
static CLASSES: OnceLock<Classes> = OnceLock::new();

struct Classes {
    event: Py<PyAny>,
    /// `dict.__new__`, and what makes it make each of both.
    new: Py<PyAny>,
    an_event: Py<PyTuple>,
    an_unread: Py<PyTuple>,
    no_record: Py<PyAny>,
    placeholder: Py<PyAny>,
}

pub(crate) fn import(py: Python<'_>) -> PyResult<()> {
    let module = py.import("tidings._event")?;
    let named = |name| module.getattr(name);
    let event = named("Event")?;
    let _ = CLASSES.set(Classes {
        new: event.getattr("__new__")?.unbind(),
        an_event: PyTuple::new(py, [&event])?.unbind(),
        an_unread: PyTuple::new(py, [named("UnreadEvent")?])?.unbind(),
        event: event.unbind(),
        no_record: named("NoRecord")?.unbind(),
        placeholder: named("PLACEHOLDER")?.unbind(),
    });
    Ok(())
}

/// An event as Python has it, whose payload is parsed when it is first touched. No bytecode runs here, see `error`: the object
/// is made, and not initialised.
pub(crate) fn in_python(py: Python<'_>, event: tidings::Event) -> PyResult<Bound<'_, PyAny>> {
    let _inside = Inside::enter();
    let classes = CLASSES.get().expect("set when the module is imported");
    let raw = RawEvent { event };
    let class = if raw.event.is_notice() { &classes.an_event } else { &classes.an_unread };
    let made = classes.new.bind(py).call1(class.bind(py))?;
    let fields = made.cast::<PyDict>()?;
    if raw.event.is_notice() {
        fields.set_item(name::action(py), raw.action(py))?;
        // Any field of it is None: a callback that knows no notices reads on.
        fields.set_item(name::record(py), classes.no_record.bind(py).call0()?)?;
    } else {
        // For what reads the memory of a dict and does not ask it. A change of a record has this key.
        fields.set_item(name::record(py), &classes.placeholder)?;
    }
    made.setattr(name::_facts(py), Bound::new(py, raw)?)?;
    Ok(made)
}

impl RawEvent {
    /// The payload, if it is an object.
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        match self.json(py) {
            Ok(payload) => Ok(payload.cast_into().ok()),
            // Server hooks may send any text; what begins as an object was meant to be one.
            Err(_) if !self.event.raw().trim_ascii_start().starts_with(b"{") => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[pymethods]
impl RawEvent {
    #[getter]
    fn topic(&self) -> &str {
        self.event.topic()
    }

    #[getter]
    fn name(&self) -> &str {
        self.event.name()
    }

    #[getter]
    fn action<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        match self.event.action() {
            Action::Create => name::create(py).clone(),
            Action::Update => name::update(py).clone(),
            Action::Delete => name::delete(py).clone(),
            other => PyString::intern(py, other.as_str()),
        }
    }

    #[getter]
    fn record_id(&self) -> Option<&str> {
        self.event.record_id()
    }

    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.event.raw())
    }

    #[getter]
    fn is_notice(&self) -> bool {
        self.event.is_notice()
    }

    #[getter]
    fn lagged(&self) -> u64 {
        match self.event.is_notice().then(|| self.event.action()) {
            Some(Action::Lagged(lost)) => lost,
            _ => 0,
        }
    }

    #[getter]
    fn gap_seconds(&self) -> Option<f64> {
        self.event.gap().map(|gap| gap.duration().as_secs_f64())
    }

    #[getter]
    fn gap_since<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        // pyo3 looks up the epoch at its first use, see `interpreter`.
        let _inside = Inside::enter();
        let since = self.event.gap().map(|gap| gap.since_system_time());
        since.map(|since| since.into_bound_py_any(py)).transpose()
    }

    #[getter]
    fn gap_reason(&self) -> Option<&'static str> {
        self.event.gap().map(|gap| match gap.reason {
            GapReason::IdentityChanged => "identity_changed",
            GapReason::TooLarge => "too_large",
            _ => "disconnected",
        })
    }

    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.event.error().map(|error| exception(py, error)).transpose()
    }

    /// Makes an unread event a read one.
    fn read_into(&self, py: Python<'_>, event: &Bound<'_, PyDict>) -> PyResult<()> {
        let _inside = Inside::enter();
        let classes = CLASSES.get().expect("set when the module is imported");
        if let Some(fields) = self.fields(py)? {
            event.update(fields.as_mapping())?;
        }
        // Not emptied first: another thread may be reading it, or have made it a read one.
        if event.get_item(name::record(py))?.is_some_and(|found| found.is(&classes.placeholder)) {
            event.del_item(name::record(py))?;
        }
        event.setattr(name::__class__(py), &classes.event)
    }

    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let source = self.event.json_source().map_err(raise)?;
        to_python(py, source.as_bytes()).map_err(|unread| {
            unread.why().map_or_else(|error| error, |why| raise(self.event.unreadable_because(&why)))
        })
    }
}
