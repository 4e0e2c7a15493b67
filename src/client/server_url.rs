//! The URLs that hosts pass.

use url::Url;

use crate::Error;

/// Checks a URL; its query is kept.
pub(crate) fn parse(text: &str) -> Result<Url, Error> {
    let invalid = |reason: String| Error::InvalidUrl { url: without_secrets(text), reason };
    let mut url = Url::parse(text.trim()).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => {
            invalid("it has no scheme; add http:// or https://".into())
        }
        error => invalid(error.to_string()),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        // `localhost:8090` has a scheme as URLs go.
        if url.path().starts_with(|c: char| c.is_ascii_digit()) {
            return Err(invalid("it has no scheme; add http:// or https://".into()));
        }
        return Err(invalid(format!("its scheme is {:?}; only http and https are supported", url.scheme())));
    }
    if cfg!(not(feature = "tls")) && url.scheme() == "https" {
        return Err(invalid("https needs the feature `tls`".into()));
    }
    url.set_fragment(None);
    Ok(url)
}

/// A URL as it may be shown: without user and password, and without query.
pub(crate) fn without_secrets(text: &str) -> String {
    let is_scheme = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric());
    let (scheme, rest) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).unwrap_or(("", text));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let user = match rest[..end].contains(':') {
        // A password whose `/`, `?` or `#` was not encoded goes on behind it.
        true => rest.rfind('@'),
        false => rest[..end].rfind('@'),
    };
    let place = rest[user.map_or(0, |at| at + 1)..].split(['?', '#']).next().unwrap_or_default();
    let shown: String = place.chars().take(200).collect();
    if scheme.is_empty() { shown } else { format!("{scheme}://{shown}") }
}
