//! The command as a program of its own; the Python package brings it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(tidings_cli::run(std::env::args_os()))
}
