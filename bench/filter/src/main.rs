//! How many records a second a filter is evaluated for, on one core.
//!
//! `cargo run --release --manifest-path bench/Cargo.toml --package filter-bench`

// It is no part of the crate's interface.
#[allow(dead_code, unused_imports, unreachable_pub, reason = "this uses a part of it")]
#[path = "../../../src/filter/mod.rs"]
mod filter;

use std::{hint::black_box, time::Instant};

use filter::{Answer, Dialect, Filter, Schema};
use serde_json::{Value, json};

const RECORDS: usize = 1_000;
const ROUNDS: usize = 1_000;

fn main() {
    let records: Vec<Value> = (0..RECORDS)
        .map(|i| {
            json!({
                "id": format!("r{i:014}"), "collectionId": "pbc_1", "collectionName": "things",
                "created": "2026-01-02 03:04:05.678Z", "updated": "2026-01-02 03:04:05.678Z",
                "a": if i % 3 == 0 { "y" } else { "x" }, "b": i % 7, "title": format!("number {i}"), "tags": ["p", "q"],
            })
        })
        .collect();
    let schema = Schema::of_collection(&json!({"fields": [
        {"name": "a", "type": "text"}, {"name": "b", "type": "number"}, {"name": "title", "type": "text"},
        {"name": "created", "type": "autodate"}, {"name": "tags", "type": "select", "maxSelect": 3},
    ]}));
    println!(
        "{:<44} {:>12} {:>12} {:>12}",
        "millions of records a second", "schema", "record alone", "any server"
    );
    for text in [
        r#"a = "x" && b > 3"#,
        r#"title ~ "7" || a != "x""#,
        "created < @now && b = 1",
        "tags:each ?= 'q'",
        "(a = 'x' || a = 'y') && b >= 0 && b < 7 && title != ''",
    ] {
        let speed = |dialect: Dialect, schema: Option<&Schema>| {
            let mut filter = Filter::parse(text, dialect).expect("a filter");
            if let Some(schema) = schema {
                filter.know(schema);
            }
            // The fastest of some runs: what else the machine did is not ours.
            let run = |_| {
                let start = Instant::now();
                let mut passed = 0usize;
                for _ in 0..ROUNDS / 5 {
                    for record in &records {
                        passed +=
                            usize::from(filter.evaluate(black_box(record), 1_800_000_000_000) == Answer::In);
                    }
                }
                black_box(passed);
                (ROUNDS / 5 * RECORDS) as f64 / start.elapsed().as_secs_f64() / 1e6
            };
            (0..5).map(run).fold(0.0, f64::max)
        };
        let (with, alone) = (speed(Dialect::New, schema.as_ref()), speed(Dialect::New, None));
        println!("{text:<44} {with:>12.2} {alone:>12.2} {:>12.2}", speed(Dialect::Any, schema.as_ref()));
    }
}
