//! Sending a stream's set of topics to the server, and what its answer means.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ConnId, Engine, Outlet, Output, SUSPICION,
    backoff::{Backoff, Cause, bounded},
    conn::{InFlight, Phase, Proof, SessionId, Submit},
    dialect::{Failure, Request, SubmitVerdict},
    identity::Identity,
    session::{Link, Parked, Session},
    state::Reason,
    stream::deliver_to,
};
use crate::{
    Error,
    event::{Event, Gap, GapReason},
};

/// Streams in a row that open but take no topics, until waiting callers fail with the reason.
const FRUITLESS: u32 = 3;

/// What it may mean that a stream is unknown which was opened just before.
const NOT_STICKY: &str = "the stream had just been opened: there may be several servers behind this address, without sticky \
                          sessions that keep a client on one of them";

/// Answers that a topic or a stream is refused for now, until waiting callers fail with the last one.
pub(super) const REFUSED: u32 = 2;

/// Submits that fail in a row without an answer before the stream itself is given up.
const SUBMIT_FAILURES: u32 = 3;

impl<L: Outlet> Engine<L> {
    /// The answer to a submit has come.
    pub(crate) fn submitted(&mut self, now: Instant, id: ConnId, answer: Result<(), Failure>) {
        let is_second = self.is_second(id);
        let Some(conn) = self.conn(id) else { return };
        let Phase::Carrier(carrier) = &mut conn.phase else { return };
        let flight = match std::mem::replace(&mut carrier.submit, Submit::Ready) {
            Submit::InFlight(flight) => flight,
            other => {
                carrier.submit = other;
                return;
            }
        };
        match answer {
            answer if is_second => self.second_submitted(now, id, flight, answer),
            answer if flight.is_probe => self.probed(now, id, flight, answer),
            answer => {
                self.step_in(now, id.session);
                match answer {
                    Ok(()) => self.submit_accepted(now, id, flight),
                    Err(failure) => self.submit_failed(now, id, flight, failure),
                }
            }
        }
        self.pump(now, id.session);
    }

    /// Sends the set of topics, as it is to be, to the server, on one of the session's streams.
    pub(super) fn submit(&mut self, now: Instant, id: ConnId) {
        let Self { sessions, registry, dialect, .. } = self;
        let Some(session) = sessions.get_mut(&id.session) else { return };
        let removes = session.forget_changes();
        let first = session.conn().map(|conn| conn.serial);
        let due = session.next_parked().filter(|parked| now >= parked.until).map(|parked| parked.key.clone());
        let parked: Vec<_> = session.parked.iter().map(|parked| parked.key.clone()).collect();
        let Some((keys, conn)) = session.stream_mut(id.serial) else { return };
        let Phase::Carrier(carrier) = &mut conn.phase else { return };
        let mut fresh = 0;
        let mut complete = true;
        let mut set = Vec::with_capacity(keys.len());
        for key in keys.iter().filter(|key| !dialect.is_local(key)) {
            // On the stream that is to be replaced, at least.
            let on = registry.get(key).and_then(|topic| topic.acked_on);
            if on.is_none() || (on != Some(conn.serial) && on != first) {
                if parked.contains(key) {
                    continue;
                }
                if fresh == carrier.batch {
                    // The others go with the next one.
                    complete = false;
                    continue;
                }
                fresh += 1;
            }
            set.push(key.clone());
        }
        // Alone, so that nothing else is refused with it.
        set.extend(due.filter(|_| fresh == 0));
        carrier.stale = !complete;
        let Some(submits) = dialect.submits() else {
            // The stream carries them all as it is.
            let (sent, deadline) = (now, now);
            let flight =
                InFlight { keys: set, is_probe: false, complete: true, removes: false, sent, deadline };
            self.submit_accepted(now, id, flight);
            return;
        };
        if set.is_empty() && !parked.is_empty() && carrier.live_since.is_none() {
            return;
        }
        if set.is_empty() && !carrier.submitted {
            // Nothing to submit: the handshake is all that was asked for.
            carrier.submit = Submit::Ready;
            self.went_live(now, id.session, true);
            return;
        }
        let removes = removes && carrier.live_since.is_some();
        let names: Vec<&str> = set.iter().map(|key| &**key).collect();
        let request = Request { pin: conn.peer, ..submits.submit(&carrier.client_id, &names) };
        let token = self.credentials.token.clone();
        carrier.submitted = true;
        // Already now: the server may bind the stream and its answer be lost.
        conn.identity = Identity::of(token.as_ref());
        carrier.submit = Submit::InFlight(InFlight {
            keys: set,
            is_probe: false,
            complete,
            removes,
            sent: now,
            deadline: now + self.config.submit_timeout,
        });
        self.stats.submits += 1;
        self.outputs.push_back(Output::Submit { conn: id, request, token });
        self.ask_checks(now);
    }

    pub(super) fn submit_accepted(&mut self, now: Instant, id: ConnId, flight: InFlight) {
        let Self { sessions, registry, checks, stats, woken, .. } = self;
        let Some(session) = sessions.get_mut(&id.session) else { return };
        let hole = session.hole;
        session.submit_backoff.reset();
        let wanted = self.credentials.identity();
        let Some(conn) = session.conn_mut() else { return };
        let Phase::Carrier(carrier) = &mut conn.phase else { return };
        carrier.failures = 0;
        carrier.last_failure = None;
        carrier.batch = carrier.batch.saturating_mul(2);
        // The token was replaced while the submit was under way.
        carrier.stale |= conn.identity != wanted;
        stats.submit_latency = now.saturating_duration_since(flight.sent);
        // A guest's stream that is a user's now: what only the user may see was not sent in between.
        let upgraded = carrier.acked_identity.as_ref().is_some_and(|before| *before != conn.identity);
        // A token that the server is known not to take makes nobody of a guest.
        let upgraded = upgraded && self.credentials.loss.is_none();
        if upgraded || carrier.acked_identity.is_none() {
            carrier.acked_identity = Some(conn.identity.clone());
        }
        let since = carrier.proof.doubt.or(self.credentials.since);
        let upgrade = since.filter(|_| upgraded).map(|since| (since, GapReason::IdentityChanged));
        if conn.identity == Identity::Guest || self.dialect.submits().is_none() {
            carrier.proof.due = None;
        } else if upgraded || carrier.proof.given.is_none() {
            // A token that the server does not take is acknowledged just the same.
            carrier.proof.due = Some(now);
        }
        for key in &flight.keys {
            let Some((key, _)) = registry.lookup(key) else { continue };
            let key = key.clone();
            let Some(topic) = registry.get_mut(&key) else { continue };
            // It may have been given up meanwhile and taken up again, by another session.
            if topic.session != id.session {
                continue;
            }
            let at = session.parked.iter().position(|parked| parked.key == key);
            let parked = at.map(|at| session.parked.swap_remove(at));
            if parked.is_some() {
                topic.entries.iter().for_each(|entry| entry.outlet.park(None));
            }
            let hole = parked.and_then(|parked| parked.hole).or(hole);
            let hole = if topic.acked_on == Some(id.serial) { upgrade } else { hole };
            topic.acked_on = Some(id.serial);
            for entry in &mut topic.entries {
                if !entry.ready && checks.holds(entry.id) {
                    // It is ready once that has passed.
                } else if !entry.ready {
                    entry.ready = true;
                    entry.outlet.ready();
                    woken.push(entry.outlet.clone());
                } else if let Some((since, reason)) = hole {
                    let gap = Event::from_gap(key.clone(), Gap { since, until: now, reason });
                    deliver_to(&entry.outlet, gap, stats, woken);
                }
            }
        }
        if flight.complete {
            for parked in &mut session.parked {
                parked.hole = parked.hole.or(hole);
            }
            session.hole = None;
        }
        self.went_live(now, id.session, flight.complete);
        // Those that came while the submit was under way.
        self.ask_checks(now);
    }

    /// Asks whether the server takes the stream for a user's: it refuses the set to a guest then, and nothing changes.
    pub(super) fn probe(&mut self, now: Instant, id: SessionId) {
        let Self { sessions, registry, dialect, .. } = self;
        let (Some(session), Some(submits)) = (sessions.get_mut(&id), dialect.submits()) else { return };
        let Session { keys, link: Link::Up(conn), .. } = session else { return };
        let Phase::Carrier(carrier) = &mut conn.phase else { return };
        let is_acked = |key: &&Arc<str>| registry.get(key).is_some_and(|t| t.acked_on == Some(conn.serial));
        let keys: Vec<_> =
            keys.iter().filter(|key| !dialect.is_local(key)).filter(is_acked).cloned().collect();
        let names: Vec<&str> = keys.iter().map(|key| &**key).collect();
        let request = Request { pin: conn.peer, ..submits.submit(&carrier.client_id, &names) };
        let patience = if carrier.proof.is_suspected { SUSPICION } else { self.config.submit_timeout };
        let deadline = now + patience;
        carrier.proof.due = None;
        carrier.submit = Submit::InFlight(InFlight {
            keys,
            is_probe: true,
            complete: false,
            removes: false,
            sent: now,
            deadline,
        });
        self.stats.probes += 1;
        let conn = ConnId { session: id, serial: conn.serial };
        self.outputs.push_back(Output::Submit { conn, request, token: None });
    }

    fn probed(&mut self, now: Instant, id: ConnId, flight: InFlight, answer: Result<(), Failure>) {
        let Self { sessions, dialect, credentials, config, .. } = self;
        let (Some(session), Some(submits)) = (sessions.get_mut(&id.session), dialect.submits()) else {
            return;
        };
        let Some(conn) = session.conn_mut() else { return };
        let Phase::Carrier(carrier) = &mut conn.phase else { return };
        // Suspicion may have called for another one while this one was under way.
        let again = carrier.proof.due;
        let next = again.or(Some(now + config.proof_interval));
        match answer {
            Err(Failure::Refused(refusal)) if submits.is_users(&refusal) => {
                let is_suspected = carrier.proof.is_suspected && again.is_some();
                carrier.proof =
                    Proof { due: next, given: Some(flight.sent), is_suspected, ..Proof::default() };
                credentials.proved();
            }
            // Without the server's own words it came from something on the way, which may treat guests differently.
            Err(Failure::Refused(refusal))
                if submits.judge(&refusal) == SubmitVerdict::NewStream && !refusal.message().is_empty() =>
            {
                self.lose(now, id.session, Reason::StreamRejected(Error::Refused(refusal)), None);
            }
            Err(failure) if carrier.proof.is_suspected && again.is_none() => {
                self.lose(now, id.session, Reason::Lost(failure.error()), None);
            }
            Err(_) => carrier.proof.due = next,
            // Taken from a guest: so the stream is one's. The token may mend that, or be what is wrong.
            Ok(()) => {
                let since = carrier.proof.given.or(carrier.live_since).unwrap_or(now);
                carrier.proof.doubt.get_or_insert(since);
                carrier.proof.is_suspected = false;
                conn.identity = Identity::Guest;
                carrier.acked_identity = Some(Identity::Guest);
                if std::mem::replace(&mut carrier.proof.is_last_chance, true) {
                    credentials.invalidate(now);
                    self.ask_provider(now);
                } else {
                    carrier.stale = true;
                }
                // Another stream would not know of the doubt.
                self.withdraw(now, id.session, Duration::ZERO);
            }
        }
    }

    fn submit_failed(&mut self, now: Instant, id: ConnId, flight: InFlight, failure: Failure) {
        self.stats.submits_failed += 1;
        let refusal = match &failure {
            Failure::Refused(refusal) => refusal,
            Failure::Lost(_) => return self.submit_unanswered(now, id, &flight, failure.error()),
        };
        let verdict = self.dialect.submits().map_or(SubmitVerdict::Later, |submits| submits.judge(refusal));
        let retry_after = refusal.retry_after();
        let Self { sessions, registry, .. } = self;
        let Some(session) = sessions.get_mut(&id.session) else { return };
        let peer = session.conn().and_then(|conn| conn.peer);
        let Some(carrier) = session.carrier_mut() else { return };
        carrier.stale = true;
        let is_news = refusal.status() == 404 && carrier.live_since.is_none();
        let error = match verdict {
            SubmitVerdict::NewStream if is_news => Error::Refused(refusal.clone().with_hint(NOT_STICKY)),
            _ => failure.error(),
        };
        let is_fresh = |key: &&Arc<str>| registry.get(key).is_some_and(|t| t.acked_on != Some(id.serial));
        let fresh: Vec<_> = flight.keys.iter().filter(is_fresh).cloned().collect();
        match verdict {
            SubmitVerdict::Later => match &fresh[..] {
                [key] => self.park(now, id.session, key, &flight, error, retry_after),
                _ => {
                    let is_again = carrier.failures > 0;
                    if is_again && !fresh.is_empty() {
                        // It may mean one of them.
                        carrier.batch = (fresh.len() / 2).max(1);
                    }
                    self.postpone(now, id.session, &flight, Reason::Refused(error), retry_after);
                }
            },
            SubmitVerdict::NewStream => {
                session.fruitless += 1;
                session.pin = peer;
                if session.fruitless >= FRUITLESS {
                    self.give_up(now, id.session, &error);
                }
                self.lose(now, id.session, Reason::StreamRejected(error), retry_after);
            }
            SubmitVerdict::RefusedTopics(places) if places.iter().any(|place| *place < flight.keys.len()) => {
                for key in places.iter().filter_map(|place| flight.keys.get(*place)) {
                    self.refuse_topic(now, id.session, key, &error);
                }
            }
            // One that names no place of the list says no more than that.
            SubmitVerdict::RefusedTopics(_) | SubmitVerdict::Refused => match &fresh[..] {
                // Not for a topic: the server refuses the stream or its identity.
                [] => self.lose(now, id.session, Reason::StreamRejected(error), retry_after),
                [key] => self.refuse_topic(now, id.session, key, &error),
                _ => carrier.batch = (fresh.len() / 2).max(1),
            },
        }
    }

    fn submit_unanswered(&mut self, now: Instant, id: ConnId, flight: &InFlight, error: Error) {
        let session = self.sessions.get_mut(&id.session);
        let Some(carrier) = session.and_then(Session::carrier_mut) else { return };
        carrier.stale = true;
        if carrier.failures + 1 >= SUBMIT_FAILURES {
            return self.lose(now, id.session, Reason::Lost(error), None);
        }
        self.postpone(now, id.session, flight, Reason::Lost(error), None);
    }

    /// Tries the set again later.
    fn postpone(
        &mut self,
        now: Instant,
        id: SessionId,
        flight: &InFlight,
        why: Reason,
        retry_after: Option<Duration>,
    ) {
        let Self { sessions, rng, config, .. } = self;
        let Some(session) = sessions.get_mut(&id) else { return };
        let delay = session.submit_backoff.after(now, Cause::Failed, None, config.backoff, rng);
        if flight.removes {
            session.still_removes();
        }
        let Some(carrier) = session.carrier_mut() else { return };
        carrier.failures += 1;
        carrier.last_failure = why.error().cloned();
        // The second stream's was refused, and this one is being probed.
        if !matches!(carrier.submit, Submit::InFlight(_)) {
            carrier.submit = Submit::Postponed { until: now + delay.max(bounded(retry_after)) };
        }
        if carrier.live_since.is_none() {
            session.went_offline(now, why);
        }
    }

    /// A topic that the server refuses, for now, when nothing else is new: it waits alone, and the others go on. The caller who
    /// waits for it has the answer when it is the second.
    pub(super) fn park(
        &mut self,
        now: Instant,
        id: SessionId,
        key: &Arc<str>,
        flight: &InFlight,
        error: Error,
        retry_after: Option<Duration>,
    ) {
        let Self { sessions, registry, rng, config, dialect, .. } = self;
        let Some(session) = sessions.get_mut(&id) else { return };
        let hole = session.hole;
        let at = session.parked.iter().position(|parked| parked.key == *key).unwrap_or_else(|| {
            let (key, backoff, error) = (key.clone(), Backoff::new(), error.clone());
            session.parked.push(Parked {
                key,
                until: now,
                is_ordered: false,
                backoff,
                answers: 0,
                error,
                hole,
            });
            session.parked.len() - 1
        });
        let parked = &mut session.parked[at];
        let delay = parked.backoff.after(now, Cause::Failed, None, config.backoff, rng);
        parked.until = now + delay.max(bounded(retry_after));
        parked.is_ordered = retry_after.is_some();
        parked.answers += 1;
        parked.error = error.clone();
        let (is_refused, is_news) = (parked.answers >= REFUSED, parked.answers == REFUSED);
        let serial = session.conn().map(|conn| conn.serial);
        let is_missing = |key: &Arc<str>| registry.get(key).is_some_and(|topic| topic.acked_on != serial);
        let mut others = session.keys.iter().filter(|key| !dialect.is_local(key) && !session.is_parked(key));
        let why = Reason::Refused(error.clone());
        if flight.removes || others.any(is_missing) {
            self.postpone(now, id, flight, why, None);
        } else if let Some(carrier) = session.carrier_mut() {
            carrier.stale = false;
            if carrier.live_since.is_none() {
                session.went_offline(now, why);
            }
        }
        let Some(topic) = self.registry.get(key) else { return };
        topic.entries.iter().for_each(|entry| entry.outlet.park(Some(error.clone())));
        if is_refused {
            self.give_up_on(now, key, &error);
        }
        // For those who have not given up.
        if is_news && self.registry.get(key).is_some() {
            self.outputs.push_back(Output::Denied { topic: key.clone(), error, for_now: true });
        }
    }

    /// The server has taken what was submitted; `complete` when that was all there is.
    fn went_live(&mut self, now: Instant, id: SessionId, complete: bool) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(carrier) = session.carrier_mut() else { return };
        let is_due = complete && !carrier.is_announced;
        carrier.is_announced |= complete;
        let handshake = carrier.handshake.clone().filter(|_| is_due);
        if carrier.live_since.is_none() {
            carrier.live_since = Some(now);
            self.stats.connected += 1;
        }
        session.been_live = true;
        session.offline = None;
        session.fruitless = 0;
        session.final_since = None;
        if !complete {
            return;
        }
        let serial = session.conn().map(|conn| conn.serial);
        let local: Vec<_> = session.keys.iter().filter(|key| self.dialect.is_local(key)).cloned().collect();
        for key in local {
            let Some(topic) = self.registry.get_mut(&key) else { continue };
            topic.acked_on = serial;
            for entry in &mut topic.entries {
                if !std::mem::replace(&mut entry.ready, true) {
                    entry.outlet.ready();
                    self.woken.push(entry.outlet.clone());
                }
                if let Some(event) = &handshake {
                    self.stats.delivered += 1;
                    deliver_to(&entry.outlet, event.clone(), &mut self.stats, &mut self.woken);
                }
            }
        }
    }

    pub(super) fn refuse_topic(&mut self, now: Instant, id: SessionId, key: &Arc<str>, error: &Error) {
        if self.registry.get(key).is_some_and(|topic| topic.session == id) {
            self.end_topic(key, error);
            if let Some(session) = self.sessions.get_mut(&id) {
                session.remove(now, key, false);
            }
        }
    }
}
