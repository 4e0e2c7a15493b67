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
            ProxyMode::Environment => Some(Matcher::from_env()),
            ProxyMode::Off => None,
            ProxyMode::Url(url) => {
                let matcher = Matcher::builder().all(url.as_str()).build();
                // The matcher drops what it cannot read; the traffic would then go out directly.
                let probe = Uri::from_static("http://probe.invalid");
                let read = matcher.intercept(&probe).ok_or_else(|| HttpError::Config {
                    setting: "the proxy",
                    why: "its URL is not of the form http://user:password@host:port".to_owned(),
                })?;
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
