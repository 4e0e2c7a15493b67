//! UTF-8 as the standard decodes it: what is invalid becomes U+FFFD.
//!
//! The standard decodes the stream before it looks for lines. Here each value is decoded
//! on its own, which gives the same text: line ends, colons and the space after a colon
//! are ASCII, and an ASCII byte always ends an incomplete sequence and is never part of one.
//!
//! Each byte is checked once: what is put together from pieces is put together from text.

use super::lines::count_work;

/// A chunk and its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'c> {
    pub(super) bytes: &'c [u8],
    /// The chunk without the parts of characters that it begins and ends with, if that is
    /// valid. Checking a chunk as a whole costs less than a value at a time.
    text: Option<&'c str>,
    /// Where in the chunk `text` begins.
    start: usize,
}

impl<'c> Chunk<'c> {
    #[inline]
    pub(super) fn new(bytes: &'c [u8]) -> Self {
        // Too short for vectors.
        if bytes.len() < 64 {
            return Self { bytes, text: None, start: 0 };
        }
        count_work(bytes.len());
        let start = bytes.iter().take(3).take_while(|byte| is_continuation(**byte)).count();
        let end = bytes.len() - incomplete(bytes);
        let text = simdutf8::basic::from_utf8(&bytes[start..end]).ok();
        Self { bytes, text, start }
    }

    /// A value, or a piece of one, that lies in the chunk, where it is valid.
    #[inline]
    pub(super) fn text(&self, start: usize, end: usize) -> Option<&'c str> {
        match self.text {
            Some(text) => text.get(start.checked_sub(self.start)?..end - self.start),
            None => {
                count_work(end - start);
                simdutf8::basic::from_utf8(&self.bytes[start..end]).ok()
            }
        }
    }
}

/// The bytes that are there of a character that a chunk has cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Partial {
    bytes: [u8; 4],
    len: usize,
}

impl Partial {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Decodes a piece of a value, in order, part by part. What it ends in of a character
    /// is kept for the next piece.
    pub(super) fn decode(&mut self, mut piece: &[u8], mut take: impl FnMut(&str)) {
        count_work(piece.len());
        while self.len > 0
            && let [next, rest @ ..] = piece
        {
            self.bytes[self.len] = *next;
            match std::str::from_utf8(&self.bytes[..self.len + 1]) {
                Ok(character) => {
                    take(character);
                    (self.len, piece) = (0, rest);
                }
                Err(error) if error.error_len().is_none() => {
                    self.len += 1;
                    piece = rest;
                }
                // It has not been continued, and the next byte begins something else.
                Err(_) => self.end(&mut take),
            }
        }
        let (whole, cut) = piece.split_at(piece.len() - incomplete(piece));
        if !cut.is_empty() {
            self.bytes[..cut.len()].copy_from_slice(cut);
            self.len = cut.len();
        }
        match simdutf8::basic::from_utf8(whole) {
            Ok(text) => take(text),
            Err(_) => {
                for chunk in whole.utf8_chunks() {
                    take(chunk.valid());
                    if !chunk.invalid().is_empty() {
                        take(REPLACEMENT);
                    }
                }
            }
        }
    }

    /// Ends the value.
    #[inline]
    pub(super) fn end(&mut self, mut take: impl FnMut(&str)) {
        if std::mem::take(&mut self.len) > 0 {
            take(REPLACEMENT);
        }
    }
}

const REPLACEMENT: &str = "\u{FFFD}";

/// How many bytes at the end are the beginning of a character.
#[inline]
fn incomplete(bytes: &[u8]) -> usize {
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
pub(super) fn grow(buffer: &mut String, extra: usize, limit: usize) {
    const FIRST: usize = 1024;
    let needed = buffer.len() + extra;
    if needed > buffer.capacity() {
        let wanted = (2 * buffer.capacity()).max(FIRST).min(limit).max(needed);
        buffer.reserve_exact(wanted - buffer.len());
    }
}

/// The longest beginning of `text` of at most `limit` bytes.
pub(super) fn prefix(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
