//! Who the client is.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::Stream;
use serde_json::Value;

use crate::{
    Error,
    driver::{account::remaining, shared::Handle},
    engine::identity::Token,
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
        self.handle.set_account(Some(Token::new(token)?), None);
        Ok(())
    }

    /// Sets the token and the record that it belongs to.
    ///
    /// # Errors
    /// As [`set_token`](Self::set_token).
    pub fn set(&self, token: &str, record: Value) -> Result<(), Error> {
        self.handle.set_account(Some(Token::new(token)?), Some(record));
        Ok(())
    }

    /// Forgets the token: the client is a guest from now on.
    pub fn clear(&self) {
        self.handle.set_account(None, None);
    }

    /// The token, without `Bearer `.
    pub fn token(&self) -> Option<String> {
        self.handle.engine().token().map(|token| token.as_str().to_owned())
    }

    /// The record of the user, if the client logged in or was given it.
    pub fn record(&self) -> Option<Value> {
        self.handle.account.record()
    }

    /// Whether there is a token that, by its own word, has not expired. The server is not asked.
    pub fn is_valid(&self) -> bool {
        self.handle.engine().token().and_then(remaining).is_some_and(|left| !left.is_zero())
    }

    /// The token of now, and then each change of it. When a watcher does not keep up, it misses the oldest changes.
    pub fn changes(&self) -> TokenChanges {
        TokenChanges { changes: Box::pin(self.handle.account.tokens.watch(|| self.token())) }
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
