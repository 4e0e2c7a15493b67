//! The command, run as a shell does: what it prints can be awaited line by line.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

/// Long enough for a loaded machine; no test waits this long and passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The command with nothing of this process's environment that it would take for its own.
pub(crate) fn tidings(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(arguments).stdin(Stdio::null());
    for name in ["TIDINGS_TOKEN", "TIDINGS_PASSWORD", "TIDINGS_SUPERUSER_TOKEN", "HTTP_PROXY", "http_proxy"] {
        command.env_remove(name);
    }
    command
}

/// A program that runs. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

/// What a program has left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<String>,
    pub(crate) err: Vec<String>,
}

pub(crate) fn start(command: &mut Command) -> Running {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
    Running { child, out, err }
}

/// Runs it to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    start(command).end()
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (told, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if told.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Running {
    /// The next line of standard output.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.out.recv_timeout(PATIENCE).expect("a line of standard output")
    }

    pub(crate) fn line_within(&self, time: Duration) -> Option<String> {
        self.out.recv_timeout(time).ok()
    }

    /// Waits for a line of standard error that contains this.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.err.recv_timeout(PATIENCE) {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("{text:?} was not said; {seen:#?} was");
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn tell(&mut self, text: &str) {
        self.child.stdin.take().expect("a pipe").write_all(text.as_bytes()).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = self.wait();
        // The pipes end with the program.
        while let Ok(line) = self.out.recv_timeout(PATIENCE) {
            out.push(line);
        }
        while let Ok(line) = self.err.recv_timeout(PATIENCE) {
            err.push(line);
        }
        Ended { code: status.code(), out, err }
    }

    fn wait(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "the program does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
