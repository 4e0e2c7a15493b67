//! Who to be. No secret is taken from the command line, which every user of the machine can read.

use std::{
    io::{BufRead, IsTerminal},
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

    pub(crate) fn identity(&self) -> Result<Identity, Failure> {
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
                    None => prompt("password", "Password: ")?,
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
            (None, true) => prompt("token", "Token: ")?,
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
        std::fs::File::open(path).and_then(|file| std::io::BufReader::new(file).read_line(&mut line))
    };
    read.map_err(|error| Failure::usage(format!("cannot read the {what} from {}: {error}", path.display())))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks on the terminal, without an echo.
fn prompt(what: &str, text: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        let variable = what.to_uppercase();
        return Err(Failure::usage(format!(
            "there is no terminal to ask for the {what}; set TIDINGS_{variable}, or use --{what}-file FILE"
        )));
    }
    rpassword::prompt_password(text)
        .map_err(|error| Failure::usage(format!("cannot read the {what} from the terminal: {error}")))
}
