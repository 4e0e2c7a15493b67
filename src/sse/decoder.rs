//! The decoder: what is kept between two chunks.

use std::fmt;
use std::time::Duration;

use super::cut::Cut;
use super::items::Items;
use super::lines::count_work;
use super::utf8;

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

    /// What is known of the message that the last chunk ended in. `id` is the standard's
    /// last event ID buffer where it differs from its last event ID string.
    pub(super) data: Held,
    pub(super) event: Held,
    pub(super) id: Held,
    /// That message was too large: its data and event type are ignored.
    pub(super) oversize: bool,
    /// Whether there may be any of that here.
    pub(super) more: bool,
    /// How many more bytes the message may take before its size must be counted exactly.
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
            data: Held::default(),
            event: Held::default(),
            id: Held::default(),
            oversize: false,
            more: false,
            room: far_from(bytes),
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
        self.room = far_from(self.limit);
        for held in [&mut self.line, &mut self.data, &mut self.event, &mut self.id] {
            held.discard();
        }
    }

    /// How many bytes of the unfinished message are held.
    pub fn buffered(&self) -> usize {
        let held = [&self.line, &self.data, &self.event, &self.id];
        self.cut.head_len() + held.map(Held::len).iter().sum::<usize>()
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
        [&self.line, &self.data, &self.event, &self.id].map(|held| held.capacity()).iter().sum::<usize>()
            + self.last_event_id.capacity()
    }
}

/// How many bytes are within a limit of so many, whatever they are: each may become U+FFFD,
/// which takes three, and what is mended lies beside what has come.
pub(super) const fn far_from(limit: usize) -> usize {
    limit / 4
}

/// How long an event type, id or comment may become before it is counted exactly.
pub(super) const SHORT_ROOM: usize = far_from(SHORT_TEXT_LIMIT);

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
///
/// It is kept as it came and checked when it is lent, all at once, however small the pieces
/// were.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    /// So many of the bytes at the beginning are known to be text.
    settled: usize,
    /// The text, where the bytes are none.
    mended: String,
    /// Whether this is a value of the message at hand. If not it is being lent, or of no
    /// meaning.
    pub(super) present: bool,
}

impl Held {
    /// Begins a new, empty value.
    #[inline]
    pub(super) fn start(&mut self) {
        self.bytes.clear();
        self.settled = 0;
        self.present = true;
    }

    /// Appends to the value, which has been checked to stay within `limit`.
    #[inline]
    pub(super) fn push(&mut self, piece: &[u8], limit: usize) {
        count_work(piece.len());
        utf8::grow(&mut self.bytes, piece.len(), limit);
        self.bytes.extend_from_slice(piece);
    }

    /// Keeps a whole value that is to be lent at once.
    #[cold]
    pub(super) fn keep(&mut self, value: &[u8]) {
        self.start();
        self.push(value, value.len());
        self.take();
    }

    /// Appends a further line to the value, under the same condition.
    #[inline]
    pub(super) fn push_line(&mut self, line: &[u8], limit: usize) {
        count_work(line.len());
        utf8::grow(&mut self.bytes, 1 + line.len(), limit);
        self.bytes.push(b'\n');
        self.bytes.extend_from_slice(line);
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        if self.present { self.bytes.len() } else { 0 }
    }

    /// Ends the value; it can be lent until the next begins.
    #[inline]
    pub(super) fn take(&mut self) -> bool {
        std::mem::take(&mut self.present)
    }

    /// The value as text.
    #[inline]
    pub(super) fn lend(&mut self) -> &str {
        count_work(self.bytes.len());
        match simdutf8::basic::from_utf8(&self.bytes) {
            Ok(text) => text,
            Err(_) => utf8::mend(&self.bytes, &mut self.mended),
        }
    }

    /// Makes text of the bytes, except the character that they end in unless they are the
    /// `whole` value. `false` if the value takes more than `limit` bytes then.
    pub(super) fn settle(&mut self, whole: bool, limit: usize) -> bool {
        let new = &self.bytes[self.settled..];
        let cut = if whole { 0 } else { utf8::incomplete(new) };
        let end = self.bytes.len() - cut;
        count_work(end - self.settled);
        if simdutf8::basic::from_utf8(&self.bytes[self.settled..end]).is_err() {
            let new = self.bytes.split_off(self.settled);
            let (new, cut) = new.split_at(new.len() - cut);
            for text in utf8::mended(new) {
                if self.bytes.len() + text.len() + cut.len() > limit {
                    return false;
                }
                self.push(text.as_bytes(), limit);
            }
            self.push(cut, limit);
        }
        self.settled = self.bytes.len() - cut;
        true
    }

    /// Cuts text that has more than `limit` bytes, between two characters.
    pub(super) fn truncate(&mut self, limit: usize) -> bool {
        let cut = self.bytes.len() > limit;
        if cut {
            self.settled = utf8::boundary(&self.bytes[..self.settled], limit);
            self.bytes.truncate(self.settled);
        }
        cut
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
        if !self.present && self.capacity() > KEPT {
            *self = Self::default();
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.mended.capacity()
    }
}
