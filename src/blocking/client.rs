//! The client with a background thread, a queue and a descriptor.

use std::{
    fmt,
    future::{Future, IntoFuture},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Call, Item, Subscription, TokenRequest, process::Owned};
use crate::{
    Error, State, Subscribe, SubscriptionState, client::ClientBuilder, delivery::batches::Batches,
    engine::ListenerId, rt::Runtime,
};

/// A client whose calls block, with a queue for events. See the [module](super).
///
/// Dropping it closes it, without waiting.
pub struct Client {
    inner: Owned<Inner>,
}

struct Inner {
    client: crate::Client,
    batches: Arc<Batches>,
}

impl Client {
    /// A client with the default settings.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`], and when the system gives no thread.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn new(url: &str) -> Result<Self, Error> {
        Builder::from(crate::Client::builder(url)).build()
    }

    /// The async client behind this one: what it returns is for [`call`](Self::call), [`subscribe`](Self::subscribe) and
    /// [`subscribe_queued`](Self::subscribe_queued). What does not wait, such as [`stats`](crate::Client::stats), can be
    /// called as it is.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn get(&self) -> Result<&crate::Client, Error> {
        self.inner.get().map(|inner| &inner.client)
    }

    /// Something to wait for: a [`Request`](crate::Request), a log-in, or any other future. It begins when it is first
    /// waited for, and goes on only while it is.
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

    /// A subscription that events are taken from by itself. It is asked for at once; the call waits for the server's word.
    ///
    /// # Errors
    /// What can be told before the network, as by [`Subscribe::start`], and [`Error::Forked`]; the call has the others
    /// of `subscribe(..).await`.
    pub fn subscribe(&self, subscribe: Subscribe) -> Result<Call<Subscription>, Error> {
        let batches = self.inner.get()?.batches.clone();
        let subscription = subscribe.start_impatient()?;
        self.call(async move {
            subscription.ready().await?;
            Ok(Subscription::new(subscription, batches))
        })
    }

    /// The same, at once and whether there is a network or not. See [`Subscribe::start`].
    ///
    /// # Errors
    /// Those of [`Subscribe::start`], and [`Error::Forked`].
    pub fn start(&self, subscribe: Subscribe) -> Result<Subscription, Error> {
        let batches = self.inner.get()?.batches.clone();
        Ok(Subscription::new(subscribe.start()?, batches))
    }

    /// A subscription with an id instead of a handle. Its events go to its [callback](Subscribe::on), and without one
    /// into the queue, see [`next`](Self::next). It is asked for at once; the call waits for the server's word. Dropped
    /// before that, it withdraws the subscription.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_queued(&self, subscribe: Subscribe) -> Result<(u64, Call<()>), Error> {
        let batches = self.inner.get()?.batches.clone();
        let subscription = subscribe.in_batches(batches).start_impatient()?;
        let ListenerId(id) = subscription.id();
        let call = self.call(async move {
            subscription.ready().await?;
            subscription.detach();
            Ok(())
        })?;
        Ok((id, call))
    }

    /// The same, at once and whether there is a network or not. See [`Subscribe::start`].
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_queued(&self, subscribe: Subscribe) -> Result<u64, Error> {
        let subscription = subscribe.in_batches(self.inner.get()?.batches.clone()).start()?;
        let ListenerId(id) = subscription.id();
        subscription.detach();
        Ok(id)
    }

    /// Ends a subscription. A spent id is harmless.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn unsubscribe(&self, id: u64) -> Result<(), Error> {
        let handle = &self.get()?.handle;
        let now = handle.now();
        handle.engine().unsubscribe(now, ListenerId(id));
        Ok(())
    }

    /// How a subscription stands; `Ended` for a spent id.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn subscription_state(&self, id: u64) -> Result<SubscriptionState, Error> {
        let engine = self.get()?.handle.engine();
        let id = ListenerId(id);
        Ok(engine.outlet(id).map_or(SubscriptionState::Ended, |mailbox| mailbox.state(engine.is_live(id))))
    }

    /// How many events a subscription has lost because they were not taken in time; 0 for a spent id.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn lost(&self, id: u64) -> Result<u64, Error> {
        let engine = self.get()?.handle.engine();
        Ok(engine.outlet(ListenerId(id)).map_or(0, |mailbox| mailbox.lost()))
    }

    /// Moves up to `most` items of the queue to the end of `batch`, and says how many they were. Waits until there is
    /// one, but not longer than `limit`, which gives 0; with `None` it waits for ever.
    ///
    /// Any number of threads may take; each item goes to one of them. Subscriptions take turns, so one with a backlog
    /// does not keep the others waiting.
    ///
    /// # Errors
    /// [`Error::Closed`], at once, when the client is closed, here or elsewhere, and [`Error::Forked`].
    pub fn next(&self, batch: &mut Vec<Item>, most: usize, limit: Option<Duration>) -> Result<usize, Error> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.inner.get()?.batches.take(batch, most.max(1), deadline)
    }

    /// Changes when another user's token is set: events that [`next`](Self::next) took before it last changed were meant
    /// for the old user. The [`Gap`](crate::Action::Gap) that tells of it may be among them.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn forgotten(&self) -> Result<u64, Error> {
        Ok(self.inner.get()?.batches.forgotten())
    }

    /// A descriptor that is readable exactly while [`next`](Self::next) would not wait. It is one as long as the client is
    /// open.
    ///
    /// # Errors
    /// [`Error::Network`] when the system gives no descriptor, and [`Error::Forked`].
    #[cfg(unix)]
    pub fn descriptor(&self) -> Result<super::Descriptor, Error> {
        let made = self.inner.get()?.batches.descriptor();
        made.map_err(|error| Error::no_resource("descriptor", error))
    }

    /// Sets what to call with each change of the state, on the callback thread. It replaces the handler before it.
    ///
    /// # Errors
    /// When the system gives no thread, and [`Error::Forked`].
    pub fn on_state(&self, handler: impl Fn(&State) + Send + Sync + 'static) -> Result<(), Error> {
        self.get()?.handle.notices.set_on_state(Arc::new(handler))
    }

    /// Closes the client, and waits until no socket and no thread of it is left, within a second; for a callback that is
    /// running it does not wait. Whoever waits in another call gets [`Error::Closed`].
    ///
    /// In a forked child it does nothing.
    pub fn close(&self) {
        if let Ok(client) = self.get() {
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

/// The settings of a client to be: those of the [async one](ClientBuilder), which it is made from, and what the queue is
/// for.
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
    /// Puts changes of the connection into the queue too: [`Item::State`] and [`Item::Disconnected`].
    pub fn notices(mut self) -> Self {
        self.notices = true;
        self
    }

    /// Asks for tokens through the queue, with [`Item::TokenWanted`]. See [`ClientBuilder::token_provider`] for when.
    pub fn token_requests(mut self) -> Self {
        self.token_requests = true;
        self
    }

    /// Where tokens come from, for a provider that blocks: each question runs on a thread of its own. See
    /// [`ClientBuilder::token_provider`] for when it is asked; it may call anything.
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

    /// The same for a host that answers later, from wherever it likes: `ask` may keep the request and return.
    pub fn on_token_request(mut self, ask: impl Fn(TokenRequest) + Send + Sync + 'static) -> Self {
        let ask = Arc::new(ask);
        self.builder = self.builder.token_provider(move || {
            let ask = ask.clone();
            let (request, answered) = TokenRequest::new();
            let asks = move || ask(request);
            let started = std::thread::Builder::new().name("tidings-token".into()).spawn(asks);
            async move {
                started.map_err(|error| format!("the system gave no thread: {error}"))?;
                answered.await
            }
        });
        self
    }

    /// A client whose I/O runs on a background thread of its own, named `tidings`.
    ///
    /// # Errors
    /// What is wrong with the URL or with a setting, or that the system gives no thread.
    #[cfg(any(feature = "async-io", feature = "tokio"))]
    pub fn build(self) -> Result<Client, Error> {
        let (builder, batches) = self.queue();
        let client = builder.build_on(crate::driver::background::own_runtime()?, Some(batches.clone()))?;
        Ok(Client { inner: Owned::new(Inner { client, batches }) })
    }

    /// A client whose I/O runs in the future returned. See [`ClientBuilder::connect_with`].
    ///
    /// # Errors
    /// What is wrong with the URL or with a setting.
    pub fn connect_with(
        self,
        runtime: impl Runtime,
    ) -> Result<(Client, impl Future<Output = ()> + Send + 'static), Error> {
        let (builder, batches) = self.queue();
        let (client, driver) = builder.assemble(Arc::new(runtime), Some(batches.clone()))?;
        Ok((Client { inner: Owned::new(Inner { client, batches }) }, driver))
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
