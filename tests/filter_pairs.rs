//! The evaluator of `src/filter/` against a real server: random filters of the grammar, asked of a collection of random
//! records, must be answered alike for each pair of a filter and a record, or not at all. So must the hub, which knows the
//! same fields and holds the same records, and takes and refuses the same filters.
//!
//! `TIDINGS_PAIRS` says how many pairs (120,000 unless set), `TIDINGS_SEED` draws others than the seed 7. Run it with another server
//! through `TIDINGS_POCKETBASE`.
#![cfg(feature = "async-io")]

// The evaluator is no part of the crate's interface, so it is compiled here again.
#[allow(dead_code, unused_imports, unreachable_pub, reason = "this test uses a part of it")]
#[path = "../src/filter/mod.rs"]
mod filter;
mod real;

use std::{
    collections::HashSet,
    time::{SystemTime, UNIX_EPOCH},
};

use fastrand::Rng;
use filter::{Answer, Dialect, Filter, Schema};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use real::PocketBase;
use serde_json::{Value, json};
use tidings::{Client, hub::Hub};

const RECORDS: usize = 120;

const TEXTS: [&str; 34] = [
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
const NUMBERS: [f64; 18] = [
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
const CHOICES: [&str; 8] = ["a", "b", "A", "10", "[1,2]", "R&D", "true", "x \"y\" é"];
const DATES: [&str; 5] = [
    "",
    "2026-01-02 03:04:05.678Z",
    "2026-12-31 23:59:59.999Z",
    "2024-02-29 00:00:00.000Z",
    "2099-01-01 00:00:00.000Z",
];

struct Draw {
    rng: Rng,
    is_old: bool,
    others: Vec<String>,
}

impl Draw {
    fn of<T: Clone>(&mut self, pool: &[T]) -> T {
        pool[self.rng.usize(..pool.len())].clone()
    }

    fn some<T: Clone>(&mut self, pool: &[T]) -> Vec<T> {
        let count = self.rng.usize(..4);
        let mut left = pool.to_vec();
        self.rng.shuffle(&mut left);
        left.truncate(count);
        left
    }

    fn json(&mut self, depth: usize) -> Value {
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

    fn record(&mut self) -> Value {
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

    fn quoted(&mut self, text: &str) -> String {
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

    fn literal(&mut self) -> String {
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

    fn field(&mut self) -> String {
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

    fn operand(&mut self) -> String {
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

    fn comparison(&mut self) -> String {
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

    fn filter(&mut self, depth: usize) -> String {
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
    fn broken(&mut self, filter: String) -> String {
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

fn ids(records: &[Value]) -> Vec<String> {
    records.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// The ids of the records that pass, or nothing where the filter is refused.
async fn ask(client: &Client, collection: &str, filter: &str) -> Option<HashSet<String>> {
    let filter = utf8_percent_encode(filter, NON_ALPHANUMERIC);
    let path =
        format!("/api/collections/{collection}/records?perPage=500&skipTotal=1&fields=id&filter={filter}");
    let answer = client.send("GET", &path, None).await;
    match answer {
        Ok(answer) => {
            let list: Value = answer.json().unwrap();
            Some(
                list["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["id"].as_str().unwrap().to_owned())
                    .collect(),
            )
        }
        Err(error) if error.status() == Some(400) => None,
        Err(error) => panic!("{error}"),
    }
}

async fn make(root: &Client, is_old: bool, name: &str, fields: Value) -> Value {
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

struct World {
    server: PocketBase,
    root: Client,
    draw: Draw,
    records: Vec<Value>,
    schema: Schema,
    /// With the same fields and records.
    hub: Hub,
}

async fn world(seed: u64) -> World {
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

#[derive(Default)]
struct Count {
    pairs: u64,
    unknown: u64,
}

impl Count {
    fn share(&self) -> f64 {
        100.0 * self.unknown as f64 / self.pairs.max(1) as f64
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_pair_is_answered_otherwise_than_by_the_server() {
    let seed = setting("TIDINGS_SEED", 7);
    eprintln!("TIDINGS_SEED={seed}");
    smol::block_on(async {
        let World { server, root, mut draw, records, schema, hub } = world(seed).await;
        let hub_client = Client::new(&hub.url()).unwrap();
        let mut hub_unlike = 0;
        let dialect = if server.legacy { Dialect::Old } else { Dialect::New };
        let mut learned = Schema::default();
        records.iter().for_each(|record| learned.learn(record));
        let ways = [
            ("with a schema", dialect, Some(&schema)),
            ("with what payloads show", dialect, Some(&learned)),
            ("with the record alone", dialect, None),
            ("with a schema, any server", Dialect::Any, Some(&schema)),
        ];
        let mut counts: [Count; 4] = Default::default();
        let (mut wrong, mut filters, mut refused, mut foreseen) = (Vec::new(), 0, 0, 0);
        while counts[0].pairs < setting("TIDINGS_PAIRS", 120_000) {
            let is_broken = draw.rng.u8(..8) == 0;
            let mut text = draw.filter(2);
            if is_broken {
                text = draw.broken(text);
            }
            if text.trim().is_empty() {
                continue;
            }
            let before = now();
            let passing = ask(&root, "things", &text).await;
            // What the hub says of the same records. Only superusers may name `@request`; and paths with an empty step it
            // refuses altogether, the server only some.
            let of_hub = match server.legacy || ["@request", ".."].iter().any(|odd| text.contains(odd)) {
                true => None,
                false => Some(ask(&hub_client, "things", &text).await),
            };
            let after = now();
            if of_hub.as_ref().is_some_and(|of_hub| of_hub.is_some() != passing.is_some()) {
                let hub = if passing.is_some() { "refuses" } else { "takes" };
                wrong.push((text.clone(), format!("is what the hub alone {hub}")));
            }
            filters += 1;
            let check = filter::check(&text);
            let Some(passing) = passing else {
                refused += 1;
                foreseen += u32::from(check.is_err());
                continue;
            };
            if let Err(error) = check {
                wrong.push((text.clone(), format!("is taken by the server, and here: {error}")));
            }
            for (way_number, ((way, dialect, schema), count)) in ways.iter().zip(&mut counts).enumerate() {
                let mut filter = match Filter::parse(&text, *dialect) {
                    Ok(filter) => filter,
                    Err(error) => {
                        wrong.push((text.clone(), format!("is taken by the server, and here: {error}")));
                        continue;
                    }
                };
                if let Some(schema) = schema {
                    filter.know(schema);
                }
                // Whether the digits of the time hold others may change there and back between two looks.
                let is_restless =
                    text.contains('~') && ["@now", "@second"].iter().any(|at| text.contains(at));
                for record in &records {
                    let answer = filter.evaluate(record, before);
                    let id = record["id"].as_str().unwrap();
                    let is_in = passing.contains(id);
                    count.pairs += 1;
                    if let (0, Some(Some(of_hub))) = (way_number, &of_hub)
                        && of_hub.contains(id) != is_in
                    {
                        hub_unlike += 1;
                        if answer != Answer::Unknown
                            && !is_restless
                            && filter.evaluate(record, after) == answer
                        {
                            wrong.push((text.clone(), format!("is {} to the hub, for {record}", !is_in)));
                        }
                    }
                    match answer {
                        Answer::Unknown => count.unknown += 1,
                        answer
                            if (answer == Answer::In) == is_in
                                || is_restless
                                || filter.evaluate(record, after) != answer => {}
                        answer => wrong.push((text.clone(), format!("is {answer:?}, {way}, for {record}"))),
                    }
                }
            }
        }
        println!(
            "{filters} filters; {refused} refused by the server, {foreseen} of them by their syntax alone"
        );
        for ((way, ..), count) in ways.iter().zip(&counts) {
            println!("{way}: {} pairs, {:.2} % unknown", count.pairs, count.share());
        }
        println!("the hub: {hub_unlike} otherwise, all of what the evaluator does not know");
        let total = wrong.len();
        // One record of each filter is enough to see.
        wrong.dedup_by_key(|(filter, _)| filter.clone());
        let shown: Vec<String> =
            wrong.iter().take(20).map(|(filter, what)| format!("{filter:?} {what}")).collect();
        assert!(wrong.is_empty(), "TIDINGS_SEED={seed}: {total} are wrong:\n{}", shown.join("\n"));
    });
}
