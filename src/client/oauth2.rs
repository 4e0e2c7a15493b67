//! Login through an OAuth2 provider, whose answer arrives on a realtime stream.

use std::{fmt, future::IntoFuture, time::Duration};

use futures::{
    FutureExt,
    future::{BoxFuture, Either, select},
};
use serde::Deserialize;
use serde_json::json;
use url::{Host, Url};

use crate::{
    AuthResponse, Client, Error, client::collection::Collection, client::request::LONGEST,
    client::request::Request, driver::run_job, shown::shown,
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
        let redirect = handle.url("/api/oauth2-redirect")?.to_string();
        let mut url = address(site.auth_url()?, &redirect, &state)?;
        let verifier = match site.code_verifier {
            Some(verifier) => verifier,
            None => add_challenge(&mut url)?,
        };
        let url = String::from(url);
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
                return Err(Error::protocol(format!(
                    "the OAuth2 provider refused the login: {}",
                    shown(error, 200)
                )));
            }
            (Some(code), _) if !code.is_empty() => code,
            _ => return Err(Error::Protocol("the OAuth2 provider sent no code".into())),
        };
        let body = json!({
            "provider": provider,
            "code": code,
            "codeVerifier": verifier,
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
    /// Empty where the server has PKCE switched off for this site, to which it would then not pass on one of ours.
    code_verifier: Option<String>,
}

impl Site {
    fn auth_url(&self) -> Result<&str, Error> {
        let url = self.auth_url.as_deref().or(self.old_auth_url.as_deref());
        url.ok_or_else(|| {
            Error::protocol(format!("the server gives no URL for {:?}", shown(&self.name, 100)))
        })
    }
}

impl Methods {
    fn find(self, provider: &str) -> Result<Site, Error> {
        let new = self.oauth2.map(|sites| sites.providers).unwrap_or_default();
        let sites: Vec<Site> = new.into_iter().chain(self.auth_providers.unwrap_or_default()).collect();
        let names: Vec<_> = sites.iter().map(|site| site.name.clone()).collect();
        sites.into_iter().find(|site| site.name == provider).ok_or_else(|| {
            let names = shown(&format!("{names:?}"), 500);
            Error::argument("provider", format!("the server has no provider {provider:?}; it has {names}"))
        })
    }
}

/// The URL at which the user logs in. The server's ends in `redirect_uri=` and has a state of its own.
///
/// It is opened in a browser, so it must be a page, and one that nobody on the way can replace.
fn address(auth_url: &str, redirect: &str, state: &str) -> Result<Url, Error> {
    let bad = |why: String| Error::protocol(format!("the server's URL of the OAuth2 provider {why}"));
    let mut url = Url::parse(auth_url).map_err(|error| bad(format!("cannot be read: {error}")))?;
    if url.scheme() != "https" && !(url.scheme() == "http" && is_this_machine(&url)) {
        let scheme = shown(url.scheme(), 20);
        return Err(bad(format!("begins with {scheme}: and is not opened; it has to begin with https:")));
    }
    // Nothing that is shown or sent on has them.
    _ = url.set_username("");
    _ = url.set_password(None);
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| !matches!(&**name, "state" | "redirect_uri"))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let mut pairs = url.query_pairs_mut();
    pairs.clear().extend_pairs(others).append_pair("state", state).append_pair("redirect_uri", redirect);
    drop(pairs);
    Ok(url)
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Binds the returned code to this login (PKCE, RFC 7636): the provider gets the hash of a secret, which goes with
/// the code to the server alone. Gives the secret.
#[cfg(feature = "tls")]
fn add_challenge(url: &mut Url) -> Result<String, Error> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use ring::rand::{SecureRandom, SystemRandom};

    let mut secret = [0; 32];
    let unavailable =
        |_| Error::unsupported("an OAuth2 login", "the operating system provides no random numbers");
    SystemRandom::new().fill(&mut secret).map_err(unavailable)?;
    let verifier = URL_SAFE_NO_PAD.encode(secret);
    let challenge = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
    url.query_pairs_mut()
        .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
        .append_pair("code_challenge_method", "S256");
    Ok(verifier)
}

#[cfg(not(feature = "tls"))]
fn add_challenge(_url: &mut Url) -> Result<String, Error> {
    let reason = "the server gives no verifier, and making one needs the feature `tls`";
    Err(Error::unsupported("an OAuth2 login", reason))
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
        assert_eq!(
            url.as_str(),
            "https://x.org/a?client_id=1&state=ours&redirect_uri=http%3A%2F%2Fh%2Fapi%2Fr"
        );
    }

    #[test]
    fn only_a_page_that_nobody_can_replace_is_opened() {
        let open = |auth_url: &str| address(auth_url, "http://h/api/r", "ours");
        for good in [
            "https://x.org/a",
            "http://localhost:1/a",
            "http://127.1/",
            "http://[::1]/",
            "http://a.localhost/",
        ] {
            assert!(open(good).is_ok(), "{good}");
        }
        for bad in [
            "http://x.org/a",
            "http://localhost.evil.org/",
            "http://128.0.0.1/",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "data:text/html,x",
            "ms-settings:x",
            "\u{1b}[31m",
            "//x.org/",
        ] {
            let error = open(bad).unwrap_err();
            assert!(matches!(error, Error::Protocol(_)), "{bad}: {error:?}");
        }
        assert_eq!(open("https://u:p@x.org/").unwrap().username(), "");
    }

    #[test]
    #[cfg(feature = "tls")]
    fn the_challenge_is_the_hash_of_the_verifier() {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

        let challenge = || {
            let mut url = address("https://x.org/a", "http://h/api/r", "ours").unwrap();
            let verifier = add_challenge(&mut url).unwrap();
            let query: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
            assert_eq!(query["code_challenge_method"], "S256");
            (verifier, query["code_challenge"].clone())
        };
        let (verifier, hash) = challenge();
        assert_eq!(verifier.len(), 43, "as long as RFC 7636 wants at least");
        let expected = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
        assert_eq!(hash, URL_SAFE_NO_PAD.encode(expected));
        assert_ne!(challenge().0, verifier);
    }

    #[test]
    fn providers_are_found_in_the_answers_of_old_and_new_servers() {
        let new =
            json!({"oauth2": {"providers": [{"name": "oidc", "authURL": "https://x", "codeVerifier": "v"}]}});
        let old = json!({"authProviders": [{"name": "oidc", "authUrl": "https://x", "codeVerifier": "v"}]});
        for methods in [new, old] {
            let methods = || serde_json::from_value::<Methods>(methods.clone()).unwrap();
            assert_eq!(methods().find("oidc").unwrap().code_verifier.as_deref(), Some("v"));
            let error = methods().find("github").map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("github") && error.contains("oidc"), "{error}");
        }
    }
}
