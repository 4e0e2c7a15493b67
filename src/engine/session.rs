//! One stream that is wanted: its topics, and the connection that carries them at the moment.

use std::{
    net::SocketAddr,
    num::NonZeroU64,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    State,
    backoff::Backoff,
    hand_over::OVERLAP,
    identity::Identity,
    pairing::{LONGEST_SKEW, Pairing, SKEW},
    state::Reason,
};
use crate::{Error, GapReason, event::Event, sse::Decoder};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId(pub(super) u32);

/// Counts connections. Never zero, so that a topic can say cheaply that it is acknowledged on none.
pub(super) type Serial = NonZeroU64;

/// Names one connection of one session. Inputs that name a past connection are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnId {
    pub(super) session: SessionId,
    pub(super) serial: Serial,
}

/// How long the set of topics must have been quiet before it is submitted, and how long a submit is put off at
/// most while it is not. 1,000 calls started together thus make one or two POSTs.
const QUIET: Duration = Duration::from_millis(3);
/// The same when the set changed while it was being submitted: a burst, made by a host that perhaps gets little time.
const QUIET_IN_BURST: Duration = Duration::from_millis(20);
const PUT_OFF: Duration = Duration::from_millis(100);

/// Offline for longer than this is told as `Suspended`.
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
    pub(super) backoff: Backoff,
    /// The address of the next stream, when the server compared addresses and found two.
    pub(super) pin: Option<SocketAddr>,
    pub(super) been_live: bool,
    /// Since when events may have been missed, and why, until the server has acknowledged all topics again.
    pub(super) hole: Option<(Instant, GapReason)>,
    /// Since when there has been no live stream though one was tried, and why the last try failed.
    pub(super) offline: Option<(Instant, Reason)>,
    /// Streams in a row that opened but on which nothing was acknowledged.
    pub(super) fruitless: u32,
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

#[derive(Debug)]
pub(super) enum Link {
    Idle,
    Waiting { until: Instant, why: Reason },
    Up(Box<Conn>),
}

/// A stream beside the one that carries the topics.
#[derive(Debug)]
pub(super) struct Second {
    pub(super) conn: Box<Conn>,
    /// It is to carry the topics, once the server has acknowledged them on it, which is tried until then.
    pub(super) next_until: Option<Instant>,
    /// It has carried them, and is read until it is certain that nothing was lost with it.
    pub(super) replaced: Option<Replaced>,
    /// When it last brought something that the first had brought or brought then.
    pub(super) paired: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Replaced {
    /// When another stream took over from it.
    pub(super) first: Instant,
    /// When it last did, or may have needed this one to stand in.
    pub(super) at: Instant,
    /// What it had brought by then was whole at this time.
    pub(super) whole: Instant,
    /// When it had brought something that came on the other stream too, both since `proof_from`: it is not behind any
    /// more. That it is heard shows nothing, since what it brings may have been on its way for long.
    pub(super) proved: Option<Instant>,
    pub(super) proof_from: Instant,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) serial: Serial,
    /// When it was asked for, and what sets its end apart from that of others: from 0 to 1.
    pub(super) born: Instant,
    pub(super) draw: f64,
    pub(super) decoder: Decoder,
    pub(super) peer: Option<SocketAddr>,
    /// Whom the server takes the stream for, or may take it for.
    pub(super) identity: Identity,
    /// When bytes last came.
    pub(super) heard: Instant,
    /// When bytes last came that left no message unfinished: what was lost with the connection came after it.
    pub(super) whole: Instant,
    pub(super) phase: Phase,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "connections are few, and open for most of their lives")]
pub(super) enum Phase {
    /// The request is under way.
    Connecting {
        deadline: Instant,
    },
    /// The head has come, the client id has not.
    Handshake {
        deadline: Instant,
    },
    Open(Open),
}

/// A stream that can carry topics.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) client_id: Box<str>,
    /// The handshake, told to its listeners once the topics are acknowledged, and again when it takes over again.
    pub(super) handshake: Option<Event>,
    pub(super) is_told: bool,
    /// Since when everything was acknowledged for the first time.
    pub(super) live_since: Option<Instant>,
    /// Whom it took the stream for when it last acknowledged a set.
    pub(super) acked_identity: Option<Identity>,
    pub(super) proof: Proof,
    /// The server's set is not, or may not be, what is wanted.
    pub(super) stale: bool,
    /// The server has a set of this stream.
    pub(super) submitted: bool,
    pub(super) submit: Submit,
    /// How many not yet acknowledged topics one submit may carry: halved while the server refuses sets without
    /// saying which topic it means, so that a bad topic is found and the others are not refused with it.
    pub(super) batch: usize,
    /// Submits in a row that failed for reasons that may pass, and how the last one failed.
    pub(super) failures: u32,
    pub(super) last_failure: Option<Error>,
}

/// Whether the server takes the stream for whom the client says. It never says so by itself: a token that it does not
/// take is answered as a guest's, and an identity that it drops is dropped in silence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Proof {
    /// When to ask.
    pub(super) due: Option<Instant>,
    /// When it was last certain.
    pub(super) given: Option<Instant>,
    /// Since when it has not been certain, once it was denied.
    pub(super) doubt: Option<Instant>,
    /// It was denied, and the token was submitted again.
    pub(super) is_last_chance: bool,
    /// The link itself is in doubt: no answer is an answer.
    pub(super) is_suspected: bool,
}

#[derive(Debug)]
pub(super) enum Submit {
    Ready,
    InFlight(InFlight),
    /// The last one failed for a reason that may pass.
    Waiting {
        until: Instant,
    },
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) keys: Vec<Arc<str>>,
    /// Not to set anything: sent without a token, to see whether the server refuses that for a stream of a user's.
    pub(super) is_probe: bool,
    /// Nothing that was wanted was held back.
    pub(super) complete: bool,
    pub(super) sent: Instant,
    pub(super) deadline: Instant,
}

impl Open {
    pub(super) fn new(client_id: &str, handshake: Option<Event>) -> Self {
        Self {
            client_id: client_id.into(),
            handshake,
            is_told: false,
            live_since: None,
            acked_identity: None,
            proof: Proof::default(),
            stale: true,
            submitted: false,
            submit: Submit::Ready,
            batch: usize::MAX,
            failures: 0,
            last_failure: None,
        }
    }
}

impl Open {
    fn is_live(&self, wanted: Option<&Identity>) -> bool {
        let is_for = |acked: &Identity| wanted.is_none_or(|wanted| wanted == acked);
        self.live_since.is_some() && self.acked_identity.as_ref().is_none_or(is_for)
    }
}

impl Second {
    /// The time in which a stream that was replaced may have missed events: what the server sent on it before may not
    /// have come, as it has not shown since that its link was sound, or is not long replaced.
    pub(super) fn in_doubt(&self, now: Instant) -> Option<Range<Instant>> {
        let Replaced { at, whole, .. } = self.replaced?;
        // What was on its way when it came to this was sent before.
        let since = whole.checked_sub(SKEW).unwrap_or(whole);
        self.done_at().is_none_or(|done| now < done).then_some(since..at)
    }

    /// Something has come on both streams, for the first time at `first`.
    pub(super) fn paired(&mut self, now: Instant, first: Instant) {
        match &mut self.replaced {
            None => self.paired = Some(now),
            Some(replaced) if first >= replaced.proof_from => _ = replaced.proved.get_or_insert(now),
            Some(_) => {}
        }
    }

    /// It is not behind the stream that replaced it.
    pub(super) fn is_sound(&self) -> bool {
        self.replaced.is_some_and(|replaced| replaced.proved.is_some())
    }

    /// When all that only it was sent has come.
    pub(super) fn done_at(&self) -> Option<Instant> {
        let Replaced { at, proved, .. } = self.replaced?;
        let proved = proved.map(|proved| (at + OVERLAP).max(proved + SKEW));
        // What was on its way comes in one go; after that it may bring nothing that the other brings too.
        let drained = (self.conn.heard >= at).then_some(self.conn.heard + LONGEST_SKEW);
        [proved, drained].into_iter().flatten().min()
    }

    /// Whether a stream that was replaced may take its turn again, which does not end `before` long.
    pub(super) fn may_take_over_again(&self, before: Option<Instant>) -> bool {
        let Phase::Open(open) = &self.conn.phase else { return false };
        let is_old = before.is_some_and(|before| self.conn.born < before);
        self.is_sound() && !is_old && matches!(open.submit, Submit::Ready) && open.batch == usize::MAX
    }
}

impl Session {
    pub(super) fn new(stream: &str) -> Self {
        Self {
            stream: stream.into(),
            keys: Vec::new(),
            weight: 0,
            changed: None,
            in_burst: false,
            link: Link::Idle,
            second: None,
            pairing: None,
            event_at: None,
            alone_until: None,
            backoff: Backoff::new(),
            pin: None,
            been_live: false,
            hole: None,
            offline: None,
            fruitless: 0,
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
            if let Phase::Open(open) = &mut conn.phase {
                open.stale = true;
            }
        }
    }

    /// A set is on its way to the server.
    pub(super) fn is_submitting(&self) -> bool {
        let second = self.second.as_ref().filter(|second| second.next_until.is_some());
        self.conn().into_iter().chain(second.map(|second| &*second.conn)).any(|conn| match &conn.phase {
            Phase::Open(open) => matches!(&open.submit, Submit::InFlight(flight) if !flight.is_probe),
            _ => false,
        })
    }

    /// The set goes out as it is.
    pub(super) fn settle(&mut self) {
        self.changed = None;
        self.in_burst = false;
    }

    /// When the set has been quiet for long enough. In the past when it has not changed.
    pub(super) fn due(&self, now: Instant) -> Instant {
        let quiet = if self.in_burst { QUIET_IN_BURST } else { QUIET };
        let due = self.changed.map_or(now, |(first, last)| (last + quiet).min(first + PUT_OFF));
        // One that has just been replaced takes the set as soon as it has shown to be sound.
        match self.second.as_deref() {
            Some(second) if !second.is_sound() => {
                second.replaced.map_or(due, |replaced| due.max(replaced.first + SKEW))
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
    pub(super) fn take_over(&mut self, now: Instant) {
        if let (Link::Up(first), Some(second)) = (&mut self.link, &mut self.second) {
            std::mem::swap(first, &mut second.conn);
            second.next_until = None;
            // All that a new one has brought was sent after it had the topics.
            let (proved, proof_from) = match second.replaced {
                None => (second.paired, first.born),
                Some(_) => (None, now),
            };
            let whole = second.conn.whole;
            second.replaced = Some(Replaced { first: now, at: now, whole, proved, proof_from });
            if let Phase::Open(open) = &mut first.phase {
                // It is another stream to those who want its id.
                open.is_told = false;
            }
        }
    }

    pub(super) fn open(&self) -> Option<&Open> {
        match &self.conn()?.phase {
            Phase::Open(open) => Some(open),
            _ => None,
        }
    }

    pub(super) fn open_mut(&mut self) -> Option<&mut Open> {
        match &mut self.conn_mut()?.phase {
            Phase::Open(open) => Some(open),
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
    pub(super) fn deadline(&self, now: Instant, silence: Duration, held: Held) -> Option<Instant> {
        if self.keys.is_empty() {
            // All that is left to do is to close the stream.
            return self.conn().map(|_| self.due(now));
        }
        let own = match &self.link {
            Link::Idle => None,
            Link::Waiting { .. } if held == Held::Streams => None,
            Link::Waiting { until, .. } => Some(*until),
            Link::Up(conn) => Some(match &conn.phase {
                Phase::Connecting { deadline } | Phase::Handshake { deadline } => *deadline,
                Phase::Open(open) => {
                    let submit = match &open.submit {
                        Submit::InFlight(flight) => Some(flight.deadline),
                        _ if held == Held::Submits => None,
                        Submit::Waiting { until } => Some(*until),
                        // It is the second's turn.
                        Submit::Ready if open.stale && self.has_next() => None,
                        Submit::Ready if open.stale => Some(self.due(now)),
                        Submit::Ready => open.proof.due,
                    };
                    let silence = conn.heard + silence;
                    submit.map_or(silence, |submit| submit.min(silence))
                }
            }),
        };
        let suspension = match &self.offline {
            Some((since, _)) if now < *since + SUSPENDED_AFTER => Some(*since + SUSPENDED_AFTER),
            _ => None,
        };
        let second = self.second_deadline(silence);
        [own, second, suspension].into_iter().flatten().min()
    }

    fn second_deadline(&self, silence: Duration) -> Option<Instant> {
        let Some(second) = self.second.as_deref() else {
            return self.pairing.as_ref()?.until();
        };
        let end = second.conn.heard + silence;
        match second.replaced {
            _ if second.next_until.is_some() => second.next_until,
            // It stands in while the first changes its set.
            Some(_) if self.is_submitting() => None,
            _ => Some(second.done_at().map_or(end, |done| end.min(done))),
        }
    }

    pub(super) fn has_next(&self) -> bool {
        self.second.as_ref().is_some_and(|second| second.next_until.is_some())
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
            Link::Waiting { until, why } => State::Waiting { until: *until, why: why.clone() },
            Link::Up(_) if self.open().is_some_and(|open| open.is_live(wanted)) => State::Live,
            Link::Up(_) => State::Connecting,
        }
    }

    /// What a caller that waited in vain is told.
    pub(super) fn last_error(&self) -> Option<Error> {
        if let Some(error) = self.open().and_then(|open| open.last_failure.clone()) {
            return Some(error);
        }
        let (_, why) = self.offline.as_ref()?;
        Some(why.error().cloned().unwrap_or_else(|| {
            Error::Protocol(format!("no stream lasted until the topics were acknowledged: {why}"))
        }))
    }
}
