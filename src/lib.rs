//! One realtime client for PocketBase, BosBase and RustBaaS servers and any
//! server-sent-events endpoint.

mod http;
pub mod sse;
#[path = "runtime/mod.rs"]
pub mod rt;
#[cfg(feature = "hub")]
pub mod hub;
