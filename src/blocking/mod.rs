//! The client for hosts that have threads and no executor: the face that the C library and the Python package share.
//!
//! [`Client`] is an async [`Client`](crate::Client) whose I/O runs on one background thread, and what a host without
//! `await` needs besides: [`Call`]s that can be waited for with a limit, a queue from which the events of many
//! subscriptions are taken in batches, and a descriptor to poll. [`EventSource`] is the same for any other stream of
//! server-sent events.
//!
//! ```
//! use std::time::Duration;
//! use serde_json::json;
//! use tidings::blocking::{Client, Item};
//!
//! # #[cfg(all(feature = "hub", any(feature = "async-io", feature = "tokio")))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let hub = tidings::hub::Hub::start()?;
//! # let url = hub.url();
//! let client = Client::new(&url)?;
//! let posts = client.get()?.collection("posts");
//! // The call returns when the server has acknowledged the topic.
//! let (id, call) = client.subscribe_queued(posts.subscribe("*"))?;
//! call.wait()?;
//!
//! let records = "/api/collections/posts/records";
//! client.call(client.get()?.send("POST", records, json!({"title": "Hello"})))?.wait()?;
//!
//! let mut batch = Vec::new();
//! client.next(&mut batch, 100, Some(Duration::from_secs(10)))?;
//! for item in batch {
//!     if let Item::Event { subscription, event } = item {
//!         assert_eq!(subscription, id);
//!         println!("{} {}", event.action(), event.record_id().unwrap_or("?"));
//!     }
//! }
//! client.close();
//! # Ok(()) }
//! # #[cfg(not(all(feature = "hub", any(feature = "async-io", feature = "tokio"))))]
//! # fn main() {}
//! ```
//!
//! # Threads
//! All types here are `Send`, and [`Client`] is `Sync`: any call may be made from any thread and from any callback, and
//! none holds a lock while it waits. The thread `tidings` does the I/O; `tidings-callbacks` runs callbacks, if there are
//! any; each question to a [token provider](Builder::token_provider) has a thread of its own while it lasts. On Unix they
//! all block signals.
//!
//! # Fork
//! A thread does not survive `fork()`. In the child every call of a client of the parent says [`Error::Forked`], and
//! dropping it leaves its memory and descriptors as they are; the parent's go on. A new client works in the child, with
//! the feature `tokio`; without it the reactor is one for the whole process, and does not survive either.
//!
//! [`Error::Forked`]: crate::Error::Forked

mod call;
mod client;
mod process;
#[cfg(any(feature = "async-io", feature = "tokio"))]
mod source;
mod subscription;

#[cfg(any(feature = "async-io", feature = "tokio"))]
pub use self::source::EventSource;
pub use self::{
    call::Call,
    client::{Builder, Client},
    subscription::Subscription,
};
pub use crate::delivery::batches::{Item, TokenRequest};
#[cfg(unix)]
pub use crate::delivery::inbox::Descriptor;
pub use crate::thread::{count as threads, spawn as spawn_thread};
