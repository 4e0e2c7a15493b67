//! Handover (make-before-break): a second stream is acknowledged before the first is closed, and while both run each change
//! is delivered once.
//!
//! There are two occasions. A stream is near the end that the server sets it. Or the set of topics changes while
//! events come: PocketBase forgets a stream's topics for some microseconds when it takes new ones, and what it would have
//! sent in these is lost in silence, so the new set goes to another stream while the old one goes on. The stream that
//! was replaced then waits its turn for the next change: in a burst of them, two streams take turns.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ConnId, Engine, ListenerId, Outlet, Output,
    backoff::bounded,
    conn::{InFlight, Phase, SessionId, Submit},
    dialect::{Failure, Lifetimes, SubmitVerdict},
    pairing::{OVERLAP, Pairing, SKEW},
    second::{Life, Past, Second},
    session::{Held, Session},
    state::Reason,
};
use crate::{
    Error,
    event::{Gap, GapReason},
};

/// From the request of a second stream until the server has acknowledged its topics. Callers wait for that.
const PREPARATION: Duration = Duration::from_secs(5);

/// After a second stream that came to nothing, how long it goes without.
const ALONE: Duration = Duration::from_secs(60);

/// Events come, as long as the last one is no older than this.
const BUSY: Duration = Duration::from_secs(10);

/// How long before its end a stream is replaced at the last.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// What listeners hear of the end of a second stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Report {
    /// A gap, if the stream may have missed something, as far as is known now.
    Gap(Instant),
    /// Nothing: it missed nothing, or what ends with it reports more.
    Nothing,
}

impl<L: Outlet> Engine<L> {
    /// Sends the changed set: to the stream itself where there is nothing to lose, otherwise to a second one.
    pub(super) fn change_set(&mut self, now: Instant, id: SessionId) {
        if self.sessions.get(&id).is_none_or(Session::has_next) {
            return;
        }
        let is_at_stake = self.is_at_stake(now, id);
        let until = self.preparation(now, id);
        let spent =
            self.dialect.lifetimes().and_then(|Lifetimes { life, .. }| now.checked_sub(life.mul_f64(0.9)));
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(serial) = session.conn().map(|conn| conn.serial) else { return };
        let serial = match session.second.as_deref_mut() {
            None if is_at_stake => return self.begin(now, id),
            Some(second) if is_at_stake && second.may_take_over_again(spent) => {
                if let Life::Replaced(past) = second.life {
                    second.life = Life::Again { until, past };
                }
                second.conn.serial
            }
            // If there is an old one it stands in, but for what it has not heard of.
            _ => serial,
        };
        self.submit(now, ConnId { session: id, serial });
    }

    /// When the stream is to be replaced because the server would end it soon.
    pub(super) fn renewal(&self, session: &Session) -> Option<Instant> {
        let Lifetimes { idle, life } = self.dialect.lifetimes()?;
        if !self.config.hand_over || self.held() != Held::Nothing || self.credentials.loss.is_some() {
            return None;
        }
        let conn = session.conn()?;
        let carrier = session.carrier()?;
        let is_settled =
            carrier.live_since.is_some() && !carrier.stale && matches!(carrier.submit, Submit::Ready);
        if !is_settled || session.has_next() || session.keys.iter().all(|key| self.dialect.is_local(key)) {
            return None;
        }
        // One that was replaced and not heard since has time to come to its own end, which shows that it was sound.
        let is_last_chance = session.second.is_some();
        let idle = conn.watchdog.heard
            + if is_last_chance { idle - LAST_MOMENT } else { idle.mul_f64(0.8 + 0.15 * conn.draw) };
        let life = conn.born
            + if is_last_chance { life - LAST_MOMENT } else { life.mul_f64(0.9 + 0.08 * conn.draw) };
        let due = idle.min(life);
        Some(session.alone_until.map_or(due, |until| due.max(until)))
    }

    pub(super) fn is_second(&self, id: ConnId) -> bool {
        let second = self.sessions.get(&id.session).and_then(|session| session.second.as_ref());
        second.is_some_and(|second| second.conn.serial == id.serial)
    }

    /// Whether a change of the set waits for a sign of life of this stream, which was replaced.
    pub(super) fn is_awaited(&self, id: ConnId) -> bool {
        let session = self.sessions.get(&id.session);
        session.is_some_and(|session| {
            !session.has_next() && session.carrier().is_some_and(|carrier| carrier.stale)
        }) && self.is_second(id)
    }

    /// Opens a second stream.
    pub(super) fn begin(&mut self, now: Instant, id: SessionId) {
        self.close_second(id, Report::Gap(now));
        let until = self.preparation(now, id);
        let Some(conn) = self.connect(now, id) else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.second =
            Some(Box::new(Second { conn, life: Life::Next { until, paired: None }, carries: Vec::new() }));
    }

    /// Until when a second stream is tried: callers wait for it, and the first has to have its turn in time.
    fn preparation(&self, now: Instant, id: SessionId) -> Instant {
        let waits = |listener: &ListenerId| {
            self.registry.topic_of(*listener).is_some_and(|topic| topic.session == id)
                && self.registry.entry(*listener).is_some_and(|entry| !entry.ready)
        };
        let first = self.waiters.iter().find(|(_, listener, _)| waits(listener));
        let half = first.map(|(until, ..)| now + until.saturating_duration_since(now) / 2);
        half.unwrap_or(now + PREPARATION).min(now + PREPARATION)
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
        let Some(session) = self.sessions.get(&id) else { return };
        let Some(second) = session.second.as_deref() else { return };
        let conn = ConnId { session: id, serial: second.conn.serial };
        match second.life {
            Life::Next { until, .. } | Life::Again { until, .. } if now >= until => {
                self.withdraw(now, id, ALONE);
            }
            Life::Next { .. } | Life::Again { .. } => {
                let is_ready = match &second.conn.phase {
                    Phase::Carrier(carrier) => matches!(carrier.submit, Submit::Ready),
                    _ => false,
                };
                if !is_ready || self.held() != Held::Nothing {
                    return;
                }
                if !self.has_to_lose(id) || self.credentials.loss.is_some() {
                    return self.withdraw(now, id, Duration::ZERO);
                }
                let salt = self.rng.u64(..);
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.pairing.get_or_insert_with(|| Box::new(Pairing::new(salt))).together();
                }
                self.submit(now, conn);
            }
            Life::Replaced(_) if now >= second.conn.watchdog.due() => {
                self.stats.disconnects.count(&Reason::Silence(second.conn.watchdog.limit));
                self.close_second(id, Report::Gap(now));
            }
            Life::Replaced(_) => {
                if second.done_at().is_some_and(|done| now >= done) && !session.is_submitting() {
                    self.close_second(id, Report::Gap(now));
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
        if !session.has_next() {
            // That of a probe, of the time before it was replaced, or one that came too late.
            return;
        }
        match answer {
            Ok(()) => {
                let Some(before) = session.carrier().map(|carrier| (carrier.live_since, carrier.proof))
                else {
                    return;
                };
                let first = session.conn().map(|conn| conn.serial);
                let is_carried =
                    |key: &&Arc<str>| self.registry.get(key).is_some_and(|t| t.acked_on == first);
                let carries = session.keys.iter().filter(is_carried).cloned().collect();
                session.take_over(now, carries);
                self.stats.hand_overs += 1;
                self.settle_pairing(now, id.session);
                // What is in doubt stays in doubt.
                if let Some(carrier) = self.sessions.get_mut(&id.session).and_then(Session::carrier_mut) {
                    carrier.proof.doubt = before.1.doubt;
                    carrier.proof.is_suspected = before.1.is_suspected;
                }
                self.submit_accepted(now, id, flight);
                if let Some(carrier) = self.sessions.get_mut(&id.session).and_then(Session::carrier_mut) {
                    // Asked again at once, and if it is denied, so it has been since then.
                    carrier.proof.given = carrier.proof.given.or(before.1.given);
                    // It is one life, in health too.
                    carrier.live_since = before.0;
                    if carrier.proof.is_suspected {
                        carrier.proof.due = Some(now);
                    }
                }
            }
            Err(failure) => {
                self.stats.submits_failed += 1;
                self.second_submit_failed(now, id.session, &flight, &failure);
            }
        }
    }

    fn second_submit_failed(&mut self, now: Instant, id: SessionId, flight: &InFlight, failure: &Failure) {
        let Failure::Refused(refusal) = failure else { return self.withdraw(now, id, ALONE) };
        let verdict = self.dialect.submits().map(|submits| submits.judge(refusal));
        let error = Error::Refused(refusal.clone());
        match verdict {
            Some(SubmitVerdict::RefusedTopics(places))
                if places.iter().any(|place| *place < flight.keys.len()) =>
            {
                // The others are submitted again.
                for key in places.iter().filter_map(|place| flight.keys.get(*place)) {
                    self.refuse_topic(now, id, key, &error);
                }
            }
            _ => {
                let wait = bounded(refusal.retry_after());
                // Where one topic is new it is that one, and the first stream has the others.
                let first = self.sessions.get(&id).and_then(Session::conn).map(|conn| conn.serial);
                let is_new = |key: &&Arc<str>| self.registry.get(key).is_some_and(|t| t.acked_on != first);
                let new: Vec<_> = flight.keys.iter().filter(is_new).cloned().collect();
                if let (Some(SubmitVerdict::Later), [key]) = (&verdict, &new[..]) {
                    self.withdraw(now, id, ALONE.max(wait));
                    return self.park(now, id, key, flight, error, refusal.retry_after());
                }
                self.withdraw(now, id, ALONE.max(wait));
                if !wait.is_zero()
                    && let Some(carrier) = self.sessions.get_mut(&id).and_then(Session::carrier_mut)
                    && matches!(carrier.submit, Submit::Ready)
                {
                    carrier.submit = Submit::Postponed { until: now + wait };
                }
            }
        }
    }

    /// Either stream may have been without topics until now: what the other brought meanwhile may be on its way.
    pub(super) fn step_in(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(second) = session.second.as_deref_mut()
            && let whole = second.conn.whole
            && let Some(past) = second.past_mut()
        {
            *past = Past { at: now, whole, proved: None, proof_from: now, heard_since: None, ..*past };
        }
        self.settle_pairing(now, id);
    }

    /// Both streams have the set from now on.
    fn settle_pairing(&mut self, now: Instant, id: SessionId) {
        if let Some(pairing) = self.sessions.get_mut(&id).and_then(|session| session.pairing.as_mut()) {
            pairing.settles_at(now + SKEW);
        }
    }

    /// The second stream could not be opened, or has ended.
    pub(super) fn second_ended(&mut self, now: Instant, id: SessionId, failure: Option<Failure>) {
        let Some(second) = self.sessions.get(&id).and_then(|session| session.second.as_deref()) else {
            return;
        };
        match (second.past().copied(), failure) {
            (None, failure) => {
                let retry_after = match failure {
                    Some(Failure::Refused(refusal)) => refusal.retry_after(),
                    _ => None,
                };
                self.withdraw(now, id, ALONE.max(bounded(retry_after)));
            }
            // Its link was sound to the end, and the server sent on it until then, which was after it was replaced.
            (Some(past), None) => {
                let is_sound = now >= past.at + OVERLAP;
                self.stats.disconnects.count(&Reason::EndedByServer);
                self.close_second(id, if is_sound { Report::Nothing } else { Report::Gap(now) });
            }
            (Some(_), Some(failure)) => {
                self.stats.disconnects.count(&Reason::Lost(failure.error()));
                self.close_second(id, Report::Gap(now));
            }
        }
    }

    /// Closes the second stream, if there is one.
    pub(super) fn close_second(&mut self, id: SessionId, report: Report) {
        let second = self.sessions.get(&id).and_then(|session| session.second.as_deref());
        if let Report::Gap(now) = report
            && let Some(Range { start: since, end: until }) = second.and_then(|second| second.in_doubt(now))
        {
            self.report_gap(id, Gap { since, until, reason: GapReason::Disconnected });
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(second) = session.second.take() else { return };
        if let Some(pairing) = &mut session.pairing {
            pairing.alone();
        }
        self.outputs.push_back(Output::Drop { conn: ConnId { session: id, serial: second.conn.serial } });
    }

    /// The second stream does not take over: the first has to do, and no other is tried for `rest`. Nothing is
    /// reported: one that never carried the topics is closed, one that did is read on.
    pub(super) fn withdraw(&mut self, now: Instant, id: SessionId, rest: Duration) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !rest.is_zero() {
            session.alone_until = Some(now + rest);
        }
        let Some(second) = session.second.as_deref_mut() else { return };
        match second.life {
            Life::Next { .. } => self.close_second(id, Report::Nothing),
            Life::Again { past, .. } => second.life = Life::Replaced(past),
            Life::Replaced(_) => {}
        }
    }

    /// Whether a change of the set may cost events: some are coming, for topics that stay.
    fn is_at_stake(&self, now: Instant, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(&id) else { return false };
        let Some(carrier) = session.carrier() else { return false };
        let is_busy = session.event_at.is_some_and(|at| now < at + BUSY);
        let is_alone = session.alone_until.is_some_and(|until| now < until);
        // Another identity is a gap in any case. So is a set that has to be tried in parts.
        let is_certain = self.credentials.loss.is_none()
            && carrier.acked_identity.as_ref() == Some(&self.credentials.identity())
            && carrier.batch >= session.keys.len();
        self.config.hand_over && is_busy && !is_alone && is_certain && self.has_to_lose(id)
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
