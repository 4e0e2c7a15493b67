//! Who the client is, and whether its links can be trusted: tokens set by the host or its provider, and suspicion.

use std::time::{Duration, Instant, SystemTime};

use super::{
    Engine, Outlet, Output,
    conn::{Phase, SessionId},
    dialect::Streams,
    identity::{Identity, Token},
    session::{Held, Link},
    state::Reason,
};
use crate::Error;

/// A difference between the clocks that is more than a correction of the one on the wall.
const SLEPT: Duration = Duration::from_secs(10);

impl<L: Outlet> Engine<L> {
    /// Sets the token of everything that follows. Streams that the server has bound to another user are
    /// replaced, and nothing that they still bring reaches a listener.
    pub(crate) fn set_token(&mut self, now: Instant, token: Option<Token>, lasts: Option<Duration>) {
        if self.is_closed() {
            return;
        }
        let is_same = self.credentials.token == token;
        let before = self.credentials.identity();
        self.credentials.set(now, token, lasts);
        let identity = self.credentials.identity();
        if !before.may_become(&identity) {
            self.registry.outlets().for_each(Outlet::forget);
        }
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            // What is busy stays busy, and has perhaps said for how long.
            let is_refused = matches!(&session.link, Link::BackOff { why: Reason::Refused(error), .. }
                if matches!(error.status(), Some(401 | 403)));
            match self.dialect.streams() {
                Streams::Direct if session.conn().is_some_and(|conn| conn.identity != identity) => {
                    self.lose(now, id, Reason::IdentityChanged, None);
                }
                // It may have been the old token that was refused.
                Streams::Direct if is_refused => self.start(now, id),
                Streams::Direct => self.pump(now, id),
                Streams::Multiplexed { .. } => {
                    let Some(conn) = session.conn_mut() else { continue };
                    let Phase::Carrier(carrier) = &mut conn.phase else { continue };
                    if conn.identity.may_become(&identity) {
                        carrier.proof.is_last_chance = false;
                        let is_other = conn.identity != identity;
                        if !is_same || is_other {
                            session.outdate();
                        }
                        if is_other {
                            // One that was replaced is read on: what a guest gets, anyone may have.
                            self.withdraw(now, id, Duration::ZERO);
                        }
                        self.pump(now, id);
                    } else {
                        self.lose(now, id, Reason::IdentityChanged, None);
                    }
                }
            }
        }
    }

    /// The provider's answer. Whether it is wanted.
    pub(crate) fn token_provided(
        &mut self,
        now: Instant,
        token: Result<Option<Token>, Error>,
        lasts: Option<Duration>,
    ) -> bool {
        if !self.credentials.answered() {
            return false;
        }
        match token {
            // The one that the server does not take, once more.
            Ok(token) if self.credentials.loss.is_some() && token == self.credentials.token => {
                self.credentials.failed(now);
            }
            Ok(token) => {
                self.credentials.taken();
                self.set_token(now, token, lasts);
            }
            Err(error) => {
                self.credentials.failed(now);
                let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
                for id in ids {
                    if self.credentials.is_pending() {
                        self.give_up(now, id, &error);
                    }
                }
            }
        }
        self.update_state(now);
        true
    }

    /// Whether the host has a source of tokens.
    pub(crate) fn has_provider(&self) -> bool {
        self.config.has_provider
    }

    pub(crate) fn token(&self) -> Option<&Token> {
        self.credentials.token.as_ref()
    }

    /// The connections may be dead without a sign: the host says that the network changed, or the machine slept.
    /// Where the server can be asked without a side effect it is; otherwise a new stream is the only proof.
    pub(crate) fn suspect(&mut self, now: Instant) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let is_multiplexed = self.dialect.streams() != Streams::Direct;
            let Self { sessions, rng, config, .. } = self;
            let Some(session) = sessions.get_mut(&id) else { continue };
            match &mut session.link {
                Link::Idle => {}
                Link::BackOff { until, .. } => {
                    if let Some(delay) = session.backoff.hasten(config.backoff, rng) {
                        *until = (*until).min(now + delay);
                    }
                }
                Link::Up(conn) => match &mut conn.phase {
                    Phase::Carrier(carrier) if is_multiplexed && conn.identity != Identity::Guest => {
                        carrier.proof.due = Some(now);
                        carrier.proof.is_suspected = true;
                    }
                    _ => {
                        self.lose(now, id, Reason::Suspected, None);
                        continue;
                    }
                },
            }
            self.pump(now, id);
        }
    }

    /// The token may have expired: the server is asked whether it still takes the streams for the user's.
    pub(super) fn doubt_identity(&mut self, now: Instant) {
        for session in self.sessions.values_mut() {
            let Some(conn) = session.conn_mut() else { continue };
            if let (Identity::User { .. } | Identity::Opaque(_), Phase::Carrier(carrier)) =
                (&conn.identity, &mut conn.phase)
                && carrier.live_since.is_some()
                && self.dialect.submits().is_some()
            {
                carrier.proof.due = Some(now);
            }
        }
    }

    /// Compares the clocks: on most systems the one of timers stands still while the machine sleeps, and the one on
    /// the wall does not.
    pub(crate) fn look_at_clocks(&mut self, now: Instant, wall: SystemTime) {
        let Some((then, wall_then)) = self.clocks.replace((now, wall)) else { return };
        let passed = wall.duration_since(wall_then).unwrap_or_default();
        let slept = passed.saturating_sub(now.saturating_duration_since(then));
        if slept >= SLEPT {
            self.credentials.slept(slept);
            self.suspect(now);
        }
    }

    /// What cannot go on without a token that the provider has not given yet.
    pub(super) fn held(&self) -> Held {
        match self.dialect.streams() {
            _ if !self.credentials.is_pending() => Held::Nothing,
            Streams::Multiplexed { .. } => Held::Submits,
            Streams::Direct => Held::Streams,
        }
    }

    pub(super) fn ask_provider(&mut self, now: Instant) {
        if self.credentials.ask(now) {
            self.outputs.push_back(Output::WantToken);
        }
    }
}
