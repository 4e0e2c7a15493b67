//! The server that a command speaks to, and a client for it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Args;
use tidings::{Client, ClientBuilder, Error};

use crate::{failure::Failure, login::Identity, text};

#[derive(Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Server {
    /// The server, e.g. http://127.0.0.1:8090
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// The server is a RustBaaS: the realm and the app
    #[arg(long, value_name = "REALM/APP", value_parser = pair)]
    rustbaas: Option<(String, String)>,
    /// The same for a RustBaaS with workspaces
    #[arg(long, value_name = "WORKSPACE/APP", value_parser = pair, conflicts_with = "rustbaas")]
    workspace: Option<(String, String)>,
    /// Trust the certificates in this PEM file too
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<std::path::PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((first, second)) if !first.is_empty() && !second.is_empty() && !second.contains('/') => {
            Ok((first.to_owned(), second.to_owned()))
        }
        _ => Err("two names with a slash between them".to_owned()),
    }
}

impl Server {
    pub(crate) fn ca_pem(&self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(path) = &self.ca else { return Ok(None) };
        let read = std::fs::read(path);
        read.map(Some).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
    }

    pub(crate) fn builder(&self) -> Result<ClientBuilder, Failure> {
        let mut builder = Client::builder(&self.url);
        if let Some((realm, app)) = &self.rustbaas {
            builder = builder.rustbaas(realm, app);
        }
        if let Some((workspace, app)) = &self.workspace {
            builder = builder.rustbaas_workspace(workspace, app);
        }
        if let Some(pem) = self.ca_pem()? {
            builder = builder.ca_pem(pem);
        }
        Ok(builder)
    }

    /// A client that is who it is told to be, and stays so: it logs in again before its token expires. What keeps it
    /// from logging in for now goes to `waiting`.
    pub(crate) async fn client(
        &self,
        identity: Identity,
        waiting: impl FnMut(&Error, Duration),
    ) -> Result<Client, Failure> {
        let builder = self.builder()?;
        let (collection, user, password) = match identity {
            Identity::Guest => return Ok(builder.build()?),
            Identity::Token(token) => return Ok(builder.token(token).build()?),
            Identity::Password { collection, user, password } => (collection, user, password),
        };
        let accounts = self.builder()?.build()?;
        let log_in = async || accounts.collection(&collection).auth_with_password(&user, &password).await;
        let first = again_and_again(log_in, waiting).await?;
        let first = Arc::new(Mutex::new(Some(first.token)));
        let secrets = Arc::new((accounts.clone(), collection.clone(), user.clone(), password.clone()));
        let provider = move || {
            let first = first.lock().ok().and_then(|mut first| first.take());
            let secrets = secrets.clone();
            async move {
                if let Some(token) = first {
                    return Ok::<_, Error>(Some(token));
                }
                let (accounts, collection, user, password) = &*secrets;
                let answer = accounts.collection(collection).auth_with_password(user, password).await?;
                Ok(Some(answer.token))
            }
        };
        Ok(builder.token_provider(provider).build()?)
    }
}

/// Does it until it works or is refused for good. The network is waited for, as the client does once it is subscribed.
pub(crate) async fn again_and_again<T>(
    mut work: impl AsyncFnMut() -> Result<T, Error>,
    mut waiting: impl FnMut(&Error, Duration),
) -> Result<T, Error> {
    let mut wait = Duration::from_millis(500);
    loop {
        match work().await {
            Err(error) if may_pass(&error) => {
                let asked = error.refusal().and_then(tidings::Refusal::retry_after);
                let wait_now = asked.unwrap_or(wait).min(Duration::from_secs(60));
                waiting(&error, wait_now);
                tokio::time::sleep(wait_now).await;
                wait = (wait * 2).min(Duration::from_secs(15));
            }
            result => return result,
        }
    }
}

/// Whether the same call may work later.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Network(_) | Error::Timeout { .. } | Error::Protocol(_) | Error::TokenProvider(_) => true,
        Error::Refused(refusal) => matches!(refusal.status(), 408 | 425 | 429 | 500..),
        _ => false,
    }
}

/// What is said of a failure that is waited out.
pub(crate) fn is_waiting(error: &Error, wait: Duration) -> String {
    format!("waiting {:.1} s: {}", wait.as_secs_f64(), text::tame(&error.to_string()))
}
