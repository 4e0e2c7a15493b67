//! What a host sees of the connection: its state, with reasons, and counters.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::Error;

/// The state of a client's connection.
///
/// With many topics a client keeps more than one stream; the state is that of the one that is worst off.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum State {
    /// Nothing is subscribed, so nothing is connected.
    Idle,
    /// A stream is being opened or its topics are being submitted.
    Connecting,
    /// The stream is up and its topics are acknowledged. For a topic subscribed to since, see
    /// [`Subscription::ready`](crate::Subscription::ready).
    Live,
    /// The stream is up, but the server takes the client for a guest although it has a token: what only the user may
    /// see does not come. A token provider is being asked; without one, set a new token.
    Unauthenticated {
        /// Why: [`Reason::TokenExpired`], [`Reason::TokenRevoked`].
        why: Reason,
    },
    /// The connection failed and will be tried again.
    Waiting {
        /// When the next try begins.
        until: Instant,
        /// Why it failed.
        why: Reason,
    },
    /// There has been no connection for more than two minutes. The client goes on trying.
    Suspended {
        /// When the connection was lost, or first tried.
        since: Instant,
        /// Why the last try failed.
        why: Reason,
    },
    /// The end: the host closed the client, or the server gave an answer that trying again will not change. After
    /// the latter a new `subscribe` makes a new try.
    Closed {
        /// The server's answer; `None` when the host closed the client.
        why: Option<Error>,
    },
}

impl State {
    /// Whether this is [`State::Live`].
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live)
    }

    /// Whether this is [`State::Closed`].
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// The name of the state in lower case.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Unauthenticated { .. } => "unauthenticated",
            Self::Waiting { .. } => "waiting",
            Self::Suspended { .. } => "suspended",
            Self::Closed { .. } => "closed",
        }
    }

    /// Whether this was reported to the host already.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Waiting { until: a, .. }, Self::Waiting { until: b, .. }) => a == b,
            (Self::Suspended { since: a, .. }, Self::Suspended { since: b, .. }) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// How far from live; the worst stream's state is the client's.
    pub(super) fn distance(&self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::Live => 1,
            Self::Unauthenticated { .. } => 2,
            Self::Connecting => 3,
            Self::Waiting { .. } => 4,
            Self::Suspended { .. } => 5,
            Self::Closed { .. } => 6,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { why, .. } | Self::Suspended { why, .. } | Self::Unauthenticated { why } => {
                write!(f, "{}: {why}", self.as_str())
            }
            Self::Closed { why: Some(why) } => write!(f, "closed: {why}"),
            _ => f.pad(self.as_str()),
        }
    }
}

/// Why a connection ended or could not be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The server ended the stream in an orderly way: its idle or life limit, or a shutdown.
    EndedByServer,
    /// The network failed, or what answered is no event stream.
    Lost(Error),
    /// Nothing was heard for this long, though the server should have spoken or ended the stream.
    Silence(Duration),
    /// The server refused the connection or the topics.
    Refused(Error),
    /// The server does not know the stream any more, or knows it as another's.
    StreamRejected(Error),
    /// The token was replaced by that of another user.
    IdentityChanged,
    /// The host said that the network changed, or the machine slept: the connection may be dead.
    Suspected,
    /// The server does not take the token, and by the clock of this machine it has expired. That clock alone decides
    /// nothing: what the server goes on to send on an open stream comes.
    TokenExpired,
    /// The server does not take the token any more: it was revoked, the password changed, or the user is gone.
    TokenRevoked,
}

impl Reason {
    /// The error behind it, if there is one.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Lost(error) | Self::Refused(error) | Self::StreamRejected(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndedByServer => f.write_str("the server ended the stream"),
            Self::Lost(error) | Self::Refused(error) => error.fmt(f),
            Self::Silence(time) => write!(f, "nothing was heard for {time:?}"),
            Self::StreamRejected(error) => write!(f, "the stream was rejected: {error}"),
            Self::IdentityChanged => f.write_str("the token was replaced by that of another user"),
            Self::Suspected => f.write_str("the network changed or the machine slept"),
            Self::TokenExpired => f.write_str(
                "the server does not take the token any more; by the clock of this machine it has expired",
            ),
            Self::TokenRevoked => f.write_str("the server does not take the token any more"),
        }
    }
}

/// Counters of a client, all since it was made unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Streams that were tried to open.
    pub connects: u64,
    /// Streams on which the topics were acknowledged.
    pub connected: u64,
    /// Streams that ended or failed, by reason.
    pub disconnects: Disconnects,
    /// Sets of topics sent to the server.
    pub submits: u64,
    /// Times that the server was asked whether it still takes the client for who it is.
    pub probes: u64,
    /// Times that another stream took the place of one without an interruption.
    pub hand_overs: u64,
    /// Sets of topics that the server did not accept.
    pub submits_failed: u64,
    /// How long the last accepted submit took.
    pub submit_latency: Duration,
    /// Messages received, the handshake of each stream included.
    pub messages: u64,
    /// Bytes of streams received.
    pub bytes: u64,
    /// Events handed to listeners' queues: a message with three listeners counts three times.
    pub delivered: u64,
    /// Events dropped from the queues of listeners that did not keep up.
    pub lost: u64,
    /// The most events that ever waited for one listener.
    pub queue_high_water: usize,
    /// Messages that no listener wanted, such as one for a topic just unsubscribed.
    pub unmatched: u64,
    /// Messages dropped for their size.
    pub too_large: u64,
    /// Callbacks that panicked.
    pub panics: u64,
    /// Topics wanted now.
    pub topics: usize,
    /// Listeners now.
    pub listeners: usize,
    /// Streams open or being opened now.
    pub streams: usize,
}

/// Why streams ended, as counters; see [`Reason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnects {
    /// [`Reason::EndedByServer`].
    pub ended_by_server: u64,
    /// [`Reason::Lost`].
    pub lost: u64,
    /// [`Reason::Silence`].
    pub silence: u64,
    /// [`Reason::Refused`].
    pub refused: u64,
    /// [`Reason::StreamRejected`].
    pub rejected: u64,
    /// [`Reason::IdentityChanged`].
    pub identity_changed: u64,
    /// [`Reason::Suspected`].
    pub suspected: u64,
}

impl Disconnects {
    pub(super) fn count(&mut self, reason: &Reason) {
        *match reason {
            Reason::EndedByServer => &mut self.ended_by_server,
            Reason::Lost(_) => &mut self.lost,
            Reason::Silence(_) => &mut self.silence,
            Reason::Refused(_) => &mut self.refused,
            Reason::StreamRejected(_) => &mut self.rejected,
            Reason::IdentityChanged => &mut self.identity_changed,
            Reason::Suspected => &mut self.suspected,
            // These end no stream.
            Reason::TokenExpired | Reason::TokenRevoked => return,
        } += 1;
    }
}
