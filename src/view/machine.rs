//! What a live view decides, without I/O, clock or lock: events, pages, refusals and the passing of time come in as calls,
//! and what is to be asked, shown and reported comes out of [`Machine::poll`].
//!
//! # What holds at all times
//!
//! Each is checked after every step of `simulation/`, by the check in `checks.rs` that has its number.
//!
//! - **V1** Folding the deltas gives the rows (`check_folding`).
//! - **V2** Nothing is shown before the first proof (`check_first`).
//! - **V3** At rest, after a proof, the rows are the server's list, order included (`check_rest`).
//! - **V4** Nothing is resurrected: what was deleted does not come back by a late message (`check_rest`, `check_known`).
//! - **V5** A row that did not change gives no delta (`check_folding`).
//! - **V6** Rows of two identities are never in one list (`check_identity`, `check_another`).
//! - **V7** Rows go in number, by a list, only where the identity is proven (`check_identity`).
//! - **V8** Memory: window, slack, one list that is under way, and bounded books of what waits (`check_memory`).
//! - **V9** No state between two proofs is shown (`check_between`).
//!
//! # States and inputs
//!
//! What is under way is a [`Task`], one at a time. An answer that carries another number than the task's is ignored.
//!
//! A [`Task::Look`] asks what time will bring in: events are applied, a gap drops it, a failure puts it off.
//!
//! | input | `Rest` | `Pause` (after a failure) | `Walk` (a list) | `Ask` (some ids) |
//! |---|---|---|---|---|
//! | event | applied | held | held | held if its id is asked for, else applied |
//! | gap | walk (thin) | walk when it ends | goes on, then a thin one; a refill is dropped | dropped for a thin walk |
//! | link down | doubt | doubt | doubt; its answers are taken | the same |
//! | link up | as before | as before | as before | as before |
//! | identity | walk (full) | walk (full), now | dropped; walk (full) | dropped; walk (full) |
//! | new token | nothing | now, if the old one was not taken | begins again | dropped for a thin walk |
//! | page | ignored | ignored | next page, bodies that differ, proof, or done | proof, or done |
//! | refusal, final | ignored | ignored | end; a user's: first whether the token is taken | the same |
//! | failure | ignored | ignored | pause, then the same page again | pause, then a thin walk |
//! | proof taken | ignored | ignored | done | done |
//! | proof not taken | ignored | ignored | pause; doubt | pause; doubt |
//! | prove | walk (thin) | walk when it ends | another walk after this one | walk after it |
//! | time | audit, questions, flips | next task when it is over | - | - |
//!
//! A list takes a while, and a link that is cut more often than that would never let one end. So a walk survives the failure of
//! a page, and gaps: it then shows what it has found, which is the list as it was read and holds every write from before it
//! began, and another one follows.
//!
//! # Versions
//!
//! `updated` says which of two bodies of a record is the newer one, within limits: it is stamped before the commit, clocks are
//! set back, and two changes in one millisecond share it. So a newer version is taken, the same with the same content is
//! nothing new, and **everything else is asked for by id**: an older one too, since it may be what was committed last. A
//! record that is gone leaves its version behind for a while, against messages that are late.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    arrange::Order,
    books::{Echoes, Seen},
    fold::{Change, Why},
    look::Horizon,
    merge::until,
    question::{Question, Wanted},
    rows::{Index, Row, Rows},
    tasks::{Kind, Need, Stage, Task, Walk},
};
use crate::{
    Error,
    filter::{Ahead, Filter, Schema},
};

/// The time, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) mono: Instant,
    /// Milliseconds since 1970, by the server's clock as far as it is known.
    pub(super) wall: u64,
}

/// What a message brings about one record.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) is_delete: bool,
    pub(super) record: Value,
}

/// The topic that a message came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Of the whole collection: the filter is evaluated here.
    All,
    /// What matches the filter, by the server's own judgement.
    Filtered,
    /// Every change, with id and version alone.
    Thin,
}

/// Who decides whether a record matches.
#[derive(Clone, Debug)]
pub(super) enum Judge {
    /// There is no filter.
    Nobody,
    /// We do, and ask where we do not know.
    Here { filter: Box<Filter>, has_clock: bool, ahead: Option<Ahead> },
    /// The server does.
    Server { has_clock: bool },
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) order: Order,
    pub(super) judge: Judge,
    pub(super) question: Question,
    /// Rows shown, and kept beyond them.
    pub(super) limit: Option<usize>,
    pub(super) slack: usize,
    pub(super) audit: Option<Duration>,
    /// A token that the server does not take ends a view that has shown nothing yet: nobody brings another.
    pub(super) is_final_untaken: bool,
    /// Nobody waits for the first list, so a refusal that may pass does not end the view.
    pub(super) is_patient: bool,
}

/// Whether the list is what the server has.
#[derive(Clone, Debug)]
pub(super) enum Doubt {
    Link,
    Gap,
    Identity(Option<Error>),
    List(Error),
}

/// Whether the list is in doubt, and since when; or proven, and when.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) doubt: Option<Doubt>,
    pub(super) since: Instant,
}

/// What the machine wants done.
#[derive(Debug)]
pub(super) enum Output {
    /// Ask the server; answer with the number. What was asked before is not wanted any more.
    Ask {
        number: u64,
        wanted: Wanted,
    },
    /// Show these rows, and in the same step the status, if it is another.
    Show {
        rows: Rows,
        changes: Vec<Change>,
        is_first: bool,
        standing: Option<Standing>,
    },
    Standing(Standing),
    /// All proofs up to this ticket are done.
    Proved(u64),
    End(Error),
}

/// Why a request came to nothing.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// It is a refusal of the server itself, and of nothing that stands before it.
    pub(super) is_denied: bool,
    /// How long to wait at least.
    pub(super) pause: Duration,
}

/// Messages held while a list is under way, and of more of them the ids.
pub(super) const HELD: usize = 2_048;
pub(super) const HELD_IDS: usize = 65_536;

/// How long the server may take to send both messages of a change.
pub(super) const GRACE: Duration = Duration::from_millis(25);

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) settings: Settings,
    pub(super) schema: Schema,
    /// What is kept, in order, and by id.
    pub(super) kept: Rows,
    pub(super) index: Index,
    /// Nothing is beyond what is kept.
    pub(super) is_complete: bool,
    pub(super) shown: Rows,
    pub(super) is_first: bool,
    pub(super) task: Task,
    /// A walk that goes on after a pause.
    pub(super) suspended: Option<Walk>,
    pub(super) need: Need,
    pub(super) number: u64,
    pub(super) live: bool,
    /// Changes were missed and the list that closes the gap is not done.
    pub(super) has_gap: bool,
    /// A list has ended that is not shown yet.
    pub(super) is_listed: bool,
    /// The rows are those of another identity.
    pub(super) is_another: bool,
    pub(super) needs_proof: bool,
    /// The server does not take the token, as far as was asked.
    pub(super) untaken: Option<Error>,
    /// What ends the view unless this question finds that the token is not taken, which would explain it.
    pub(super) refused: Option<(u64, Error)>,
    pub(super) failed: Option<Error>,
    /// Proofs wanted, and proofs done.
    pub(super) tickets: (u64, u64),
    /// Which is to be told, once it is shown.
    pub(super) has_proved: bool,
    pub(super) held: Vec<Message>,
    pub(super) held_ids: HashSet<Box<str>>,
    /// Ids to ask for, and why they go if the server does not have them.
    pub(super) questions: BTreeMap<Box<str>, Why>,
    pub(super) seen: Seen,
    pub(super) echoes: Echoes,
    /// When time changes whether a record matches: by time, its id.
    pub(super) flips: BTreeSet<(u64, Box<str>)>,
    /// Records that time should have brought in, and since when they are asked for.
    pub(super) risen: HashMap<Box<str>, u64>,
    pub(super) horizon: Horizon,
    pub(super) next_audit: Option<Instant>,
    pub(super) changes: Vec<Change>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) doubt: Option<Option<Doubt>>,
    pub(super) proven: Option<Instant>,
    pub(super) ended: bool,
}

impl Machine {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            schema: Schema::default(),
            kept: Rows::default(),
            index: Index::default(),
            is_complete: false,
            shown: Rows::default(),
            is_first: true,
            task: Task::Rest,
            suspended: None,
            need: Need::Full,
            number: 0,
            live: false,
            has_gap: false,
            is_listed: false,
            is_another: false,
            needs_proof: false,
            untaken: None,
            refused: None,
            failed: None,
            tickets: (0, 0),
            has_proved: false,
            held: Vec::new(),
            held_ids: HashSet::new(),
            questions: BTreeMap::new(),
            seen: Seen::default(),
            echoes: Echoes::default(),
            flips: BTreeSet::new(),
            risen: HashMap::new(),
            horizon: Horizon::default(),
            next_audit: None,
            changes: Vec::new(),
            outputs: VecDeque::new(),
            doubt: None,
            proven: None,
            ended: false,
        }
    }

    // ---- Inputs ----

    pub(super) fn message(&mut self, now: Now, message: Message) {
        let is_held = match &self.task {
            Task::Rest => self.need != Need::Nothing || self.suspended.is_some(),
            Task::Pause { .. } | Task::Walk(_) => true,
            Task::Ask(ask) => message.record["id"].as_str().is_some_and(|id| ask.ids.contains_key(id)),
            Task::Look(_) => false,
        };
        if is_held { self.hold(message) } else { self.apply(now, &message) }
    }

    /// Messages may have been missed, and none from now on.
    pub(super) fn gap(&mut self) {
        self.has_gap = true;
        self.need = self.need.max(Need::Thin);
        match &mut self.task {
            // What it has found is worth a lot.
            Task::Walk(walk) if walk.kind != Kind::Refill => walk.is_outdated = true,
            Task::Walk(_) | Task::Ask(_) | Task::Look(_) => self.drop_task(),
            Task::Rest | Task::Pause { .. } => {
                self.suspended.iter_mut().for_each(|walk| walk.is_outdated = true);
            }
        }
    }

    /// Whether messages come: all topics are acknowledged on a stream that is up.
    pub(super) fn link(&mut self, live: bool) {
        self.live = live;
    }

    /// The client is somebody else. What the old one saw stays until there is a list of the new one.
    pub(super) fn identity(&mut self, needs_proof: bool) {
        self.needs_proof = needs_proof;
        self.is_another = true;
        self.need = Need::Full;
        self.untaken = None;
        self.failed = None;
        self.drop_task();
        self.task = Task::Rest;
        self.suspended = None;
        self.flips.clear();
        self.risen.clear();
        self.horizon = Horizon::default();
        self.forget_messages();
        self.seen = Seen::default();
    }

    /// The same client has a new token: what was not taken may be taken now. What was listed with the old one cannot be proven
    /// by this one.
    pub(super) fn new_token(&mut self) {
        let was_untaken = self.untaken.take().is_some();
        if let Some(walk) = self.suspended.take() {
            self.need = self.need.max(walk.need());
        }
        match &self.task {
            Task::Pause { .. } if was_untaken => self.task = Task::Rest,
            Task::Walk(Walk { kind: Kind::Full, .. }) => self.begin_anew(Need::Full),
            Task::Walk(_) | Task::Ask(_) => self.begin_anew(Need::Thin),
            Task::Rest | Task::Pause { .. } | Task::Look(_) => {}
        }
    }

    /// Somebody wants to see every write that was committed before now.
    pub(super) fn prove(&mut self, ticket: u64) {
        self.tickets.0 = self.tickets.0.max(ticket);
    }

    /// The answer to a question: its records.
    pub(super) fn page(&mut self, now: Now, number: u64, items: &[Value]) {
        let rows: Vec<Row> = items.iter().filter_map(|item| Row::new(item, &self.settings.order)).collect();
        self.failed = None;
        match &mut self.task {
            Task::Walk(walk) if walk.number == number => {
                if !matches!(walk.kind, Kind::Thin) || matches!(walk.stage, Stage::Bodies { .. }) {
                    items.iter().take(50).for_each(|item| self.schema.learn(item));
                }
                self.walked(now, rows);
            }
            Task::Ask(ask) if ask.number == number => {
                ask.answer = Some(rows);
                self.answered(now);
            }
            Task::Look(look) if look.number == number => {
                let rise = look.rise;
                self.looked(now, rise, items);
            }
            _ => {}
        }
    }

    /// The answer to whether the server takes the token: `None`, or why not.
    pub(super) fn proof(&mut self, now: Now, number: u64, refusal: Option<Error>, pause: Duration) {
        let is_ours = match &self.task {
            Task::Walk(walk) => walk.number == number,
            Task::Ask(ask) => ask.number == number,
            Task::Rest | Task::Pause { .. } | Task::Look(_) => false,
        };
        if !is_ours {
            return;
        }
        if let Some(error) = refusal {
            if self.is_first && self.settings.is_final_untaken {
                return self.end(error);
            }
            self.untaken = Some(error);
            // What was listed is a guest's.
            let need = self.need_again();
            self.begin_anew(need);
            return self.pause(now, pause);
        }
        self.untaken = None;
        if let Some(error) = self.refusal_behind(number) {
            return self.end(error);
        }
        match &self.task {
            Task::Walk(_) => self.finish_walk(now),
            _ => self.finish_ask(now),
        }
    }

    /// The refusal that this question was asked about.
    fn refusal_behind(&mut self, number: u64) -> Option<Error> {
        self.refused.take_if(|(about, _)| *about == number).map(|(_, error)| error)
    }

    pub(super) fn failure(&mut self, now: Now, number: u64, failure: Failure) {
        let is_ours = match &self.task {
            Task::Walk(walk) => walk.number == number,
            Task::Ask(ask) => ask.number == number,
            Task::Look(look) => look.number == number,
            Task::Rest | Task::Pause { .. } => false,
        };
        if !is_ours {
            return;
        }
        if matches!(self.task, Task::Look(_)) && (is_too_long(&failure.error) || self.is_final(&failure)) {
            return self.look_no_more(now);
        }
        if is_too_long(&failure.error) && self.settings.question.shorten() {
            let need = self.need_again();
            return self.begin_anew(need);
        }
        if self.is_final(&failure) {
            let behind = self.refusal_behind(number);
            if self.needs_proof && behind.is_none() {
                // An expired or revoked token is a guest's, whose refusal says nothing of the user.
                self.put(Wanted::Proof);
                self.refused = Some((self.number, failure.error));
                return;
            }
            return self.end(behind.unwrap_or(failure.error));
        }
        self.failed = Some(failure.error);
        self.pause(now, failure.pause);
    }

    /// Whether asking again would bring the same answer.
    fn is_final(&self, failure: &Failure) -> bool {
        let is_lasting = match failure.error.status() {
            None | Some(408 | 425 | 429 | 500..) => false,
            Some(_) => failure.error.refusal().is_some(),
        };
        // What stands before the server may answer so for a while; a caller who waits is told.
        is_lasting && (failure.is_denied || self.is_first && !self.settings.is_patient)
    }

    pub(super) fn timeout(&mut self, now: Now) {
        if let Task::Pause { until } = self.task
            && until <= now.mono
        {
            self.task = Task::Rest;
        }
        if self.next_audit.is_some_and(|at| at <= now.mono) {
            self.next_audit = None;
            self.need = self.need.max(Need::Thin);
        }
        let due = self.echoes.due(now.mono);
        for id in due {
            // Of others that match, the filtered topic tells.
            if self.index.contains(&id) {
                self.ask(&id, Why::LeftFilter);
            }
        }
        self.watch_clock(now);
        if matches!(self.task, Task::Rest | Task::Ask(_) | Task::Look(_)) {
            self.flip(now);
        }
    }

    // ---- What comes out ----

    pub(super) fn poll(&mut self, now: Now) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if self.ended {
            return None;
        }
        self.begin_task(now);
        if let Err(error) = self.settings.order.check() {
            self.end(error);
            return self.outputs.pop_front();
        }
        self.show();
        let doubt = self.current_doubt();
        let is_same = match (&self.doubt, &doubt) {
            (Some(None), None) => true,
            (Some(Some(old)), Some(new)) => std::mem::discriminant(old) == std::mem::discriminant(new),
            _ => false,
        };
        if !is_same && (doubt.is_some() || !self.is_first) {
            self.doubt = Some(doubt.clone());
            let since = if doubt.is_some() { now.mono } else { self.proven.unwrap_or(now.mono) };
            let new = Standing { doubt, since };
            match self.outputs.back_mut() {
                Some(Output::Show { standing, .. }) => *standing = Some(new),
                _ => self.outputs.push_back(Output::Standing(new)),
            }
        }
        if self.has_proved && !self.lacks_rows() {
            self.has_proved = false;
            self.outputs.push_back(Output::Proved(self.tickets.1));
        }
        self.outputs.pop_front()
    }

    /// When [`timeout`](Self::timeout) is to be called next, at the latest.
    pub(super) fn deadline(&self, now: Now) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let pause = match self.task {
            Task::Pause { until } => Some(until),
            _ => None,
        };
        let flip = self.flips.first().map(|(at, _)| until(now, *at));
        let flip = flip.filter(|_| matches!(self.task, Task::Rest | Task::Ask(_) | Task::Look(_)));
        [pause, flip, self.next_audit, self.echoes.deadline(), self.horizon_at(now)]
            .into_iter()
            .flatten()
            .min()
    }

    /// What the view keeps: rows, what a list has found and what waits for it, entries of its books.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize, usize) {
        let (found, asked) = match &self.task {
            Task::Walk(walk) => (walk.found.len(), 0),
            Task::Ask(ask) => (0, ask.ids.len()),
            _ => (self.suspended.as_ref().map_or(0, |walk| walk.found.len()), 0),
        };
        let books = self.held_ids.len() + self.questions.len() + self.seen.len() + self.echoes.len() + asked;
        (self.kept.len(), found + self.held.len(), books)
    }
}

/// "Query string is too large." of servers before 0.23, and what proxies say.
fn is_too_long(error: &Error) -> bool {
    let Some(refusal) = error.refusal() else { return false };
    matches!(refusal.status(), 414 | 431)
        || refusal.status() == 400 && refusal.message().contains("too large")
}
