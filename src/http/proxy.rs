//! Which proxy a request goes through: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, or
//! what the host chose. The rules are those of curl, in hyper-util.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Uri};
use url::Url;

use super::ProxyMode;
use super::connect::Target;
use super::error::HttpError;

/// A proxy for one request.
pub(super) struct Proxy {
    pub(super) target: Target,
    /// Basic credentials, marked as sensitive.
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    /// What opens a tunnel to `authority`. The headers of the request inside are none of the
    /// proxy's business.
    pub(super) fn connect_request(
        &self,
        authority: &str,
        user_agent: &HeaderValue,
    ) -> Result<hyper::Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = hyper::Request::builder()
            .method(Method::CONNECT)
            .uri(Uri::builder().authority(authority).build()?)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, user_agent);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::PROXY_AUTHORIZATION, authorization);
        }
        request.body(Full::default())
    }
}

/// The rules of one client.
pub(super) struct Proxies {
    #[cfg(feature = "proxy")]
    matcher: Option<hyper_util::client::proxy::matcher::Matcher>,
}

#[cfg(feature = "proxy")]
impl Proxies {
    pub(super) fn new(mode: &ProxyMode) -> Result<Self, HttpError> {
        use hyper_util::client::proxy::matcher::Matcher;

        let matcher = match mode {
            ProxyMode::Environment => {
                check_environment(|name| std::env::var_os(name))?;
                Some(Matcher::from_env())
            }
            ProxyMode::Off => None,
            ProxyMode::Url(url) => {
                let matcher = Matcher::builder().all(url.as_str()).build();
                // The matcher takes any word for a host.
                let has_scheme = Url::parse(url).is_ok_and(|url| url.has_host());
                let read =
                    intercepted(&matcher).filter(|_| has_scheme).ok_or_else(|| unusable("the proxy"))?;
                Proxy::try_from(&read)?;
                Some(matcher)
            }
        };
        Ok(Self { matcher })
    }

    pub(super) fn for_url(&self, url: &Url) -> Result<Option<Proxy>, HttpError> {
        let Some(matcher) = &self.matcher else { return Ok(None) };
        let origin = url[..url::Position::AfterPort]
            .parse()
            .map_err(|_| HttpError::invalid_url(url, "its host cannot be sent over HTTP"))?;
        matcher.intercept(&origin).map(|found| Proxy::try_from(&found)).transpose()
    }
}

/// What the matcher makes of its rules. It drops what it cannot read, and the traffic would then go out directly.
#[cfg(feature = "proxy")]
fn intercepted(
    matcher: &hyper_util::client::proxy::matcher::Matcher,
) -> Option<hyper_util::client::proxy::matcher::Intercept> {
    matcher.intercept(&Uri::from_static("http://probe.invalid"))
}

#[cfg(feature = "proxy")]
fn unusable(setting: &'static str) -> HttpError {
    HttpError::Config { setting, why: "its URL is not of the form http://user:password@host:port".to_owned() }
}

/// Whether the matcher can read what the environment names. `NO_PROXY` has nothing that cannot be read.
#[cfg(feature = "proxy")]
fn check_environment(get: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<(), HttpError> {
    use hyper_util::client::proxy::matcher::Matcher;

    // There HTTP_PROXY may be a header of the client's, and the matcher reads none.
    if get("REQUEST_METHOD").is_some() {
        return Ok(());
    }
    for names in [["ALL_PROXY", "all_proxy"], ["HTTPS_PROXY", "https_proxy"], ["HTTP_PROXY", "http_proxy"]] {
        let Some((name, value)) = names.iter().find_map(|name| get(name).map(|value| (*name, value))) else {
            continue;
        };
        let value = value.to_str().ok_or_else(|| unusable(name))?;
        let found = intercepted(&Matcher::builder().all(value).build());
        // The matcher takes any number for a port.
        let is_read = found.is_some_and(|found| Url::parse(&found.uri().to_string()).is_ok());
        if !value.is_empty() && !is_read {
            return Err(unusable(name));
        }
    }
    Ok(())
}

#[cfg(feature = "proxy")]
impl TryFrom<&hyper_util::client::proxy::matcher::Intercept> for Proxy {
    type Error = HttpError;

    fn try_from(found: &hyper_util::client::proxy::matcher::Intercept) -> Result<Self, HttpError> {
        let unusable = |_| HttpError::Proxy {
            // Host and port; the credentials are kept elsewhere.
            proxy: format!(
                "{}://{}",
                found.uri().scheme_str().unwrap_or_default(),
                found.uri().authority().map_or("", |authority| authority.as_str()),
            ),
            status: None,
            cause: None,
        };
        let url = Url::parse(&found.uri().to_string()).map_err(|_| unusable(()))?;
        let target = Target::of(&url).map_err(|_| unusable(()))?;
        Ok(Self { target, authorization: found.basic_auth().cloned() })
    }
}

#[cfg(not(feature = "proxy"))]
impl Proxies {
    pub(super) fn new(mode: &ProxyMode) -> Result<Self, HttpError> {
        match mode {
            ProxyMode::Environment | ProxyMode::Off => Ok(Self {}),
            ProxyMode::Url(_) => Err(HttpError::Config {
                setting: "the proxy",
                why: "this needs the feature `proxy` of this crate".to_owned(),
            }),
        }
    }

    pub(super) fn for_url(&self, _url: &Url) -> Result<Option<Proxy>, HttpError> {
        Ok(None)
    }
}

#[cfg(all(test, feature = "proxy"))]
mod tests {
    use super::check_environment;

    #[test]
    fn what_cannot_be_read_is_an_error_with_the_name_of_the_variable() {
        let check = |set: &[(&str, &str)]| {
            let found =
                |name: &str| set.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
            check_environment(found).map_err(|error| error.to_string())
        };
        for name in ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
            for good in ["", "http://u:p@proxy:3128", "https://proxy", "proxy:3128", "socks5://proxy"] {
                check(&[(name, good)]).unwrap();
            }
            for bad in ["http://s3cret@ho st", "ftp://s3cret@proxy", "http://", "http://u:s3cret@proxy:99999"]
            {
                let error = check(&[(name, bad)]).unwrap_err();
                assert!(error.contains(name) && !error.contains("s3cret"), "{bad}: {error}");
                check(&[(name, bad), ("REQUEST_METHOD", "GET")]).unwrap();
            }
        }
        check(&[("ALL_PROXY", "http://proxy"), ("all_proxy", "ho st")]).unwrap();
    }
}
