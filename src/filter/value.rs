//! Values as SQLite holds them, and how it compares them.
//!
//! What this cannot know for sure (the digits of a float beyond the fifteenth, the exact text of a JSON object) is
//! carried along as such, and gives [`Truth::Unknown`] only where it matters.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::{like::Pattern, syntax::Op};

/// What SQL says, or that this cannot say what it would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Null,
    Unknown,
}

impl From<bool> for Truth {
    fn from(is_true: bool) -> Self {
        if is_true { Self::True } else { Self::False }
    }
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            other => other,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sql<'a> {
    Null,
    Number(Number),
    Text(Cow<'a, str>),
    /// Some text, of which only the beginning is known, if that.
    Unclear(Option<u8>),
    /// A text or the number that it stands for.
    Anything,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    pub(super) value: f64,
    /// SQLite holds it as an integer, and writes it without a fraction.
    pub(super) is_integer: bool,
    /// The server reads it to the last bit as we do.
    pub(super) is_exact: bool,
}

/// How SQLite converts what is compared with an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affinity {
    /// Of what is no column.
    None,
    /// Of a column without a type. Texts beside it stay what they are, and so does it.
    Blob,
    Numeric,
    Text,
}

/// What kind of an operand the server makes SQL of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A value in the filter, and the time.
    Value,
    /// `true` and `false`.
    Constant,
    /// `null`.
    Null,
    Column,
    /// Compared strictly: JSON, and `geoDistance`.
    Strict,
    /// `strftime`: nothing is the empty text.
    Lenient,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Term<'a> {
    pub(super) sql: Sql<'a>,
    pub(super) affinity: Affinity,
    pub(super) shape: Shape,
}

impl Number {
    pub(super) fn integer(value: i64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "then it is not exact")]
        let float = value as f64;
        Self { value: float, is_integer: true, is_exact: value.unsigned_abs() <= 1 << 53 }
    }

    /// A float that the server got as one. In a column of numbers it becomes an integer where it is one.
    pub(super) fn bound(value: f64, in_column: bool) -> Self {
        let is_integer = in_column && value.fract() == 0.0 && value.abs() < 9e18;
        Self { value, is_integer, is_exact: true }
    }

    /// A number that the server reads from JSON text.
    fn read(number: &serde_json::Number) -> Self {
        match number.as_i64() {
            Some(integer) => Self::integer(integer),
            None => {
                let value = number.as_f64().unwrap_or(f64::NAN);
                Self { value, is_integer: false, is_exact: is_short(value) }
            }
        }
    }

    /// What SQLite writes for it, where all its versions write the same.
    fn text(self) -> Option<String> {
        let size = self.value.abs();
        if self.is_integer {
            // From 2⁵¹ on it depends on where the number came from.
            return (size < 2_251_799_813_685_248.0).then(|| format!("{:.0}", self.value));
        }
        if !self.is_exact || digits(self.value) > 15 {
            return None;
        }
        if self.value == 0.0 || (1e-4..1e15).contains(&size) {
            return Some(format!("{:?}", self.value + 0.0));
        }
        let written = format!("{:e}", self.value);
        let (mantissa, exponent) = written.split_once('e')?;
        let exponent: i32 = exponent.parse().ok()?;
        let fraction = if mantissa.contains('.') { "" } else { ".0" };
        let sign = if exponent < 0 { '-' } else { '+' };
        // Between, older versions write an exponent already.
        (!(0..=17).contains(&exponent)).then(|| format!("{mantissa}{fraction}e{sign}{:02}", exponent.abs()))
    }

    /// The same as a value; at least what it begins with.
    fn written(self) -> Sql<'static> {
        match self.text() {
            Some(text) => Sql::Text(Cow::Owned(text)),
            None if self.value < 0.0 => Sql::Unclear(Some(b'-')),
            None if self.value < 1.0 && self.value >= 1e-4 => Sql::Unclear(Some(b'0')),
            None => Sql::Unclear(format!("{:e}", self.value).bytes().next()),
        }
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        let is_close = || {
            let scale = self.value.abs().max(other.value.abs());
            (self.value - other.value).abs() <= scale * 1e-12
        };
        if !(self.is_exact && other.is_exact) && is_close() {
            return None;
        }
        self.value.partial_cmp(&other.value)
    }
}

/// How many digits it takes to write it.
fn digits(value: f64) -> usize {
    let written = format!("{value:e}");
    written.split('e').next().unwrap_or("").bytes().filter(u8::is_ascii_digit).count()
}

/// Whether any reader gets the same float from what is written for it: up to 15 digits, and a power of ten that is
/// exact itself.
fn is_short(value: f64) -> bool {
    value == 0.0 || (1e-15..1e22).contains(&value.abs()) && digits(value) <= 15
}

impl<'a> Sql<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// A value in a column of texts or numbers.
    pub(super) fn of_column(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(is_true) => Self::Number(Number::integer(i64::from(*is_true))),
            Value::Number(number) => Self::Number(Number::bound(number.as_f64().unwrap_or(f64::NAN), true)),
            Value::String(text) => Self::text(text),
            other => Self::json(other),
        }
    }

    /// What `json_extract` gives for all of a JSON field, whose column makes integers of whole numbers.
    pub(super) fn of_json_column(value: &'a Value) -> Self {
        match Self::json(value) {
            Self::Number(number) => {
                Self::Number(Number { is_integer: Number::bound(number.value, true).is_integer, ..number })
            }
            other => other,
        }
    }

    /// What it gives for a value inside.
    pub(super) fn json(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(is_true) => Self::Number(Number::integer(i64::from(*is_true))),
            Value::Number(number) => Self::Number(Number::read(number)),
            Value::String(text) => Self::text(text),
            compound => match compound_text(compound) {
                Some(text) => Self::Text(Cow::Owned(text)),
                None => Self::Unclear(Some(if compound.is_array() { b'[' } else { b'{' })),
            },
        }
    }

    /// As `LOWER` and `LIKE` take it.
    pub(super) fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) if text.contains('\0') => None,
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Number(number) => number.text().map(Cow::Owned),
            Self::Null | Self::Unclear(_) | Self::Anything => None,
        }
    }

    pub(super) fn lowered(&self) -> Sql<'static> {
        match self {
            Self::Null => Sql::Null,
            Self::Unclear(first) => Sql::Unclear(*first),
            Self::Number(number) => number.written(),
            _ => match self.as_text() {
                Some(text) => Sql::Text(Cow::Owned(text.to_ascii_lowercase())),
                None => Sql::Unclear(None),
            },
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// This one as it stands beside an operand of that affinity.
    fn beside(&self, affinity: Affinity) -> Sql<'_> {
        match (affinity, self) {
            (Affinity::Numeric, Self::Text(text)) => match number_in(text) {
                Some(number) => Sql::Number(number),
                None => Sql::text(text),
            },
            (Affinity::Text, Self::Number(number)) => number.written(),
            (_, Self::Null) => Sql::Null,
            (_, Self::Number(number)) => Sql::Number(*number),
            (_, Self::Text(text)) => Sql::text(text),
            (Affinity::Numeric, Self::Unclear(None | Some(b'-' | b'0'..=b'9'))) | (_, Self::Anything) => {
                Sql::Anything
            }
            (_, Self::Unclear(first)) => Sql::Unclear(*first),
        }
    }

    /// The order of two values; `Err` for what cannot be known.
    fn compare(&self, other: &Sql<'_>) -> Result<Ordering, Doubt> {
        match (self, other) {
            (Self::Number(left), Sql::Number(right)) => left.compare(*right).ok_or(Doubt),
            (Self::Text(left), Sql::Text(right)) => Ok(left.as_bytes().cmp(right.as_bytes())),
            (Self::Anything, _) | (_, Sql::Anything) => Err(Doubt),
            // Numbers are below texts.
            (Self::Number(_), _) => Ok(Ordering::Less),
            (_, Sql::Number(_)) => Ok(Ordering::Greater),
            (Self::Unclear(Some(first)), Sql::Text(text)) => {
                match first.cmp(text.as_bytes().first().unwrap_or(&0)) {
                    Ordering::Equal => Err(Doubt),
                    order => Ok(order),
                }
            }
            (Self::Text(_), Sql::Unclear(Some(_))) => other.compare(self).map(Ordering::reverse),
            _ => Err(Doubt),
        }
    }

    /// The order of `ORDER BY`: nothing comes first.
    pub(super) fn order(&self, other: &Sql<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Anything, _) | (_, Sql::Anything) => None,
            (Self::Null, Sql::Null) => Some(Ordering::Equal),
            (Self::Null, _) => Some(Ordering::Less),
            (_, Sql::Null) => Some(Ordering::Greater),
            _ => self.compare(other).ok(),
        }
    }

    /// SQL's `IS`.
    fn is(&self, other: &Sql<'_>) -> Truth {
        match (self.is_null(), other.is_null()) {
            (true, true) => Truth::True,
            (false, false) => self.compare(other).map_or(Truth::Unknown, |order| order.is_eq().into()),
            _ => Truth::False,
        }
    }

    /// SQL's `=`.
    fn equals(&self, other: &Sql<'_>) -> Truth {
        if self.is_null() || other.is_null() { Truth::Null } else { self.is(other) }
    }
}

struct Doubt;

/// The number that a text stands for where one is wanted: all of it, blanks around it aside.
fn number_in(text: &str) -> Option<Number> {
    let text = text.trim_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).unwrap_or(text).to_owned();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (whole, all_digits) = (unsigned(whole), |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()));
    let has_digits = !(whole.is_empty() && fraction.is_empty());
    let is_power = exponent.is_none_or(|power| !unsigned(power).is_empty() && all_digits(&unsigned(power)));
    if !(has_digits && all_digits(&whole) && all_digits(fraction) && is_power) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    let is_integer = fraction.bytes().all(|b| b == b'0') && exponent.is_none() && value.abs() < 9e18;
    Some(Number { value, is_integer, is_exact: is_short(value) && whole.len() + fraction.len() <= 15 })
}

/// The JSON text of a list or an object, where it can be only one.
fn compound_text(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(compound_text).collect();
            Some(format!("[{}]", items?.join(",")))
        }
        Value::Object(fields) if fields.is_empty() => Some("{}".to_owned()),
        // The order of fields is not what the payload says, and so is how floats are written.
        Value::Object(fields) if fields.len() == 1 => {
            let (name, value) = fields.iter().next()?;
            Some(format!("{{{}:{}}}", json_string(name)?, compound_text(value)?))
        }
        Value::String(text) => json_string(text),
        Value::Number(number) => (number.is_i64()).then(|| number.to_string()),
        Value::Null | Value::Bool(_) => Some(value.to_string()),
        Value::Object(_) => None,
    }
}

/// A text in JSON, if all writers write it alike.
fn json_string(text: &str) -> Option<String> {
    let is_plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '/' | '<' | '>' | '&');
    text.chars().all(is_plain).then(|| format!("\"{text}\""))
}

/// The text of a column with many values: written by the server itself. 0.22 escapes what could be HTML, and which
/// version left that is not known.
pub(super) fn list_text(items: &[Value], is_old: bool) -> Sql<'static> {
    let mut out = String::from("[");
    for (i, item) in items.iter().enumerate() {
        let Some(text) = item.as_str() else {
            return Sql::Unclear(Some(b'['));
        };
        out.push_str(if i == 0 { "\"" } else { ",\"" });
        for character in text.chars() {
            match character {
                '"' | '\\' => out.extend(['\\', character]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' if is_old => {
                    out.push_str(&format!("\\u{:04x}", u32::from(character)));
                }
                '\0'..='\u{1f}' => return Sql::Unclear(Some(b'[')),
                _ => out.push(character),
            }
        }
        out.push('"');
    }
    out.push(']');
    Sql::Text(Cow::Owned(out))
}

impl Term<'_> {
    fn is_empty(&self) -> bool {
        self.shape == Shape::Null
            || self.shape == Shape::Value && matches!(&self.sql, Sql::Text(text) if text.is_empty())
    }

    fn is_known_not_empty(&self) -> bool {
        matches!(self.shape, Shape::Value | Shape::Constant) && !self.is_empty()
    }
}

/// What the server's SQL says to a comparison. `pattern` is the right side's, if that is a value of the filter.
pub(super) fn holds(op: Op, left: &Term<'_>, right: &Term<'_>, pattern: Option<&Pattern>) -> Truth {
    match op {
        Op::Equal => equal(left, right),
        Op::NotEqual => not_equal(left, right),
        Op::Like => like(left, right, pattern),
        Op::NotLike => like(left, right, pattern).not(),
        Op::Less => ordered(left, right, Ordering::is_lt),
        Op::LessOrEqual => ordered(left, right, Ordering::is_le),
        Op::Greater => ordered(left, right, Ordering::is_gt),
        Op::GreaterOrEqual => ordered(left, right, Ordering::is_ge),
    }
}

/// Both sides after SQLite's conversions.
fn converted<'a>(left: &'a Term<'_>, right: &'a Term<'_>) -> (Sql<'a>, Sql<'a>) {
    let (l, r) = (left.affinity, right.affinity);
    let affinity = match (l, r) {
        (Affinity::Numeric, _) | (_, Affinity::Numeric) if l != r => Affinity::Numeric,
        (Affinity::Text, Affinity::None) | (Affinity::None, Affinity::Text) => Affinity::Text,
        _ => Affinity::None,
    };
    (left.sql.beside(affinity), right.sql.beside(affinity))
}

fn ordered(left: &Term<'_>, right: &Term<'_>, wanted: fn(Ordering) -> bool) -> Truth {
    let (left, right) = converted(left, right);
    if left.is_null() || right.is_null() {
        return Truth::Null;
    }
    left.compare(&right).map_or(Truth::Unknown, |order| wanted(order).into())
}

fn equal(left: &Term<'_>, right: &Term<'_>) -> Truth {
    match Equality::of(left, right) {
        Equality::Strict => {
            let (left, right) = converted(left, right);
            left.is(&right)
        }
        Equality::Always => Truth::True,
        Equality::Plain(left, right) => {
            let (left, right) = converted(&left, &right);
            left.equals(&right)
        }
        Equality::WithNothing(side) => or_null(side),
        Equality::Coalesced => {
            let (left, right) = (coalesced(&left.sql), coalesced(&right.sql));
            left.is(&right)
        }
    }
}

fn not_equal(left: &Term<'_>, right: &Term<'_>) -> Truth {
    match Equality::of(left, right) {
        // `IS NOT`, and never null.
        Equality::Plain(left, right) => {
            let (left, right) = converted(&left, &right);
            left.is(&right).not()
        }
        _ => equal(left, right).not(),
    }
}

/// Which SQL the server makes of `=` and `!=`.
enum Equality<'a, 'b> {
    Strict,
    Always,
    Plain(Cow<'b, Term<'a>>, Cow<'b, Term<'a>>),
    /// `x = '' OR x IS NULL`.
    WithNothing(&'b Term<'a>),
    Coalesced,
}

impl<'a, 'b> Equality<'a, 'b> {
    fn of(left: &'b Term<'a>, right: &'b Term<'a>) -> Self {
        if left.shape == Shape::Strict || right.shape == Shape::Strict {
            return Self::Strict;
        }
        let empty = |term: &'b Term<'a>| match term.is_empty() {
            true => Cow::Owned(Term { sql: Sql::text(""), affinity: Affinity::None, shape: Shape::Value }),
            false => Cow::Borrowed(term),
        };
        match (left.is_empty(), right.is_empty()) {
            (true, true) => Self::Always,
            _ if left.is_known_not_empty() || right.is_known_not_empty() => {
                Self::Plain(empty(left), empty(right))
            }
            (true, false) => Self::WithNothing(right),
            (false, true) => Self::WithNothing(left),
            (false, false) => Self::Coalesced,
        }
    }
}

fn or_null(term: &Term<'_>) -> Truth {
    match &term.sql {
        Sql::Null => Truth::True,
        Sql::Text(text) => text.is_empty().into(),
        Sql::Number(_) | Sql::Unclear(Some(_)) => Truth::False,
        Sql::Unclear(None) | Sql::Anything => Truth::Unknown,
    }
}

fn coalesced<'a>(sql: &'a Sql<'_>) -> Sql<'a> {
    if sql.is_null() { Sql::text("") } else { sql.beside(Affinity::None) }
}

fn like(left: &Term<'_>, right: &Term<'_>, pattern: Option<&Pattern>) -> Truth {
    if left.sql.is_null() || right.sql.is_null() {
        return Truth::Null;
    }
    let made;
    let pattern = match (pattern, right.shape) {
        (Some(pattern), _) => pattern,
        // Its format is wrapped in the place of its result.
        (None, Shape::Lenient) => return Truth::Unknown,
        (None, _) => match right.sql.as_text() {
            Some(text) => {
                made = Pattern::of_field(&text);
                &made
            }
            None => return Truth::Unknown,
        },
    };
    if pattern.takes_all() {
        return Truth::True;
    }
    match left.sql.as_text() {
        Some(text) => pattern.matches(&text).into(),
        None => Truth::Unknown,
    }
}
