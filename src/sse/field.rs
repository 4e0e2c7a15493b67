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

/// The bits of a [`head_word`] that so many bytes take, which are fewer than eight.
#[inline]
pub(super) const fn mask(bytes: usize) -> u64 {
    (1 << (8 * bytes)) - 1
}

/// The first bytes of a line as one number, the first byte lowest. What follows the line's
/// end in `bytes` may be part of it; what is not there is zero.
#[inline]
pub(super) fn head_word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(head) => u64::from_le_bytes(*head),
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Where the value of a data line begins, if the line is one and has a colon.
#[inline]
pub(super) fn data_value(head: u64) -> Option<usize> {
    DATA.value(head)
}

/// The field of a line that is not blank, and where in the line its value begins.
/// `length` is that of the line, or what is known of it so far if that is at least [`HEAD`].
#[inline]
pub(super) fn classify(head: u64, length: usize) -> (Field, usize) {
    let (field, name) = match head as u8 {
        b'd' => (Field::Data, DATA),
        b'e' => (Field::Event, EVENT),
        b'i' => (Field::Id, ID),
        b'r' => (Field::Retry, RETRY),
        b':' => (Field::Comment, COMMENT),
        _ => return (Field::Unknown, length),
    };
    match name.value(head) {
        Some(value) => (field, value),
        // "Otherwise, the string is not empty but does not contain a U+003A COLON character
        // (:): Process the field [...] using the whole line as the field name, and the empty
        // string as the field value."
        None if name.is_all(head, length) => (field, length),
        None => (Field::Unknown, length),
    }
}

const DATA: Name = Name::new(b"data:");
const EVENT: Name = Name::new(b"event:");
const ID: Name = Name::new(b"id:");
const RETRY: Name = Name::new(b"retry:");
const COMMENT: Name = Name::new(b":");

/// A field's name with its colon, in the shape of a [`head_word`].
#[derive(Clone, Copy)]
struct Name {
    word: u64,
    length: usize,
}

impl Name {
    const fn new(name: &[u8]) -> Self {
        let (mut word, mut at) = (0, 0);
        while at < name.len() {
            word |= (name[at] as u64) << (8 * at);
            at += 1;
        }
        Self { word, length: at }
    }

    /// Where the value begins in a line that has this name and a colon. No length is needed:
    /// none of the bytes compared is a line end, so they all lie in the line.
    #[inline]
    fn value(self, head: u64) -> Option<usize> {
        let space = (head >> (8 * self.length)) as u8 == b' ';
        (head & mask(self.length) == self.word).then_some(self.length + usize::from(space))
    }

    /// Whether the line of this length is the name alone, without its colon.
    #[inline]
    fn is_all(self, head: u64, length: usize) -> bool {
        let mask = mask(self.length - 1);
        length + 1 == self.length && head & mask == self.word & mask
    }
}
