//! What a client reports about itself, and not to one listener: its state, and streams that are gone.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use crate::{
    Error, State,
    delivery::{batches::Batches, callbacks::Callbacks, watchers::Watchers},
    lock::lock,
};

type DisconnectHandler = Arc<dyn Fn(&[String]) + Send + Sync>;
type StateHandler = Arc<dyn Fn(&State) + Send + Sync>;

/// Where it is reported: watchers, callbacks, and the queue of a host that takes batches.
pub(crate) struct Notices {
    pub(crate) states: Watchers<State>,
    callbacks: Arc<Callbacks>,
    batches: Option<Arc<Batches>>,
    on_disconnect: Mutex<Option<DisconnectHandler>>,
    on_state: Mutex<Option<StateHandler>>,
}

impl Notices {
    pub(crate) fn new(callbacks: Arc<Callbacks>, batches: Option<Arc<Batches>>) -> Self {
        Self {
            states: Watchers::default(),
            callbacks,
            batches,
            on_disconnect: Mutex::default(),
            on_state: Mutex::default(),
        }
    }

    pub(crate) fn set_on_disconnect(&self, handler: Option<DisconnectHandler>) -> Result<(), Error> {
        if handler.is_some() {
            self.callbacks.start().map_err(Error::no_thread)?;
        }
        let old = std::mem::replace(&mut *lock(&self.on_disconnect), handler);
        // The host's code may run when it is dropped.
        drop(old);
        Ok(())
    }

    pub(crate) fn set_on_state(&self, handler: StateHandler) -> Result<(), Error> {
        self.callbacks.start().map_err(Error::no_thread)?;
        let old = lock(&self.on_state).replace(handler);
        drop(old);
        Ok(())
    }

    pub(crate) fn report_state(&self, state: State) {
        self.states.report(&state);
        if let Some(batches) = &self.batches {
            batches.report_state(&state);
        }
        let handler = lock(&self.on_state).clone();
        if let Some(handler) = handler {
            self.callbacks.call(move || handler(&state));
        }
    }

    /// An open stream has ended; `topics` are still subscribed.
    pub(crate) fn report_disconnected(&self, topics: Vec<Arc<str>>) {
        if let Some(batches) = &self.batches {
            batches.report_disconnected(&topics);
        }
        let handler = lock(&self.on_disconnect).clone();
        if let Some(handler) = handler {
            let topics: Vec<String> = topics.iter().map(|topic| topic.to_string()).collect();
            self.callbacks.call(move || handler(&topics));
        }
    }

    /// A topic that nobody waited for is acknowledged and can deliver nothing, or is refused for now.
    pub(crate) fn report_denied(&self, topic: &str, error: &Error, for_now: bool) {
        if let Some(batches) = &self.batches {
            batches.report_denied(topic, error, for_now);
        }
    }

    /// Ends the queue of batches, before the subscriptions end, so that their ends are not reported one by one.
    pub(crate) fn close_batches(&self) {
        self.batches.iter().for_each(|batches| batches.close());
    }

    /// Drops the handlers: they may own what owns this client, and are not called any more.
    pub(crate) fn drop_handlers(&self) {
        let handlers = (lock(&self.on_disconnect).take(), lock(&self.on_state).take());
        drop(handlers);
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").finish_non_exhaustive()
    }
}
