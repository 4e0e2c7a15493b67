//! From a URL to a connection on which a request can be written.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use url::Url;

use super::Shared;
use super::error::{HttpError, place};
use super::exchange::Exchange;
use super::idle::{Link, Route};
use super::io::Head;
use super::proxy::Proxy;
use super::request::ProxyHeaders;
use crate::rt::{BoxIo, Runtime, Timer};

/// How long an attempt may take before the next address is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the origin of `url`, through a proxy if there is one for it. The client certificate is shown where the
/// request `is_home`, and to no proxy.
pub(super) async fn connect(
    shared: &Shared,
    url: &Url,
    pin: Option<SocketAddr>,
    is_home: bool,
) -> Result<Link, HttpError> {
    let (io, route) = reach(shared, url, pin, is_home).await?;
    let exchange = Exchange::over(io, shared.config.max_buffer).await;
    let exchange = exchange.map_err(|error| HttpError::from_hyper(&place(url), error))?;
    Ok(Link { exchange: Box::new(exchange), route: Arc::new(route) })
}

async fn reach(
    shared: &Shared,
    url: &Url,
    pin: Option<SocketAddr>,
    is_home: bool,
) -> Result<(BoxIo, Route), HttpError> {
    let runtime = &*shared.runtime;
    let target = Target::of(url)?;
    let Some(proxy) = shared.proxies.for_url(url)? else {
        let (io, peer) = match pin {
            Some(address) => race(runtime, &target, vec![address]).await?,
            None => dial(runtime, &target).await?,
        };
        let io = match target.secure {
            true => shared.tls.wrap(io, &target.host, is_home).await?,
            false => io,
        };
        return Ok((io, Route { peer: Some(peer), forwarder: None }));
    };

    let io = dial_proxy(shared, &proxy).await?;
    if !target.secure {
        let forwarder = Some(ProxyHeaders { authorization: proxy.authorization });
        return Ok((io, Route { peer: None, forwarder }));
    }
    let tunnel = open_tunnel(shared, &proxy, io, url, &target).await?;
    let io = shared.tls.wrap(tunnel, &target.host, is_home).await?;
    Ok((io, Route { peer: None, forwarder: None }))
}

/// Whom to connect to.
pub(super) struct Target {
    /// A name or an IP address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) secure: bool,
}

impl Target {
    pub(super) fn of(url: &Url) -> Result<Self, HttpError> {
        let secure = match url.scheme() {
            "http" => false,
            "https" if cfg!(feature = "tls") => true,
            "https" => {
                return Err(HttpError::invalid_url(url, "https needs the feature `tls` of this crate"));
            }
            _ => return Err(HttpError::invalid_url(url, "only http:// and https:// URLs can be requested")),
        };
        let host = match url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(ip)) => ip.to_string(),
            Some(url::Host::Ipv6(ip)) => ip.to_string(),
            None => return Err(HttpError::invalid_url(url, "it has no host")),
        };
        let port = url.port().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { host, port, secure })
    }

    fn place(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

async fn dial(runtime: &dyn Runtime, target: &Target) -> Result<(BoxIo, SocketAddr), HttpError> {
    let unknown = |cause| HttpError::Resolve { host: target.host.clone(), cause: Arc::new(cause) };
    let addresses = runtime.resolve(&target.host, target.port).await.map_err(unknown)?;
    if addresses.is_empty() {
        return Err(unknown(std::io::Error::other("the name has no address")));
    }
    race(runtime, target, addresses).await
}

/// Happy eyeballs (RFC 8305): a dual-stack host whose one family leads nowhere costs a quarter of a
/// second instead of minutes. The first to connect wins; the others are dropped.
async fn race(
    runtime: &dyn Runtime,
    target: &Target,
    addresses: Vec<SocketAddr>,
) -> Result<(BoxIo, SocketAddr), HttpError> {
    let mut waiting = interleave(addresses).into_iter();
    let mut running = FuturesUnordered::new();
    let mut failures = Vec::new();

    loop {
        let mut head_start: Option<Pin<Box<dyn Timer>>> = None;
        if let Some(address) = waiting.next() {
            let connecting = runtime.connect(address);
            running.push(async move { (address, connecting.await) });
            if waiting.len() > 0 {
                head_start = Some(runtime.new_timer(runtime.now() + HEAD_START));
            }
        } else if running.is_empty() {
            return Err(HttpError::Connect { place: target.place(), attempts: failures });
        }

        let finished = poll_fn(|cx| {
            if let Poll::Ready(finished) = running.poll_next_unpin(cx) {
                return Poll::Ready(finished);
            }
            match &mut head_start {
                Some(timer) => timer.as_mut().poll(cx).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await;
        match finished {
            Some((address, Ok(io))) => return Ok((io, address)),
            Some((address, Err(error))) => failures.push((address, Arc::new(error))),
            None => {}
        }
    }
}

/// Families in turn, beginning with the one that the resolver prefers; no address twice.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !seen.contains(&address) {
            seen.push(address);
        }
    }
    let Some(v6_first) = seen.first().map(SocketAddr::is_ipv6) else { return seen };
    let (preferred, other): (Vec<_>, Vec<_>) = seen.into_iter().partition(|a| a.is_ipv6() == v6_first);

    let mut other = other.into_iter();
    let mut order = Vec::new();
    for address in preferred {
        order.push(address);
        order.extend(other.next());
    }
    order.extend(other);
    order
}

async fn dial_proxy(shared: &Shared, proxy: &Proxy) -> Result<BoxIo, HttpError> {
    let failed =
        |cause| HttpError::Proxy { proxy: proxy.target.place(), status: None, cause: Some(Arc::new(cause)) };
    let (io, _) = dial(&*shared.runtime, &proxy.target).await.map_err(failed)?;
    match proxy.target.secure {
        true => shared.tls.wrap(io, &proxy.target.host, false).await.map_err(failed),
        false => Ok(io),
    }
}

/// Asks a proxy to pass bytes through to `target`.
async fn open_tunnel(
    shared: &Shared,
    proxy: &Proxy,
    io: BoxIo,
    url: &Url,
    target: &Target,
) -> Result<BoxIo, HttpError> {
    let refused = |status, cause: Option<HttpError>| HttpError::Proxy {
        proxy: proxy.target.place(),
        status,
        cause: cause.map(Arc::new),
    };
    let ended = || HttpError::UnexpectedEnd { place: proxy.target.place() };

    let request = proxy.connect_request(&target.place(), &shared.config.user_agent);
    let request = request.map_err(|_| HttpError::invalid_url(url, "its host cannot be sent over HTTP"))?;
    let place = proxy.target.place();
    let mut exchange = Exchange::over(io, shared.config.max_buffer)
        .await
        .map_err(|error| refused(None, Some(HttpError::from_hyper(&place, error))))?;
    let answer = exchange.send(request).await;
    let answer = answer.map_err(|failed| refused(None, Some(failed.into_error(&place))))?;
    if !answer.status().is_success() {
        return Err(refused(Some(answer.status()), None));
    }
    exchange.into_tunnel().await.ok_or_else(|| refused(None, Some(ended())))
}

/// Runs `work`, but no longer than `after`.
pub(super) async fn within<T>(
    runtime: &dyn Runtime,
    after: Duration,
    what: &'static str,
    url: &Url,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    // Longer than the clock reaches is no limit.
    let Some(at) = runtime.now().checked_add(after) else { return work.await };
    let mut work = pin!(work);
    let mut timer = runtime.new_timer(at);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        timer.as_mut().poll(cx).map(|()| Err(HttpError::Timeout { what, place: place(url), after }))
    })
    .await
}

/// Runs `answer`, whose `head` may take as long as the server needs, but no longer than `after` once there were interim
/// responses: a server that sends those is not silent, and would not be noticed otherwise.
pub(super) async fn within_of_interim<T>(
    runtime: &dyn Runtime,
    after: Duration,
    url: &Url,
    head: &Head,
    answer: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    let mut answer = pin!(answer);
    let mut timer: Option<Pin<Box<dyn Timer>>> = None;
    poll_fn(|cx| {
        if let Poll::Ready(done) = answer.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        let Some(at) = runtime.now().checked_add(after).filter(|_| head.is_announced()) else {
            return Poll::Pending;
        };
        let timer = timer.get_or_insert_with(|| runtime.new_timer(at));
        let what = "the answer behind interim responses";
        timer.as_mut().poll(cx).map(|()| Err(HttpError::Timeout { what, place: place(url), after }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::interleave;

    #[test]
    #[cfg(not(feature = "tls"))]
    fn https_says_which_feature_it_needs() {
        let url = "https://user:pass@example.org/a?b".parse().unwrap();
        let error = super::Target::of(&url).err().unwrap();
        assert_eq!(
            error.to_string(),
            "cannot request https://example.org/a: https needs the feature `tls` of this crate"
        );
    }

    #[test]
    fn families_take_turns_and_doubles_vanish() {
        let address = |text: &str| text.parse().unwrap();
        let order = interleave(
            ["[::1]:1", "[::2]:1", "[::1]:1", "[::3]:1", "127.0.0.1:1", "127.0.0.2:1"].map(address).into(),
        );
        let expected = ["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "[::3]:1"].map(address);
        assert_eq!(order, expected);
        assert_eq!(interleave(["127.0.0.1:1", "[::1]:1"].map(address).into())[0], address("127.0.0.1:1"));
        assert!(interleave(Vec::new()).is_empty());
    }
}
