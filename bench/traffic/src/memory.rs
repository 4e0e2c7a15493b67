//! A network without sockets: one thread, no kernel, the same instructions in each run.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use futures::{
    AsyncRead, AsyncWrite,
    future::{BoxFuture, ready},
};
use tidings::rt::{BoxIo, Runtime, Timer};

use crate::{ACCEPTED, HEAD, handshake};

/// A runtime whose every connection leads to a server in memory.
///
/// Its clock jumps ahead while there is nothing else to do, so nobody waits.
#[derive(Clone, Debug, Default)]
pub struct Network(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    streams: Vec<Stream>,
    /// How far the clock is ahead of the true one.
    ahead: Duration,
    /// What is waited for next.
    deadline: Option<Instant>,
}

/// A stream that was opened, in the order of opening: its place is its client id.
#[derive(Debug, Default)]
struct Stream {
    topics: Vec<String>,
    to_read: VecDeque<Arc<[u8]>>,
    /// How much of the first was read.
    read: usize,
    reader: Option<Waker>,
}

impl Network {
    /// The topics that were submitted for each stream.
    pub fn topics(&self) -> Vec<Vec<String>> {
        self.state().streams.iter().map(|stream| stream.topics.clone()).collect()
    }

    /// Frees what it knows of topics, so that it is not taken for the client's.
    pub fn forget_topics(&self) {
        for stream in &mut self.state().streams {
            stream.topics = Vec::new();
        }
    }

    /// Puts bytes on each stream.
    pub fn send(&self, bytes: &[Arc<[u8]>]) {
        for (stream, bytes) in self.state().streams.iter_mut().zip(bytes) {
            stream.to_read.push_back(bytes.clone());
            stream.reader.take().inspect(Waker::wake_by_ref);
        }
    }

    /// Polls a client's driver until `done` is.
    pub fn run(&self, mut driver: Pin<&mut dyn Future<Output = ()>>, mut done: impl FnMut() -> bool) {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        while !done() {
            self.state().deadline = None;
            assert!(driver.as_mut().poll(&mut cx).is_pending(), "the client has closed");
            if !woken.0.swap(false, Ordering::Relaxed) && !done() {
                let now = self.now();
                let mut state = self.state();
                let deadline = state.deadline.expect("something is waited for");
                state.ahead += deadline.saturating_duration_since(now);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it is locked")
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Runtime for Network {
    fn connect(&self, _address: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
        let connection = Connection { network: self.clone(), request: Vec::new(), role: Role::Unknown };
        Box::pin(ready(Ok(Box::new(connection) as BoxIo)))
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn Timer>> {
        Box::pin(Alarm { network: self.clone(), at })
    }

    fn now(&self) -> Instant {
        Instant::now() + self.state().ahead
    }
}

struct Alarm {
    network: Network,
    at: Instant,
}

impl Timer for Alarm {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.at = at;
    }

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        if self.network.now() >= self.at {
            return Poll::Ready(());
        }
        let mut state = self.network.state();
        state.deadline = Some(state.deadline.map_or(self.at, |earlier| earlier.min(self.at)));
        Poll::Pending
    }
}

struct Connection {
    network: Network,
    request: Vec<u8>,
    role: Role,
}

enum Role {
    Unknown,
    /// The stream at this place.
    Stream(usize),
    /// What is left of the answer to a submit.
    Submit(&'static [u8]),
}

impl Connection {
    /// Does what the request wants, once it is whole.
    fn look(&mut self) {
        let text = String::from_utf8_lossy(&self.request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return };
        let mut state = self.network.state();
        if head.starts_with("GET") {
            let place = state.streams.len();
            let first = [HEAD, &handshake(&format!("client-{place}"))].concat();
            let to_read = VecDeque::from([first.into()]);
            state.streams.push(Stream { to_read, ..Stream::default() });
            self.role = Role::Stream(place);
        } else if let Ok(submit) = serde_json::from_str::<serde_json::Value>(body) {
            let client = submit["clientId"].as_str().and_then(|id| id.strip_prefix("client-"));
            let place: usize = client.and_then(|place| place.parse().ok()).expect("one of ours");
            let topics = submit["subscriptions"].as_array().expect("a list").iter();
            state.streams[place].topics = topics.filter_map(|key| key.as_str()).map(str::to_owned).collect();
            self.role = Role::Submit(ACCEPTED);
        }
        drop(state);
        if !matches!(self.role, Role::Unknown) {
            self.request = Vec::new();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match &mut this.role {
            // hyper reads before it writes, and polls again after.
            Role::Unknown => Poll::Pending,
            Role::Submit(rest) => Poll::Ready(io::Read::read(rest, buffer)),
            Role::Stream(place) => {
                let mut state = this.network.state();
                let stream = &mut state.streams[*place];
                let Some(first) = stream.to_read.front() else {
                    stream.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                };
                let rest = &first[stream.read..];
                let read = rest.len().min(buffer.len());
                buffer[..read].copy_from_slice(&rest[..read]);
                stream.read += read;
                if stream.read == first.len() {
                    stream.to_read.pop_front();
                    stream.read = 0;
                }
                Poll::Ready(Ok(read))
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.request.extend_from_slice(bytes);
        self.look();
        // What it waits to read may be there now.
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
