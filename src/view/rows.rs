//! Rows, and the list of them: immutable, cheap to clone, and cheap to make another from.

use std::{cmp::Ordering, fmt, ops::Range, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::arrange::Order;
use crate::{Error, error::unexpected};

/// Rows in a part of a list. What changes is copied, so a change costs no more than this and the number of parts.
const PART: usize = 128;

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
        let text = record.to_string().into_boxed_str();
        let within = |inner: &str| {
            let at = u32::try_from(text.find(inner)?).ok()?;
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

/// The rows of a view, in order: an immutable list that is cheap to clone.
///
/// A clone shows what the view showed when it was taken, for as long as it is kept.
#[derive(Clone, Default)]
pub struct Rows {
    /// None of them is empty.
    parts: Arc<Vec<Arc<Vec<Row>>>>,
    len: usize,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row at a place, from 0.
    pub fn get(&self, at: usize) -> Option<&Row> {
        let (part, at) = self.place(at)?;
        self.parts.get(part)?.get(at)
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    pub(super) fn last(&self) -> Option<&Row> {
        self.parts.last()?.last()
    }

    /// Of rows that are in order.
    pub(super) fn of(rows: &[Row]) -> Self {
        let parts: Vec<_> = rows.chunks(PART / 2).map(|part| Arc::new(part.to_vec())).collect();
        Self { parts: Arc::new(parts), len: rows.len() }
    }

    /// The first so many.
    pub(super) fn first(&self, count: usize) -> Self {
        if self.len <= count {
            return self.clone();
        }
        let rows: Vec<Row> = self.iter().take(count).cloned().collect();
        Self::of(&rows)
    }

    /// Where a row is, or would be put.
    pub(super) fn find(&self, row: &Row, order: &Order) -> Result<usize, usize> {
        let is_before =
            |part: &Arc<Vec<Row>>| part.last().is_some_and(|last| order.compare(last, row) == Ordering::Less);
        let part = self.parts.partition_point(is_before);
        let before: usize = self.parts[..part].iter().map(|part| part.len()).sum();
        let Some(part) = self.parts.get(part) else { return Err(before) };
        let found = part.binary_search_by(|other| order.compare(other, row));
        found.map(|at| before + at).map_err(|at| before + at)
    }

    pub(super) fn insert(&mut self, at: usize, row: Row) {
        self.len += 1;
        let (part, at) = match self.place(at) {
            Some(place) => place,
            None => match self.parts.len().checked_sub(1) {
                Some(last) => (last, self.parts[last].len()),
                None => return Arc::make_mut(&mut self.parts).push(Arc::new(vec![row])),
            },
        };
        let parts = Arc::make_mut(&mut self.parts);
        let rows = Arc::make_mut(&mut parts[part]);
        rows.insert(at, row);
        if rows.len() >= PART {
            let second = rows.split_off(PART / 2);
            parts.insert(part + 1, Arc::new(second));
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        let Some((part, at)) = self.place(at) else { return };
        self.len -= 1;
        let parts = Arc::make_mut(&mut self.parts);
        let rows = Arc::make_mut(&mut parts[part]);
        rows.remove(at);
        let left = rows.len();
        if left == 0 {
            parts.remove(part);
        } else if let Some(next) = parts.get(part + 1)
            && left + next.len() <= PART / 2
        {
            let next = parts.remove(part + 1);
            Arc::make_mut(&mut parts[part]).extend(next.iter().cloned());
        }
    }

    /// The part that holds a place, and the place in it.
    fn place(&self, mut at: usize) -> Option<(usize, usize)> {
        for (part, rows) in self.parts.iter().enumerate() {
            if at < rows.len() {
                return Some((part, at));
            }
            at -= rows.len();
        }
        None
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(n: i64, id: &str) -> Row {
        Row::new(&json!({"id": id, "n": n}), &Order::parse("n").unwrap()).unwrap()
    }

    #[test]
    fn a_list_of_parts_is_as_a_vector_and_clones_keep_what_they_had() {
        let order = Order::parse("n").unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut rows, mut plain) = (Rows::default(), Vec::<Row>::new());
        let mut kept = Vec::new();
        for step in 0..4_000 {
            let row = row(rng.i64(0..300), &format!("r{:03}", rng.u32(0..1000)));
            let growing = step < 2_000;
            match rows.find(&row, &order) {
                Err(at) if growing || rng.u8(0..4) == 0 => {
                    assert_eq!(plain.binary_search_by(|other| order.compare(other, &row)), Err(at));
                    rows.insert(at, row.clone());
                    plain.insert(at, row);
                }
                Err(_) if plain.is_empty() => {}
                Ok(at) | Err(at) => {
                    let at = at.min(plain.len() - 1);
                    rows.remove(at);
                    plain.remove(at);
                }
            }
            if step % 500 == 0 {
                kept.push((rows.clone(), plain.clone()));
            }
            let at = rng.usize(0..plain.len().max(1));
            assert_eq!((rows.get(at), rows.len()), (plain.get(at), plain.len()));
        }
        kept.push((rows, plain));
        for (rows, plain) in kept {
            assert!(rows.iter().eq(&plain));
            assert!(rows.first(7).iter().eq(plain.iter().take(7)) && rows.last() == plain.last());
        }
    }

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
