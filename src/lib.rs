//! One realtime client for PocketBase, BosBase and RustBaaS servers and any
//! server-sent-events endpoint.

// Here and not in Cargo.toml, where it would hold for the examples too.
#![warn(clippy::print_stdout)]

mod auth;
mod callbacks;
mod client;
mod collection;
mod driver;
mod engine;
mod error;
mod event;
mod filter;
mod http;
#[cfg(feature = "hub")]
pub mod hub;
mod mailbox;
mod realtime;
mod request;
#[path = "runtime/mod.rs"]
pub mod rt;
mod shared;
pub mod sse;
mod subscription;

pub use auth::{Auth, TokenChanges};
pub use client::{Client, ClientBuilder, Close, States};
pub use collection::{AuthResponse, Collection};
pub use engine::{Disconnects, Overflow, Reason, State, Stats};
pub use error::{Error, NetworkError, Refusal};
pub use event::{Action, Event, Gap, GapReason};
pub use filter::filter;
pub use realtime::Realtime;
pub use request::{Request, Response};
pub use subscription::{Subscribe, Subscription, SubscriptionState};
