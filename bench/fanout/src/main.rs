//! One client, many listeners: what an event costs each of them, and what they cost while nothing happens.
//!
//! On a network in memory and one thread, so that neither the kernel nor a scheduler is measured.

use std::{
    alloc::System,
    error::Error,
    time::{Duration, Instant},
};

use fanout::Bed;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Topics, and listeners of each.
const SHAPES: [(usize, usize); 4] = [(1, 1), (1, 100), (1, 10_000), (10_000, 1)];

/// Events handed to listeners in each measurement, all counted.
const DELIVERIES: usize = 2_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args().nth(1).ok_or("usage: fanout-bench OUT.json")?;
    println!(
        "{:>7} {:>10} {:>16} {:>11} {:>12} {:>14} {:>8} {:>18}",
        "topics",
        "listeners",
        "ns per delivery",
        "ns to take",
        "allocations",
        "bytes",
        "streams",
        "bytes per idle one"
    );
    println!("{:>7} {:>10} {:>16} {:>11} {:>12} {:>14}", "", "", "", "", "per event", "per event");
    let mut rows = Vec::new();
    for (topics, listeners) in SHAPES {
        rows.push(measure(topics, listeners));
    }
    let connection = connection();
    println!("one connection with one subscription: {connection} bytes");
    let result = json!({"rows": rows, "bytes_per_connection": connection});
    std::fs::write(out, format!("{result:#}\n"))?;
    Ok(())
}

fn measure(topics: usize, listeners: usize) -> serde_json::Value {
    let names: Vec<String> = (0..topics).map(|number| format!("posts/r{number:014}")).collect();
    let all = topics * listeners;

    // What one stream needs is counted apart.
    let mut bed = Bed::new(all);
    bed.subscribe(std::iter::once(PROBE), 1);
    let before = Region::new(ALLOCATOR);
    bed.subscribe(names.iter().map(String::as_str), listeners);
    bed.network.forget_topics();
    let change = before.change();
    let idle = (change.bytes_allocated - change.bytes_deallocated) as f64;
    let streams = bed.client.stats().streams;
    let idle = (idle - ((streams - 1) * connection()) as f64) / all as f64;
    drop(bed);

    let mut bed = Bed::new(all);
    bed.subscribe(names.iter().map(String::as_str), listeners);
    // As many at once as fit into the queues, and at most what fits into the processor's cache.
    let batch = (1000 / topics).max(1);
    let rounds = (DELIVERIES / all / batch).max(3);
    let rendered = bed.render(batch);
    bed.deliver(&rendered, batch);
    bed.take(|_| {});
    let (mut delivering, mut taking) = (Duration::ZERO, Duration::ZERO);
    let (mut allocations, mut bytes_allocated) = (0, 0);
    for _ in 0..rounds {
        let region = Region::new(ALLOCATOR);
        let began = Instant::now();
        bed.deliver(&rendered, batch);
        delivering += began.elapsed();
        let change = region.change();
        allocations += change.allocations;
        bytes_allocated += change.bytes_allocated;
        let began = Instant::now();
        assert_eq!(bed.take(|_| {}), batch * all);
        taking += began.elapsed();
    }
    let deliveries = (rounds * batch * all) as f64;
    let events = (rounds * batch * topics) as f64;
    let each = |time: Duration| time.as_nanos() as f64 / deliveries;
    let (delivering, taking) = (each(delivering), each(taking));
    let (allocations, bytes) = (allocations as f64 / events, bytes_allocated as f64 / events);
    println!(
        "{topics:>7} {listeners:>10} {delivering:>16.1} {taking:>11.1} {allocations:>12.2} {bytes:>14.0} \
         {streams:>8} {idle:>18.0}"
    );
    json!({
        "topics": topics, "listeners_per_topic": listeners, "streams": streams,
        "ns_per_delivery": delivering.round(), "ns_to_take": taking.round(),
        "allocations_per_event": allocations, "bytes_per_event": bytes.round(),
        "bytes_per_idle_subscription": idle.round(),
    })
}

const PROBE: &str = "probe/*";

/// Bytes that a live client with one subscription holds.
fn connection() -> usize {
    let region = Region::new(ALLOCATOR);
    let mut bed = Bed::new(1);
    bed.subscribe(std::iter::once(PROBE), 1);
    let change = region.change();
    change.bytes_allocated - change.bytes_deallocated
}
