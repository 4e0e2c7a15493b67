//! Collections and their records, in memory: create, view, update, delete.
//!
//! Every change ends in [`State::announce`], which turns it into events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::auth::{Identity, SUPERUSERS};
use super::clock;
use super::gzip;
use super::refusal::Refusal;
use super::state::State;
use crate::filter::{Kind as FieldKind, Schema};

/// A rule set from outside: may this request see this record?
pub(super) type Rule = Arc<dyn Fn(&super::Request, &Value) -> bool + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Base,
    Auth,
}

/// A collection: its records in order of creation.
#[derive(Clone)]
pub(super) struct Collection {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) kind: Kind,
    /// The declared fields with the values that absent ones take. Undeclared
    /// collections keep whatever they are given.
    pub(super) declared: Option<Map<String, Value>>,
    /// What fields are, where that was said.
    pub(super) kinds: BTreeMap<String, FieldKind>,
    /// Relation fields and the collections that they point to.
    pub(super) relations: BTreeMap<String, String>,
    pub(super) list_rule: Option<Rule>,
    pub(super) view_rule: Option<Rule>,
    /// Every field that a record here has had: a filter may name these.
    seen: BTreeSet<String>,
    rows: BTreeMap<u64, Value>,
    row_of: HashMap<String, u64>,
    next_row: u64,
}

/// Who asks, and with what.
#[derive(Debug, Clone, Default)]
pub(super) struct Requester {
    pub(super) identity: Option<Identity>,
    /// Rules do not apply: a superuser, or the program that holds the hub.
    pub(super) superuser: bool,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: BTreeMap<String, String>,
}

/// What of a record is shown: the `expand` and `fields` of a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sight<'a> {
    pub(super) expand: Option<&'a str>,
    pub(super) fields: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Update,
    Delete,
}

/// Which rule a look at a record comes under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    List,
    View,
}

const SYSTEM_FIELDS: [&str; 3] = ["id", "created", "updated"];
const AUTH_FIELDS: [&str; 3] = ["email", "emailVisibility", "verified"];
/// Set by the hub; in a body they are ignored, as the real server does.
const IGNORED_FIELDS: [&str; 8] = [
    "collectionId",
    "collectionName",
    "expand",
    "created",
    "updated",
    "password",
    "passwordConfirm",
    "oldPassword",
];
const ID_LENGTH: usize = 15;

impl Requester {
    /// The program that holds the hub.
    pub(super) fn host() -> Self {
        Self { superuser: true, ..Self::default() }
    }

    /// The id of who asks; the empty string for guests and the host.
    fn id(&self) -> &str {
        self.identity.as_ref().map_or("", |(_, id)| id)
    }

    pub(super) fn sight(&self) -> Sight<'_> {
        let given = |name: &str| self.query.get(name).map(String::as_str).filter(|v| !v.is_empty());
        Sight { expand: given("expand"), fields: given("fields") }
    }
}

impl Collection {
    pub(super) fn new(name: &str, kind: Kind) -> Self {
        let kind_name = match kind {
            Kind::Base => "base",
            Kind::Auth => "auth",
        };
        let id = match name {
            "users" => "_pb_users_auth_".to_owned(),
            // As the real server derives it, so that a topic by id is the same on both.
            _ => format!("pbc_{}", gzip::crc32(0, format!("{kind_name}{name}").as_bytes())),
        };
        Self {
            name: name.to_owned(),
            id,
            kind,
            declared: None,
            kinds: BTreeMap::new(),
            relations: BTreeMap::new(),
            list_rule: None,
            view_rule: None,
            seen: BTreeSet::new(),
            rows: BTreeMap::new(),
            row_of: HashMap::new(),
            next_row: 0,
        }
    }

    pub(super) fn record(&self, id: &str) -> Option<&Value> {
        self.rows.get(self.row_of.get(id)?)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Value> {
        self.rows.values()
    }

    pub(super) fn ids(&self, field: &Value) -> Vec<String> {
        let items = match field {
            Value::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        items.iter().filter_map(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned).collect()
    }

    pub(super) fn knows(&self, field: &str) -> bool {
        let nothing_known = self.declared.is_none() && self.rows.is_empty() && self.seen.is_empty();
        SYSTEM_FIELDS.contains(&field)
            || (self.kind == Kind::Auth && AUTH_FIELDS.contains(&field))
            || self.declared.as_ref().is_some_and(|fields| fields.contains_key(field))
            || self.relations.contains_key(field)
            || self.seen.contains(field)
            || nothing_known
    }

    /// Declares fields as PocketBase describes them.
    pub(super) fn describe(&mut self, fields: &[Value]) {
        let schema = Schema::of_collection(&json!({ "fields": fields })).unwrap_or_default();
        let names = fields.iter().filter_map(|field| field["name"].as_str());
        let own = names.filter(|name| !SYSTEM_FIELDS.contains(name));
        self.kinds = own.filter_map(|name| Some((name.to_owned(), schema.kinds(name).only()?))).collect();
        let empty = |kind: &FieldKind| match kind {
            FieldKind::Number => json!(0),
            FieldKind::Bool => json!(false),
            FieldKind::Json => Value::Null,
            FieldKind::Point => json!({ "lon": 0, "lat": 0 }),
            FieldKind::Choices | FieldKind::Relations => json!([]),
            FieldKind::Text | FieldKind::Choice | FieldKind::Relation => json!(""),
        };
        self.declared = Some(self.kinds.iter().map(|(name, kind)| (name.clone(), empty(kind))).collect());
    }

    /// What a field is: as declared, or as its value looks; `is_entered` by a path that leads on.
    pub(super) fn kind_of(&self, field: &str, value: &Value, is_entered: bool) -> FieldKind {
        if let Some(kind) = self.kinds.get(field) {
            return *kind;
        }
        if self.relations.contains_key(field) {
            return if value.is_array() { FieldKind::Relations } else { FieldKind::Relation };
        }
        let declared = self.declared.as_ref().and_then(|fields| fields.get(field));
        match declared.unwrap_or(value) {
            Value::Null if declared.is_none() && !is_entered => FieldKind::Text,
            Value::String(_) => FieldKind::Text,
            Value::Number(_) => FieldKind::Number,
            Value::Bool(_) => FieldKind::Bool,
            Value::Array(items) if items.iter().all(Value::is_string) && !is_entered => FieldKind::Choices,
            Value::Null | Value::Array(_) | Value::Object(_) => FieldKind::Json,
        }
    }

    /// Whether a path may lead into a field: not if it was declared as something else than JSON.
    pub(super) fn may_be_entered(&self, field: &str) -> bool {
        let is_declared = self.declared.as_ref().is_some_and(|fields| fields.contains_key(field));
        let kind = self.kind_of(field, &Value::Null, true);
        !is_declared || matches!(kind, FieldKind::Json | FieldKind::Point)
    }

    fn put(&mut self, id: &str, record: Value) {
        if let Some(object) = record.as_object() {
            let undeclared = object.keys().filter(|name| !name.starts_with("collection"));
            self.seen.extend(undeclared.cloned());
        }
        let row = *self.row_of.entry(id.to_owned()).or_insert_with(|| {
            self.next_row += 1;
            self.next_row
        });
        self.rows.insert(row, record);
    }

    /// Whether a requester without a superuser's token may come here at all.
    pub(super) fn open_to(&self, requester: &Requester) -> Result<(), Refusal> {
        if self.name == SUPERUSERS && !requester.superuser {
            return Err(Refusal::new(403, "Only superusers can perform this action."));
        }
        Ok(())
    }
}

impl State {
    /// A collection by name or id.
    pub(super) fn collection(&self, key: &str) -> Option<&Collection> {
        self.collections.get(key).or_else(|| self.collections.values().find(|c| c.id == key))
    }

    /// A collection to write to; without `strict` it comes into being here.
    pub(super) fn collection_mut(&mut self, key: &str) -> Option<&mut Collection> {
        let name = match self.collection(key) {
            Some(found) => found.name.clone(),
            None if !self.settings.strict && may_be_made(key) => {
                self.collections.insert(key.to_owned(), Collection::new(key, Kind::Base));
                key.to_owned()
            }
            None => return None,
        };
        self.collections.get_mut(&name)
    }

    pub(super) fn create(
        &mut self,
        key: &str,
        mut body: Map<String, Value>,
        requester: &Requester,
    ) -> Result<Value, Refusal> {
        let bosbase = self.settings.bosbase;
        let fresh_id = if bosbase { self.ids.uuid() } else { self.ids.record() };
        let collection = self
            .collection_mut(key)
            .ok_or_else(|| Refusal::new(404, "Missing or invalid collection context."))?;
        collection.open_to(requester)?;
        let (name, kind) = (collection.name.clone(), collection.kind);

        let mut wrong = Map::new();
        let id = match body.remove("id").as_ref().and_then(Value::as_str) {
            None | Some("") => fresh_id,
            Some(id) => {
                if let Some(fault) =
                    fault_of_id(collection, id).filter(|_| !(bosbase && is_free_uuid(collection, id)))
                {
                    wrong.insert("id".into(), fault);
                }
                id.to_owned()
            }
        };
        let password = body.get("password").and_then(Value::as_str).unwrap_or("").to_owned();
        if kind == Kind::Auth {
            wrong.extend(faults_of_account(collection, &body, &password));
        }
        let mut fields = collection.declared.clone().unwrap_or_default();
        if kind == Kind::Auth {
            let account = [("email", json!("")), ("emailVisibility", json!(false))];
            for (field, value) in account.into_iter().chain([("verified", json!(false))]) {
                fields.entry(field).or_insert(value);
            }
        }
        merge(collection, &mut fields, body);
        let now = clock::stamp(clock::now_ms());
        fields.insert("id".into(), json!(id));
        fields.insert("collectionId".into(), json!(collection.id));
        fields.insert("collectionName".into(), json!(name));
        fields.insert("created".into(), json!(now));
        fields.insert("updated".into(), json!(now));
        if bosbase {
            fields.insert("createdBy".into(), json!(requester.id()));
            fields.insert("updatedBy".into(), json!(requester.id()));
        }
        wrong.extend(self.faults_of_relations(&name, &fields));
        if !wrong.is_empty() {
            return Err(Refusal::new(400, "Failed to create record.").with_data(wrong));
        }

        if kind == Kind::Auth {
            self.accounts.enrol((name.clone(), id.clone()), password);
        }
        let record = Value::Object(fields);
        if let Some(collection) = self.collections.get_mut(&name) {
            collection.put(&id, record.clone());
        }
        self.announce(Action::Create, &name, &record);
        Ok(self.shown(&name, &record, requester))
    }

    pub(super) fn update(
        &mut self,
        key: &str,
        id: &str,
        mut body: Map<String, Value>,
        requester: &Requester,
    ) -> Result<Value, Refusal> {
        let (name, mut record) =
            self.writable(key, id, requester, Refusal::new(404, "Missing or invalid collection context."))?;
        if self.settings.bosbase {
            body.remove("createdBy");
        }
        if body.remove("id").is_some_and(|given| given != id) {
            let mut wrong = Map::new();
            let message = "The record primary key cannot be changed.";
            wrong.insert("id".into(), json!({ "code": "validation_pk_change", "message": message }));
            return Err(Refusal::new(400, "Failed to update record.").with_data(wrong));
        }
        let identity = (name.clone(), id.to_owned());
        let password = body.get("password").and_then(Value::as_str).map(str::to_owned);
        let email = record["email"].clone();
        let Some(collection) = self.collections.get(&name) else {
            return Err(Refusal::missing());
        };
        let kind = collection.kind;
        if let Some(fields) = record.as_object_mut() {
            merge(collection, fields, body);
            fields.insert("updated".into(), json!(clock::stamp(clock::now_ms())));
            if self.settings.bosbase {
                fields.insert("updatedBy".into(), json!(requester.id()));
            }
            let wrong = self.faults_of_relations(&name, fields);
            if !wrong.is_empty() {
                return Err(Refusal::new(400, "Failed to update record.").with_data(wrong));
            }
        }
        if kind == Kind::Auth {
            let email_changed = email != record["email"];
            if let Some(password) = password.clone() {
                self.accounts.enrol(identity.clone(), password);
            }
            if self.settings.bosbase && (password.is_some() || email_changed) {
                // Its open streams stay who they are.
                self.accounts.void_tokens(&identity);
            } else if password.is_some() || email_changed {
                self.drop_identity(&identity);
            }
        }
        if let Some(collection) = self.collections.get_mut(&name) {
            collection.put(id, record.clone());
        }
        self.announce(Action::Update, &name, &record);
        Ok(self.shown(&name, &record, requester))
    }

    pub(super) fn delete(&mut self, key: &str, id: &str, requester: &Requester) -> Result<(), Refusal> {
        let missing = Refusal::new(404, "Missing collection context.");
        let (name, record) = self.writable(key, id, requester, missing)?;
        // Who may see the record is decided while it is still there.
        self.announce(Action::Delete, &name, &record);
        if let Some(collection) = self.collections.get_mut(&name)
            && let Some(row) = collection.row_of.remove(id)
        {
            collection.rows.remove(&row);
        }
        let identity = (name, id.to_owned());
        self.accounts.remove(&identity);
        self.drop_identity(&identity);
        Ok(())
    }

    pub(super) fn view(&self, key: &str, id: &str, requester: &Requester) -> Result<Value, Refusal> {
        let collection = match self.collection(key) {
            Some(collection) => collection,
            None if !self.settings.strict && may_be_made(key) => return Err(Refusal::missing()),
            None => return Err(Refusal::new(404, "Missing collection context.")),
        };
        collection.open_to(requester)?;
        let record = collection.record(id).ok_or_else(Refusal::missing)?;
        if !self.may_see(collection, record, requester, Look::View) {
            return Err(Refusal::missing());
        }
        Ok(self.visible(collection, record, requester, &requester.sight()))
    }

    /// May this requester see this record, in lists or one by one?
    pub(super) fn may_see(
        &self,
        collection: &Collection,
        record: &Value,
        requester: &Requester,
        look: Look,
    ) -> bool {
        if requester.superuser {
            return true;
        }
        let rule = match look {
            Look::List => &collection.list_rule,
            Look::View => &collection.view_rule,
        };
        match rule {
            Some(rule) => rule(&self.request(requester), record),
            None => collection.kind == Kind::Base || is_own(collection, record, requester),
        }
    }

    /// The request as a rule set from outside sees it.
    pub(super) fn request(&self, requester: &Requester) -> super::Request {
        let auth = requester
            .identity
            .as_ref()
            .and_then(|(collection, id)| self.collection(collection)?.record(id).cloned());
        super::Request { auth, query: requester.query.clone(), headers: requester.headers.clone() }
    }

    /// The name of the collection and a copy of a record that may be changed.
    fn writable(
        &self,
        key: &str,
        id: &str,
        requester: &Requester,
        no_collection: Refusal,
    ) -> Result<(String, Value), Refusal> {
        let collection = match self.collection(key) {
            Some(collection) => collection,
            None if !self.settings.strict && may_be_made(key) => return Err(Refusal::missing()),
            None => return Err(no_collection),
        };
        collection.open_to(requester)?;
        let record = collection.record(id).ok_or_else(Refusal::missing)?;
        let own = requester.superuser || is_own(collection, record, requester);
        if collection.kind == Kind::Auth && !own {
            return Err(Refusal::missing());
        }
        Ok((collection.name.clone(), record.clone()))
    }

    fn shown(&self, name: &str, record: &Value, requester: &Requester) -> Value {
        match self.collection(name) {
            Some(collection) => self.visible(collection, record, requester, &requester.sight()),
            None => record.clone(),
        }
    }

    fn faults_of_relations(&self, name: &str, fields: &Map<String, Value>) -> Map<String, Value> {
        let mut wrong = Map::new();
        let Some(collection) = self.collection(name) else {
            return wrong;
        };
        for (field, target) in &collection.relations {
            let target = self.collection(target);
            let ids = collection.ids(fields.get(field).unwrap_or(&Value::Null));
            if !ids.iter().all(|id| target.is_some_and(|t| t.record(id).is_some())) {
                let message = "Failed to find all relation records with the provided ids.";
                let fault = json!({ "code": "validation_missing_rel_records", "message": message });
                wrong.insert(field.clone(), fault);
            }
        }
        wrong
    }
}

pub(super) fn is_own(collection: &Collection, record: &Value, requester: &Requester) -> bool {
    requester
        .identity
        .as_ref()
        .is_some_and(|(name, id)| *name == collection.name && record["id"] == id.as_str())
}

/// Takes a body's fields over; a declared collection drops what it does not know.
fn merge(collection: &Collection, fields: &mut Map<String, Value>, body: Map<String, Value>) {
    for (name, value) in body {
        let known = collection.declared.is_none() || collection.knows(&name);
        if known && !IGNORED_FIELDS.contains(&name.as_str()) {
            let default = collection.declared.as_ref().and_then(|declared| declared.get(&name));
            let value = if value.is_null() { default.cloned().unwrap_or_default() } else { value };
            fields.insert(name, value);
        }
    }
}

fn fault_of_id(collection: &Collection, id: &str) -> Option<Value> {
    let length = id.chars().count();
    if length < ID_LENGTH {
        return Some(json!({
            "code": "validation_min_text_constraint",
            "message": format!("Must be at least {ID_LENGTH} character(s)."),
            "params": { "min": ID_LENGTH },
        }));
    }
    if length > ID_LENGTH {
        return Some(json!({
            "code": "validation_max_text_constraint",
            "message": format!("Must be no more than {ID_LENGTH} character(s)."),
            "params": { "max": ID_LENGTH },
        }));
    }
    if !id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        let message = "Invalid value format.";
        return Some(json!({ "code": "validation_invalid_format", "message": message }));
    }
    collection.record(id).map(|_| not_unique())
}

fn is_free_uuid(collection: &Collection, id: &str) -> bool {
    let is_digit = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
    };
    id.len() == 36 && id.bytes().enumerate().all(is_digit) && collection.record(id).is_none()
}

fn faults_of_account(
    collection: &Collection,
    body: &Map<String, Value>,
    password: &str,
) -> Map<String, Value> {
    let mut wrong = Map::new();
    if password.is_empty() {
        wrong.insert("password".into(), Refusal::blank());
    }
    if body.get("passwordConfirm").and_then(Value::as_str).unwrap_or("") != password {
        let message = "Values don't match.";
        let fault = json!({ "code": "validation_values_mismatch", "message": message });
        wrong.insert("passwordConfirm".into(), fault);
    }
    match body.get("email").and_then(Value::as_str) {
        None | Some("") => {
            wrong.insert("email".into(), Refusal::blank());
        }
        Some(email) if collection.records().any(|record| record["email"] == email) => {
            wrong.insert("email".into(), not_unique());
        }
        Some(_) => {}
    }
    wrong
}

fn not_unique() -> Value {
    json!({ "code": "validation_not_unique", "message": "Value must be unique." })
}

/// Whether a name may become a collection by being used.
pub(super) fn may_be_made(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
