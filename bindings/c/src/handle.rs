//! What a host holds a client by

use std::{os::fd::AsRawFd, sync::OnceLock};

use tidings_core::{
    State,
    blocking::{self, Descriptor},
};

use crate::failure::Error;

/// A client of one server: one connection that all its subscriptions share.
pub struct Client {
    pub(crate) client: blocking::Client,
    pub(crate) watched: Watched,
}

impl Client {
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
#[derive(Default)]
pub(crate) struct Watched(OnceLock<Descriptor>);

impl Watched {
    pub(crate) fn keep(&self, made: Descriptor) -> i32 {
        self.0.get_or_init(|| made).as_raw_fd()
    }
}
