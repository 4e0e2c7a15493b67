//! Random records in a collection of every kind of field, on a real server and in the hub; and random filters.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use fastrand::Rng;
use serde_json::{Value, json};
use tidings::{Client, hub::Hub};

use crate::{
    filter::Schema,
    real::{self, PocketBase},
};

pub(crate) const RECORDS: usize = 120;

pub(crate) const TEXTS: [&str; 34] = [
    "",
    "a",
    "A",
    "b",
    "abc",
    "Abc_%",
    "10",
    "9",
    "9.0",
    "1",
    "1.0",
    "0",
    "1.5",
    " 10 ",
    "1e1",
    "ä",
    "É",
    "é\nx",
    "it's",
    "say \"hi\"",
    "a\\b",
    "_",
    "__",
    "%",
    "a_c",
    "\\%",
    "R&D",
    "[1,2]",
    "[\"a\"]",
    "true",
    "null",
    "-1",
    "2026-01-02 03:04:05.678Z",
    "2026-01-02",
];
pub(crate) const NUMBERS: [f64; 18] = [
    0.0,
    1.0,
    -1.0,
    2.0,
    3.0,
    9.0,
    10.0,
    1.5,
    -2.5,
    0.1,
    0.30000000000000004,
    0.3,
    123456789.1234568,
    100.0,
    1e15,
    1e20,
    1e-7,
    123456789.12345679,
];
pub(crate) const CHOICES: [&str; 8] = ["a", "b", "A", "10", "[1,2]", "R&D", "true", "x \"y\" é"];
pub(crate) const DATES: [&str; 5] = [
    "",
    "2026-01-02 03:04:05.678Z",
    "2026-12-31 23:59:59.999Z",
    "2024-02-29 00:00:00.000Z",
    "2099-01-01 00:00:00.000Z",
];

pub(crate) struct Draw {
    pub(crate) rng: Rng,
    pub(crate) is_old: bool,
    pub(crate) others: Vec<String>,
}

impl Draw {
    pub(crate) fn of<T: Clone>(&mut self, pool: &[T]) -> T {
        pool[self.rng.usize(..pool.len())].clone()
    }

    pub(crate) fn some<T: Clone>(&mut self, pool: &[T]) -> Vec<T> {
        let count = self.rng.usize(..4);
        let mut left = pool.to_vec();
        self.rng.shuffle(&mut left);
        left.truncate(count);
        left
    }

    pub(crate) fn json(&mut self, depth: usize) -> Value {
        match self.rng.u8(..if depth > 0 { 12 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.rng.bool()),
            2 | 3 => json!(self.of(&NUMBERS)),
            4 => json!(self.rng.i32(-3..12)),
            5..8 => json!(self.of(&TEXTS)),
            8 | 9 => (0..self.rng.usize(..4)).map(|_| self.json(depth - 1)).collect(),
            _ => {
                let names = ["a", "b", "0", "x_y", "A"];
                (0..self.rng.usize(..4)).map(|_| (self.of(&names).to_owned(), self.json(depth - 1))).collect()
            }
        }
    }

    pub(crate) fn record(&mut self) -> Value {
        let mut record = json!({
            "title": self.of(&TEXTS), "other": self.of(&TEXTS), "n": self.of(&NUMBERS), "m": self.rng.i32(-3..12),
            "ok": self.rng.bool(), "due": self.of(&DATES), "meta": self.json(2), "one": self.of(&CHOICES),
            "many": self.some(&CHOICES), "more": self.some(&CHOICES),
            "author": self.of(&self.others.clone()), "tags": self.some(&self.others.clone()),
            "place": {"lon": self.of(&[0.0, 1.0, 12.5, 179.9]), "lat": self.of(&[0.0, 2.0, 45.25])},
        });
        if self.rng.bool() {
            let fields = record.as_object_mut().unwrap();
            let drop = self.of(&["title", "n", "due", "meta", "one", "many", "author", "tags", "place"]);
            fields.remove(drop);
        }
        record
    }

    pub(crate) fn quoted(&mut self, text: &str) -> String {
        let quote = self.of(&['\'', '"']);
        let mut out = String::from(quote);
        for character in text.chars() {
            if character == quote || character == '\\' && !self.is_old {
                out.push('\\');
            }
            out.push(character);
        }
        out.push(quote);
        // There is no way to write these for an old server.
        if self.is_old && (text.ends_with('\\') || text.contains(&format!("\\{quote}"))) {
            "'x'".to_owned()
        } else {
            out
        }
    }

    pub(crate) fn literal(&mut self) -> String {
        match self.rng.u8(..12) {
            0..6 => {
                let text = self.of(&TEXTS);
                self.quoted(text)
            }
            6..9 => self.of(&NUMBERS).to_string(),
            9 => self.of(&["true", "false", "null", "TRUE", "Null"]).to_owned(),
            10 => self
                .of(&[
                    "@now",
                    "@todayStart",
                    "@todayEnd",
                    "@year",
                    "@month",
                    "@monthEnd",
                    "@yearStart",
                    "@day",
                ])
                .to_owned(),
            _ => {
                let date = self.of(&DATES);
                let end = self.rng.usize(..=date.len());
                self.quoted(&date[..end])
            }
        }
    }

    pub(crate) fn field(&mut self) -> String {
        let mut fields = vec![
            "title", "title", "title", "other", "n", "n", "m", "ok", "due", "due", "meta", "meta", "one",
            "many", "more", "author", "tags", "id", "meta.a", "meta.b", "meta.0", "meta.a.0", "meta.x_y",
            "meta.A.b",
        ];
        if !self.is_old {
            fields.extend(["place.lon", "place.lat", "place"]);
        }
        if self.rng.u8(..40) == 0 {
            return self
                .of(&["author.name", "tags.name", "author.id", "tags.id", "@request.auth.id", "nope", "n.x"])
                .to_owned();
        }
        let field = self.of(&fields).to_owned();
        let modifier = match self.rng.u8(..12) {
            0 => ":lower",
            1 => ":length",
            2 => ":each",
            3 if self.rng.bool() => ":isset",
            _ if matches!(field.as_str(), "many" | "more" | "tags") && self.rng.bool() => {
                self.of(&[":each", ":length"])
            }
            _ => "",
        };
        field + modifier
    }

    pub(crate) fn operand(&mut self) -> String {
        if !self.is_old && self.rng.u8(..25) == 0 {
            let field = self.of(&["due", "title", "other", "one"]);
            let format = self.of(&["%Y", "%m-%d", "%H:%M:%S", "%f", "x%%", "%Y-%m-%d %H", "%j"]);
            return match self.rng.u8(..5) {
                0 => "geoDistance(place.lon, place.lat, 12, 44.5)".to_owned(),
                1 => format!("strftime('{format}', {field}, '+1 day')"),
                _ => format!("strftime('{format}', {field})"),
            };
        }
        self.field()
    }

    pub(crate) fn comparison(&mut self) -> String {
        let sign = self.of(&["=", "=", "!=", "~", "!~", "<", "<=", ">", ">="]);
        let any = if self.rng.u8(..6) == 0 { "?" } else { "" };
        let (left, right) = match self.rng.u8(..10) {
            0 => (self.operand(), self.operand()),
            1 => (self.literal(), self.operand()),
            2 if self.rng.bool() => (self.literal(), self.literal()),
            _ => (self.operand(), self.literal()),
        };
        let blank = self.of(&["", " ", "\n", "  "]);
        format!("{left}{blank}{any}{sign}{blank}{right}")
    }

    pub(crate) fn filter(&mut self, depth: usize) -> String {
        let count = self.of(&[1, 1, 1, 2, 2, 3]);
        let mut out = String::new();
        for i in 0..count {
            if i > 0 {
                out += self.of(&["&&", " && ", "||", " || ", " && // why\n", " || "]);
            }
            let part = match self.rng.u8(..30) {
                0..6 if depth > 0 => format!("({})", self.filter(depth - 1)),
                // Where no group belongs, and servers take one.
                6 if depth > 0 => {
                    format!("{} ({})", self.of(&["title", "n >", "ok = true"]), self.filter(depth - 1))
                }
                _ => self.comparison(),
            };
            out += &part;
        }
        out
    }

    /// A filter in which something is missing, doubled or out of place.
    pub(crate) fn broken(&mut self, filter: String) -> String {
        let mut characters: Vec<char> = filter.chars().collect();
        let at = self.rng.usize(..characters.len());
        match self.rng.u8(..4) {
            0 => drop(characters.remove(at)),
            1 => characters.insert(
                at,
                self.of(&['(', ')', '\'', '"', '\\', '&', '|', '=', '?', '.', '-', ' ', '/', 'é', 'a']),
            ),
            2 => characters.truncate(at),
            _ => characters.swap(at, 0),
        }
        characters.into_iter().collect()
    }
}

pub(crate) fn ids(records: &[Value]) -> Vec<String> {
    records.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
}

pub(crate) async fn make(root: &Client, is_old: bool, name: &str, fields: Value) -> Value {
    let field = |field: &Value| {
        let mut options = field.as_object().unwrap().clone();
        let (name, kind) = (options.remove("name"), options.remove("type"));
        options.extend(
            [("maxSize".to_owned(), json!(100_000))].into_iter().filter(|_| kind == Some(json!("json"))),
        );
        json!({"name": name, "type": kind, "options": options})
    };
    let fields = fields.as_array().unwrap();
    let mut collection =
        json!({"name": name, "type": "base", "listRule": "", "viewRule": "", "createRule": ""});
    match is_old {
        true => {
            collection["schema"] =
                fields.iter().filter(|field| field["type"] != "geoPoint").map(field).collect()
        }
        false => collection["fields"] = fields.clone().into(),
    }
    root.send("POST", "/api/collections", collection).await.unwrap().json().unwrap()
}

pub(crate) struct World {
    pub(crate) server: PocketBase,
    pub(crate) root: Client,
    pub(crate) draw: Draw,
    pub(crate) records: Vec<Value>,
    pub(crate) schema: Schema,
    /// With the same fields and records.
    pub(crate) hub: Hub,
}

pub(crate) async fn world(seed: u64) -> World {
    let server = PocketBase::start("");
    let root = server.root().await;
    let is_old = server.legacy;
    let others = make(&root, is_old, "others", json!([{"name": "name", "type": "text"}])).await;
    let mut draw = Draw { rng: Rng::with_seed(seed), is_old, others: Vec::new() };
    for name in ["a", "b", ""] {
        draw.others.push(real::create(&root, "others", json!({"name": name})).await);
    }
    let collection = make(
        &root,
        is_old,
        "things",
        json!([
            {"name": "title", "type": "text"},
            {"name": "other", "type": "text"},
            {"name": "n", "type": "number"},
            {"name": "m", "type": "number"},
            {"name": "ok", "type": "bool"},
            {"name": "due", "type": "date"},
            {"name": "meta", "type": "json"},
            {"name": "one", "type": "select", "values": CHOICES, "maxSelect": 1},
            {"name": "many", "type": "select", "values": CHOICES, "maxSelect": 4},
            {"name": "more", "type": "select", "values": CHOICES, "maxSelect": 4},
            {"name": "author", "type": "relation", "collectionId": others["id"], "maxSelect": 1},
            {"name": "tags", "type": "relation", "collectionId": others["id"], "maxSelect": 4},
            {"name": "place", "type": "geoPoint"},
        ]),
    )
    .await;
    let mut records = Vec::new();
    for _ in 0..RECORDS {
        let record = draw.record();
        let made: Value =
            root.send("POST", "/api/collections/things/records", record).await.unwrap().json().unwrap();
        records.push(made);
    }
    // As it was made, which is what events carry, and as it is read: a whole number in JSON may be `1.0` and `1`.
    for record in &mut records[RECORDS / 2..] {
        let path = format!("/api/collections/things/records/{}", record["id"].as_str().unwrap());
        *record = root.send("GET", &path, None).await.unwrap().json().unwrap();
    }
    let schema = Schema::of_collection(&collection).unwrap();
    let hub = Hub::builder().strict().start().unwrap();
    if let Value::Array(fields) = &collection["fields"] {
        hub.schema("others", others["fields"].clone());
        let mut fields = fields.clone();
        fields.iter_mut().filter(|field| field["type"] == "relation").for_each(|field| {
            field["collectionId"] = json!("others");
        });
        hub.schema("things", fields.into());
        for (collection, list) in [("others", &draw.others), ("things", &ids(&records))] {
            for id in list {
                let path = format!("/api/collections/{collection}/records/{id}");
                hub.create(collection, root.send("GET", &path, None).await.unwrap().json().unwrap());
            }
        }
    }
    World { server, root, draw, records, schema, hub }
}

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}
