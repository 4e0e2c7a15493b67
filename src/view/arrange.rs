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
    /// The columns, where all are plain: their place in `fields` (`None` for the id), and whether they fall.
    plain: Option<Vec<(Option<usize>, bool)>>,
    /// What fields may be is taken from the values alone: an order that changes with what was learned would be none.
    schema: Schema,
    /// Two rows were met of which only the server knows which comes first.
    is_unclear: AtomicBool,
}

impl Order {
    pub(super) fn parse(sort: &str) -> Result<Self, Error> {
        let sort = Sort::parse(sort).map_err(|error| Error::argument("sort", error.to_string()))?;
        let fields: Vec<String> =
            sort.fields().into_iter().filter(|field| *field != "id").map(str::to_owned).collect();
        let place = |(field, falls)| (fields.iter().position(|other| other == field), falls);
        let plain = sort.plain().map(|columns| columns.into_iter().map(place).collect());
        let inner =
            Inner { sort, fields, plain, schema: Schema::default(), is_unclear: AtomicBool::new(false) };
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
        self.compare_plainly(a, b).unwrap_or_else(|| self.compare_fully(a, b))
    }

    /// What nearly all rows need, and several times for each change: numbers and texts in fields of the record itself.
    fn compare_plainly(&self, a: &Row, b: &Row) -> Option<Ordering> {
        for (place, falls) in self.0.plain.as_ref()? {
            let order = match place {
                None => a.id().cmp(b.id()),
                Some(place) => compare_values(a.keys().get(*place)?, b.keys().get(*place)?)?,
            };
            if order.is_ne() {
                return Some(if *falls { order.reverse() } else { order });
            }
        }
        Some(Ordering::Equal)
    }

    fn compare_fully(&self, a: &Row, b: &Row) -> Ordering {
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

/// Where there is no doubt what the server makes of them.
fn compare_values(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Number(a), Value::Number(b)) => Some(a.as_i64()?.cmp(&b.as_i64()?)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_compared_plainly_is_what_a_full_comparison_says() {
        let order = Order::parse("-n,s").unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        let mut value = || match rng.u8(0..8) {
            0 => json!(rng.i64(-3..3)),
            1 => json!(rng.i64(..)),
            2 => json!(rng.bool()),
            3 => json!(rng.i64(-3..3) as f64 / 2.0),
            4 => Value::Null,
            _ => {
                let letters = ["a", "B", "é", "1", "\"", "\\", "!", " ", "\n", "😀", "~"];
                json!((0..rng.usize(0..4)).map(|_| letters[rng.usize(0..letters.len())]).collect::<String>())
            }
        };
        let mut plain = 0;
        for number in 0..150_000 {
            let mut row = || {
                Row::new(&json!({"id": format!("{}", number % 3), "n": value(), "s": value()}), &order)
                    .unwrap()
            };
            let (a, b) = (row(), row());
            if let Some(quick) = order.compare_plainly(&a, &b) {
                plain += 1;
                assert_eq!(quick, order.compare_fully(&a, &b), "{} {}", a.text(), b.text());
                assert!(order.check().is_ok(), "{} {}", a.text(), b.text());
            }
            order.0.is_unclear.store(false, Relaxed);
        }
        assert!(plain > 20_000, "{plain}");
    }
}
