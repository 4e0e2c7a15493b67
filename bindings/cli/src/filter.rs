//! `tidings filter`: what is made of a filter, without a server.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::Value;

use crate::{
    failure::{Failure, USAGE},
    text::tame,
};

/// Shows what a filter means, and whether records pass it, without a server
///
/// It ends with 0 when all records are in, 1 when one is out, 3 when only the server can say, and 2 when no server
/// reads the filter.
#[derive(Args)]
pub(crate) struct Options {
    /// The filter, e.g. 'status = "open" && n > 3'
    #[arg(value_name = "EXPR")]
    expression: String,
    /// Records as JSON, one after the other, or standard input if it is -
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The version of PocketBase; by default what all agree on
    #[arg(long, value_name = "VERSION", value_parser = ["any", "0.22", "0.23", "0.39"], default_value = "any")]
    server: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<u8, Failure> {
    let records = options.record.as_deref().map(read).transpose()?.unwrap_or_default();
    let report = match tidings::explain_filter(&options.expression, &options.server, &records) {
        Ok(report) => report,
        Err((column, reason)) => {
            if options.json {
                let error = serde_json::json!({"error": reason, "column": column});
                writeln!(std::io::stdout(), "{error}")?;
                return Ok(USAGE);
            }
            let line = tame(&options.expression);
            return Err(Failure::usage(format!(
                "{reason} at column {column}\n  {line}\n  {:>width$}",
                "^",
                width = column
            )));
        }
    };
    let mut out = std::io::stdout();
    if options.json {
        writeln!(out, "{report}")?;
    } else {
        print(&mut out, &report)?;
    }
    let answers: Vec<&str> =
        report["answers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    Ok(match () {
        () if answers.contains(&"out") => 1,
        () if answers.contains(&"unknown") => 3,
        () => 0,
    })
}

fn print(out: &mut impl Write, report: &Value) -> std::io::Result<()> {
    let list = |name: &str| -> Vec<&str> {
        report[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    writeln!(out, "fields  {}", list("fields").join(", "))?;
    let plan = match report["plan"].as_str() {
        Some("exact") => "exact: the client decides".to_owned(),
        Some("clock") => {
            "exact, with the clock: the client decides, and the answer changes with time".to_owned()
        }
        Some("partly") => {
            format!("partly: the server is asked where these decide: {}", list("ask").join("; "))
        }
        _ => format!("the server decides: {}", report["why"].as_str().unwrap_or_default()),
    };
    writeln!(out, "plan    {}", tame(&plan))?;
    for answer in list("answers") {
        writeln!(out, "record  {answer}")?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Value>, Failure> {
    let cannot = |why: String| Failure::usage(format!("cannot read records from {}: {why}", path.display()));
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| cannot(error.to_string()))?;
    let records: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&text).into_iter().collect();
    let records = records.map_err(|error| cannot(error.to_string()))?;
    match records.iter().all(Value::is_object) {
        true => Ok(records),
        false => Err(cannot("a record is a JSON object".to_owned())),
    }
}
