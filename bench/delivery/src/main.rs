//! From the socket into the program: events per second, processor time for each, and how long they are under way.
//!
//! One sender writes what it rendered beforehand; each contender receives it in a process of its own. They take turns,
//! round after round, and each is compared with the raw read of the same round, so that what the machine does beside
//! this hits all of them.

mod receive;
mod sender;
mod work;

use std::{
    env,
    error::Error,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use receive::{CONTENDERS, Contender, Kind, Task, YARDSTICK};
use serde_json::json;
use work::{Took, Work};

const TOPIC: &str = "posts/*";

/// Events and, where they are paced, how many in a second. Those that are parsed are half as many, so that what waits for
/// it fits into the queue of a listener, which holds 64 MiB at most.
const RUNS: [(Work, usize, usize); 4] = [
    (Work::Count, 200_000, 0),
    (Work::Head, 100_000, 0),
    (Work::Record, 100_000, 0),
    (Work::Latency, 8_000, 4_000),
];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["sender"] => Ok(sender::serve()?),
        ["receive", name, url, events, work] => {
            let task = Task { url: url.into(), events: events.parse()?, work: work.parse()? };
            let contender = CONTENDERS.iter().find(|one| one.name == name).ok_or("no such contender")?;
            println!("{}", serde_json::to_string(&(contender.receive)(&task))?);
            Ok(())
        }
        [out, rounds] => compare(out, rounds.parse()?),
        _ => Err("usage: delivery-bench OUT.json ROUNDS".into()),
    }
}

fn compare(out: &str, rounds: usize) -> Result<(), Box<dyn Error>> {
    let mut rows = Vec::new();
    for (work, events, pace) in RUNS {
        // A raw read knows no event whose time could be read.
        let contenders: Vec<&Contender> = CONTENDERS
            .iter()
            .filter(|one| one.kind != Kind::Reference || work == Work::Count || one.name.contains("sse"))
            .collect();
        let yardstick = CONTENDERS.iter().find(|one| one.name == YARDSTICK).expect("it is there");
        let mut results: Vec<Vec<(Took, Took)>> = vec![Vec::new(); contenders.len()];
        for round in 0..rounds {
            let raw = run(yardstick, Work::Count, RUNS[0].1, 0)?;
            for turn in 0..contenders.len() {
                let place = (turn + round) % contenders.len();
                let took = run(contenders[place], work, events, pace)?;
                results[place].push((took, raw));
            }
        }
        println!("\n{} ({events} events, median of {rounds} rounds)", work.name());
        println!(
            "{:44} {:>12} {:>8} {:>8} {:>9} {:>9}",
            "", "events/s", "of raw", "cpu µs", "p50 µs", "p99 µs"
        );
        for (contender, results) in contenders.iter().zip(results) {
            let median = |of: fn(&(Took, Took)) -> f64| median(results.iter().map(of).collect());
            let events_per_s = median(|(took, _)| took.events_per_s);
            let slower = median(|(took, raw)| raw.events_per_s / took.events_per_s);
            let cpu = median(|(took, _)| took.cpu_us_per_event);
            let (p50, p99) = (median(|(took, _)| took.p50_us), median(|(took, _)| took.p99_us));
            let lost: u64 = results.iter().map(|(took, _)| took.lost).sum();
            println!(
                "{:44} {events_per_s:>12.0} {slower:>8.2} {cpu:>8.2} {p50:>9.0} {p99:>9.0}{}",
                contender.name,
                if lost > 0 { format!("  LOST {lost}") } else { String::new() },
            );
            rows.push(json!({
                "contender": contender.name, "kind": contender.kind.name(), "work": work.name(), "events": events,
                "events_per_s": events_per_s.round(), "times_raw_hyper_read": rounded(slower),
                "cpu_us_per_event": rounded(cpu), "p50_us": p50.round(), "p99_us": p99.round(), "lost": lost,
            }));
        }
    }
    std::fs::write(out, format!("{:#}\n", json!({"rounds": rounds, "rows": rows})))?;
    Ok(())
}

/// One contender against one sender, each a process.
fn run(contender: &Contender, work: Work, events: usize, pace: usize) -> Result<Took, Box<dyn Error>> {
    let program = env::current_exe()?;
    let mut sender = Ended(Command::new(&program).arg("sender").stdout(Stdio::piped()).spawn()?);
    let mut url = String::new();
    BufReader::new(sender.0.stdout.take().expect("it is piped")).read_line(&mut url)?;
    let url = format!("{}/{events}/{pace}", url.trim());
    let events = events.to_string();
    let output =
        Command::new(&program).args(["receive", contender.name, &url, &events, work.name()]).output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", contender.name, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A process that ends with its handle.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
