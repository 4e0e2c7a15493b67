//! What a client runs on whose host brings no executor.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use crate::{Error, driver::Driver, rt::Runtime, shared::no_thread};

/// A runtime, and what polls a driver on it until the driver is done.
type Background = (Arc<dyn Runtime>, Box<dyn FnOnce(Driver) + Send>);

#[cfg(feature = "async-io")]
pub(crate) fn runtime() -> Result<Background, Error> {
    Ok((Arc::new(crate::rt::AsyncIo), Box::new(async_io::block_on)))
}

#[cfg(all(feature = "tokio", not(feature = "async-io")))]
pub(crate) fn runtime() -> Result<Background, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
    let handle = crate::rt::Tokio::new(runtime.handle().clone());
    Ok((Arc::new(handle), Box::new(move |driver| runtime.block_on(driver))))
}

pub(crate) fn spawn(run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    thread::Builder::new().name("tidings".into()).spawn(run).map_err(no_thread)
}
