//! Where a redirect may lead: each hop is judged before anything is sent to it.
//!
//! A hop is one of three, seen from the URL that it leaves:
//!
//! | kind | from → to |
//! |---|---|
//! | [`Same`](Hop::Same) | scheme, host and port are equal |
//! | [`Upgrade`](Hop::Upgrade) | `http` → `https`, same host, default port → default port |
//! | [`Foreign`](Hop::Foreign) | anything else: another host, another port, `https` → `http`, `http:8080` → `https` |
//!
//! What is done about it:
//!
//! | target | [`Redirects::Stay`] (a client) | [`Redirects::Roam`] (an event source) |
//! |---|---|---|
//! | `Same`, `Upgrade` | followed, and everything goes along | followed, and everything goes along |
//! | `Foreign` | refused, whatever is carried | followed, unless something secret is carried or it leaves `https` |
//! | any other scheme, an empty `Location`, the same request again | refused | refused |
//!
//! What counts as secret is looked for once, in the request as the host gave it, so that no hop can launder it: a token,
//! a cookie, `Authorization`, a header of the host's own (its value is marked as sensitive), user and password of the
//! URL, the **query** of the URL, a body. `Accept`, `Cache-Control`, `Content-Type` and `Last-Event-ID` are none.
//!
//! What goes along to a target that is followed, by status:
//!
//! | status | method | body and `Content-*` | headers, token, cookies of that origin |
//! |---|---|---|---|
//! | 301, 302 | `POST` becomes `GET`, others stay | dropped with a `POST`, else kept | kept |
//! | 303 | `GET`, unless it was `HEAD` | dropped | kept |
//! | 307, 308 | stays | kept | kept |
//!
//! The query is that of the `Location`. `user:password@` in a `Location` is ignored: a server does not choose our
//! credentials. The client certificate is shown to the first origin and its upgrade alone, and a pinned address holds for
//! one origin.

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap};
use hyper::{Method, StatusCode};
use url::Url;

use super::error::{HttpError, LONGEST_PLACE, place};
use super::request::Request;
use crate::shown::shown;

/// Which hops a request may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Redirects {
    /// Within its origin and to its upgrade: the answer of another origin would be taken for the server's own.
    #[default]
    Stay,
    /// To other origins too while nothing secret is carried, as a public event stream may want.
    Roam,
}

/// Where a hop leads, seen from the URL that it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    Same,
    Upgrade,
    Foreign,
}

impl Hop {
    pub(super) fn between(from: &Url, to: &Url) -> Self {
        let is_default = |url: &Url| url.port().is_none();
        if from.origin() == to.origin() {
            Self::Same
        } else if (from.scheme(), to.scheme()) == ("http", "https")
            && from.host() == to.host()
            && is_default(from)
            && is_default(to)
        {
            Self::Upgrade
        } else {
            Self::Foreign
        }
    }
}

/// A request on its way, from hop to hop.
pub(super) struct Walk {
    pub(super) request: Request,
    /// Whether it has been at no foreign origin so far.
    pub(super) is_home: bool,
    carries_secrets: bool,
    hops: usize,
}

impl Walk {
    pub(super) fn new(request: Request) -> Self {
        Self { carries_secrets: request.carries_secrets(), request, is_home: true, hops: 0 }
    }

    /// Turns the request into the one that the answer sends us to; false if it does not. `cookies_changed`: whether the
    /// answer brought a cookie that the next request would carry, so that the same URL may answer otherwise.
    pub(super) fn follow(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        cookies_changed: bool,
        limit: usize,
    ) -> Result<bool, HttpError> {
        let request = &mut self.request;
        let drops_body = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => request.method == Method::POST,
            StatusCode::SEE_OTHER => request.method != Method::GET && request.method != Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return Ok(false),
        };
        // A redirect to nowhere is an answer like any other.
        let Some(location) = headers.get(header::LOCATION) else { return Ok(false) };
        let next = target(&request.url, location.as_bytes())?;
        let bad = |why: String| HttpError::BadRedirect { place: place(&request.url), why };

        if next == request.url && !drops_body && !cookies_changed {
            return Err(bad("it leads to itself".to_owned()));
        }
        let hop = Hop::between(&request.url, &next);
        if hop == Hop::Foreign {
            let origin = shown(&next.origin().ascii_serialization(), LONGEST_PLACE);
            let leaves = format!("it leads to another origin, {origin}");
            let why = match request.redirects {
                Redirects::Stay => format!("{leaves}; if that is the server, make the client with its URL"),
                Redirects::Roam if self.carries_secrets => format!(
                    "{leaves}, and the request has headers, a query, a body or credentials that may be secret; if that \
                     is the server, give its URL"
                ),
                Redirects::Roam if request.url.scheme() == "https" && next.scheme() == "http" => {
                    format!("{leaves}, which is not secure; give its URL if that is what you want")
                }
                Redirects::Roam => String::new(),
            };
            if !why.is_empty() {
                return Err(bad(why));
            }
            self.is_home = false;
            request.headers.remove(header::HOST);
        }
        if hop != Hop::Same {
            // It has the port of this origin.
            request.pin = None;
        }
        if self.hops == limit {
            return Err(HttpError::TooManyRedirects { place: place(&next), limit });
        }
        if drops_body {
            request.drop_body();
        }
        request.url = next;
        self.hops += 1;
        Ok(true)
    }
}

fn target(from: &Url, location: &[u8]) -> Result<Url, HttpError> {
    let bad = |why: String| HttpError::BadRedirect { place: place(from), why };
    let location = str::from_utf8(location).map_err(|_| bad("it is not text".to_owned()))?;
    if location.trim().is_empty() {
        return Err(bad("its target is empty".to_owned()));
    }
    let mut next: Url = from.join(location).map_err(|error| bad(error.to_string()))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(bad(format!("it leads to a {}: URL", shown(next.scheme(), 20))));
    }
    _ = next.set_username("");
    _ = next.set_password(None);
    next.set_fragment(None);
    Ok(next)
}

impl Request {
    /// Turns it into a `GET`.
    fn drop_body(&mut self) {
        self.method = Method::GET;
        self.body = Bytes::new();
        for name in [
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::CONTENT_LANGUAGE,
            header::CONTENT_LOCATION,
            header::CONTENT_DISPOSITION,
        ] {
            self.headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hop::{self, Foreign, Same, Upgrade};

    #[test]
    fn every_pair_of_origins_is_one_of_three_kinds() {
        for (from, to, kind) in [
            ("http://a.test/x?y", "http://a.test:80/", Same),
            ("https://a.test:443/", "https://A.test/", Same),
            ("http://a.test:81/", "http://a.test:81/z", Same),
            ("http://a.test/", "https://a.test/", Upgrade),
            ("http://[::1]/", "https://[::1]:443/", Upgrade),
            ("https://a.test/", "http://a.test/", Foreign),
            ("http://a.test:8080/", "https://a.test/", Foreign),
            ("http://a.test/", "https://a.test:8443/", Foreign),
            ("http://a.test:443/", "https://a.test/", Foreign),
            ("http://a.test/", "https://a.test:80/", Foreign),
            ("https://a.test/", "https://a.test:8443/", Foreign),
            ("http://a.test/", "http://a.test:81/", Foreign),
            ("http://a.test/", "https://b.test/", Foreign),
            ("http://a.test/", "http://a.test.evil/", Foreign),
            ("http://127.0.0.1/", "http://localhost/", Foreign),
        ] {
            assert_eq!(Hop::between(&from.parse().unwrap(), &to.parse().unwrap()), kind, "{from} {to}");
        }
    }
}
