//! What a client runs on whose host brings no executor.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use futures::future::BoxFuture;

use crate::{Error, rt::Runtime, shared::no_thread};

/// A runtime, and what polls a future on it until that is done.
pub(crate) type Background = (Arc<dyn Runtime>, Box<dyn FnOnce(BoxFuture<'static, ()>) + Send>);

#[cfg(feature = "async-io")]
pub(crate) fn runtime() -> Result<Background, Error> {
    Ok((Arc::new(crate::rt::AsyncIo), Box::new(async_io::block_on)))
}

#[cfg(not(feature = "async-io"))]
pub(crate) use self::own_runtime as runtime;

/// A runtime that belongs to one thread and shares nothing with others: after a fork, a new one works in the child. The
/// reactor of async-io is one for the whole process, and its thread is gone in the child for good.
#[cfg(feature = "tokio")]
pub(crate) fn own_runtime() -> Result<Background, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
    let handle = crate::rt::Tokio::new(runtime.handle().clone());
    Ok((Arc::new(handle), Box::new(move |future| runtime.block_on(future))))
}

#[cfg(not(feature = "tokio"))]
pub(crate) use self::runtime as own_runtime;

pub(crate) fn spawn(run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    thread::Builder::new().name("tidings".into()).spawn(run).map_err(no_thread)
}
