//! How a record looks to the one who asks: hidden fields, `expand`, `fields`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::records::{Collection, Kind, Look, Requester, Sight, is_own};
use super::state::State;

/// The real server follows relations six deep.
const MAX_EXPAND: usize = 6;

impl State {
    /// A record as this requester sees it.
    pub(super) fn visible(
        &self,
        collection: &Collection,
        record: &Value,
        requester: &Requester,
        sight: &Sight<'_>,
    ) -> Value {
        let mut shown = self.stripped(collection, record, requester);
        if let Some(expand) = sight.expand {
            let paths = expand.split(',').map(|path| path.trim().split('.').collect()).collect();
            self.expand(collection, &mut shown, paths, requester, MAX_EXPAND);
        }
        match sight.fields {
            Some(fields) => {
                // Modifiers (`title:excerpt(9)`) are read past, not applied.
                let plain = |path: &str| path.trim().split(':').next().unwrap_or("").to_owned();
                let paths: Vec<String> = fields.split(',').map(plain).collect();
                pick(&shown, &paths.iter().map(|path| path.split('.').collect()).collect())
            }
            None => shown,
        }
    }

    fn stripped(&self, collection: &Collection, record: &Value, requester: &Requester) -> Value {
        let mut record = record.clone();
        let open = collection.kind == Kind::Base
            || requester.superuser
            || record["emailVisibility"] == true
            || is_own(collection, &record, requester);
        if !open && let Some(fields) = record.as_object_mut() {
            fields.remove("email");
        }
        record
    }

    fn expand(
        &self,
        collection: &Collection,
        record: &mut Value,
        paths: Vec<Vec<&str>>,
        requester: &Requester,
        depth: usize,
    ) {
        let mut expanded = Map::new();
        for (field, deeper) in by_first(paths) {
            let target = collection.relations.get(field).and_then(|name| self.collection(name));
            let Some(target) = target.filter(|_| depth > 0) else {
                continue;
            };
            let ids = collection.ids(&record[field]);
            let visible = ids
                .iter()
                .filter_map(|id| target.record(id))
                .filter(|record| self.may_see(target, record, requester, Look::View));
            let mut found: Vec<Value> = visible
                .map(|record| {
                    let mut record = self.stripped(target, record, requester);
                    self.expand(target, &mut record, deeper.clone(), requester, depth - 1);
                    record
                })
                .collect();
            if record[field].is_array() && !found.is_empty() {
                expanded.insert(field.to_owned(), Value::Array(found));
            } else if let Some(one) = found.pop() {
                expanded.insert(field.to_owned(), one);
            }
        }
        if !expanded.is_empty()
            && let Some(fields) = record.as_object_mut()
        {
            fields.insert("expand".into(), Value::Object(expanded));
        }
    }
}

/// Keeps only the given paths; `*` stands for every field of its level.
fn pick(value: &Value, paths: &Vec<Vec<&str>>) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| pick(item, paths)).collect(),
        Value::Object(fields) => {
            let wanted = by_first(paths.clone());
            let all = wanted.contains_key("*");
            let mut kept = Map::new();
            for (name, field) in fields {
                match wanted.get(name.as_str()) {
                    Some(deeper) if !deeper.is_empty() => {
                        kept.insert(name.clone(), pick(field, deeper));
                    }
                    None if !all => {}
                    _ => {
                        kept.insert(name.clone(), field.clone());
                    }
                }
            }
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

/// Groups paths by their first step; a path that ends there leaves nothing deeper.
fn by_first(paths: Vec<Vec<&str>>) -> BTreeMap<&str, Vec<Vec<&str>>> {
    let mut groups: BTreeMap<&str, Vec<Vec<&str>>> = BTreeMap::new();
    for path in paths {
        if let Some((first, rest)) = path.split_first().filter(|(first, _)| !first.is_empty()) {
            let group = groups.entry(first).or_default();
            if !rest.is_empty() {
                group.push(rest.to_vec());
            }
        }
    }
    groups
}
