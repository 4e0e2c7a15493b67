//! Logging in with OAuth2: the server's side, and a provider where everyone
//! has said yes already.
//!
//! What a browser would do is one GET of the URL that `auth-methods` gives,
//! with its redirects followed: to the provider here, then to
//! `/api/oauth2-redirect`, which tells the client's stream.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::{Map, Value, json};
use url::form_urlencoded::Serializer;

use super::auth::Identity;
use super::clock;
use super::records::Requester;
use super::refusal::Refusal;
use super::state::State;

/// The path of the provider's page.
const AUTHORIZE: &str = "/oauth2/authorize";
const TOPIC: &str = "@oauth2";

/// Who may log in where, and what was given out on the way.
#[derive(Debug, Default)]
pub(super) struct Providers {
    /// By collection and name of the provider: the address of who logs in, or
    /// nobody where they say no.
    known: BTreeMap<(String, String), Option<String>>,
    grants: HashMap<String, Grant>,
}

/// What a code is worth, once.
#[derive(Debug)]
struct Grant {
    place: (String, String),
    email: String,
    redirect: String,
    challenge: String,
}

impl Providers {
    pub(super) fn enable(&mut self, collection: &str, provider: &str, email: Option<&str>) {
        self.known.insert((collection.to_owned(), provider.to_owned()), email.map(str::to_owned));
    }

    fn of<'a>(&'a self, collection: &'a str) -> impl Iterator<Item = &'a str> {
        let here = self.known.keys().filter(move |(name, _)| name == collection);
        here.map(|(_, provider)| provider.as_str())
    }
}

impl State {
    /// What `auth-methods` says of the providers of a collection. The verifier
    /// is its own challenge: the `plain` method of RFC 7636.
    pub(super) fn oauth2_methods(&mut self, collection: &str, base: &str) -> Vec<Value> {
        let providers: Vec<String> = self.providers.of(collection).map(str::to_owned).collect();
        let method = |provider: String| {
            let (state, verifier) = (self.ids.secret(30), self.ids.secret(43));
            let query = Serializer::new(String::new())
                .append_pair("client_id", &format!("{collection}/{provider}"))
                .append_pair("code_challenge", &verifier)
                .append_pair("code_challenge_method", "plain")
                .append_pair("response_type", "code")
                .append_pair("state", &state)
                .append_pair("redirect_uri", "")
                .finish();
            let url = format!("{base}{AUTHORIZE}?{query}");
            json!({
                "name": provider, "displayName": provider, "logo": "", "state": state,
                "authURL": url, "authUrl": url,
                "codeVerifier": verifier, "codeChallenge": verifier, "codeChallengeMethod": "plain",
            })
        };
        providers.into_iter().map(method).collect()
    }

    /// The provider's page: where it sends the browser.
    pub(super) fn oauth2_authorize(&mut self, query: &BTreeMap<String, String>) -> Result<String, Refusal> {
        let given = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let bad = || Refusal::new(400, "The request of the login page is not well formed.");
        let (collection, provider) = given("client_id").split_once('/').ok_or_else(bad)?;
        let place = (collection.to_owned(), provider.to_owned());
        let who = self.providers.known.get(&place).cloned().ok_or_else(bad)?;
        let mut redirect = url::Url::parse(given("redirect_uri")).map_err(|_| bad())?;
        redirect.query_pairs_mut().append_pair("state", given("state"));
        match who {
            None => {
                redirect.query_pairs_mut().append_pair("error", "access_denied");
            }
            Some(email) => {
                let code = self.ids.secret(20);
                let grant = Grant {
                    place,
                    email,
                    redirect: given("redirect_uri").to_owned(),
                    challenge: given("code_challenge").to_owned(),
                };
                self.providers.grants.insert(code.clone(), grant);
                redirect.query_pairs_mut().append_pair("code", &code);
            }
        }
        Ok(redirect.into())
    }

    /// Tells the stream whose client id is the state, once. Where the browser
    /// goes then.
    pub(super) fn oauth2_redirect(&mut self, query: &BTreeMap<String, String>) -> &'static str {
        const FAILURE: &str = "../_/#/auth/oauth2-redirect-failure";
        let given = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let (state, code, error) = (given("state"), given("code"), given("error"));
        let subscribed = |id: &str| self.clients.get(id).is_some_and(|c| c.topics().any(|t| t == TOPIC));
        if !subscribed(state) {
            return FAILURE;
        }
        let text = |text: &str| Value::from(text).to_string();
        let mut data = format!("{{\"state\":{},\"code\":{}", text(state), text(code));
        if !error.is_empty() {
            data.push_str(&format!(",\"error\":{}", text(error)));
        }
        data.push('}');
        self.send(state, TOPIC, data.as_bytes());
        if let Some(client) = self.clients.get_mut(state) {
            client.unsubscribe(TOPIC);
        }
        if code.is_empty() || !error.is_empty() {
            return FAILURE;
        }
        "../_/#/auth/oauth2-redirect-success"
    }

    pub(super) fn auth_with_oauth2(&mut self, collection: &str, body: &[u8]) -> Result<Value, Refusal> {
        let collection = self.auth_collection(collection)?;
        if self.providers.of(&collection).next().is_none() {
            let message = "The collection is not configured to allow OAuth2 authentication.";
            return Err(Refusal::new(403, message));
        }
        let bad_body = || Refusal::new(400, "An error occurred while loading the submitted data.");
        let body: Map<String, Value> = match body {
            [] => Map::new(),
            body => serde_json::from_slice(body).map_err(|_| bad_body())?,
        };
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (provider, code) = (text("provider"), text("code"));
        let mut wrong = Map::new();
        for (name, value) in [("provider", &provider), ("code", &code)] {
            if value.is_empty() {
                wrong.insert(name.into(), Refusal::blank());
            }
        }
        let place = (collection.clone(), provider);
        if !place.1.is_empty() && !self.providers.known.contains_key(&place) {
            let fault = json!({
                "code": "validation_invalid_provider",
                "message": format!("Provider with name {} is missing or is not enabled.", place.1),
                "params": { "name": place.1 },
            });
            wrong.insert("provider".into(), fault);
        }
        if !wrong.is_empty() {
            return Err(bad_body().with_data(wrong));
        }
        // A code is spent by the first who comes with it.
        let grant = self.providers.grants.remove(&code).filter(|grant| {
            grant.place == place
                && grant.redirect == text("redirectURL")
                && grant.challenge == text("codeVerifier")
        });
        let grant = grant.ok_or_else(|| Refusal::new(400, "Failed to fetch OAuth2 token."))?;
        self.log_in_with(grant, &collection, body.get("createData"))
    }

    fn log_in_with(
        &mut self,
        grant: Grant,
        collection: &str,
        create: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let known = self.collection(collection).and_then(|accounts| {
            let record = accounts.records().find(|record| record["email"] == grant.email)?;
            Some(record["id"].as_str()?.to_owned())
        });
        let is_new = known.is_none();
        let id = match known {
            Some(id) => id,
            None => {
                let mut fields = create.and_then(Value::as_object).cloned().unwrap_or_default();
                let password = self.ids.secret(30);
                fields.insert("email".into(), json!(grant.email));
                fields.insert("verified".into(), json!(true));
                fields.insert("password".into(), json!(password));
                fields.insert("passwordConfirm".into(), json!(password));
                let made = self.create(collection, fields, &Requester::host())?;
                made["id"].as_str().unwrap_or_default().to_owned()
            }
        };
        let identity: Identity = (collection.to_owned(), id);
        let mut answer = self.token_response(&identity)?;
        let hour = u64::try_from(Duration::from_secs(3600).as_millis()).unwrap_or_default();
        let name = grant.email.split('@').next().unwrap_or_default();
        answer["meta"] = json!({
            "id": grant.email, "name": name, "username": name, "email": grant.email,
            "avatarURL": "", "avatarUrl": "", "isNew": is_new,
            "accessToken": self.ids.secret(20), "refreshToken": "",
            "expiry": clock::stamp(clock::now_ms() + hour),
            "rawUser": { "email": grant.email },
        });
        Ok(answer)
    }
}
