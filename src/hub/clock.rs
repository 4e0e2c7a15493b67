//! Wall-clock time in the form that records carry: `2026-01-01 00:00:00.000Z`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn stamp(ms: u64) -> String {
    let (year, month, day) = civil(ms / 86_400_000);
    let in_day = ms % 86_400_000;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:03}Z",
        in_day / 3_600_000,
        in_day / 60_000 % 60,
        in_day / 1000 % 60,
        in_day % 1000,
    )
}

/// The value of a time macro of the filter language (without its `@`).
pub(super) fn macro_value(name: &str) -> Option<String> {
    let now = stamp(now_ms());
    Some(match name {
        "now" => now,
        "todayStart" => format!("{} 00:00:00.000Z", &now[..10]),
        "todayEnd" => format!("{} 23:59:59.999Z", &now[..10]),
        "monthStart" => format!("{}-01 00:00:00.000Z", &now[..7]),
        "yearStart" => format!("{}-01-01 00:00:00.000Z", &now[..4]),
        "yearEnd" => format!("{}-12-31 23:59:59.999Z", &now[..4]),
        _ => return None,
    })
}

/// Year, month and day of a day counted from 1970.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 1;
    for length in [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_leap_days_and_year_ends() {
        assert_eq!(stamp(0), "1970-01-01 00:00:00.000Z");
        assert_eq!(stamp(951_782_400_000), "2000-02-29 00:00:00.000Z");
        assert_eq!(stamp(1_767_225_599_999), "2025-12-31 23:59:59.999Z");
        assert_eq!(stamp(1_767_225_600_000), "2026-01-01 00:00:00.000Z");
    }
}
