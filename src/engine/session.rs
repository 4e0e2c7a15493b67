//! One stream that is wanted: its topics, and the connection that carries them at the moment.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    State,
    backoff::Backoff,
    conn::{Carrier, Conn, Phase, Serial, Submit},
    identity::Identity,
    pairing::{Pairing, SKEW},
    second::{Life, Second},
    state::Reason,
};
use crate::{Error, GapReason};

/// How long the set of topics must have been quiet before it is submitted, and how long a submit is put off at
/// most while it is not. 1,000 calls started together thus make one or two POSTs.
const QUIET: Duration = Duration::from_millis(3);
/// The same when the set changed while it was being submitted: a burst, made by a host that perhaps gets little time.
const QUIET_IN_BURST: Duration = Duration::from_millis(20);
const PUT_OFF: Duration = Duration::from_millis(100);

/// Offline for longer than this is reported as `Suspended`.
const SUSPENDED_AFTER: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Session {
    /// The name of the stream, where streams have names.
    pub(super) stream: Box<str>,
    /// In the order of subscription.
    pub(super) keys: Vec<Arc<str>>,
    /// Bytes of `keys`.
    pub(super) weight: usize,
    /// First and last change of `keys` since they were last submitted.
    changed: Option<(Instant, Instant)>,
    /// Topics were taken out of it since then.
    removed: bool,
    /// Topics that the server refuses for a reason that may pass: each waits alone, and is then tried alone.
    pub(super) parked: Vec<Parked>,
    /// It changed while a submit was under way.
    in_burst: bool,
    pub(super) link: Link,
    /// A stream beside the one of `link`.
    pub(super) second: Option<Box<Second>>,
    /// What has come on either, while there are two and as long as copies may be on their way.
    pub(super) pairing: Option<Box<Pairing>>,
    /// When an event last came.
    pub(super) event_at: Option<Instant>,
    /// No second stream is tried before.
    pub(super) alone_until: Option<Instant>,
    /// Of streams, and of submits that fail for reasons that may pass.
    pub(super) backoff: Backoff,
    pub(super) submit_backoff: Backoff,
    /// The address of the next stream, when the server compared addresses and found two.
    pub(super) pin: Option<SocketAddr>,
    pub(super) been_live: bool,
    /// The last stream was lost before it was live.
    pub(super) has_failed: bool,
    /// Since when events may have been missed, and why, until the server has acknowledged all topics again.
    pub(super) hole: Option<(Instant, GapReason)>,
    /// Since when there has been no live stream though one was tried, and why the last try failed.
    pub(super) offline: Option<(Instant, Reason)>,
    /// Streams in a row that opened but on which nothing was acknowledged.
    pub(super) fruitless: u32,
    /// Answers in a row that there is no stream for now.
    pub(super) refused: u32,
    /// Since when the server has only given answers that do not get better by trying.
    pub(super) final_since: Option<Instant>,
}

/// What has to wait for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    Submits,
    Streams,
}

/// A topic that the server refused, alone, for a reason that may pass.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) key: Arc<str>,
    /// It is tried again then, and no sooner if the server has named the time.
    pub(super) until: Instant,
    pub(super) is_ordered: bool,
    pub(super) backoff: Backoff,
    /// How often, and how it was refused last.
    pub(super) answers: u32,
    pub(super) error: Error,
    /// Since when it may have missed events, where the others have been acknowledged since.
    pub(super) hole: Option<(Instant, GapReason)>,
}

#[derive(Debug)]
pub(super) enum Link {
    Idle,
    BackOff { until: Instant, why: Reason },
    Up(Box<Conn>),
}

impl Session {
    pub(super) fn new(stream: &str, least_delay: Duration) -> Self {
        Self {
            stream: stream.into(),
            keys: Vec::new(),
            weight: 0,
            changed: None,
            removed: false,
            parked: Vec::new(),
            in_burst: false,
            link: Link::Idle,
            second: None,
            pairing: None,
            event_at: None,
            alone_until: None,
            backoff: Backoff::at_least(least_delay),
            submit_backoff: Backoff::new(),
            pin: None,
            been_live: false,
            has_failed: false,
            hole: None,
            offline: None,
            fruitless: 0,
            refused: 0,
            final_since: None,
        }
    }

    pub(super) fn add(&mut self, now: Instant, key: Arc<str>, local: bool) {
        self.weight += key.len();
        self.keys.push(key);
        self.touch(now, local);
    }

    pub(super) fn remove(&mut self, now: Instant, key: &Arc<str>, local: bool) {
        if let Some(at) = self.keys.iter().position(|own| own == key) {
            self.weight -= key.len();
            self.keys.remove(at);
            self.parked.retain(|parked| parked.key != *key);
            self.removed |= !local;
            self.touch(now, local);
        }
    }

    /// The set has changed; if not only on this side, it is to be submitted.
    fn touch(&mut self, now: Instant, local: bool) {
        let first = self.changed.map_or(now, |(first, _)| first);
        self.changed = Some((first, now));
        if !local {
            self.outdate();
        }
        self.in_burst |= self.is_submitting();
    }

    /// What the server has is not what is wanted.
    pub(super) fn outdate(&mut self) {
        let second = self.second.as_mut().map(|second| &mut second.conn);
        let first = match &mut self.link {
            Link::Up(conn) => Some(conn),
            _ => None,
        };
        for conn in first.into_iter().chain(second) {
            if let Phase::Carrier(carrier) = &mut conn.phase {
                carrier.stale = true;
            }
        }
    }

    /// A set is on its way to the server.
    pub(super) fn is_submitting(&self) -> bool {
        let second = self.second.as_ref().filter(|second| second.next_until().is_some());
        self.conn().into_iter().chain(second.map(|second| &*second.conn)).any(|conn| match &conn.phase {
            Phase::Carrier(carrier) => {
                matches!(&carrier.submit, Submit::InFlight(flight) if !flight.is_probe)
            }
            _ => false,
        })
    }

    /// The set goes out as it is.
    /// Whether topics were taken out.
    pub(super) fn forget_changes(&mut self) -> bool {
        self.changed = None;
        self.in_burst = false;
        std::mem::take(&mut self.removed)
    }

    /// The server still has what was taken out.
    pub(super) fn still_removes(&mut self) {
        self.removed = true;
    }

    pub(super) fn is_parked(&self, key: &str) -> bool {
        self.parked.iter().any(|parked| &*parked.key == key)
    }

    /// A topic that has waited alone for long enough, unless a second stream takes it along.
    pub(super) fn parked_due(&self, now: Instant) -> Option<&Parked> {
        self.next_parked().filter(|parked| now >= parked.until && !self.has_next())
    }

    /// The topic that is to wait alone for the shortest time.
    pub(super) fn next_parked(&self) -> Option<&Parked> {
        self.parked.iter().min_by_key(|parked| parked.until)
    }

    /// When the set has been quiet for long enough. In the past when it has not changed.
    pub(super) fn due(&self, now: Instant) -> Instant {
        let quiet = if self.in_burst { QUIET_IN_BURST } else { QUIET };
        let due = self.changed.map_or(now, |(first, last)| (last + quiet).min(first + PUT_OFF));
        // One that has just been replaced takes the set as soon as it has shown to be sound.
        match self.second.as_deref() {
            Some(second) if !second.is_sound() => {
                second.past().map_or(due, |past| due.max(past.first + SKEW))
            }
            _ => due,
        }
    }

    pub(super) fn conn(&self) -> Option<&Conn> {
        match &self.link {
            Link::Up(conn) => Some(conn),
            _ => None,
        }
    }

    pub(super) fn conn_mut(&mut self) -> Option<&mut Conn> {
        match &mut self.link {
            Link::Up(conn) => Some(conn),
            _ => None,
        }
    }

    /// The stream of this serial, of two, and the topics.
    pub(super) fn stream_mut(&mut self, serial: Serial) -> Option<(&[Arc<str>], &mut Conn)> {
        let Self { keys, link, second, .. } = self;
        let conn = match link {
            Link::Up(conn) if conn.serial == serial => conn,
            _ => &mut second.as_mut().filter(|second| second.conn.serial == serial)?.conn,
        };
        Some((keys, conn))
    }

    /// The second stream takes the place of the first, which becomes the second.
    pub(super) fn take_over(&mut self, now: Instant, carries: Vec<Arc<str>>) {
        if let (Link::Up(first), Some(second)) = (&mut self.link, &mut self.second) {
            second.take_over(now, first);
            second.carries = carries;
            if let Phase::Carrier(carrier) = &mut first.phase {
                // It is another stream to those who want its id.
                carrier.is_announced = false;
            }
        }
    }

    pub(super) fn carrier(&self) -> Option<&Carrier> {
        match &self.conn()?.phase {
            Phase::Carrier(carrier) => Some(carrier),
            _ => None,
        }
    }

    pub(super) fn carrier_mut(&mut self) -> Option<&mut Carrier> {
        match &mut self.conn_mut()?.phase {
            Phase::Carrier(carrier) => Some(carrier),
            _ => None,
        }
    }

    /// Remembers that there is no live stream, and why the last try failed.
    pub(super) fn went_offline(&mut self, now: Instant, why: Reason) {
        let since = self.offline.take().map_or(now, |(since, _)| since);
        self.offline = Some((since, why));
    }

    /// Takes the connection away, leaving the session idle.
    pub(super) fn take_conn(&mut self) -> Option<Conn> {
        match std::mem::replace(&mut self.link, Link::Idle) {
            Link::Up(conn) => Some(*conn),
            other => {
                self.link = other;
                None
            }
        }
    }

    /// When this session wants to be looked at, at the latest.
    /// While it is `held`, for want of a token, nothing of its own begins.
    pub(super) fn deadline(&self, now: Instant, held: Held) -> Option<Instant> {
        if self.keys.is_empty() {
            // All that is left to do is to close the stream.
            return self.conn().map(|_| self.due(now));
        }
        let own = match &self.link {
            Link::Idle => None,
            Link::BackOff { .. } if held == Held::Streams => None,
            Link::BackOff { until, .. } => Some(*until),
            Link::Up(conn) => Some(match &conn.phase {
                Phase::Connecting { deadline } | Phase::Handshake { deadline } => *deadline,
                Phase::Carrier(carrier) => {
                    let submit = match &carrier.submit {
                        Submit::InFlight(flight) => Some(flight.deadline),
                        _ if held == Held::Submits => None,
                        Submit::Postponed { until } => Some(*until),
                        // It is the second's turn.
                        Submit::Ready if carrier.stale && self.has_next() => None,
                        Submit::Ready if carrier.stale => Some(self.due(now)),
                        Submit::Ready => {
                            let parked = self.next_parked().filter(|_| !self.has_next());
                            let parked = parked.map(|parked| parked.until.max(self.due(now)));
                            [carrier.proof.due, parked].into_iter().flatten().min()
                        }
                    };
                    let silence = conn.watchdog.due();
                    submit.map_or(silence, |submit| submit.min(silence))
                }
            }),
        };
        let suspension = match &self.offline {
            Some((since, _)) if now < *since + SUSPENDED_AFTER => Some(*since + SUSPENDED_AFTER),
            _ => None,
        };
        let second = self.second_deadline();
        [own, second, suspension].into_iter().flatten().min()
    }

    fn second_deadline(&self) -> Option<Instant> {
        let Some(second) = self.second.as_deref() else {
            return self.pairing.as_ref()?.until();
        };
        match second.life {
            Life::Next { until, .. } | Life::Again { until, .. } => Some(until),
            // It stands in while the first changes its set.
            Life::Replaced(_) if self.is_submitting() => None,
            Life::Replaced(_) => {
                let end = second.conn.watchdog.due();
                Some(second.done_at().map_or(end, |done| end.min(done)))
            }
        }
    }

    pub(super) fn has_next(&self) -> bool {
        self.second.as_ref().is_some_and(|second| second.next_until().is_some())
    }

    /// With `wanted`, it is live only once the server has acknowledged its topics for that identity.
    pub(super) fn state(&self, now: Instant, wanted: Option<&Identity>) -> State {
        if let Some((since, why)) = &self.offline
            && now >= *since + SUSPENDED_AFTER
        {
            return State::Suspended { since: *since, why: why.clone() };
        }
        match &self.link {
            Link::Idle => State::Idle,
            Link::BackOff { until, why } => State::Waiting { until: *until, why: why.clone() },
            Link::Up(_) => match self.carrier() {
                Some(carrier) if carrier.is_live(wanted) => State::Live,
                Some(carrier) => self.refused(carrier).unwrap_or(State::Connecting),
                None => State::Connecting,
            },
        }
    }

    /// The state of a stream that is up and has no topics yet, since the server refuses them for a reason that may pass.
    fn refused(&self, carrier: &Carrier) -> Option<State> {
        let (until, error) = match (&carrier.submit, self.next_parked()) {
            _ if carrier.live_since.is_some() => return None,
            (Submit::Postponed { until }, _) => (*until, carrier.last_failure.clone()?),
            (Submit::Ready, Some(parked)) => (parked.until, parked.error.clone()),
            (Submit::Ready | Submit::InFlight(_), _) => return None,
        };
        let why = if error.status().is_some() { Reason::Refused(error) } else { Reason::Lost(error) };
        Some(State::Waiting { until, why })
    }

    /// The error of a caller that waited in vain.
    pub(super) fn last_error(&self) -> Option<Error> {
        if let Some(error) = self.carrier().and_then(|carrier| carrier.last_failure.clone()) {
            return Some(error);
        }
        let (_, why) = self.offline.as_ref()?;
        Some(why.error().cloned().unwrap_or_else(|| {
            Error::protocol(format!("no stream lasted until the topics were acknowledged: {why}"))
        }))
    }
}
