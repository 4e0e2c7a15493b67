//! From what has changed to deltas: what waits for a slow reader becomes fewer of them, and at last one `Reset`.

use std::collections::HashMap;

use super::{
    arrange::Order,
    rows::{Row, Rows},
};

/// One change of a list. Folded in order, the deltas of all batches give [`View::rows`](super::View::rows).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Delta {
    /// A row came, and stands at this place now.
    Insert {
        /// Its place.
        at: usize,
        /// The row.
        row: Row,
    },
    /// A row changed: take it from `from`, then put it at `to`, counted without it. They are the same where it did not move.
    Update {
        /// Its place before.
        from: usize,
        /// Its place now.
        to: usize,
        /// The row.
        row: Row,
        /// What it was before.
        old: Row,
    },
    /// A row is no longer in the list.
    Remove {
        /// Its place before.
        at: usize,
        /// What it was.
        row: Row,
        /// Why.
        why: Why,
    },
    /// The list is another one: the first, or one that differs in so much that deltas would be more.
    Reset {
        /// All of its rows.
        rows: Rows,
    },
}

impl Delta {
    /// Does to a list of your own what was done to the view's.
    ///
    /// # Panics
    /// If the list is not what the deltas before have made of it.
    pub fn apply_to(&self, list: &mut Vec<Row>) {
        match self {
            Self::Insert { at, row } => list.insert(*at, row.clone()),
            Self::Update { from, to, row, .. } => {
                list.remove(*from);
                list.insert(*to, row.clone());
            }
            Self::Remove { at, .. } => _ = list.remove(*at),
            Self::Reset { rows } => *list = rows.iter().cloned().collect(),
        }
    }
}

/// Why a row is no longer in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// It was deleted.
    Deleted,
    /// It does not match the filter any more.
    LeftFilter,
    /// Others came before it, and it is beyond the [`limit`](super::Watch::limit).
    Displaced,
    /// The server does not list it any more, as was found when the list was compared with the server's: it was deleted, has
    /// left the filter, or a rule hides it now.
    Gone,
}

impl Why {
    /// The name in lower case: `"deleted"`, `"left_filter"`, `"displaced"`, `"gone"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::LeftFilter => "left_filter",
            Self::Displaced => "displaced",
            Self::Gone => "gone",
        }
    }
}

/// One row that is another one now, or that is or was not there.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) old: Option<Row>,
    pub(super) new: Option<Row>,
    pub(super) why: Why,
}

/// What a reader has not taken yet: the list as it was last taken, and the rows that differ.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    base: Rows,
    /// By id. `None` when they are so many that the list itself is shorter.
    changes: Option<HashMap<Box<str>, Change>>,
}

/// A list this short is not worth counting.
const FEW: usize = 256;

impl Waiting {
    pub(super) fn push(&mut self, changes: Vec<Change>, rows: &Rows) {
        let Some(waiting) = &mut self.changes else { return };
        for Change { old, new, why } in changes {
            let Some(id) = old.as_ref().or(new.as_ref()).map(|row| Box::from(row.id())) else { continue };
            let entry = waiting.entry(id).or_insert(Change { old, new: None, why });
            (entry.new, entry.why) = (new, why);
        }
        if waiting.len() > FEW.max(rows.len()) {
            waiting.retain(|_, change| change.old != change.new);
            if waiting.len() > FEW.max(rows.len()) {
                self.changes = None;
            }
        }
    }

    /// The deltas from the list that was taken last to this one.
    pub(super) fn take(&mut self, rows: &Rows, order: &Order) -> Vec<Delta> {
        let base = std::mem::replace(&mut self.base, rows.clone());
        let Some(changes) = self.changes.replace(HashMap::new()) else {
            return vec![Delta::Reset { rows: rows.clone() }];
        };
        deltas(base, changes.into_values().collect(), order)
    }
}

/// The list itself is always in order, so that each place is found by looking for the row.
fn deltas(mut list: Rows, mut changes: Vec<Change>, order: &Order) -> Vec<Delta> {
    changes.retain(|change| change.old != change.new);
    // In the order of the list, which people read; also so that equal input gives equal output.
    let at = |change: &Change| change.old.clone().or_else(|| change.new.clone());
    changes.sort_by(|a, b| match (at(a), at(b)) {
        (Some(a), Some(b)) => order.compare(&a, &b),
        _ => std::cmp::Ordering::Equal,
    });
    let mut deltas = Vec::with_capacity(changes.len());
    // First what goes: a window is never longer than its limit.
    for Change { old, new, why } in &changes {
        if let (Some(row), None) = (old, new)
            && let Ok(at) = list.find(row, order)
        {
            list.remove(at);
            deltas.push(Delta::Remove { at, row: row.clone(), why: *why });
        }
    }
    for Change { old, new, .. } in changes {
        let Some(row) = new else { continue };
        let from = old.as_ref().and_then(|old| list.find(old, order).ok());
        if let Some(from) = from {
            list.remove(from);
        }
        let Err(to) = list.find(&row, order) else { continue };
        list.insert(to, row.clone());
        deltas.push(match (from, old) {
            (Some(from), Some(old)) => Delta::Update { from, to, row, old },
            _ => Delta::Insert { at: to, row },
        });
    }
    deltas
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(id: &str, n: i64, text: &str) -> Row {
        Row::new(&json!({"id": id, "n": n, "t": text}), &Order::parse("n").unwrap()).unwrap()
    }

    #[test]
    fn what_waits_folds_to_one_delta_a_row_and_to_none_where_nothing_is_left_of_it() {
        let order = Order::parse("n").unwrap();
        let (a, b, c) = (row("a", 1, ""), row("b", 2, ""), row("c", 3, ""));
        let mut waiting = Waiting::default();
        let first = Rows::of(&[a.clone(), b.clone(), c.clone()]);
        assert_eq!(waiting.take(&first, &order), [Delta::Reset { rows: first.clone() }]);

        let (b2, b3) = (row("b", 2, "new"), row("b", 9, "newer"));
        let change =
            |old: Option<&Row>, new: Option<&Row>, why| Change { old: old.cloned(), new: new.cloned(), why };
        let now = Rows::of(&[a.clone(), b3.clone()]);
        let steps = [
            (Some(&b), Some(&b2)),
            (Some(&a), None),
            (Some(&b2), Some(&b3)),
            (None, Some(&a)),
            (Some(&c), None),
        ];
        for (old, new) in steps {
            waiting.push(vec![change(old, new, Why::Deleted)], &now);
        }
        let deltas = waiting.take(&now, &order);
        let expected = [
            Delta::Remove { at: 2, row: c, why: Why::Deleted },
            Delta::Update { from: 1, to: 1, row: b3, old: b },
        ];
        assert_eq!(deltas, expected);
        assert_eq!(waiting.take(&now, &order), []);
    }

    #[test]
    fn more_changes_than_rows_become_one_reset() {
        let order = Order::parse("n").unwrap();
        let mut waiting = Waiting::default();
        let mut rows = Rows::default();
        waiting.take(&rows, &order);
        for n in 0..2 * FEW as i64 {
            let new = row(&format!("r{n}"), n, "");
            rows = Rows::of(std::slice::from_ref(&new));
            waiting.push(vec![Change { old: None, new: Some(new), why: Why::Gone }], &rows);
        }
        assert!(waiting.changes.is_none(), "what waits is bounded");
        assert_eq!(waiting.take(&rows, &order), [Delta::Reset { rows }]);
    }
}
