//! The background thread of a client whose host brings no executor.

use std::{sync::Arc, thread::JoinHandle};

#[cfg(feature = "tokio")]
use std::{
    future::ready,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
    time::Instant,
};

use futures::future::BoxFuture;

use crate::{Error, rt::Runtime, thread};
#[cfg(feature = "tokio")]
use crate::{
    lock::lock,
    rt::{BoxIo, Timer},
};

/// A runtime, and a function that runs a future on it to completion.
pub(crate) type Background = (Arc<dyn Runtime>, Box<dyn FnOnce(BoxFuture<'static, ()>) + Send>);

#[cfg(feature = "async-io")]
pub(crate) fn runtime() -> Result<Background, Error> {
    Ok((Arc::new(crate::rt::AsyncIo), Box::new(async_io::block_on)))
}

#[cfg(not(feature = "async-io"))]
pub(crate) use self::own_runtime as runtime;

/// A runtime that belongs to one thread and shares nothing with others: after a fork, a new one works in the child. The
/// reactor of async-io is shared by the whole process, and its thread does not exist in the child.
#[cfg(feature = "tokio")]
pub(crate) fn own_runtime() -> Result<Background, Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::no_thread)?;
    let own = Arc::new(Own(Mutex::new(Some(crate::rt::Tokio::new(runtime.handle().clone())))));
    let named = own.clone();
    let executor = Executor(Some(runtime));
    let block_on = move |future| {
        if let Some(runtime) = &executor.0 {
            runtime.block_on(future);
        }
        lock(&own.0).take();
    };
    Ok((named, Box::new(block_on)))
}

/// After a wrong setting it is dropped where the client was to be made. Within another tokio runtime, tokio panics at
/// that, since it waits for its threads; it has none.
#[cfg(feature = "tokio")]
struct Executor(Option<tokio::runtime::Runtime>);

#[cfg(feature = "tokio")]
impl Drop for Executor {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A runtime that closes its descriptors when its work is done, even while others hold a reference to it.
#[cfg(feature = "tokio")]
#[derive(Debug)]
struct Own(Mutex<Option<crate::rt::Tokio>>);

#[cfg(feature = "tokio")]
impl Runtime for Own {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
        match &*lock(&self.0) {
            Some(runtime) => runtime.connect(address),
            None => Box::pin(ready(Err(io::Error::other("the client is closed")))),
        }
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn Timer>> {
        match &*lock(&self.0) {
            Some(runtime) => runtime.new_timer(at),
            None => Box::pin(Over),
        }
    }
}

/// A timer of a client that is closed: it fires at once.
#[cfg(feature = "tokio")]
struct Over;

#[cfg(feature = "tokio")]
impl Timer for Over {
    fn reset(self: Pin<&mut Self>, _at: Instant) {}

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[cfg(not(feature = "tokio"))]
pub(crate) use self::runtime as own_runtime;

pub(crate) fn spawn(run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    thread::spawn("tidings", run).map_err(Error::no_thread)
}
