//! Who the client is.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use futures::{FutureExt, Stream};
use serde_json::Value;

use crate::{
    Error,
    driver::shared::{Handle, Shared, lock},
    engine::identity::{Identity, Token},
};

/// The identity of a client: its token and the record that came with it. Made by
/// [`Client::auth`](crate::Client::auth); all handles of a client share it.
///
/// A change takes effect on its own. A guest's stream becomes the user's, a user's stream is given the fresh token,
/// and for another user the stream is replaced: nothing that the old one still brings reaches a listener, and each
/// listener is told of the change by a [`Gap`](crate::Action::Gap).
#[derive(Clone)]
pub struct Auth {
    pub(crate) handle: Arc<Handle>,
}

impl Auth {
    /// Sets the token, with or without `Bearer `, and forgets the record of the one before.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it is empty or has characters that cannot stand in a header.
    pub fn set_token(&self, token: &str) -> Result<(), Error> {
        self.replace(Some(Token::new(token)?), None);
        Ok(())
    }

    /// Sets the token and the record that it belongs to.
    ///
    /// # Errors
    /// As [`set_token`](Self::set_token).
    pub fn set(&self, token: &str, record: Value) -> Result<(), Error> {
        self.replace(Some(Token::new(token)?), Some(record));
        Ok(())
    }

    /// Forgets the token: the client is a guest from now on.
    pub fn clear(&self) {
        self.replace(None, None);
    }

    /// The token, without `Bearer `.
    pub fn token(&self) -> Option<String> {
        self.handle.engine().token().map(|token| token.as_str().to_owned())
    }

    /// The record of the user, if the client logged in or was given it.
    pub fn record(&self) -> Option<Value> {
        lock(&self.handle.record).clone()
    }

    /// Whether there is a token that, by its own word, has not expired. The server is not asked.
    pub fn is_valid(&self) -> bool {
        self.handle.engine().token().and_then(remaining).is_some_and(|left| !left.is_zero())
    }

    /// The token of now, and then each change of it. When a watcher does not keep up, it misses the oldest changes.
    pub fn changes(&self) -> TokenChanges {
        TokenChanges { changes: Box::pin(self.handle.tokens.watch(|| self.token())) }
    }

    fn replace(&self, token: Option<Token>, record: Option<Value>) {
        let shown = token.as_ref().map(|token| token.as_str().to_owned());
        let lasts = token.as_ref().and_then(remaining);
        let mut own = lock(&self.handle.record);
        *own = record;
        let now = self.handle.now();
        let mut engine = self.handle.engine();
        engine.set_token(now, token, lasts);
        // Held until now, so that what two threads set is not mixed; but not while those who wait are woken.
        drop(own);
        drop(engine);
        self.handle.tokens.tell(&shown);
    }
}

/// How much longer the token holds, by its own word and the clock of this machine.
pub(crate) fn remaining(token: &Token) -> Option<Duration> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    token.expires().map(|expires| expires.saturating_sub(now))
}

/// Asks the host's provider and passes its answer on.
pub(crate) async fn ask_provider(shared: Arc<Shared>) {
    let Some(provider) = shared.provider.clone() else { return };
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
    let mut record = lock(&shared.record);
    let mut engine = shared.engine_for_driver();
    let before = Identity::of(engine.token());
    let is_wanted = engine.token_provided(now, token, lasts);
    if before != Identity::of(engine.token()) {
        *record = None;
    }
    drop(record);
    drop(engine);
    if let Some(shown) = shown.filter(|_| is_wanted) {
        shared.tokens.tell(&shown);
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("has_token", &self.handle.engine().token().is_some()).finish()
    }
}

/// The stream that [`Auth::changes`] returns: `None` stands for a guest.
pub struct TokenChanges {
    changes: Pin<Box<async_channel::Receiver<Option<String>>>>,
}

impl TokenChanges {
    /// The next token; `None` when the client is closed.
    #[expect(clippy::should_implement_trait, reason = "it is what streams call it")]
    pub fn next(&mut self) -> futures::stream::Next<'_, Self> {
        futures::StreamExt::next(self)
    }
}

impl Stream for TokenChanges {
    type Item = Option<String>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.changes.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for TokenChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenChanges").finish_non_exhaustive()
    }
}
