//! Whether a topic can deliver anything.
//!
//! PocketBase acknowledges every topic, also that of a collection that does not exist, of one that only superusers may
//! list, or with a filter that it cannot evaluate: the subscription then looks live and is silent. A list request with the
//! same options is refused with the reason (seen: 404, 403, 400; protocol.md, 1.12). So a caller that waits for the
//! acknowledgement waits for one such request too, made beside the submit, and fails with its refusal. A listener that
//! does not wait is told on its own state, and asked for again when the identity changes.
//!
//! Only a refusal in the server's own words counts. An answer that may pass (429, 5xx, a timeout, a lost connection) fails no
//! subscription.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Engine, ListenerId, Outlet, Output,
    dialect::{Failure, Request, TokenPlace},
    identity::Identity,
};
use crate::Error;

/// How long an answer that was no refusal is remembered, for the same question of the same identity. Refusals are not
/// remembered: a collection that was missing may be made the next moment.
const REMEMBERED: Duration = Duration::from_secs(300);

/// Answers remembered. More than that are distinct filters, of which each is asked for rarely.
const MEMORY: usize = 1024;

/// Requests under way at a time, so that a thousand distinct filters do not become a thousand connections.
const CONCURRENT: usize = 8;

/// After a request that came to nothing, how long none is made: a server that is busy is not asked for more.
const PAUSE: Duration = Duration::from_secs(30);

/// The list request that tells whether a topic can deliver anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Path and query below the base URL.
    pub(crate) path: Arc<str>,
    /// It is about one record, whose rule is another one than that of lists: only a missing collection counts.
    pub(crate) is_of_record: bool,
}

#[derive(Debug, Default)]
pub(super) struct Checks {
    /// What was not refused, to whom, and when.
    passed: HashMap<Arc<str>, (Identity, Instant)>,
    /// Listeners whose topic is not known to deliver.
    open: BTreeMap<ListenerId, Open>,
    /// Questions that are asked or wait for their turn, in order.
    questions: Vec<Question>,
    next: u64,
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    check: Check,
    /// The caller does not wait for the answer.
    patient: bool,
    verdict: Verdict,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Unasked,
    /// With the question of this number.
    Asked(u64),
    /// For this identity.
    Denied(Identity),
}

#[derive(Debug)]
struct Question {
    number: u64,
    path: Arc<str>,
    identity: Identity,
    is_sent: bool,
}

impl Checks {
    pub(super) fn add(&mut self, id: ListenerId, check: Check, patient: bool) {
        self.open.insert(id, Open { check, patient, verdict: Verdict::Unasked });
    }

    pub(super) fn remove(&mut self, id: ListenerId) {
        self.open.remove(&id);
    }

    /// Whether a caller waits for the answer about this listener's topic.
    pub(super) fn holds(&self, id: ListenerId) -> bool {
        self.open.get(&id).is_some_and(|open| !open.patient)
    }

    pub(super) fn clear(&mut self) {
        *self = Self { next: self.next, ..Self::default() };
    }

    /// Notes the questions that are open for this identity. Returns the listeners for whom none is needed.
    fn collect(&mut self, now: Instant, identity: &Identity) -> Vec<ListenerId> {
        let Self { passed, open, questions, next, paused_until } = self;
        let is_paused = paused_until.is_some_and(|until| now < until);
        let mut done = Vec::new();
        for (id, Open { check, patient, verdict }) in open.iter_mut() {
            match verdict {
                Verdict::Unasked => {}
                Verdict::Denied(whom) if whom != identity => {}
                Verdict::Asked(_) | Verdict::Denied(_) => continue,
            }
            let is_known = passed.get(&check.path).is_some_and(|(whom, at)| {
                whom == identity && now.saturating_duration_since(*at) < REMEMBERED
            });
            // Who waits does not wait for the end of a pause; the others are asked for with the next submit.
            if is_known || is_paused && !*patient {
                done.push(*id);
            }
            if is_known || is_paused {
                continue;
            }
            let same = questions.iter().find(|asked| asked.path == check.path && asked.identity == *identity);
            let number = same.map(|asked| asked.number).unwrap_or_else(|| {
                *next += 1;
                let (path, identity) = (check.path.clone(), identity.clone());
                questions.push(Question { number: *next, path, identity, is_sent: false });
                *next
            });
            *verdict = Verdict::Asked(number);
        }
        done
    }

    /// The questions whose turn it is.
    fn start(&mut self) -> Vec<(u64, Arc<str>)> {
        let turn = self.questions.iter_mut().take(CONCURRENT).filter(|question| !question.is_sent);
        turn.map(|question| {
            question.is_sent = true;
            (question.number, question.path.clone())
        })
        .collect()
    }

    fn asked_with(&self, number: u64) -> Vec<ListenerId> {
        let asked = self.open.iter().filter(|(_, open)| open.verdict == Verdict::Asked(number));
        asked.map(|(id, _)| *id).collect()
    }

    fn remember(&mut self, now: Instant, path: Arc<str>, identity: Identity) {
        if self.passed.len() >= MEMORY {
            self.passed.retain(|_, (_, at)| now.saturating_duration_since(*at) < REMEMBERED);
        }
        if self.passed.len() >= MEMORY {
            self.passed.clear();
        }
        self.passed.insert(path, (identity, now));
    }
}

impl<L: Outlet> Engine<L> {
    /// Asks what is open, as the identity that the client has now.
    pub(super) fn ask_checks(&mut self, now: Instant) {
        let identity = self.credentials.identity();
        for id in self.checks.collect(now, &identity) {
            self.release(id);
        }
        self.start_checks();
    }

    fn start_checks(&mut self) {
        for (number, path) in self.checks.start() {
            let request = Request {
                method: "GET",
                path: path.to_string(),
                body: None,
                token: TokenPlace::Header,
                pin: None,
            };
            let token = self.credentials.token.clone();
            self.outputs.push_back(Output::Check { number, request, token });
        }
    }

    /// The answer to a check has come.
    pub(crate) fn checked(&mut self, now: Instant, number: u64, answer: Result<(), Failure>) {
        let Some(at) = self.checks.questions.iter().position(|asked| asked.number == number) else { return };
        let Question { path, identity, .. } = self.checks.questions.remove(at);
        let asked = self.checks.asked_with(number);
        if identity != self.credentials.identity() {
            // An answer to who the client was.
            for id in &asked {
                if let Some(open) = self.checks.open.get_mut(id) {
                    open.verdict = Verdict::Unasked;
                }
            }
            return self.ask_checks(now);
        }
        match answer {
            Ok(()) => {
                self.checks.remember(now, path, identity);
                asked.into_iter().for_each(|id| self.release(id));
            }
            Err(Failure::Refused(refusal)) if self.dialect.denies(&refusal) => {
                for id in asked {
                    let is_of_record = self.checks.open.get(&id).is_some_and(|open| open.check.is_of_record);
                    match is_of_record && refusal.status() != 404 {
                        true => self.release(id),
                        false => {
                            let refusal = self.dialect.explain_list(refusal.clone());
                            self.deny(now, id, &identity, Error::Refused(refusal));
                        }
                    }
                }
            }
            Err(_) => {
                self.checks.paused_until = Some(now + PAUSE);
                // Nor are those asked that wait for their turn.
                let mut spared = asked;
                let waiting = self.checks.questions.extract_if(.., |asked| !asked.is_sent);
                let waiting: Vec<_> = waiting.map(|asked| asked.number).collect();
                spared.extend(waiting.into_iter().flat_map(|number| self.checks.asked_with(number)));
                for id in spared {
                    match self.checks.open.get_mut(&id) {
                        Some(open) if open.patient => open.verdict = Verdict::Unasked,
                        _ => self.release(id),
                    }
                }
            }
        }
        self.start_checks();
    }

    /// Nothing speaks against the listener's topic: if it is acknowledged, its caller need not wait any longer.
    pub(super) fn release(&mut self, id: ListenerId) {
        let Some(Open { patient, .. }) = self.checks.open.remove(&id) else { return };
        let is_live = self.is_live(id);
        let Some(entry) = self.registry.entry_mut(id) else { return };
        if patient {
            // It may have been denied to who the client was.
            entry.outlet.deny(None);
        }
        if is_live && !std::mem::replace(&mut entry.ready, true) {
            entry.outlet.ready();
            self.woken.push(entry.outlet.clone());
        }
    }

    /// Nobody waits for an answer, and none is on its way.
    #[cfg(test)]
    pub(super) fn checks_are_settled(&self) -> bool {
        self.checks.questions.is_empty() && !self.checks.open.values().any(|open| !open.patient)
    }

    /// The server would refuse a list of what the listener's topic is about, so no event can come.
    fn deny(&mut self, now: Instant, id: ListenerId, identity: &Identity, error: Error) {
        let Some(open) = self.checks.open.get_mut(&id) else { return };
        if !open.patient {
            return self.remove(now, id, Some(error));
        }
        open.verdict = Verdict::Denied(identity.clone());
        let Some(entry) = self.registry.entry(id) else { return };
        entry.outlet.deny(Some(error.clone()));
        if let Some(key) = self.registry.key_of(id) {
            self.outputs.push_back(Output::Denied { topic: key.clone(), error, for_now: false });
        }
    }
}
