//! Redirects, followed as browsers do, except that nothing secret leaves its origin.

use hyper::header::{self, HeaderMap};
use hyper::{Method, StatusCode};
use url::Url;

use super::error::{HttpError, place};
use super::request::Request;
use hyper::body::Bytes;

/// Turns `request` into the one that the answer sends us to; false if it does not.
///
/// `user:password@` in a `Location` is ignored: a server does not choose our credentials.
pub(super) fn follow(
    request: &mut Request,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<bool, HttpError> {
    let drops_body = match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => request.method == Method::POST,
        StatusCode::SEE_OTHER => request.method != Method::GET && request.method != Method::HEAD,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
        _ => return Ok(false),
    };
    // A redirect to nowhere is an answer like any other.
    let Some(location) = headers.get(header::LOCATION) else { return Ok(false) };
    let bad = |why: String| HttpError::BadRedirect { place: place(&request.url), why };

    let location = str::from_utf8(location.as_bytes()).map_err(|_| bad("it is not text".to_owned()))?;
    let mut next: Url = request.url.join(location).map_err(|error| bad(error.to_string()))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(bad(format!("it leads to a {}: URL", next.scheme())));
    }
    _ = next.set_username("");
    _ = next.set_password(None);
    next.set_fragment(None);

    if drops_body {
        request.method = Method::GET;
        request.body = Bytes::new();
        for name in [
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::CONTENT_LANGUAGE,
            header::CONTENT_LOCATION,
            header::CONTENT_DISPOSITION,
        ] {
            request.headers.remove(name);
        }
    }
    if request.url.scheme() == "https" && next.scheme() == "http" && request.carries_secrets() {
        let why = format!("it leads from https to {}, and the request holds credentials", place(&next));
        return Err(HttpError::BadRedirect { place: place(&request.url), why });
    }
    if next.origin() != request.url.origin() {
        // What a body holds is not ours to judge; it may be the password of a log-in.
        let is_upgrade = next.scheme() == "https" && next.host() == request.url.host();
        if !request.body.is_empty() && !is_upgrade {
            let why = format!("it leads to another origin, {}, and the request has a body", place(&next));
            return Err(HttpError::BadRedirect { place: place(&request.url), why });
        }
        request.forget_origin();
    }
    request.url = next;
    Ok(true)
}
