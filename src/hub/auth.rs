//! Accounts and tokens: who a request comes from.
//!
//! Tokens look like the real ones (three base64url parts, the claims readable
//! in the second) and are checked by a keyed hash. That hash is no
//! cryptography: the hub guards nothing, it shows clients what a server that
//! guards something would answer.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::clock;
use super::records::{Kind, Requester, Sight};
use super::refusal::Refusal;
use super::state::State;

pub(super) const SUPERUSERS: &str = "_superusers";

/// A record of an auth collection, as (collection name, record id).
pub(super) type Identity = (String, String);

/// Passwords and the keys that make tokens void when they change.
#[derive(Clone, Default)]
pub(super) struct Accounts {
    secret: u64,
    lifetime: Duration,
    credentials: HashMap<Identity, Credential>,
}

#[derive(Clone)]
struct Credential {
    password: String,
    /// Part of every token's signature; a new one voids all tokens.
    generation: u64,
}

impl Accounts {
    pub(super) fn new(secret: u64, lifetime: Duration) -> Self {
        Self { secret, lifetime, credentials: HashMap::new() }
    }

    pub(super) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    pub(super) fn enrol(&mut self, identity: Identity, password: String) {
        let generation = self.credentials.get(&identity).map_or(0, |old| old.generation + 1);
        self.credentials.insert(identity, Credential { password, generation });
    }

    /// Voids every token of an account. False where there is no such account.
    pub(super) fn void_tokens(&mut self, identity: &Identity) -> bool {
        match self.credentials.get_mut(identity) {
            Some(credential) => {
                credential.generation += 1;
                true
            }
            None => false,
        }
    }

    pub(super) fn remove(&mut self, identity: &Identity) {
        self.credentials.remove(identity);
    }

    /// A token for an account; `None` takes the hub's lifetime.
    pub(super) fn issue(
        &self,
        identity: &Identity,
        collection_id: &str,
        lifetime: Option<Duration>,
    ) -> String {
        let exp = clock::now_ms() / 1000 + lifetime.unwrap_or(self.lifetime).as_secs();
        let claims = json!({
            "collectionId": collection_id,
            "exp": exp,
            "id": identity.1,
            "refreshable": true,
            "type": "auth",
        });
        let head = base64url(br#"{"alg":"HS256","typ":"JWT"}"#);
        let body = base64url(claims.to_string().as_bytes());
        let signed = format!("{head}.{body}");
        let signature = self.signature(identity, &signed);
        format!("{signed}.{signature}")
    }

    fn signature(&self, identity: &Identity, signed: &str) -> String {
        let generation = self.credentials.get(identity).map_or(0, |c| c.generation);
        let mut bytes = Vec::with_capacity(32);
        for part in 0..4_u8 {
            let mut hasher = DefaultHasher::new();
            (self.secret, part, generation, identity, signed).hash(&mut hasher);
            bytes.extend(hasher.finish().to_be_bytes());
        }
        base64url(&bytes)
    }
}

impl State {
    /// Who a token names, or nobody: a bad or expired one makes a guest, silently.
    pub(super) fn identify(&self, authorization: Option<&str>) -> Option<Identity> {
        let token = authorization?.trim();
        if self.faults.tokens_lost {
            return None;
        }
        let token = match token.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim(),
            _ => token,
        };
        let (signed, signature) = token.rsplit_once('.')?;
        let (_, body) = signed.split_once('.')?;
        let claims: Value = serde_json::from_slice(&from_base64url(body)?).ok()?;
        let collection = self.collection(claims["collectionId"].as_str()?)?;
        let identity = (collection.name.clone(), claims["id"].as_str()?.to_owned());
        let fresh = clock::now_ms() < claims["exp"].as_u64()?.checked_mul(1000)?;
        let known = self.accounts.credentials.contains_key(&identity);
        (known && fresh && self.accounts.signature(&identity, signed) == signature).then_some(identity)
    }

    pub(super) fn auth_with_password(&mut self, collection: &str, body: &[u8]) -> Result<Value, Refusal> {
        self.auth_collection(collection)?;
        let bad_body = || Refusal::new(400, "An error occurred while loading the submitted data.");
        let body: Map<String, Value> = if body.is_empty() {
            Map::new()
        } else {
            serde_json::from_slice(body).map_err(|_| bad_body())?
        };
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
        let (who, password) = (text("identity"), text("password"));
        let mut data = Map::new();
        for (name, value) in [("identity", who), ("password", password)] {
            if value.is_empty() {
                data.insert(name.into(), Refusal::blank());
            }
        }
        if !data.is_empty() {
            let message = "An error occurred while validating the submitted data.";
            return Err(Refusal::new(400, message).with_data(data));
        }
        let found = self.collection(collection).and_then(|accounts| {
            let record = accounts.records().find(|record| record["email"] == who)?;
            let identity = (accounts.name.clone(), record["id"].as_str()?.to_owned());
            let credential = self.accounts.credentials.get(&identity)?;
            (credential.password == password).then_some(identity)
        });
        let identity = found.ok_or_else(|| Refusal::new(400, "Failed to authenticate."))?;
        self.token_response(&identity)
    }

    pub(super) fn auth_refresh(&mut self, collection: &str, requester: &Requester) -> Result<Value, Refusal> {
        let name = self.auth_collection(collection)?;
        let Some(identity) = &requester.identity else {
            let message = "The request requires valid record authorization token.";
            return Err(Refusal::new(401, message));
        };
        if identity.0 != name {
            // The name is the token's own, odd as it reads.
            let message = format!("The request requires auth record from {} collection.", identity.0);
            return Err(Refusal::new(403, message));
        }
        self.token_response(identity)
    }

    /// `base` is the hub's own URL, as the client knows it.
    pub(super) fn auth_methods(&mut self, collection: &str, base: &str) -> Result<Value, Refusal> {
        let name = self.auth_collection(collection)?;
        let providers = self.oauth2_methods(&name, base);
        Ok(json!({
            "password": { "identityFields": ["email"], "enabled": true },
            "oauth2": { "providers": providers, "enabled": !providers.is_empty() },
            "mfa": { "enabled": false, "duration": 0 },
            "otp": { "enabled": false, "duration": 0 },
            "authProviders": providers,
            "usernamePassword": false,
            "emailPassword": true,
        }))
    }

    /// The name of an auth collection given by name or id.
    pub(super) fn auth_collection(&self, collection: &str) -> Result<String, Refusal> {
        let found = self
            .collection(collection)
            .ok_or_else(|| Refusal::new(404, "Missing or invalid collection context."))?;
        match found.kind {
            Kind::Auth => Ok(found.name.clone()),
            Kind::Base => Err(Refusal::new(404, "Missing or invalid auth collection context.")),
        }
    }

    pub(super) fn token_response(&self, identity: &Identity) -> Result<Value, Refusal> {
        let failed = || Refusal::new(400, "Failed to authenticate.");
        let collection = self.collection(&identity.0).ok_or_else(failed)?;
        let record = collection.record(&identity.1).ok_or_else(failed)?;
        let own = Requester { identity: Some(identity.clone()), ..Requester::default() };
        Ok(json!({
            "record": self.visible(collection, record, &own, &Sight::default()),
            "token": self.accounts.issue(identity, &collection.id, None),
        }))
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut bits = 0;
        for at in 0..3 {
            bits = bits << 8 | usize::from(group.get(at).copied().unwrap_or(0));
        }
        for digit in 0..=group.len() {
            text.push(char::from(ALPHABET[bits >> (18 - 6 * digit) & 63]));
        }
    }
    text
}

fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut held) = (0_u32, 0);
    for digit in text.bytes() {
        let value = ALPHABET.iter().position(|&c| c == digit)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 255) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_round_trips_every_length() {
        for length in 0..40_u8 {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37)).collect();
            assert_eq!(from_base64url(&base64url(&bytes)), Some(bytes));
        }
        assert_eq!(base64url(b"\xfb\xff"), "-_8");
        assert_eq!(from_base64url("a+b"), None);
    }
}
