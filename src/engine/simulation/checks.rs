//! The invariants, each with the check that holds it. Each check was seen to fail once, with the engine broken on purpose.
//!
//! At any time:
//!
//! 1. An event reaches a listener at most once: `check_once`.
//! 2. What the server sent to one user reaches nobody who is another by then: `check_owner`.
//! 3. A listener is ready at most once and ends at most once, and nothing comes after that: `check_waits`,
//!    `check_listens`.
//! 4. On one stream one submit is under way at a time, and only while the driver holds the connection: `check_submit`.
//! 5. A timer that has been served is over: `check_timer`.
//! 6. There are no more tries to connect than the backoff allows: `check_tries`.
//! 7. A caller that waits gets an answer in time: `check_callers`.
//! 8. The provider of tokens is asked for one at a time, and not in a loop: `check_asked`.
//!
//! And when faults have stopped for as long as the longest wait:
//!
//! 9. The server has the topics that are wanted, and no others: `check_topics`.
//! 10. It has them for whom the token says, and a provider's good token was found: `check_identity`.
//! 11. The driver holds no connection that the server does not: `check_connections`.
//! 12. The state is live, or says what is not well: `check_state`.
//! 13. Each event that was sent while a listener was ready reached it or lies in a gap that it was given:
//!     `check_nothing_lost`.
//! 14. After `close` there is no connection, listener or timer left: `check_closed`.
//!
//! Without faults, in `hand_over_simulation.rs`:
//!
//! 15. Each event reaches each listener, once and whatever the host changes: `check_complete`, `check_once`.
//! 16. No handover interrupts: there is a live stream throughout, and never more than two: `check_uninterrupted`.

use super::*;

impl Log {
    pub(super) fn check_once(&mut self, n: u64) {
        assert!(self.got.insert(n), "event {n} of {} came twice", self.key);
    }

    pub(super) fn check_owner(&self) {
        let (owner, allowed) = (self.owner.borrow(), self.allowed.borrow());
        assert!(*owner == *allowed || *owner == Identity::Guest, "what {owner:?} got reached {allowed:?}");
    }

    pub(super) fn check_listens(&self) {
        assert!(self.ended.is_none(), "something came after the end of {}", self.key);
    }

    pub(super) fn check_waits(&self) {
        assert!(self.ready.is_none() && self.ended.is_none(), "{} is ready twice", self.key);
    }
}

impl World {
    pub(super) fn check_submit(&mut self, conn: ConnId) {
        let submits = self.held.get_mut(&conn).expect("a submit on a connection that is not held");
        *submits += 1;
        assert_eq!(*submits, 1, "two submits under way on one stream");
    }

    pub(super) fn check_timer(&self) {
        let again = self.engine.deadline(self.now);
        let is_over = again.is_none_or(|again| again > self.now);
        assert!(is_over, "a timer fires for ever: {:#?}", self.engine.sessions);
    }

    /// Full jitter may draw a few short delays in a row, and what worked may be tried again at once a few times, but that is
    /// all. What another identity asks for is tried at once in any case.
    pub(super) fn check_tries(&mut self) {
        let shards = self.engine.sessions.len().max(1);
        self.seen.shards += usize::from(shards > 1);
        let (opens, now) = (&self.opens, self.now);
        let within = |span| opens.iter().rev().take_while(move |(at, _)| *at + span > now);
        let recent = within(Duration::from_secs(1)).count();
        assert!(recent <= 12 * shards, "{recent} connections within a second");
        let last = self.opens.last().expect("just pushed").1;
        let recent = within(Duration::from_secs(60)).filter(|(_, session)| *session == last).count();
        assert!(recent <= 60, "{recent} connections of one session within a minute");
    }

    pub(super) fn check_callers(&self) {
        for (_, probe) in &self.listeners {
            let log = probe.0.borrow();
            let is_answered = log.patient || log.ready.is_some() || log.ended.is_some();
            let limit = log.since + Config::default().subscribe_timeout;
            assert!(is_answered || self.now <= limit, "a caller was left waiting for {}", log.key);
        }
    }

    /// At first, for each expiry and rejection, and again when it fails.
    pub(super) fn check_asked(&mut self) {
        assert!(self.has_provider && !std::mem::replace(&mut self.asked, true), "asked twice");
        self.asks += 1;
        assert!(self.asks < 60, "the provider was asked {} times", self.asks);
    }

    pub(super) fn check_outcome(&mut self) {
        self.check_topics();
        self.check_identity();
        self.check_connections();
        self.check_state();
        for (_, probe) in self.listeners.clone() {
            self.check_nothing_lost(&probe.0.borrow());
        }
    }

    /// What the server has, on streams that are not about to be closed.
    fn server_streams(&self) -> Vec<&ServerStream> {
        let conns = self.engine.sessions.iter();
        let conns = conns.filter_map(|(id, s)| Some(ConnId { session: *id, serial: s.conn()?.serial }));
        conns.filter_map(|conn| self.streams.get(&conn)).collect()
    }

    fn wanted(&self) -> Vec<Arc<str>> {
        self.engine.keys().into_iter().filter(|key| &**key != "PB_CONNECT").collect()
    }

    fn is_token_dead(&self) -> bool {
        self.engine.token().is_some() && self.server_takes(self.engine.token()) == Identity::Guest
    }

    fn check_topics(&self) {
        let streams = self.server_streams();
        let mut submitted: Vec<_> = streams.iter().flat_map(|stream| &stream.topics).collect();
        submitted.sort_unstable();
        let wanted: Vec<_> = self.wanted().iter().map(|key| key.to_string()).collect();
        assert_eq!(submitted, wanted.iter().collect::<Vec<_>>(), "{:?}", self.engine.state());
    }

    fn check_identity(&self) {
        let identity = self.server_takes(self.engine.token());
        for stream in self.server_streams().iter().filter(|stream| !stream.topics.is_empty()) {
            assert_eq!(stream.identity.as_ref(), Some(&identity));
        }
        if self.has_provider && !self.wanted().is_empty() {
            let is_good = self.engine.token().is_some() && !self.is_token_dead();
            assert!(is_good, "the provider has good tokens: {:?}", self.engine.credentials);
        }
    }

    /// But for a second stream that is on its way just now.
    fn check_connections(&self) {
        for conn in self.held.keys() {
            let session = self.engine.sessions.get(&conn.session);
            let second = session.and_then(|session| session.second.as_deref());
            let is_coming = second
                .is_some_and(|second| second.conn.serial == conn.serial && second.next_until().is_some());
            let is_known = is_coming || self.streams.contains_key(conn);
            assert!(is_known, "the driver holds {conn:?}, which the server does not");
        }
    }

    fn check_state(&self) {
        let (wanted, keys) = (self.wanted(), self.engine.keys());
        let is_dead = self.is_token_dead();
        match self.engine.state() {
            State::Live => assert!(!keys.is_empty() && (!is_dead || wanted.is_empty()), "silently a guest"),
            State::Unauthenticated { .. } => assert!(is_dead && !self.has_provider),
            State::Idle | State::Closed { why: Some(_) } => assert!(keys.is_empty()),
            state => panic!("{state:?} at the end"),
        }
    }

    fn check_nothing_lost(&mut self, log: &Log) {
        self.seen.gaps += log.gaps.len();
        match &log.ended {
            Some(Some(error)) if error.status() == Some(400) && log.key.starts_with("refused") => {
                self.seen.refused += 1;
            }
            Some(Some(_)) => {
                self.seen.given_up += 1;
                return;
            }
            Some(None) => return,
            None => assert!(log.ready.is_some(), "{} is not ready at the end", log.key),
        }
        for (n, at) in &log.owed {
            let is_reported = log.gaps.iter().any(|gap| gap.since <= *at && *at <= gap.until);
            let is_known = is_reported || log.got.contains(n);
            assert!(is_known, "{} {:?} was lost in silence", log.key, *at - self.start);
        }
    }

    pub(super) fn check_closed(&self) {
        assert!(self.held.is_empty(), "connections are left after close");
        assert!(self.listeners.iter().all(|(_, probe)| probe.0.borrow().ended.is_some()));
        assert!(self.engine.deadline(self.now).is_none(), "a timer is left after close");
    }
}
