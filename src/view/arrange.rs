//! The order of a view's rows, and what is asked of the server to continue after one of them.

use std::cmp::Ordering;

use serde_json::Value;

use super::rows::Row;
use crate::Error;

/// A sort whose last key is the id, so that the order is total.
#[derive(Clone, Debug)]
pub(super) struct Order {
    keys: Vec<(String, bool)>,
}

impl Order {
    pub(super) fn parse(sort: &str) -> Result<Self, Error> {
        let mut keys = Vec::new();
        for key in sort.split(',').map(str::trim).filter(|key| !key.is_empty()) {
            let (name, falls) = match key.strip_prefix('-') {
                Some(name) => (name, true),
                None => (key.strip_prefix('+').unwrap_or(key), false),
            };
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(Error::argument("sort", format!("a view cannot be sorted by {name:?}")));
            }
            keys.push((name.to_owned(), falls));
        }
        if !keys.iter().any(|(name, _)| name == "id") {
            keys.push(("id".to_owned(), false));
        }
        Ok(Self { keys })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        self.keys.iter().map(|(name, falls)| (name.as_str(), *falls))
    }

    /// As the server reads it.
    pub(super) fn text(&self) -> String {
        let key = |(name, falls): (&str, bool)| format!("{}{name}", if falls { "-" } else { "" });
        self.names().map(key).collect::<Vec<_>>().join(",")
    }

    /// What of a record says where it stands, and whether it has changed.
    pub(super) fn fields(&self) -> String {
        let mut fields = vec!["id", "updated"];
        fields.extend(self.names().map(|(name, _)| name).filter(|name| !["id", "updated"].contains(name)));
        fields.join(",")
    }

    pub(super) fn keys(&self, record: &Value) -> Box<[Value]> {
        self.keys.iter().filter(|(name, _)| name != "id").map(|(name, _)| record[name].clone()).collect()
    }

    pub(super) fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let (mut left, mut right) = (a.keys().iter(), b.keys().iter());
        for (name, falls) in &self.keys {
            let order = match name.as_str() {
                "id" => a.id().cmp(b.id()),
                _ => compare(left.next().unwrap_or(&Value::Null), right.next().unwrap_or(&Value::Null)),
            };
            let order = if *falls { order.reverse() } else { order };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }
}

fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) | Value::Number(_) => 1,
        _ => 2,
    };
    let number = |value: &Value| value.as_f64().unwrap_or(f64::from(u8::from(*value == Value::Bool(true))));
    rank(a).cmp(&rank(b)).then_with(|| match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => number(a).total_cmp(&number(b)),
    })
}
