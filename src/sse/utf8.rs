//! UTF-8 as the standard decodes it: what is invalid becomes U+FFFD.
//!
//! The standard decodes the stream before it looks for lines. Here each value is decoded
//! on its own, which gives the same text: line ends, colons and the space after a colon
//! are ASCII, and an ASCII byte always ends an incomplete sequence and is never part of one.
//!
//! Nothing is checked before it is lent: a chunk when the first value is lent from it, and
//! what is put together from pieces when it is whole.

use std::ops::Range;

use super::lines::count_work;

/// A chunk and its text.
#[derive(Debug)]
pub(super) struct Chunk<'c> {
    pub(super) bytes: &'c [u8],
    /// The chunk from the first value that was asked for, without the part of a character
    /// that it ends in, if that is valid. Checking all of it costs less than a value at a time.
    text: Option<&'c str>,
    /// Where in the chunk `text` begins.
    start: usize,
    /// Whether that is still to be done: nobody may ask.
    unchecked: bool,
}

impl<'c> Chunk<'c> {
    #[inline]
    pub(super) fn new(bytes: &'c [u8]) -> Self {
        Self { bytes, text: None, start: 0, unchecked: true }
    }

    /// A value that lies in the chunk, if it is known to be valid.
    #[inline]
    pub(super) fn text(&mut self, value: Range<usize>) -> Option<&'c str> {
        match self.text {
            Some(text) => text.get(value.start.checked_sub(self.start)?..value.end - self.start),
            None => self.check(value),
        }
    }

    #[inline(never)]
    fn check(&mut self, value: Range<usize>) -> Option<&'c str> {
        let rest = &self.bytes[value.start..];
        if self.unchecked && rest.len() >= SHORT {
            self.unchecked = false;
            let whole = &rest[..rest.len() - incomplete(rest)];
            count_work(whole.len());
            self.text = simdutf8::basic::from_utf8(whole).ok();
            self.start = value.start;
            if self.text.is_some() {
                return self.text(value);
            }
        }
        count_work(value.len());
        simdutf8::basic::from_utf8(&self.bytes[value]).ok()
    }
}

/// Fewer bytes are at most two values.
const SHORT: usize = 16;

/// The text of what is not valid.
pub(super) fn mended(bytes: &[u8]) -> impl Iterator<Item = &str> {
    count_work(bytes.len());
    bytes.utf8_chunks().flat_map(|chunk| {
        let replacement = if chunk.invalid().is_empty() { "" } else { "\u{FFFD}" };
        [chunk.valid(), replacement]
    })
}

/// Puts the text of what is not valid into `text`.
#[cold]
pub(super) fn mend<'t>(bytes: &[u8], text: &'t mut String) -> &'t str {
    text.clear();
    text.reserve_exact(mended(bytes).map(str::len).sum());
    text.extend(mended(bytes));
    text
}

/// How many bytes at the end are the beginning of a character.
#[inline]
pub(super) fn incomplete(bytes: &[u8]) -> usize {
    if bytes.last().is_none_or(u8::is_ascii) {
        return 0;
    }
    let after_lead = bytes.iter().rev().take(3).take_while(|byte| is_continuation(**byte)).count();
    let last = &bytes[bytes.len().saturating_sub(after_lead + 1)..];
    match std::str::from_utf8(last) {
        Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => last.len(),
        _ => 0,
    }
}

#[inline]
fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// Makes room for `extra` bytes, twice the capacity at a time, but never for more than
/// `limit`, which bounds what the buffer will hold.
#[inline]
pub(super) fn grow(buffer: &mut Vec<u8>, extra: usize, limit: usize) {
    if extra > buffer.capacity() - buffer.len() {
        enlarge(buffer, extra, limit);
    }
}

#[cold]
fn enlarge(buffer: &mut Vec<u8>, extra: usize, limit: usize) {
    const FIRST: usize = 1024;
    let wanted = (2 * buffer.capacity()).max(FIRST).min(limit).max(buffer.len() + extra);
    buffer.reserve_exact(wanted - buffer.len());
}

/// How long the longest beginning of `text` of at most `limit` bytes is that ends with a
/// character.
pub(super) fn boundary(text: &[u8], limit: usize) -> usize {
    let mut end = limit.min(text.len());
    while text.get(end).is_some_and(|byte| is_continuation(*byte)) {
        end -= 1;
    }
    end
}
