//! Letting go of the interpreter, and the interpreter's end.
//!
//! Before Python 3.14 a thread that comes back to an interpreter which is ending is unwound on the spot. With Rust on its stack
//! that aborts the process, or frees objects of an interpreter that another thread has. So whoever lets go of the interpreter
//! in Rust does it here, where it is counted, and the end waits until nobody is left (`_ending.py`).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyo3::{intern, prelude::*, types::PyString};
use tidings::blocking::Process;

/// How many are in Rust who have let go of the interpreter, or may do so.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// Whether the interpreter is ending.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// Keeps the interpreter from ending while it lives.
pub(crate) struct Inside;

impl Inside {
    pub(crate) fn enter() -> Self {
        INSIDE.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs it without the interpreter; when that is ending, with it, since there would be no way back.
pub(crate) fn let_go<T: Send>(py: Python<'_>, action: impl FnOnce() -> T + Send) -> T {
    if is_ending() {
        return action();
    }
    let _inside = Inside::enter();
    py.detach(action)
}

/// Whether nobody may let go of the interpreter any more.
pub(crate) fn is_ending() -> bool {
    IS_ENDING.load(Ordering::Relaxed)
}

/// From now on nobody lets go of the interpreter in Rust, and waits end.
#[pyfunction]
pub(crate) fn end() {
    IS_ENDING.store(true, Ordering::Relaxed);
}

/// How many have let go of the interpreter in Rust.
#[pyfunction]
pub(crate) fn inside() -> usize {
    INSIDE.load(Ordering::Relaxed)
}

/// From now on [`forked`] is called in each forked child.
#[pyfunction]
pub(crate) fn count_forks() {
    Process::count_forks();
}

/// In a forked child: those who were inside are not here.
#[pyfunction]
pub(crate) fn forked() {
    Process::forked();
    INSIDE.store(0, Ordering::Relaxed);
}

/// Names as Python has them.
///
/// Whatever pyo3 makes at its first use, `intern!` included, it makes with the interpreter let go, and uncounted. So the first
/// use of all of them is at the import.
macro_rules! names {
    ($($name:ident)*) => {
        $(pub(crate) fn $name(py: Python<'_>) -> &Bound<'_, PyString> {
            intern!(py, stringify!($name))
        })*

        pub(crate) fn import(py: Python<'_>) {
            $($name(py);)*
        }
    };
}

pub(crate) mod name {
    use super::*;

    names!(
        __class__ __new__ _facts action args body create delete headers message messages record retry_after status
        update
    );
}
