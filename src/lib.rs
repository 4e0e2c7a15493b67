//! A realtime client for PocketBase and BosBase: subscribe to record changes over server-sent events, and keep the
//! subscriptions through reconnects, restarted servers and changes of user.
//!
//! The entry point is [`Client`]. A [`Subscription`] is a stream of [`Event`]s; each change that the server sends is in
//! it, or a notice that says what may be missing: [`Action::Gap`], [`Action::Lagged`].
//!
//! ```
//! use serde_json::json;
//! use tidings::{Action, Client};
//!
//! # #[cfg(all(feature = "hub", feature = "async-io"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let hub = tidings::hub::Hub::start()?;
//! # let url = hub.url();
//! # futures::executor::block_on(async {
//! // One connection, for as many subscriptions as you like. Nothing is connected yet.
//! let client = Client::new(&url)?;
//!
//! // Connects, and returns when the server has acknowledged the topic.
//! let mut posts = client.collection("posts").subscribe("*").await?;
//!
//! // One request, with the client's token if it has one.
//! client.send("POST", "/api/collections/posts/records", json!({"title": "Hello"})).await?;
//!
//! let event = posts.next().await.expect("the stream does not end when the network does");
//! assert_eq!(event.action(), Action::Create);
//! assert_eq!(event.record::<serde_json::Value>()?["title"], "Hello");
//!
//! // Dropping `posts` unsubscribes; the last handle and subscription to go close the client.
//! # Ok(()) }) }
//! # #[cfg(not(all(feature = "hub", feature = "async-io")))]
//! # fn main() {}
//! ```
//!
//! # Threads and executors
//! No executor is needed, and none is in a signature. [`Client::new`] runs all I/O of the client on one background
//! thread, so the futures and streams here may be awaited on smol, tokio, `futures::executor` or anything else.
//! [`ClientBuilder::connect_with`] returns that work as a future instead, for an executor that is there already; with
//! which sockets and timers, a [`rt::Runtime`] says.
//!
//! Callbacks ([`Subscribe::on`], [`Realtime::on_disconnect`]) run on a second thread, which is started when the first
//! one is given, one at a time and in order. They may block and call anything; a panic in one is counted and the
//! others go on. Names of hosts are looked up on a thread that lives as long as the answer takes. On Unix all these
//! threads block signals, which are for the threads of the host; a process that a callback starts inherits that.
//!
//! All handles are `Send` and `Sync`, and cheap to clone where they can be cloned.
//!
//! # Cancellation
//! Every future here may be dropped at any time. Dropping [`Subscribe`] while it is awaited withdraws the
//! subscription, and dropping a [`Request`] cancels it, although the server may have seen it. Waiting for the next
//! event loses none. [`Client::close`] acts with the call and need not be awaited.
//!
//! # When things go wrong
//! An [`Error`] from a call says what was wrong with it: found before the network (`Invalid…`), by the server
//! ([`Error::Refused`], with status and message), or on the way ([`Error::Network`], [`Error::Timeout`]). What happens
//! to the connection later is no error of a call: the client reconnects, tells each subscription of the
//! [`Gap`], and shows its [`State`] with the reason to whoever asks. A subscription that the server takes back ends
//! with [`Action::Refused`].
//!
//! # What it never does
//! - Panic, whatever the network or the server says. (A tokio runtime that is shut down under a client that uses its
//!   sockets does: see `rt::Tokio`.)
//! - Hold a lock while it runs code of yours.
//! - Buffer without limit: every queue has one, and counts what it drops ([`Overflow`], [`Stats`]).
//! - Show a token, a password or the query of a URL, in an error, in `Debug` or in a log.
//! - Give up on a network that fails, or retry what the server has refused for good.
//!
//! # In which order to read the source
//! From the outside in, each room knowing only those after it. `client`, `collection`, `realtime`, `auth`,
//! `subscription` and `request` are what you call, thin handles over `shared`. `mailbox` and `callbacks` stand between
//! the engine and one listener. `driver` carries out on the network what `engine` decides, and `engine` does no I/O
//! and reads no clock, so that its tests replay any schedule: begin there to understand how the crate behaves.
//! `http` makes requests over [`rt`], the one seam to an operating system; [`sse`] turns bytes into messages and can be
//! used alone. `hub` is the server of the examples and tests.

// Here and not in Cargo.toml, where it would hold for the examples too.
#![warn(clippy::print_stdout)]

#[cfg(target_family = "wasm")]
compile_error!(
    "tidings needs threads and sockets, and WebAssembly has neither: use the `EventSource` of the browser (web-sys) or the \
     JavaScript SDK of PocketBase there"
);

#[cfg(not(target_family = "wasm"))]
pub mod blocking;
#[cfg(not(target_family = "wasm"))]
mod client;
#[cfg(not(target_family = "wasm"))]
mod delivery;
#[cfg(not(target_family = "wasm"))]
mod driver;
#[cfg(not(target_family = "wasm"))]
mod engine;
#[cfg(not(target_family = "wasm"))]
mod error;
#[cfg(not(target_family = "wasm"))]
mod event;
#[cfg(not(target_family = "wasm"))]
mod event_source;
#[cfg(not(target_family = "wasm"))]
mod http;
#[cfg(all(feature = "hub", not(target_family = "wasm")))]
pub mod hub;
#[cfg(not(target_family = "wasm"))]
mod lock;
#[cfg(not(target_family = "wasm"))]
#[path = "runtime/mod.rs"]
pub mod rt;
#[cfg(not(target_family = "wasm"))]
pub mod sse;
#[cfg(not(target_family = "wasm"))]
mod thread;
#[cfg(not(target_family = "wasm"))]
mod topic;

#[cfg(not(target_family = "wasm"))]
pub use client::{
    Auth, AuthResponse, Client, ClientBuilder, Close, Collection, OAuth2, Realtime, Request, Response,
    States, Subscribe, Subscription, TokenChanges, filter,
};
#[cfg(not(target_family = "wasm"))]
pub use delivery::mailbox::SubscriptionState;
#[cfg(not(target_family = "wasm"))]
pub use engine::{Disconnects, Overflow, Reason, State, Stats};
#[cfg(not(target_family = "wasm"))]
pub use error::{Error, NetworkError, Refusal};
#[cfg(not(target_family = "wasm"))]
pub use event::{Action, Event, Gap, GapReason};
#[cfg(not(target_family = "wasm"))]
pub use event_source::{
    EventSource, EventSourceBuilder, Opened, Policy, SourceEvent, SourceHandle, SourceMessage,
};

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
