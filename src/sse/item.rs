//! What the decoder hands out.

use std::fmt;
use std::time::Duration;

use super::utf8;

/// One thing that a stream has told, lent by [`Items::next`](super::Items::next).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A complete message.
    Message(Message<'a>),
    /// A comment: what follows the colon of a line that begins with one, without one
    /// leading space. Yielded only after [`Decoder::comments`](super::Decoder::comments)
    /// asked for it. Servers send comments to keep a connection alive.
    ///
    /// A comment longer than [`SHORT_TEXT_LIMIT`](super::SHORT_TEXT_LIMIT) (or the
    /// decoder's limit, if that is smaller) is cut there, between two characters.
    Comment(&'a str),
    /// A valid `retry` field: the server asks to wait this long before a reconnect.
    /// It counts as soon as its line has ended, whatever becomes of the message around it.
    Retry(Duration),
    /// A message was larger than `limit` bytes and is dropped. What is left of it is
    /// skipped as it arrives, except for its `id` and `retry`, which count as ever, so
    /// that a reconnect does not ask for the same message again.
    TooLarge {
        /// The limit that the message broke: the one of
        /// [`Decoder::with_limit`](super::Decoder::with_limit), or
        /// [`SHORT_TEXT_LIMIT`](super::SHORT_TEXT_LIMIT) for its event type or id.
        limit: usize,
    },
}

/// A message of the stream, borrowed until the next call.
///
/// Messages are equal if their event type, data and id are.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub(super) event: Lent<'a>,
    pub(super) data: Lent<'a>,
    /// Valid UTF-8.
    pub(super) id: &'a [u8],
}

impl<'a> Message<'a> {
    /// The event type: the value of the last `event` field, `"message"` if there was
    /// none or it was empty.
    pub fn event(&self) -> &'a str {
        match self.event.as_str() {
            "" => "message",
            event => event,
        }
    }

    /// The values of the `data` fields, joined by LF.
    ///
    /// Where the text has been found valid without being decoded, this looks over it
    /// once more; [`data_bytes`](Self::data_bytes) is free.
    pub fn data(&self) -> &'a str {
        self.data.as_str()
    }

    /// The same as [`data`](Self::data), as bytes. They are valid UTF-8.
    pub fn data_bytes(&self) -> &'a [u8] {
        self.data.as_bytes()
    }

    /// The last event id in force: that of this message, or of the latest message
    /// before it that had one, or empty.
    pub fn id(&self) -> &'a str {
        utf8::trusted(self.id)
    }
}

impl PartialEq for Message<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.event() == other.event() && self.data_bytes() == other.data_bytes() && self.id == other.id
    }
}

impl Eq for Message<'_> {}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("event", &self.event())
            .field("data", &self.data())
            .field("id", &self.id())
            .finish()
    }
}

/// Text that has been looked at already.
#[derive(Clone, Copy)]
pub(super) enum Lent<'a> {
    /// Valid UTF-8, but known only as bytes: turning it into `str` looks again.
    Bytes(&'a [u8]),
    Text(&'a str),
}

impl<'a> Lent<'a> {
    fn as_str(self) -> &'a str {
        match self {
            Lent::Bytes(bytes) => utf8::trusted(bytes),
            Lent::Text(text) => text,
        }
    }

    pub(super) fn as_bytes(self) -> &'a [u8] {
        match self {
            Lent::Bytes(bytes) => bytes,
            Lent::Text(text) => text.as_bytes(),
        }
    }
}
