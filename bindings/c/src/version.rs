//! Version

use std::ffi::{CStr, c_char};

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version has no NUL"),
};

/// The version of the library at run time, such as "0.1.0"; that of the header is TIDINGS_VERSION. Static text, never
/// NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_version() -> *const c_char {
    VERSION.as_ptr()
}
