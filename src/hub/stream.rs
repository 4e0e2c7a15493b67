//! The outgoing side of an open stream, whatever is spoken on it: a queue, the
//! limits of its life, heartbeats, and the body of the response that it feeds.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Frame};
use smol::Timer;
use smol::future::FutureExt as _;

use super::faults::{IDLE, LIFE};
use super::state::{Shared, State};
use super::wire::{Fate, Link};

/// A queue is bounded in bytes as well as in messages.
const MAX_QUEUE_BYTES: usize = 256 << 20;
/// Held-back messages go out after this long even if their window never fills.
const REORDER_PATIENCE: Duration = Duration::from_millis(100);
const HEARTBEAT: &[u8] = b":keepalive\n\n";
/// A timer set further ahead than anyone waits.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// One open stream, as everything that is sent sees it.
pub(super) struct Outlet {
    pub(super) origin: Origin,
    link: Arc<Link>,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Messages waiting to be shuffled, and since when.
    held: Vec<Bytes>,
    held_since: Instant,
    /// The stream ends, cleanly, once its queue is empty.
    ending: bool,
    opened: Instant,
    last_message: Instant,
    next_heartbeat: Instant,
    waker: Option<Waker>,
}

/// What a stream was opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// `/api/realtime`: the id of the client.
    Client(String),
    /// RustBaaS.
    Feed(Feed),
    /// A path that the hub's owner made.
    Channel(String),
}

/// What a RustBaaS stream brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Feed {
    pub(super) collection: String,
    /// `{"kind", "record"}` instead of the record alone.
    pub(super) wrapped: bool,
    /// The expression in `?filter=`, which was parsed once and found good.
    pub(super) filter: Option<String>,
}

impl Outlet {
    pub(super) fn end(&mut self) {
        self.ending = true;
        self.wake();
    }

    pub(super) fn cut(&mut self, fate: Fate) {
        self.link.decide(fate);
    }

    pub(super) fn truncate(&mut self) {
        self.link.truncated.store(true, Ordering::SeqCst);
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn release(&mut self, order: &mut fastrand::Rng) {
        order.shuffle(&mut self.held);
        self.queue.extend(self.held.drain(..));
    }
}

impl State {
    pub(super) fn open_outlet(&mut self, link: Arc<Link>, origin: Origin) -> u64 {
        let now = Instant::now();
        let outlet = Outlet {
            origin,
            link,
            queue: VecDeque::new(),
            queued_bytes: 0,
            held: Vec::new(),
            held_since: now,
            ending: false,
            opened: now,
            last_message: now,
            next_heartbeat: now + self.settings.heartbeat,
            waker: None,
        };
        outlet.link.streaming.store(true, Ordering::SeqCst);
        let serial = self.ids.outlet();
        self.outlets.insert(serial, outlet);
        serial
    }

    /// Queues a message. `Order::Kept` is for what no shuffling may delay.
    pub(super) fn push(&mut self, outlet: u64, frame: Bytes, order: Order) {
        let Some(outlet) = self.outlets.get_mut(&outlet) else { return };
        let waiting = outlet.queue.len() + outlet.held.len();
        if waiting >= self.settings.queue || outlet.queued_bytes + frame.len() > MAX_QUEUE_BYTES {
            if outlet.link.decide(Fate::Cut) {
                self.counters().overflowed += 1;
            }
            return;
        }
        outlet.queued_bytes += frame.len();
        outlet.last_message = Instant::now();
        if self.faults.reorder > 1 && order == Order::Free {
            if outlet.held.is_empty() {
                outlet.held_since = outlet.last_message;
            }
            outlet.held.push(frame);
            if outlet.held.len() >= self.faults.reorder {
                outlet.release(&mut self.ids.order);
            }
        } else {
            outlet.queue.push_back(frame);
        }
        outlet.wake();
        self.counters().messages += 1;
    }

    /// The streams that were opened for this.
    pub(super) fn outlets_of(&self, origin: &Origin) -> Vec<u64> {
        let ours = self.outlets.iter().filter(|(_, outlet)| outlet.origin == *origin);
        ours.map(|(serial, _)| *serial).collect()
    }
}

/// Whether [`Faults::reorder`](super::Faults::reorder) may shuffle a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Kept,
    Free,
}

/// The body of a stream's response. When hyper drops it the reader is gone.
pub(super) struct Stream {
    shared: Arc<Shared>,
    outlet: u64,
    timer: Timer,
}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>, outlet: u64) -> Self {
        Self { shared, outlet, timer: Timer::never() }
    }
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            let deadline = {
                let mut state = this.shared.look();
                let state = &mut *state;
                let Some(outlet) = state.outlets.get_mut(&this.outlet) else {
                    return Poll::Ready(None);
                };
                let now = Instant::now();
                // The limits are PocketBase's; RustBaaS is not known to have any.
                let (life, idle, beats) = match outlet.origin {
                    Origin::Client(_) if state.settings.bosbase => (NEVER, IDLE, false),
                    Origin::Client(_) => (LIFE, IDLE, false),
                    Origin::Feed(_) => (NEVER, NEVER, true),
                    Origin::Channel(_) => (NEVER, NEVER, false),
                };
                // Life ends a busy stream too, and what is queued is lost then.
                let death = outlet.opened + state.faults.life.unwrap_or(life);
                if now >= death {
                    return Poll::Ready(None);
                }
                let patience = outlet.held_since + REORDER_PATIENCE;
                if !outlet.held.is_empty() && (outlet.ending || now >= patience) {
                    outlet.release(&mut state.ids.order);
                }
                if let Some(frame) = outlet.queue.pop_front() {
                    outlet.queued_bytes -= frame.len();
                    return Poll::Ready(Some(Ok(Frame::data(frame))));
                }
                let bored = outlet.last_message + state.faults.idle.unwrap_or(idle);
                if outlet.ending || now >= bored {
                    return Poll::Ready(None);
                }
                let mut next = death.min(bored);
                if beats {
                    if now >= outlet.next_heartbeat {
                        outlet.next_heartbeat = now + state.settings.heartbeat;
                        if !state.faults.heartbeats_lost {
                            return Poll::Ready(Some(Ok(Frame::data(HEARTBEAT.into()))));
                        }
                    }
                    next = next.min(outlet.next_heartbeat);
                }
                if !outlet.held.is_empty() {
                    next = next.min(patience);
                }
                outlet.waker = Some(cx.waker().clone());
                next
            };
            this.timer.set_at(deadline);
            if this.timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.change(|state| {
            if let Some(outlet) = state.outlets.remove(&self.outlet) {
                outlet.link.streaming.store(false, Ordering::SeqCst);
                outlet.link.truncated.store(false, Ordering::SeqCst);
                if let Origin::Client(id) = &outlet.origin {
                    state.clients.remove(id);
                }
            }
        });
    }
}
