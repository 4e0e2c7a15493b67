//! Counts the instructions of hot paths and compares them with what they were.
//!
//! `guard [--update] [PREFIX]` runs each workload whose name begins with PREFIX under
//! callgrind, which counts exactly and whatever else the machine does, and fails if one takes
//! over 5 % more instructions than `bench/guard/GROUP.json` says; a group is what
//! stands before the first slash of a name. `--update` writes the new figures down instead.
//! The figures belong to one version of the compiler and to machines with AVX2, which memchr
//! and simdutf8 ask for at run time.

mod decoder;
mod dispatch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::{Map, Value};

/// Something to count the instructions of, once.
pub struct Workload {
    pub name: String,
    /// Does what need not be counted, and returns the rest.
    pub prepare: Box<dyn FnOnce() -> Box<dyn FnOnce()>>,
}

/// A further hot path is a further module, with a list like this one.
fn workloads() -> Vec<Workload> {
    let mut all = decoder::workloads();
    all.extend(dispatch::workloads());
    all
}

/// How much more a workload may take.
const TOLERANCE: f64 = 0.05;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = &arguments[..]
        && flag == "--run"
    {
        let workload = workloads().into_iter().find(|workload| workload.name == *name);
        counted((workload.expect("it has this name").prepare)());
        return ExitCode::SUCCESS;
    }
    let update = arguments.iter().any(|argument| argument == "--update");
    let prefix = arguments.iter().find(|argument| !argument.starts_with("--")).map_or("", String::as_str);

    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Workload { name, .. } in workloads() {
        if name.starts_with(prefix) {
            let group = name.split('/').next().unwrap_or_default().to_owned();
            groups.entry(group).or_default().push(name);
        }
    }
    let mut risen = false;
    for (group, names) in groups {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{group}.json"));
        let mut figures = read(&file);
        for name in names {
            let count = instructions(&name);
            let before = figures.get(&name).and_then(Value::as_u64);
            let rise = before.map(|before| count as f64 / before as f64 - 1.0);
            let verdict = match rise {
                _ if update => "",
                None => "not in the file",
                Some(rise) if rise > TOLERANCE => "TOO MANY",
                Some(_) => "",
            };
            risen |= !verdict.is_empty();
            let rise = rise.map_or("new".into(), |rise| format!("{:+.1} %", rise * 100.0));
            println!("{name:48}{count:>12}{rise:>10}  {verdict}");
            if update {
                figures.insert(name, count.into());
            }
        }
        if update {
            std::fs::write(&file, format!("{:#}\n", Value::from(figures))).expect("the file can be written");
        }
    }
    if risen { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn read(file: &Path) -> Map<String, Value> {
    match std::fs::read(file) {
        Ok(json) => serde_json::from_slice(&json).expect("the file holds an object"),
        Err(_) => Map::new(),
    }
}

/// What callgrind is told to count, by this name.
#[inline(never)]
fn counted(run: Box<dyn FnOnce()>) {
    run();
}

/// Runs the workload in a process of its own under callgrind.
fn instructions(name: &str) -> u64 {
    let profile = std::env::temp_dir().join(format!("guard-{}.callgrind", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=guard::counted"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe().unwrap_or_else(|_| PathBuf::from("guard")))
        .args(["--run", name])
        .output()
        .expect("valgrind is installed");
    let text = std::fs::read_to_string(&profile).unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("summary:")?.trim().parse().ok());
    // What is left over from a run that has failed is of no use to anybody.
    _ = std::fs::remove_file(&profile);
    match total {
        Some(total) if output.status.success() => total,
        _ => panic!("{name}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}
