//! The life of a session, step by step: what its state and the time call for, how its connections begin and end, and how
//! its listeners do.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ConnId, Engine, ListenerId, Outlet, Output, Reason, State,
    backoff::{Cause, bounded},
    conn::{Conn, Phase, SessionId, Submit, Watchdog},
    dialect::{Request, Streams, TokenPlace},
    hand_over::Report,
    identity::Identity,
    registry::Removed,
    session::{Held, Link, Session},
    submit::REFUSED,
};
use crate::{Error, event::GapReason, sse::Decoder};

impl<L: Outlet> Engine<L> {
    pub(super) fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        let (_, conn) = self.sessions.get_mut(&id.session)?.stream_mut(id.serial)?;
        Some(conn)
    }

    /// Does for one session whatever its state and the time call for.
    pub(super) fn pump(&mut self, now: Instant, id: SessionId) {
        self.tend_second(now, id);
        let Some(session) = self.sessions.get(&id) else { return };
        if session.keys.is_empty() {
            if session.conn().is_none() || now >= session.due(now) {
                self.dissolve(id);
            }
        } else {
            let held = self.held();
            if held != Held::Nothing {
                self.ask_provider(now);
            }
            let Some(session) = self.sessions.get(&id) else { return };
            match &session.link {
                Link::Idle | Link::BackOff { .. } if held == Held::Streams => {}
                Link::BackOff { until, .. } if now < *until => {}
                Link::Idle | Link::BackOff { .. } => self.start(now, id),
                Link::Up(_) => self.pump_up(now, id, held),
            }
        }
        self.update_state(now);
    }

    /// The same for its connection.
    pub(super) fn pump_up(&mut self, now: Instant, id: SessionId, held: Held) {
        let Some(conn) = self.sessions.get(&id).and_then(Session::conn) else { return };
        let late = |what: &'static str, after| Reason::Lost(Error::Timeout { what: what.into(), after });
        let reason = match &conn.phase {
            Phase::Connecting { deadline } if now >= *deadline => late(
                "the head of the event stream (does a proxy on the way buffer responses?)",
                self.config.open_timeout,
            ),
            Phase::Handshake { deadline } if now >= *deadline => late(
                "the handshake of the event stream (does a proxy on the way buffer responses?)",
                self.config.handshake_timeout,
            ),
            Phase::Connecting { .. } | Phase::Handshake { .. } => return,
            Phase::Carrier(_) if now >= conn.watchdog.due() => Reason::Silence(conn.watchdog.limit),
            Phase::Carrier(carrier) => match &carrier.submit {
                Submit::InFlight(flight) if now >= flight.deadline => {
                    // The server may yet take it, and would then replace what a second submit has set: only a new
                    // stream has a certain set.
                    let what = match flight.is_probe {
                        true => "the answer to whether the stream is still there",
                        false => "the answer to the topics submitted",
                    };
                    self.stats.submits_failed += u64::from(!flight.is_probe);
                    late(what, flight.deadline.saturating_duration_since(flight.sent))
                }
                Submit::InFlight(_) => return,
                // Without the token the submit would be a guest's.
                Submit::Ready | Submit::Postponed { .. } if held == Held::Submits => return,
                Submit::Postponed { until } if now >= *until => {
                    let conn = ConnId { session: id, serial: conn.serial };
                    return self.submit(now, conn);
                }
                Submit::Postponed { .. } => return,
                Submit::Ready => return self.pump_ready(now, id),
            },
        };
        self.lose(now, id, reason, None);
    }

    /// The same where no submit is under way.
    pub(super) fn pump_ready(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let Some(carrier) = session.carrier() else { return };
        let may_change = now >= session.due(now);
        if carrier.stale {
            if may_change {
                self.change_set(now, id);
            }
        } else if may_change && session.parked_due(now).is_some() {
            self.change_set(now, id);
        } else if carrier.proof.due.is_some_and(|due| now >= due) {
            self.probe(now, id);
        } else if self.renewal(session).is_some_and(|due| now >= due) {
            self.begin(now, id);
        }
    }

    /// Nobody wants anything of this session any more.
    pub(super) fn dissolve(&mut self, id: SessionId) {
        let was_open = self.sessions.get(&id).is_some_and(|session| session.carrier().is_some());
        self.drop_streams(id);
        self.sessions.remove(&id);
        if was_open {
            let keys = self.keys();
            self.outputs.push_back(Output::Disconnected(keys));
        }
    }

    pub(super) fn start(&mut self, now: Instant, id: SessionId) {
        if let Some(conn) = self.connect(now, id)
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.link = Link::Up(conn);
        }
    }

    /// Asks for a stream.
    pub(super) fn connect(&mut self, now: Instant, id: SessionId) -> Option<Box<Conn>> {
        let session = self.sessions.get(&id)?;
        let serial = self.next_serial;
        self.next_serial = serial.saturating_add(1);
        self.stats.connects += 1;
        let request = Request { pin: session.pin, ..self.dialect.open_request(&session.stream) };
        let token = self.credentials.token.clone().filter(|_| request.token != TokenPlace::Nowhere);
        self.outputs.push_back(Output::Open { conn: ConnId { session: id, serial }, request, token });
        Some(Box::new(Conn {
            serial,
            born: now,
            draw: self.rng.f64(),
            decoder: Decoder::with_limit(self.config.message_limit),
            peer: None,
            identity: match self.dialect.streams() {
                // The first submit says whose it is.
                Streams::Multiplexed { .. } => Identity::Guest,
                Streams::Direct => self.credentials.identity(),
            },
            watchdog: Watchdog {
                heard: now,
                limit: self.config.silence_limit.unwrap_or_else(|| self.dialect.silence_limit()),
            },
            whole: now,
            phase: Phase::Connecting { deadline: now + self.config.open_timeout },
        }))
    }

    /// Closes what carries a session.
    pub(super) fn drop_streams(&mut self, id: SessionId) -> Option<Conn> {
        self.close_second(id, Report::Nothing);
        let session = self.sessions.get_mut(&id)?;
        session.pairing = None;
        let conn = session.take_conn()?;
        self.outputs.push_back(Output::Drop { conn: ConnId { session: id, serial: conn.serial } });
        Some(conn)
    }

    /// The connection is of no use any more, for whatever reason: plan the next one.
    pub(super) fn lose(
        &mut self,
        now: Instant,
        id: SessionId,
        reason: Reason,
        retry_after: Option<Duration>,
    ) {
        let second = self.sessions.get(&id).and_then(|session| session.second.as_deref());
        let in_doubt = second.and_then(|second| second.in_doubt(now));
        let Some(conn) = self.drop_streams(id) else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        self.stats.disconnects.count(&reason);
        let carrier = match conn.phase {
            Phase::Carrier(carrier) => Some(carrier),
            _ => None,
        };
        let lived =
            carrier.as_ref().and_then(|carrier| carrier.live_since).map(|since| now.duration_since(since));
        if lived.is_some() && session.hole.is_none() {
            let gap = match reason {
                Reason::IdentityChanged => GapReason::IdentityChanged,
                _ => GapReason::Disconnected,
            };
            // Whatever ended it: the link may have been dead since it last delivered a whole message.
            session.hole = Some((in_doubt.map_or(conn.whole, |doubt| doubt.start.min(conn.whole)), gap));
        }
        session.went_offline(now, reason.clone());
        session.has_failed = lived.is_none();
        session.refused = if matches!(reason, Reason::Refused(_)) { session.refused + 1 } else { 0 };
        let refused = session.refused;
        // Any other end than by such an answer makes the next one the first.
        session.final_since = None;
        if !matches!(reason, Reason::StreamRejected(_)) {
            session.pin = None;
        }
        let cause = match &reason {
            Reason::IdentityChanged => Cause::IdentityChanged,
            Reason::Suspected => Cause::Fresh,
            // The server restarted and has forgotten the stream; only the first time is that a reason for haste.
            Reason::StreamRejected(_) if session.fruitless <= 1 => Cause::Fresh,
            Reason::EndedByServer => Cause::Ended,
            Reason::Lost(_) | Reason::Silence(_) | Reason::StreamRejected(_) | Reason::Refused(_) => {
                Cause::Lost
            }
            // These end no stream.
            Reason::TokenExpired | Reason::TokenRevoked => Cause::Failed,
        };
        let delay = session.backoff.after(now, cause, lived, self.config.backoff, &mut self.rng);
        let delay = delay.max(bounded(retry_after));
        session.link = Link::BackOff { until: now + delay, why: reason.clone() };
        if carrier.is_some() {
            let keys = self.keys();
            self.outputs.push_back(Output::Disconnected(keys));
        }
        // A try that failed is an answer; the loss of a stream that was live is none yet, nor is one refusal that may pass.
        match &reason {
            Reason::Lost(error) if lived.is_none() => self.give_up(now, id, error),
            Reason::Refused(error) if refused >= REFUSED => self.give_up(now, id, error),
            _ => {}
        }
        self.pump(now, id);
    }

    /// Tells those who wait for a first answer that there is none to be had.
    pub(super) fn give_up(&mut self, now: Instant, id: SessionId, error: &Error) {
        let Some(session) = self.sessions.get(&id) else { return };
        let topics = session.keys.iter().filter_map(|key| self.registry.get(key));
        let waiting = topics.flat_map(|topic| topic.entries.iter().filter(|e| !e.ready && !e.patient));
        let ids: Vec<_> = waiting.map(|entry| entry.id).collect();
        for id in ids {
            self.remove(now, id, Some(error.clone()));
        }
    }

    /// The same for one topic.
    pub(super) fn give_up_on(&mut self, now: Instant, key: &str, error: &Error) {
        let Some(topic) = self.registry.get(key) else { return };
        let waiting = topic.entries.iter().filter(|entry| !entry.ready && !entry.patient);
        let ids: Vec<_> = waiting.map(|entry| entry.id).collect();
        for id in ids {
            self.remove(now, id, Some(error.clone()));
        }
    }

    /// The session ends with a final answer of the server.
    pub(super) fn finish(&mut self, id: SessionId, error: Error) {
        self.drop_streams(id);
        let Some(session) = self.sessions.remove(&id) else { return };
        for key in &session.keys {
            self.end_topic(key, &error);
        }
        if self.sessions.is_empty() {
            self.at_rest = State::Closed { why: Some(error) };
        }
    }

    pub(super) fn end_topic(&mut self, key: &Arc<str>, error: &Error) {
        let Some(topic) = self.registry.get(key) else { return };
        let ids: Vec<_> = topic.entries.iter().map(|entry| entry.id).collect();
        for id in ids {
            self.checks.remove(id);
            if let Some(Removed { outlet, .. }) = self.registry.remove(id) {
                self.end_outlet(outlet, Some(error.clone()));
            }
        }
    }

    pub(super) fn remove(&mut self, now: Instant, id: ListenerId, error: Option<Error>) {
        self.checks.remove(id);
        let Some(Removed { outlet, abandoned }) = self.registry.remove(id) else { return };
        self.end_outlet(outlet, error);
        if let Some((key, session_id)) = abandoned {
            if let Some(session) = self.sessions.get_mut(&session_id) {
                session.remove(now, &key, self.dialect.is_local(&key));
                if session.second.as_deref_mut().is_some_and(|second| second.drop_topic(&key)) {
                    self.close_second(session_id, Report::Nothing);
                }
            }
            self.pump(now, session_id);
        }
    }

    pub(super) fn end_outlet(&mut self, outlet: L, error: Option<Error>) {
        outlet.end(error);
        self.woken.push(outlet.clone());
        self.retired.push(outlet);
    }

    pub(super) fn update_state(&mut self, now: Instant) {
        let wanted = self.credentials.identity();
        // With a token that the server does not take it is a guest's stream that is live.
        let wanted = Some(&wanted).filter(|_| self.credentials.loss.is_none());
        let states = self.sessions.values().map(|session| session.state(now, wanted));
        let mut state = states.max_by_key(State::distance).unwrap_or_else(|| self.at_rest.clone());
        if let (State::Live, Some(why)) = (&state, &self.credentials.loss) {
            state = State::Unauthenticated { why: why.clone() };
        }
        if !self.state.is_same(&state) {
            self.state = state.clone();
            self.outputs.push_back(Output::State(state));
        }
    }
}
