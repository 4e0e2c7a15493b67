//! Strings

use std::{
    ffi::{CStr, CString, c_char},
    ptr,
};

use crate::{
    border::{free, value},
    text::c_text,
};

/// A `char *` that the host owns and gives back to [`tidings_string_free`].
#[repr(transparent)]
pub struct OwnedText(*mut c_char);

impl OwnedText {
    pub(crate) const NONE: Self = Self(ptr::null_mut());

    pub(crate) fn new(text: impl Into<Vec<u8>>) -> Self {
        Self(c_text(text).into_raw())
    }

    /// NULL for `None`.
    pub(crate) fn or_null(text: Option<String>) -> Self {
        text.map_or(Self::NONE, Self::new)
    }
}

/// Frees a string that you own, a `char *`.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_string_free(string: OwnedText) {
    if !string.0.is_null() {
        // SAFETY: by the header it comes from `OwnedText::new`, as it was, and is given back once.
        drop(unsafe { CString::from_raw(string.0) });
    }
}

/// A list of texts. Immutable.
pub struct Strings(Vec<CString>);

impl<T: Into<Vec<u8>>> FromIterator<T> for Strings {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        Self(texts.into_iter().map(c_text).collect())
    }
}

/// The number of texts.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_strings_len(strings: Option<&Strings>) -> usize {
    value(0, || Some(strings?.0.len()))
}

/// The text at `index`; NULL if `index` is out of range.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_strings_get(strings: Option<&Strings>, index: usize) -> *const c_char {
    value(ptr::null(), || strings?.0.get(index).map(CString::as_c_str).map(CStr::as_ptr))
}

/// Frees a list.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_strings_free(strings: Option<Box<Strings>>) {
    free(strings);
}
