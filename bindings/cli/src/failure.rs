//! Why the command ends early, and what the process ends with.

use std::io;

use tidings::Error;

/// A wrong argument, as clap says it too.
pub(crate) const USAGE: u8 = 2;
/// The server's last word.
pub(crate) const REFUSED: u8 = 3;

pub(crate) struct Failure {
    pub(crate) code: u8,
    text: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: Some(text.into()) }
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, text)
    }

    /// `None` where there is nothing to complain of.
    pub(crate) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::InvalidUrl { .. }
            | Error::InvalidTopic { .. }
            | Error::InvalidArgument { .. }
            | Error::Unsupported { .. } => USAGE,
            Error::Refused(_) => REFUSED,
            _ => 1,
        };
        Self::new(code, error.to_string())
    }
}

/// Of what is printed: a reader that left has seen enough.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { code: 0, text: None },
            _ => Self::new(1, format!("cannot write: {error}")),
        }
    }
}
