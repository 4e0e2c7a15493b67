//! UTF-8 as the standard decodes it: what is invalid becomes U+FFFD.
//!
//! The standard decodes the stream before it looks for lines. Here each value is decoded
//! on its own, which gives the same text: line ends, colons and the space after a colon
//! are ASCII, and an ASCII byte always ends an incomplete sequence and is never part of one.

/// The text of bytes that this room has found to be valid, or has repaired.
pub(super) fn trusted(bytes: &[u8]) -> &str {
    simdutf8::basic::from_utf8(bytes).expect("the decoder holds valid UTF-8 only")
}

/// Replaces what is invalid in `buffer`, in place. `false`, and nothing is done, if the
/// result would be longer than `limit`: a replacement character takes three bytes where
/// one may have been.
pub(super) fn repair(buffer: &mut Vec<u8>, limit: usize) -> bool {
    super::lines::count_work(buffer.len());
    if simdutf8::basic::from_utf8(buffer).is_ok() {
        return buffer.len() <= limit;
    }
    let repaired: usize =
        buffer.utf8_chunks().map(|chunk| chunk.valid().len() + replacement(chunk.invalid()).len()).sum();
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
    if invalid.is_empty() { b"" } else { "\u{FFFD}".as_bytes() }
}

/// Makes room for `extra` bytes, twice the capacity at a time, but never for more than
/// `limit`, which bounds what the buffer will hold.
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
    let is_continuation = |at: usize| raw[at] & 0xC0 == 0x80;
    let mut end = limit;
    while end > 0 && limit - end < 3 && is_continuation(end) {
        end -= 1;
    }
    &raw[..end]
}
