//! Lines that arrive in pieces, and whole lines that are too rare for a fast path.

use std::time::Duration;

use super::decoder::{Decoder, SHORT_TEXT_LIMIT};
use super::field::{self, Field, HEAD};
use super::utf8;

/// How far a line has come that the end of a chunk has cut.
#[derive(Clone, Debug)]
pub(super) enum Cut {
    /// The chunk ended with the end of a line.
    No,
    /// Only the first bytes are there, too few to tell the field.
    Head { bytes: [u8; HEAD], len: usize },
    /// The field is known, and its value is put together piece by piece.
    Value(Value),
    /// The rest of the line is of no use: a comment, an unknown field, a message that is
    /// too large.
    Skipped,
}

/// The value of a line that has been cut, and where its bytes go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    /// To the end of `data`.
    Data,
    /// To `event`: the latest one is the one that counts.
    Event,
    /// To `line`, since an id that turns out to hold a NUL leaves `id` as it was.
    Id,
    /// To `line`.
    Comment,
    /// Nowhere: the digits are counted as they come. `None` until the first one.
    Retry(Option<u64>),
}

/// What a line has told, apart from what it has added to a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    /// The comment is in `line`.
    Comment,
    Retry(Duration),
    TooLarge {
        limit: usize,
    },
}

impl Cut {
    pub(super) const START: Cut = Cut::Head { bytes: [0; HEAD], len: 0 };

    pub(super) fn head_len(&self) -> usize {
        match self {
            Cut::Head { len, .. } => *len,
            _ => 0,
        }
    }
}

impl Decoder {
    /// Takes the next piece of the line in `cut`. Once the line has `ended`, `cut` is
    /// [`Cut::No`] again.
    pub(super) fn piece(&mut self, mut piece: &[u8], ended: bool) -> Option<Told> {
        let mut told = None;
        if let Cut::Head { bytes, len } = &mut self.cut {
            let (taken, rest) = piece.split_at(piece.len().min(HEAD - *len));
            bytes[*len..*len + taken.len()].copy_from_slice(taken);
            *len += taken.len();
            piece = rest;
            if *len < HEAD && !ended {
                return None;
            }
            let (bytes, len) = (*bytes, *len);
            let (field, value) = field::classify(field::head_word(&bytes), len);
            told = self.begin(field);
            told = told.or(self.extend(&bytes[value..len]));
        }
        told = told.or(self.extend(piece));
        if ended { told.or(self.end()) } else { told }
    }

    /// Takes a whole line.
    pub(super) fn line(&mut self, field: Field, value: &[u8]) -> Option<Told> {
        let told = self.begin(field);
        let told = told.or(self.extend(value));
        told.or(self.end())
    }

    fn begin(&mut self, field: Field) -> Option<Told> {
        self.cut = match field {
            Field::Data | Field::Event if self.oversize => Cut::Skipped,
            Field::Data if self.data.present => {
                // "Append the field value to the data buffer, then append a single U+000A
                // LINE FEED (LF)"; the one after the last line is never stored.
                self.cut = Cut::Value(Value::Data);
                return self.extend(b"\n");
            }
            Field::Data => {
                self.data.start();
                Cut::Value(Value::Data)
            }
            Field::Event => {
                self.event.start();
                Cut::Value(Value::Event)
            }
            Field::Id => {
                self.line.start();
                Cut::Value(Value::Id)
            }
            Field::Comment if self.comments => {
                self.line.start();
                Cut::Value(Value::Comment)
            }
            Field::Retry => Cut::Value(Value::Retry(None)),
            Field::Comment | Field::Unknown => Cut::Skipped,
        };
        None
    }

    fn extend(&mut self, bytes: &[u8]) -> Option<Told> {
        let Cut::Value(value) = &mut self.cut else {
            return None;
        };
        match value {
            Value::Data => {
                let allowed = self.limit - self.event.len() - self.id.len();
                if bytes.len() > allowed - self.data.len() {
                    return self.overflow(self.limit);
                }
                self.data.push(bytes, self.limit);
            }
            Value::Event => {
                let (allowed, limit) = self.short_room(Field::Event);
                if bytes.len() > allowed - self.event.len() {
                    return self.overflow(limit);
                }
                self.event.push(bytes, allowed);
            }
            Value::Id => {
                // "If the field value does not contain U+0000 NULL, then set the last event
                // ID buffer to the field value. Otherwise, ignore the field." What comes
                // after a NUL does not make a message too large, however it is cut.
                let nul = memchr::memchr(0, bytes);
                let bytes = &bytes[..nul.unwrap_or(bytes.len())];
                let (allowed, limit) = self.short_room(Field::Id);
                if bytes.len() > allowed - self.line.len() {
                    return self.overflow(limit);
                }
                if nul.is_some() {
                    self.line.discard();
                    self.cut = Cut::Skipped;
                } else {
                    self.line.push(bytes, allowed);
                }
            }
            Value::Comment => {
                // One byte more than is kept tells whether a character would be cut.
                let kept = self.limit.min(SHORT_TEXT_LIMIT) + 1;
                let bytes = &bytes[..bytes.len().min(kept - self.line.len())];
                self.line.push(bytes, kept);
            }
            Value::Retry(millis) => {
                // "If the field value consists of only ASCII digits"
                for byte in bytes {
                    if !byte.is_ascii_digit() {
                        self.cut = Cut::Skipped;
                        return None;
                    }
                    let digit = u64::from(byte - b'0');
                    let so_far = millis.unwrap_or(0);
                    *millis = Some(so_far.saturating_mul(10).saturating_add(digit));
                }
            }
        }
        None
    }

    fn end(&mut self) -> Option<Told> {
        let Cut::Value(value) = std::mem::replace(&mut self.cut, Cut::No) else {
            return None;
        };
        match value {
            Value::Data => {}
            Value::Event => {
                let (allowed, limit) = self.short_room(Field::Event);
                if !utf8::repair(&mut self.event.bytes, allowed) {
                    return self.overflow(limit);
                }
            }
            Value::Id => {
                let (allowed, limit) = self.short_room(Field::Id);
                if !utf8::repair(&mut self.line.bytes, allowed) {
                    self.line.discard();
                    return self.overflow(limit);
                }
                std::mem::swap(&mut self.line, &mut self.id);
                self.line.discard();
            }
            Value::Comment => {
                let kept = self.limit.min(SHORT_TEXT_LIMIT);
                let whole = utf8::floor_boundary(&self.line.bytes, kept).len();
                self.line.bytes.truncate(whole);
                utf8::repair(&mut self.line.bytes, usize::MAX);
                let whole = utf8::floor_boundary(&self.line.bytes, kept).len();
                self.line.bytes.truncate(whole);
                self.line.take();
                return Some(Told::Comment);
            }
            Value::Retry(millis) => {
                self.retry = Some(Duration::from_millis(millis?));
                return self.retry.map(Told::Retry);
            }
        }
        None
    }

    /// How long an event type or id may become in the message at hand, and which limit
    /// it breaks if it is longer.
    fn short_room(&self, field: Field) -> (usize, usize) {
        let others = self.data.len() + self.id.len() + if field == Field::Id { self.event.len() } else { 0 };
        let room = self.limit - others;
        if room <= SHORT_TEXT_LIMIT { (room, self.limit) } else { (SHORT_TEXT_LIMIT, SHORT_TEXT_LIMIT) }
    }

    /// The message at hand has turned out too large: drops it and skips the line at hand.
    fn overflow(&mut self, limit: usize) -> Option<Told> {
        if !matches!(self.cut, Cut::No) {
            self.cut = Cut::Skipped;
        }
        self.line.discard();
        self.data.discard();
        self.event.discard();
        // A second breach can come from a further id only; the message is told of once.
        let first = !std::mem::replace(&mut self.oversize, true);
        self.too_large += u64::from(first);
        first.then_some(Told::TooLarge { limit })
    }
}
