//! What the hub imitates, checked against the original: every scenario runs
//! against the hub and against a real PocketBase, with the same assertions.
//!
//! The binary is named by `TIDINGS_POCKETBASE`; `make test` sets it.
#![cfg(feature = "hub")]

mod batches;
mod oauth2;
#[expect(dead_code, reason = "how streams end is for the hub's own tests")]
mod plain_client;
mod realtime;
mod records;
mod servers;
mod tokens;
