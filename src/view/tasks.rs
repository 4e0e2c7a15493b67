//! What a view has under way, one at a time: a list that it walks, page by page, or a question for some ids. Inputs and
//! outputs are in `machine.rs`; what becomes of the rows in `merge.rs`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem::take,
    time::{Duration, Instant},
};

use super::{
    books::Last,
    fold::Why,
    look::Look,
    machine::{Machine, Now, Output},
    question::Wanted,
    rows::Row,
};
use crate::Error;

#[derive(Debug)]
pub(super) enum Task {
    Rest,
    Pause { until: Instant },
    Walk(Walk),
    Ask(Ask),
    Look(Look),
}

/// A list that is under way.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) stage: Stage,
    /// What has been found, in the order of the list. A thin walk knows the body where it is unchanged.
    pub(super) found: Vec<Found>,
    pub(super) ids: HashSet<Box<str>>,
    /// Bodies from a walk before this one, besides those that are kept.
    pub(super) known: HashMap<Box<str>, Row>,
    /// The last row seen: the next page begins after it.
    pub(super) last: Option<Row>,
    /// Nothing is beyond what was found.
    pub(super) is_complete: bool,
    /// Changes were missed meanwhile.
    pub(super) is_outdated: bool,
    pub(super) ticket: u64,
    /// When, by the server's clock.
    pub(super) began: u64,
    pub(super) closes_gap: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All bodies.
    Full,
    /// Ids and versions, then the bodies that differ.
    Thin,
    /// What follows the last row of a window.
    Refill,
}

#[derive(Debug)]
pub(super) enum Stage {
    Pages {
        asked: usize,
    },
    /// The bodies that differ, of these ids.
    Bodies {
        open: Vec<Box<str>>,
        asked: Vec<Box<str>>,
    },
    Proof,
}

#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: Box<str>,
    pub(super) row: Option<Row>,
}

#[derive(Debug)]
pub(super) struct Ask {
    pub(super) number: u64,
    pub(super) ids: BTreeMap<Box<str>, Why>,
    /// What the server has of them, once it has answered and the identity is to be proven.
    pub(super) answer: Option<Vec<Row>>,
}

/// The next list, if one is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    Nothing,
    Thin,
    Full,
}

/// Rows on a page: what servers of any age give.
const PAGE: usize = 500;

/// Two changes may share a version, and one of them be missed. That can only be so for the newest versions, of this age in
/// milliseconds at most, and so many bodies are fetched again beside those that differ.
const YOUNG: u64 = 600_000;
const YOUNGEST: usize = 50;

/// How often to compare where time changes what matches and only the server knows when.
const CLOCK_AUDIT: Duration = Duration::from_secs(10);

impl Walk {
    /// What would begin it again.
    pub(super) fn need(&self) -> Need {
        if self.kind == Kind::Full { Need::Full } else { Need::Thin }
    }
}

impl Machine {
    /// Begins what is due, if nothing is under way.
    pub(super) fn begin_task(&mut self, now: Now) {
        if !matches!(self.task, Task::Rest) || !self.live {
            return;
        }
        if let Some(walk) = self.suspended.take() {
            return self.resume(now, walk);
        }
        if self.tickets.0 > self.tickets.1 {
            self.need = self.need.max(Need::Thin);
        }
        if self.need != Need::Nothing {
            let is_versioned = self.kept.iter().next().is_none_or(|row| row.updated().is_some());
            let kind = match self.need {
                Need::Thin if is_versioned && !self.is_first => Kind::Thin,
                _ => Kind::Full,
            };
            self.begin_walk(now, kind, Vec::new());
        } else if self.lacks_rows()
            || self.kept.len() < self.wanted_rows().saturating_sub(self.settings.slack / 2)
        {
            let found = self.kept.iter().map(|row| Found { id: row.id().into(), row: Some(row.clone()) });
            let found: Vec<Found> = found.collect();
            self.begin_walk(now, Kind::Refill, found);
        } else if !self.begin_look() && !self.questions.is_empty() {
            self.begin_ask();
        }
    }

    /// Rows kept at most, where there is more than that.
    fn wanted_rows(&self) -> usize {
        match self.settings.limit {
            Some(limit) if !self.is_complete => limit + self.settings.slack,
            _ => 0,
        }
    }

    /// Whether rows are missing in the window, which is not shown so.
    pub(super) fn lacks_rows(&self) -> bool {
        !self.is_complete && self.settings.limit.is_some_and(|limit| self.kept.len() < limit)
    }

    fn begin_walk(&mut self, now: Now, kind: Kind, found: Vec<Found>) {
        let last = found.last().and_then(|found| found.row.clone());
        let closes_gap = self.has_gap;
        if kind != Kind::Refill {
            self.need = Need::Nothing;
            // The list will say it: what has arrived was committed before it is read.
            self.questions.clear();
            self.outlive(now);
            self.next_audit = None;
        }
        let ids = found.iter().map(|found| found.id.clone()).collect();
        self.task = Task::Walk(Walk {
            number: 0,
            kind,
            stage: Stage::Pages { asked: 0 },
            found,
            ids,
            known: HashMap::new(),
            last,
            is_complete: false,
            is_outdated: false,
            began: now.wall,
            ticket: if kind == Kind::Refill { 0 } else { self.tickets.0 },
            closes_gap,
        });
        self.ask_page(now);
    }

    /// Asks again for what failed.
    fn resume(&mut self, now: Now, mut walk: Walk) {
        if let Stage::Bodies { open, asked } = &mut walk.stage {
            open.append(asked);
        }
        self.task = Task::Walk(walk);
        match &self.task {
            Task::Walk(Walk { stage: Stage::Pages { .. }, .. }) => self.ask_page(now),
            Task::Walk(Walk { stage: Stage::Bodies { .. }, .. }) => self.ask_bodies(now),
            _ => self.ask_proof(now),
        }
    }

    /// The next page, or what comes after the last.
    fn ask_page(&mut self, now: Now) {
        let most = self.settings.limit.map(|limit| limit + self.settings.slack);
        let Task::Walk(walk) = &mut self.task else { return };
        let asked = most.map_or(PAGE, |most| most.saturating_sub(walk.found.len()).min(PAGE));
        if asked == 0 {
            return self.after_pages(now);
        }
        walk.stage = Stage::Pages { asked };
        let is_thin = walk.kind == Kind::Thin;
        let last = walk.last.clone();
        match self.settings.question.page(&self.settings.order, last.as_ref(), asked, is_thin) {
            Ok(wanted) => self.put(wanted),
            Err(error) => self.end(error),
        }
    }

    /// Asks something for the task that is under way.
    pub(super) fn put(&mut self, wanted: Wanted) {
        self.number += 1;
        match &mut self.task {
            Task::Walk(walk) => walk.number = self.number,
            Task::Ask(ask) => ask.number = self.number,
            Task::Look(look) => look.number = self.number,
            Task::Rest | Task::Pause { .. } => return,
        }
        self.outputs.push_back(Output::Ask { number: self.number, wanted });
    }

    /// A page of a walk, or bodies that it lacked.
    pub(super) fn walked(&mut self, now: Now, rows: Vec<Row>) {
        let Task::Walk(walk) = &mut self.task else { return };
        match &mut walk.stage {
            Stage::Pages { asked } => {
                let is_last = rows.len() < *asked;
                walk.last = rows.last().cloned().or_else(|| walk.last.take());
                for row in rows {
                    let id: Box<str> = row.id().into();
                    // It moved on while the list was read: the later sight counts.
                    if !walk.ids.insert(id.clone()) {
                        walk.found.retain(|found| found.id != id);
                    }
                    let known = walk.known.get(&id).or_else(|| self.index.get(&id));
                    let row = match (walk.kind, known) {
                        (Kind::Thin, Some(known)) => {
                            let is_same = row.updated().is_some() && known.updated() == row.updated();
                            is_same.then(|| known.clone())
                        }
                        (Kind::Thin, None) => None,
                        // The same object, where nothing has changed.
                        (_, Some(known)) if *known == row => Some(known.clone()),
                        (Kind::Full | Kind::Refill, _) => Some(row),
                    };
                    walk.found.push(Found { id, row });
                }
                if is_last {
                    walk.is_complete = true;
                    self.after_pages(now);
                } else {
                    self.ask_page(now);
                }
            }
            Stage::Bodies { asked, .. } => {
                let mut bodies: HashMap<&str, &Row> = rows.iter().map(|row| (row.id(), row)).collect();
                let asked: HashSet<Box<str>> = take(asked).into_iter().collect();
                for found in walk.found.iter_mut().filter(|found| asked.contains(&found.id)) {
                    let body = bodies.remove(&*found.id).cloned();
                    let known = self.index.get(&found.id);
                    found.row = body.map(|row| known.filter(|known| **known == row).cloned().unwrap_or(row));
                }
                self.ask_bodies(now);
            }
            Stage::Proof => {}
        }
    }

    /// All pages are there: now the bodies that differ.
    fn after_pages(&mut self, now: Now) {
        let Task::Walk(walk) = &mut self.task else { return };
        if walk.kind == Kind::Thin {
            doubt_young(&mut walk.found, now);
        }
        let open = walk.found.iter().filter(|found| found.row.is_none()).map(|found| found.id.clone());
        walk.stage = Stage::Bodies { open: open.collect(), asked: Vec::new() };
        self.ask_bodies(now);
    }

    fn ask_bodies(&mut self, now: Now) {
        let most = self.settings.question.ids_at_once();
        let Task::Walk(walk) = &mut self.task else { return };
        let Stage::Bodies { open, asked } = &mut walk.stage else { return };
        if open.is_empty() {
            return self.ask_proof(now);
        }
        *asked = open.split_off(open.len().saturating_sub(most));
        let wanted = self.settings.question.ids(asked.iter().map(|id| &**id));
        self.put(wanted);
    }

    /// All is there. Whose list it is stays to be seen: an expired token is no error to the server, which then answers as to
    /// a guest.
    fn ask_proof(&mut self, now: Now) {
        if self.needs_proof {
            if let Task::Walk(walk) = &mut self.task {
                walk.stage = Stage::Proof;
            }
            return self.put(Wanted::Proof);
        }
        match self.task {
            Task::Walk(_) => self.finish_walk(now),
            _ => self.finish_ask(now),
        }
    }

    pub(super) fn finish_walk(&mut self, now: Now) {
        let Task::Walk(walk) = std::mem::replace(&mut self.task, Task::Rest) else { return };
        if walk.is_outdated && self.is_first {
            // Before anything is shown. What was found need not be fetched again.
            return self.begin_again(now, walk);
        }
        let mut rows: Vec<Row> = walk.found.into_iter().filter_map(|found| found.row).collect();
        let order = &self.settings.order;
        rows.sort_by(|a, b| order.compare(a, b));
        self.take_list(now, rows);
        self.is_complete = walk.is_complete;
        if walk.kind == Kind::Refill {
            self.release(now, None);
            return;
        }
        self.is_listed = true;
        if walk.closes_gap && self.need == Need::Nothing {
            self.has_gap = false;
        }
        self.is_another = false;
        self.echoes.clear();
        self.learn_filter();
        self.plan_flips(now);
        self.release(now, Some(&walk.ids));
        self.proven = Some(now.mono);
        if !walk.is_outdated {
            self.doubt = None;
        }
        if walk.ticket > self.tickets.1 {
            self.tickets.1 = walk.ticket;
            self.has_proved = true;
        }
        self.look_again(now, walk.began);
        self.plan_audit(now);
    }

    /// When to compare with the list, although nothing is amiss.
    pub(super) fn plan_audit(&mut self, now: Now) {
        let interval = match (self.settings.audit, self.has_clock() && self.ahead().is_none()) {
            (Some(audit), true) => Some(audit.min(CLOCK_AUDIT)),
            (None, true) => Some(CLOCK_AUDIT),
            (audit, false) => audit,
        };
        self.next_audit = interval.and_then(|interval| now.mono.checked_add(interval));
    }

    /// A full walk during which changes were missed: a thin one compares with what it has found.
    fn begin_again(&mut self, now: Now, walk: Walk) {
        let bodies = walk.found.into_iter().filter_map(|found| found.row.map(|row| (found.id, row)));
        let known: HashMap<Box<str>, Row> = bodies.collect();
        let is_versioned = known.values().all(|row| row.updated().is_some());
        let kind = if is_versioned { Kind::Thin } else { Kind::Full };
        self.begin_walk(now, kind, Vec::new());
        if let Task::Walk(walk) = &mut self.task {
            walk.known = known;
        }
    }

    fn begin_ask(&mut self) {
        let most = self.settings.question.ids_at_once();
        let mut ids = BTreeMap::new();
        while ids.len() < most
            && let Some((id, why)) = self.questions.pop_first()
        {
            ids.insert(id, why);
        }
        let wanted = self.settings.question.ids(ids.keys().map(|id| &**id));
        self.task = Task::Ask(Ask { number: 0, ids, answer: None });
        self.put(wanted);
    }

    /// What goes has to be proven; what is there is there.
    pub(super) fn answered(&mut self, now: Now) {
        let Task::Ask(Ask { ids, answer: Some(rows), .. }) = &self.task else { return };
        let there: HashSet<&str> = rows.iter().map(Row::id).collect();
        let goes = |id: &str| !there.contains(id) && self.index.contains(id);
        if ids.keys().any(|id| goes(id)) { self.ask_proof(now) } else { self.finish_ask(now) }
    }

    pub(super) fn finish_ask(&mut self, now: Now) {
        let Task::Ask(Ask { ids, answer, .. }) = std::mem::replace(&mut self.task, Task::Rest) else {
            return;
        };
        let mut there: HashMap<Box<str>, Row> =
            answer.into_iter().flatten().map(|row| (row.id().into(), row)).collect();
        for (id, why) in ids {
            match there.remove(&id) {
                Some(row) => {
                    self.risen.remove(&id);
                    self.plan_flip(now, &row);
                    self.put_row(now, row);
                }
                None => {
                    let version = self.index.get(&id).and_then(|row| row.updated().map(Box::from));
                    self.take_row(&id, why);
                    self.seen.note(now.mono, &id, version.as_deref(), Last::Gone);
                    self.is_early(now, &id);
                }
            }
        }
        self.release(now, None);
    }

    /// What would do again what is under way.
    pub(super) fn need_again(&self) -> Need {
        if let Task::Walk(walk) = &self.task { walk.need() } else { Need::Thin }
    }

    pub(super) fn begin_anew(&mut self, need: Need) {
        self.need = self.need.max(need);
        self.drop_task();
    }

    pub(super) fn drop_task(&mut self) {
        let task = std::mem::replace(&mut self.task, Task::Rest);
        match task {
            // The walk that follows answers these.
            Task::Ask(_) | Task::Look(_) => self.number += 1,
            Task::Walk(_) => self.number += 1,
            Task::Pause { until } => self.task = Task::Pause { until },
            Task::Rest => {}
        }
    }

    pub(super) fn pause(&mut self, now: Now, pause: Duration) {
        match std::mem::replace(&mut self.task, Task::Pause { until: now.mono + pause }) {
            Task::Walk(walk) if walk.kind != Kind::Refill => self.suspended = Some(walk),
            Task::Rest => {}
            Task::Look(look) => self.horizon.open.push(look.rise),
            // A list answers everything.
            _ => self.need = self.need.max(Need::Thin),
        }
    }

    pub(super) fn end(&mut self, error: Error) {
        if !std::mem::replace(&mut self.ended, true) {
            self.task = Task::Rest;
            self.outputs.clear();
            self.outputs.push_back(Output::End(error));
        }
    }
}

/// The newest versions are fetched again, although they are known.
fn doubt_young(found: &mut [Found], now: Now) {
    let horizon = crate::filter::stamp(now.wall.saturating_sub(YOUNG));
    let mut young: Vec<(String, usize)> = found
        .iter()
        .enumerate()
        .filter_map(|(at, found)| Some((found.row.as_ref()?.updated()?.to_owned(), at)))
        .filter(|(version, _)| *version >= horizon)
        .collect();
    young.sort_unstable_by(|a, b| b.cmp(a));
    for (_, at) in young.into_iter().take(YOUNGEST) {
        found[at].row = None;
    }
}
