//! The identity of a client: its token and record.

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
/// A change of the token takes effect without further calls, and depends on what changed:
/// - **Guest to user** (login): the same stream continues as the user's.
/// - **A fresh token of the same user**: the stream is given the new token, without a gap.
/// - **Another user, or logout**: the stream is replaced. No event intended for the old user reaches a listener after the
///   call, and each subscription reports a [`Gap`](crate::Action::Gap) with
///   [`GapReason::IdentityChanged`](crate::GapReason::IdentityChanged).
#[derive(Clone)]
pub struct Auth {
    pub(crate) handle: Arc<Handle>,
}

impl Auth {
    /// Sets the token, with or without `Bearer `, and clears the [`record`](Self::record). Nothing is sent to the server
    /// by this call: if the server does not accept the token, [`Client::state`](crate::Client::state) becomes
    /// [`Unauthenticated`](crate::State::Unauthenticated).
    ///
    /// ```
    /// let client = tidings::Client::new("http://127.0.0.1:8090")?;
    /// client.auth().set_token("a-token-from-your-backend")?;
    /// assert_eq!(client.auth().token().as_deref(), Some("a-token-from-your-backend"));
    ///
    /// // Back to a guest.
    /// client.auth().clear();
    /// # Ok::<(), tidings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the token is empty or contains characters that are not allowed in a header.
    pub fn set_token(&self, token: &str) -> Result<(), Error> {
        self.handle.set_account(Some(Token::new(token)?), None);
        Ok(())
    }

    /// Sets the token together with the user's record.
    ///
    /// # Errors
    /// As [`set_token`](Self::set_token).
    pub fn set(&self, token: &str, record: Value) -> Result<(), Error> {
        self.handle.set_account(Some(Token::new(token)?), Some(record));
        Ok(())
    }

    /// Removes token and record: the client is a guest from now on.
    pub fn clear(&self) {
        self.handle.set_account(None, None);
    }

    /// The current token, without `Bearer `; `None` for a guest.
    pub fn token(&self) -> Option<String> {
        self.handle.engine().token().map(|token| token.as_str().to_owned())
    }

    /// The user's record, if the client logged in or [`set`](Self::set) was given one.
    pub fn record(&self) -> Option<Value> {
        self.handle.account.record()
    }

    /// Whether there is a token that has not expired, according to its `exp` claim and this machine's clock. The server
    /// is not asked.
    pub fn is_valid(&self) -> bool {
        self.handle.engine().token().and_then(remaining).is_some_and(|left| !left.is_zero())
    }

    /// The current token, then each change of it: for a program that stores the token or shows who is signed in. If more
    /// than 64 changes are waiting to be read, the oldest are dropped.
    ///
    /// ```no_run
    /// # async fn example(client: tidings::Client) {
    /// let mut changes = client.auth().changes();
    /// while let Some(token) = changes.next().await {
    ///     match token {
    ///         Some(_) => println!("signed in"),
    ///         None => println!("guest"),
    ///     }
    /// }
    /// // The client is closed.
    /// # }
    /// ```
    pub fn changes(&self) -> TokenChanges {
        TokenChanges { changes: Box::pin(self.handle.account.tokens.watch(|| self.token())) }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("has_token", &self.handle.engine().token().is_some()).finish()
    }
}

/// The stream that [`Auth::changes`] returns: tokens, and `None` for a guest. It ends when the client is closed.
pub struct TokenChanges {
    changes: Pin<Box<async_channel::Receiver<Option<String>>>>,
}

impl TokenChanges {
    /// The next token (`Some(None)` for a guest); `None` when the client is closed.
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
