//! What an event source decides: when to connect and with which id, when to give up on a silent or broken stream,
//! how long to wait, what to tell. It does no I/O and takes no clock; time, bytes and answers come in, [`Step`]s and
//! [`SourceEvent`]s go out.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::header::HeaderValue;

use crate::{
    Error, Reason, Refusal, State,
    engine::{Backoff, Bounds, LONGEST_FLOOR, LONGEST_RETRY_AFTER},
    sse::{Decoder, Item},
};

use super::{Opened, Policy, SourceEvent, SourceMessage};

/// A stream that lasted this long shows that the server is well: the next failure is a first one.
const HEALTHY: Duration = Duration::from_secs(60);

/// The longest id that is sent back, in bytes. Servers refuse larger heads for good (431), at 8 KiB in many cases.
const LONGEST_ID: usize = 4096;

pub(super) struct Settings {
    /// The reconnection time until the server tells one.
    pub(super) retry: Duration,
    pub(super) backoff: Bounds,
    pub(super) read_timeout: Option<Duration>,
    /// Whether there is no second connection.
    pub(super) once: bool,
    pub(super) on_status: Arc<dyn Fn(u16) -> Policy + Send + Sync>,
}

pub(super) struct Machine {
    settings: Settings,
    decoder: Decoder,
    phase: Phase,
    backoff: Backoff,
    rng: fastrand::Rng,
    /// Not asked for yet. No more than one piece of the stream decodes to, and what ended it.
    items: VecDeque<SourceEvent>,
    /// The id in force after the last item that was taken; the decoder may be ahead of it.
    last_event_id: String,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Opening,
    Open {
        since: Instant,
        /// When the last bytes came.
        heard: Instant,
        /// Whether there was a message.
        fruitful: bool,
    },
    Waiting {
        until: Instant,
        why: Reason,
    },
    Ended {
        why: Option<Error>,
    },
}

/// What is to be done next.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Send the request, with this as its `Last-Event-ID`.
    Connect(Option<HeaderValue>),
    /// Wait for the answer or read the stream. At `silent_at` it has been silent for too long.
    Exchange {
        silent_at: Option<Instant>,
    },
    Wait(Instant),
    End,
}

/// Why a stream was not opened, or broke.
#[derive(Debug)]
pub(super) enum Failure {
    Lost(Error),
    /// Trying again cannot help.
    Hopeless(Error),
    /// The status was not 200.
    Refused(Refusal),
    /// The status was 200, and the body something else than an event stream.
    NotAStream(Error),
}

impl Machine {
    pub(super) fn new(settings: Settings, decoder: Decoder, seed: u64) -> Self {
        Self {
            settings,
            phase: Phase::Idle,
            backoff: Backoff::new(),
            rng: fastrand::Rng::with_seed(seed),
            items: VecDeque::new(),
            last_event_id: decoder.last_event_id().to_owned(),
            decoder,
        }
    }

    pub(super) fn step(&mut self, now: Instant) -> Step {
        match &self.phase {
            Phase::Waiting { until, .. } if now < *until => Step::Wait(*until),
            Phase::Idle | Phase::Waiting { .. } => {
                self.phase = Phase::Opening;
                // What the last stream left unfinished is not part of the next.
                self.decoder.reset();
                let id = self.decoder.last_event_id();
                // An id may hold control characters, which HTTP does not carry.
                let id = HeaderValue::from_bytes(id.as_bytes()).ok();
                Step::Connect(id.filter(|id| !id.is_empty() && id.len() <= LONGEST_ID))
            }
            // Until the answer is there, the request has a time limit of its own.
            Phase::Opening => Step::Exchange { silent_at: None },
            Phase::Open { heard, .. } => {
                Step::Exchange { silent_at: self.settings.read_timeout.map(|timeout| *heard + timeout) }
            }
            Phase::Ended { .. } => Step::End,
        }
    }

    /// The next thing to tell the host.
    pub(super) fn take_item(&mut self) -> Option<SourceEvent> {
        let item = self.items.pop_front()?;
        if self.items.is_empty() {
            self.catch_up();
        } else if let SourceEvent::Message(message) = &item {
            self.last_event_id.clear();
            self.last_event_id.push_str(message.id());
        }
        Some(item)
    }

    pub(super) fn opened(&mut self, now: Instant, opened: Opened) {
        self.phase = Phase::Open { since: now, heard: now, fruitful: false };
        self.items.push_back(SourceEvent::Open(opened));
    }

    /// Bytes have arrived, whatever they mean.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Phase::Open { heard, .. } = &mut self.phase {
            *heard = now;
        }
    }

    /// Decodes what has arrived.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let Phase::Open { fruitful, .. } = &mut self.phase else { return };
        let mut items = self.decoder.feed(bytes);
        while let Some(item) = items.next() {
            let told = match item {
                Item::Message(message) => {
                    *fruitful = true;
                    SourceEvent::Message(SourceMessage::new(&message))
                }
                Item::Comment(text) => SourceEvent::Comment(text.to_owned()),
                Item::TooLarge { limit } => {
                    *fruitful = true;
                    SourceEvent::TooLarge { limit }
                }
                // The decoder keeps it.
                Item::Retry(_) => continue,
            };
            self.items.push_back(told);
        }
        drop(items);
        if self.items.is_empty() {
            self.catch_up();
        }
    }

    /// Nothing was heard until the moment that [`Step::Exchange`] named.
    pub(super) fn silent(&mut self, now: Instant) {
        let timeout = self.settings.read_timeout.unwrap_or_default();
        self.lose(now, Reason::Silence(timeout), Duration::ZERO);
    }

    /// The stream could not be opened, or has ended; without a failure it ended as streams should.
    pub(super) fn ended(&mut self, now: Instant, failure: Option<Failure>) {
        match failure {
            None => self.lose(now, Reason::EndedByServer, Duration::ZERO),
            Some(Failure::Lost(error)) => self.lose(now, Reason::Lost(error), Duration::ZERO),
            Some(Failure::Hopeless(error)) => self.end(Some(error)),
            Some(Failure::NotAStream(error)) => match (self.settings.on_status)(200) {
                Policy::Retry => self.lose(now, Reason::Lost(error), Duration::ZERO),
                Policy::Fail => self.end(Some(error)),
            },
            Some(Failure::Refused(refusal)) => {
                let (status, after) = (refusal.status(), refusal.retry_after().unwrap_or_default());
                let error = Error::Refused(refusal);
                // "HTTP 204 No Content" is how a server tells an event source to stop; no policy overrules it.
                match status {
                    204 => self.end(Some(error)),
                    _ => match (self.settings.on_status)(status) {
                        Policy::Retry => self.lose(now, Reason::Refused(error), after),
                        Policy::Fail => self.end(Some(error)),
                    },
                }
            }
        }
    }

    /// Forgets the connection, so that the next step is a new one; what has been decoded is still told.
    pub(super) fn restart(&mut self) {
        if !matches!(self.phase, Phase::Ended { .. }) {
            self.phase = Phase::Idle;
        }
    }

    /// Ends it by the host's wish. What was not taken yet is dropped.
    pub(super) fn close(&mut self) {
        if !matches!(self.phase, Phase::Ended { .. }) {
            self.end(None);
        }
        self.items.retain(|item| matches!(item, SourceEvent::Closed { .. }));
    }

    pub(super) fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    pub(super) fn state(&self) -> State {
        match &self.phase {
            Phase::Idle => State::Idle,
            Phase::Opening => State::Connecting,
            Phase::Open { .. } => State::Live,
            Phase::Waiting { until, why } => State::Waiting { until: *until, why: why.clone() },
            Phase::Ended { why } => State::Closed { why: why.clone() },
        }
    }

    fn lose(&mut self, now: Instant, why: Reason, at_least: Duration) {
        let (healthy, fruitful) = match self.phase {
            Phase::Open { since, fruitful, .. } => {
                let healthy = now.saturating_duration_since(since) >= HEALTHY;
                (healthy, fruitful || healthy)
            }
            _ => (false, false),
        };
        if self.settings.once {
            return self.end(match why {
                Reason::Silence(after) => Some(Error::Timeout { what: "the next byte".into(), after }),
                why => why.error().cloned(),
            });
        }
        let orderly = fruitful && matches!(why, Reason::EndedByServer);
        if healthy || orderly {
            self.backoff.reset();
        }
        let delay = self.delay(orderly).max(at_least.min(LONGEST_RETRY_AFTER));
        let until = now + delay;
        self.items.push_back(SourceEvent::Disconnected { why: why.clone(), retry_at: until });
        self.phase = Phase::Waiting { until, why };
    }

    /// How long to wait. Never less than the reconnection time and the least delay of the back-off; at random above
    /// that, so that clients of one server do not come back as one.
    fn delay(&mut self, orderly: bool) -> Duration {
        let told = self.decoder.retry().map(|retry| retry.min(LONGEST_FLOOR));
        let base = told.unwrap_or(self.settings.retry).max(self.settings.backoff.min);
        let spread = base + base / 2;
        if orderly {
            // A server that ends its streams now and then is not failing.
            return base + (spread - base).mul_f64(self.rng.f64());
        }
        let bounds = Bounds { min: base, max: self.settings.backoff.max.max(spread) };
        self.backoff.next(bounds, &mut self.rng)
    }

    fn end(&mut self, why: Option<Error>) {
        self.items.push_back(SourceEvent::Closed { why: why.clone() });
        self.phase = Phase::Ended { why };
    }

    fn catch_up(&mut self) {
        let id = self.decoder.last_event_id();
        if self.last_event_id != id {
            self.last_event_id.clear();
            self.last_event_id.push_str(id);
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
