//! What a live view costs, beside what a host would write without it: a list, and a subscription whose events are parsed.
//!
//! `TIDINGS_POCKETBASE=… cargo run --release --manifest-path bench/Cargo.toml --package view-bench -- OUT.json`

// A real server, as the tests have it.
#[allow(dead_code, unreachable_pub, reason = "this uses a part of it")]
#[path = "../../../tests/real/mod.rs"]
mod real;

use std::{
    alloc::System,
    error::Error,
    hint::black_box,
    time::{Duration, Instant},
};

use futures::future::join_all;
use real::PocketBase;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tidings::{Client, View, hub::Hub, rt::AsyncIo};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROWS: usize = 10_000;
const ROUNDS: usize = 9;
const UPDATES: usize = 20_000;
const SORT: &str = "-n,title";

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args().nth(1).ok_or("usage: TIDINGS_POCKETBASE=… view-bench OUT.json")?;
    let result = smol::block_on(async {
        let first = first_state().await;
        let small = updates(100).await;
        let large = updates(ROWS).await;
        json!({"first_state": first, "updates": [small, large]})
    });
    std::fs::write(out, format!("{result:#}\n"))?;
    Ok(())
}

fn record(number: usize) -> Value {
    json!({
        "title": format!("Task number {number:08}"), "n": number * 7919 % 1000, "open": true,
        "body": "The quick brown fox jumps over the lazy dog, and then does it again, because one sentence alone \
                 does not make a body of the length that tasks have on average; two hundred bytes or so do.",
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A list loop and a view, by turns; and what is kept of the view.
async fn first_state() -> Value {
    let server = PocketBase::start("");
    let root = server.root().await;
    let field = |name: &str, kind: &str| json!({"name": name, "type": kind});
    let date = |name: &str, on_update: bool| json!({"name": name, "type": "autodate", "onCreate": true, "onUpdate": on_update});
    let fields = [field("title", "text"), field("n", "number"), field("open", "bool"), field("body", "text")];
    let fields: Vec<Value> =
        fields.into_iter().chain([date("created", false), date("updated", true)]).collect();
    let collection =
        json!({"name": "tasks", "type": "base", "listRule": "", "viewRule": "", "fields": fields});
    root.send("POST", "/api/collections", collection).await.expect("a collection");
    let make = async |part: usize| {
        for number in part * ROWS / 16..(part + 1) * ROWS / 16 {
            real::create(&root, "tasks", record(number)).await;
        }
    };
    join_all((0..16).map(make)).await;

    let client = server.client();
    let tasks = client.collection("tasks");
    // The link is up, and both are warm.
    let idle = tasks.watch().filter("n < 0").await.expect("a view");
    let (mut lists, mut views) = (Vec::new(), Vec::new());
    let mut kept = 0.0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let all: Vec<Value> = tasks.list().sort(SORT).all().await.expect("a list");
        lists.push(began.elapsed().as_secs_f64());
        assert_eq!(all.len(), ROWS);
        drop(all);
        let region = Region::new(ALLOCATOR);
        let began = Instant::now();
        let view = tasks.watch().sort(SORT).await.expect("a view");
        views.push(began.elapsed().as_secs_f64());
        let text: usize = view.rows().iter().map(|row| row.text().len()).sum();
        let change = region.change();
        let bytes = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
        kept = bytes / text as f64;
        assert_eq!(view.rows().len(), ROWS);
    }
    drop(idle);
    let (list, view) = (median(lists), median(views));
    println!(
        "first state of {ROWS} rows: {:.0} ms, a list loop: {:.0} ms: {:.2} times",
        view * 1e3,
        list * 1e3,
        view / list
    );
    println!("kept: {kept:.2} times the rows' JSON");
    json!({"view_ms": view * 1e3, "list_ms": list * 1e3, "ratio": view / list, "memory": kept})
}

/// Processor time of this thread, which does all I/O of the client and reads what comes.
fn processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Updates that move a row, one by one and many at once: by a view, and by a subscription whose events are parsed.
async fn updates(rows: usize) -> Value {
    let hub = Hub::start().expect("a hub");
    hub.collection("tasks", json!({"title": "", "n": 0, "open": true, "body": ""}));
    let ids: Vec<String> = (0..rows)
        .map(|number| hub.create("tasks", record(number))["id"].as_str().unwrap_or_default().to_owned())
        .collect();
    let mut table = Vec::new();
    for at_once in [1, 100] {
        let (client, driver) = Client::builder(&hub.url()).connect_with(AsyncIo).expect("a client");
        let measure = async {
            let tasks = client.collection("tasks");
            let mut bare = tasks
                .subscribe("*")
                .queue(UPDATES, tidings::Overflow::DropOldest)
                .await
                .expect("a subscription");
            let parsed = take(&hub, &ids, at_once, async |count| {
                for _ in 0..count {
                    black_box(bare.next().await.expect("an event").json().expect("its JSON"));
                }
            })
            .await;
            drop(bare);
            let mut view = tasks.watch().sort(SORT).await.expect("a view");
            view.take();
            let shown = take(&hub, &ids, at_once, async |count| until(&mut view, count).await).await;
            (parsed, shown)
        };
        let (parsed, shown) = match futures::future::select(Box::pin(measure), Box::pin(driver)).await {
            futures::future::Either::Left((times, _)) => times,
            futures::future::Either::Right(_) => panic!("the driver ended"),
        };
        println!(
            "{rows} rows, {at_once} updates at once: {shown:.2} µs of the processor for each, {parsed:.2} µs where events are \
             parsed alone: {:.2} µs for the view",
            shown - parsed
        );
        table.push(json!({"at_once": at_once, "view_us": shown, "parsed_us": parsed}));
    }
    json!({"rows": rows, "table": table})
}

/// Microseconds for each update.
async fn take(hub: &Hub, ids: &[String], at_once: usize, mut read: impl AsyncFnMut(usize)) -> f64 {
    let mut total = Duration::ZERO;
    for number in (0..UPDATES).step_by(at_once) {
        for number in number..number + at_once {
            // Each of them in its turn, so that none is folded into another, to a place far away.
            let n = number.wrapping_mul(2_654_435_761) % 1_000_003;
            hub.update("tasks", &ids[number % ids.len()], json!({"n": n}));
        }
        let began = processor();
        read(at_once).await;
        total += processor() - began;
    }
    total.as_secs_f64() * 1e6 / UPDATES as f64
}

async fn until(view: &mut View, count: usize) {
    let mut seen = 0;
    while seen < count {
        seen += view.next().await.expect("the view goes on").deltas().len();
    }
}
