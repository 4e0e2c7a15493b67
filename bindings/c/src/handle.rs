//! What a host holds a client by

#[cfg(unix)]
use std::{os::fd::AsRawFd, sync::OnceLock};

#[cfg(unix)]
use tidings_core::blocking::Descriptor;
use tidings_core::{State, blocking};

use crate::failure::Error;

/// A client of one server: one connection that all its subscriptions share.
pub struct Client {
    pub(crate) client: blocking::Client,
    #[cfg(unix)]
    watched: Watched,
}

impl Client {
    pub(crate) fn new(client: blocking::Client) -> Self {
        Self {
            client,
            #[cfg(unix)]
            watched: Watched::default(),
        }
    }

    #[cfg(unix)]
    pub(crate) fn fd(&self) -> Option<i32> {
        Some(self.watched.keep(self.client.descriptor().ok()?))
    }

    #[cfg(not(unix))]
    pub(crate) fn fd(&self) -> Option<i32> {
        None
    }

    pub(crate) fn get(&self) -> &blocking::Client {
        &self.client
    }

    /// The client behind it, unless it was closed: for what would have no effect then.
    pub(crate) fn open(&self) -> Result<&tidings_core::Client, Error> {
        let client = self.client.get()?;
        match client.state() {
            State::Closed { why: None } => Err(tidings_core::Error::Closed.into()),
            _ => Ok(client),
        }
    }
}

/// What a host polls: the same descriptor until it frees what that tells of, also after the end.
#[cfg(unix)]
#[derive(Default)]
pub(crate) struct Watched(OnceLock<Descriptor>);

#[cfg(unix)]
impl Watched {
    pub(crate) fn keep(&self, made: Descriptor) -> i32 {
        self.0.get_or_init(|| made).as_raw_fd()
    }
}
