//! Threads

use crate::border::value;

/// The number of threads of the library in this process: see "Threads" at the top.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_thread_count() -> usize {
    value(0, || Some(tidings_core::blocking::threads()))
}
