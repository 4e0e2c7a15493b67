//! Lists of records: filter, sort, pages; and what names in a filter stand for.

use serde_json::{Value, json};

use super::clock;
use super::filter::{Filter, Found, Names};
use super::records::{Collection, Kind, Look, Requester, may_be_made};
use super::refusal::Refusal;
use super::state::State;

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
                let filter = Filter::parse(text).map_err(|_| Refusal::vague())?;
                self.check_filter(&filter, collection, requester)?;
                Some(filter)
            }
        };
        let mut found: Vec<&Value> = collection
            .records()
            .filter(|record| self.may_see(collection, record, requester, Look::List))
            .filter(|record| {
                let lens = Lens { state: self, collection, record, requester };
                filter.as_ref().is_none_or(|filter| filter.matches(&lens))
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
        for path in filter.paths() {
            let first = path[0].as_str();
            let known = match first {
                "@request" | "@collection" if !requester.superuser => {
                    let message = format!("Only superusers can filter by {first}.");
                    return Err(Refusal::new(403, message));
                }
                "@request" => true,
                macro_name if macro_name.starts_with('@') => {
                    path.len() == 1 && clock::macro_value(&macro_name[1..]).is_some()
                }
                _ => self.knows_path(collection, path),
            };
            if !known {
                return Err(Refusal::vague());
            }
        }
        Ok(())
    }

    fn knows_path(&self, collection: &Collection, path: &[String]) -> bool {
        if !collection.knows(&path[0]) {
            return false;
        }
        match collection.relations.get(&path[0]) {
            Some(target) if path.len() > 1 => {
                self.collection(target).is_some_and(|target| self.knows_path(target, &path[1..]))
            }
            _ => true,
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
            let path: Vec<String> = name.trim().split('.').map(str::to_owned).collect();
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
    fn walk(&self, collection: &Collection, record: &Value, path: &[String]) -> Vec<Found> {
        let value = &record[&path[0]];
        if path.len() == 1 {
            return vec![Found { value: value.clone(), in_json: false }];
        }
        if let Some(target) = collection.relations.get(&path[0]) {
            let Some(target) = self.collection(target) else {
                return Vec::new();
            };
            let ids = collection.ids(value);
            let records = ids.iter().filter_map(|id| target.record(id));
            return records.flat_map(|record| self.walk(target, record, &path[1..])).collect();
        }
        let inner = path[1..].iter().try_fold(value, |value, step| match value {
            Value::Object(object) => object.get(step),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        });
        vec![Found { value: inner.cloned().unwrap_or(Value::Null), in_json: true }]
    }
}

/// A record through which a filter resolves its names.
pub(super) struct Lens<'a> {
    pub(super) state: &'a State,
    pub(super) collection: &'a Collection,
    pub(super) record: &'a Value,
    pub(super) requester: &'a Requester,
}

impl Names for Lens<'_> {
    fn resolve(&self, path: &[String]) -> Vec<Found> {
        let plain = |value: Value| vec![Found { value, in_json: false }];
        let text = |text: Option<&String>| plain(text.map_or(Value::Null, |text| json!(text)));
        match path[0].as_str() {
            "@request" => match path.get(1).map(String::as_str) {
                Some("auth") => {
                    let auth = self.state.request(self.requester).auth.unwrap_or_default();
                    plain(path.get(2).map_or(Value::Null, |field| auth[field].clone()))
                }
                Some("query") => text(path.get(2).and_then(|name| self.requester.query.get(name))),
                Some("headers") => text(path.get(2).and_then(|name| self.requester.headers.get(name))),
                _ => plain(Value::Null),
            },
            name if name.starts_with('@') => {
                plain(clock::macro_value(&name[1..]).map_or(Value::Null, Value::from))
            }
            _ => self.state.walk(self.collection, self.record, path),
        }
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
