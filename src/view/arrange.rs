//! The order of a view's rows, and what is asked of the server to continue after one of them.

use std::{
    cmp::Ordering,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use serde_json::Value;

use super::rows::Row;
use crate::{
    Error,
    filter::Schema,
    order::{Record, Sort},
};

/// A sort whose last key is the id, so that the order is total.
#[derive(Clone, Debug)]
pub(super) struct Order(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sort: Sort,
    /// The fields that rows are sorted by, but the id.
    fields: Vec<String>,
    /// What fields may be is taken from the values alone: an order that changes with what was learned would be none.
    schema: Schema,
    /// Two rows were met of which only the server knows which comes first.
    is_unclear: AtomicBool,
}

impl Order {
    pub(super) fn parse(sort: &str) -> Result<Self, Error> {
        let sort = Sort::parse(sort).map_err(|error| Error::argument("sort", error.to_string()))?;
        let fields = sort.fields().into_iter().filter(|field| *field != "id").map(str::to_owned).collect();
        let inner = Inner { sort, fields, schema: Schema::default(), is_unclear: AtomicBool::new(false) };
        Ok(Self(Arc::new(inner)))
    }

    /// As the server reads it.
    pub(super) fn text(&self) -> String {
        self.0.sort.to_string()
    }

    /// What of a record says where it stands, and whether it has changed.
    pub(super) fn fields(&self) -> String {
        let own = self.0.fields.iter().map(String::as_str).filter(|field| *field != "updated");
        ["id", "updated"].into_iter().chain(own).collect::<Vec<_>>().join(",")
    }

    pub(super) fn keys(&self, record: &Value) -> Box<[Value]> {
        self.0.fields.iter().map(|field| record[field].clone()).collect()
    }

    pub(super) fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let side = |row| Keys { row, fields: &self.0.fields };
        self.0.sort.compare(&side(a), &side(b), &self.0.schema).unwrap_or_else(|| {
            self.0.is_unclear.store(true, Relaxed);
            a.id().cmp(b.id())
        })
    }

    /// The condition for what comes after a row.
    pub(super) fn after(&self, row: &Row) -> Result<String, Error> {
        self.0.sort.after(&row.json(), &self.0.schema).ok_or_else(|| self.unsupported())
    }

    /// Fails once rows were met that cannot be put in order here.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.0.is_unclear.load(Relaxed) { Err(self.unsupported()) } else { Ok(()) }
    }

    fn unsupported(&self) -> Error {
        let reason = "its values can be compared by the server alone (a relation's field, a modifier, JSON objects, or a \
                      field that is hidden); sort by the record's own texts, numbers and dates";
        Error::unsupported(format!("watch with the sort {:?}", self.text()), reason)
    }
}

/// What is kept of a row to sort by.
struct Keys<'a> {
    row: &'a Row,
    fields: &'a [String],
}

impl Record for Keys<'_> {
    fn field(&self, name: &str) -> Option<&Value> {
        let at = self.fields.iter().position(|field| field == name)?;
        self.row.keys().get(at)
    }

    fn id(&self) -> Option<&str> {
        Some(self.row.id())
    }
}
