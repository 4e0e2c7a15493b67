//! `src/order/` against a real server: random records, sorted by random columns. What is said of two records must be how
//! the server lists them, and the filter of what comes after a record must give exactly the rest of the list.
//!
//! `TIDINGS_SORTS` says how many sorts (150 unless set), `TIDINGS_SEED` draws others than the seed 7. Run it with another
//! server through `TIDINGS_POCKETBASE`.
#![cfg(feature = "async-io")]

// Neither is part of the crate's interface, so they are compiled here again.
#[allow(dead_code, unused_imports, unreachable_pub, reason = "this test uses a part of it")]
#[path = "../src/filter/mod.rs"]
mod filter;
#[allow(dead_code, reason = "this test uses a part of it")]
#[path = "../src/order/mod.rs"]
mod order;
mod pairs;
mod real;

use std::cmp::Ordering;

use filter::{Schema, joined};
use order::Sort;
use pairs::{Draw, World, setting, world};
use serde_json::{Value, json};
use tidings::Client;

const COLUMNS: [&str; 22] = [
    "title",
    "title",
    "other",
    "n",
    "n",
    "m",
    "m",
    "ok",
    "ok",
    "due",
    "meta",
    "meta",
    "one",
    "one",
    "many",
    "author",
    "tags",
    "id",
    "meta.a",
    "meta.b",
    "meta.0",
    "place.lon",
];

fn sort(draw: &mut Draw) -> String {
    let mut columns = Vec::new();
    for _ in 0..draw.rng.usize(1..4) {
        let column = draw.of(&COLUMNS);
        let sign = draw.of(&["", "-", "-", "+"]);
        if !(draw.is_old && column.starts_with("place")) {
            columns.push(format!("{sign}{column}"));
        }
    }
    columns.join(", ")
}

async fn list(client: &Client, sort: &str, filter: &str) -> Vec<Value> {
    let request = client.send("GET", "/api/collections/things/records", None);
    let mut request = request.queries([("perPage", "500"), ("skipTotal", "1"), ("sort", sort)]);
    if !filter.is_empty() {
        request = request.query("filter", filter);
    }
    let list: Value =
        request.await.unwrap_or_else(|error| panic!("{sort} {filter}: {error}")).json().unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Values that no random draw has: those that filters find hard to name.
async fn odd_ones(root: &Client, draw: &mut Draw) {
    for title in ["\\", "a\\", "\\'\\\"", "C:\\new", "it's \"", "\\\\", "// (", "é ü"] {
        let mut record = draw.record();
        (record["title"], record["meta"]) = (json!(title), json!(title));
        root.send("POST", "/api/collections/things/records", record).await.unwrap();
    }
    for meta in [json!(null), json!(""), json!(0), json!(false), json!({"a": null}), json!({"a": ""})] {
        let mut record = draw.record();
        record["meta"] = meta;
        root.send("POST", "/api/collections/things/records", record).await.unwrap();
    }
}

#[derive(Default)]
struct Count {
    pairs: usize,
    unknown: usize,
    rests: usize,
    unnamed: usize,
}

#[test]
fn lists_are_in_the_order_of_the_server_and_go_on_where_they_ended() {
    let seed = setting("TIDINGS_SEED", 7);
    eprintln!("TIDINGS_SEED={seed}");
    smol::block_on(async {
        let World { server: _server, root, mut draw, schema, .. } = world(seed).await;
        odd_ones(&root, &mut draw).await;
        let mut learned = Schema::default();
        list(&root, "id", "").await.iter().for_each(|record| learned.learn(record));
        let ways = [("a schema", schema), ("what payloads show", learned), ("nothing", Schema::default())];
        let mut counts: [Count; 3] = Default::default();
        for _ in 0..setting("TIDINGS_SORTS", 150) {
            let sort = sort(&mut draw);
            let Ok(parsed) = Sort::parse(&sort) else { panic!("{sort:?} is refused") };
            let filter = if draw.rng.bool() { "n >= 1 || title = '' // and" } else { "" };
            let records = list(&root, &parsed.to_string(), filter).await;
            let place = draw.rng.usize(..records.len());
            for ((way, schema), count) in ways.iter().zip(&mut counts) {
                let what = format!("TIDINGS_SEED={seed}, {sort:?}, knowing {way}");
                for (i, pair) in records.windows(2).enumerate() {
                    for (a, b, order) in [(0, 1, Ordering::Less), (1, 0, Ordering::Greater)] {
                        let said = parsed.compare(&pair[a], &pair[b], schema);
                        count.pairs += 1;
                        count.unknown += usize::from(said.is_none());
                        assert!(said.is_none_or(|said| said == order), "{what}: {i}: {pair:?} is {said:?}");
                    }
                }
                count.rests += 1;
                let Some(after) = parsed.after(&records[place], schema) else {
                    count.unnamed += 1;
                    continue;
                };
                let both = if filter.is_empty() { after } else { joined(filter, &after).expect(&after) };
                let rest = list(&root, &parsed.to_string(), &both).await;
                let ids = |records: &[Value]| records.iter().map(|r| r["id"].clone()).collect::<Vec<_>>();
                assert_eq!(
                    ids(&rest),
                    ids(&records[place + 1..]),
                    "{what}: {both}, after {}",
                    records[place]
                );
            }
        }
        for ((way, _), Count { pairs, unknown, rests, unnamed }) in ways.iter().zip(&counts) {
            println!(
                "knowing {way}: {unknown} of {pairs} pairs unknown; {unnamed} of {rests} cannot be named"
            );
            assert!(unknown * 2 < *pairs && unnamed * 2 < *rests, "too little is known");
        }
    });
}

#[test]
fn columns_that_only_the_server_can_sort_by_are_not_walked() {
    for sort in ["author.name", "title:lower", "@request.auth.id", "-place"] {
        let sort = Sort::parse(sort).unwrap();
        let record = json!({"id": "a", "author": "x", "title": "A", "place": {"lon": 1, "lat": 2}});
        assert_eq!(sort.after(&record, &Schema::default()), None, "{sort}");
        assert_eq!(sort.compare(&record, &record, &Schema::default()), None, "{sort}");
    }
}

#[test]
fn an_error_names_the_column() {
    for (sort, at, word) in [
        ("title, -@random", 8, "`@random`"),
        ("@rowid", 1, "`@rowid`"),
        ("title,,n", 7, "expected"),
        ("title n", 1, "commas"),
        ("a.", 1, "no complete name"),
        ("é", 1, "'é'"),
        ("a,b,c,d,e,f,g,h", 15, "room for 7"),
        ("a,b,c,d,e,f,g,h,i", 17, "at most 8"),
    ] {
        let error = Sort::parse(sort).unwrap_err();
        assert!(error.column == at && error.to_string().contains(word), "{sort}: {error}");
    }
    for (sort, as_sent) in
        [("", "id"), (" -n , +title", "-n,title,id"), ("-id,n", "-id"), ("a,b,c,d,e,f,g,id,h", "")]
    {
        match as_sent {
            "" => assert!(Sort::parse(sort).is_err()),
            as_sent => assert_eq!(Sort::parse(sort).unwrap().to_string(), as_sent),
        }
    }
}

#[test]
fn a_filter_and_what_comes_after_are_joined_only_where_that_means_both() {
    assert_eq!(joined("a = 1 || b = 2", "id > 'x'").unwrap(), "(a = 1 || b = 2) && (id > 'x')");
    assert_eq!(joined("a = 1 // one", "id > 'x'").unwrap(), "(a = 1 // one) && (id > 'x')");
    assert_eq!(joined("a = 1 // ) || (b = 2", "id > 'x'"), None);
    assert_eq!(joined(&format!("a = '{}'", "x".repeat(3_490)), "id > 'x'"), None);
    let many = vec!["a = 1"; 200].join("||");
    assert_eq!(joined(&many, "id > 'x'"), None);
}
