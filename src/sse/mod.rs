//! Server-sent events: bytes in, messages out.
//!
//! This room reads the `text/event-stream` format as the WHATWG HTML standard
//! writes it down ("Server-sent events", "Interpreting an event stream"). It does
//! no I/O, takes no clock and knows no other room of this crate: whoever has bytes
//! from somewhere can use it alone.
//!
//! The entry point is [`Decoder`]. [`Decoder::feed`] takes the bytes that have
//! arrived, however they were cut, and returns [`Items`], which lends one [`Item`]
//! after the other:
//!
//! ```
//! use tidings::sse::{Decoder, Item};
//!
//! let mut decoder = Decoder::new();
//! let mut seen = Vec::new();
//!
//! // Two reads of a socket; the second message is cut in the middle.
//! for chunk in [&b"id: 7\nevent: greeting\ndata: hello\n\ndata: wor"[..], b"ld\n\n"] {
//!     let mut items = decoder.feed(chunk);
//!     while let Some(item) = items.next() {
//!         if let Item::Message(message) = item {
//!             seen.push(format!("{} {} {}", message.id(), message.event(), message.data()));
//!         }
//!     }
//! }
//!
//! assert_eq!(seen, ["7 greeting hello", "7 message world"]);
//! assert_eq!(decoder.last_event_id(), "7");
//! ```
//!
//! # What is lent, and from where
//! A message that lies in one chunk borrows from that chunk. What crosses a chunk, or
//! has several `data` lines, or holds invalid UTF-8, is put together in a buffer that
//! the decoder uses again for the next message. Nothing is allocated per message.
//!
//! # Where the standard leaves room
//! - **Prompt**: a message is handed out as soon as the byte that ends it is there. A
//!   CR ends a line at once; if an LF comes next, it belongs to that CR and is dropped.
//! - **Bounded**: see [`Decoder::with_limit`]. A message over the limit becomes one
//!   [`Item::TooLarge`], and decoding goes on with the next message.
//! - `retry` without a digit is ignored; a number too large for 64 bits is taken as the
//!   largest that fits.
//! - Comments are dropped as they arrive unless asked for with [`Decoder::comments`].
//!
//! # How to read this folder
//! [`Items`] (`items.rs`) walks over the lines of one chunk, which `lines.rs` finds
//! and `field.rs` names. A line that a chunk boundary cuts goes through `cut.rs` in
//! pieces; there too ends what is too rare to be worth a fast path. `utf8.rs` makes text
//! of bytes, valid or not. The tests compare all of it with `transcription.rs`, which writes the
//! standard's words down as slow code.

mod cut;
mod decoder;
mod field;
mod item;
mod items;
mod lines;
mod utf8;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod transcription;

pub use decoder::{DEFAULT_LIMIT, Decoder, SHORT_TEXT_LIMIT};
pub use item::{Item, Message};
pub use items::Items;
