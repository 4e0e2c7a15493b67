//! Text as C wants it

use std::{
    ffi::{CString, c_char},
    sync::Mutex,
};

/// Text for C. What follows a NUL, which only odd servers send, is cut off.
pub(crate) fn c_text(text: impl Into<Vec<u8>>) -> CString {
    CString::new(text).unwrap_or_else(|error| {
        let end = error.nul_position();
        let mut bytes = error.into_vec();
        bytes.truncate(end);
        CString::new(bytes).unwrap_or_default()
    })
}

/// Texts that stay where they are until their owner is freed, made when C asks for them.
#[derive(Default)]
pub(crate) struct Texts(Mutex<Vec<CString>>);

impl Texts {
    /// The text for C; `None` if it holds a NUL.
    pub(crate) fn keep(&self, text: &str) -> Option<*const c_char> {
        let text = CString::new(text).ok()?;
        let mut texts = self.0.lock().ok()?;
        let at = texts.iter().position(|known| *known == text).unwrap_or_else(|| {
            texts.push(text);
            texts.len() - 1
        });
        // What the list holds stays where it is in memory when the list grows.
        Some(texts[at].as_ptr())
    }
}
