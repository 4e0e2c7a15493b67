//! Who to be. No secret is taken from the command line, which every user of the machine can read.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use clap::Args;

use crate::failure::Failure;

#[derive(Args)]
#[command(next_help_heading = "Login")]
pub(crate) struct Login {
    /// Log in as this user, by e-mail or name. The password is the environment's TIDINGS_PASSWORD, or is prompted for
    #[arg(long, value_name = "IDENTITY")]
    user: Option<String>,
    /// The collection of the user; _superusers for superusers
    #[arg(long, value_name = "COLLECTION", default_value = "users")]
    auth_collection: String,
    /// Read the password from this file, or from standard input if it is -
    #[arg(long, value_name = "FILE", requires = "user", conflicts_with_all = ["token_file", "ask_token"])]
    password_file: Option<PathBuf>,
    /// Read a token from this file, or from standard input if it is -. Without a login option the token is the
    /// environment's TIDINGS_TOKEN, and without one you are a guest
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "ask_token"])]
    token_file: Option<PathBuf>,
    /// Prompt for a token
    #[arg(long, conflicts_with = "user")]
    ask_token: bool,
    #[arg(long, hide = true, value_name = "TOKEN", num_args = 0..=1)]
    token: Option<Option<String>>,
    #[arg(long, hide = true, value_name = "PASSWORD", num_args = 0..=1)]
    password: Option<Option<String>>,
}

/// Who to be. No `Debug`: it holds secrets.
pub(crate) enum Identity {
    Guest,
    Token(String),
    Password { collection: String, user: String, password: String },
}

impl Login {
    /// Whose accounts they are.
    pub(crate) fn collection(&self) -> &str {
        &self.auth_collection
    }

    pub(crate) async fn identity(&self) -> Result<Identity, Failure> {
        for (given, name) in [(&self.token, "token"), (&self.password, "password")] {
            if given.is_some() {
                let variable = name.to_uppercase();
                return Err(Failure::usage(format!(
                    "a {name} on the command line can be read by every user of the machine; \
                     set TIDINGS_{variable}, or use --{name}-file FILE"
                )));
            }
        }
        if let Some(user) = &self.user {
            let password = match &self.password_file {
                Some(path) => from_file("password", path)?,
                None => match variable("TIDINGS_PASSWORD")? {
                    Some(password) => password,
                    None => prompt("password", "Password: ").await?,
                },
            };
            return Ok(Identity::Password {
                collection: self.auth_collection.clone(),
                user: user.clone(),
                password,
            });
        }
        let token = match (&self.token_file, self.ask_token) {
            (Some(path), _) => from_file("token", path)?,
            (None, true) => prompt("token", "Token: ").await?,
            (None, false) => match variable("TIDINGS_TOKEN")? {
                Some(token) => token,
                None => return Ok(Identity::Guest),
            },
        };
        let token = token.trim();
        if token.is_empty() {
            return Err(Failure::usage("invalid token: it is empty; leave the option out to be a guest"));
        }
        Ok(Identity::Token(token.to_owned()))
    }
}

/// What the environment says, if it says something.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::usage(format!("{name} is not text"))),
    }
}

/// The first line, since an editor ends it with a newline.
fn from_file(what: &str, path: &Path) -> Result<String, Failure> {
    let mut line = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_line(&mut line)
    } else {
        std::fs::File::open(path).and_then(|file| BufReader::new(file).read_line(&mut line))
    };
    read.map_err(|error| Failure::usage(format!("cannot read the {what} from {}: {error}", path.display())))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks on the terminal, without an echo.
#[cfg(unix)]
async fn prompt(what: &str, text: &str) -> Result<String, Failure> {
    use std::io::{IsTerminal, Write};
    let terminal = std::fs::File::options().read(true).write(true).open("/dev/tty");
    // A program that feeds us is not asked by the terminal that it may have.
    let terminal = terminal.ok().filter(|_| std::io::stdin().is_terminal()).ok_or_else(|| {
        let variable = what.to_uppercase();
        Failure::usage(format!(
            "there is no terminal to ask for the {what}; set TIDINGS_{variable}, or use --{what}-file FILE"
        ))
    })?;
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot read the {what} from the terminal: {error}"))
    };
    let reader = terminal.try_clone().map_err(|error| cannot(&error))?;
    // Before the prompt: who sees it may type. A signal drops this future, and with it the guard.
    let mut silent = Silent::new(terminal).map_err(|error| cannot(&error))?;
    silent.terminal.write_all(text.as_bytes()).map_err(|error| cannot(&error))?;
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line).map(|_| line)
    });
    let line = read.await.map_err(|error| cannot(&error))?.map_err(|error| cannot(&error))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal without an echo, until it is dropped.
#[cfg(unix)]
struct Silent {
    terminal: std::fs::File,
    before: nix::sys::termios::Termios,
}

#[cfg(unix)]
impl Silent {
    fn new(terminal: std::fs::File) -> nix::Result<Self> {
        use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { terminal, before })
    }
}

#[cfg(unix)]
impl Drop for Silent {
    fn drop(&mut self) {
        use std::io::Write;
        let _ =
            nix::sys::termios::tcsetattr(&self.terminal, nix::sys::termios::SetArg::TCSANOW, &self.before);
        // What was not echoed.
        let _ = self.terminal.write_all(b"\n");
    }
}

#[cfg(not(unix))]
async fn prompt(what: &str, _text: &str) -> Result<String, Failure> {
    let variable = what.to_uppercase();
    Err(Failure::usage(format!("set TIDINGS_{variable}, or use --{what}-file FILE: there is no prompt here")))
}
