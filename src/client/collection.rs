//! One collection of records.

use std::{fmt, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Error, OAuth2, Subscribe,
    client::auth::Auth,
    client::request::{Request, Response},
    driver::shared::Handle,
    topic::{has_prefix, is_dots, is_named, without_options},
};

/// A collection of records, by name or id. Returned by [`Client::collection`](crate::Client::collection); cheap to clone.
#[derive(Clone)]
pub struct Collection {
    pub(crate) handle: Arc<Handle>,
    pub(crate) name: String,
}

/// The answer to a login.
#[derive(Clone)]
#[non_exhaustive]
pub struct AuthResponse {
    /// The token, which the client uses from now on.
    pub token: String,
    /// The user's record.
    pub record: Value,
}

impl Collection {
    /// Subscribes to changes of all records (`"*"`; the collection's list rule applies) or of one record by its id (the
    /// view rule applies). See [`Subscribe`] for options and errors.
    ///
    /// PocketBase acknowledges every topic, so the client also asks whether the topic can deliver anything, and fails with
    /// 404 when the collection does not exist: see [`verify_topics`](crate::ClientBuilder::verify_topics). A rule that hides
    /// every record is not detected; no events arrive then.
    pub fn subscribe(&self, topic: &str) -> Subscribe {
        let name = format!("{}/{topic}", self.name);
        match self.check_topic(topic) {
            Ok(()) => Subscribe::new(self.handle.clone(), name).checked(),
            Err(error) => Subscribe::refused(self.handle.clone(), name, error),
        }
    }

    /// Refuses a collection or a topic that no server can have.
    pub(crate) fn check_topic(&self, topic: &str) -> Result<(), Error> {
        let name = format!("{}/{topic}", self.name);
        // The server acknowledges any name, and then sends nothing.
        let odd = |text: &str| text.contains(|c: char| "/?#&".contains(c) || c.is_whitespace());
        let reason = if self.name.is_empty() {
            "the name of the collection is empty"
        } else if odd(&self.name) || is_dots(&self.name) {
            "the name of the collection contains a character that is not allowed in names"
        } else if topic.is_empty() {
            "it is empty; use `*` for all records, or the id of a record"
        } else if odd(topic) || is_dots(topic) {
            "the record's id contains a character that is not allowed in ids; pass options with `filter`, `expand` or `query`"
        } else {
            return Ok(());
        };
        Err(Error::InvalidTopic { topic: without_options(&name).into(), reason: reason.into() })
    }

    /// Ends all subscriptions to `topic`, regardless of their options; with `None`, all subscriptions of this collection.
    /// Returns the number of subscriptions ended.
    pub fn unsubscribe(&self, topic: Option<&str>) -> usize {
        let now = self.handle.now();
        let mut engine = self.handle.engine();
        match topic {
            Some(topic) => {
                let name = format!("{}/{topic}", self.name);
                engine.unsubscribe_where(now, |key| is_named(key, &name))
            }
            None => {
                let prefix = format!("{}/", self.name);
                engine.unsubscribe_where(now, |key| has_prefix(key, &prefix))
            }
        }
    }

    /// Logs in with a username or e-mail address and a password. The client uses the new token from then on. The collection
    /// of superusers is `_superusers`, also for servers before 0.23, which call them admins.
    ///
    /// With RustBaaS the collection is `users`, and the app's own accounts log in. Its documentation has no login: that
    /// this goes to `…/apps/APP/auth/users/login` was read in its source and not tried on a server. What is sent has the
    /// identity as `identity` and as `email`, and of the answer `token` or `access_token` and `record` or `user` are
    /// taken. Where the server answers otherwise, [`Client::send`](crate::Client::send) can log in and
    /// [`Auth::set`](crate::Auth::set) takes the token.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 when the credentials are wrong, and the errors of
    /// [`Client::send`](crate::Client::send).
    pub async fn auth_with_password(&self, identity: &str, password: &str) -> Result<AuthResponse, Error> {
        let body = self.handle.dialect.credentials(identity, password);
        let answer = self.ask("auth-with-password", Some(body)).await?;
        self.adopt(answer)
    }

    /// Logs in through an OAuth2 provider, such as `"github"`, that is configured for the collection. The client uses the
    /// new token from then on. `open` is called, on the callback thread, with the URL that the user has to visit.
    ///
    /// ```no_run
    /// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
    /// client.collection("users").auth_with_oauth2("github", |url| println!("Visit {url}")).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When awaited: [`Error::InvalidArgument`] when the server has no such provider, [`Error::Protocol`] when the user or
    /// the provider declined or the connection was lost meanwhile, [`Error::Timeout`],
    /// [`Error::Refused`], and [`Error::Unsupported`] with RustBaaS.
    pub fn auth_with_oauth2(&self, provider: &str, open: impl FnOnce(&str) + Send + 'static) -> OAuth2 {
        OAuth2::new(self.clone(), provider, Box::new(open))
    }

    /// Exchanges the client's token for a new one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with RustBaaS, which is not known to do it: log in again.
    /// [`Error::Refused`] with status 401 when the token has expired or was revoked.
    pub async fn auth_refresh(&self) -> Result<AuthResponse, Error> {
        let answer = self.ask("auth-refresh", None).await?;
        self.adopt(answer)
    }

    async fn ask(&self, what: &str, body: Option<Value>) -> Result<Response, Error> {
        let path = self.handle.dialect.auth_path(&self.name, what)?;
        match self.post(&path, body.clone()).await {
            Err(error) if self.name == "_superusers" && error.status() == Some(404) => {
                // Servers before 0.23.
                self.post(&format!("/api/admins/{what}"), body).await
            }
            Err(Error::Refused(refusal)) => Err(Error::Refused(self.handle.dialect.explain(refusal))),
            answer => answer,
        }
    }

    async fn post(&self, path: &str, body: Option<Value>) -> Result<Response, Error> {
        Request::new(self.handle.clone(), "POST", path, body).await
    }

    pub(crate) fn adopt(&self, answer: Response) -> Result<AuthResponse, Error> {
        #[derive(Deserialize)]
        struct Body {
            token: Option<String>,
            access_token: Option<String>,
            record: Option<Value>,
            admin: Option<Value>,
            user: Option<Value>,
        }
        let body: Body = answer.json()?;
        let token = body.token.or(body.access_token);
        let token =
            token.ok_or_else(|| Error::Protocol("the body of the answer: missing field `token`".into()))?;
        let record = body.record.or(body.admin).or(body.user).unwrap_or_default();
        Auth { handle: self.handle.clone() }.set(&token, record.clone())?;
        Ok(AuthResponse { token, record })
    }
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for AuthResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthResponse").field("record", &self.record.get("id")).finish_non_exhaustive()
    }
}
