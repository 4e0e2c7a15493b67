//! What the decoder hands out.

use std::time::Duration;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Never empty.
    pub(super) event: &'a str,
    pub(super) data: &'a str,
    pub(super) id: &'a str,
}

impl<'a> Message<'a> {
    /// The event type: the value of the last `event` field, `"message"` if there was
    /// none or it was empty.
    #[inline]
    pub fn event(&self) -> &'a str {
        self.event
    }

    /// The values of the `data` fields, joined by LF.
    #[inline]
    pub fn data(&self) -> &'a str {
        self.data
    }

    /// The last event id in force: that of this message, or of the latest message
    /// before it that had one, or empty.
    #[inline]
    pub fn id(&self) -> &'a str {
        self.id
    }
}
