//! Lines that arrive in pieces, and whole lines that are too rare for a fast path.

use std::time::Duration;

use super::decoder::{Decoder, SHORT_TEXT_LIMIT};
use super::field::{self, Field, HEAD};
use super::utf8::{self, Chunk};

/// How far a line has come that the end of a chunk has cut.
#[derive(Clone, Debug)]
pub(super) enum Cut {
    /// The chunk ended with the end of a line.
    No,
    /// Only the first bytes are there, too few to tell the field.
    Head { word: u64, len: usize },
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
    /// To `line`, until that is `full`.
    Comment { full: bool },
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
    pub(super) const START: Cut = Cut::Head { word: 0, len: 0 };

    pub(super) fn head_len(&self) -> usize {
        match self {
            Cut::Head { len, .. } => *len,
            _ => 0,
        }
    }
}

impl Decoder {
    /// Takes what `chunk` has of the line in `cut`. Once the line has `ended`, `cut` is
    /// [`Cut::No`] again.
    pub(super) fn piece(
        &mut self,
        chunk: &mut Chunk<'_>,
        mut start: usize,
        end: usize,
        ended: bool,
    ) -> Option<Told> {
        self.more = true;
        let mut told = None;
        if let Cut::Head { word, len } = &mut self.cut {
            let before = *len;
            let taken = (end - start).min(HEAD - before);
            let next = field::head_word(&chunk.bytes[start..end]) & field::mask(taken);
            *word |= next << (8 * before);
            *len += taken;
            if *len < HEAD && !ended {
                self.room = self.space();
                return None;
            }
            let (word, len) = (*word, *len);
            let (field, value) = field::classify(word, len);
            told = self.begin(field);
            if value < before {
                told = told.or(self.extend(&word.to_le_bytes()[value..before], None));
            }
            start += value.saturating_sub(before);
        }
        told = told.or(self.extend(&chunk.bytes[start..end], chunk.text(start, end)));
        if ended {
            told = told.or(self.end());
        }
        self.room = self.space();
        told
    }

    /// Takes a whole line.
    pub(super) fn line(&mut self, field: Field, value: &[u8]) -> Option<Told> {
        self.more = true;
        let told = self.begin(field);
        let told = told.or(self.extend(value, None));
        let told = told.or(self.end());
        self.room = self.space();
        told
    }

    fn begin(&mut self, field: Field) -> Option<Told> {
        self.cut = match field {
            Field::Data | Field::Event if self.oversize => Cut::Skipped,
            Field::Data if self.data.present => {
                // "Append the field value to the data buffer, then append a single U+000A
                // LINE FEED (LF)"; the one after the last line is never stored.
                self.cut = Cut::Value(Value::Data);
                return self.extend_text("\n");
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
                Cut::Value(Value::Comment { full: false })
            }
            Field::Retry => Cut::Value(Value::Retry(None)),
            Field::Comment | Field::Unknown => Cut::Skipped,
        };
        None
    }

    /// Takes a piece of the value, and its text if it is text on its own.
    fn extend(&mut self, piece: &[u8], text: Option<&str>) -> Option<Told> {
        let Cut::Value(value) = &mut self.cut else {
            return None;
        };
        if let Value::Retry(millis) = value {
            // "If the field value consists of only ASCII digits"
            if !piece.iter().all(u8::is_ascii_digit) {
                self.cut = Cut::Skipped;
                return None;
            }
            for byte in piece {
                let digit = u64::from(byte - b'0');
                *millis = Some(millis.unwrap_or(0).saturating_mul(10).saturating_add(digit));
            }
            return None;
        }
        match text {
            Some(text) if self.undecoded.len() == 0 => self.extend_text(text),
            _ if piece.len() <= self.space() && self.undecoded.push(piece) => None,
            _ => self.decode(piece),
        }
    }

    /// Decodes what there is of the value, to the end of `piece`.
    fn decode(&mut self, piece: &[u8]) -> Option<Told> {
        let mut told = None;
        let mut undecoded = std::mem::take(&mut self.undecoded);
        undecoded.decode(piece, |text| told = told.or(self.extend_text(text)));
        if !matches!(self.cut, Cut::Value(_)) {
            undecoded.clear();
        }
        self.undecoded = undecoded;
        told
    }

    /// Takes a part of the value, decoded.
    fn extend_text(&mut self, text: &str) -> Option<Told> {
        let Cut::Value(value) = &mut self.cut else {
            return None;
        };
        match value {
            Value::Data => {
                let allowed = self.limit - self.event.len() - self.id.len();
                if text.len() > allowed - self.data.len() {
                    return self.overflow(self.limit);
                }
                self.data.push(text, self.limit);
            }
            Value::Event => {
                let (allowed, limit) = self.short_room(Field::Event);
                if text.len() > allowed - self.event.len() {
                    return self.overflow(limit);
                }
                self.event.push(text, allowed);
            }
            Value::Id => {
                // "If the field value does not contain U+0000 NULL, then set the last event
                // ID buffer to the field value. Otherwise, ignore the field." What comes
                // after a NUL does not make a message too large, however it is cut.
                let nul = memchr::memchr(0, text.as_bytes());
                let text = &text[..nul.unwrap_or(text.len())];
                let (allowed, limit) = self.short_room(Field::Id);
                if text.len() > allowed - self.line.len() {
                    return self.overflow(limit);
                }
                if nul.is_some() {
                    self.line.discard();
                    self.cut = Cut::Skipped;
                } else {
                    self.line.push(text, allowed);
                }
            }
            Value::Comment { full } => {
                let kept = self.limit.min(SHORT_TEXT_LIMIT);
                let room = if *full { 0 } else { kept - self.line.len() };
                *full |= text.len() > room;
                self.line.push(utf8::prefix(text, room), kept);
            }
            Value::Retry(_) => {}
        }
        None
    }

    fn end(&mut self) -> Option<Told> {
        let mut told = None;
        if self.undecoded.len() > 0 {
            told = self.decode(b"");
            if let Some(text) = self.undecoded.end() {
                told = told.or(self.extend_text(text));
            }
        }
        let Cut::Value(value) = std::mem::replace(&mut self.cut, Cut::No) else {
            return told;
        };
        match value {
            Value::Data | Value::Event => told,
            Value::Id => {
                std::mem::swap(&mut self.line, &mut self.id);
                self.line.discard();
                told
            }
            Value::Comment { .. } => {
                self.line.take();
                Some(Told::Comment)
            }
            Value::Retry(millis) => {
                self.retry = Some(Duration::from_millis(millis?));
                self.retry.map(Told::Retry)
            }
        }
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
