//! `tidings`, the command: a host of the crate like C and Python. It parses arguments, prints, and decides little:
//! `tail/template.rs`, `tail/line.rs` and `doctor/judge.rs` do so, without I/O.

mod bench;
mod doctor;
mod failure;
mod filter;
mod hub;
mod login;
mod pages;
mod server;
mod tail;
mod text;

use std::{ffi::OsString, io::Write};

use async_signal::{Signal, Signals};
use clap::{Parser, Subcommand};
use failure::Failure;
use futures::StreamExt;

/// Realtime events of PocketBase, BosBase and RustBaaS on the command line.
#[derive(Parser)]
#[command(name = "tidings", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Tail(Box<tail::Options>),
    Doctor(Box<doctor::Options>),
    Filter(filter::Options),
    Bench(Box<bench::Options>),
    Hub(hub::Options),
    Completions(pages::Completions),
    Man(pages::Man),
}

impl Command {
    async fn run(self) -> Result<u8, Failure> {
        match self {
            Self::Tail(options) => tail::run(*options).await,
            Self::Doctor(options) => doctor::run(*options).await,
            Self::Filter(options) => filter::run(&options),
            Self::Bench(options) => bench::run(*options).await,
            Self::Hub(options) => hub::run(options).await,
            Self::Completions(options) => pages::completions(&options),
            Self::Man(options) => pages::man(&options),
        }
    }
}

/// As shells say it of a program that a signal has ended.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Runs the command, whose name is the first argument, and returns what the process is to end with.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help is no error; and whoever closed the pipe needs none.
            let _ = error.print();
            return if error.use_stderr() { failure::USAGE } else { 0 };
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&Failure::new(1, format!("cannot start: {error}"))),
    };
    let code = match runtime.block_on(until_a_signal(cli.command.run())) {
        Ok(code) => code,
        Err(failure) => complain(&failure),
    };
    // A write to a reader that does not read may still be waiting; it must not hold up the end.
    runtime.shutdown_background();
    code
}

async fn until_a_signal(work: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    tokio::select! {
        // First, so that they are listened for before the work begins.
        biased;
        code = signalled() => Ok(code),
        result = work => result,
    }
}

async fn signalled() -> u8 {
    let wanted = if cfg!(unix) { &[Signal::Int, Signal::Term][..] } else { &[Signal::Int] };
    let Ok(mut signals) = Signals::new(wanted) else { return std::future::pending().await };
    match signals.next().await {
        Some(Ok(Signal::Int)) => INTERRUPTED,
        Some(Ok(_)) => TERMINATED,
        _ => std::future::pending().await,
    }
}

fn complain(failure: &Failure) -> u8 {
    if let Some(text) = failure.text() {
        let _ = writeln!(std::io::stderr(), "tidings: {text}");
    }
    failure.code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a shell splits a line without variables.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quoted) = (vec![String::new()], false);
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                '#' | '|' if !quoted => break,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn the_lines_of_the_page_are_understood() {
        let page = include_str!("../../../docs/cli.md");
        let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("tidings ")).collect();
        assert!(lines.len() > 10);
        for line in lines {
            if let Err(error) = Cli::try_parse_from(words(line)) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn the_definition_of_the_commands_has_no_contradiction() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
