//! Rows: immutable, and cheap to clone. The list of them is in `tree.rs`.

use std::{
    borrow::Borrow,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    ops::Range,
    sync::Arc,
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::arrange::Order;
use crate::{Error, error::unexpected};

pub use super::tree::Rows;

/// A record as a [`View`](super::View) shows it. Cheap to clone.
#[derive(Clone)]
pub struct Row(Arc<Inner>);

struct Inner {
    /// The record's JSON, its keys sorted.
    text: Box<str>,
    /// Where the id stands in it.
    id: Range<u32>,
    /// Where `updated` stands in it; empty if there is none.
    version: Range<u32>,
    /// What the list is sorted by.
    keys: Box<[Value]>,
}

impl Row {
    /// `None` unless the record has an `id`.
    pub(super) fn new(record: &Value, order: &Order) -> Option<Self> {
        // About as long as rows are, so that it need not grow.
        let mut text = Vec::with_capacity(1_024);
        serde_json::to_writer(&mut text, record).ok()?;
        let text: Box<str> = std::str::from_utf8(&text).ok()?.into();
        let within = |inner: &str| {
            let at = memchr::memmem::find(text.as_bytes(), inner.as_bytes())?;
            let at = u32::try_from(at).ok()?;
            Some(at..at + u32::try_from(inner.len()).ok()?)
        };
        let id = within(&format!("\"id\":\"{}\"", record["id"].as_str()?))?;
        let id = id.start + 6..id.end - 1;
        let version = match version_of(record) {
            Some(version) => {
                let found = within(&format!("\"updated\":\"{version}\""))?;
                found.start + 11..found.end - 1
            }
            None => 0..0,
        };
        Some(Self(Arc::new(Inner { keys: order.keys(record), text, id, version })))
    }

    /// The record's id.
    pub fn id(&self) -> &str {
        self.part(&self.0.id)
    }

    /// The record as JSON text, its keys sorted.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The record as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.0.text).unwrap_or_default()
    }

    /// The record, deserialized into a type of yours.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the record does not fit `T`.
    pub fn record<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.0.text).map_err(|error| unexpected("a record", &error))
    }

    /// When the record was changed last, as the server says it in `updated`; `None` if the collection has no such field.
    pub fn updated(&self) -> Option<&str> {
        Some(self.part(&self.0.version)).filter(|version| !version.is_empty())
    }

    pub(super) fn keys(&self) -> &[Value] {
        &self.0.keys
    }

    /// Whether it is the same object, and so the same in all.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn part(&self, range: &Range<u32>) -> &str {
        &self.0.text[range.start as usize..range.end as usize]
    }
}

/// The `updated` of a record, where it is one of the server's times: these can be compared as texts.
pub(super) fn version_of(record: &Value) -> Option<&str> {
    let version = record["updated"].as_str()?;
    let bytes = version.as_bytes();
    let is_time = bytes.len() == 24 && bytes[10] == b' ' && bytes[23] == b'Z' && bytes[0].is_ascii_digit();
    is_time.then_some(version)
}

/// Equal if the records are, whatever list they are from.
impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || self.0.text == other.0.text
    }
}

impl Eq for Row {}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest is the user's.
        f.debug_struct("Row").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Rows by their ids.
#[derive(Debug, Default)]
pub(super) struct Index(HashSet<ById>);

/// A row that is found by its id, which it holds itself.
#[derive(Debug)]
struct ById(Row);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.id()
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById {}

impl Index {
    pub(super) fn get(&self, id: &str) -> Option<&Row> {
        self.0.get(id).map(|entry| &entry.0)
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// In place of what was there with its id.
    pub(super) fn insert(&mut self, row: Row) {
        self.0.replace(ById(row));
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Row> {
        self.0.take(id).map(|entry| entry.0)
    }

    pub(super) fn into_rows(self) -> impl Iterator<Item = Row> {
        self.0.into_iter().map(|entry| entry.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_knows_its_id_and_version_whatever_else_it_holds() {
        let record =
            json!({"a": "\"id\":\"no\"", "id": "yes", "updated": "2026-01-01 00:00:00.000Z", "n": 1});
        let row = Row::new(&record, &Order::parse("n").unwrap()).unwrap();
        assert_eq!((row.id(), row.updated()), ("yes", Some("2026-01-01 00:00:00.000Z")));
        assert_eq!((row.json(), row.record::<Value>().unwrap()), (record.clone(), record));
        let odd = Row::new(&json!({"id": "a", "updated": "yesterday"}), &Order::parse("").unwrap()).unwrap();
        assert_eq!(odd.updated(), None, "a text of the user's, and no time of the server's");
        assert!(Row::new(&json!({"n": 1}), &Order::parse("n").unwrap()).is_none());
    }
}
