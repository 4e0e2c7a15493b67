//! UTF-8 as the standard decodes it: what is invalid becomes U+FFFD.
//!
//! The standard decodes the stream before it looks for lines. Here each value is decoded
//! on its own, which gives the same text: line ends, colons and the space after a colon
//! are ASCII, and an ASCII byte always ends an incomplete sequence and is never part of one.

use super::lines::count_work;

/// The text of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkText<'c> {
    chunk: &'c [u8],
    /// The chunk without the parts of characters that it begins and ends with, if that is
    /// valid. Checking a chunk as a whole costs less than a value at a time.
    text: Option<&'c str>,
    /// Where in the chunk `text` begins.
    start: usize,
}

impl<'c> ChunkText<'c> {
    #[inline]
    pub(super) fn new(chunk: &'c [u8]) -> Self {
        // In a short chunk there may be no whole value at all.
        if chunk.len() < 256 {
            return Self {
                chunk,
                text: None,
                start: 0,
            };
        }
        count_work(chunk.len());
        let start = chunk
            .iter()
            .take(3)
            .take_while(|byte| is_continuation(**byte))
            .count();
        let end = chunk.len() - incomplete(chunk);
        let text = simdutf8::basic::from_utf8(&chunk[start..end]).ok();
        Self { chunk, text, start }
    }

    /// A value that lies in the chunk, where it is valid.
    #[inline]
    pub(super) fn get(&self, start: usize, end: usize) -> Option<&'c str> {
        match self.text {
            Some(text) => text.get(start - self.start..end - self.start),
            None => {
                count_work(end - start);
                simdutf8::basic::from_utf8(&self.chunk[start..end]).ok()
            }
        }
    }
}

/// How many bytes at the end are the beginning of a character.
fn incomplete(bytes: &[u8]) -> usize {
    let after_lead = bytes
        .iter()
        .rev()
        .take(3)
        .take_while(|byte| is_continuation(**byte))
        .count();
    match bytes.iter().rev().nth(after_lead) {
        Some(0xC0..) => after_lead + 1,
        _ => 0,
    }
}

#[inline]
fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// The text of bytes that have been [repaired](repair).
pub(super) fn repaired(bytes: &[u8]) -> &str {
    simdutf8::basic::from_utf8(bytes).expect("it has been repaired")
}

/// Replaces what is invalid in `buffer`, in place. `false`, and nothing is done, if the
/// result would be longer than `limit`: a replacement character takes three bytes where
/// one may have been.
pub(super) fn repair(buffer: &mut Vec<u8>, limit: usize) -> bool {
    count_work(buffer.len());
    if simdutf8::basic::from_utf8(buffer).is_ok() {
        return buffer.len() <= limit;
    }
    let repaired: usize = buffer
        .utf8_chunks()
        .map(|chunk| chunk.valid().len() + replacement(chunk.invalid()).len())
        .sum();
    if repaired > limit {
        return false;
    }
    // The raw bytes move to the end of the grown buffer and are read from there. Writing
    // starts at the front and cannot overtake: the distance is what is left to be added.
    let raw = buffer.len();
    grow(buffer, repaired - raw, limit);
    buffer.resize(repaired, 0);
    buffer.copy_within(..raw, repaired - raw);
    let (mut read, mut write) = (repaired - raw, 0);
    while let Some(chunk) = buffer[read..].utf8_chunks().next() {
        let valid = chunk.valid().len();
        let invalid = chunk.invalid().len();
        let replacement = replacement(chunk.invalid());
        count_work(valid + invalid);
        buffer.copy_within(read..read + valid, write);
        read += valid + invalid;
        write += valid;
        buffer[write..write + replacement.len()].copy_from_slice(replacement);
        write += replacement.len();
    }
    debug_assert_eq!(write, repaired);
    true
}

fn replacement(invalid: &[u8]) -> &'static [u8] {
    if invalid.is_empty() {
        b""
    } else {
        "\u{FFFD}".as_bytes()
    }
}

/// Makes room for `extra` bytes, twice the capacity at a time, but never for more than
/// `limit`, which bounds what the buffer will hold.
#[inline]
pub(super) fn grow(buffer: &mut Vec<u8>, extra: usize, limit: usize) {
    const FIRST: usize = 1024;
    let needed = buffer.len() + extra;
    if needed > buffer.capacity() {
        let wanted = (2 * buffer.capacity()).max(FIRST).min(limit).max(needed);
        buffer.reserve_exact(wanted - buffer.len());
    }
}

/// The longest part of `raw` of at most `limit` bytes that does not end inside a character.
pub(super) fn floor_boundary(raw: &[u8], limit: usize) -> &[u8] {
    if raw.len() <= limit {
        return raw;
    }
    let mut end = limit;
    while end > 0 && limit - end < 3 && is_continuation(raw[end]) {
        end -= 1;
    }
    &raw[..end]
}
