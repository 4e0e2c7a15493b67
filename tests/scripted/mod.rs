//! A server that does what the test says, one socket at a time, and a source that is followed on a thread.

#![allow(dead_code)] // No test needs all of it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::Duration,
};

use futures::StreamExt;
use tidings::{EventSource, SourceEvent, SourceHandle, SourceMessage};

/// How long anything may take before the test says that it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    address: SocketAddr,
    accepted: Receiver<TcpStream>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn listen(listener: TcpListener) -> Self {
        let (sender, accepted) = mpsc::channel();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept()
                && sender.send(socket).is_ok()
            {}
        });
        Self { address, accepted }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next connection, with its request read.
    pub(crate) fn accept(&self) -> Peer {
        let socket = self.accepted.recv_timeout(PATIENCE).expect("nobody connects");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let request_line = line();
        let headers: Vec<_> = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()))
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_ascii_lowercase(), value.trim().to_owned())
            })
            .collect();
        let mut peer = Peer { socket, request_line, headers, body: Vec::new() };
        peer.body = vec![0; peer.header("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut peer.body).unwrap();
        peer
    }

    /// How many connections were made up to now that were not accepted here.
    pub(crate) fn unaccepted(&self) -> usize {
        // Connections are accepted in order, so what comes before this one is all there is.
        let last = TcpStream::connect(self.address).unwrap();
        let is_last = |socket: &TcpStream| socket.peer_addr().unwrap() == last.local_addr().unwrap();
        std::iter::from_fn(|| self.accepted.recv_timeout(PATIENCE).ok())
            .take_while(|socket| !is_last(socket))
            .count()
    }

    /// The next connection, with an open stream.
    pub(crate) fn accept_stream(&self) -> Peer {
        let mut peer = self.accept();
        peer.open("text/event-stream");
        peer
    }
}

pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    pub(crate) request_line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Peer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }

    pub(crate) fn open(&mut self, content_type: &str) {
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n");
        self.socket.write_all(head.as_bytes()).unwrap();
    }

    pub(crate) fn send(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let head = format!("{:x}\r\n", text.len());
        self.socket.write_all(&[head.as_bytes(), text, b"\r\n"].concat()).unwrap();
    }

    /// Ends the stream as it should end.
    pub(crate) fn end(mut self) {
        self.socket.write_all(b"0\r\n\r\n").unwrap();
    }

    /// Breaks it off.
    pub(crate) fn cut(self) {
        self.socket.shutdown(Shutdown::Both).unwrap();
    }

    pub(crate) fn answer(mut self, status: u16, headers: &str, body: &str) {
        let head =
            format!("HTTP/1.1 {status} Because\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
        let head = if status == 204 { "HTTP/1.1 204 No Content\r\n\r\n" } else { &head };
        self.socket.write_all(head.as_bytes()).unwrap();
    }

    pub(crate) fn redirect(self, status: u16, location: &str) {
        self.answer(status, &format!("location: {location}\r\n"), "");
    }

    /// Waits until the other side has gone.
    pub(crate) fn waits_for_the_end(mut self) {
        let mut rest = Vec::new();
        // A reset is as good as an end.
        if let Err(error) = self.socket.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
}

/// A source that is polled on a thread of its own, and closed when this is dropped.
pub(crate) struct Follower {
    items: Receiver<SourceEvent>,
    pub(crate) handle: SourceHandle,
    thread: Option<JoinHandle<()>>,
}

pub(crate) fn follow(mut source: EventSource) -> Follower {
    let (sender, items) = mpsc::channel();
    let handle = source.handle();
    let thread = thread::spawn(move || {
        futures::executor::block_on(async {
            while let Some(item) = source.next().await {
                let _ = sender.send(item);
            }
        });
    });
    Follower { items, handle, thread: Some(thread) }
}

impl Follower {
    pub(crate) fn next(&self) -> SourceEvent {
        self.items.recv_timeout(PATIENCE).expect("no item")
    }

    pub(crate) fn message(&self) -> SourceMessage {
        match self.next() {
            SourceEvent::Message(message) => message,
            other => panic!("{other:?} is no message"),
        }
    }

    pub(crate) fn opened(&self) {
        let item = self.next();
        assert!(matches!(item, SourceEvent::Open(_)), "{item:?}");
    }

    pub(crate) fn disconnected(&self) -> (tidings::Reason, std::time::Instant) {
        match self.next() {
            SourceEvent::Disconnected { why, retry_at } => (why, retry_at),
            other => panic!("{other:?} is no disconnect"),
        }
    }

    /// The error that ended it, and nothing after it.
    pub(crate) fn ended(&self) -> Option<tidings::Error> {
        let SourceEvent::Closed { why } = self.next() else { panic!("not closed") };
        assert!(matches!(self.items.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected)));
        why
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.handle.close();
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}
