//! Make before break: a second stream is acknowledged before the first is let go, and while both run each change is
//! delivered once.
//!
//! There are two occasions. A stream is near the end that the server sets it. Or the set of topics changes while
//! events come: PocketBase forgets a stream's topics for some microseconds when it takes new ones, and what it would have
//! sent in these is lost without a word, so the new set goes to another stream while the old one goes on. The stream that
//! was replaced then waits its turn for the next change: in a burst of them, two streams take turns.

use std::time::{Duration, Instant};

use super::{
    ConnId, Engine, Outlet, Output,
    dialect::{Failure, Lifetimes},
    pairing::{Pairing, SKEW},
    session::{Held, InFlight, Phase, Role, Second, Session, SessionId, Submit},
    state::Reason,
};
use crate::event::{Gap, GapReason};

/// From the request of a second stream until the server has acknowledged its topics. Callers wait for that.
const PREPARATION: Duration = Duration::from_secs(5);

/// After a second stream that came to nothing, how long it goes without.
const ALONE: Duration = Duration::from_secs(60);

/// Events come, as long as the last one is no older than this.
const BUSY: Duration = Duration::from_secs(10);

/// How long a stream that was replaced is read on: what was sent before has come by then, and so has a copy of what it
/// has brought since.
pub(super) const OVERLAP: Duration = SKEW.saturating_mul(2);

impl<L: Outlet> Engine<L> {
    /// Sends the changed set: to the stream itself where there is nothing to lose, otherwise to a second one.
    pub(super) fn change_set(&mut self, now: Instant, id: SessionId) {
        let is_at_stake = self.is_at_stake(now, id);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(serial) = session.conn().map(|conn| conn.serial) else { return };
        let own = ConnId { session: id, serial };
        match session.second.as_deref_mut() {
            Some(Second { role: Role::Next { .. }, .. }) => {}
            None if is_at_stake => self.begin(now, id),
            Some(second) if is_at_stake && second.may_take_over_again() => {
                second.role = Role::Next { deadline: now + PREPARATION };
                let serial = second.conn.serial;
                self.submit(now, ConnId { session: id, serial });
            }
            // If there is an old one it stands in for a moment, but for what it has not heard of.
            _ => self.submit(now, own),
        }
    }

    /// When the stream is to be replaced because the server would end it soon.
    pub(super) fn renewal(&self, session: &Session) -> Option<Instant> {
        let Lifetimes { idle, life } = self.dialect.lifetimes()?;
        if self.held() != Held::Nothing || self.credentials.loss.is_some() || session.has_next() {
            return None;
        }
        let conn = session.conn()?;
        let open = session.open()?;
        let is_settled = open.live_since.is_some() && !open.stale && matches!(open.submit, Submit::Ready);
        if !is_settled || session.keys.iter().all(|key| self.dialect.is_local(key)) {
            return None;
        }
        // One that was replaced has time to come to its own end first.
        let at_last = session.second.is_some();
        let idle = conn.heard + idle.mul_f64(if at_last { 0.97 } else { 0.8 + 0.15 * conn.draw });
        let life = conn.born + life.mul_f64(if at_last { 0.99 } else { 0.9 + 0.08 * conn.draw });
        let due = idle.min(life);
        Some(session.alone_until.map_or(due, |until| due.max(until)))
    }

    pub(super) fn is_second(&self, id: ConnId) -> bool {
        let second = self.sessions.get(&id.session).and_then(|session| session.second.as_ref());
        second.is_some_and(|second| second.conn.serial == id.serial)
    }

    /// Opens a second stream.
    pub(super) fn begin(&mut self, now: Instant, id: SessionId) {
        self.give_up_old(now, id);
        let Some(conn) = self.connect(now, id) else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.second = Some(Box::new(Second { conn, role: Role::Next { deadline: now + PREPARATION } }));
    }

    /// Does for the second stream, and for what it leaves, what its state and the time call for.
    pub(super) fn tend_second(&mut self, now: Instant, id: SessionId) {
        self.pump_second(now, id);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let is_over = |pairing: &Pairing| pairing.until().is_none_or(|until| now >= until);
        if session.second.is_none() && session.pairing.as_deref().is_some_and(is_over) {
            session.pairing = None;
        }
    }

    fn pump_second(&mut self, now: Instant, id: SessionId) {
        let has_to_lose = self.has_to_lose(id);
        let held = self.held();
        let silence = self.dialect.silence_limit();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let is_submitting = session.is_submitting();
        let Some(second) = &session.second else { return };
        let conn = &second.conn;
        match second.role {
            Role::Next { deadline } if now >= deadline => self.abandon(now, id),
            Role::Next { .. } => {
                let Phase::Open(open) = &conn.phase else { return };
                if matches!(open.submit, Submit::Ready) && held == Held::Nothing {
                    if has_to_lose {
                        let conn = ConnId { session: id, serial: conn.serial };
                        session.pairing.get_or_insert_with(|| Box::new(Pairing::new(self.rng.u64(..))));
                        self.submit(now, conn);
                    } else {
                        self.let_go_of_second(id);
                    }
                }
            }
            Role::Old { .. } if now >= conn.heard + silence => {
                self.second_broke(now, id, &Reason::Silence(silence));
            }
            Role::Old { since } => {
                if conn.heard >= since && now >= since + OVERLAP && !is_submitting {
                    self.let_go_of_second(id);
                }
            }
        }
    }

    /// The answer to a submit of the second stream has come.
    pub(super) fn second_submitted(
        &mut self,
        now: Instant,
        id: ConnId,
        flight: InFlight,
        answer: Result<(), Failure>,
    ) {
        let Some(session) = self.sessions.get_mut(&id.session) else { return };
        match (session.second.as_ref().map(|second| second.role), answer) {
            (Some(Role::Next { .. }), Ok(())) => {
                let proof = session.open().and_then(|open| open.proof.given);
                session.take_over(now);
                self.stats.hand_overs += 1;
                self.accepted(now, id, flight);
                // Asked again at once, and if it is denied, so it has been since then.
                if let Some(open) = self.sessions.get_mut(&id.session).and_then(Session::open_mut) {
                    open.proof.given = open.proof.given.or(proof);
                }
            }
            (Some(Role::Next { .. }), Err(_)) => self.abandon(now, id.session),
            // A probe of the time before it was replaced.
            (Some(Role::Old { .. }) | None, _) => {}
        }
    }

    /// The first stream may have been without topics until now: what the old one brought meanwhile may be on its way.
    pub(super) fn stand_in(&mut self, now: Instant, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id)
            && let Some(Second { role: Role::Old { since }, .. }) = session.second.as_deref_mut()
        {
            *since = now;
        }
    }

    /// The second stream could not be opened, or has ended.
    pub(super) fn second_ended(&mut self, now: Instant, id: SessionId, failure: Option<Failure>) {
        let Some(second) = self.sessions.get(&id).and_then(|session| session.second.as_ref()) else { return };
        match (second.role, failure) {
            (Role::Next { .. }, _) => self.abandon(now, id),
            // Its link was sound to the end, and the server sent on it until then, which was after it was replaced.
            (Role::Old { since }, None) if now >= since + SKEW => {
                self.stats.disconnects.count(&Reason::EndedByServer);
                self.let_go_of_second(id);
            }
            (Role::Old { .. }, None) => self.second_broke(now, id, &Reason::EndedByServer),
            (Role::Old { .. }, Some(failure)) => self.second_broke(now, id, &Reason::Lost(failure.error())),
        }
    }

    /// Lets go of the second stream, if there is one.
    pub(super) fn let_go_of_second(&mut self, id: SessionId) {
        let second = self.sessions.get_mut(&id).and_then(|session| session.second.take());
        if let Some(second) = second {
            self.outputs.push_back(Output::Drop { conn: ConnId { session: id, serial: second.conn.serial } });
        }
    }

    /// Nothing comes of the second stream: the first has to do.
    fn abandon(&mut self, now: Instant, id: SessionId) {
        self.let_go_of_second(id);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.alone_until = Some(now + ALONE);
        }
    }

    /// The link of the stream that was replaced broke. If it has brought nothing since, it may have been dead before.
    fn second_broke(&mut self, now: Instant, id: SessionId, reason: &Reason) {
        self.stats.disconnects.count(reason);
        self.give_up_old(now, id);
    }

    /// Lets go of the stream that was replaced, whether it has shown to be sound or not.
    pub(super) fn give_up_old(&mut self, now: Instant, id: SessionId) {
        let Some(second) = self.sessions.get(&id).and_then(|session| session.second.as_ref()) else { return };
        let Role::Old { since: until } = second.role else { return };
        if let Some(since) = second.in_doubt_since(now) {
            self.tell_gap(id, Gap { since, until, reason: GapReason::Disconnected });
        }
        self.let_go_of_second(id);
    }

    /// Whether a change of the set may cost events: some are coming, for topics that stay.
    fn is_at_stake(&self, now: Instant, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(&id) else { return false };
        let Some(open) = session.open() else { return false };
        let is_busy = session.event_at.is_some_and(|at| now < at + BUSY);
        let is_alone = session.alone_until.is_some_and(|until| now < until);
        // Another identity is a gap in any case. So is a set that has to be tried in parts.
        let is_certain = self.credentials.loss.is_none()
            && open.acked_identity.as_ref() == Some(&self.credentials.identity())
            && open.batch >= session.keys.len();
        is_busy && !is_alone && is_certain && self.has_to_lose(id)
    }

    /// Whether some of what is wanted is acknowledged, by a server that would forget it for a moment.
    fn has_to_lose(&self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(&id) else { return false };
        let Some(serial) = session.conn().map(|conn| conn.serial) else { return false };
        let is_acked = |key| self.registry.get(key).is_some_and(|topic| topic.acked_on == Some(serial));
        self.dialect.submits().is_some()
            && session.keys.iter().any(|key| !self.dialect.is_local(key) && is_acked(key))
    }
}
