//! One realtime client for PocketBase, BosBase and RustBaaS servers and any
//! server-sent-events endpoint.

mod http;
#[cfg(feature = "hub")]
pub mod hub;
#[path = "runtime/mod.rs"]
pub mod rt;
pub mod sse;
