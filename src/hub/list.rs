//! Lists of records: filter, sort, pages; and what names in a filter stand for.

use serde_json::{Value, json};

use super::clock;
use super::records::{Collection, Kind, Look, Requester, may_be_made};
use super::refusal::Refusal;
use super::state::State;
use crate::filter::{Answer, Filter, Found, Kind as FieldKind, Kinds, Source};

impl State {
    pub(super) fn list(&self, key: &str, requester: &Requester) -> Result<Value, Refusal> {
        let unborn;
        let collection = match self.collection(key) {
            Some(collection) => collection,
            None if !self.settings.strict && may_be_made(key) => {
                unborn = Collection::new(key, Kind::Base);
                &unborn
            }
            None => return Err(Refusal::new(404, "Missing collection context.")),
        };
        collection.open_to(requester)?;
        let given = |name: &str| requester.query.get(name).filter(|value| !value.is_empty());
        let number = |name: &str, default: i64| match given(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| Refusal::vague()),
        };
        let page = usize::try_from(number("page", 1)?).unwrap_or(1).max(1);
        let per_page = match usize::try_from(number("perPage", 30)?) {
            Ok(0) | Err(_) => 30,
            Ok(n) => n.min(1000),
        };
        let skip_total = match given("skipTotal").map(String::as_str) {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some(_) => return Err(Refusal::vague()),
        };
        let filter = match given("filter") {
            None => None,
            Some(text) => {
                let filter = Filter::parse(text, self.filter_dialect()).map_err(|_| Refusal::vague())?;
                self.check_filter(&filter, collection, requester)?;
                Some(filter)
            }
        };
        let mut found: Vec<&Value> = collection
            .records()
            .filter(|record| self.may_see(collection, record, requester, Look::List))
            .filter(|record| {
                let lens = Lens { state: self, collection, record, requester };
                filter.as_ref().is_none_or(|filter| lens.passes(filter))
            })
            .collect();
        if let Some(order) = given("sort") {
            self.sort(collection, order, &mut found)?;
        }

        let total = found.len();
        let sight = requester.sight();
        let items: Vec<Value> = found
            .into_iter()
            .skip((page - 1).saturating_mul(per_page))
            .take(per_page)
            .map(|record| self.visible(collection, record, requester, &sight))
            .collect();
        let (total_items, total_pages) =
            if skip_total { (json!(-1), json!(-1)) } else { (json!(total), json!(total.div_ceil(per_page))) };
        Ok(json!({
            "items": items,
            "page": page,
            "perPage": per_page,
            "totalItems": total_items,
            "totalPages": total_pages,
        }))
    }

    /// Refuses a filter that names what is not there, or what only superusers may name.
    pub(super) fn check_filter(
        &self,
        filter: &Filter,
        collection: &Collection,
        requester: &Requester,
    ) -> Result<(), Refusal> {
        for name in filter.names() {
            let (path, _) = name.split_once(':').unwrap_or((name, ""));
            let path: Vec<&str> = path.split('.').collect();
            let is_known = match path[0] {
                first @ ("@request" | "@collection") if !requester.superuser => {
                    let message = format!("Only superusers can filter by {first}.");
                    return Err(Refusal::new(403, message));
                }
                "@collection" => false,
                // What other macros there are, the filter knows.
                first if first.starts_with('@') => true,
                first if ["true", "false", "null"].contains(&first.to_ascii_lowercase().as_str()) => true,
                _ => self.knows_path(collection, &path),
            };
            if !is_known {
                return Err(Refusal::vague());
            }
        }
        if filter.is_refused() { Err(Refusal::vague()) } else { Ok(()) }
    }

    fn knows_path(&self, collection: &Collection, path: &[&str]) -> bool {
        if !collection.knows(path[0]) {
            return false;
        }
        match collection.relations.get(path[0]) {
            _ if path.len() == 1 => true,
            Some(target) => self.collection(target).is_some_and(|target| self.knows_path(target, &path[1..])),
            None => collection.may_be_entered(path[0]),
        }
    }

    fn sort(&self, collection: &Collection, order: &str, found: &mut Vec<&Value>) -> Result<(), Refusal> {
        let mut keys = Vec::new();
        for key in order.split(',').map(str::trim) {
            let (descending, name) = match key.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, key.strip_prefix('+').unwrap_or(key)),
            };
            if name == "@rowid" {
                keys.push((descending, None));
                continue;
            }
            let path: Vec<&str> = name.trim().split('.').collect();
            if path[0].is_empty() || !self.knows_path(collection, &path) {
                return Err(Refusal::vague());
            }
            keys.push((descending, Some(path)));
        }
        let mut ranked: Vec<(usize, Vec<Value>, &Value)> = found
            .iter()
            .enumerate()
            .map(|(row, record)| {
                let values = keys.iter().map(|(_, path)| match path {
                    None => json!(row),
                    Some(path) => self
                        .walk(collection, record, path)
                        .into_iter()
                        .next()
                        .map_or(Value::Null, |found| found.value),
                });
                (row, values.collect(), *record)
            })
            .collect();
        ranked.sort_by(|(row_a, a, _), (row_b, b, _)| {
            for ((descending, _), (a, b)) in keys.iter().zip(a.iter().zip(b)) {
                let by_key = rank(a).cmp(&rank(b)).then_with(|| match (a, b) {
                    (Value::String(a), Value::String(b)) => a.cmp(b),
                    _ => as_number(a).total_cmp(&as_number(b)),
                });
                let by_key = if *descending { by_key.reverse() } else { by_key };
                if by_key.is_ne() {
                    return by_key;
                }
            }
            row_a.cmp(row_b)
        });
        *found = ranked.into_iter().map(|(_, _, record)| record).collect();
        Ok(())
    }

    /// The values at the end of a path, through relations and into JSON.
    fn walk(&self, collection: &Collection, record: &Value, path: &[&str]) -> Vec<Found> {
        let value = &record[path[0]];
        if path.len() == 1 {
            let kind = collection.kind_of(path[0], value, false);
            return vec![Found { value: value.clone(), kind, in_json: false }];
        }
        if let Some(target) = collection.relations.get(path[0]) {
            let Some(target) = self.collection(target) else {
                return Vec::new();
            };
            let ids = collection.ids(value);
            let records = ids.iter().filter_map(|id| target.record(id));
            return records.flat_map(|record| self.walk(target, record, &path[1..])).collect();
        }
        let inner = path[1..].iter().try_fold(value, |value, step| match value {
            Value::Object(object) => object.get(*step),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        });
        vec![Found { value: inner.cloned().unwrap_or(Value::Null), kind: FieldKind::Json, in_json: true }]
    }
}

/// A record as a filter sees it.
pub(super) struct Lens<'a> {
    pub(super) state: &'a State,
    pub(super) collection: &'a Collection,
    pub(super) record: &'a Value,
    pub(super) requester: &'a Requester,
}

impl Lens<'_> {
    pub(super) fn passes(&self, filter: &Filter) -> bool {
        filter.evaluate(self, clock::now_ms()) == Answer::In
    }
}

impl Source for Lens<'_> {
    fn value(&self, field: &str) -> Option<&Value> {
        let value = &self.record[field];
        // `true` is a field only where there is one.
        if value.is_null() && !self.collection.knows(field) { None } else { Some(value) }
    }

    fn kinds(&self, field: &str, is_entered: bool) -> Option<Kinds> {
        Some(self.collection.kind_of(field, &self.record[field], is_entered).into())
    }

    fn beyond(&self, path: &[&str]) -> Option<Vec<Found>> {
        if path[0] != "@request" {
            return Some(self.state.walk(self.collection, self.record, path));
        }
        let text = |text: Option<&String>| text.map_or(Value::Null, |text| json!(text));
        let value = match path.get(1).copied() {
            Some("auth") => {
                let auth = self.state.request(self.requester).auth.unwrap_or_default();
                path.get(2).map_or(Value::Null, |field| auth[*field].clone())
            }
            Some("query") => text(path.get(2).and_then(|name| self.requester.query.get(*name))),
            Some("headers") => text(path.get(2).and_then(|name| self.requester.headers.get(*name))),
            _ => Value::Null,
        };
        Some(vec![Found { value, kind: FieldKind::Text, in_json: false }])
    }

    // Who may see an address is for the hub's rules.
    fn hides_email(&self) -> bool {
        false
    }
}

/// SQLite's order between types: nothing, then numbers, then text.
fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) | Value::Number(_) => 1,
        _ => 2,
    }
}

fn as_number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::from(u8::from(*value == Value::Bool(true))))
}
