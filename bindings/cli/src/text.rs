//! Texts: arguments to read, and what came from elsewhere to show.

use std::{borrow::Cow, fmt::Write, time::Duration};

/// `10`, `1.5s`, `500ms`, `2m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let wrong = || format!("{text:?} is not a duration; give seconds, or 500ms, 2m, 1h");
    let unit = match &text[end..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(wrong()),
    };
    let number: f64 = text[..end].parse().map_err(|_| wrong())?;
    // The end of any clock is far beyond a year.
    Duration::try_from_secs_f64((number * unit).min(365.0 * 86400.0)).map_err(|_| wrong())
}

/// The text with what a terminal would obey made visible.
pub(crate) fn tame(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut tamed = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => tamed.push_str("\\n"),
            '\t' => tamed.push_str("\\t"),
            '\r' => tamed.push_str("\\r"),
            c if c.is_control() => _ = write!(tamed, "\\u{:04x}", c as u32),
            c => tamed.push(c),
        }
    }
    Cow::Owned(tamed)
}

/// A topic without its options, which may hold what is not for a screen.
pub(crate) fn plain_topic(topic: &str) -> &str {
    topic.split_once('?').map_or(topic, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_a_limit() {
        for (text, ms) in
            [("2", 2000), ("1.5s", 1500), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("0", 0)]
        {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for text in ["", "s", "-1", "1x", "1.2.3", "nan"] {
            assert!(duration(text).unwrap_err().contains("is not a duration"), "{text}");
        }
        assert_eq!(duration("99999999999999d").unwrap(), Duration::from_secs(365 * 86400));
    }

    #[test]
    fn control_characters_are_shown_and_not_sent() {
        assert_eq!(tame("a\u{1b}[2Jb\u{9b}c\nd"), "a\\u001b[2Jb\\u009bc\\nd");
        assert_eq!(tame("Grüße"), "Grüße");
    }
}
