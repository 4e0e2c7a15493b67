//! The order of lists: what a `sort` means, which of two records comes first, and the filter of what comes after one.
//!
//! PocketBase sorts as SQLite does: nothing, then numbers, then texts by their bytes. `id` is added as the last column, so
//! that the order is total and a list can be walked by key: the next page is what comes after the last record, however
//! many records came and went meanwhile.
//!
//! Where this cannot know the order (a path through a relation, a modifier, JSON objects), it says nothing: [`Sort::compare`]
//! and [`Sort::after`] give `None`. `tests/sort_order.rs` asks real servers the same.

use std::{cmp::Ordering, fmt};

use serde_json::Value;

use crate::filter::{Kind, Kinds, Schema, compare, compare_inside, for_both, quote, quote_for_old};

/// How many columns servers sort by. One of them is `id`.
const MAX_COLUMNS: usize = 8;

/// A parsed `sort`, with `id` as its last column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sort {
    columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    /// As the server gets it.
    name: String,
    field: String,
    /// What follows the field, into JSON or through a relation.
    path: Vec<String>,
    descending: bool,
    /// `:lower` and the like, which only the server computes.
    has_modifier: bool,
}

/// Where a `sort` is not one, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SortError {
    /// In characters, from 1 on.
    pub(crate) column: usize,
    pub(crate) reason: String,
}

impl fmt::Display for SortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at column {}", self.reason, self.column)
    }
}

/// What is compared: a record, or what of it a sort needs.
pub(crate) trait Record {
    fn field(&self, name: &str) -> Option<&Value>;
    fn id(&self) -> Option<&str>;
}

impl Record for Value {
    fn field(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }

    fn id(&self) -> Option<&str> {
        self["id"].as_str()
    }
}

impl Sort {
    /// Reads `-priority,created`. The empty text is the order by `id`.
    pub(crate) fn parse(text: &str) -> Result<Self, SortError> {
        let mut columns: Vec<Column> = Vec::new();
        let mut at = 1;
        for part in text.split(',').filter(|_| !text.trim().is_empty()) {
            let blanks = part.chars().take_while(|c| c.is_whitespace()).count();
            let column =
                Column::parse(part.trim()).map_err(|reason| SortError { column: at + blanks, reason })?;
            if columns.len() == MAX_COLUMNS {
                let reason = format!("servers sort by at most {MAX_COLUMNS} columns");
                return Err(SortError { column: at + blanks, reason });
            }
            columns.push(column);
            at += part.chars().count() + 1;
        }
        // Ids are unique: what comes after them decides nothing.
        match columns.iter().position(|column| column.name == "id") {
            Some(id) => columns.truncate(id + 1),
            None if columns.len() == MAX_COLUMNS => {
                let most = MAX_COLUMNS - 1;
                let reason =
                    format!("`id` is added as the last column, which leaves room for {most}; one too many");
                let last = text.rfind(',').map_or(0, |comma| text[..comma].chars().count() + 1);
                return Err(SortError { column: last + 1, reason });
            }
            None => columns.push(Column::parse("id").expect("a name")),
        }
        Ok(Self { columns })
    }

    /// The fields that decide, once each.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let mut fields: Vec<&str> = Vec::new();
        for column in &self.columns {
            if !fields.contains(&column.field.as_str()) {
                fields.push(&column.field);
            }
        }
        fields
    }

    /// Which of two records comes first; `None` where only the server knows.
    pub(crate) fn compare(&self, a: &impl Record, b: &impl Record, schema: &Schema) -> Option<Ordering> {
        for column in &self.columns {
            let order = column.compare(a, b, schema)?;
            if order.is_ne() {
                return Some(if column.descending { order.reverse() } else { order });
            }
        }
        Some(Ordering::Equal)
    }

    /// The columns, and which of them fall: `None` unless all of them are fields of the record themselves.
    pub(crate) fn plain(&self) -> Option<Vec<(&str, bool)>> {
        let is_plain = |column: &Column| {
            column.path.is_empty() && !column.has_modifier && !column.field.starts_with('@')
        };
        let columns = self.columns.iter().map(|column| (column.field.as_str(), column.descending));
        self.columns.iter().all(is_plain).then(|| columns.collect())
    }

    /// The filter of the records that come after this one; `None` where there is none that every server reads alike.
    pub(crate) fn after(&self, record: &Value, schema: &Schema) -> Option<String> {
        let keys: Option<Vec<Key>> = self.columns.iter().map(|column| column.key(record, schema)).collect();
        let keys = keys?;
        let new = self.after_keys(&keys, |text| Some(quote(text, false)))?;
        let old = self.after_keys(&keys, quote_for_old)?;
        Some(if new == old { new } else { for_both(&new, &old) })
    }

    fn after_keys(&self, keys: &[Key], quote: impl Fn(&str) -> Option<String>) -> Option<String> {
        let (mut alternatives, mut equal) = (Vec::new(), String::new());
        for (column, key) in self.columns.iter().zip(keys) {
            let name = &column.name;
            let (literal, is_null) = match key {
                Key::Null => (String::new(), true),
                Key::Number(number) => (number.clone(), false),
                Key::Text { text, .. } => (quote(text)?, false),
            };
            // What is nothing in JSON, and no empty text, for which servers take it in other columns.
            let nothing = format!("{name} = null && {name} != ''");
            let beyond = match (is_null, column.descending) {
                (true, true) => None,
                (true, false) => Some(format!("{name} != null")),
                (false, false) => Some(format!("{name} > {literal}")),
                (false, true) if key.may_be_null() => Some(format!("({name} < {literal} || ({nothing}))")),
                (false, true) => Some(format!("{name} < {literal}")),
            };
            alternatives.extend(beyond.map(|beyond| format!("{equal}{beyond}")));
            equal += &if is_null { format!("{name} = null && ") } else { format!("{name} = {literal} && ") };
        }
        Some(match alternatives.as_slice() {
            [one] => one.clone(),
            many => many.iter().map(|part| format!("({part})")).collect::<Vec<_>>().join(" || "),
        })
    }
}

impl fmt::Display for Sort {
    /// As the server reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, column) in self.columns.iter().enumerate() {
            let (comma, sign) = (if i > 0 { "," } else { "" }, if column.descending { "-" } else { "" });
            write!(f, "{comma}{sign}{}", column.name)?;
        }
        Ok(())
    }
}

/// What a record has in a column, as far as a filter can name it.
enum Key {
    Null,
    Number(String),
    Text { text: String, in_json: bool },
}

impl Key {
    /// Whether other records may have nothing there.
    fn may_be_null(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Text { in_json: true, .. })
    }
}

impl Column {
    fn parse(text: &str) -> Result<Self, String> {
        let (descending, name) = match text.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if matches!(name, "@random" | "@rowid") {
            return Err(format!(
                "`{name}` gives no order that a list could be continued in: use fields, such as `-created`,"
            ));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let odd = name.chars().find(|c| !is_name(*c) && !matches!(c, '.' | ':' | '@'));
        if name.is_empty() {
            return Err("the name of a field is expected".to_owned());
        }
        if let Some(odd) = odd {
            return Err(format!("{odd:?} is no part of a field's name: fields are separated by commas,"));
        }
        let (path, modifier) = name.split_once(':').map_or((name, None), |(path, rest)| (path, Some(rest)));
        let mut steps = path.split('.').map(str::to_owned);
        let field = steps.next().unwrap_or_default();
        let path: Vec<String> = steps.collect();
        if field.is_empty() || path.iter().any(String::is_empty) || modifier == Some("") {
            return Err(format!("`{name}` is no complete name"));
        }
        Ok(Self { name: name.to_owned(), field, path, descending, has_modifier: modifier.is_some() })
    }

    /// What the field may be, as a record shows it.
    fn kinds(&self, value: &Value, schema: &Schema) -> Kinds {
        let known = schema.kinds(&self.field);
        known.only().map_or_else(|| known.narrowed(Kinds::of_value(value)), Kinds::from)
    }

    /// Whether the path leads into JSON for sure, and not to another record.
    fn is_inside(&self, kinds: Kinds) -> bool {
        kinds.iter().all(|kind| matches!(kind, Kind::Json | Kind::Point))
    }

    fn compare(&self, a: &impl Record, b: &impl Record, schema: &Schema) -> Option<Ordering> {
        if self.name == "id" {
            return Some(a.id()?.cmp(b.id()?));
        }
        if self.has_modifier || self.field.starts_with('@') {
            return None;
        }
        let (a, b) = (a.field(&self.field)?, b.field(&self.field)?);
        let (of_a, of_b) = (self.kinds(a, schema), self.kinds(b, schema));
        match (self.path.is_empty(), self.is_inside(of_a) || self.is_inside(of_b)) {
            (true, _) => compare(of_a.common(of_b)?, a, b),
            (false, true) => compare_inside(&self.path, a, b),
            (false, false) => None,
        }
    }

    fn key(&self, record: &Value, schema: &Schema) -> Option<Key> {
        if self.has_modifier || self.field.starts_with('@') {
            return None;
        }
        let kinds = self.kinds(&record[&self.field], schema);
        let is_inside = !self.path.is_empty();
        if is_inside && !self.is_inside(kinds) {
            return None;
        }
        let value = record.get(&self.field)?;
        // What cannot be compared with itself cannot be named either.
        let (order, value) = match is_inside {
            true => (compare_inside(&self.path, value, value), at(value, &self.path)),
            false => (compare(kinds, value, value), value),
        };
        order?;
        let in_json = is_inside || kinds.has(Kind::Json) && self.field != "id";
        match value {
            Value::Null if in_json => Some(Key::Null),
            Value::Bool(is_true) => Some(Key::Number(u8::from(*is_true).to_string())),
            // The language knows no exponents.
            Value::Number(number) => number.as_f64().map(|number| Key::Number(number.to_string())),
            Value::String(text) if !text.contains('\0') => Some(Key::Text { text: text.clone(), in_json }),
            _ => None,
        }
    }
}

/// The value at a path into JSON.
fn at<'v>(value: &'v Value, path: &[String]) -> &'v Value {
    path.iter().fold(value, |value, step| match value {
        Value::Array(items) => step.parse().ok().and_then(|i: usize| items.get(i)).unwrap_or(&Value::Null),
        Value::Object(fields) if !step.bytes().all(|byte| byte.is_ascii_digit()) => {
            fields.get(step).unwrap_or(&Value::Null)
        }
        _ => &Value::Null,
    })
}
