//! The server: raw TCP, a thread for each connection.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::Misdeed;

/// Connections until a villain that is left by everyone has done its worst.
const ENOUGH: usize = 30;

pub(crate) struct Villain {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    misdeed: &'static Misdeed,
    rng: Mutex<fastrand::Rng>,
    connections: AtomicUsize,
    stop: AtomicBool,
    done: (async_channel::Sender<()>, async_channel::Receiver<()>),
}

impl Villain {
    pub(crate) fn start(misdeed: &'static Misdeed, rng: fastrand::Rng) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            misdeed,
            rng: Mutex::new(rng),
            connections: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            done: async_channel::bounded(1),
        });
        let ours = shared.clone();
        let acceptor = thread::spawn(move || {
            let mut peers = Vec::new();
            while let Ok((socket, _)) = listener.accept() {
                if ours.stop.load(Ordering::SeqCst) {
                    break;
                }
                let shared = ours.clone();
                peers.push(thread::spawn(move || shared.serve(socket)));
                peers.retain(|peer| !peer.is_finished());
            }
            // A panic here is the test's own fault, and has been printed.
            peers.into_iter().for_each(|peer| drop(peer.join()));
        });
        Self { addr, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// It has done its worst at least once, or has been left by so many connections that it never will.
    pub(crate) async fn done(&self) {
        self.shared.done.1.recv().await.expect("the villain lives");
    }
}

impl Drop for Villain {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes it.
        drop(TcpStream::connect(self.addr));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn serve(&self, socket: TcpStream) {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        let rng = self.rng.lock().unwrap().fork();
        let mut peer = Peer { socket, rng, stop: &self.stop, target: String::new() };
        let outcome = peer.read_request().and_then(|()| (self.misdeed.act)(&mut peer));
        let is_enough = self.connections.fetch_add(1, Ordering::SeqCst) + 1 >= ENOUGH;
        if outcome.is_ok() || is_enough {
            let _ = self.done.0.try_send(());
        }
        if outcome.is_ok() {
            peer.wait();
        }
    }
}

/// A connection, its request read.
pub(crate) struct Peer<'s> {
    socket: TcpStream,
    pub(crate) rng: fastrand::Rng,
    stop: &'s AtomicBool,
    /// Method and target of the request, in lower case.
    target: String,
}

impl Peer<'_> {
    fn read_request(&mut self) -> io::Result<()> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.socket.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: u64 = length.map_or(0, |length| length.trim().parse().unwrap());
        io::copy(&mut (&mut self.socket).take(length), &mut io::sink())?;
        self.target = head.split(" http/").next().unwrap_or_default().to_owned();
        Ok(())
    }

    /// Whether this is the request for a stream.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(&*self.target, "get /" | "get /api/realtime") || self.target.ends_with("/events")
    }

    pub(crate) fn is_list(&self) -> bool {
        self.target.ends_with("/records") || self.target == "get /"
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let mut bytes = bytes.as_ref();
        while !bytes.is_empty() {
            if self.stop.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match self.socket.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                // A client that does not read for now.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The same bytes again and again, so many in all.
    pub(crate) fn repeat(&mut self, bytes: impl AsRef<[u8]>, total: usize) -> io::Result<()> {
        let bytes = bytes.as_ref();
        let block = bytes.repeat((64 * 1024 / bytes.len()).max(1));
        for _ in 0..total.div_ceil(block.len()) {
            self.send(&block)?;
        }
        Ok(())
    }

    pub(crate) fn chunk(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = bytes.as_ref();
        self.send([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
    }

    pub(crate) fn answer(&mut self, status: u16, headers: &str, body: impl AsRef<[u8]>) -> io::Result<()> {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 {status} So\r\n{headers}content-length: {}\r\n\r\n", body.len());
        self.send(head)?;
        self.send(body)
    }

    /// The head of a stream.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        self.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    }

    /// A stream that is live as far as the client knows.
    pub(crate) fn go_live(&mut self) -> io::Result<()> {
        self.open()?;
        self.chunk("id:c\nevent:PB_CONNECT\ndata:{\"clientId\":\"c\"}\n\n")
    }

    pub(crate) fn hang_up(&mut self) -> io::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Both)
    }

    /// Keeps the connection until the client has left it or the villain is stopped.
    fn wait(&mut self) {
        let _ = self.socket.set_read_timeout(Some(Duration::from_millis(20)));
        let mut bytes = [0; 1024];
        while !self.stop.load(Ordering::SeqCst) {
            match self.socket.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(_) => return,
            }
        }
    }
}
