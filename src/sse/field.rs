//! Which field a line is.

/// The kinds of lines there are; a blank line is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Data,
    Event,
    Id,
    Retry,
    /// A line that begins with a colon.
    Comment,
    Unknown,
}

/// As many bytes at the start of a line tell all there is to know: the longest name,
/// its colon, and the space that does not belong to the value.
pub(super) const HEAD: usize = 7;

/// The first bytes of a line as one number, the first byte lowest. What follows the line's
/// end in `bytes` may be part of it; what is not there is zero.
#[inline]
pub(super) fn head_word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(head) => u64::from_le_bytes(*head),
        None => {
            let mut head = [0; 8];
            head[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(head)
        }
    }
}

/// Whether a line begins with `name` (at most 6 bytes). If it holds a colon then no length
/// is needed: no byte of a match is a line end, so the match lies in the line.
#[inline]
pub(super) fn begins_with(head: u64, name: &[u8]) -> bool {
    let mask = (1 << (8 * name.len())) - 1;
    head & mask == head_word(name)
}

/// 1 if a space is at `at`, where a value begins, else 0.
#[inline]
pub(super) fn space_at(head: u64, at: usize) -> usize {
    usize::from((head >> (8 * at)) as u8 == b' ')
}

/// The field of a line that is not blank, and where in the line its value begins.
/// `length` is that of the line, or what is known of it so far if that is at least [`HEAD`].
pub(super) fn classify(head: u64, length: usize) -> (Field, usize) {
    const NAMES: [(Field, &[u8]); 5] = [
        (Field::Data, b"data:"),
        (Field::Id, b"id:"),
        (Field::Event, b"event:"),
        (Field::Retry, b"retry:"),
        (Field::Comment, b":"),
    ];
    for (field, name) in NAMES {
        if begins_with(head, name) {
            return (field, name.len() + space_at(head, name.len()));
        }
    }
    // "If the line is not empty but does not contain a colon: process the field using the
    // whole line as the field name, and the empty string as the field value."
    for (field, name) in NAMES {
        let bare = &name[..name.len() - 1];
        if length == bare.len() && begins_with(head, bare) {
            return (field, length);
        }
    }
    (Field::Unknown, length)
}
