//! Lines that arrive in pieces, and whole lines that are too rare for a fast path.

use std::time::Duration;

use super::decoder::{Decoder, SHORT_ROOM, SHORT_TEXT_LIMIT};
use super::field::{self, Field, HEAD};

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
    pub(super) fn head_len(&self) -> usize {
        match self {
            Cut::Head { len, .. } => *len,
            _ => 0,
        }
    }
}

impl Decoder {
    /// Takes a `piece` of the line in `cut`. Once the line has `ended`, `cut` is [`Cut::No`]
    /// again.
    #[inline]
    pub(super) fn piece(&mut self, piece: &[u8], ended: bool) -> Option<Told> {
        match self.cut {
            Cut::Head { word, len } => self.head(word, len, piece, ended),
            _ => self.rest(piece, ended),
        }
    }

    /// Takes the beginning of a line, of which `before` bytes have come in earlier pieces.
    pub(super) fn head(&mut self, word: u64, before: usize, piece: &[u8], ended: bool) -> Option<Told> {
        self.more = true;
        let taken = piece.len().min(HEAD - before);
        let next = field::head_word(piece) & field::mask(taken);
        let (word, len) = (word | next << (8 * before), before + taken);
        if len < HEAD && !ended {
            self.cut = Cut::Head { word, len };
            return None;
        }
        let (field, value) = field::classify(word, len);
        let told = self.begin(field);
        let told = match word.to_le_bytes().get(value..before) {
            Some(value) => told.or(self.extend(value, false)),
            None => told,
        };
        told.or(self.rest(&piece[value.saturating_sub(before)..], ended))
    }

    /// Takes a piece of a line whose field is known.
    #[inline]
    fn rest(&mut self, piece: &[u8], ended: bool) -> Option<Told> {
        let told = self.extend(piece, ended);
        if ended { told.or(self.end()) } else { told }
    }

    /// Takes a whole line.
    pub(super) fn line(&mut self, field: Field, value: &[u8]) -> Option<Told> {
        self.more = true;
        let told = self.begin(field);
        told.or(self.rest(value, true))
    }

    fn begin(&mut self, field: Field) -> Option<Told> {
        self.cut = match field {
            Field::Data | Field::Event if self.oversize => Cut::Skipped,
            Field::Data if self.data.present => {
                // "Append the field value to the data buffer, then append a single U+000A
                // LINE FEED (LF)"; the one after the last line is never stored.
                self.cut = Cut::Value(Value::Data);
                return self.extend(b"\n", false);
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

    /// Takes a piece of the value, the last one if the line has `ended`.
    #[inline]
    fn extend(&mut self, piece: &[u8], ended: bool) -> Option<Told> {
        // What comes in pieces is data mostly, and the limit far.
        if let Cut::Value(Value::Data) = self.cut
            && piece.len() < self.room
        {
            self.room -= piece.len();
            self.data.push(piece, self.limit);
            return None;
        }
        self.extend_other(piece, ended)
    }

    #[inline(never)]
    fn extend_other(&mut self, piece: &[u8], ended: bool) -> Option<Told> {
        let Cut::Value(value) = self.cut else {
            return None;
        };
        match value {
            Value::Retry(millis) => {
                self.cut = digits(millis, piece);
                None
            }
            Value::Id => {
                // "If the field value does not contain U+0000 NULL, then set the last event
                // ID buffer to the field value. Otherwise, ignore the field." What comes
                // after a NUL does not make a message too large, however it is cut.
                let nul = memchr::memchr(0, piece);
                let told = self.append(value, &piece[..nul.unwrap_or(piece.len())], ended || nul.is_some());
                if nul.is_some() {
                    self.line.discard();
                    self.cut = Cut::Skipped;
                }
                told
            }
            Value::Data | Value::Event | Value::Comment { .. } => self.append(value, piece, ended),
        }
    }

    /// Appends a piece to a value.
    fn append(&mut self, value: Value, piece: &[u8], ended: bool) -> Option<Told> {
        let held = match value {
            Value::Data => return self.append_exactly(value, piece, ended),
            Value::Event => &mut self.event,
            _ => &mut self.line,
        };
        if piece.len() >= self.room || held.len() + piece.len() > SHORT_ROOM {
            return self.append_exactly(value, piece, ended);
        }
        self.room -= piece.len();
        held.push(piece, self.limit);
        None
    }

    /// The same where a limit is near: from here to its end all of the message is made text
    /// as it comes, except the character that a piece ends in.
    #[cold]
    fn append_exactly(&mut self, value: Value, piece: &[u8], ended: bool) -> Option<Told> {
        self.room = 0;
        let Self { limit, data, event, id, line, .. } = self;
        let (held, others, most) = match value {
            Value::Data => (data, [event, id, line], *limit),
            Value::Event => (event, [data, id, line], SHORT_TEXT_LIMIT),
            _ => (line, [data, event, id], SHORT_TEXT_LIMIT),
        };
        // What has come while the limits were far is within them, mended or not.
        held.settle(false, *limit);
        let mut size = 0;
        for other in others.into_iter().filter(|other| other.present) {
            other.settle(true, *limit);
            size += other.len();
        }
        if let Value::Comment { full } = value {
            let most = most.min(*limit);
            // One byte more tells that there is more. Text is never shorter than its bytes.
            let taken = piece.len().min((most + 1).saturating_sub(held.len()));
            if !full {
                held.push(&piece[..taken], most + 1);
                held.settle(ended, usize::MAX);
                let full = held.truncate(most);
                self.cut = Cut::Value(Value::Comment { full });
            }
            return None;
        }
        let (most, broken) = if *limit - size <= most { (*limit - size, *limit) } else { (most, most) };
        if held.len() + piece.len() <= most {
            held.push(piece, most);
            if held.settle(ended, most) {
                return None;
            }
        }
        self.overflow(broken)
    }

    fn end(&mut self) -> Option<Told> {
        let Cut::Value(value) = std::mem::replace(&mut self.cut, Cut::No) else {
            return None;
        };
        match value {
            Value::Data | Value::Event => None,
            Value::Id => {
                std::mem::swap(&mut self.line, &mut self.id);
                self.line.discard();
                None
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

/// What is known of a retry time after some more of its value.
fn digits(mut millis: Option<u64>, piece: &[u8]) -> Cut {
    // "If the field value consists of only ASCII digits"
    if !piece.iter().all(u8::is_ascii_digit) {
        return Cut::Skipped;
    }
    for byte in piece {
        let digit = u64::from(byte - b'0');
        millis = Some(millis.unwrap_or(0).saturating_mul(10).saturating_add(digit));
    }
    Cut::Value(Value::Retry(millis))
}
