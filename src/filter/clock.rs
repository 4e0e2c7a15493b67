//! Time in the form that records carry (`2026-01-01 00:00:00.000Z`), and the names for it in a filter.

/// A name for a moment or a part of one, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Now,
    Yesterday,
    Tomorrow,
    Second,
    Minute,
    Hour,
    Weekday,
    Day,
    Month,
    Year,
    TodayStart,
    TodayEnd,
    MonthStart,
    MonthEnd,
    YearStart,
    YearEnd,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reading {
    Text(String),
    Number(u32),
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

impl Moment {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "@now" => Self::Now,
            "@yesterday" => Self::Yesterday,
            "@tomorrow" => Self::Tomorrow,
            "@second" => Self::Second,
            "@minute" => Self::Minute,
            "@hour" => Self::Hour,
            "@weekday" => Self::Weekday,
            "@day" => Self::Day,
            "@month" => Self::Month,
            "@year" => Self::Year,
            "@todayStart" => Self::TodayStart,
            "@todayEnd" => Self::TodayEnd,
            "@monthStart" => Self::MonthStart,
            "@monthEnd" => Self::MonthEnd,
            "@yearStart" => Self::YearStart,
            "@yearEnd" => Self::YearEnd,
            _ => return None,
        })
    }

    pub(super) fn reading(self, now: u64) -> Reading {
        let (year, month, day) = civil(now / DAY);
        let number = |n: u64| Reading::Number(u32::try_from(n).unwrap_or(u32::MAX));
        let end = |month: u64, day: u64| format!("{year:04}-{month:02}-{day:02} 23:59:59.999Z");
        Reading::Text(match self {
            Self::Now => stamp(now),
            Self::Yesterday => stamp(now.saturating_sub(DAY)),
            Self::Tomorrow => stamp(now + DAY),
            Self::Second => return number(now / SECOND % 60),
            Self::Minute => return number(now / MINUTE % 60),
            Self::Hour => return number(now / HOUR % 24),
            // 1970 began on a Thursday, and Sunday is 0.
            Self::Weekday => return number((now / DAY + 4) % 7),
            Self::Day => return number(day),
            Self::Month => return number(month),
            Self::Year => return number(year),
            Self::TodayStart => stamp(now / DAY * DAY),
            Self::TodayEnd => end(month, day),
            Self::MonthStart => format!("{year:04}-{month:02}-01 00:00:00.000Z"),
            Self::MonthEnd => end(month, month_length(year, month)),
            Self::YearStart => format!("{year:04}-01-01 00:00:00.000Z"),
            Self::YearEnd => end(12, 31),
        })
    }

    /// When it may be another one next. Those that change with the month or the year may be looked at each day.
    pub(super) fn next_step(self, now: u64) -> u64 {
        now / self.step() * self.step() + self.step()
    }

    fn step(self) -> u64 {
        match self {
            Self::Now | Self::Yesterday | Self::Tomorrow => 1,
            Self::Second => SECOND,
            Self::Minute => MINUTE,
            Self::Hour => HOUR,
            _ => DAY,
        }
    }

    /// Whether it grows with every millisecond.
    pub(super) fn is_flowing(self) -> bool {
        self.step() == 1
    }
}

/// A moment, in milliseconds since 1970, as records carry it.
pub(crate) fn stamp(ms: u64) -> String {
    let (year, month, day) = civil(ms / DAY);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:03}Z",
        ms / HOUR % 24,
        ms / MINUTE % 60,
        ms / SECOND % 60,
        ms % SECOND,
    )
}

/// Year, month and day of a day counted from 1970.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    loop {
        let length = 365 + u64::from(is_leap(year));
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 1;
    while days >= month_length(year, month) {
        days -= month_length(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

pub(super) fn month_length(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
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

    #[test]
    fn reads_the_calendar() {
        // Thursday, 29 February 2024, 13:14:15.016.
        let now = 1_709_212_455_016;
        let text = |moment: Moment| match moment.reading(now) {
            Reading::Text(text) => text,
            Reading::Number(number) => number.to_string(),
        };
        for (name, reading) in [
            ("@now", "2024-02-29 13:14:15.016Z"),
            ("@yesterday", "2024-02-28 13:14:15.016Z"),
            ("@tomorrow", "2024-03-01 13:14:15.016Z"),
            ("@second", "15"),
            ("@minute", "14"),
            ("@hour", "13"),
            ("@weekday", "4"),
            ("@day", "29"),
            ("@month", "2"),
            ("@year", "2024"),
            ("@todayStart", "2024-02-29 00:00:00.000Z"),
            ("@todayEnd", "2024-02-29 23:59:59.999Z"),
            ("@monthStart", "2024-02-01 00:00:00.000Z"),
            ("@monthEnd", "2024-02-29 23:59:59.999Z"),
            ("@yearStart", "2024-01-01 00:00:00.000Z"),
            ("@yearEnd", "2024-12-31 23:59:59.999Z"),
        ] {
            assert_eq!(text(Moment::named(name).unwrap()), reading, "{name}");
        }
        assert_eq!(Moment::named("@NOW"), None);
    }
}
