//! The decoder beside everything that a user would pick instead.
//!
//! `decoder-bench [--quick] [--corpus NAME] [--json PATH]` decodes eight corpora in four kinds of chunks with
//! tidings, six peers, and a bare scan for line ends as the physical reference. The
//! contenders take turns in one process, and the best round of each counts: whatever else
//! the machine does then disturbs all of them alike. Figures are ratios to tidings; the MB/s
//! hold for one machine only.
//!
//! Before its time is taken, each contender must have yielded the same messages as tidings.

mod allocations;
mod contenders;

use std::time::{Duration, Instant};

use allocations::{Allocations, counted};
use bytes::Bytes;
use contenders::{Contender, SCAN};
use corpora::{CUTS, Cut};
use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let (mut quick, mut path, mut only) = (false, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--json" => path = arguments.next(),
            "--corpus" => only = arguments.next(),
            _ => {
                eprintln!("usage: decoder-bench [--quick] [--corpus NAME] [--json PATH]");
                std::process::exit(2);
            }
        }
    }
    let contenders = contenders::all();
    let budget = Duration::from_secs_f64(if quick { 1.0 } else { 6.0 });

    let mut rows = Vec::new();
    for cut in CUTS {
        print_heading(&contenders, cut);
        for name in corpora::NAMES {
            if only.as_ref().is_some_and(|only| only != name) {
                continue;
            }
            let corpus = corpora::corpus(name);
            let cells = measure(&contenders, &corpus.chunks(cut), budget);
            print_row(corpus.name, &contenders, &cells, corpus.bytes.len());
            rows.extend(contenders.iter().zip(&cells).map(|(contender, cell)| {
                json!({
                    "corpus": corpus.name,
                    "chunk": cut.name(),
                    "contender": contender.name,
                    "version": contender.version,
                    "mb_per_s": cell.fault.is_none().then(|| (corpus.bytes.len() as f64 / cell.seconds / 1e6).round()),
                    "ratio_to_tidings": cell.fault.is_none().then(|| hundredths(cells[0].seconds / cell.seconds)),
                    "allocations_per_event": hundredths(cell.allocations_per_event),
                    "peak_heap": cell.peak_heap,
                    "fault": cell.fault,
                })
            }));
        }
    }

    println!("\na message of 256 KiB in chunks of 64 bytes, against one of 128 KiB: times");
    let mut linearity = Vec::new();
    for contender in contenders.iter().filter(|contender| contender.name != SCAN) {
        let growth = growth(contender);
        println!("{:24} {growth:.1}", contender.name);
        linearity
            .push(json!({ "contender": contender.name, "time_for_twice_the_length": hundredths(growth) }));
    }

    let result = json!({ "name": "decoder", "machine": machine(), "rows": rows, "linearity": linearity });
    match path {
        Some(path) => std::fs::write(path, format!("{result:#}\n")),
        None => Ok(()),
    }
}

/// One contender on one corpus in one kind of chunks.
struct Cell {
    /// The best round.
    seconds: f64,
    allocations_per_event: f64,
    peak_heap: usize,
    /// What it has yielded instead of the messages that are there.
    fault: Option<String>,
}

/// Lets the contenders take turns until `budget` is used up.
fn measure(contenders: &[Contender], chunks: &[Bytes], budget: Duration) -> Vec<Cell> {
    let expected = (contenders[0].digest)(&mut chunks.to_vec());
    let mut cells: Vec<Cell> = contenders
        .iter()
        .map(|contender| {
            let fault = match contender.name {
                SCAN => None,
                _ => (contender.digest)(&mut chunks.to_vec()).fault(&expected),
            };
            // The stream once and the stream twice: what is allocated once for all cancels out.
            let once = allocations(contender, chunks);
            let twice = allocations(contender, &[chunks, chunks].concat());
            let further = twice.count - once.count;
            let allocations_per_event = further as f64 / expected.messages as f64;
            Cell { seconds: f64::MAX, allocations_per_event, peak_heap: once.peak, fault }
        })
        .collect();

    // A contender that is very slow here gets its share and no more.
    let share = budget / contenders.len() as u32;
    let mut spent = vec![Duration::ZERO; contenders.len()];
    let start = Instant::now();
    while start.elapsed() < budget {
        for ((contender, cell), spent) in contenders.iter().zip(&mut cells).zip(&mut spent) {
            if *spent <= share {
                let elapsed = time(contender, chunks);
                cell.seconds = cell.seconds.min(elapsed.as_secs_f64());
                *spent += elapsed;
            }
        }
        if spent.iter().all(|spent| *spent > share) {
            break;
        }
    }
    cells
}

fn time(contender: &Contender, chunks: &[Bytes]) -> Duration {
    let mut chunks = chunks.to_vec();
    let start = Instant::now();
    std::hint::black_box((contender.count)(&mut chunks).messages);
    start.elapsed()
}

fn allocations(contender: &Contender, chunks: &[Bytes]) -> Allocations {
    let mut chunks = chunks.to_vec();
    counted(|| (contender.count)(&mut chunks)).1
}

/// How much longer a message of twice the length takes: 2 where work is linear, 4 where all
/// of a message is looked at again with each chunk.
fn growth(contender: &Contender) -> f64 {
    let best = |length: usize| {
        let chunks = corpora::giant(length).chunks(Cut::Every(64));
        (0..5).map(|_| time(contender, &chunks)).min().expect("there are rounds").as_secs_f64()
    };
    best(256 * 1024) / best(128 * 1024)
}

/// How many times as long as tidings the others take; and the best of the peers, which is
/// what counts.
fn print_row(corpus: &str, contenders: &[Contender], cells: &[Cell], bytes: usize) {
    let ours = cells[0].seconds;
    print!("{corpus:24}{:6.0} MB/s", bytes as f64 / ours / 1e6);
    for cell in &cells[1..] {
        match cell.fault {
            None => print!("{:14.2}", cell.seconds / ours),
            Some(_) => print!("{:>14}", "wrong"),
        }
    }
    let peers =
        contenders.iter().zip(cells).filter(|(contender, cell)| is_peer(contender) && cell.fault.is_none());
    let best = peers.map(|(_, cell)| cell.seconds / ours).fold(f64::INFINITY, f64::min);
    println!("{best:14.2}{:8.3}", cells[0].allocations_per_event);
}

fn print_heading(contenders: &[Contender], cut: Cut) {
    print!("\n{:24}{:>11}", format!("chunks: {}", cut.name()), "tidings");
    for contender in &contenders[1..] {
        print!("{:>14}", contender.name.trim_start_matches("tidings, ").trim_start_matches("eventsource-"));
    }
    println!("{:>14}{:>8}", "best peer", "allocs");
}

fn is_peer(contender: &Contender) -> bool {
    !contender.name.starts_with("tidings") && contender.name != SCAN
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn machine() -> Value {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    json!({
        "cpu": model.map_or("unknown", |(_, model)| model),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    })
}
