//! JSON as Python objects, as deep as the core allows.

use jiter::{Jiter, JiterError, JsonErrorType, Peek, PythonParse, StringCacheMode};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyString},
};
use tidings::{Error, Event};

use crate::{
    error::exception,
    interpreter::{Inside, name},
};

/// Why there is no Python object for a text.
pub(crate) enum Unread {
    /// It is no JSON, or none that fits Python's text.
    Invalid(String),
    /// It has more levels than [`Event::MAX_DEPTH`].
    TooDeep,
    /// Python has no memory.
    Failed(PyErr),
}

impl Unread {
    /// What is wrong, for a person.
    pub(crate) fn why(self) -> PyResult<String> {
        match self {
            Self::Invalid(why) => Ok(why),
            Self::TooDeep => Ok(format!("it is nested over {} levels deep", Event::MAX_DEPTH)),
            Self::Failed(error) => Err(error),
        }
    }
}

pub(crate) fn to_python<'py>(py: Python<'py>, json: &[u8]) -> Result<Bound<'py, PyAny>, Unread> {
    // Before Python 3.12 any new object may start the collector, which runs what it likes.
    let _inside = Inside::enter();
    match parser().python_parse(py, json) {
        Err(error) if error.error_type == JsonErrorType::RecursionLimitExceeded => deep(py, json),
        parsed => parsed.map_err(|error| Unread::Invalid(error.description(json))),
    }
}

/// What is not ours to have failed: JSON that this program wrote.
pub(crate) fn from_value<'py>(py: Python<'py>, value: &serde_json::Value) -> PyResult<Bound<'py, PyAny>> {
    to_python(py, value.to_string().as_bytes()).map_err(|unread| match unread.why() {
        Ok(why) => PyValueError::new_err(why),
        Err(error) => error,
    })
}

/// JSON of an answer. A ValueError where it is none, which another parser may still take.
#[pyfunction]
pub(crate) fn parse<'py>(py: Python<'py>, json: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    to_python(py, json).map_err(|unread| {
        let is_invalid = matches!(unread, Unread::Invalid(_));
        let why = match unread.why() {
            Ok(why) if is_invalid => return PyValueError::new_err(why),
            Ok(why) => format!("the JSON cannot be read, and is in `body` as received: {why}"),
            Err(error) => return error,
        };
        let made = exception(py, &Error::Protocol(why.into())).and_then(|made| {
            made.setattr(name::body(py), PyBytes::new(py, json))?;
            Ok(made)
        });
        made.map_or_else(|error| error, PyErr::from_value)
    })
}

fn parser() -> PythonParse {
    // The keys of records repeat, and their values seldom do.
    PythonParse { allow_inf_nan: false, cache_mode: StringCacheMode::Keys, ..PythonParse::default() }
}

/// An array or object that is being filled.
enum Open<'py> {
    Array(Bound<'py, PyList>),
    Object(Bound<'py, PyDict>, Bound<'py, PyString>),
}

/// The same without recursion, which would need a stack as deep as the text.
fn deep<'py>(py: Python<'py>, json: &[u8]) -> Result<Bound<'py, PyAny>, Unread> {
    let mut jiter = Jiter::new(json);
    let mut open: Vec<Open<'py>> = Vec::new();
    let mut peek = jiter.peek().map_err(|error| invalid(&jiter, &error))?;
    loop {
        // One value, or the beginning of one.
        let mut value = match peek {
            Peek::Array => {
                let list = PyList::empty(py);
                match jiter.known_array().map_err(|error| invalid(&jiter, &error))? {
                    Some(first) => {
                        open.push(Open::Array(list));
                        peek = first;
                        check(open.len())?;
                        continue;
                    }
                    None => {
                        check(open.len() + 1)?;
                        list.into_any()
                    }
                }
            }
            Peek::Object => {
                let dict = PyDict::new(py);
                let key = jiter.known_object().map(|key| key.map(|key| PyString::new(py, key)));
                match key.map_err(|error| invalid(&jiter, &error))? {
                    Some(key) => {
                        open.push(Open::Object(dict, key));
                        peek = jiter.peek().map_err(|error| invalid(&jiter, &error))?;
                        check(open.len())?;
                        continue;
                    }
                    None => {
                        check(open.len() + 1)?;
                        dict.into_any()
                    }
                }
            }
            _ => scalar(py, &mut jiter, peek)?,
        };
        // It goes into what is open, whose end it may be.
        loop {
            let Some(parent) = open.last_mut() else {
                jiter.finish().map_err(|error| invalid(&jiter, &error))?;
                return Ok(value);
            };
            let next = match parent {
                Open::Array(list) => {
                    list.append(value).map_err(Unread::Failed)?;
                    jiter.array_step()
                }
                Open::Object(dict, key) => {
                    dict.set_item(&*key, value).map_err(Unread::Failed)?;
                    match jiter.next_key().map(|next| next.map(|next| PyString::new(py, next))) {
                        Ok(Some(next)) => {
                            *key = next;
                            jiter.peek().map(Some)
                        }
                        Ok(None) => Ok(None),
                        Err(error) => Err(error),
                    }
                }
            };
            match next.map_err(|error| invalid(&jiter, &error))? {
                Some(next) => {
                    peek = next;
                    break;
                }
                None => {
                    value = match open.pop() {
                        Some(Open::Array(list)) => list.into_any(),
                        Some(Open::Object(dict, _)) => dict.into_any(),
                        None => unreachable!("it was there above"),
                    };
                }
            }
        }
    }
}

fn scalar<'py>(py: Python<'py>, jiter: &mut Jiter<'_>, peek: Peek) -> Result<Bound<'py, PyAny>, Unread> {
    let start = jiter.current_index();
    jiter.known_skip(peek).map_err(|error| invalid(jiter, &error))?;
    let text = jiter.slice_to_current(start);
    parser().python_parse(py, text).map_err(|error| Unread::Invalid(error.description(text)))
}

fn check(depth: usize) -> Result<(), Unread> {
    if depth > Event::MAX_DEPTH { Err(Unread::TooDeep) } else { Ok(()) }
}

fn invalid(jiter: &Jiter<'_>, error: &JiterError) -> Unread {
    Unread::Invalid(error.description(jiter))
}
