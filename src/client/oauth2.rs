//! Login through an OAuth2 provider, whose answer arrives on a realtime stream.

use std::{fmt, future::IntoFuture, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, Either, select},
};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::{
    AuthResponse, Client, Error, client::collection::Collection, client::request::LONGEST,
    client::request::Request, driver::run_job,
};

type Open = Box<dyn FnOnce(&str) + Send>;

/// An OAuth2 login; `.await` begins it. Returned by [`Collection::auth_with_oauth2`].
///
/// Dropping the future cancels the login and closes its connection.
#[must_use = "a login begins when it is awaited"]
pub struct OAuth2 {
    collection: Collection,
    provider: String,
    open: Open,
    timeout: Duration,
}

/// The topic on which the server forwards the provider's answer.
const TOPIC: &str = "@oauth2";

impl OAuth2 {
    pub(crate) fn new(collection: Collection, provider: &str, open: Open) -> Self {
        Self { collection, provider: provider.to_owned(), open, timeout: Duration::from_secs(300) }
    }

    /// How long the user may take. Default: 5 minutes; at most a year.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST);
        self
    }

    async fn log_in(self) -> Result<AuthResponse, Error> {
        let handle = self.collection.handle.clone();
        let runtime = handle.runtime.clone();
        let after = self.timeout;
        // A stream of its own: its id is the `state` that makes the answer ours, and it ends with the login.
        let (second, driver) = Client::beside(&handle);
        let mut timer = runtime.new_timer(runtime.now() + after);
        let alarm = futures::future::poll_fn(move |cx| timer.as_mut().poll(cx))
            .map(|()| Err(Error::Timeout { what: "the login at the OAuth2 provider".into(), after }));
        let flow = std::pin::pin!(self.walk(&second));
        let walk = select(flow, alarm).map(|done| done.factor_first().0);
        let stream = std::pin::pin!(run_job(&handle, driver));
        match select(std::pin::pin!(walk), stream).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(Error::Closed),
        }
    }

    async fn walk(self, second: &Client) -> Result<AuthResponse, Error> {
        let Self { collection, provider, open, .. } = self;
        let handle = collection.handle.clone();
        let base = handle.dialect.log_in_path(&collection.name)?;
        let methods = Request::new(handle.clone(), "GET", &format!("{base}/auth-methods"), None).await?;
        let site = methods.json::<Methods>()?.find(&provider)?;

        let mut answers = second.realtime().subscribe(TOPIC).await?;
        let state = second.realtime().client_id().ok_or_else(lost)?;
        let redirect = handle.url("/api/oauth2-redirect").to_string();
        let url = address(site.auth_url()?, &redirect, &state)?;
        handle.callbacks.start().map_err(Error::no_thread)?;
        // On the callback thread: a program that opens a browser may block.
        handle.callbacks.call_for_waiter(move || open(&url));

        let answer = loop {
            let event = answers.next().await.ok_or_else(lost)?;
            if !event.is_notice() {
                break event.json()?;
            }
            if second.realtime().client_id().as_deref() != Some(&state) {
                // The redirect leads to the stream that is gone.
                return Err(lost());
            }
        };
        if answer["state"] != *state {
            return Err(Error::Protocol("the answer of the OAuth2 provider is not for this login".into()));
        }
        let code = match (answer["code"].as_str(), answer["error"].as_str()) {
            (_, Some(error)) if !error.is_empty() => {
                return Err(Error::Protocol(format!("the OAuth2 provider refused the login: {error}")));
            }
            (Some(code), _) if !code.is_empty() => code,
            _ => return Err(Error::Protocol("the OAuth2 provider sent no code".into())),
        };
        let body = json!({
            "provider": provider,
            "code": code,
            "codeVerifier": site.code_verifier,
            "redirectURL": redirect,
            // As servers before 0.23 spell it.
            "redirectUrl": redirect,
        });
        let path = format!("{base}/auth-with-oauth2");
        collection.adopt(Request::new(handle, "POST", &path, Some(body)).await?)
    }
}

impl IntoFuture for OAuth2 {
    type Output = Result<AuthResponse, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.log_in())
    }
}

impl fmt::Debug for OAuth2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// The ways to log in, as old and new servers list them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Methods {
    #[serde(default)]
    oauth2: Option<Sites>,
    #[serde(default)]
    auth_providers: Option<Vec<Site>>,
}

#[derive(Deserialize)]
struct Sites {
    #[serde(default)]
    providers: Vec<Site>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Site {
    name: String,
    /// Old and new servers spell it differently; some send both.
    #[serde(rename = "authURL", default)]
    auth_url: Option<String>,
    #[serde(rename = "authUrl", default)]
    old_auth_url: Option<String>,
    #[serde(default)]
    code_verifier: String,
}

impl Site {
    fn auth_url(&self) -> Result<&str, Error> {
        let url = self.auth_url.as_deref().or(self.old_auth_url.as_deref());
        url.ok_or_else(|| Error::Protocol(format!("the server gives no URL for {:?}", self.name)))
    }
}

impl Methods {
    fn find(self, provider: &str) -> Result<Site, Error> {
        let new = self.oauth2.map(|sites| sites.providers).unwrap_or_default();
        let sites: Vec<Site> = new.into_iter().chain(self.auth_providers.unwrap_or_default()).collect();
        let names: Vec<_> = sites.iter().map(|site| site.name.clone()).collect();
        sites.into_iter().find(|site| site.name == provider).ok_or_else(|| {
            Error::argument("provider", format!("the server has no provider {provider:?}; it has {names:?}"))
        })
    }
}

/// The URL at which the user logs in. The server's ends in `redirect_uri=` and has a state of its own.
fn address(auth_url: &str, redirect: &str, state: &str) -> Result<String, Error> {
    let mut url = Url::parse(auth_url).map_err(|error| {
        Error::Protocol(format!("the URL of the OAuth2 provider, as the server gives it: {error}"))
    })?;
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| !matches!(&**name, "state" | "redirect_uri"))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let mut pairs = url.query_pairs_mut();
    pairs.clear().extend_pairs(others).append_pair("state", state).append_pair("redirect_uri", redirect);
    drop(pairs);
    Ok(url.into())
}

fn lost() -> Error {
    Error::Protocol("the connection was lost during the login; begin again".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_carries_our_state_and_the_way_back() {
        let url = address("https://x.org/a?client_id=1&state=theirs&redirect_uri=", "http://h/api/r", "ours")
            .unwrap();
        assert_eq!(url, "https://x.org/a?client_id=1&state=ours&redirect_uri=http%3A%2F%2Fh%2Fapi%2Fr");
    }

    #[test]
    fn providers_are_found_in_the_answers_of_old_and_new_servers() {
        let new =
            json!({"oauth2": {"providers": [{"name": "oidc", "authURL": "https://x", "codeVerifier": "v"}]}});
        let old = json!({"authProviders": [{"name": "oidc", "authUrl": "https://x", "codeVerifier": "v"}]});
        for methods in [new, old] {
            let methods = || serde_json::from_value::<Methods>(methods.clone()).unwrap();
            assert_eq!(methods().find("oidc").unwrap().code_verifier, "v");
            let error = methods().find("github").map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("github") && error.contains("oidc"), "{error}");
        }
    }
}
