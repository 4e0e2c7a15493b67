//! Many topics at once: the requests that subscribing to them takes, and how soon all are back after the server was
//! away. Against the embedded server, which counts; each contender is a process of its own.

use std::{
    env,
    error::Error,
    future::IntoFuture,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde_json::{Value, json};
use tidings::{Client, hub::Hub};

/// Topics that are subscribed to at once.
const STORMS: [usize; 2] = [1_000, 10_000];

/// Topics that are to come back, and how long the server is away, in seconds: not the multiples of anybody's delays.
const RECOVERED: usize = 1_000;
const AWAY: [f64; 5] = [0.35, 0.75, 1.15, 2.35, 4.75];

/// What takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

const CONTENDERS: [&str; 3] = ["tidings", "PocketBase JS SDK", "BosBase Python"];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidings", url, topics] => subscribe(url, topics.parse()?),
        [out, python] => compare(out, python),
        _ => Err("usage: storm-bench OUT.json PYTHON".into()),
    }
}

/// tidings as a contender.
fn subscribe(url: &str, topics: usize) -> Result<(), Box<dyn Error>> {
    let client = Client::new(url)?;
    let began = Instant::now();
    let names = (0..topics).map(|number| format!("posts/r{number:014}"));
    let realtime = client.realtime();
    let all = try_join_all(names.map(|topic| realtime.subscribe(&topic).on(|_| {}).into_future()));
    let _subscriptions = futures::executor::block_on(all)?;
    println!("{}", json!({"seconds": began.elapsed().as_secs_f64()}));
    loop {
        thread::park();
    }
}

fn compare(out: &str, python: &str) -> Result<(), Box<dyn Error>> {
    let mut storms = Vec::new();
    println!("{:20} {:>7} {:>7} {:>12} {:>9}", "", "topics", "POSTs", "bytes", "seconds");
    for topics in STORMS {
        for name in CONTENDERS {
            let hub = Hub::start()?;
            let (_process, answer) = start(name, &hub, topics, python)?;
            let stats = hub.stats();
            let bytes: usize = hub.submits().iter().map(|submit| body_size(&submit.topics)).sum();
            let seconds = answer["seconds"].as_f64();
            let said = seconds.map_or_else(|| failure(&answer), |seconds| format!("{seconds:.3}"));
            println!("{name:20} {topics:>7} {:>7} {bytes:>12} {said:>9}", stats.submits);
            storms.push(json!({
                "contender": name, "topics": topics, "posts": stats.submits, "bytes": bytes,
                "streams": stats.streams, "acknowledged": stats.topics, "seconds": seconds,
                "failure": seconds.is_none().then(|| failure(&answer)),
            }));
        }
    }
    let mut recoveries = Vec::new();
    println!(
        "\n{RECOVERED} topics, seconds from the server's return to the next try, and from there until all are back"
    );
    for name in CONTENDERS {
        print!("{name:20}");
        for away in AWAY {
            let (tried, back) = recover(name, away, python)?;
            print!("  after {away}: {tried:.2} + {back:.3}");
            recoveries.push(json!({
                "contender": name, "topics": RECOVERED, "away_s": away, "until_tried_s": tried, "until_back_s": back,
            }));
        }
        println!();
    }
    std::fs::write(out, format!("{:#}\n", json!({"storm": storms, "recovery": recoveries})))?;
    Ok(())
}

/// How long it takes until the server, which was away, sees the client again, and from there until all topics are
/// acknowledged.
fn recover(name: &str, away: f64, python: &str) -> Result<(f64, f64), Box<dyn Error>> {
    let hub = Hub::start()?;
    let (_process, answer) = start(name, &hub, RECOVERED, python)?;
    if answer["seconds"].is_null() {
        return Err(format!("{name}: {}", failure(&answer)).into());
    }
    let connects = hub.stats().connects;
    hub.stop();
    thread::sleep(Duration::from_secs_f64(away));
    hub.restart()?;
    let began = Instant::now();
    let is_tried = hub.wait_until(|stats| stats.connects > connects, PATIENCE);
    let tried = began.elapsed().as_secs_f64();
    let all = is_tried && hub.wait_until(|stats| stats.topics == RECOVERED, PATIENCE);
    if !all {
        return Err(format!("{name} is not back after {PATIENCE:?}").into());
    }
    Ok((tried, began.elapsed().as_secs_f64() - tried))
}

/// A contender that has subscribed, and what it says of it.
fn start(name: &str, hub: &Hub, topics: usize, python: &str) -> Result<(Ended, Value), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = match name {
        "tidings" => {
            let mut own = Command::new(env::current_exe()?);
            own.arg("tidings");
            own
        }
        "PocketBase JS SDK" => {
            let mut node = Command::new("node");
            node.arg(here.join("js/storm.js"));
            node
        }
        _ => {
            let mut interpreter = Command::new(python);
            interpreter.arg(here.join("python/storm.py"));
            interpreter
        }
    };
    let mut process = Ended(command.args([&hub.url(), &topics.to_string()]).stdout(Stdio::piped()).spawn()?);
    let output = process.0.stdout.take().expect("it is piped");
    let (sender, line) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(output).read_line(&mut line);
        let _ = sender.send(line);
    });
    let answer = match line.recv_timeout(PATIENCE) {
        Ok(line) => serde_json::from_str(&line)?,
        Err(_) => json!({"error": format!("not done after {PATIENCE:?}")}),
    };
    Ok((process, answer))
}

fn failure(answer: &Value) -> String {
    answer["error"].as_str().unwrap_or("no answer").to_owned()
}

/// The body of a submit, as all contenders write it.
fn body_size(topics: &[String]) -> usize {
    json!({"clientId": "0".repeat(40), "subscriptions": topics}).to_string().len()
}

/// A process that ends with its handle.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
