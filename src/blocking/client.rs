//! The client for hosts that block: a background thread, a queue and a descriptor.

use std::{
    fmt,
    future::{Future, IntoFuture},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Answer, Call, Held, Item, Subscription, Tag, TokenRequest, View,
    calls::{Calls, Work},
    process::Owned,
};
use crate::{
    Error, State, Subscribe, SubscriptionState, Watch, client::ClientBuilder, delivery::batches::Batches,
    engine::ListenerId, rt::Runtime,
};

/// A client whose calls block, with a queue for events. See the [module](super).
///
/// Dropping it closes the client, without waiting.
pub struct Client {
    inner: Owned<Inner>,
}

struct Inner {
    client: crate::Client,
    batches: Arc<Batches>,
    calls: Calls,
}

impl Client {
    /// Creates a client with the default settings.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`], and [`Error::Network`] when a thread cannot be created.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn new(url: &str) -> Result<Self, Error> {
        Builder::from(crate::Client::builder(url)).build()
    }

    /// The async client behind this one. Pass its futures to [`call`](Self::call) and its subscriptions to
    /// [`subscribe`](Self::subscribe); functions that are not `async`, such as [`stats`](crate::Client::stats), can be called
    /// directly.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn get(&self) -> Result<&crate::Client, Error> {
        self.inner.get().map(|inner| &inner.client)
    }

    /// Turns a future, such as a [`Request`](crate::Request) or a login, into a [`Call`] that can be waited for. It begins when
    /// it is first waited for, and makes progress only while it is.
    ///
    /// ```no_run
    /// # fn example(client: tidings::blocking::Client) -> Result<(), tidings::Error> {
    /// let users = client.get()?.collection("users");
    /// client.call(async move { users.auth_with_password("ann@example.com", "secret").await })?.wait()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn call<T, F>(&self, future: F) -> Result<Call<T>, Error>
    where
        F: IntoFuture<Output = Result<T, Error>>,
        F::IntoFuture: Send + 'static,
    {
        let batches = self.inner.get()?.batches.clone();
        Ok(Call::new(batches, future.into_future()))
    }

    /// Subscribes; events are read from the [`Subscription`] that the call returns. The request is made at once; the call waits
    /// until the server has acknowledged the topic.
    ///
    /// # Errors
    /// Those of [`Subscribe::start`], and [`Error::Forked`]. The call returns the other errors of `subscribe(..).await`.
    pub fn subscribe(&self, subscribe: Subscribe) -> Result<Call<Subscription>, Error> {
        let batches = self.inner.get()?.batches.clone();
        let subscription = subscribe.start_awaited()?;
        self.call(async move {
            subscription.ready().await?;
            Ok(Subscription::new(subscription, batches))
        })
    }

    /// Subscribes without waiting for the server, with or without a network. See [`Subscribe::start`].
    ///
    /// # Errors
    /// Those of [`Subscribe::start`], and [`Error::Forked`].
    pub fn start(&self, subscribe: Subscribe) -> Result<Subscription, Error> {
        let batches = self.inner.get()?.batches.clone();
        Ok(Subscription::new(subscribe.start()?, batches))
    }

    /// Subscribes with an id instead of a handle, for a host that reads many subscriptions in one place, as the C and Python
    /// bindings do. Events go to the [callback](Subscribe::on) if there is one, otherwise into the queue: see
    /// [`next`](Self::next). The request is made at once; the call waits until the server has acknowledged the topic, and
    /// dropping it earlier withdraws the subscription.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_queued(&self, subscribe: Subscribe) -> Result<(u64, Call<()>), Error> {
        let (id, call) = self.subscribe_held(subscribe)?;
        Ok((id, call.map(drop)))
    }

    /// [`subscribe_queued`](Self::subscribe_queued), and no event of it is in the queue before what the call returns is
    /// dropped: for a host that has to note the id first.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_held(&self, subscribe: Subscribe) -> Result<(u64, Call<Held>), Error> {
        let batches = self.inner.get()?.batches.clone();
        let subscription = subscribe.held().in_batches(batches).start_awaited()?;
        let ListenerId(id) = subscription.id();
        let call = self.call(async move {
            subscription.ready().await?;
            let held = subscription.hold();
            subscription.detach();
            Ok(held)
        })?;
        Ok((id, call))
    }

    /// [`subscribe_queued`](Self::subscribe_queued) without waiting for the server, with or without a network. See
    /// [`Subscribe::start`].
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_queued(&self, subscribe: Subscribe) -> Result<u64, Error> {
        let subscription = subscribe.in_batches(self.inner.get()?.batches.clone()).start()?;
        let ListenerId(id) = subscription.id();
        subscription.detach();
        Ok(id)
    }

    /// Makes a live view. The call returns when it has its first proven list.
    ///
    /// # Errors
    /// [`Error::Forked`]. The call returns those of `watch(..).await`: see [`Watch`].
    pub fn watch(&self, watch: Watch) -> Result<Call<View>, Error> {
        let batches = self.inner.get()?.batches.clone();
        self.call(async move { Ok(View::new(watch.await?, batches)) })
    }

    /// Makes a live view without waiting for the server, with or without a network. See [`Watch::start`].
    ///
    /// # Errors
    /// Those of [`Watch::start`], and [`Error::Forked`].
    pub fn start_watch(&self, watch: Watch) -> Result<View, Error> {
        let batches = self.inner.get()?.batches.clone();
        Ok(View::new(watch.start()?, batches))
    }

    /// Makes a live view of which the queue tells: each time that there is something to take that was not there before, and
    /// when it has ended, an [`Item::Changed`] with its id and `tag` comes to [`next`](Self::next); unless the view has a
    /// [callback](Watch::on). Nothing is told before [`View::release`]. The call waits for the first list; without it, see
    /// [`start_watch_queued`](Self::start_watch_queued).
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    pub fn watch_queued(&self, watch: Watch, tag: Option<Tag>) -> Result<(u64, Call<View>), Error> {
        let (id, watch) = self.told(watch, tag)?;
        Ok((id, self.watch(watch)?))
    }

    /// [`watch_queued`](Self::watch_queued) without waiting for the server, with or without a network.
    ///
    /// # Errors
    /// As [`start_watch`](Self::start_watch).
    pub fn start_watch_queued(&self, watch: Watch, tag: Option<Tag>) -> Result<(u64, View), Error> {
        let (id, watch) = self.told(watch, tag)?;
        Ok((id, self.start_watch(watch)?))
    }

    fn told(&self, watch: Watch, tag: Option<Tag>) -> Result<(u64, Watch), Error> {
        let inner = self.inner.get()?;
        let id = inner.calls.next_id();
        let waker = inner.batches.view_waker(id, tag);
        Ok((id, watch.held().on_news(move || waker.wake_by_ref())))
    }

    /// [`start_queued`](Self::start_queued), and no event of it is in the queue before the second value is dropped.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_held(&self, subscribe: Subscribe) -> Result<(u64, Held), Error> {
        let subscription = subscribe.held().in_batches(self.inner.get()?.batches.clone()).start()?;
        let ListenerId(id) = subscription.id();
        let held = subscription.hold();
        subscription.detach();
        Ok((id, held))
    }

    /// Submits a call that nobody waits for, and returns its id. It begins, and makes progress, while the queue is
    /// taken with [`next`](Self::next), and its result is an [`Item::Completed`] there, with the `tag`. At most 10,000 run
    /// at once.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when too many run, [`Error::Closed`], and [`Error::Forked`].
    pub fn submit<T: Send + 'static>(&self, call: Call<T>, tag: Option<Tag>) -> Result<u64, Error> {
        self.submit_work(Work::Ask(call.map(|answer| Box::new(answer) as Answer)), tag)
    }

    /// [`subscribe_queued`](Self::subscribe_queued) that nobody waits for. It returns the id of the subscription, whose
    /// first item is an [`Item::Acknowledged`], or an [`Item::Ended`] that says why there is none. Events never go to a
    /// callback. [`unsubscribe`](Self::unsubscribe) cancels it.
    ///
    /// # Errors
    /// Those of [`Subscribe::start`] and of [`submit`](Self::submit).
    pub fn submit_subscribe(&self, subscribe: Subscribe, tag: Option<Tag>) -> Result<u64, Error> {
        let subscribe = match &tag {
            Some(tag) => subscribe.tagged(tag.clone()),
            None => subscribe,
        };
        let (id, call) = self.subscribe_held(subscribe)?;
        self.submit_work(Work::Subscribe(id, call), tag)?;
        Ok(id)
    }

    fn submit_work(&self, work: Work, tag: Option<Tag>) -> Result<u64, Error> {
        let inner = self.inner.get()?;
        if let State::Closed { why: None } = inner.client.state() {
            return Err(Error::Closed);
        }
        let id = inner.calls.add(work, tag)?;
        inner.batches.waker(id).wake();
        Ok(id)
    }

    /// Cancels a submitted call, and returns whether it was running: then nothing of it comes into the queue. A request that
    /// has been sent may still take effect at the server.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn cancel(&self, call: u64) -> Result<bool, Error> {
        Ok(self.inner.get()?.calls.cancel(call))
    }

    /// The ids of at most `most` subscriptions with something to take, in the order of their turns.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn ready(&self, most: usize) -> Result<Vec<u64>, Error> {
        Ok(self.inner.get()?.batches.ready(most))
    }

    /// Appends up to `most` items of one subscription to `batch`, without waiting, and returns their number.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::Forked`].
    pub fn take(&self, id: u64, batch: &mut Vec<Item>, most: usize) -> Result<usize, Error> {
        self.inner.get()?.batches.take_of(id, batch, most.max(1))
    }

    /// Pauses a subscription, or goes on. While it is paused, its events stay in its own queue, under its overflow policy, and
    /// do not make the [descriptor](Self::descriptor) readable: for a host whose own queue for it is full. If it ends, its
    /// events and its end are delivered nevertheless. An expired id is ignored.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn pause(&self, id: u64, paused: bool) -> Result<(), Error> {
        let mailbox = self.get()?.handle.engine().outlet(ListenerId(id)).cloned();
        if let Some(mailbox) = mailbox {
            mailbox.pause(paused);
        }
        Ok(())
    }

    /// Ends a subscription. The id of one that has ended is ignored.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn unsubscribe(&self, id: u64) -> Result<(), Error> {
        let handle = &self.get()?.handle;
        let now = handle.now();
        handle.engine().unsubscribe(now, ListenerId(id));
        Ok(())
    }

    /// The state of a subscription; `Ended` for an expired id.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn subscription_state(&self, id: u64) -> Result<SubscriptionState, Error> {
        let engine = self.get()?.handle.engine();
        let id = ListenerId(id);
        Ok(engine.outlet(id).map_or(SubscriptionState::Ended, |mailbox| mailbox.state(engine.is_live(id))))
    }

    /// Why no event can come to a subscription: see [`Subscription::denial`](crate::Subscription::denial).
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn denial(&self, id: u64) -> Result<Option<Error>, Error> {
        let engine = self.get()?.handle.engine();
        Ok(engine.outlet(ListenerId(id)).and_then(|mailbox| mailbox.denial()))
    }

    /// How many events were dropped from the queue of a subscription because they were not taken in time; 0 for an expired id.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn lost(&self, id: u64) -> Result<u64, Error> {
        let engine = self.get()?.handle.engine();
        Ok(engine.outlet(ListenerId(id)).map_or(0, |mailbox| mailbox.lost()))
    }

    /// Waits for items in the queue, appends up to `most` of them to `batch` and returns their number. It returns 0 when
    /// `limit` has passed; with `None` it waits indefinitely.
    ///
    /// Any number of threads may call it; each item goes to one of them. Subscriptions take turns, so that one with a backlog
    /// does not delay the others.
    ///
    /// # Errors
    /// [`Error::Closed`], at once, when the client is closed, also by another thread, and [`Error::Forked`].
    pub fn next(&self, batch: &mut Vec<Item>, most: usize, limit: Option<Duration>) -> Result<usize, Error> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let inner = self.inner.get()?;
        let before = batch.len();
        while inner.batches.take(batch, most.max(1), deadline)? > 0 {
            inner.calls.advance(batch, before);
            if batch.len() > before {
                break;
            }
        }
        Ok(batch.len() - before)
    }

    /// A counter that changes when another user's token is set: events that [`next`](Self::next) returned before the last
    /// change were intended for the old user. The [`Gap`](crate::Action::Gap) that reports the change may be among them.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn forgotten(&self) -> Result<u64, Error> {
        Ok(self.inner.get()?.batches.forgotten())
    }

    /// A descriptor that is readable exactly while [`next`](Self::next) would not wait. It is the same one as long as the
    /// client is open.
    ///
    /// # Errors
    /// [`Error::Network`] when the descriptor cannot be created, and [`Error::Forked`].
    #[cfg(unix)]
    pub fn descriptor(&self) -> Result<super::Descriptor, Error> {
        let made = self.inner.get()?.batches.descriptor();
        made.map_err(|error| Error::no_resource("descriptor", error))
    }

    /// Sets the callback for changes of the state. It runs on the callback thread and replaces the previous handler.
    ///
    /// # Errors
    /// [`Error::Network`] when the callback thread cannot be created, and [`Error::Forked`].
    pub fn on_state(&self, handler: impl Fn(&State) + Send + Sync + 'static) -> Result<(), Error> {
        self.get()?.handle.notices.set_on_state(Arc::new(handler))
    }

    /// Closes the client and waits, at most a second, until no socket and no thread of it is left. It does not wait for a
    /// callback that is running. Calls that are waiting on other threads return [`Error::Closed`].
    ///
    /// In a forked child it does nothing.
    pub fn close(&self) {
        if let Ok(Inner { client, calls, .. }) = self.inner.get() {
            calls.clear();
            let mut closed = client.close();
            let _ = super::call::wait_for(Some(CLOSE), |cx| std::pin::Pin::new(&mut closed).poll(cx));
        }
    }
}

/// The driver goes with the call; this is for a machine that has no time for its last steps.
const CLOSE: Duration = Duration::from_secs(1);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("client", &self.get()).finish()
    }
}

/// The settings for a new client: those of the [async builder](ClientBuilder), from which it is made, and what goes into the
/// queue.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    builder: ClientBuilder,
    notices: bool,
    token_requests: bool,
}

impl From<ClientBuilder> for Builder {
    fn from(builder: ClientBuilder) -> Self {
        Self { builder, notices: false, token_requests: false }
    }
}

impl Builder {
    /// Also queues changes of the connection: [`Item::State`] and [`Item::Disconnected`].
    pub fn notices(mut self) -> Self {
        self.notices = true;
        self
    }

    /// Requests tokens through the queue, with [`Item::TokenWanted`]. For when, see [`ClientBuilder::token_provider`].
    pub fn token_requests(mut self) -> Self {
        self.token_requests = true;
        self
    }

    /// A function that returns tokens and may block and call anything: each call runs on a thread of its own. For when it is
    /// called, see [`ClientBuilder::token_provider`].
    pub fn token_provider<E: fmt::Display>(
        self,
        provider: impl Fn() -> Result<Option<String>, E> + Send + Sync + 'static,
    ) -> Self {
        self.on_token_request(move |request| {
            // Not only for the text: a panic that passes by drops the request, which counts as a failure.
            let asked = catch_unwind(AssertUnwindSafe(&provider));
            request.answer(match asked {
                Ok(token) => token.map_err(|error| error.to_string()),
                Err(_) => Err("it panicked".into()),
            });
        })
    }

    /// The same for a host that answers later, from any thread: `ask` may keep the request and return.
    pub fn on_token_request(mut self, ask: impl Fn(TokenRequest) + Send + Sync + 'static) -> Self {
        let ask = Arc::new(ask);
        self.builder = self.builder.token_provider(move || {
            let ask = ask.clone();
            let (request, answered) = TokenRequest::new();
            let asks = move || ask(request);
            let started = crate::thread::spawn("tidings-token", asks);
            async move {
                started
                    .map_err(|error| format!("the operating system could not create a thread: {error}"))?;
                answered.await
            }
        });
        self
    }

    /// Creates a client whose I/O runs on a background thread of its own, named `tidings`.
    ///
    /// # Errors
    /// As [`ClientBuilder::build`].
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn build(self) -> Result<Client, Error> {
        let (builder, batches) = self.queue();
        let client = builder.build_on(crate::driver::background::own_runtime()?, Some(batches.clone()))?;
        Ok(Client { inner: Owned::new(Inner { client, batches, calls: Calls::default() }) })
    }

    /// Creates a client whose I/O runs in the returned future. See [`ClientBuilder::connect_with`].
    ///
    /// # Errors
    /// As [`ClientBuilder::build`].
    pub fn connect_with(
        self,
        runtime: impl Runtime,
    ) -> Result<(Client, impl Future<Output = ()> + Send + 'static), Error> {
        let (builder, batches) = self.queue();
        let (client, driver) = builder.assemble(Arc::new(runtime), Some(batches.clone()))?;
        Ok((Client { inner: Owned::new(Inner { client, batches, calls: Calls::default() }) }, driver))
    }

    fn queue(self) -> (ClientBuilder, Arc<Batches>) {
        let Self { mut builder, notices, token_requests } = self;
        let batches = Batches::new(notices);
        if token_requests {
            // Not a strong one: the queue may hold what holds the client.
            let batches = Arc::downgrade(&batches);
            builder = builder.token_provider(move || {
                let batches = batches.upgrade();
                async move {
                    match batches {
                        Some(batches) => batches.ask_token().await,
                        None => Err("the client is gone".to_owned()),
                    }
                }
            });
        }
        (builder, batches)
    }
}
