//! Whether a request was meant for this machine.
//!
//! A page from elsewhere whose name was made to point here ("DNS rebinding") is
//! of the same origin to a browser, but its name stands in `Host`.

use std::net::IpAddr;

use hyper::Request;
use hyper::header;
use hyper::http::uri::Authority;

pub(super) const MISDIRECTED: &str =
    "The Host of the request is not localhost or a loopback address with the port of the hub.";

pub(super) fn is_meant<B>(request: &Request<B>, port: u16) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter().peekable();
    // What the target of a request names wins over its `Host`, so both count.
    hosts.peek().is_some()
        && hosts.all(|host| host.to_str().is_ok_and(|host| is_loopback(host, port)))
        && request.uri().authority().is_none_or(|named| is_loopback(named.as_str(), port))
}

fn is_loopback(host: &str, port: u16) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_here = address.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    !host.contains('@')
        && authority.port_u16().unwrap_or(80) == port
        && (is_here || name.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_with_the_port_of_the_hub_is_meant() {
        for host in ["127.0.0.1:8090", "localhost:8090", "LOCALHOST:8090", "[::1]:8090", "127.9.8.7:8090"] {
            assert!(is_loopback(host, 8090), "{host}");
        }
        for host in [
            "",
            "evil.example:8090",
            "127.0.0.1",
            "127.0.0.1:80",
            "localhost",
            "localhost.evil.example:8090",
            "127.0.0.1.evil.example:8090",
            "0.0.0.0:8090",
            "192.168.0.1:8090",
            "evil.example@localhost:8090",
            "::1",
            "localhost:8090, evil.example:8090",
            "[::2]:8090",
        ] {
            assert!(!is_loopback(host, 8090), "{host}");
        }
        assert!(is_loopback("localhost", 80));
    }
}
