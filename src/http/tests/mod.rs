//! Against scripted servers on the loopback interface: each says byte for byte what a test is about.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use hyper::Method;
use url::Url;

use super::{HttpClient, HttpConfig, HttpError, ProxyMode, Redirects, Request, Response};
use crate::rt::AsyncIo;

mod failure;
mod happy_eyeballs;
mod idle;
mod proxy;
mod redirect;
mod roundtrip;
mod tls;

/// Longer than anything takes here, so that a hang fails a test instead of blocking it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `script` on a thread of its own for each connection.
fn server(script: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = Arc::new(script);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let script = Arc::clone(&script);
            thread::spawn(move || script(stream.unwrap()));
        }
    });
    address
}

/// A server that gives the same answer to each request and shows what it was asked.
fn answering(answer: impl Into<String>) -> (SocketAddr, Receiver<Received>) {
    let (seen, requests) = mpsc::channel();
    let answer = answer.into();
    let address = server(move |mut stream| {
        let request = Received::from(&mut stream);
        _ = seen.send(request);
        stream.write_all(answer.as_bytes()).unwrap();
        wait_for_end(&mut stream);
    });
    (address, requests)
}

/// A request as a server sees it.
#[derive(Debug)]
struct Received {
    line: String,
    /// In lower case, as hyper sends the names.
    headers: Vec<(String, String)>,
    body: String,
}

impl Received {
    fn from(stream: &mut impl Read) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "the request ended inside its head");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().lines();
        let line = lines.next().unwrap().to_owned();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut request = Self { line, headers, body: String::new() };
        let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        request.body = String::from_utf8(body).unwrap();
        request
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} was sent twice");
        value
    }
}

/// Returns once the client has closed its side, by whatever means.
fn wait_for_end(stream: &mut impl Read) {
    let mut buffer = [0; 1024];
    while matches!(stream.read(&mut buffer), Ok(1..)) {}
}

/// With the headers of an empty answer.
fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn direct() -> HttpConfig {
    HttpConfig { proxy: ProxyMode::Off, ..HttpConfig::default() }
}

fn client(config: HttpConfig) -> HttpClient {
    HttpClient::new(Arc::new(AsyncIo), config).unwrap()
}

fn get(url: impl AsRef<str>) -> Request {
    let mut request = Request::new(Method::GET, Url::parse(url.as_ref()).unwrap());
    request.timeout = Some(PATIENCE);
    request
}

fn post(url: impl AsRef<str>, body: &'static str) -> Request {
    let mut request = get(url);
    request.method = Method::POST;
    request.headers.insert("content-type", "application/json".parse().unwrap());
    request.body = body.into();
    request
}

/// Sends with the default settings, from this thread.
fn send(request: Request) -> Result<Response, HttpError> {
    block_on(client(direct()).send(request))
}

fn text(response: Response) -> String {
    String::from_utf8(block_on(response.body.collect(1 << 20)).unwrap().to_vec()).unwrap()
}
