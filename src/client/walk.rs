//! What is asked of a server to read a list page by page, and what its answers mean. Without I/O.
//!
//! A list is walked by key where the order allows: each page begins after the last record that was got. Where a record
//! cannot be named in a filter, the next page is asked for by number, counted from the last record that could be.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Error,
    error::unexpected,
    filter::{Schema, joined},
    order::Sort,
};

/// The state of one walk.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    /// What every page is asked with, the filter aside.
    query: Arc<[(String, String)]>,
    filter: String,
    sort: Sort,
    page_size: usize,
    /// A column comes shortened, so that it does not tell what is next.
    is_by_number: bool,
    /// Fields that the host did not ask for.
    added: Vec<String>,
    /// The filter of what comes after the record with that id.
    after: Option<(String, Value)>,
    page: usize,
    is_done: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Value>,
    per_page: Option<usize>,
}

impl Walk {
    pub(crate) fn new(
        filter: &str,
        sort: Sort,
        fields: Option<&str>,
        page_size: usize,
        mut query: Vec<(String, String)>,
    ) -> Self {
        let (mut added, mut is_by_number) = (Vec::new(), false);
        if let Some(fields) = fields {
            let given = split(fields);
            let has = |name: &str| given.iter().any(|field| *field == name || *field == "*");
            let mut needed = sort.fields();
            if !needed.contains(&"id") {
                needed.push("id");
            }
            is_by_number = needed.iter().any(|name| given.iter().any(|field| is_shortened(field, name)));
            added = needed.iter().filter(|name| !has(name)).map(|name| (*name).to_owned()).collect();
            query.push((
                "fields".into(),
                format!("{fields},{}", added.join(",")).trim_matches(',').to_owned(),
            ));
        }
        query.extend([("sort".into(), sort.to_string()), ("skipTotal".into(), "1".into())]);
        query.push(("perPage".into(), page_size.to_string()));
        Self {
            query: query.into(),
            filter: filter.trim().to_owned(),
            sort,
            page_size,
            is_by_number,
            added,
            after: None,
            page: 1,
            is_done: false,
        }
    }

    /// The parameters of the next request; `None` at the end.
    pub(crate) fn query(&self) -> Option<Vec<(String, String)>> {
        let mut query = self.query.to_vec();
        query.push(("page".into(), self.page.to_string()));
        let filter = self.after.as_ref().map_or(&self.filter, |(filter, _)| filter);
        if !filter.is_empty() {
            query.push(("filter".into(), filter.clone()));
        }
        (!self.is_done).then_some(query)
    }

    /// The records of an answer.
    pub(crate) fn received(&mut self, body: &[u8]) -> Result<Vec<Value>, Error> {
        let page: Page =
            serde_json::from_slice(body).map_err(|error| unexpected("a list of records", &error))?;
        let mut records = page.items;
        if let Some((_, id)) = &self.after
            && self.page == 1
            && records.iter().any(|record| record["id"] == *id)
        {
            return Err(Error::protocol("a list of records: the server repeats what came before".to_owned()));
        }
        // Servers have limits of their own.
        self.is_done = records.len() < page.per_page.unwrap_or(self.page_size).max(1);
        self.page += 1;
        if let Some(last) = records.last().filter(|_| !self.is_by_number)
            && let Some(after) = self.sort.after(last, &Schema::default())
        {
            let both = if self.filter.is_empty() { Some(after) } else { joined(&self.filter, &after) };
            if let Some(both) = both {
                (self.after, self.page) = (Some((both, last["id"].clone())), 1);
            }
        }
        for record in records.iter_mut().filter_map(Value::as_object_mut) {
            self.added.iter().for_each(|name| drop(record.remove(name)));
        }
        Ok(records)
    }
}

/// The parts of `fields`, whose modifiers have commas too.
fn split(fields: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let cut = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    fields.split(cut).map(str::trim).filter(|field| !field.is_empty()).collect()
}

/// Whether `field`, as `title:excerpt(9)` and `meta.a`, leaves less of a column.
fn is_shortened(field: &str, name: &str) -> bool {
    field
        .strip_prefix(name)
        .or_else(|| field.strip_prefix('*'))
        .is_some_and(|rest| rest.starts_with([':', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn walk(filter: &str, sort: &str, fields: Option<&str>) -> Walk {
        Walk::new(filter, Sort::parse(sort).unwrap(), fields, 2, Vec::new())
    }

    fn asked(walk: &Walk, name: &str) -> Option<String> {
        walk.query().expect("not done").into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn answer(items: &Value, per_page: usize) -> Vec<u8> {
        json!({"items": items, "perPage": per_page, "page": 1}).to_string().into_bytes()
    }

    #[test]
    fn a_page_begins_after_the_last_record() {
        let mut walk = walk("n > 1 || n = 0", "-n", None);
        assert_eq!(asked(&walk, "filter").as_deref(), Some("n > 1 || n = 0"));
        walk.received(&answer(&json!([{"id": "a", "n": 9}, {"id": "b", "n": 8}]), 2)).unwrap();
        let filter = asked(&walk, "filter").unwrap();
        assert!(filter.starts_with("(n > 1 || n = 0) && (") && filter.contains("n < 8"), "{filter}");
        assert_eq!(asked(&walk, "page").as_deref(), Some("1"));
        assert_eq!(walk.received(&answer(&json!([]), 2)).unwrap(), Vec::<Value>::new());
        assert_eq!(walk.query(), None);
    }

    #[test]
    fn a_record_that_cannot_be_named_is_passed_by_number() {
        let mut walk = walk("", "author.name", None);
        walk.received(&answer(&json!([{"id": "a"}, {"id": "b"}]), 2)).unwrap();
        assert_eq!((asked(&walk, "page").as_deref(), asked(&walk, "filter")), (Some("2"), None));
        let mut walk = self::walk("", "meta", None);
        walk.received(&answer(&json!([{"id": "a", "meta": 1}, {"id": "b", "meta": 2}]), 2)).unwrap();
        let named = asked(&walk, "filter");
        walk.received(&answer(
            &json!([{"id": "c", "meta": {"x": 1.5, "y": 1}}, {"id": "d", "meta": [{}, 1.5]}]),
            2,
        ))
        .unwrap();
        assert_eq!((asked(&walk, "page").as_deref(), asked(&walk, "filter")), (Some("2"), named));
    }

    #[test]
    fn a_server_that_takes_fewer_at_once_has_not_ended_the_list() {
        let mut walk = walk("", "", None);
        walk.received(&answer(&json!([{"id": "a"}]), 1)).unwrap();
        assert!(asked(&walk, "filter").unwrap().contains("id > 'a'"));
    }

    #[test]
    fn a_server_that_repeats_itself_ends_the_walk() {
        let mut walk = walk("", "", None);
        let page = answer(&json!([{"id": "a"}, {"id": "b"}]), 2);
        walk.received(&page).unwrap();
        assert!(walk.received(&page).is_err());
    }

    #[test]
    fn fields_that_the_walk_needs_are_asked_for_and_taken_out() {
        let mut walk = walk("", "-n", Some("title,text:excerpt(10,true)"));
        assert_eq!(asked(&walk, "fields").as_deref(), Some("title,text:excerpt(10,true),n,id"));
        let page = answer(&json!([{"id": "a", "n": 9, "title": "x"}, {"id": "b", "n": 8, "title": "y"}]), 2);
        assert_eq!(walk.received(&page).unwrap(), [json!({"title": "x"}), json!({"title": "y"})]);
        assert!(asked(&walk, "filter").unwrap().contains("n < 8"));
        let mut walk = self::walk("", "title", Some("*,title:excerpt(1)"));
        walk.received(&answer(&json!([{"id": "a", "title": "x"}, {"id": "b", "title": "x"}]), 2)).unwrap();
        assert_eq!(asked(&walk, "page").as_deref(), Some("2"), "the title is not what the server sorts by");
    }
}
