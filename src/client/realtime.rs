//! Raw topics, and the connection as such.

use std::{fmt, sync::Arc};

use crate::{
    Error, Subscribe,
    driver::shared::Handle,
    topic::{has_prefix, is_named},
};

/// Raw topics and the connection. Made by [`Client::realtime`](crate::Client::realtime); cheap to clone.
#[derive(Clone)]
pub struct Realtime {
    pub(crate) handle: Arc<Handle>,
}

impl Realtime {
    /// Subscribes to any topic, such as one that a server hook publishes on. See [`Subscribe`].
    ///
    /// `PB_CONNECT` is told each time a stream has been (re)established, after the server has acknowledged
    /// all other topics on it; its payload is `{"clientId": …}`.
    pub fn subscribe(&self, topic: &str) -> Subscribe {
        Subscribe::new(self.handle.clone(), topic.to_owned())
    }

    /// Ends the subscriptions to `topic`, whatever their options, or with `None` all of this client. Says how many
    /// listeners there were.
    pub fn unsubscribe(&self, topic: Option<&str>) -> usize {
        let now = self.handle.now();
        let is_wanted = |key: &str| topic.is_none_or(|topic| is_named(key, topic));
        self.handle.engine().unsubscribe_where(now, is_wanted)
    }

    /// Ends the subscriptions to all topics that begin with `prefix`. Says how many listeners there were.
    pub fn unsubscribe_by_prefix(&self, prefix: &str) -> usize {
        let now = self.handle.now();
        self.handle.engine().unsubscribe_where(now, |key| has_prefix(key, prefix))
    }

    /// Sets what to call when an open stream is gone, with the topics that are still wanted: with none the client
    /// has let go of the connection itself, otherwise it is about to reconnect. It replaces the handler before it, and
    /// runs on the callback thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn on_disconnect(&self, handler: impl Fn(&[String]) + Send + Sync + 'static) -> Result<(), Error> {
        self.handle.notices.set_on_disconnect(Some(Arc::new(handler)))
    }

    /// The server's id of the stream, while there is one; of the first, where many topics need several. RustBaaS gives
    /// its streams no id.
    pub fn client_id(&self) -> Option<String> {
        self.handle.engine().client_id().map(str::to_owned)
    }

    /// The topics subscribed to, as they stand on the wire, sorted.
    pub fn active_subscriptions(&self) -> Vec<String> {
        self.handle.engine().keys().iter().map(|key| key.to_string()).collect()
    }
}

impl fmt::Debug for Realtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Realtime").field("topics", &self.handle.engine().stats().topics).finish()
    }
}
