//! One chunk on its way through the decoder.

use std::fmt;
use std::ops::Range;

use super::cut::{Cut, Told};
use super::decoder::{Decoder, SHORT_TEXT_LIMIT};
use super::field::{self, Field};
use super::item::{Item, Lent, Message};
use super::lines::LineEnds;
use super::utf8;

/// What a chunk completes, one item at a time: returned by [`Decoder::feed`].
///
/// A lending iterator: each item borrows from this value (or from the chunk) and must be
/// done with before the next is asked for, so there is no `Iterator` here but a `while let`
/// loop:
///
/// ```
/// # use tidings::sse::{Decoder, Item};
/// # let mut decoder = Decoder::new();
/// # let mut sum = 0;
/// let mut items = decoder.feed(b"data: 1\n\ndata: 2\n\n");
/// while let Some(item) = items.next() {
///     if let Item::Message(message) = item {
///         sum += message.data().parse::<u32>()?;
///     }
/// }
/// # assert_eq!(sum, 3);
/// # Ok::<(), std::num::ParseIntError>(())
/// ```
///
/// # Dropped early
/// Dropping this value decodes what is left of the chunk and throws the items away. So no
/// later message is damaged, and the last event id, the retry time and the counters are
/// what they would have been. (With [`std::mem::forget`] instead, the stream goes on as if
/// the rest of the chunk, and an unfinished message in it, had never arrived.)
///
/// ```
/// # use tidings::sse::{Decoder, Item};
/// let mut decoder = Decoder::new();
/// drop(decoder.feed(b"data: a\n\nid: 5\ndata: b\n\ndata: c"));
/// assert_eq!((decoder.messages(), decoder.last_event_id()), (2, "5"));
/// let mut items = decoder.feed(b"\n\n");
/// let Some(Item::Message(message)) = items.next() else { panic!() };
/// assert_eq!(message.data(), "c");
/// ```
pub struct Items<'d, 'c> {
    decoder: &'d mut Decoder,
    chunk: &'c [u8],
    phase: Phase,
    ends: LineEnds<'c>,
    /// Where the next line begins.
    start: usize,

    /// Where the message at hand begins, or 0 if that was in an earlier chunk.
    message: usize,
    /// How far a message may go on from there before somebody has to compute its size: the
    /// limit, less what was held of it when the chunk came. 0 in a message that is too large.
    room: usize,
    /// The values of the message at hand that are borrowed from the chunk. Each is in one
    /// place only, here or in the decoder.
    data: Option<Range<usize>>,
    event: Option<&'c [u8]>,
    id: Option<&'c [u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The chunk begins inside a line.
    CutLine,
    Lines,
    Done,
}

/// An item before it is lent: unlike it, this borrows from the chunk alone.
enum Step<'c> {
    Message { data: Source<'c>, event: Source<'c> },
    Comment(&'c str),
    Told(Told),
}

/// Where a value of a message is.
#[derive(Clone, Copy)]
enum Source<'c> {
    /// In the chunk, and valid UTF-8.
    Bytes(&'c [u8]),
    Text(&'c str),
    /// In its buffer in the decoder.
    Held,
}

impl<'d, 'c> Items<'d, 'c> {
    #[inline]
    pub(super) fn new(decoder: &'d mut Decoder, chunk: &'c [u8]) -> Self {
        let phase = if matches!(decoder.cut, Cut::No) { Phase::Lines } else { Phase::CutLine };
        let room = if decoder.oversize { 0 } else { decoder.limit.saturating_sub(decoder.buffered()) };
        Self {
            decoder,
            chunk,
            phase,
            ends: LineEnds::new(chunk),
            start: 0,
            message: 0,
            room,
            data: None,
            event: None,
            id: None,
        }
    }

    /// The next item, or `None` when the chunk is used up.
    // It cannot be an Iterator: the item borrows from it.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub fn next(&mut self) -> Option<Item<'_>> {
        let step = self.step()?;
        let decoder = &*self.decoder;
        Some(match step {
            Step::Message { data, event } => Item::Message(Message {
                event: event.lend(&decoder.event.bytes),
                data: data.lend(&decoder.data.bytes),
                id: &decoder.last_event_id,
            }),
            Step::Comment(text) => Item::Comment(text),
            Step::Told(Told::Comment) => Item::Comment(utf8::trusted(&decoder.line.bytes)),
            Step::Told(Told::Retry(after)) => Item::Retry(after),
            Step::Told(Told::TooLarge { limit }) => Item::TooLarge { limit },
        })
    }

    /// The decoder, to ask for its counters or [`Decoder::retry`] between two items.
    pub fn decoder(&self) -> &Decoder {
        self.decoder
    }

    fn step(&mut self) -> Option<Step<'c>> {
        match self.phase {
            Phase::Lines => {}
            Phase::Done => return None,
            Phase::CutLine => {
                if let Some(told) = self.rest_of_cut_line() {
                    return Some(told);
                }
            }
        }
        loop {
            let Some(end) = self.ends.next() else {
                return self.last_line();
            };
            let start = self.start;
            self.start = end + 1;
            let step = if start == end {
                self.blank_line(end)
            } else {
                let head = field::head_word(&self.chunk[start..]);
                if head & DATA_MASK == DATA {
                    self.data_line(start + 5 + field::space_at(head, 5), end)
                } else {
                    self.other_line(head, start, end)
                }
            };
            if step.is_some() {
                return step;
            }
        }
    }

    #[cold]
    fn rest_of_cut_line(&mut self) -> Option<Step<'c>> {
        let end = self.ends.next();
        let piece = &self.chunk[..end.unwrap_or(self.chunk.len())];
        let told = self.decoder.piece(piece, self.ends.is_ascii_from(0), end.is_some());
        self.start = end.map_or(self.chunk.len(), |end| end + 1);
        self.phase = Phase::Lines;
        if self.decoder.oversize {
            self.room = 0;
        }
        told.map(Step::Told)
    }

    /// Keeps what the next chunk will need.
    #[cold]
    fn last_line(&mut self) -> Option<Step<'c>> {
        self.phase = Phase::Done;
        if let Some(&last) = self.chunk.last() {
            self.decoder.after_cr = last == b'\r';
        }
        self.hold();
        let piece = &self.chunk[self.start..];
        if piece.is_empty() {
            return None;
        }
        self.decoder.cut = Cut::START;
        let told = self.decoder.piece(piece, self.ends.is_ascii_from(self.start), false);
        told.map(Step::Told)
    }

    /// Moves what is borrowed from the chunk to the decoder.
    fn hold(&mut self) {
        let limit = self.decoder.limit;
        if let Some(data) = self.data.take() {
            let ascii = self.ends.is_ascii_from(data.start);
            self.decoder.data.start();
            self.decoder.data.push(&self.chunk[data], ascii, limit);
        }
        if let Some(event) = self.event.take() {
            self.decoder.event.start();
            self.decoder.event.push(event, true, limit);
        }
        if let Some(id) = self.id.take() {
            self.decoder.id.start();
            self.decoder.id.push(id, true, limit);
        }
    }

    #[inline]
    fn data_line(&mut self, value: usize, end: usize) -> Option<Step<'c>> {
        let first = self.data.is_none() && !self.decoder.data.present;
        if first && end - self.message <= self.room {
            self.data = Some(value..end);
            return None;
        }
        self.line_by_pieces(Field::Data, value, end)
    }

    fn other_line(&mut self, head: u64, start: usize, end: usize) -> Option<Step<'c>> {
        let (field, offset) = field::classify(head, end - start);
        let start = start + offset;
        let value = &self.chunk[start..end];
        match field {
            Field::Event if self.may_borrow(start, end) => {
                self.event = Some(value);
                self.decoder.event.present = false;
                None
            }
            Field::Id if self.may_borrow(start, end) => {
                // "If the field value does not contain U+0000 NULL"
                if memchr::memchr(0, value).is_none() {
                    self.id = Some(value);
                    self.decoder.id.present = false;
                }
                None
            }
            Field::Comment if !self.decoder.comments => None,
            Field::Comment if value.len() <= SHORT_TEXT_LIMIT.min(self.decoder.limit) => {
                match simdutf8::basic::from_utf8(value) {
                    Ok(text) => Some(Step::Comment(text)),
                    Err(_) => self.line_by_pieces(field, start, end),
                }
            }
            Field::Unknown => None,
            _ => self.line_by_pieces(field, start, end),
        }
    }

    /// Whether a value is valid and certainly within the limits for an event type or id.
    fn may_borrow(&self, start: usize, end: usize) -> bool {
        end - self.message <= self.room
            && end - start <= SHORT_TEXT_LIMIT
            && (self.ends.is_ascii_from(start) || simdutf8::basic::from_utf8(&self.chunk[start..end]).is_ok())
    }

    /// The way of a line that is cut, for a whole line that needs the same care.
    fn line_by_pieces(&mut self, field: Field, start: usize, end: usize) -> Option<Step<'c>> {
        self.hold();
        let ascii = self.ends.is_ascii_from(start);
        let told = self.decoder.line(field, &self.chunk[start..end], ascii);
        if self.decoder.oversize {
            self.room = 0;
        }
        told.map(Step::Told)
    }

    /// The end of a message, unless it is only the second half of a CR LF.
    #[inline]
    fn blank_line(&mut self, end: usize) -> Option<Step<'c>> {
        let after_cr = match end.checked_sub(1) {
            Some(before) => self.chunk[before] == b'\r',
            None => self.decoder.after_cr,
        };
        if after_cr && self.chunk[end] == b'\n' {
            return None;
        }
        self.dispatch(end)
    }

    #[inline]
    fn dispatch(&mut self, end: usize) -> Option<Step<'c>> {
        let decoder = &mut *self.decoder;
        self.message = end + 1;
        self.room = decoder.limit;
        // "Set the last event ID string of the event source to the value of the last event
        // ID buffer": before anything else, so also where nothing is dispatched.
        let mut own_id = true;
        if let Some(id) = self.id.take() {
            decoder.last_event_id.clear();
            decoder.last_event_id.extend_from_slice(id);
        } else if decoder.id.take() {
            std::mem::swap(&mut decoder.last_event_id, &mut decoder.id.bytes);
        } else {
            own_id = false;
        }
        decoder.oversize = false;
        let event = match self.event.take() {
            Some(event) => Source::Bytes(event),
            None if decoder.event.take() => Source::Held,
            None => Source::Bytes(b""),
        };
        let data = match self.data.take() {
            Some(data) if self.ends.is_ascii_from(data.start) => Source::Bytes(&self.chunk[data]),
            Some(data) => match simdutf8::basic::from_utf8(&self.chunk[data.clone()]) {
                Ok(text) => Source::Text(text),
                Err(_) => {
                    decoder.data.start();
                    decoder.data.push(&self.chunk[data], false, decoder.limit);
                    return self.repaired(event, own_id);
                }
            },
            // "If the data buffer is an empty string, set the data buffer and the event type
            // buffer to the empty string and return."
            None if !decoder.data.present => return None,
            None if decoder.data.ascii => Source::Held,
            None => return self.repaired(event, own_id),
        };
        decoder.data.present = false;
        decoder.messages += 1;
        Some(Step::Message { data, event })
    }

    /// The end of a message whose data are held and not certainly valid.
    #[cold]
    fn repaired(&mut self, event: Source<'c>, own_id: bool) -> Option<Step<'c>> {
        let decoder = &mut *self.decoder;
        let others = event.lend(&decoder.event.bytes).as_bytes().len()
            + if own_id { decoder.last_event_id.len() } else { 0 };
        decoder.data.present = false;
        Some(if utf8::repair(&mut decoder.data.bytes, decoder.limit - others) {
            decoder.messages += 1;
            Step::Message { data: Source::Held, event }
        } else {
            decoder.too_large += 1;
            Step::Told(Told::TooLarge { limit: decoder.limit })
        })
    }
}

const DATA: u64 = u64::from_le_bytes(*b"data:\0\0\0");
const DATA_MASK: u64 = u64::from_le_bytes([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0]);

impl Drop for Items<'_, '_> {
    fn drop(&mut self) {
        while self.step().is_some() {}
        let decoder = &mut *self.decoder;
        for held in [&mut decoder.line, &mut decoder.data, &mut decoder.event, &mut decoder.id] {
            held.give_back();
        }
    }
}

impl fmt::Debug for Items<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items")
            .field("decoder", &self.decoder)
            .field("left", &(self.chunk.len() - self.start))
            .finish_non_exhaustive()
    }
}

impl<'c> Source<'c> {
    #[inline]
    fn lend<'a>(self, held: &'a [u8]) -> Lent<'a>
    where
        'c: 'a,
    {
        match self {
            Source::Bytes(bytes) => Lent::Bytes(bytes),
            Source::Text(text) => Lent::Text(text),
            Source::Held => Lent::Bytes(held),
        }
    }
}
