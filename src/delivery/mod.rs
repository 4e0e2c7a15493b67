//! From the engine to whoever takes events.
//!
//! The engine hands each event to the [`Mailbox`](mailbox::Mailbox) of its listener: a queue with a limit and a policy, one
//! for each subscription. Whoever takes the events is woken once the engine's lock is released:
//! - a `Stream` awaits its own mailbox;
//! - a callback is run by the client's callback thread, which takes the mailboxes that have something in turn
//!   ([`callbacks`]);
//! - a host that takes batches (C, Python) waits for one queue of mailboxes, or for its descriptor ([`batches`], over the
//!   waiting and waking of [`inbox`]).
//!
//! What concerns the client and not one listener takes the same ways: [`notices`], and [`watchers`] of one value.
//!
//! Nothing here knows of sockets, and nothing is decided but whose turn it is.

pub(crate) mod batches;
#[cfg(unix)]
mod bell;
pub(crate) mod callbacks;
pub(crate) mod inbox;
pub(crate) mod mailbox;
pub(crate) mod notices;
pub(crate) mod watchers;
