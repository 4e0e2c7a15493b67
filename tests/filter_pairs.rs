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
mod pairs;
mod real;

use std::{
    collections::HashSet,
    time::{SystemTime, UNIX_EPOCH},
};

use filter::{Answer, Dialect, Filter, Schema};
use pairs::{World, setting, world};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tidings::Client;

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
