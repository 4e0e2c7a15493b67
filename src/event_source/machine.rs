//! What an event source decides: when to connect and with which id, whether a request may be made again, when to give
//! up on a silent or broken stream, how long to wait, and what to report. It does no I/O and takes no clock; time, bytes
//! and answers come in, [`Step`]s and [`SourceEvent`]s go out.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{Method, header::HeaderValue};

use crate::{
    Cut, Error, NetworkError, Reason, Refusal, State,
    engine::{Backoff, Bounds, LONGEST_FLOOR, LONGEST_RETRY_AFTER},
    sse::{Decoder, Item},
};

use super::{Opened, Policy, SourceEvent, SourceMessage};

/// A stream that lasted this long shows that the server is well: the next failure is a first one.
const HEALTHY: Duration = Duration::from_secs(60);

/// The longest id that is sent, in bytes. Servers refuse long heads (nginx and Apache from 8 KiB a line on), and an id
/// that is refused would be refused for ever.
const LONGEST_ID: usize = 4096;

pub(super) struct Settings {
    /// The reconnection time until the server sends one.
    pub(super) retry: Duration,
    pub(super) backoff: Bounds,
    pub(super) read_timeout: Option<Duration>,
    pub(super) repeat: Repeat,
    pub(super) limits: Limits,
}

/// When a source makes its request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Whenever there is no stream, for as long as the source is open: the `EventSource` of the standard.
    Always,
    /// Until the answer has begun, and only if nothing can have been done about the request. "A client SHOULD NOT
    /// automatically retry a request with a non-idempotent method" (RFC 9110, 9.2.2).
    UntilAnswered,
    Never,
}

/// When a source stops trying. A series of tries ends with a stream that delivers a message or lasts for a minute.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) tries: Option<u32>,
    pub(super) time: Option<Duration>,
}

impl Repeat {
    pub(super) fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Always,
            _ => Self::UntilAnswered,
        }
    }

    /// The limits unless the host sets some.
    pub(super) fn limits(self) -> Limits {
        match self {
            Self::UntilAnswered => Limits { tries: Some(3), time: Some(Duration::from_secs(60)) },
            Self::Always | Self::Never => Limits::default(),
        }
    }

    /// Whether the host's policy has a say about this status. "HTTP 204 No Content" is how a server tells an event source
    /// to stop; and with any success the answer has begun.
    pub(super) fn asks_about(self, status: u16) -> bool {
        status != 204 && (self != Self::UntilAnswered || !(200..300).contains(&status))
    }

    /// What is done about a status that the host's policy, if it was asked, has not decided.
    fn policy(self, status: u16) -> Policy {
        match (self, status) {
            (_, 204) => Policy::Fail,
            // The server was too busy to begin. 529 is Anthropic's "overloaded".
            (Self::UntilAnswered, 429 | 503 | 529) => Policy::Retry,
            (Self::UntilAnswered, _) => Policy::Fail,
            (Self::Always | Self::Never, status) => Policy::of(status),
        }
    }
}

pub(super) struct Machine {
    settings: Settings,
    decoder: Decoder,
    phase: Phase,
    series: Series,
    backoff: Backoff,
    rng: fastrand::Rng,
    /// Not asked for yet. No more than one piece of the stream decodes to, and what ended it.
    items: VecDeque<SourceEvent>,
    /// The id in force after the last item that was taken; the decoder may be ahead of it.
    last_event_id: String,
}

/// The tries since the server was last seen to work.
#[derive(Debug, Default)]
struct Series {
    tries: u32,
    since: Option<Instant>,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Opening,
    Open {
        since: Instant,
        /// When the last bytes came.
        heard: Instant,
        /// How many there were on this connection.
        messages: u64,
        /// Whether there was a message, or one that was too large.
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
    /// No server can have begun to act on the request.
    Unsent(Error),
    /// The connection broke once the request was on its way.
    Lost(Error),
    /// Trying again cannot help.
    Hopeless(Error),
    /// The status was not 200. With what the host's policy says about it.
    Refused(Refusal, Policy),
    /// The status was 200, and the body something else than an event stream.
    NotAStream(Error, Policy),
}

impl Machine {
    pub(super) fn new(settings: Settings, decoder: Decoder, seed: u64) -> Self {
        Self {
            settings,
            phase: Phase::Idle,
            series: Series::default(),
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
                self.series.tries += 1;
                self.series.since.get_or_insert(now);
                // What the last stream left unfinished is not part of the next.
                self.decoder.reset();
                Step::Connect(self.id_to_send())
            }
            // Until the answer is there, the request has a time limit of its own.
            Phase::Opening => Step::Exchange { silent_at: None },
            Phase::Open { heard, .. } => {
                Step::Exchange { silent_at: self.settings.read_timeout.map(|timeout| *heard + timeout) }
            }
            Phase::Ended { .. } => Step::End,
        }
    }

    /// The next event for the host.
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
        self.phase = Phase::Open { since: now, heard: now, messages: 0, fruitful: false };
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
        let Phase::Open { messages, fruitful, .. } = &mut self.phase else { return };
        let mut items = self.decoder.feed(bytes);
        while let Some(item) = items.next() {
            let event = match item {
                Item::Message(message) => {
                    *fruitful = true;
                    *messages += 1;
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
            self.items.push_back(event);
        }
        drop(items);
        if self.items.is_empty() {
            self.catch_up();
        }
    }

    /// Nothing was heard until the moment that [`Step::Exchange`] named.
    pub(super) fn silent(&mut self, now: Instant) {
        let timeout = self.settings.read_timeout.unwrap_or_default();
        self.lose(now, Reason::Silence(timeout), false, Duration::ZERO);
    }

    /// The stream could not be opened, or has ended; without a failure it ended as streams should.
    pub(super) fn ended(&mut self, now: Instant, failure: Option<Failure>) {
        let policy = |status, policy| match policy {
            Policy::Default => self.settings.repeat.policy(status),
            decided if self.settings.repeat.asks_about(status) => decided,
            _ => self.settings.repeat.policy(status),
        };
        match failure {
            None => self.lose(now, Reason::EndedByServer, false, Duration::ZERO),
            Some(Failure::Unsent(error)) => self.lose(now, Reason::Lost(error), true, Duration::ZERO),
            Some(Failure::Lost(error)) => self.lose(now, Reason::Lost(error), false, Duration::ZERO),
            Some(Failure::Hopeless(error)) => self.end(Some(error)),
            Some(Failure::NotAStream(error, decided)) => match policy(200, decided) {
                Policy::Retry => self.lose(now, Reason::Lost(error), false, Duration::ZERO),
                _ => self.end(Some(error)),
            },
            Some(Failure::Refused(refusal, decided)) => {
                let (status, after) = (refusal.status(), refusal.retry_after().unwrap_or_default());
                let error = Error::Refused(refusal);
                match policy(status, decided) {
                    Policy::Retry => self.lose(now, Reason::Refused(error), true, after),
                    _ => self.end(Some(error)),
                }
            }
        }
    }

    /// Forgets the connection, so that the next step is a new one; what has been decoded is still delivered.
    pub(super) fn restart(&mut self) {
        if !matches!(self.phase, Phase::Ended { .. }) {
            self.phase = Phase::Idle;
            self.series = Series::default();
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

    /// There is no stream. `harmless`: it is certain that the server has done nothing about the request.
    fn lose(&mut self, now: Instant, why: Reason, harmless: bool, at_least: Duration) {
        let again = match self.settings.repeat {
            Repeat::Always => true,
            Repeat::UntilAnswered => harmless,
            Repeat::Never => false,
        };
        if !again {
            return self.finish(why);
        }
        let (healthy, fruitful) = match self.phase {
            Phase::Open { since, fruitful, .. } => {
                let healthy = now.saturating_duration_since(since) >= HEALTHY;
                (healthy, fruitful || healthy)
            }
            _ => (false, false),
        };
        let orderly = fruitful && matches!(why, Reason::EndedByServer);
        if healthy || orderly {
            self.backoff.reset();
        }
        if fruitful {
            self.series = Series::default();
        }
        let delay = self.delay(orderly).max(at_least.min(LONGEST_RETRY_AFTER));
        let until = now + delay;
        if self.is_over(until) {
            return self.give_up(now, &why);
        }
        self.items.push_back(SourceEvent::Disconnected { why: why.clone(), retry_at: until });
        self.phase = Phase::Waiting { until, why };
    }

    /// How long to wait. Never less than the reconnection time and the least delay of the backoff; at random above
    /// that, so that clients of one server do not come back as one.
    fn delay(&mut self, orderly: bool) -> Duration {
        let asked = self.decoder.retry().map(|retry| retry.min(LONGEST_FLOOR));
        let base = asked.unwrap_or(self.settings.retry).max(self.settings.backoff.min);
        let spread = base + base / 2;
        if orderly {
            // A server that ends its streams now and then is not failing.
            return base + (spread - base).mul_f64(self.rng.f64());
        }
        let bounds = Bounds { min: base, max: self.settings.backoff.max.max(spread) };
        self.backoff.next(bounds, &mut self.rng)
    }

    /// Whether a next try, at this moment, would go over a limit.
    fn is_over(&self, retry_at: Instant) -> bool {
        let Limits { tries, time } = self.settings.limits;
        let elapsed = self.series.since.map(|since| retry_at.saturating_duration_since(since));
        tries.is_some_and(|most| self.series.tries >= most)
            || time.zip(elapsed).is_some_and(|(most, elapsed)| elapsed > most)
    }

    fn give_up(&mut self, now: Instant, why: &Reason) {
        let after = self.series.since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
        let why =
            error_of(why).unwrap_or_else(|| Error::protocol("the server ended the stream without a message"));
        self.end(Some(Error::GaveUp { tries: self.series.tries, after, why: Arc::new(why) }));
    }

    /// The end of the stream, or the failure to open one, is the end of the source.
    fn finish(&mut self, why: Reason) {
        let error = error_of(&why);
        let Phase::Open { messages, .. } = self.phase else { return self.end(error) };
        self.report_unfinished();
        self.end(error.map(|error| Error::Network(NetworkError::new(Cut::new(messages, error)))));
    }

    /// "Once the end of the file is reached, any pending data must be discarded" (HTML, 9.2.6). Some servers leave out the
    /// blank line after their last message, so the host is to know.
    fn report_unfinished(&mut self) {
        // A blank line would have made it a message.
        let mut decoder = self.decoder.clone();
        let mut items = decoder.feed(b"\n\n");
        while let Some(item) = items.next() {
            if let Item::Message(message) = item {
                self.items.push_back(SourceEvent::Unfinished(SourceMessage::new(&message)));
            }
        }
    }

    fn end(&mut self, why: Option<Error>) {
        self.items.push_back(SourceEvent::Closed { why: why.clone() });
        self.phase = Phase::Ended { why };
    }

    /// An id may hold control characters, which HTTP does not carry, and may be too long for it.
    fn id_to_send(&self) -> Option<HeaderValue> {
        let id = Some(self.decoder.last_event_id()).filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)?;
        HeaderValue::from_bytes(id.as_bytes()).ok()
    }

    fn catch_up(&mut self) {
        let id = self.decoder.last_event_id();
        if self.last_event_id != id {
            self.last_event_id.clear();
            self.last_event_id.push_str(id);
        }
    }
}

/// The error behind a reason; none behind an orderly end.
fn error_of(why: &Reason) -> Option<Error> {
    match why {
        Reason::Silence(after) => Some(Error::Timeout { what: "the next byte".into(), after: *after }),
        why => why.error().cloned(),
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
