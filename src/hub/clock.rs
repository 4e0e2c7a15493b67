//! Wall-clock time, and the form of it that records carry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) use crate::filter::stamp;

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
