//! Subscriptions and how they are made.

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
    delivery::batches::{Batches, Tag},
    delivery::mailbox::{Callback, Held, Mailbox, Queued},
    driver::shared::Handle,
    engine::{Limits, ListenerId, Overflow},
    topic::Topic,
};

/// A builder for a subscription. Returned by [`Collection::subscribe`](crate::Collection::subscribe) and
/// [`Realtime::subscribe`](crate::Realtime::subscribe).
///
/// `.await` resolves when the server has acknowledged the topic or refused it; [`start`](Self::start) returns at once.
/// Functions that take a future, such as `block_on`, `spawn` and `join`, need
/// [`into_future`](IntoFuture::into_future).
///
/// Dropping it, also while it is awaited, withdraws the subscription.
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
    id_for_callback: Option<Arc<AtomicU64>>,
    /// How long to wait for the acknowledgement.
    timeout: Option<Duration>,
    /// It is a collection's, so the server can be asked whether it can deliver anything.
    is_checked: bool,
    /// How a host takes its events in batches.
    queued: Queued,
    /// What is wrong with an argument of the builder.
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
            id_for_callback: None,
            timeout: None,
            queued: Queued::default(),
            is_checked: false,
            error: None,
        }
    }

    pub(crate) fn refused(handle: Arc<Handle>, topic: String, error: Error) -> Self {
        Self { error: Some(error), ..Self::new(handle, topic) }
    }

    pub(crate) fn checked(self) -> Self {
        Self { is_checked: true, ..self }
    }

    /// Delivers only changes of records that match this expression, evaluated by the server. Use
    /// [`Client::filter`](crate::Client::filter) to insert values from outside safely.
    ///
    /// PocketBase sends nothing when a record stops matching. An unknown field is refused with status 400, see
    /// [`verify_topics`](crate::ClientBuilder::verify_topics). A syntax error that no server accepts is
    /// [`Error::InvalidArgument`] with its column, before any network access.
    /// RustBaaS filters only in [workspaces](crate::ClientBuilder::rustbaas_workspace).
    pub fn filter(self, expression: impl Into<String>) -> Self {
        self.query("filter", expression.into())
    }

    /// Relations to include in `record.expand`, separated by commas.
    pub fn expand(self, relations: impl Into<String>) -> Self {
        self.query("expand", relations.into())
    }

    /// Limits `record` to these fields, separated by commas. Without `id` among them, [`Event::record_id`] is `None`.
    pub fn fields(self, fields: impl Into<String>) -> Self {
        self.query("fields", fields.into())
    }

    /// How long `.await` waits for the server to acknowledge the topic. Default: the client's
    /// [`subscribe_timeout`](crate::ClientBuilder::subscribe_timeout). It has no effect on [`start`](Self::start).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Any other query parameter. API rules see it as `@request.query`. A text is taken as it is, also one in
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

    /// A header for this topic. API rules see it as `@request.headers`, `X-Token` as `x_token`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.topic.headers.insert(name.into(), value.into());
        self
    }

    /// Several headers for this topic, from a map or an array of pairs.
    pub fn headers<N: Into<String>, V: Into<String>>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        pairs.into_iter().fold(self, |subscribe, (name, value)| subscribe.header(name, value))
    }

    /// How many events may be queued for this listener, and what happens when the queue is full. A queue holds at most
    /// 64 MiB, whatever the number. Default: the client's [`queue`](crate::ClientBuilder::queue), which is 8,192 events
    /// and [`Overflow::DropOldest`].
    ///
    /// There is **no back-pressure** towards the server: the socket is always read, and a slow listener loses events from
    /// its own queue, which [`Action::Lagged`](crate::Action::Lagged) reports.
    pub fn queue(mut self, events: usize, overflow: Overflow) -> Self {
        if events == 0 {
            self.error = Some(Error::argument("queue", "it must hold at least one event"));
        }
        self.limits = Limits { events, overflow, ..self.limits };
        self
    }

    /// Delivers only events for which `predicate` is true; notices are always delivered. It runs where events are taken
    /// from the queue, on your task or on the callback thread, so rejected events still take up queue space. A
    /// [`filter`](Self::filter) on the server is cheaper, where the server has filters; older RustBaaS servers have
    /// none.
    pub fn only_if(mut self, predicate: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Self {
        self.only_if = Some(match self.only_if.take() {
            Some(first) => Box::new(move |event| first(event) && predicate(event)),
            None => Box::new(predicate),
        });
        self
    }

    /// Delivers events to a callback instead of the stream. The callback runs on the client's callback thread, one event
    /// at a time and in order, never on the I/O thread. It may block and call anything. A panic is counted in
    /// [`Stats::panics`](crate::Stats::panics), and the callback is called again for the next event.
    ///
    /// The [`Subscription`] is then only a handle: dropping it unsubscribes. As a stream it is empty.
    ///
    /// A callback that owns a [`Client`](crate::Client) keeps that client open: if its subscription is
    /// [detached](Subscription::detach), only [`Client::close`](crate::Client::close) closes the client.
    pub fn on(mut self, callback: impl FnMut(Event) + Send + 'static) -> Self {
        self.reader = Reader::Callback(Box::new(callback));
        self
    }

    /// For the C and Python bindings: [`on`](Self::on), with the id that
    /// [`subscribe_queued`](crate::blocking::Client::subscribe_queued) returns, since the first event may arrive before
    /// that call returns.
    #[doc(hidden)]
    pub fn on_with_id(mut self, mut callback: impl FnMut(u64, Event) + Send + 'static) -> Self {
        let id = Arc::<AtomicU64>::default();
        self.id_for_callback = Some(id.clone());
        self.on(move |event| callback(id.load(Ordering::Relaxed), event))
    }

    /// Its events stay in the queue until what [`Subscription::hold`] returns is dropped.
    pub(crate) fn held(mut self) -> Self {
        self.queued.held = true;
        self
    }

    /// For the queue of a [`blocking::Client`](crate::blocking::Client): each item of the subscription carries this value,
    /// which is dropped when the subscription and the last of them are.
    pub fn tagged(mut self, tag: Tag) -> Self {
        self.queued.tag = Some(tag);
        self
    }

    /// For the queue of a [`blocking::Client`](crate::blocking::Client): it also has an
    /// [item](crate::blocking::Item::Acknowledged) for the first time that the server acknowledges the topic.
    pub fn acknowledged(mut self) -> Self {
        self.queued.acknowledged = true;
        self
    }

    /// Delivers events to the queue of a [`blocking::Client`](crate::blocking::Client), unless they go to a callback.
    pub(crate) fn in_batches(mut self, batches: Arc<Batches>) -> Self {
        if let Reader::Callback(_) = self.reader {
            return self;
        }
        if self.only_if.is_some() {
            self.error = Some(Error::argument("only_if", "it is not applied to queued events"));
        }
        self.reader = Reader::Batches(batches);
        self
    }

    /// Subscribes and returns at once, with or without a network: the client tries to connect until it succeeds. For the
    /// server's answer see [`Subscription::ready`].
    ///
    /// # Errors
    /// [`Error::InvalidTopic`], [`Error::InvalidArgument`], [`Error::Unsupported`] and [`Error::Closed`].
    pub fn start(self) -> Result<Subscription, Error> {
        self.register(true)
    }

    /// Subscribes for a caller that waits: the first failure ends it.
    pub(crate) fn start_awaited(self) -> Result<Subscription, Error> {
        self.register(false)
    }

    fn register(self, patient: bool) -> Result<Subscription, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let Self {
            handle,
            topic,
            limits,
            reader,
            mut only_if,
            id_for_callback,
            timeout,
            is_checked,
            queued,
            ..
        } = self;
        let key = handle.dialect.key(&topic)?;
        // The filter of a topic that is not of records may be anything.
        let is_checked_here = is_checked && handle.dialect.reads_pocketbase_filters();
        if is_checked_here && let Some(filter) = topic.query.get("filter").filter(|filter| !filter.is_empty())
        {
            crate::filter::check(filter).map_err(|error| Error::argument("filter", error.to_string()))?;
        }
        let check = is_checked.then(|| handle.dialect.check(&topic)).flatten();
        let mailbox = match reader {
            Reader::Callback(mut callback) => {
                if let Some(only_if) = only_if.take() {
                    callback = filtered(callback, only_if);
                }
                handle.callbacks.start().map_err(Error::no_thread)?;
                Mailbox::for_callback(key.clone(), limits, handle.callbacks.clone(), callback)
            }
            Reader::Batches(batches) => Mailbox::for_batches(key.clone(), limits, batches, queued),
            Reader::Stream => Mailbox::for_stream(key.clone(), limits),
        };
        if !patient {
            mailbox.set_awaited();
        }
        let now = handle.now();
        let mut engine = handle.engine();
        let id = engine.subscribe(now, &key, mailbox.clone(), patient, check)?;
        if let Some(timeout) = timeout {
            engine.set_patience(now, id, timeout);
        }
        // Before the lock is released, and anything is delivered.
        mailbox.set_id(id);
        if let Some(given) = id_for_callback {
            given.store(id.0, Ordering::Relaxed);
        }
        drop(engine);
        Ok(Subscription { handle: Some(handle), id, mailbox, only_if })
    }
}

impl IntoFuture for Subscribe {
    type Output = Result<Subscription, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    /// # Errors
    /// Those of [`start`](Subscribe::start), and:
    /// - [`Error::Refused`] with the server's status and message;
    /// - [`Error::Network`] when the server cannot be reached;
    /// - when the server has not acknowledged the topic within the timeout: the last failure, or [`Error::Timeout`].
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let subscription = self.start_awaited()?;
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
/// The stream ends when you unsubscribe or close the client, and after the server has refused the subscription, which is
/// its last event ([`Action::Refused`](crate::Action::Refused)). It does not end when the connection is lost.
#[must_use = "dropping it unsubscribes: keep it, or `detach` it"]
pub struct Subscription {
    /// `None` once detached.
    handle: Option<Arc<Handle>>,
    id: ListenerId,
    mailbox: Arc<Mailbox>,
    only_if: Option<Predicate>,
}

/// What `only_if` was given.
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

    /// What keeps its events back.
    pub(crate) fn hold(&self) -> Held {
        Held::new(self.mailbox.clone())
    }

    /// The topic as sent to the server, options included.
    pub fn topic(&self) -> &str {
        self.mailbox.topic()
    }

    /// Waits until the server has acknowledged the topic. A subscription that was awaited is ready already; this is for
    /// one that was [started](Subscribe::start).
    ///
    /// ```no_run
    /// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
    /// // Returns at once, also without a network.
    /// let posts = client.collection("posts").subscribe("*").start()?;
    ///
    /// // Later, when it matters: from here on, changes are delivered.
    /// posts.ready().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The reason why the subscription has ended, if it has.
    pub async fn ready(&self) -> Result<(), Error> {
        self.mailbox.ready().await
    }

    /// The state of the subscription.
    pub fn state(&self) -> SubscriptionState {
        let is_live = self.handle.as_ref().is_some_and(|handle| handle.engine().is_live(self.id));
        self.mailbox.state(is_live)
    }

    /// Why no event can come. While the state is [`Denied`](SubscriptionState::Denied): what the server answers to a list
    /// with the same options. While it is [`Pending`](SubscriptionState::Pending) or
    /// [`Interrupted`](SubscriptionState::Interrupted): the last refusal of the topic, with 429 or 5xx, which the client
    /// submits again. `None` otherwise.
    pub fn denial(&self) -> Option<Error> {
        self.mailbox.denial()
    }

    /// The next event; `None` when the subscription has ended. Dropping the future loses no event.
    #[expect(clippy::should_implement_trait, reason = "it is what streams call it")]
    pub fn next(&mut self) -> futures::stream::Next<'_, Self> {
        futures::StreamExt::next(self)
    }

    /// How many events were dropped from this listener's queue because it was too slow. Each loss is also reported in the
    /// stream, by [`Action::Lagged`](crate::Action::Lagged).
    ///
    /// ```no_run
    /// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
    /// use tidings::Overflow;
    ///
    /// // Only the newest state of each record matters here.
    /// let mut prices = client.collection("prices").subscribe("*").queue(1_000, Overflow::Conflate).await?;
    /// while let Some(event) = prices.next().await {
    ///     println!("{:?}", event.record_id());
    /// }
    /// println!("{} events were dropped", prices.lost());
    /// # Ok(()) }
    /// ```
    pub fn lost(&self) -> u64 {
        self.mailbox.lost()
    }

    /// Ends the subscription, as dropping it does.
    pub fn unsubscribe(self) {}

    /// Gives up the handle without unsubscribing: the subscription lasts until the topic is unsubscribed or the client is
    /// closed. Use it with a [callback](Subscribe::on): nobody can read a stream without its handle.
    ///
    /// ```no_run
    /// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
    /// let posts = client.collection("posts");
    /// posts.subscribe("*").on(|event| println!("{}", event.action())).await?.detach();
    ///
    /// // Much later, from anywhere:
    /// posts.unsubscribe(Some("*"));
    /// # Ok(()) }
    /// ```
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
