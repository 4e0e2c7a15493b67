//! UTF-8 as the standard decodes it: what is invalid becomes U+FFFD.
//!
//! The standard decodes the stream before it looks for lines. Here each value is decoded
//! on its own, which gives the same text: line ends, colons and the space after a colon
//! are ASCII, and an ASCII byte always ends an incomplete sequence and is never part of one.
//!
//! Each byte is checked once: what is put together from pieces is put together from text.

use super::lines::count_work;

/// A chunk and its text.
#[derive(Debug)]
pub(super) struct Chunk<'c> {
    pub(super) bytes: &'c [u8],
    /// The chunk without the parts of characters that it begins and ends with, if that is
    /// valid. Checking a chunk as a whole costs less than a value at a time.
    text: Option<&'c str>,
    /// Where in the chunk `text` begins.
    start: usize,
    /// Whether nobody has asked for text yet: nobody may.
    unchecked: bool,
}

impl<'c> Chunk<'c> {
    #[inline]
    pub(super) fn new(bytes: &'c [u8]) -> Self {
        Self { bytes, text: None, start: 0, unchecked: true }
    }

    /// A value, or a piece of one, that lies in the chunk, where it is valid.
    #[inline]
    pub(super) fn text(&mut self, start: usize, end: usize) -> Option<&'c str> {
        match self.text {
            Some(text) => text.get(start.checked_sub(self.start)?..end - self.start),
            None => self.check(start, end),
        }
    }

    #[inline(never)]
    fn check(&mut self, start: usize, end: usize) -> Option<&'c str> {
        if std::mem::take(&mut self.unchecked) && self.bytes.len() >= VECTORS {
            let first = self.bytes.iter().take(3).take_while(|byte| is_continuation(**byte)).count();
            let whole = &self.bytes[first..self.bytes.len() - incomplete(&self.bytes[first..])];
            if whole.len() >= VECTORS {
                count_work(whole.len());
                self.text = simdutf8::basic::from_utf8(whole).ok();
                self.start = first;
                if self.text.is_some() {
                    return self.text(start, end);
                }
            }
        }
        count_work(end - start);
        simdutf8::basic::from_utf8(&self.bytes[start..end]).ok()
    }
}

/// From this length on simdutf8 uses vectors.
const VECTORS: usize = 64;

/// What is there of a value and not decoded yet: the beginning of a character, or a few short
/// pieces, which cost less to decode together.
#[derive(Clone, Debug, Default)]
pub(super) struct Undecoded(Vec<u8>);

impl Undecoded {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a piece of the value, if it is short.
    #[inline]
    pub(super) fn push(&mut self, piece: &[u8]) -> bool {
        const SHORT: usize = 256;
        const MOST: usize = 2048;
        let fits = piece.len() <= SHORT && self.0.len() + piece.len() <= MOST;
        if fits {
            count_work(piece.len());
            self.0.extend_from_slice(piece);
        }
        fits
    }

    /// Decodes what there is and a further piece, in order, part by part. What that ends in
    /// of a character is kept.
    pub(super) fn decode(&mut self, mut piece: &[u8], mut take: impl FnMut(&str)) {
        let end = self.0.len() - incomplete(&self.0);
        decode(&self.0[..end], &mut take);
        self.0.drain(..end);
        while !self.0.is_empty()
            && let [next, rest @ ..] = piece
        {
            self.0.push(*next);
            match std::str::from_utf8(&self.0) {
                Ok(character) => {
                    take(character);
                    self.0.clear();
                }
                Err(error) if error.error_len().is_none() => {}
                // It has not been continued, and this byte begins something else.
                Err(_) => {
                    self.0.clear();
                    take(REPLACEMENT);
                    continue;
                }
            }
            piece = rest;
        }
        let (whole, cut) = piece.split_at(piece.len() - incomplete(piece));
        decode(whole, &mut take);
        self.0.extend_from_slice(cut);
    }

    /// What the beginning of a character is worth that is not continued.
    pub(super) fn end(&mut self) -> Option<&'static str> {
        let any = !self.0.is_empty();
        self.0.clear();
        any.then_some(REPLACEMENT)
    }
}

const REPLACEMENT: &str = "\u{FFFD}";

fn decode(bytes: &[u8], mut take: impl FnMut(&str)) {
    count_work(bytes.len());
    match simdutf8::basic::from_utf8(bytes) {
        Ok("") => {}
        Ok(text) => take(text),
        Err(_) => {
            for chunk in bytes.utf8_chunks() {
                take(chunk.valid());
                if !chunk.invalid().is_empty() {
                    take(REPLACEMENT);
                }
            }
        }
    }
}

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
