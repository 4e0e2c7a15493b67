//! The decoder: what is kept between two chunks.

use std::fmt;
use std::time::Duration;

use super::cut::Cut;
use super::items::Items;
use super::utf8::{self, Undecoded};

/// The limit of [`Decoder::new`] on the size of one message: 16 MiB.
pub const DEFAULT_LIMIT: usize = 16 * 1024 * 1024;

/// The longest event type, id or comment: 64 KiB, or the decoder's limit where that is
/// smaller. A longer event type or id makes its message [too large](super::Item::TooLarge);
/// a longer comment is cut.
pub const SHORT_TEXT_LIMIT: usize = 64 * 1024;

/// Turns the bytes of an event stream into messages.
///
/// One decoder serves one event source, over all its connections: call
/// [`reset`](Self::reset) where a new response body begins.
///
/// ```
/// use tidings::sse::{Decoder, Item};
///
/// let mut decoder = Decoder::new();
/// let mut items = decoder.feed(b"event: score\ndata: 2:1\n\n");
/// let Some(Item::Message(message)) = items.next() else { panic!() };
/// assert_eq!((message.event(), message.data()), ("score", "2:1"));
/// assert!(items.next().is_none());
/// ```
#[derive(Clone)]
pub struct Decoder {
    pub(super) limit: usize,
    pub(super) comments: bool,
    pub(super) last_event_id: String,
    pub(super) retry: Option<Duration>,
    pub(super) bytes: u64,
    pub(super) messages: u64,
    pub(super) too_large: u64,

    /// How much of a leading BOM has been seen, or [`NO_BOM`] once that is settled.
    bom: usize,
    /// The stream so far ends in a CR: an LF that comes next belongs to it.
    pub(super) after_cr: bool,
    /// The line that the last chunk ended in.
    pub(super) cut: Cut,
    /// The value of that line where it is an id or a comment.
    pub(super) line: Held,
    /// The last bytes of that line's value.
    pub(super) undecoded: Undecoded,

    /// What is known of the message that the last chunk ended in. `id` is the standard's
    /// last event ID buffer where it differs from its last event ID string.
    pub(super) data: Held,
    pub(super) event: Held,
    pub(super) id: Held,
    /// That message was too large: its data and event type are ignored.
    pub(super) oversize: bool,
    /// Whether there may be any of that here.
    pub(super) more: bool,
    /// The [space](Self::space) that there is at least, so that it need not be counted each
    /// time.
    pub(super) room: usize,
}

impl Decoder {
    /// A decoder with the [default limit](DEFAULT_LIMIT).
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }

    /// A decoder that accepts messages of up to `bytes` bytes.
    ///
    /// The size of a message is that of its data, its event type and its id as decoded
    /// text, without field names and the like. It is checked after each line and, within a
    /// line, after each chunk; so whatever the stream holds, the decoder never keeps more
    /// than `bytes` for the message at hand, plus the id in force and one comment, which
    /// are bounded by [`SHORT_TEXT_LIMIT`]. A message that is larger is reported as
    /// [`Item::TooLarge`](super::Item::TooLarge) as soon as that is certain.
    ///
    /// ```
    /// use tidings::sse::{Decoder, Item};
    ///
    /// let mut decoder = Decoder::with_limit(4);
    /// let mut items = decoder.feed(b"data: large\n\ndata: fits\n\n");
    /// assert_eq!(items.next(), Some(Item::TooLarge { limit: 4 }));
    /// let Some(Item::Message(message)) = items.next() else { panic!() };
    /// assert_eq!(message.data(), "fits");
    /// ```
    pub fn with_limit(bytes: usize) -> Self {
        Self {
            limit: bytes,
            comments: false,
            last_event_id: String::new(),
            retry: None,
            bytes: 0,
            messages: 0,
            too_large: 0,
            bom: 0,
            after_cr: false,
            cut: Cut::No,
            line: Held::default(),
            undecoded: Undecoded::default(),
            data: Held::default(),
            event: Held::default(),
            id: Held::default(),
            oversize: false,
            more: false,
            room: bytes,
        }
    }

    /// Whether comments are yielded (`false` at first). Otherwise they are dropped as
    /// they arrive.
    ///
    /// ```
    /// use tidings::sse::{Decoder, Item};
    ///
    /// let mut decoder = Decoder::new().comments(true);
    /// assert_eq!(decoder.feed(b": keep-alive\n").next(), Some(Item::Comment("keep-alive")));
    /// ```
    #[must_use]
    pub fn comments(mut self, wanted: bool) -> Self {
        self.comments = wanted;
        self
    }

    /// Starts with `id` as the last event id, as if an earlier stream had told it.
    #[must_use]
    pub fn resume_from(mut self, id: &str) -> Self {
        self.last_event_id = id.to_owned();
        self
    }

    /// Takes the next bytes of the stream and returns what they complete.
    ///
    /// The chunk may be cut anywhere. All of it is decoded even if the returned [`Items`]
    /// are dropped early: see there.
    #[inline]
    pub fn feed<'d, 'c>(&'d mut self, chunk: &'c [u8]) -> Items<'d, 'c> {
        self.bytes += chunk.len() as u64;
        let chunk = if self.bom == NO_BOM { chunk } else { self.without_bom(chunk) };
        Items::new(self, chunk)
    }

    /// What is left of `chunk` after the part of it that belongs to a leading BOM.
    #[cold]
    fn without_bom<'c>(&mut self, mut chunk: &'c [u8]) -> &'c [u8] {
        while let ([first, rest @ ..], Some(expected)) = (chunk, BOM.get(self.bom)) {
            if first != expected {
                // What looked like a BOM begins the first line, with a character that is no
                // part of any field name.
                if self.bom > 0 {
                    self.cut = Cut::Skipped;
                }
                self.bom = NO_BOM;
                return chunk;
            }
            self.bom += 1;
            chunk = rest;
        }
        chunk
    }

    /// The id to be sent as `Last-Event-ID` when the stream is opened again; empty if
    /// there is none. It is that of the last message that has ended, and it
    /// is taken over also from a message that is not handed out because it has no data or is
    /// too large.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// The time to wait before the stream is opened again, if the server has told one.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Forgets the unfinished message and line: the next bytes are the start of a new
    /// stream. The last event id, the retry time, the counters and the settings stay, as
    /// they do in an `EventSource` that reconnects. In particular, messages of the new
    /// stream have the old stream's last event id until there is a new one.
    ///
    /// ```
    /// use tidings::sse::{Decoder, Item};
    ///
    /// let mut decoder = Decoder::new();
    /// drop(decoder.feed(b"id: 1\ndata: whole\n\nid: 2\ndata: cut o"));
    /// decoder.reset();
    /// assert_eq!(decoder.last_event_id(), "1");
    /// let mut items = decoder.feed(b"data: next\n\n");
    /// let Some(Item::Message(message)) = items.next() else { panic!() };
    /// assert_eq!((message.data(), message.id()), ("next", "1"));
    /// ```
    pub fn reset(&mut self) {
        self.bom = 0;
        self.after_cr = false;
        self.cut = Cut::No;
        self.oversize = false;
        self.more = false;
        self.room = self.limit;
        self.undecoded.clear();
        for held in [&mut self.line, &mut self.data, &mut self.event, &mut self.id] {
            held.discard();
        }
    }

    /// How many bytes of the unfinished message are held.
    pub fn buffered(&self) -> usize {
        let held = [&self.line, &self.data, &self.event, &self.id];
        self.cut.head_len() + self.undecoded.len() + held.map(Held::len).iter().sum::<usize>()
    }

    /// By how many bytes the message at hand may grow. The beginning of a line, of which
    /// nothing is known yet, takes no space.
    pub(super) fn space(&self) -> usize {
        let size = self.buffered() - self.cut.head_len();
        if self.oversize { 0 } else { self.limit.saturating_sub(size) }
    }

    /// How many bytes have been fed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many messages have been decoded, over all streams.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// How many messages have been dropped because they were too large.
    pub fn too_large(&self) -> u64 {
        self.too_large
    }

    /// What all buffers could hold without growing.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        [&self.line, &self.data, &self.event, &self.id].map(|held| held.text.capacity()).iter().sum::<usize>()
            + self.last_event_id.capacity()
            + self.undecoded.capacity()
    }
}

const BOM: [u8; 3] = *b"\xEF\xBB\xBF";
const NO_BOM: usize = BOM.len();

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows sizes and counters. The content of the stream is left out.
impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("limit", &self.limit)
            .field("comments", &self.comments)
            .field("retry", &self.retry)
            .field("buffered", &self.buffered())
            .field("bytes", &self.bytes)
            .field("messages", &self.messages)
            .field("too_large", &self.too_large)
            .finish_non_exhaustive()
    }
}

/// A value that is put together in a buffer, which outlives the value: it is lent until
/// the next value begins, and then used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) text: String,
    /// Whether `text` is a value of the message at hand. If not it is being lent, or of no
    /// meaning.
    pub(super) present: bool,
}

impl Held {
    /// Begins a new, empty value.
    #[inline]
    pub(super) fn start(&mut self) {
        self.text.clear();
        self.present = true;
    }

    /// Appends to the value, which has been checked to stay within `limit`.
    #[inline]
    pub(super) fn push(&mut self, piece: &str, limit: usize) {
        super::lines::count_work(piece.len());
        utf8::grow(&mut self.text, piece.len(), limit);
        self.text.push_str(piece);
    }

    /// Appends a further line to the value, under the same condition.
    #[inline]
    pub(super) fn push_line(&mut self, line: &str, limit: usize) {
        super::lines::count_work(line.len());
        utf8::grow(&mut self.text, 1 + line.len(), limit);
        self.text.push('\n');
        self.text.push_str(line);
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        if self.present { self.text.len() } else { 0 }
    }

    /// Ends the value; it can be lent until the next begins.
    #[inline]
    pub(super) fn take(&mut self) -> bool {
        std::mem::take(&mut self.present)
    }

    pub(super) fn discard(&mut self) {
        self.present = false;
        self.give_back();
    }

    /// Frees a buffer that has grown large, unless it is in use: a stream that has gone
    /// quiet after one giant message must not keep its memory. For what stays within
    /// `KEPT` nothing is ever allocated twice; above it the allocation is small against
    /// the copying.
    #[inline]
    pub(super) fn give_back(&mut self) {
        const KEPT: usize = 256 * 1024;
        if !self.present && self.text.capacity() > KEPT {
            self.text = String::new();
        }
    }
}
