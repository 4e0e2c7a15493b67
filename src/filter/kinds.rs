//! What a field may be.
//!
//! A payload does not tell: `""` may be a text, a relation that is not set or a JSON value, and these compare
//! differently. So a field has the set of the kinds that it may have, narrowed by each payload and by a schema.

use std::collections::HashMap;

use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Also e-mail addresses, URLs, editors, dates.
    Text,
    Number,
    Bool,
    Json,
    /// A point on the earth.
    Point,
    /// A select or file field with one value.
    Choice,
    /// A select or file field with several.
    Choices,
    Relation,
    Relations,
}

const ALL: [Kind; 9] = [
    Kind::Text,
    Kind::Number,
    Kind::Bool,
    Kind::Json,
    Kind::Point,
    Kind::Choice,
    Kind::Choices,
    Kind::Relation,
    Kind::Relations,
];

impl Kind {
    /// It holds several values, as JSON text.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Choices | Self::Relations)
    }

    /// It can hold several, or could with another setting.
    pub(super) fn is_multiple(self) -> bool {
        self.is_list() || matches!(self, Self::Choice | Self::Relation)
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kinds(u16);

impl From<Kind> for Kinds {
    fn from(kind: Kind) -> Self {
        Self(1 << kind as u16)
    }
}

impl Kinds {
    pub(crate) const ANY: Self = Self((1 << ALL.len()) - 1);

    fn of<const N: usize>(kinds: [Kind; N]) -> Self {
        kinds.into_iter().fold(Self(0), |set, kind| Self(set.0 | Self::from(kind).0))
    }

    /// Those that a field of a record may have that carries this value.
    pub(crate) fn of_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::from(Kind::Json),
            Value::Bool(_) => Self::of([Kind::Bool, Kind::Json]),
            Value::Number(_) => Self::of([Kind::Number, Kind::Json]),
            Value::String(_) => Self::of([Kind::Text, Kind::Choice, Kind::Relation, Kind::Json]),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                Self::of([Kind::Choices, Kind::Relations, Kind::Json])
            }
            Value::Array(_) => Self::from(Kind::Json),
            Value::Object(fields) => {
                let is_point = fields.len() == 2
                    && ["lon", "lat"].iter().all(|name| fields.get(*name).is_some_and(Value::is_number));
                if is_point { Self::of([Kind::Point, Kind::Json]) } else { Self::from(Kind::Json) }
            }
        }
    }

    pub(crate) fn has(self, kind: Kind) -> bool {
        self.0 & Self::from(kind).0 != 0
    }

    /// Those of both; where none is, those of `newer`: the field is another one now.
    pub(crate) fn narrowed(self, newer: Self) -> Self {
        match self.0 & newer.0 {
            0 => newer,
            both => Self(both),
        }
    }

    /// Those of both, if any.
    pub(crate) fn common(self, other: Self) -> Option<Self> {
        (self.0 & other.0 != 0).then_some(Self(self.0 & other.0))
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Kind> {
        ALL.into_iter().filter(move |kind| self.has(*kind))
    }

    /// The one that it must be, if only one is left.
    pub(crate) fn only(self) -> Option<Kind> {
        self.iter().next().filter(|_| self.0.is_power_of_two())
    }
}

/// What is known of the fields of a collection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schema {
    fields: HashMap<String, Kinds>,
    /// Every field is in it.
    is_complete: bool,
}

impl Schema {
    /// Of a collection as superusers get it: `fields` (from 0.23 on) or `schema`.
    pub(crate) fn of_collection(collection: &Value) -> Option<Self> {
        let (list, is_old) = match (&collection["fields"], &collection["schema"]) {
            (Value::Array(list), _) => (list, false),
            (_, Value::Array(list)) => (list, true),
            _ => return None,
        };
        let mut fields: HashMap<String, Kinds> = list.iter().filter_map(field).collect();
        let text = Kinds::from(Kind::Text);
        fields.insert("id".to_owned(), text);
        if is_old {
            fields.extend(["created", "updated"].map(|name| (name.to_owned(), text)));
            if collection["type"] == "auth" {
                fields.extend(["username", "email"].map(|name| (name.to_owned(), text)));
                fields
                    .extend(["verified", "emailVisibility"].map(|name| (name.to_owned(), Kind::Bool.into())));
            }
        }
        Some(Self { fields, is_complete: true })
    }

    pub(crate) fn learn(&mut self, record: &Value) {
        if self.is_complete {
            return;
        }
        for (name, value) in record.as_object().into_iter().flatten() {
            let newer = Kinds::of_value(value);
            let kinds = self.fields.entry(name.clone()).or_insert(newer);
            *kinds = kinds.narrowed(newer);
        }
    }

    pub(crate) fn kinds(&self, name: &str) -> Kinds {
        match self.fields.get(name) {
            Some(kinds) => *kinds,
            None if name == "id" => Kind::Text.into(),
            None => Kinds::ANY,
        }
    }
}

/// The name of a field and what it is; the latter stays open for types that this does not know.
fn field(field: &Value) -> Option<(String, Kinds)> {
    let option = |name: &str| match &field[name] {
        Value::Null => field["options"][name].as_u64(),
        value => value.as_u64(),
    };
    // A relation of 0.22 without a limit has none; selects and files always have.
    let is_one = |or: u64| option("maxSelect").unwrap_or(or) <= 1;
    let kinds = match field["type"].as_str()? {
        "text" | "email" | "url" | "editor" | "date" | "autodate" | "password" => Kind::Text.into(),
        "number" => Kind::Number.into(),
        "bool" => Kind::Bool.into(),
        "json" => Kind::Json.into(),
        "geoPoint" => Kind::Point.into(),
        "select" | "file" if is_one(1) => Kind::Choice.into(),
        "select" | "file" => Kind::Choices.into(),
        "relation" if is_one(if field["options"].is_object() { 2 } else { 1 }) => Kind::Relation.into(),
        "relation" => Kind::Relations.into(),
        _ => Kinds::ANY,
    };
    Some((field["name"].as_str()?.to_owned(), kinds))
}

impl Kinds {
    /// One of those each that a plain comparison cannot tell apart.
    pub(super) fn plain(self) -> Self {
        let classes = [
            &[Kind::Text, Kind::Choice, Kind::Relation][..],
            &[Kind::Choices, Kind::Relations],
            &[Kind::Number, Kind::Bool],
            &[Kind::Json],
            &[Kind::Point],
        ];
        let first = |class: &&[Kind]| class.iter().copied().find(|kind| self.has(*kind));
        classes.iter().filter_map(first).fold(Self(0), |set, kind| Self(set.0 | Self::from(kind).0))
    }
}
