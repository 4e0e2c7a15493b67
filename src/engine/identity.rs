//! Whose stream it is: tokens, and the user that a token names.

use std::{fmt, sync::Arc, time::Duration};

use base64::Engine as _;
use serde::Deserialize;

use crate::Error;

/// A secret that stands in `Authorization`. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(Arc<str>);

impl Token {
    /// Takes a token with or without `Bearer `.
    pub(crate) fn new(token: &str) -> Result<Self, Error> {
        let mut words = token.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        let bare =
            if first.eq_ignore_ascii_case("bearer") { words.next().unwrap_or_default() } else { first };
        if bare.is_empty() {
            return Err(Error::argument("token", "it is empty; to become a guest, clear the token"));
        }
        if words.next().is_some() {
            return Err(Error::argument("token", "it has a space inside"));
        }
        if let Some(at) = bare.find(|c: char| !c.is_ascii_graphic()) {
            let reason = format!("it has a character at byte {at} that cannot stand in a header");
            return Err(Error::argument("token", reason));
        }
        Ok(Self(bare.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// When it expires, since the Unix epoch, if it says so.
    pub(crate) fn expires(&self) -> Option<Duration> {
        self.claims()?.exp.and_then(|exp| Duration::try_from_secs_f64(exp).ok())
    }

    pub(crate) fn identity(&self) -> Identity {
        match self.claims() {
            Some(Claims { id: Some(id), collection_id, .. }) => {
                Identity::User { id, collection: collection_id.unwrap_or_default() }
            }
            _ => Identity::Opaque(self.clone()),
        }
    }

    /// What a JWT says of itself. Nothing is verified: that is the server's part, and here it decides only
    /// whether a token is of the same user as another.
    fn claims(&self) -> Option<Claims> {
        let payload = self.0.split('.').nth(1)?;
        let json =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[derive(Deserialize)]
struct Claims {
    id: Option<Box<str>>,
    #[serde(rename = "collectionId")]
    collection_id: Option<Box<str>>,
    exp: Option<f64>,
}

/// Who a stream belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    Guest,
    User {
        id: Box<str>,
        collection: Box<str>,
    },
    /// A token that does not tell its user: equal only to itself.
    Opaque(Token),
}

impl Identity {
    pub(crate) fn of(token: Option<&Token>) -> Self {
        token.map_or(Self::Guest, Token::identity)
    }

    /// Whether a stream bound to `self` may be taken over by `next`. The server binds a stream with the first
    /// token it sees; guest → user is allowed, everything else but the same user is answered with 403.
    pub(crate) fn may_become(&self, next: &Self) -> bool {
        *self == Self::Guest || self == next
    }
}

#[cfg(test)]
pub(crate) fn jwt(id: &str) -> Token {
    let claims =
        serde_json::json!({"id": id, "collectionId": "users", "exp": 2000000000, "type": "auth"}).to_string();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
    Token::new(&format!("eyJhbGciOiJIUzI1NiJ9.{payload}.c2ln")).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_one_user_are_one_identity() {
        let other = Token::new(&format!("Bearer {}x", jwt("a").as_str())).unwrap();
        assert_ne!(other, jwt("a"));
        assert_eq!(other.identity(), jwt("a").identity());
        assert_ne!(jwt("a").identity(), jwt("b").identity());
        assert_eq!(jwt("a").expires(), Some(Duration::from_secs(2000000000)));
    }

    #[test]
    fn only_a_guest_may_become_somebody_else() {
        let (a, b) = (jwt("a").identity(), jwt("b").identity());
        assert!(Identity::Guest.may_become(&a) && a.may_become(&a));
        assert!(!a.may_become(&b) && !a.may_become(&Identity::Guest));
    }

    #[test]
    fn a_token_is_never_printed() {
        let shown = format!("{:?} {:?}", jwt("a"), Identity::Opaque(Token::new("s3cret").unwrap()));
        assert_eq!(shown, "Token(..) Opaque(Token(..))");
    }

    #[test]
    fn tokens_that_cannot_stand_in_a_header_are_refused_without_showing_them() {
        for bad in ["", "Bearer ", "s3cret\r\nX: y", "s3cret\0", "s3crät"] {
            let error = Token::new(bad).unwrap_err().to_string();
            assert!(!error.contains("s3cr"), "{error}");
        }
    }
}
