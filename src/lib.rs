//! One realtime client for PocketBase, BosBase and RustBaaS servers and any
//! server-sent-events endpoint.

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
#[path = "runtime/mod.rs"]
pub mod rt;
pub mod sse;
