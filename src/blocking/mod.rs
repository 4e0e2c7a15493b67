//! The client for hosts that have threads and no executor. The C library and the Python package are built on it.
//!
//! A Rust program with an executor, or with `block_on`, wants the async [`Client`](crate::Client) instead.
//!
//! [`Client`] wraps an async [`Client`](crate::Client) whose I/O runs on one background thread, and adds what a host without
//! `await` needs: [`Call`]s that can be waited for with a limit, a queue from which the events of many subscriptions are
//! taken in batches, and a descriptor to poll. [`EventSource`] is the same for any other stream of server-sent events.
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
//!     if let Item::Event { subscription, event, .. } = item {
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
//! any; each call of a [token provider](Builder::token_provider), and of what is
//! [asked on a thread](EventSource::ask_on_thread), has a thread of its own while it lasts. On Unix they all block signals.
//!
//! # Fork
//! Threads do not survive `fork()`. In the child, every call on a client of the parent returns [`Error::Forked`], and dropping
//! it leaves its memory and descriptors untouched; the parent's client continues. A new client works in the child if the
//! feature `tokio` is enabled. Without it, the reactor is shared by the whole process and does not survive the fork.
//!
//! [`Error::Forked`]: crate::Error::Forked

mod call;
mod calls;
mod client;
mod process;
#[cfg(any(feature = "async-io", feature = "tokio"))]
mod source;
mod subscription;
mod view;

#[doc(hidden)]
pub use self::process::Process;
#[cfg(any(feature = "async-io", feature = "tokio"))]
pub use self::source::{ConnectQuestion, EventSource, Questions, SourceItem, StatusQuestion};
pub use self::{
    call::Call,
    client::{Builder, Client},
    subscription::Subscription,
    view::View,
};
pub use crate::delivery::batches::{Answer, Item, Tag, TokenRequest};
#[cfg(unix)]
pub use crate::delivery::inbox::Descriptor;
pub use crate::delivery::mailbox::Held;
pub use crate::thread::{count as threads, spawn as spawn_thread};
