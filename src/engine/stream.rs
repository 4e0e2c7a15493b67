//! What a stream brings: its head, its messages and its end.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    ConnId, Delivered, Engine, Outlet, Stats,
    conn::{Carrier, Phase, SessionId},
    dialect::{Failure, OpenVerdict, Streams},
    session::{Link, Session},
    state::Reason,
};
use crate::{
    Error,
    event::{Event, Gap, GapReason},
    sse::{Item, Message},
};

/// A server that was live and now gives a final answer (a proxy says 404 while the server behind it restarts) is
/// believed only when it has said so for this long.
pub(super) const FINAL_AFTER: Duration = Duration::from_secs(30);

impl<L: Outlet> Engine<L> {
    /// The head of a stream has come, with success and the content type of an event stream.
    pub(crate) fn opened(&mut self, now: Instant, id: ConnId, peer: Option<SocketAddr>) {
        let deadline = now + self.config.handshake_timeout;
        let is_direct = self.dialect.streams() == Streams::Direct;
        let Some(conn) = self.conn(id) else { return };
        if !matches!(conn.phase, Phase::Connecting { .. }) {
            return;
        }
        conn.peer = peer;
        conn.watchdog.heard = now;
        conn.whole = now;
        conn.phase =
            if is_direct { Phase::Carrier(Carrier::new("", None)) } else { Phase::Handshake { deadline } };
        if is_direct {
            // Another answer than 401: the token is taken.
            self.credentials.proved();
        }
        self.pump(now, id.session);
        self.hasten(now);
    }

    /// The server is there: sessions that wait because it was not need not wait on. Not all of them at once.
    fn hasten(&mut self, now: Instant) {
        let Self { sessions, rng, config, .. } = self;
        for session in sessions.values_mut() {
            if let Link::BackOff { until, why: Reason::Lost(_) | Reason::EndedByServer | Reason::Silence(_) } =
                &mut session.link
                && let Some(delay) = session.backoff.hasten(config.backoff, rng)
            {
                *until = (*until).min(now + delay);
            }
        }
    }

    /// Bytes of a stream have come.
    pub(crate) fn received(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conn(id) else { return };
        conn.watchdog.heard = now;
        let whole = conn.whole;
        let mut complete = false;
        let mut opened = false;
        let mut decoder = std::mem::take(&mut conn.decoder);
        self.stats.bytes += bytes.len() as u64;
        let mut items = decoder.feed(bytes);
        while let Some(item) = items.next() {
            match item {
                Item::Message(message) => {
                    self.stats.messages += 1;
                    complete = true;
                    if !self.deliver(now, id, &message) {
                        opened |= self.shake_hands(id, &message);
                    }
                }
                Item::Retry(floor) => {
                    if let Some(session) = self.sessions.get_mut(&id.session) {
                        session.backoff.set_floor(floor);
                    }
                }
                Item::TooLarge { .. } => {
                    self.stats.too_large += 1;
                    let gap = Gap { since: whole, until: now, reason: GapReason::TooLarge };
                    self.report_gap(id.session, gap);
                }
                Item::Comment(_) => {}
            }
        }
        drop(items);
        if let Some(second) = self.sessions.get_mut(&id.session).and_then(|session| session.second.as_mut())
            && second.conn.serial == id.serial
        {
            second.heard(now);
        }
        if let Some(conn) = self.conn(id) {
            conn.decoder = decoder;
            // A message that has begun was sent before now. To doubt it only makes a gap longer.
            if complete && (bytes.ends_with(b"\n\n") || bytes == b"\n") {
                conn.whole = now;
            }
        }
        // Events call for nothing else, and streams bring little else: time has its own call. But for the old stream that a
        // change of the set waits for.
        if opened || self.is_awaited(id) {
            self.pump(now, id.session);
        }
    }

    /// A stream could not be opened, or has ended; `None` is a clean end.
    pub(crate) fn ended(&mut self, now: Instant, id: ConnId, failure: Option<Failure>) {
        if self.is_second(id) {
            self.second_ended(now, id.session, failure);
            self.pump(now, id.session);
            return;
        }
        let Some(conn) = self.conn(id) else { return };
        let opening = matches!(conn.phase, Phase::Connecting { .. });
        match failure {
            None => self.lose(now, id.session, Reason::EndedByServer, None),
            Some(Failure::Lost(error)) => self.lose(now, id.session, Reason::Lost(error), None),
            Some(Failure::Refused(refusal)) => {
                let refusal = if opening { self.dialect.explain(refusal) } else { refusal };
                let verdict = if opening { self.dialect.judge_open(&refusal) } else { OpenVerdict::Later };
                let error = Error::Refused(refusal.clone());
                let reason = Reason::Refused(error.clone());
                if verdict == OpenVerdict::Final
                    && refusal.status() == 401
                    && self.credentials.is_worth_replacing()
                {
                    self.credentials.invalidate(now);
                    self.lose(now, id.session, reason, None);
                    return;
                }
                match verdict {
                    OpenVerdict::Final if self.is_believed(now, id.session) => {
                        self.finish(id.session, error);
                        self.stats.disconnects.count(&reason);
                        self.update_state(now);
                    }
                    OpenVerdict::Later => self.lose(now, id.session, reason, refusal.retry_after()),
                    OpenVerdict::Final | OpenVerdict::Refused => {
                        let since = self.sessions.get(&id.session).and_then(|session| session.final_since);
                        self.give_up(now, id.session, &error);
                        self.lose(now, id.session, reason, refusal.retry_after());
                        if let Some(session) = self.sessions.get_mut(&id.session)
                            && verdict == OpenVerdict::Final
                        {
                            session.final_since = since;
                        }
                    }
                }
            }
        }
    }

    /// The first message of a stream names it. Whether this was it.
    fn shake_hands(&mut self, id: ConnId, message: &Message<'_>) -> bool {
        let Self { sessions, dialect, stats, .. } = self;
        let conn = sessions.get_mut(&id.session).and_then(|session| session.stream_mut(id.serial));
        let Some((_, conn)) = conn else { return false };
        if !matches!(conn.phase, Phase::Handshake { .. }) {
            stats.unmatched += 1;
            return false;
        }
        let Some(submits) = dialect.submits() else { return false };
        let Some(client_id) = submits.handshake(message) else { return false };
        let handshake = Event::connect(submits.handshake_topic().into(), message.data());
        conn.phase = Phase::Carrier(Carrier::new(&client_id, Some(handshake)));
        true
    }

    /// Hands a message to all listeners of its topics, or says that there are none.
    fn deliver(&mut self, now: Instant, id: ConnId, message: &Message<'_>) -> bool {
        let Self { registry, sessions, dialect, stats, woken, .. } = self;
        let from = id.session;
        let Some(Session { stream, pairing, event_at, second, .. }) = sessions.get_mut(&from) else {
            return false;
        };
        // There is a pairing only where the event name is the key.
        let born = || registry.get(message.event()).map_or(0, |topic| topic.born.0);
        if let Some(pairing) = pairing
            && let Some(first) = pairing.copy_of(now, id.serial, message, born())
        {
            if let Some(second) = second {
                second.paired(now, first);
            }
            return true;
        }
        let mut any = false;
        dialect.route(stream, message, &mut |key, shape| {
            let Some((key, topic)) = registry.lookup(key) else { return };
            // A topic that was given up and taken up again may have another session now, while the first one's
            // server has not heard of it yet.
            if dialect.is_local(key) || topic.session != from {
                return;
            }
            any = true;
            let name = (message.event() != &**key).then(|| message.event());
            let event = Event::message(key.clone(), message.data(), shape, name);
            stats.delivered += topic.entries.len() as u64;
            for entry in &topic.entries {
                deliver_to(&entry.outlet, event.clone(), stats, woken);
            }
        });
        if any {
            *event_at = Some(now);
        }
        any
    }

    /// Reports a gap to all listeners whose topics were acknowledged.
    pub(super) fn report_gap(&mut self, id: SessionId, gap: Gap) {
        let Self { registry, sessions, dialect, stats, woken, .. } = self;
        let Some(session) = sessions.get(&id) else { return };
        for key in session.keys.iter().filter(|key| !dialect.is_local(key)) {
            let Some(topic) = registry.get(key) else { continue };
            for entry in topic.entries.iter().filter(|entry| entry.ready) {
                deliver_to(&entry.outlet, Event::from_gap(key.clone(), gap), stats, woken);
            }
        }
    }

    /// Whether an answer that trying again does not change is to be believed.
    fn is_believed(&mut self, now: Instant, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let since = *session.final_since.get_or_insert(now);
        !session.been_live || now.saturating_duration_since(since) >= FINAL_AFTER
    }
}

/// Hands one event to one listener, and keeps account of what its queue did. The caller counts messages as delivered;
/// notices are not.
#[inline]
pub(super) fn deliver_to<L: Outlet>(outlet: &L, event: Event, stats: &mut Stats, woken: &mut Vec<L>) {
    let Delivered { wake, lost, queued } = outlet.deliver(event);
    stats.lost += lost;
    stats.queue_high_water = stats.queue_high_water.max(queued);
    if wake {
        woken.push(outlet.clone());
    }
}
