//! A live view, and its rows.

use std::{
    task::{Context, Poll, Waker},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use pyo3::{
    exceptions::{PyIndexError, PyValueError},
    prelude::*,
    types::PyList,
};
use tidings::{Changes, Delta, Error, Freshness, Status, blocking};

#[cfg(unix)]
use crate::bell::Bell;
use crate::{
    call::{Answer, Call},
    error::{exception, raise},
    exclusive::Exclusive,
    json::to_python,
};

/// The rows of a view at one moment.
#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct Rows(tidings::Rows);

#[pymethods]
impl Rows {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn get<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Bound<'py, PyAny>> {
        let row = self.0.get(at).ok_or_else(|| PyIndexError::new_err("there is no such row"))?;
        in_python(py, row)
    }
}

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct View {
    view: blocking::View,
    reader: Exclusive<Reader>,
}

struct Reader {
    view: blocking::View,
    #[cfg(unix)]
    bell: Option<Bell>,
    /// What `take` gives; `None` in it means that nothing more comes.
    next: Option<Option<Changes>>,
}

impl View {
    pub(crate) fn new(view: blocking::View) -> Self {
        let reader = Reader {
            view: view.another(),
            #[cfg(unix)]
            bell: None,
            next: None,
        };
        Self { view, reader: Exclusive::new(reader) }
    }
}

impl Reader {
    fn is_ready(
        &mut self,
        next: impl FnOnce(&mut blocking::View) -> Result<Poll<Option<Changes>>, Error>,
    ) -> Result<bool, Error> {
        if self.next.is_none()
            && let Poll::Ready(changes) = next(&mut self.view)?
        {
            self.next = Some(changes);
        }
        Ok(self.next.is_some())
    }
}

#[pymethods]
impl View {
    fn rows(&self) -> PyResult<Rows> {
        self.view.rows().map(Rows).map_err(raise)
    }

    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        status(py, &self.view.status().map_err(raise)?)
    }

    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let error = self.view.error().map_err(raise)?;
        error.as_ref().map(|error| exception(py, error)).transpose()
    }

    fn prove(&self) -> PyResult<Call> {
        let call = self.view.prove().map_err(raise)?;
        Ok(Call::new(call.map(|()| Answer::Nothing)))
    }

    /// From now on the queue is told of changes.
    fn release(&self) -> PyResult<()> {
        self.view.release().map_err(raise)
    }

    fn close(&self) -> PyResult<()> {
        self.view.close().map_err(raise)
    }

    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.reader.wait(py, timeout, |reader, limit| reader.is_ready(|view| view.next(Some(limit))))
    }

    fn poll(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        let poll = |reader: &mut Reader| reader.is_ready(|view| view.poll_queued(number));
        self.reader.with(py, poll)?.map_err(raise)
    }

    #[cfg(unix)]
    fn ring(&self, py: Python<'_>) -> PyResult<Option<i32>> {
        let ring = |reader: &mut Reader| -> PyResult<Option<i32>> {
            // Away from the reader, which is polled with it.
            let mut own = reader.bell.take();
            let bell = Bell::of(&mut own)?;
            let is_ready = reader.is_ready(|view| view.poll(&mut bell.context()));
            let descriptor = bell.descriptor();
            reader.bell = own;
            Ok((!is_ready.map_err(raise)?).then_some(descriptor))
        };
        self.reader.with(py, ring)?
    }

    /// What there is to take, without waiting.
    fn take_now<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let poll =
            |reader: &mut Reader| reader.is_ready(|view| view.poll(&mut Context::from_waker(Waker::noop())));
        self.reader.with(py, poll)?.map_err(raise)?;
        self.take(py)
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(changes) = self.reader.with(py, |reader| reader.next.take().flatten())? else {
            return Ok(None);
        };
        let deltas = changes.deltas().iter().map(|one| delta(py, one)).collect::<PyResult<Vec<_>>>()?;
        let deltas = PyList::new(py, deltas)?;
        let rows = Rows(changes.rows().clone());
        Ok(Some((deltas, rows, status(py, changes.status())?).into_pyobject(py)?.into_any()))
    }
}

fn in_python<'py>(py: Python<'py>, row: &tidings::Row) -> PyResult<Bound<'py, PyAny>> {
    to_python(py, row.text().as_bytes()).map_err(|unread| match unread.why() {
        Ok(why) => PyValueError::new_err(format!("the record {}: {why}", row.id())),
        Err(error) => error,
    })
}

/// Its kind and its fields, in the order in which `_view.py` has them.
fn delta<'py>(py: Python<'py>, delta: &Delta) -> PyResult<Bound<'py, PyAny>> {
    let tuple = match delta {
        Delta::Insert { at, row } => ("insert", *at, in_python(py, row)?).into_pyobject(py)?.into_any(),
        Delta::Update { from, to, row, old } => {
            ("update", *from, *to, in_python(py, row)?, in_python(py, old)?).into_pyobject(py)?.into_any()
        }
        Delta::Remove { at, row, why } => {
            ("remove", *at, in_python(py, row)?, why.as_str()).into_pyobject(py)?.into_any()
        }
        Delta::Reset { rows } => ("reset", Rows(rows.clone())).into_pyobject(py)?.into_any(),
        // A newer core has more to tell than this knows.
        _ => ("other",).into_pyobject(py)?.into_any(),
    };
    Ok(tuple)
}

/// `(is_proven, since, why, error)`, the time in seconds since 1970.
fn status<'py>(py: Python<'py>, status: &Status) -> PyResult<Bound<'py, PyAny>> {
    let seconds = |at: Instant| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(at.elapsed()).as_secs_f64()
    };
    let (is_proven, at, why) = match &status.freshness {
        Freshness::Proven { at } => (true, *at, None),
        Freshness::InDoubt { since, why } => (false, *since, Some(why)),
        _ => (false, Instant::now(), None),
    };
    let error = why.and_then(|why| why.error()).map(|error| exception(py, error)).transpose()?;
    Ok((is_proven, seconds(at), why.map(|why| why.as_str()), error).into_pyobject(py)?.into_any())
}
