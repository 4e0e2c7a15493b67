//! A realtime client for PocketBase, BosBase and RustBaaS: it subscribes to record changes over server-sent events, and
//! keeps the subscriptions through reconnects, restarted servers and changes of user.
//!
//! The entry point is [`Client`]. A [`Subscription`] is a stream of [`Event`]s. Each change that the server sends is
//! delivered in it, or a notice reports that it may have been missed: [`Action::Gap`], [`Action::Lagged`]. For event streams
//! of other servers there is [`EventSource`].
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
//! // Dropping `posts` unsubscribes. Dropping the last handle and subscription closes the client.
//! # Ok(()) }) }
//! # #[cfg(not(all(feature = "hub", feature = "async-io")))]
//! # fn main() {}
//! ```
//!
//! # Delivery guarantee
//! - **At most once.** A change is delivered once, or reported as possibly missed. Nothing is replayed: the servers keep no
//!   log. After a [`Gap`], list the records again.
//! - **No ordering guarantee.** PocketBase sends changes in any order, even those of one record: compare `updated`.
//! - **No back-pressure** towards the server. The socket is always read; a slow listener loses events from its own bounded
//!   queue, and [`Action::Lagged`] reports how many: see [`Overflow`] and [`Subscribe::queue`].
//! - **Handover (make-before-break).** Before the server ends a stream at its limits, a replacement is connected and
//!   acknowledged; then the old one is closed. Duplicates are removed, so a handover is not a gap.
//! - **Spurious gaps** are possible: where the client cannot exclude a loss, it reports a gap in which nothing may have
//!   happened. See [`Gap`].
//!
//! # Threads and executors
//! No executor is required, and no signature names one. [`Client::new`] runs all I/O of the client on one background
//! thread, so its futures and streams may be awaited on smol, tokio, `futures::executor` or any other executor.
//! [`ClientBuilder::connect_with`] returns that work as a future instead, to run on an executor of yours; a [`rt::Runtime`]
//! provides its sockets and timers.
//!
//! Callbacks ([`Subscribe::on`], [`Realtime::on_disconnect`]) run on a second thread, one at a time and in order. It is
//! started with the first callback. Callbacks may block and call anything; a panic in one is counted, and the others
//! continue. Host names are resolved on a thread that ends with the answer.
//! On Unix all these threads block signals, which are for the threads of the host; a process that a callback starts
//! inherits that.
//!
//! All handles are `Send` and `Sync`. Those that implement `Clone` are cheap to clone.
//!
//! # Cancellation
//! Every future may be dropped at any time. Dropping [`Subscribe`] while it is awaited withdraws the subscription. Dropping
//! a [`Request`] cancels it, although the server may have received it already. Dropping the future of the next event loses
//! no event. [`Client::close`] takes effect with the call and need not be awaited.
//!
//! # Errors
//! An [`Error`] returned by a call was detected before any network access (`Invalid…`, [`Error::Unsupported`]), by the server
//! ([`Error::Refused`], with status and message), or on the network ([`Error::Network`], [`Error::Timeout`]).
//!
//! A connection that is lost later is not an error of a call: the client reconnects, reports the [`Gap`] to each
//! subscription, and shows its [`State`] with the reason. A subscription that the server refuses later ends with
//! [`Action::Refused`].
//!
//! # What it never does
//! - Panic because of what the network or the server sends. (A tokio runtime that is shut down while a client uses its
//!   sockets panics: see `rt::Tokio`.)
//! - Hold a lock while it runs your code.
//! - Buffer without a limit: every queue has one, and counts what it drops ([`Overflow`], [`Stats`]).
//! - Reveal a token, a password or the query of a URL in an error, in `Debug` or in a log.
//! - Give up because the network fails, or retry what the server has refused for good.
//!
//! # Features
//! | feature | default | adds |
//! |---|---|---|
//! | `async-io` | yes | `rt::AsyncIo`: I/O on smol's reactor, under any executor |
//! | `tokio` | no | `rt::Tokio`: I/O on a tokio runtime, under any executor; may be enabled together with `async-io` |
//! | `tls` | yes | `https://`, with rustls and the certificates of the operating system |
//! | `proxy` | yes | `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` and [`ClientBuilder::proxy`] |
//! | `hub` | no | `hub::Hub`: an embedded server for quick starts and tests, with faults on demand |
//! | `tracing` | no | `tracing` events for states, streams and submits; never a token or the options of a topic |
//!
//! Without `async-io` and `tokio` there is no background thread: use [`ClientBuilder::connect_with`] with a runtime of your
//! own.

#![cfg_attr(docsrs, feature(doc_cfg))]
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
#[allow(dead_code, unused_imports, reason = "the live view will use what the hub and the client do not")]
mod filter;
#[cfg(not(target_family = "wasm"))]
mod http;
#[cfg(all(feature = "hub", not(target_family = "wasm")))]
pub mod hub;
#[cfg(not(target_family = "wasm"))]
mod lock;
#[cfg(not(target_family = "wasm"))]
#[allow(dead_code, reason = "the live view will use what lists do not")]
mod order;
#[cfg(not(target_family = "wasm"))]
#[path = "runtime/mod.rs"]
pub mod rt;
#[cfg(not(target_family = "wasm"))]
mod shown;
#[cfg(not(target_family = "wasm"))]
pub mod sse;
#[cfg(not(target_family = "wasm"))]
mod thread;
#[cfg(not(target_family = "wasm"))]
mod topic;
#[cfg(not(target_family = "wasm"))]
mod view;

#[cfg(not(target_family = "wasm"))]
pub use client::{
    Auth, AuthResponse, Client, ClientBuilder, Close, Collection, List, OAuth2, Page, Pages, Realtime,
    RecordRequest, Records, Request, Response, States, Subscribe, Subscription, TokenChanges, filter,
};
#[cfg(not(target_family = "wasm"))]
pub use delivery::mailbox::SubscriptionState;
#[cfg(not(target_family = "wasm"))]
pub use engine::{Disconnects, Overflow, Reason, State, Stats};
#[cfg(not(target_family = "wasm"))]
pub use error::{Cut, Error, NetworkError, ProtocolError, Refusal};
#[cfg(not(target_family = "wasm"))]
pub use event::{Action, Event, Gap, GapReason};
#[cfg(not(target_family = "wasm"))]
pub use event_source::{
    EventSource, EventSourceBuilder, Opened, Policy, SourceEvent, SourceHandle, SourceMessage, SourceRequest,
};
/// For the command `tidings filter`.
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
pub use filter::explain_filter;
#[cfg(not(target_family = "wasm"))]
pub use view::{Changes, Delta, Doubt, Freshness, Row, Rows, Status, View, Watch, Why};

/// The programs of the pages in `docs/`.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../docs/cookbook.md")]
    struct Cookbook;
    #[doc = include_str!("../docs/event-source.md")]
    struct EventSources;
    #[doc = include_str!("../docs/notices.md")]
    struct Notices;
    #[doc = include_str!("../docs/states.md")]
    struct States;
}

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
