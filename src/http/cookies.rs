//! The cookies of one client, kept in memory: what a load balancer uses to keep a stream and the requests about it on one
//! instance.
//!
//! A cookie goes back to the origin that set it and to no other, so `Domain`, with its list of public suffixes, says
//! nothing here, and neither do `HttpOnly`, `SameSite` and `Partitioned`. That is why this is a hundred lines instead of
//! `cookie_store` with its ten crates.

use std::time::{Duration, Instant, SystemTime};

use hyper::header::{DATE, HeaderMap, HeaderValue, SET_COOKIE};
use url::{Origin, Url};

/// As many as RFC 6265 (section 6.1) wants for one domain at least; the oldest one goes.
const MAX_COOKIES: usize = 50;

/// The longest name and value together, in bytes, from the same place. A longer cookie is ignored.
const MAX_SIZE: usize = 4096;

/// What one request carries at most; servers refuse longer headers.
const MAX_SENT: usize = 16 * 1024;

#[derive(Default)]
pub(super) struct Jar {
    /// In the order in which they were set first.
    cookies: Vec<Cookie>,
}

#[derive(PartialEq)]
struct Cookie {
    origin: Origin,
    path: String,
    name: String,
    value: String,
    until: Option<Instant>,
}

impl Jar {
    /// Keeps what an answer sets. Whether a later request to the same place will carry other cookies than before.
    pub(super) fn keep(&mut self, url: &Url, headers: &HeaderMap, now: Instant) -> bool {
        if !headers.contains_key(SET_COOKIE) {
            return false;
        }
        let before = self.for_url(url, now);
        for line in headers.get_all(SET_COOKIE) {
            let Some((cookie, lasts)) = line.to_str().ok().and_then(|line| read(url, line, headers, now))
            else {
                continue;
            };
            let place = self.cookies.iter().position(|other| other.is_same(&cookie));
            match (place, lasts) {
                (Some(at), true) => self.cookies[at] = cookie,
                (Some(at), false) => _ = self.cookies.remove(at),
                (None, true) => {
                    if self.cookies.len() == MAX_COOKIES {
                        self.cookies.remove(0);
                    }
                    self.cookies.push(cookie);
                }
                (None, false) => {}
            }
        }
        self.for_url(url, now) != before
    }

    /// The value of `Cookie` for a request to `url` whose own cookies are `own`.
    pub(super) fn header(
        &mut self,
        url: &Url,
        own: Option<&HeaderValue>,
        now: Instant,
    ) -> Option<HeaderValue> {
        self.cookies.retain(|cookie| cookie.until.is_none_or(|until| now < until));
        let own = own.map(HeaderValue::as_bytes).unwrap_or_default();
        // The host's own cookie of that name is the one that counts.
        let is_own = |name: &str| {
            own.split(|byte| *byte == b';')
                .any(|pair| pair.trim_ascii_start().starts_with(&[name.as_bytes(), b"="].concat()))
        };
        let mut line = own.to_vec();
        for (name, value) in self.for_url(url, now) {
            if !is_own(&name) && line.len() + name.len() + value.len() < MAX_SENT {
                let comma = if line.is_empty() { "" } else { "; " };
                line.extend_from_slice(format!("{comma}{name}={value}").as_bytes());
            }
        }
        let mut header = HeaderValue::from_bytes(&line).ok().filter(|header| !header.is_empty())?;
        header.set_sensitive(true);
        Some(header)
    }

    fn for_url(&self, url: &Url, now: Instant) -> Vec<(String, String)> {
        let origin = url.origin();
        let mut found: Vec<&Cookie> = self
            .cookies
            .iter()
            .filter(|cookie| {
                cookie.origin == origin
                    && is_below(url.path(), &cookie.path)
                    && cookie.until.is_none_or(|until| now < until)
            })
            .collect();
        // RFC 6265, section 5.4: "Cookies with longer paths are listed before cookies with shorter paths."
        found.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        found.into_iter().map(|cookie| (cookie.name.clone(), cookie.value.clone())).collect()
    }
}

impl Cookie {
    fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.path == other.path && self.origin == other.origin
    }
}

/// Reads one `Set-Cookie`: the cookie, and false if it is to be forgotten.
fn read(url: &Url, line: &str, headers: &HeaderMap, now: Instant) -> Option<(Cookie, bool)> {
    let mut parts = line.split(';').map(str::trim);
    let (name, value) = parts.next()?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || name.len() + value.len() > MAX_SIZE || line.contains(|c: char| c.is_ascii_control())
    {
        return None;
    }
    let (mut path, mut max_age, mut expires) = (None, None, None);
    for part in parts {
        let (attribute, value) = part.split_once('=').map_or((part, ""), |(a, v)| (a.trim(), v.trim()));
        match attribute.to_ascii_lowercase().as_str() {
            "path" => path = Some(value).filter(|path| path.starts_with('/')),
            "max-age" => max_age = value.parse::<i64>().ok().or(max_age),
            "expires" => expires = date(value).or(expires),
            // It must not have come over a connection that anyone can read.
            "secure" if url.scheme() != "https" => return None,
            _ => {}
        }
    }
    let lasts = match (max_age, expires) {
        (Some(seconds), _) => Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
        // By the server's clock where it tells it: ours may be wrong.
        (None, Some(date)) => Some(date.duration_since(server_time(headers)).unwrap_or_default()),
        (None, None) => None,
    };
    let cookie = Cookie {
        origin: url.origin(),
        path: path.unwrap_or_else(|| default_path(url)).to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
        // Longer than the clock reaches is for ever.
        until: lasts.and_then(|lasts| now.checked_add(lasts)),
    };
    Some((cookie, lasts.is_none_or(|lasts| !lasts.is_zero())))
}

/// Also with the hyphens of the first cookies.
fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).or_else(|_| httpdate::parse_http_date(&text.replace('-', " "))).ok()
}

fn server_time(headers: &HeaderMap) -> SystemTime {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now)
}

/// RFC 6265, section 5.1.4: the path up to its last slash.
fn default_path(url: &Url) -> &str {
    let path = url.path();
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || folder.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn set(jar: &mut Jar, at: &str, lines: &[&str], now: Instant) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Fri, 31 Dec 1999 23:59:29 GMT"));
        for line in lines {
            headers.append(SET_COOKIE, HeaderValue::from_str(line).unwrap());
        }
        jar.keep(&url(at), &headers, now)
    }

    fn sent(jar: &mut Jar, to: &str, now: Instant) -> String {
        jar.header(&url(to), None, now).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_cookie_goes_back_to_its_origin_and_its_path_alone() {
        let (mut jar, now) = (Jar::default(), Instant::now());
        let here = "http://a.test/api/realtime";
        assert!(set(
            &mut jar,
            here,
            &["A=1; Path=/; HttpOnly; Domain=test", "B=2", "C=3; Path=/api/other", "D = x=y ; path=api"],
            now
        ));
        assert_eq!(sent(&mut jar, here, now), "B=2; D=x=y; A=1");
        assert_eq!(sent(&mut jar, "http://a.test/api/other/x", now), "C=3; B=2; D=x=y; A=1");
        assert_eq!(sent(&mut jar, "http://a.test/api/others", now), "B=2; D=x=y; A=1");
        assert_eq!(sent(&mut jar, "http://a.test/apix", now), "A=1");
        for other in
            ["https://a.test/api/x", "http://a.test:81/api/x", "http://b.a.test/api/x", "http://test/api/x"]
        {
            assert_eq!(sent(&mut jar, other, now), "", "{other}");
        }
        // The host's own of the same name is not sent twice.
        let own = HeaderValue::from_static("x=0; A=own");
        let both = jar.header(&url("http://a.test/"), Some(&own), now).unwrap();
        assert_eq!(both, "x=0; A=own");
        assert!(both.is_sensitive());
    }

    #[test]
    fn a_cookie_lasts_as_long_as_it_says_by_the_clock_of_the_server() {
        let (mut jar, now) = (Jar::default(), Instant::now());
        let here = "http://a.test/";
        let seconds = |n| now + Duration::from_secs(n);
        set(
            &mut jar,
            here,
            &["A=1; Max-Age=5", "B=2; Expires=Fri, 31-Dec-1999 23:59:39 GMT", "C=3; Expires=soon"],
            now,
        );
        assert_eq!(sent(&mut jar, here, seconds(4)), "A=1; B=2; C=3");
        assert_eq!(sent(&mut jar, here, seconds(9)), "B=2; C=3");
        assert_eq!(sent(&mut jar, here, seconds(10)), "C=3");
        assert!(!set(&mut jar, here, &["C=3"], now), "it is there already");
        assert!(set(&mut jar, here, &["C=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], now));
        assert_eq!(sent(&mut jar, here, now), "");
        assert!(!set(&mut jar, here, &["D=1; Max-Age=-1", "", "=x", "E", "S=1; Secure"], now));
        assert!(set(&mut jar, "https://a.test/", &["S=1; Secure; Max-Age=99999999999999"], now));
    }

    #[test]
    fn the_jar_is_bounded() {
        let (mut jar, now) = (Jar::default(), Instant::now());
        assert!(!set(&mut jar, "http://a.test/", &[&format!("A={}", "x".repeat(MAX_SIZE))], now));
        for n in 0..2 * MAX_COOKIES {
            set(&mut jar, "http://a.test/", &[&format!("n{n}={}", "x".repeat(2000))], now);
        }
        assert_eq!(jar.cookies.len(), MAX_COOKIES);
        assert!(jar.cookies[0].name == "n50", "the oldest went");
        assert!(sent(&mut jar, "http://a.test/", now).len() <= MAX_SENT);
    }
}
