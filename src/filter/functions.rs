//! `strftime` and `geoDistance`, as far as they can be done here.

use std::borrow::Cow;

use super::clock::month_length;
use super::value::{Affinity, Number, Shape, Sql, Term};

/// `strftime` of a date as records carry it, in a format of plain parts.
pub(super) fn strftime(format: &str, time: &Sql<'_>) -> Option<Term<'static>> {
    let sql = match time {
        Sql::Null => Sql::Null,
        Sql::Text(text) => formatted(format, text)?,
        Sql::Number(_) | Sql::Unclear(_) | Sql::Anything => return None,
    };
    Some(Term { sql, affinity: Affinity::None, shape: Shape::Lenient })
}

fn formatted(format: &str, time: &str) -> Option<Sql<'static>> {
    if is_no_time(time) {
        return Some(Sql::Null);
    }
    if !is_stamp(time) {
        return None;
    }
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        out.push_str(match characters.next() {
            Some('Y') => &time[..4],
            Some('m') => &time[5..7],
            Some('d') => &time[8..10],
            Some('H') => &time[11..13],
            Some('M') => &time[14..16],
            Some('S') => &time[17..19],
            Some('f') => &time[17..23],
            Some('%') => "%",
            _ => return None,
        });
    }
    Some(Sql::Text(Cow::Owned(out)))
}

/// Whether a text does not even begin as one of SQLite's many forms of time: digits, `now`, `subsec`.
fn is_no_time(text: &str) -> bool {
    match text.bytes().next() {
        None | Some(b'_' | b'%' | b'[' | b'\\' | 128..) => true,
        Some(first) => first.is_ascii_alphabetic() && !b"nNsS".contains(&first),
    }
}

/// Whether a text is a date as the server writes them, and one that exists.
fn is_stamp(text: &str) -> bool {
    let shape = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    let part = |range: std::ops::Range<usize>| text[range].parse().unwrap_or(0u32);
    shape.eq(*b"0000-00-00 00:00:00.000Z")
        && (1..=12).contains(&part(5..7))
        && (1..=month_length(part(0..4).into(), part(5..7).into())).contains(&part(8..10).into())
        && part(11..13) < 24
        && part(14..16) < 60
        && part(17..19) < 60
}

/// The distance of two points in kilometres. Its last digits are the mathematics library's.
pub(super) fn distance(at: [&Sql<'_>; 4]) -> Option<Term<'static>> {
    let mut numbers = [0.0; 4];
    let mut sql = None;
    for (number, value) in numbers.iter_mut().zip(at) {
        match value {
            Sql::Number(found) => *number = found.value,
            Sql::Null => sql = Some(Sql::Null),
            Sql::Text(_) | Sql::Unclear(_) | Sql::Anything => return None,
        }
    }
    let [lon_a, lat_a, lon_b, lat_b] = numbers.map(f64::to_radians);
    let cosine = lat_a.cos() * lat_b.cos() * (lon_b - lon_a).cos() + lat_a.sin() * lat_b.sin();
    let sql = match (sql, cosine.abs()) {
        (Some(sql), _) => sql,
        // Rounding decides whether there is an angle at all, and how small it is.
        (None, 0.999_999_999..) => return None,
        _ => Sql::Number(Number { value: 6371.0 * cosine.acos(), is_integer: false, is_exact: false }),
    };
    Some(Term { sql, affinity: Affinity::None, shape: Shape::Strict })
}
