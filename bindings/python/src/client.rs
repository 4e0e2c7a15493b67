//! The client, and what its queue gives.

use std::{
    collections::VecDeque,
    future::{Future, IntoFuture, poll_fn},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::task::AtomicWaker;
use pyo3::{
    exceptions::PyRuntimeError,
    prelude::*,
    types::{PyDict, PyList},
};
use tidings::{
    AuthResponse, Collection, Error, Subscribe, SubscriptionState,
    blocking::{self, Item},
};

use crate::{
    call::{Answer, Call},
    error::{exception, raise},
    event,
    interpreter::{Inside, let_go},
    json::from_value,
    options,
    state::State,
    subscription::Subscription,
    view::View,
    wait,
};

/// What an item is.
pub(crate) mod kind {
    pub(crate) const EVENT: u8 = 0;
    pub(crate) const ENDED: u8 = 1;
    pub(crate) const STATE: u8 = 2;
    pub(crate) const DISCONNECTED: u8 = 3;
    pub(crate) const TOKEN_WANTED: u8 = 4;
    pub(crate) const WOKEN: u8 = 5;
    pub(crate) const NOTICE: u8 = 6;
    pub(crate) const DENIED: u8 = 7;
    pub(crate) const PARKED: u8 = 8;
    pub(crate) const CHANGED: u8 = 9;
}

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct Client {
    client: blocking::Client,
    /// Taken by `wait` and not yet by `take`.
    ahead: Mutex<VecDeque<Item>>,
    #[cfg(unix)]
    descriptor: Mutex<Option<blocking::Descriptor>>,
}

impl Client {
    pub(crate) fn get(&self) -> PyResult<&tidings::Client> {
        self.client.get().map_err(raise)
    }

    fn subscribing(
        &self,
        collection: Option<&str>,
        topic: &str,
        options: &Bound<'_, PyDict>,
    ) -> PyResult<Subscribe> {
        let client = self.get()?;
        let subscribe = match collection {
            Some(name) => client.collection(name).subscribe(topic),
            None => client.realtime().subscribe(topic),
        };
        options::subscribe(subscribe, options)
    }

    pub(crate) fn call(
        &self,
        future: impl Future<Output = Result<Answer, Error>> + Send + 'static,
    ) -> PyResult<Call> {
        self.client.call(future).map(Call::new).map_err(raise)
    }

    fn log_in<F>(&self, collection: &str, log_in: impl FnOnce(Collection) -> F) -> PyResult<Call>
    where
        F: Future<Output = Result<AuthResponse, Error>> + Send + 'static,
    {
        let answer = log_in(self.get()?.collection(collection));
        self.call(async { answer.await.map(Answer::LoggedIn) })
    }
}

#[pymethods]
impl Client {
    #[new]
    fn new(url: &str, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let client = options::client(url, options)?.build().map_err(raise)?;
        Ok(Self {
            client,
            ahead: Mutex::default(),
            #[cfg(unix)]
            descriptor: Mutex::default(),
        })
    }

    fn name(&self) -> PyResult<String> {
        Ok(self.get()?.name().to_owned())
    }

    fn fileno(&self) -> PyResult<i32> {
        #[cfg(unix)]
        {
            use std::os::fd::AsRawFd;
            let descriptor = self.client.descriptor().map_err(raise)?;
            Ok(self
                .descriptor
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(descriptor)
                .as_raw_fd())
        }
        #[cfg(not(unix))]
        Ok(-1)
    }

    fn forgotten(&self) -> PyResult<u64> {
        self.client.forgotten().map_err(raise)
    }

    /// Nobody watches the descriptor any more.
    fn release(&self) {
        #[cfg(unix)]
        self.descriptor.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn take<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Option<Bound<'py, PyList>>> {
        let mut batch: Vec<Item> = {
            let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = ahead.len().min(most);
            ahead.drain(..taken).collect()
        };
        let room = most.saturating_sub(batch.len());
        if room > 0 {
            match self.client.next(&mut batch, room, Some(Duration::ZERO)) {
                Err(Error::Closed) if batch.is_empty() => return Ok(None),
                Ok(_) | Err(Error::Closed) => {}
                Err(error) => return Err(raise(error)),
            }
        }
        // As in `json::to_python`.
        let _inside = Inside::enter();
        let items = batch.into_iter().map(|item| in_python(py, item)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, items).map(Some)
    }

    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        wait(py, timeout, |limit| {
            let lock = || self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
            if !lock().is_empty() {
                return Ok(true);
            }
            let mut batch = Vec::new();
            match self.client.next(&mut batch, 256, Some(limit)) {
                // Which `take` will tell.
                Err(Error::Closed) => return Ok(true),
                taken => taken?,
            };
            lock().extend(batch);
            Ok(!lock().is_empty())
        })
    }

    fn subscribe(
        &self,
        collection: Option<&str>,
        topic: &str,
        options: &Bound<'_, PyDict>,
        wait: bool,
    ) -> PyResult<(u64, Option<Call>)> {
        let subscribe = self.subscribing(collection, topic, options)?;
        if !wait {
            return Ok((self.client.start_queued(subscribe).map_err(raise)?, None));
        }
        let (id, call) = self.client.subscribe_queued(subscribe).map_err(raise)?;
        Ok((id, Some(Call::new(call.map(|()| Answer::Nothing)))))
    }

    fn stream<'py>(
        &self,
        py: Python<'py>,
        collection: Option<&str>,
        topic: &str,
        options: &Bound<'_, PyDict>,
        wait: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let subscribe = self.subscribing(collection, topic, options)?;
        if wait {
            let call = self.client.subscribe(subscribe).map_err(raise)?;
            return Ok(Bound::new(py, Call::new(call.map(Answer::Subscription)))?.into_any());
        }
        let subscription = self.client.start(subscribe).map_err(raise)?;
        Ok(Bound::new(py, Subscription::new(subscription)?)?.into_any())
    }

    fn watch<'py>(
        &self,
        py: Python<'py>,
        collection: &str,
        options: &Bound<'_, PyDict>,
        wait: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let watch = options::watch(self.get()?.collection(collection).watch(), options)?;
        if wait {
            let call = self.client.watch(watch).map_err(raise)?;
            return Ok(Bound::new(py, Call::new(call.map(Answer::View)))?.into_any());
        }
        let view = self.client.start_watch(watch).map_err(raise)?;
        Ok(Bound::new(py, View::new(view))?.into_any())
    }

    /// As `watch`, for a view of which the queue tells, with its id.
    fn watch_queued<'py>(
        &self,
        py: Python<'py>,
        collection: &str,
        options: &Bound<'_, PyDict>,
        wait: bool,
    ) -> PyResult<(u64, Bound<'py, PyAny>)> {
        let watch = options::watch(self.get()?.collection(collection).watch(), options)?;
        if wait {
            let (id, call) = self.client.watch_queued(watch, None).map_err(raise)?;
            return Ok((id, Bound::new(py, Call::new(call.map(Answer::View)))?.into_any()));
        }
        let (id, view) = self.client.start_watch_queued(watch, None).map_err(raise)?;
        Ok((id, Bound::new(py, View::new(view))?.into_any()))
    }

    fn unsubscribe(&self, id: u64) -> PyResult<()> {
        self.client.unsubscribe(id).map_err(raise)
    }

    fn unsubscribe_topic(&self, collection: Option<&str>, topic: Option<&str>) -> PyResult<usize> {
        let client = self.get()?;
        Ok(match collection {
            Some(name) => client.collection(name).unsubscribe(topic),
            None => client.realtime().unsubscribe(topic),
        })
    }

    fn unsubscribe_by_prefix(&self, prefix: &str) -> PyResult<usize> {
        Ok(self.get()?.realtime().unsubscribe_by_prefix(prefix))
    }

    fn subscription_state(&self, id: u64) -> PyResult<&'static str> {
        Ok(match self.client.subscription_state(id).map_err(raise)? {
            SubscriptionState::Pending => "pending",
            SubscriptionState::Live => "live",
            SubscriptionState::Interrupted => "interrupted",
            SubscriptionState::Denied => "denied",
            _ => "ended",
        })
    }

    fn denial<'py>(&self, py: Python<'py>, id: u64) -> PyResult<Option<Bound<'py, PyAny>>> {
        let denial = self.client.denial(id).map_err(raise)?;
        denial.as_ref().map(|why| exception(py, why)).transpose()
    }

    fn lost(&self, id: u64) -> PyResult<u64> {
        self.client.lost(id).map_err(raise)
    }

    fn state(&self) -> PyResult<State> {
        Ok(State(self.get()?.state()))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.get()?.stats();
        let disconnects = PyDict::new(py);
        for (name, count) in [
            ("ended_by_server", stats.disconnects.ended_by_server),
            ("lost", stats.disconnects.lost),
            ("silence", stats.disconnects.silence),
            ("refused", stats.disconnects.refused),
            ("rejected", stats.disconnects.rejected),
            ("identity_changed", stats.disconnects.identity_changed),
            ("suspected", stats.disconnects.suspected),
        ] {
            disconnects.set_item(name, count)?;
        }
        let all = PyDict::new(py);
        for (name, count) in [
            ("connects", stats.connects),
            ("connected", stats.connected),
            ("hand_overs", stats.hand_overs),
            ("submits", stats.submits),
            ("probes", stats.probes),
            ("submits_failed", stats.submits_failed),
            ("messages", stats.messages),
            ("bytes", stats.bytes),
            ("delivered", stats.delivered),
            ("lost", stats.lost),
            ("queue_high_water", stats.queue_high_water as u64),
            ("unmatched", stats.unmatched),
            ("too_large", stats.too_large),
            ("topics", stats.topics as u64),
            ("listeners", stats.listeners as u64),
            ("streams", stats.streams as u64),
        ] {
            all.set_item(name, count)?;
        }
        all.set_item("submit_latency", stats.submit_latency.as_secs_f64())?;
        all.set_item("disconnects", disconnects)?;
        Ok(all)
    }

    fn client_id(&self) -> PyResult<Option<String>> {
        Ok(self.get()?.realtime().client_id())
    }

    fn active_subscriptions(&self) -> PyResult<Vec<String>> {
        Ok(self.get()?.realtime().active_subscriptions())
    }

    fn network_changed(&self) -> PyResult<()> {
        self.get()?.network_changed();
        Ok(())
    }

    fn token(&self) -> PyResult<Option<String>> {
        Ok(self.get()?.auth().token())
    }

    fn set_token(&self, token: Option<&str>, record: Option<&str>) -> PyResult<()> {
        let auth = self.get()?.auth();
        match (token, record) {
            (None, _) => auth.clear(),
            (Some(token), None) => auth.set_token(token).map_err(raise)?,
            (Some(token), Some(record)) => {
                auth.set(token, options::json("record", record)?).map_err(raise)?;
            }
        }
        Ok(())
    }

    fn is_valid(&self) -> PyResult<bool> {
        Ok(self.get()?.auth().is_valid())
    }

    fn record<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let record = self.get()?.auth().record();
        record.map(|record| from_value(py, &record)).transpose()
    }

    fn auth_with_password(&self, collection: &str, identity: String, password: String) -> PyResult<Call> {
        self.log_in(collection, |collection| async move {
            collection.auth_with_password(&identity, &password).await
        })
    }

    fn auth_refresh(&self, collection: &str) -> PyResult<Call> {
        self.log_in(collection, |collection| async move { collection.auth_refresh().await })
    }

    fn auth_with_oauth2(&self, collection: &str, provider: &str) -> PyResult<Call> {
        let url = Arc::<Mutex<Option<String>>>::default();
        let told = url.clone();
        let waker = Arc::<AtomicWaker>::default();
        let to_wake = waker.clone();
        let log_in = self.get()?.collection(collection).auth_with_oauth2(provider, move |address| {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(address.to_owned());
            to_wake.wake();
        });
        let mut log_in = log_in.into_future();
        // Whoever polls it is woken for the address too.
        let answer = poll_fn(move |cx| {
            waker.register(cx.waker());
            log_in.as_mut().poll(cx)
        });
        let call = self.client.call(async { answer.await.map(Answer::LoggedIn) }).map_err(raise)?;
        Ok(Call::with_url(call, url))
    }

    #[expect(clippy::too_many_arguments, reason = "Python passes them by position, from one place")]
    fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        content_type: Option<String>,
        query: Vec<(String, String)>,
        headers: Vec<(String, String)>,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let mut request = self.get()?.send(method, path, None);
        if let Some(body) = body {
            request = request.body(body, content_type.unwrap_or_else(|| "application/json".into()));
        }
        for (name, value) in query {
            request = request.query(name, value);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(seconds) = timeout {
            request = request.timeout(options::duration("timeout", seconds)?);
        }
        let answer = request.into_future();
        self.call(async { answer.await.map(Answer::Response) })
    }

    /// What is done when nothing of a closed client is left.
    fn closing(&self) -> PyResult<Call> {
        let close = self.get()?.close();
        self.call(async {
            close.await;
            Ok(Answer::Nothing)
        })
    }

    #[pyo3(signature = (wait = true))]
    fn close(&self, py: Python<'_>, wait: bool) {
        if wait {
            let_go(py, || self.client.close());
        } else if let Ok(client) = self.client.get() {
            // It acts with the call, and need not be waited for.
            drop(client.close());
        }
    }
}

fn in_python(py: Python<'_>, item: Item) -> PyResult<Bound<'_, PyAny>> {
    let triple = match item {
        Item::Event { subscription, event, .. } => {
            let kind = if event.is_notice() { kind::NOTICE } else { kind::EVENT };
            (kind, subscription, event::in_python(py, event)?).into_pyobject(py)?
        }
        Item::Ended { subscription, why, .. } => {
            let why = why.as_ref().map(|why| exception(py, why)).transpose()?;
            (kind::ENDED, subscription, why).into_pyobject(py)?
        }
        Item::State(state) => (kind::STATE, State(state), None::<u8>).into_pyobject(py)?,
        Item::Disconnected(topics) => (kind::DISCONNECTED, topics, None::<u8>).into_pyobject(py)?,
        Item::TokenWanted(request) => {
            let request = TokenRequest { request: Mutex::new(Some(request)) };
            (kind::TOKEN_WANTED, request, None::<u8>).into_pyobject(py)?
        }
        Item::Denied { topic, error, for_now } => {
            let kind = if for_now { kind::PARKED } else { kind::DENIED };
            (kind, topic, exception(py, &error)?).into_pyobject(py)?
        }
        Item::Changed { view, .. } => (kind::CHANGED, view, None::<u8>).into_pyobject(py)?,
        Item::Woken(number) => (kind::WOKEN, number, None::<u8>).into_pyobject(py)?,
        // A newer core has more to tell than this knows.
        _ => (u8::MAX, None::<u8>, None::<u8>).into_pyobject(py)?,
    };
    Ok(triple.into_any())
}

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct TokenRequest {
    request: Mutex<Option<blocking::TokenRequest>>,
}

impl TokenRequest {
    fn give(&self, answer: Result<Option<String>, String>) -> PyResult<()> {
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner).take();
        let request = request.ok_or_else(|| PyRuntimeError::new_err("the request was answered already"))?;
        request.answer(answer);
        Ok(())
    }
}

#[pymethods]
impl TokenRequest {
    fn answer(&self, token: Option<String>) -> PyResult<()> {
        self.give(Ok(token))
    }

    fn fail(&self, reason: String) -> PyResult<()> {
        self.give(Err(reason))
    }
}
