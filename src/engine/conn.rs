//! One connection of a session: how far it has come, and what the server is known to have of it.

use std::{
    net::SocketAddr,
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use super::identity::Identity;
use crate::{Error, event::Event, sse::Decoder};

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
    pub(super) watchdog: Watchdog,
    /// When bytes last came that left no message unfinished: what was lost with the connection came after it.
    pub(super) whole: Instant,
    pub(super) phase: Phase,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "connections are few, and open for most of their lives")]
pub(super) enum Phase {
    /// The request is under way.
    Connecting { deadline: Instant },
    /// The head has come, the client id has not.
    Handshake { deadline: Instant },
    /// It can carry topics.
    Carrier(Carrier),
}

/// Notices that a stream has fallen silent: its server would have sent something, or ended it, before.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// When bytes last came.
    pub(super) heard: Instant,
    /// The silence after which the stream is taken for dead. From the dialect.
    pub(super) limit: Duration,
}

/// A stream that can carry topics.
#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) client_id: Box<str>,
    /// The handshake, delivered to its listeners once the topics are acknowledged, and again when it takes over again.
    pub(super) handshake: Option<Event>,
    pub(super) is_announced: bool,
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
    Postponed {
        until: Instant,
    },
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) keys: Vec<Arc<str>>,
    /// Not to set anything: sent without a token, to see whether the server refuses that for a stream of a user's.
    pub(super) is_probe: bool,
    /// Nothing that was wanted was held back, but for topics that are parked.
    pub(super) complete: bool,
    /// It takes topics away that the server had.
    pub(super) removes: bool,
    pub(super) sent: Instant,
    pub(super) deadline: Instant,
}

impl Watchdog {
    /// When the stream is taken for dead, unless it is heard before.
    pub(super) fn due(&self) -> Instant {
        self.heard + self.limit
    }
}

impl Carrier {
    pub(super) fn new(client_id: &str, handshake: Option<Event>) -> Self {
        Self {
            client_id: client_id.into(),
            handshake,
            is_announced: false,
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

    pub(super) fn is_live(&self, wanted: Option<&Identity>) -> bool {
        let is_for = |acked: &Identity| wanted.is_none_or(|wanted| wanted == acked);
        self.live_since.is_some() && self.acked_identity.as_ref().is_none_or(is_for)
    }
}
