//! One chunk on its way through the decoder.

use std::fmt;

use super::cut::{Cut, Told, Value};
use super::decoder::{Decoder, SHORT_TEXT_LIMIT};
use super::field::{self, Field};
use super::item::{Item, Message};
use super::lines::LineEnds;
use super::utf8::Chunk;

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
    chunk: Chunk<'c>,
    phase: Phase,
    ends: LineEnds,
    /// Where the next line begins.
    start: usize,

    /// Where the message at hand begins, or goes on after what has taken up the decoder's
    /// `room`.
    message: usize,
    /// The values of the message at hand that are borrowed from the chunk. Each is in one
    /// place only, here or in the decoder.
    data: Option<&'c str>,
    event: Option<&'c str>,
    id: Option<&'c str>,
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
    /// A value that is `None` is in its buffer in the decoder.
    Message {
        data: Option<&'c str>,
        event: Option<&'c str>,
    },
    Comment(&'c str),
    Told(Told),
}

impl<'d, 'c> Items<'d, 'c> {
    #[inline]
    pub(super) fn new(decoder: &'d mut Decoder, chunk: &'c [u8]) -> Self {
        let phase = if matches!(decoder.cut, Cut::No) { Phase::Lines } else { Phase::CutLine };
        Self {
            decoder,
            chunk: Chunk::new(chunk),
            phase,
            ends: LineEnds::default(),
            start: 0,
            message: 0,
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
            Step::Message { data, event } => {
                let event = event.unwrap_or(&decoder.event.text);
                let data = data.unwrap_or(&decoder.data.text);
                Item::Message(Message { event, data, id: &decoder.last_event_id })
            }
            Step::Comment(text) => Item::Comment(text),
            Step::Told(Told::Comment) => Item::Comment(&decoder.line.text),
            Step::Told(Told::Retry(after)) => Item::Retry(after),
            Step::Told(Told::TooLarge { limit }) => Item::TooLarge { limit },
        })
    }

    /// The decoder, to ask for its counters or [`Decoder::retry`] between two items.
    pub fn decoder(&self) -> &Decoder {
        self.decoder
    }

    #[inline]
    fn step(&mut self) -> Option<Step<'c>> {
        if self.phase != Phase::Lines {
            let step = self.rest_of_cut_line();
            if step.is_some() || self.phase == Phase::Done {
                return step;
            }
        }
        loop {
            let Some(end) = self.ends.next(self.chunk.bytes) else {
                return self.last_line();
            };
            let line = self.start;
            self.start = end + 1;
            let step = if line == end {
                self.blank_line(end)
            } else {
                let head = field::head_word(&self.chunk.bytes[line..]);
                match field::data_value(head) {
                    Some(value) => self.data_line(line + value, end),
                    None => self.other_line(head, line, end),
                }
            };
            if step.is_some() {
                return step;
            }
        }
    }

    /// What comes before whole lines, and after them nothing.
    #[inline(never)]
    fn rest_of_cut_line(&mut self) -> Option<Step<'c>> {
        if self.phase == Phase::Done {
            return None;
        }
        self.phase = Phase::Lines;
        let end = self.ends.next(self.chunk.bytes);
        let length = end.unwrap_or(self.chunk.bytes.len());
        if end.is_some() {
            self.start = length + 1;
        } else {
            self.start = length;
            self.phase = Phase::Done;
        }
        self.message = length;
        let decoder = &mut *self.decoder;
        // Long data in small chunks is what comes here most.
        if end.is_none()
            && let Cut::Value(Value::Data) = decoder.cut
            && let Some(room) = decoder.room.checked_sub(length)
            && decoder.undecoded.push(self.chunk.bytes)
        {
            decoder.room = room;
            return None;
        }
        decoder.piece(&mut self.chunk, 0, length, end.is_some()).map(Step::Told)
    }

    /// Keeps what the next chunk will need.
    #[inline(never)]
    fn last_line(&mut self) -> Option<Step<'c>> {
        self.phase = Phase::Done;
        let length = self.chunk.bytes.len();
        if let Some(&last) = self.chunk.bytes.last() {
            self.decoder.after_cr = last == b'\r';
        }
        self.hold();
        if self.start < length {
            self.decoder.cut = Cut::START;
            return self.decoder.piece(&mut self.chunk, self.start, length, false).map(Step::Told);
        }
        if self.decoder.more {
            self.decoder.room = self.decoder.room.saturating_sub(length - self.message);
        }
        None
    }

    /// Moves what is borrowed from the chunk to the decoder.
    #[inline]
    fn hold(&mut self) {
        let limit = self.decoder.limit;
        if let Some(data) = self.data.take() {
            self.decoder.more = true;
            self.decoder.data.start();
            self.decoder.data.push(data, limit);
        }
        if let Some(event) = self.event.take() {
            self.decoder.event.start();
            self.decoder.event.push(event, limit);
        }
        if let Some(id) = self.id.take() {
            self.decoder.id.start();
            self.decoder.id.push(id, limit);
        }
    }

    #[inline]
    fn data_line(&mut self, value: usize, end: usize) -> Option<Step<'c>> {
        if end - self.message <= self.decoder.room
            && let Some(text) = self.chunk.text(value, end)
        {
            if self.data.is_some() || self.decoder.data.present {
                self.join(text);
            } else {
                self.data = Some(text);
            }
            return None;
        }
        self.line_by_pieces(Field::Data, value, end)
    }

    /// A further line of data: what is not in one piece cannot be borrowed.
    #[inline(never)]
    fn join(&mut self, line: &str) {
        let decoder = &mut *self.decoder;
        decoder.more = true;
        if let Some(data) = self.data.take() {
            decoder.data.start();
            decoder.data.push(data, decoder.limit);
        }
        decoder.data.push_line(line, decoder.limit);
    }

    #[inline]
    fn other_line(&mut self, head: u64, line: usize, end: usize) -> Option<Step<'c>> {
        // Keep-alives may be all there is for hours.
        if head as u8 == b':' && !self.decoder.comments {
            return None;
        }
        let (field, offset) = field::classify(head, end - line);
        let value = line + offset;
        match field {
            Field::Unknown => return None,
            Field::Event => {
                if let Some(event) = self.short_text(value, end) {
                    self.event = Some(event);
                    self.decoder.more = true;
                    self.decoder.event.present = false;
                    return None;
                }
            }
            Field::Id => {
                if let Some(id) = self.short_text(value, end) {
                    // "If the field value does not contain U+0000 NULL"
                    if memchr::memchr(0, id.as_bytes()).is_none() {
                        self.id = Some(id);
                        self.decoder.more = true;
                        self.decoder.id.present = false;
                    }
                    return None;
                }
            }
            Field::Comment if end - value <= SHORT_TEXT_LIMIT.min(self.decoder.limit) => {
                if let Some(comment) = self.chunk.text(value, end) {
                    return Some(Step::Comment(comment));
                }
            }
            Field::Comment | Field::Retry | Field::Data => {}
        }
        self.line_by_pieces(field, value, end)
    }

    /// A value that is valid and certainly within the limits for an event type or id.
    #[inline]
    fn short_text(&mut self, start: usize, end: usize) -> Option<&'c str> {
        if end - self.message <= self.decoder.room && end - start <= SHORT_TEXT_LIMIT {
            self.chunk.text(start, end)
        } else {
            None
        }
    }

    /// The way of a line that is cut, for a whole line that needs the same care.
    #[cold]
    fn line_by_pieces(&mut self, field: Field, start: usize, end: usize) -> Option<Step<'c>> {
        self.hold();
        self.message = end;
        self.decoder.line(field, &self.chunk.bytes[start..end]).map(Step::Told)
    }

    /// The end of a message, unless it is only the second half of a CR LF.
    #[inline]
    fn blank_line(&mut self, end: usize) -> Option<Step<'c>> {
        let after_cr = match end.checked_sub(1) {
            Some(before) => self.chunk.bytes[before] == b'\r',
            None => self.decoder.after_cr,
        };
        if after_cr && self.chunk.bytes[end] == b'\n' {
            return None;
        }
        self.dispatch(end)
    }

    #[inline]
    fn dispatch(&mut self, end: usize) -> Option<Step<'c>> {
        self.message = end + 1;
        if self.decoder.more {
            return self.dispatch_more();
        }
        let data = self.data.take()?;
        self.decoder.messages += 1;
        Some(Step::Message { data: Some(data), event: Some("message") })
    }

    /// The end of a message that is more than one line of data.
    #[inline(never)]
    fn dispatch_more(&mut self) -> Option<Step<'c>> {
        let decoder = &mut *self.decoder;
        decoder.more = false;
        decoder.room = decoder.limit;
        decoder.oversize = false;
        // "Set the last event ID string of the event source to the value of the last event
        // ID buffer": before anything else, so also where nothing is dispatched.
        if let Some(id) = self.id.take() {
            decoder.last_event_id.clear();
            decoder.last_event_id.push_str(id);
        } else if decoder.id.take() {
            decoder.last_event_id.clear();
            decoder.last_event_id.push_str(&decoder.id.text);
        }
        let event = match self.event.take() {
            None if decoder.event.take() && !decoder.event.text.is_empty() => None,
            None | Some("") => Some("message"),
            event => event,
        };
        let data = self.data.take();
        // "If the data buffer is an empty string, set the data buffer and the event type
        // buffer to the empty string and return."
        if data.is_none() && !decoder.data.take() {
            return None;
        }
        decoder.messages += 1;
        Some(Step::Message { data, event })
    }

    /// Decodes what nobody has asked for.
    #[cold]
    fn skip(&mut self) {
        while self.step().is_some() {}
    }
}

impl Drop for Items<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        if self.phase != Phase::Done {
            self.skip();
        }
        // Only data can be that large.
        self.decoder.data.give_back();
    }
}

impl fmt::Debug for Items<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items")
            .field("decoder", &self.decoder)
            .field("left", &(self.chunk.bytes.len() - self.start))
            .finish_non_exhaustive()
    }
}
