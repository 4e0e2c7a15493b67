//! Subscribing, and what a subscription is.

use std::{
    fmt,
    future::IntoFuture,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, future::BoxFuture};
use serde::Serialize;

use crate::{
    Error, Event, SubscriptionState,
    client::request::query_text,
    delivery::batches::Batches,
    delivery::mailbox::{Callback, Mailbox},
    driver::shared::Handle,
    engine::{Limits, ListenerId, Overflow},
    topic::Topic,
};

/// A subscription about to be made. Made by [`Collection::subscribe`](crate::Collection::subscribe) and
/// [`Realtime::subscribe`](crate::Realtime::subscribe).
///
/// `.await` resolves when the server has acknowledged the topic or refused it; [`start`](Self::start) returns at once.
/// Where a future is wanted instead of an `.await`, as by most `block_on`, `spawn` and `join`, call
/// [`into_future`](IntoFuture::into_future).
///
/// ```no_run
/// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
/// let posts = client
///     .collection("posts")
///     .subscribe("*")
///     .filter(client.filter("status = {:s}", serde_json::json!({"s": "published"}))?)
///     .expand("author")
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a subscription is made when it is awaited or started"]
pub struct Subscribe {
    handle: Arc<Handle>,
    topic: Topic,
    limits: Limits,
    reader: Reader,
    only_if: Option<Predicate>,
    /// Where the callback looks for the id.
    told_id: Option<Arc<AtomicU64>>,
    /// How long to wait for the server's word.
    patience: Option<Duration>,
    /// What the builder was given and cannot use.
    error: Option<Error>,
}

impl Subscribe {
    pub(crate) fn new(handle: Arc<Handle>, topic: String) -> Self {
        let limits = handle.limits;
        let topic = Topic::new(topic);
        Self {
            handle,
            topic,
            limits,
            reader: Reader::Stream,
            only_if: None,
            told_id: None,
            patience: None,
            error: None,
        }
    }

    pub(crate) fn refused(handle: Arc<Handle>, topic: String, error: Error) -> Self {
        Self { error: Some(error), ..Self::new(handle, topic) }
    }

    /// Only changes of records that match come. Build it with [`Client::filter`](crate::Client::filter) when it has
    /// values from elsewhere.
    ///
    /// PocketBase sends nothing when a record leaves the filter, and nothing at all when the expression has an
    /// unknown field.
    pub fn filter(self, expression: impl Into<String>) -> Self {
        self.query("filter", expression.into())
    }

    /// Relations to put into `record.expand`, separated by commas.
    pub fn expand(self, relations: impl Into<String>) -> Self {
        self.query("expand", relations.into())
    }

    /// The only fields that `record` shall have, separated by commas. Without `id` among them,
    /// [`Event::record_id`] is `None`.
    pub fn fields(self, fields: impl Into<String>) -> Self {
        self.query("fields", fields.into())
    }

    /// How long to wait for the server's word, where it is waited for; as long as the client's
    /// [`subscribe_timeout`](crate::ClientBuilder::subscribe_timeout) unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.patience = Some(timeout);
        self
    }

    /// Any other query parameter, which the server's rules see as `@request.query`. A text is taken as it is, also one in
    /// a [`Value`](serde_json::Value); anything else as its JSON.
    pub fn query(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        match query_text(&name, &value) {
            Ok(text) => _ = self.topic.query.insert(name, text),
            Err(error) => self.error = Some(error),
        }
        self
    }

    /// Several query parameters, from a map or an array of pairs; each as [`query`](Self::query) does.
    pub fn queries<N: Into<String>, V: Serialize>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        pairs.into_iter().fold(self, |subscribe, (name, value)| subscribe.query(name, value))
    }

    /// A header for this topic, which the server's rules see as `@request.headers`: `X-Token` as `x_token`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.topic.headers.insert(name.into(), value.into());
        self
    }

    /// Several headers for this topic, from a map or an array of pairs.
    pub fn headers<N: Into<String>, V: Into<String>>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        pairs.into_iter().fold(self, |subscribe, (name, value)| subscribe.header(name, value))
    }

    /// How many events may wait for this listener, and what happens to the one too many. At most 64 MiB wait in
    /// any case. Unless set it is what the client was built with: 8,192 and [`Overflow::DropOldest`].
    pub fn queue(mut self, events: usize, overflow: Overflow) -> Self {
        if events == 0 {
            self.error =
                Some(Error::argument("queue", "it has no room; give it room for one event at least"));
        }
        self.limits = Limits { events, overflow, ..self.limits };
        self
    }

    /// Only events for which `predicate` is true come; notices always do. It runs where the event is taken out, on your
    /// task or on the callback thread, so an event that it turns down has stood in the queue. A server-side
    /// [`filter`](Self::filter) is cheaper where there is one; RustBaaS has none.
    pub fn only_if(mut self, predicate: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Self {
        self.only_if = Some(match self.only_if.take() {
            Some(first) => Box::new(move |event| first(event) && predicate(event)),
            None => Box::new(predicate),
        });
        self
    }

    /// Gives events to a callback instead of the stream. It runs on the client's callback thread, one event at a
    /// time in order, never on the one that does I/O; it may call anything, and block. If it panics, that is counted
    /// in [`Stats::panics`](crate::Stats::panics), and it is called for the next event.
    ///
    /// The subscription that `.await` gives is then only the handle: dropping it unsubscribes. As a stream it is empty.
    ///
    /// A callback that owns a [`Client`](crate::Client) keeps it open: a client whose subscription was
    /// [detached](Subscription::detach) with such a callback ends with [`Client::close`](crate::Client::close) alone.
    pub fn on(mut self, callback: impl FnMut(Event) + Send + 'static) -> Self {
        self.reader = Reader::Callback(Box::new(callback));
        self
    }

    /// The same for a host that knows its subscriptions by the id that
    /// [`subscribe_queued`](crate::blocking::Client::subscribe_queued) gives: the callback is told it too, since its first
    /// event may come before that call has returned.
    pub fn on_with_id(mut self, mut callback: impl FnMut(u64, Event) + Send + 'static) -> Self {
        let id = Arc::<AtomicU64>::default();
        self.told_id = Some(id.clone());
        self.on(move |event| callback(id.load(Ordering::Relaxed), event))
    }

    /// Gives events to the queue of a [`blocking::Client`](crate::blocking::Client), unless they go to a callback.
    pub(crate) fn in_batches(mut self, batches: Arc<Batches>) -> Self {
        if let Reader::Callback(_) = self.reader {
            return self;
        }
        if self.only_if.is_some() {
            self.error = Some(Error::argument("subscription", "events of the queue pass by no predicate"));
        }
        self.reader = Reader::Batches(batches);
        self
    }

    /// Subscribes and returns at once, whether there is a network or not; the connection is tried until there is one.
    /// See [`Subscription::ready`] for the server's answer.
    ///
    /// # Errors
    /// [`Error::InvalidTopic`] and [`Error::InvalidArgument`] for what cannot be right, and [`Error::Closed`].
    pub fn start(self) -> Result<Subscription, Error> {
        self.register(true)
    }

    /// Subscribes for a caller that waits: the first failure ends it.
    pub(crate) fn start_impatient(self) -> Result<Subscription, Error> {
        self.register(false)
    }

    fn register(self, patient: bool) -> Result<Subscription, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let Self { handle, topic, limits, reader, mut only_if, told_id, patience, .. } = self;
        let key = handle.dialect.key(&topic)?;
        let mailbox = match reader {
            Reader::Callback(mut callback) => {
                if let Some(only_if) = only_if.take() {
                    callback = filtered(callback, only_if);
                }
                handle.callbacks.start().map_err(Error::no_thread)?;
                Mailbox::for_callback(key.clone(), limits, handle.callbacks.clone(), callback)
            }
            Reader::Batches(batches) => Mailbox::for_batches(key.clone(), limits, batches),
            Reader::Stream => Mailbox::for_stream(key.clone(), limits),
        };
        if !patient {
            mailbox.set_awaited();
        }
        let now = handle.now();
        let mut engine = handle.engine();
        let id = engine.subscribe(now, &key, mailbox.clone(), patient)?;
        if let Some(patience) = patience {
            engine.set_patience(now, id, patience);
        }
        // Before the lock is let go, and anything is delivered.
        mailbox.set_id(id);
        if let Some(told_id) = told_id {
            told_id.store(id.0, Ordering::Relaxed);
        }
        drop(engine);
        Ok(Subscription { handle: Some(handle), id, mailbox, only_if })
    }
}

impl IntoFuture for Subscribe {
    type Output = Result<Subscription, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    /// # Errors
    /// Besides those of [`start`](Subscribe::start): [`Error::Refused`] with the server's status and message,
    /// [`Error::Network`] when a client that was never connected cannot reach the server, and when the server has not
    /// acknowledged the topic in time, what went wrong last, or [`Error::Timeout`].
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let subscription = self.start_impatient()?;
            subscription.ready().await?;
            Ok(subscription)
        })
    }
}

impl fmt::Debug for Subscribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe").field("topic", &self.topic.name).finish_non_exhaustive()
    }
}

/// Who will take the events.
enum Reader {
    Stream,
    Callback(Callback),
    Batches(Arc<Batches>),
}

/// One listener of one topic: a [`Stream`] of [`Event`]s that unsubscribes when dropped.
///
/// The stream ends when the host unsubscribes or closes the client, and after a refusal of the server, which is its
/// last event. It does not end when the network does.
pub struct Subscription {
    /// `None` once detached.
    handle: Option<Arc<Handle>>,
    id: ListenerId,
    mailbox: Arc<Mailbox>,
    only_if: Option<Predicate>,
}

/// What a host asks of an event.
type Predicate = Box<dyn Fn(&Event) -> bool + Send + Sync>;

fn filtered(mut callback: Callback, only_if: Predicate) -> Callback {
    Box::new(move |event| {
        if event.is_notice() || only_if(&event) {
            callback(event);
        }
    })
}

impl Subscription {
    pub(crate) fn id(&self) -> ListenerId {
        self.id
    }

    /// The topic as it stands on the wire, options included.
    pub fn topic(&self) -> &str {
        self.mailbox.topic()
    }

    /// Waits until the server has acknowledged the topic. For a subscription that was awaited it has.
    ///
    /// # Errors
    /// Why the subscription has ended, if it has.
    pub async fn ready(&self) -> Result<(), Error> {
        self.mailbox.ready().await
    }

    /// How the subscription stands.
    pub fn state(&self) -> SubscriptionState {
        let is_live = self.handle.as_ref().is_some_and(|handle| handle.engine().is_live(self.id));
        self.mailbox.state(is_live)
    }

    /// The next event; `None` when nothing more comes. Dropping the future loses nothing.
    #[expect(clippy::should_implement_trait, reason = "it is what streams call it")]
    pub fn next(&mut self) -> futures::stream::Next<'_, Self> {
        futures::StreamExt::next(self)
    }

    /// How many events this listener has lost because it did not keep up.
    pub fn lost(&self) -> u64 {
        self.mailbox.lost()
    }

    /// Ends the subscription, as dropping it does.
    pub fn unsubscribe(self) {}

    /// Keeps the subscription until the topic is unsubscribed or the client closed. For callbacks: the
    /// events of a stream that nobody holds go nowhere.
    pub fn detach(mut self) {
        self.handle = None;
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            let event = std::task::ready!(self.mailbox.poll_next(cx));
            match (&event, &self.only_if) {
                (Some(event), Some(only_if)) if !event.is_notice() && !only_if(event) => {}
                _ => return Poll::Ready(event),
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            let now = handle.now();
            handle.engine().unsubscribe(now, self.id);
            drop(self.mailbox.take_unused());
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("mailbox", &self.mailbox).finish()
    }
}
