//! What of a payload is asked for most: what has happened, and to which record.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Action, Shape};

pub(super) struct Head {
    pub(super) action: Action,
    pub(super) record_id: Option<Box<str>>,
}

#[derive(serde::Deserialize)]
struct Record {
    id: Box<str>,
}

impl Head {
    pub(super) fn parse(data: &str, shape: Shape) -> Self {
        match shape {
            Shape::Bare(Action::Custom) => Self { action: Action::Custom, record_id: None },
            Shape::Bare(action) => Self { action, record_id: Direct::parse(data).record_id },
            Shape::Wrapped => Self::of_change(data).unwrap_or_else(|| Self::of_anything(data)),
        }
    }

    /// The head of a change as PocketBase writes it, record first and action last, which is read as far as the id.
    ///
    /// An `"action"` right before the brace that ends the payload cannot lie inside a string, where its quotes would be
    /// escaped, nor in the record, whose own brace would have to follow.
    fn of_change(data: &str) -> Option<Self> {
        let is_last = |end| data.ends_with(end);
        let action = if is_last(r#"},"action":"create"}"#) {
            Action::Create
        } else if is_last(r#"},"action":"update"}"#) {
            Action::Update
        } else if is_last(r#"},"action":"delete"}"#) {
            Action::Delete
        } else {
            return None;
        };
        let found = Cell::new(None);
        // An error is how it stops early.
        let _ = IdOfRecord(&found)
            .deserialize(&mut serde_json::Deserializer::from_str(data.strip_prefix(r#"{"record":"#)?));
        Some(Self { action, record_id: Some(found.take()?) })
    }

    /// Custom messages may hold anything, so nothing here may fail.
    fn of_anything(data: &str) -> Self {
        #[derive(Default, serde::Deserialize)]
        struct Payload<'a> {
            #[serde(borrow)]
            record: Option<&'a RawValue>,
            #[serde(borrow)]
            action: Option<&'a RawValue>,
        }
        let payload: Payload<'_> = serde_json::from_str(data).unwrap_or_default();
        let action = payload.action.and_then(|action| action.get().strip_prefix('"')?.strip_suffix('"'));
        let action = action.map_or(Action::Custom, Action::of_change);
        let record_id = payload
            .record
            .and_then(|record| serde_json::from_str::<Record>(record.get()).ok())
            .map(|record| record.id);
        Self { action, record_id }
    }
}

/// What a RustBaaS payload says of a change: `{"id", "fields", …}` as its page has it, or
/// `{"kind", "record": {"id", "fields", …}}` as its server sends it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Direct {
    /// The name of the change, where the payload has it.
    pub(crate) kind: Option<Box<str>>,
    pub(crate) record_id: Option<Box<str>>,
}

impl Direct {
    /// Custom messages may hold anything, so nothing here may fail.
    pub(crate) fn parse(data: &str) -> Self {
        #[derive(Default, serde::Deserialize)]
        struct Payload<'a> {
            #[serde(borrow)]
            kind: Option<&'a RawValue>,
            #[serde(borrow)]
            id: Option<&'a RawValue>,
            #[serde(borrow)]
            record: Option<&'a RawValue>,
            fields: Option<IgnoredAny>,
        }
        let payload: Payload<'_> = serde_json::from_str(data).unwrap_or_default();
        let text = |raw: &RawValue| serde_json::from_str(raw.get()).ok();
        let wrapped = payload.record.filter(|_| payload.fields.is_none());
        let wrapped = wrapped.and_then(|record| serde_json::from_str::<Record>(record.get()).ok());
        Self {
            kind: payload.kind.and_then(text),
            record_id: wrapped.map(|record| record.id).or_else(|| payload.id.and_then(text)),
        }
    }
}

/// Reads a record up to its id.
struct IdOfRecord<'f>(&'f Cell<Option<Box<str>>>);

impl<'de> DeserializeSeed<'de> for IdOfRecord<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for IdOfRecord<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<&str>()? {
            if name == "id" {
                self.0.set(Some(fields.next_value()?));
                return Ok(());
            }
            fields.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(data: &str) -> Option<(Action, Option<Box<str>>)> {
        Head::of_change(data).map(|head| (head.action, head.record_id))
    }

    #[test]
    fn the_id_is_that_of_the_record_and_not_of_what_it_holds() {
        let data = r#"{"record":{"a":{"id":"no"},"b":"\"id\":\"no\"","expand":[{"id":"no"}],"id":"yes","title":"x"},"action":"update"}"#;
        assert_eq!(head(data), Some((Action::Update, Some("yes".into()))));
    }

    #[test]
    fn what_is_not_a_change_as_pocketbase_writes_it_is_read_as_a_whole() {
        for data in [
            r#"{"record":{"id":"a"},"action":"create" }"#,
            r#"{"record": {"id":"a"},"action":"publish"}"#,
            r#"{"action":"create","record":{"id":"a"}}"#,
            r#"{"record":{"title":"a"},"action":"create"}"#,
            r#"{"record":{"id":7},"action":"create"}"#,
            r#"{"x":{"id":"a"},"action":"create"}"#,
            r#"},"action":"create"}"#,
        ] {
            assert_eq!(head(data), None, "{data}");
        }
    }

    #[test]
    fn the_id_of_a_rustbaas_record_stands_at_either_place() {
        let read = |data| {
            let Direct { kind, record_id } = Direct::parse(data);
            (kind.unwrap_or_default().into_string(), record_id.unwrap_or_default().into_string())
        };
        for (data, kind, id) in [
            (r#"{"id":"a","collection":"posts","fields":{"id":"no","kind":"no"}}"#, "", "a"),
            (r#"{"kind":"record_created","record":{"fields":{"id":"no"},"id":"a"}}"#, "record_created", "a"),
            (r#"{"kind":"record_deleted","id":"a"}"#, "record_deleted", "a"),
            (r#"{"kind":"record_deleted","id":"a","record":null}"#, "record_deleted", "a"),
            (r#"{"id":"a","fields":{},"record":{"id":"no"}}"#, "", "a"),
            (r#"{"kind":7,"record":[{"id":"no"}]}"#, "", ""),
            (r#"{"kind":"x","record":{"id":7}}"#, "x", ""),
            ("[]", "", ""),
            ("not json", "", ""),
        ] {
            assert_eq!(read(data), (kind.to_owned(), id.to_owned()), "{data}");
        }
        let deep =
            format!(r#"{{"kind":"record_created","record":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&deep), ("record_created".to_owned(), String::new()));
    }

    /// Everything that is valid JSON has one head, whichever way it is read.
    #[test]
    fn both_ways_agree() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut short = 0;
        for _ in 0..20_000 {
            let members = members(&mut rng, 3);
            let data = match rng.bool() {
                true => format!("{{{members}}}"),
                false => format!(r#"{{"record":{{{members}}},"action":"create"}}"#),
            };
            let Some(head) = Head::of_change(&data) else { continue };
            if serde_json::from_str::<IgnoredAny>(&data).is_err() {
                panic!("the test wrote {data}");
            }
            short += 1;
            let whole = Head::of_anything(&data);
            assert_eq!((head.action, head.record_id), (whole.action, whole.record_id), "{data}");
        }
        assert!(short > 1000, "{short}");
    }

    /// Members of an object, the last of which are often what ends a change.
    fn members(rng: &mut fastrand::Rng, depth: usize) -> String {
        const STRINGS: [&str; 7] =
            ["id", "record", "action", "create", r#"},\"action\":\"create\"}"#, r#"\\"#, r#"\u0069d"#];
        let mut names: Vec<&str> = Vec::new();
        let value = |rng: &mut fastrand::Rng, name: &str| match rng.u8(0..4) {
            _ if name == "record" && rng.u8(0..4) > 0 && depth > 0 => {
                format!("{{{}}}", members(rng, depth - 1))
            }
            _ if name == "action" && rng.u8(0..4) > 0 => r#""create""#.into(),
            0 if depth > 0 => format!("{{{}}}", members(rng, depth - 1)),
            1 if depth > 0 => format!("[{{{}}}]", members(rng, depth - 1)),
            2 => "7".into(),
            _ => format!("\"{}\"", rng.choice(STRINGS).unwrap()),
        };
        let mut text = String::new();
        for _ in 0..rng.u8(1..5) {
            let name = match names.len() {
                0 if rng.bool() => "record",
                1 if rng.bool() => "action",
                _ if rng.u8(0..3) == 0 => "id",
                _ => rng.choice(STRINGS).unwrap(),
            };
            // A name that stands twice is no JSON that two readers agree on.
            if names.contains(&name) || (name == r#"\u0069d"# && names.contains(&"id")) {
                continue;
            }
            names.push(name);
            if !text.is_empty() {
                text.push(',');
            }
            text += &format!("\"{name}\":{}", value(rng, name));
        }
        text
    }
}
