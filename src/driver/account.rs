//! The identity of the client, as its host sees it: the user's record, watchers of the token, and the token provider. What
//! a token means for the streams is decided by the engine.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;

use crate::{
    Error,
    delivery::watchers::Watchers,
    driver::shared::Shared,
    engine::identity::{Identity, Token},
    lock::lock,
};

/// Returns a token, or `None` for a guest.
pub(crate) type TokenProvider =
    Arc<dyn Fn() -> BoxFuture<'static, Result<Option<String>, Failed>> + Send + Sync>;
pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

pub(crate) struct Account {
    /// The record that came with the token.
    record: Mutex<Option<Value>>,
    pub(crate) tokens: Watchers<Option<String>>,
    provider: Option<TokenProvider>,
}

impl Account {
    pub(crate) fn new(provider: Option<TokenProvider>) -> Self {
        Self { record: Mutex::default(), tokens: Watchers::default(), provider }
    }

    pub(crate) fn record(&self) -> Option<Value> {
        lock(&self.record).clone()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("has_provider", &self.provider.is_some()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Sets token and record in one step.
    pub(crate) fn set_account(&self, token: Option<Token>, record: Option<Value>) {
        let shown = token.as_ref().map(|token| token.as_str().to_owned());
        let lasts = token.as_ref().and_then(remaining);
        let mut own = lock(&self.account.record);
        *own = record;
        let now = self.now();
        let mut engine = self.engine();
        engine.set_token(now, token, lasts);
        // Held until here, so that two threads do not mix token and record; not while waiters are woken.
        drop(own);
        drop(engine);
        self.account.tokens.report(&shown);
    }
}

/// How much longer the token is valid, according to its `exp` claim and this machine's clock.
pub(crate) fn remaining(token: &Token) -> Option<Duration> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    token.expires().map(|expires| expires.saturating_sub(now))
}

/// Calls the host's token provider and passes its answer to the engine.
pub(crate) async fn ask_provider(shared: Arc<Shared>) {
    let Some(provider) = shared.account.provider.clone() else { return };
    // Creating the future is the host's code too, and may panic.
    let answer = AssertUnwindSafe(async move { provider().await }).catch_unwind().await;
    let token = match answer {
        Ok(Ok(Some(token))) => Token::new(&token).map(Some),
        Ok(Ok(None)) => Ok(None),
        Ok(Err(error)) => Err(Error::TokenProvider(error.to_string())),
        Err(_) => Err(Error::TokenProvider("it panicked".into())),
    };
    let shown = token.as_ref().ok().map(|token| token.as_ref().map(|token| token.as_str().to_owned()));
    let lasts = token.as_ref().ok().and_then(|token| token.as_ref().and_then(remaining));
    let now = shared.now();
    let mut record = lock(&shared.account.record);
    let mut engine = shared.engine_for_driver();
    let before = Identity::of(engine.token());
    let is_wanted = engine.token_provided(now, token, lasts);
    if before != Identity::of(engine.token()) {
        *record = None;
    }
    drop(record);
    drop(engine);
    if let Some(shown) = shown.filter(|_| is_wanted) {
        shared.account.tokens.report(&shown);
    }
}
