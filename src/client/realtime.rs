//! Raw topics, and the connection itself.

use std::{fmt, sync::Arc};

use crate::{
    Error, Subscribe,
    driver::shared::Handle,
    topic::{has_prefix, is_named},
};

/// Raw topics and the connection. Returned by [`Client::realtime`](crate::Client::realtime); cheap to clone.
#[derive(Clone)]
pub struct Realtime {
    pub(crate) handle: Arc<Handle>,
}

impl Realtime {
    /// Subscribes to any topic, such as one that a server hook publishes to. See [`Subscribe`].
    ///
    /// The topic `PB_CONNECT` delivers an event each time a stream has been (re)established, after the server has
    /// acknowledged all other topics on it. Its payload is `{"clientId": …}`.
    ///
    /// ```no_run
    /// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
    /// let mut jobs = client.realtime().subscribe("jobs/finished").await?;
    /// while let Some(event) = jobs.next().await {
    ///     if event.is_notice() {
    ///         println!("messages may have been missed");
    ///     } else {
    ///         // A hook may send anything; `event.json()` parses it if it is JSON.
    ///         println!("{}", String::from_utf8_lossy(event.raw()));
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn subscribe(&self, topic: &str) -> Subscribe {
        Subscribe::new(self.handle.clone(), topic.to_owned())
    }

    /// Ends all subscriptions to `topic`, regardless of their options; with `None`, all subscriptions of this client.
    /// Returns the number of subscriptions ended.
    pub fn unsubscribe(&self, topic: Option<&str>) -> usize {
        let now = self.handle.now();
        let is_wanted = |key: &str| topic.is_none_or(|topic| is_named(key, topic));
        self.handle.engine().unsubscribe_where(now, is_wanted)
    }

    /// Ends all subscriptions whose topic begins with `prefix`. Returns the number of subscriptions ended.
    pub fn unsubscribe_by_prefix(&self, prefix: &str) -> usize {
        let now = self.handle.now();
        self.handle.engine().unsubscribe_where(now, |key| has_prefix(key, prefix))
    }

    /// Sets the callback for the end of an open stream. It receives the topics that are still subscribed: if there are
    /// none, the client closed the connection itself; otherwise it is about to reconnect.
    ///
    /// It replaces the previous handler and runs on the callback thread. For the reason, and for the return of the
    /// connection, see [`Client::states`](crate::Client::states).
    ///
    /// ```
    /// let client = tidings::Client::new("http://127.0.0.1:8090")?;
    /// client.realtime().on_disconnect(|topics| {
    ///     if !topics.is_empty() {
    ///         println!("connection lost, reconnecting for {} topics", topics.len());
    ///     }
    /// })?;
    /// # Ok::<(), tidings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Network`] when the callback thread cannot be created.
    pub fn on_disconnect(&self, handler: impl Fn(&[String]) + Send + Sync + 'static) -> Result<(), Error> {
        self.handle.notices.set_on_disconnect(Some(Arc::new(handler)))
    }

    /// The id that the server gave to the stream (`clientId`), while one is open; that of the first, where many topics
    /// need several streams. `None` with RustBaaS, whose streams have no id.
    pub fn client_id(&self) -> Option<String> {
        self.handle.engine().client_id().map(str::to_owned)
    }

    /// The topics currently subscribed, as sent to the server (options included), sorted.
    pub fn active_subscriptions(&self) -> Vec<String> {
        self.handle.engine().keys().iter().map(|key| key.to_string()).collect()
    }
}

impl fmt::Debug for Realtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Realtime").field("topics", &self.handle.engine().stats().topics).finish()
    }
}
