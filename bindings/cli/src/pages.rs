//! Completions for shells, and pages for `man`.

use std::{io::Write, path::PathBuf};

use clap::{Args, CommandFactory};

use crate::{Cli, failure::Failure};

/// Prints completions for a shell
#[derive(Args)]
pub(crate) struct Completions {
    shell: clap_complete::Shell,
}

/// Prints a page for man, or writes all into a folder
#[derive(Args)]
pub(crate) struct Man {
    /// The command that the page is of
    command: Option<String>,
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    out: Option<PathBuf>,
}

pub(crate) fn completions(options: &Completions) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "tidings", &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(0)
}

pub(crate) fn man(options: &Man) -> Result<u8, Failure> {
    let mut command = Cli::command();
    command.build();
    if let Some(folder) = &options.out {
        clap_mangen::generate_to(command, folder)
            .map_err(|error| Failure::usage(format!("cannot write into {}: {error}", folder.display())))?;
        return Ok(0);
    }
    let page = match &options.command {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => return Err(Failure::usage(format!("there is no command {name:?}"))),
        },
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    std::io::stdout().write_all(&text)?;
    Ok(0)
}
