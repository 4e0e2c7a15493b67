//! A TCP proxy that does to a connection what networks do: cuts, resets, drops, freezes, tears, delays, refuses.
//!
//! It knows nothing of HTTP but how a request for a stream begins, so that a fault meant for the stream does not
//! hit the submit beside it.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    cell::Cell,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use event_listener::Event;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, select_biased};
use smol::net::{TcpListener, TcpStream};

/// A proxy in front of one server. Dropping it closes all it holds.
#[derive(Debug)]
pub(crate) struct Proxy {
    addr: SocketAddr,
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Rst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the server.
    Up,
    Down,
}

#[derive(Debug)]
struct Inner {
    target: SocketAddr,
    plan: Mutex<Plan>,
    changed: Event,
}

/// The faults that are set now.
#[derive(Debug, Default)]
struct Plan {
    refusing: bool,
    black: bool,
    frozen: Option<Way>,
    split: bool,
    delay: Duration,
    /// Bytes that streams may still bring, and what happens then.
    cut: Option<(usize, End)>,
    /// Connections accepted before this one end.
    doom: Option<(u64, End)>,
    accepted: u64,
    /// Bytes that went down to clients.
    carried: u64,
    listening: bool,
    closed: bool,
}

impl Proxy {
    pub(crate) fn start(target: SocketAddr) -> Self {
        let inner = Arc::new(Inner {
            target,
            plan: Mutex::new(Plan { refusing: true, ..Plan::default() }),
            changed: Event::new(),
        });
        let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let thread = std::thread::spawn({
            let inner = inner.clone();
            move || smol::block_on(inner.serve(addr))
        });
        let proxy = Self { addr, inner, thread: Some(thread) };
        proxy.refuse(false);
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.inner.plan().accepted
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Bytes that went down to clients so far.
    pub(crate) fn carried(&self) -> u64 {
        self.inner.plan().carried
    }

    pub(crate) async fn accepts_more_than(&self, count: u64) {
        self.inner.until(|plan| (plan.accepted > count).then_some(())).await;
    }

    /// Ends every connection that is open.
    pub(crate) fn end_all(&self, end: End) {
        self.inner.change(|plan| plan.doom = Some((plan.accepted, end)));
    }

    /// Lets streams bring `bytes` more, and then ends the one that brought the last of them. Once.
    pub(crate) fn cut_stream_after(&self, bytes: usize, end: End) {
        assert!(bytes > 0, "the cut comes with a byte");
        self.inner.change(|plan| plan.cut = Some((bytes, end)));
    }

    /// Goes on accepting, and loses every byte that comes from either side. When it is over the connections that
    /// lost bytes are reset, since nobody can give them back.
    pub(crate) fn black_hole(&self, on: bool) {
        self.inner.change(|plan| {
            if plan.black && !on {
                plan.doom = Some((plan.accepted, End::Rst));
            }
            plan.black = on;
        });
    }

    /// Keeps back what goes one way; nothing is lost.
    pub(crate) fn freeze(&self, way: Option<Way>) {
        self.inner.change(|plan| plan.frozen = way);
    }

    /// Writes every byte by itself.
    pub(crate) fn split_bytes(&self, on: bool) {
        self.inner.change(|plan| plan.split = on);
    }

    /// Each piece waits this long before it goes on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.inner.change(|plan| plan.delay = delay);
    }

    /// Nobody listens at the address. Returns when that is so; connections that are open stay.
    pub(crate) fn refuse(&self, on: bool) {
        self.inner.change(|plan| plan.refusing = on);
        smol::block_on(self.inner.until(|plan| (plan.listening != on).then_some(())));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.inner.change(|plan| plan.closed = true);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the proxy failed");
        }
    }
}

impl Inner {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        let value = change(&mut self.plan());
        self.changed.notify(usize::MAX);
        value
    }

    async fn until<T>(&self, wanted: impl Fn(&Plan) -> Option<T>) -> T {
        loop {
            let changed = self.changed.listen();
            if let Some(value) = wanted(&self.plan()) {
                return value;
            }
            changed.await;
        }
    }

    async fn serve(&self, addr: SocketAddr) {
        let links = smol::LocalExecutor::new();
        let accept = async {
            loop {
                self.until(|plan| (!plan.refusing || plan.closed).then_some(())).await;
                if self.plan().closed {
                    return;
                }
                let listener = TcpListener::bind(addr).await.expect("the address that was free");
                self.change(|plan| plan.listening = true);
                loop {
                    let mut stop = std::pin::pin!(
                        self.until(|plan| (plan.refusing || plan.closed).then_some(())).fuse()
                    );
                    let client = select_biased! {
                        () = stop => break,
                        accepted = listener.accept().fuse() => accepted.expect("a connection").0,
                    };
                    let serial = self.change(|plan| {
                        plan.accepted += 1;
                        plan.accepted - 1
                    });
                    links.spawn(self.link(serial, client)).detach();
                }
                drop(listener);
                self.change(|plan| plan.listening = false);
            }
        };
        links.run(accept).await;
    }

    /// The life of one connection.
    async fn link(&self, serial: u64, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.target).await else { return reset(&client) };
        client.set_nodelay(true).expect("a socket's option");
        server.set_nodelay(true).expect("a socket's option");
        let is_stream = Cell::new(false);
        let doomed =
            self.until(|plan| plan.doom.and_then(|(below, end)| (serial < below).then_some(end))).fuse();
        let up = self.pump(Way::Up, &is_stream, &client, &server).fuse();
        let down = self.pump(Way::Down, &is_stream, &server, &client).fuse();
        let (mut doomed, mut up, mut down) =
            (std::pin::pin!(doomed), std::pin::pin!(up), std::pin::pin!(down));
        let end = select_biased! { end = doomed => end, end = down => end, end = up => end };
        match end {
            End::Fin => _ = client.shutdown(std::net::Shutdown::Write),
            End::Rst => reset(&client),
        }
    }

    /// Carries bytes one way until something ends the connection.
    async fn pump(&self, way: Way, is_stream: &Cell<bool>, from: &TcpStream, to: &TcpStream) -> End {
        let (mut from, mut to) = (from.clone(), to.clone());
        let mut buffer = vec![0; 16 << 10];
        let mut black = false;
        loop {
            self.until(|plan| (plan.frozen != Some(way)).then_some(())).await;
            let read = match from.read(&mut buffer).await {
                Ok(0) => return End::Fin,
                Ok(read) => read,
                Err(_) => return End::Rst,
            };
            self.until(|plan| (plan.frozen != Some(way)).then_some(())).await;
            if way == Way::Up && buffer[..read].starts_with(b"GET /api/realtime") {
                is_stream.set(true);
            }
            let (split, delay) = {
                let plan = self.plan();
                black |= plan.black;
                (plan.split, plan.delay)
            };
            if black {
                continue;
            }
            if !delay.is_zero() {
                smol::Timer::after(delay).await;
            }
            for piece in buffer[..read].chunks(if split { 1 } else { read }) {
                let cut = match &mut self.plan().cut {
                    cut @ Some(_) if way == Way::Down && is_stream.get() => {
                        let (left, end) = cut.take().expect("matched above");
                        if left > piece.len() {
                            *cut = Some((left - piece.len(), end));
                            None
                        } else {
                            Some((left, end))
                        }
                    }
                    _ => None,
                };
                let passed = cut.map_or(piece, |(left, _)| &piece[..left]);
                if to.write_all(passed).await.is_err() {
                    return End::Rst;
                }
                if way == Way::Down {
                    self.plan().carried += passed.len() as u64;
                }
                if let Some((_, end)) = cut {
                    return end;
                }
            }
        }
    }
}

/// When it closes, that is a reset instead of an orderly end.
fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a socket's option");
}
