//! Hosts with several addresses, some of which lead nowhere.

use std::io;
use std::pin::Pin;
use std::time::Instant;

use futures::future::{self, BoxFuture};

use super::*;
use crate::rt::{BoxIo, Runtime, Timer};

/// Every host has these addresses; to one of them a connection never comes about.
#[derive(Debug)]
struct Rigged {
    addresses: Vec<SocketAddr>,
    black_hole: Option<SocketAddr>,
    /// By how much timers are late.
    late: Duration,
}

impl Runtime for Rigged {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
        match Some(address) == self.black_hole {
            true => Box::pin(future::pending()),
            false => AsyncIo.connect(address),
        }
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn Timer>> {
        AsyncIo.new_timer(at + self.late)
    }

    fn resolve(&self, _host: &str, _port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(future::ready(Ok(self.addresses.clone())))
    }
}

fn send_to(rigged: Rigged) -> Result<Response, HttpError> {
    block_on(HttpClient::new(Arc::new(rigged), direct()).unwrap().send(get("http://dual.invalid/")))
}

/// Nobody listens there.
fn closed(listener: &str) -> SocketAddr {
    TcpListener::bind(listener).unwrap().local_addr().unwrap()
}

#[test]
fn a_refused_family_gives_way_at_once() {
    let (open, _requests) = answering(ok(""));
    let closed = SocketAddr::new("::1".parse().unwrap(), closed("127.0.0.1:0").port());
    // The head start does not end within this test.
    let late = Duration::from_secs(30);
    let start = Instant::now();
    let response = send_to(Rigged { addresses: vec![closed, open], black_hole: None, late }).unwrap();
    assert_eq!(response.peer, Some(open));
    assert!(start.elapsed() < late, "it waited for its head start");
}

#[test]
fn a_silent_family_costs_a_quarter_of_a_second() {
    let (open, _requests) = answering(ok(""));
    let hole = "[::1]:9".parse().unwrap();
    let start = Instant::now();
    let response =
        send_to(Rigged { addresses: vec![hole, open], black_hole: Some(hole), late: Duration::ZERO })
            .unwrap();
    assert_eq!(response.peer, Some(open));
    assert!(start.elapsed() >= Duration::from_millis(250));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn all_failures_are_reported() {
    let (first, second) = (closed("127.0.0.1:0"), closed("127.0.0.2:0"));
    let error = send_to(Rigged { addresses: vec![first, second], black_hole: None, late: Duration::ZERO })
        .unwrap_err();
    let HttpError::Connect { attempts, .. } = &error else { panic!("{error:?}") };
    assert_eq!(attempts.iter().map(|(address, _)| *address).collect::<Vec<_>>(), [first, second]);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot reach dual.invalid:80: connection refused at {first}, connection refused at {second}; \
             is the server running?"
        )
    );
}

#[test]
fn a_name_without_addresses_is_unknown() {
    let error =
        send_to(Rigged { addresses: Vec::new(), black_hole: None, late: Duration::ZERO }).unwrap_err();
    assert!(matches!(error, HttpError::Resolve { .. }), "{error:?}");
}
