//! What the machine needs without any client: the same bytes, read and counted.

use std::{
    io::{Read, Write},
    net::TcpStream,
    pin::pin,
};

use futures::future::{Either, select};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tidings::sse::{Decoder, Item};

use super::Task;
use crate::{
    TOPIC,
    sender::submit,
    work::{Data, Meter, Took},
};

/// The kernel's part.
pub fn tcp(task: &Task) -> Took {
    let url = task.stream();
    let (host, path) = url.trim_start_matches("http://").split_once('/').expect("a path");
    let mut socket = TcpStream::connect(host).expect("the sender listens");
    write!(socket, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").expect("the sender reads");
    let mut buffer = vec![0; 64 << 10];
    let mut handshake = traffic::HEAD.len() + traffic::handshake(traffic::CLIENT).len();
    while handshake > 0 {
        handshake -= socket.read(&mut buffer).expect("an answer");
    }
    submit(&url);
    let size = traffic::event(TOPIC, 0).len();
    let mut meter = Meter::new(task.work, task.events);
    let mut bytes = 0;
    loop {
        bytes += socket.read(&mut buffer).expect("events");
        if let Some(took) = meter.seen(bytes / size) {
            return took;
        }
        bytes %= size;
    }
}

/// The bytes of the body, as hyper finds them, its connection polled by who reads.
pub fn hyper(task: &Task) -> Took {
    let size = traffic::message(TOPIC, 0).len();
    let mut meter = Meter::new(task.work, task.events);
    let mut bytes = 0;
    read(task, |chunk| {
        bytes += chunk.len();
        let took = meter.seen(bytes / size);
        bytes %= size;
        took
    })
}

/// With the decoder of tidings and no client around it.
pub fn decoded(task: &Task) -> Took {
    let mut meter = Meter::new(task.work, task.events);
    let mut decoder = Decoder::new();
    read(task, |chunk| {
        let mut items = decoder.feed(chunk);
        while let Some(item) = items.next() {
            if let Item::Message(message) = item
                && let Some(took) = meter.take(&Data(message.data()))
            {
                return Some(took);
            }
        }
        None
    })
}

/// Reads the body of the stream after its handshake.
fn read(task: &Task, mut take: impl FnMut(&Bytes) -> Option<Took>) -> Took {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let url: hyper::Uri = task.stream().parse().expect("a URL");
        let host = url.authority().expect("a host").as_str();
        let socket = tokio::net::TcpStream::connect(host).await.expect("the sender listens");
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(socket)).await.expect("nothing is sent yet");
        let request =
            Request::get(url.path()).header("host", host).body(Empty::<Bytes>::new()).expect("valid");
        let reading = async {
            let mut body = sender.send_request(request).await.expect("an answer").into_body();
            body.frame().await.expect("a handshake").expect("bytes");
            submit(&task.url);
            loop {
                let frame = body.frame().await.expect("events").expect("bytes");
                if let Some(took) = frame.data_ref().and_then(&mut take) {
                    return took;
                }
            }
        };
        match select(pin!(reading), connection).await {
            Either::Left((took, _)) => took,
            Either::Right((ended, _)) => panic!("the stream has ended: {ended:?}"),
        }
    })
}
