//! What messages do to the rows, and what of that is shown. The other half of the machine.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    mem::take,
    time::{Duration, Instant},
};

use super::{
    arrange::Order,
    books::Last,
    fold::{Change, Why},
    machine::{Doubt, HELD, HELD_IDS, Judge, Machine, Message, Now, Output, Role},
    rows::{Row, Rows, version_of},
    tasks::Need,
};
use crate::filter::Answer;

/// What a message says about a record.
#[derive(Debug)]
enum Verdict {
    In,
    Out,
    Deleted,
    Unknown,
    /// That it changed.
    Changed,
}

impl Machine {
    /// Keeps a message until the list that is under way is there; of too many of them, that their records changed.
    pub(super) fn hold(&mut self, message: Message) {
        if self.held.len() < HELD {
            return self.held.push(message);
        }
        for message in take(&mut self.held).into_iter().chain([message]) {
            let Some(id) = message.record["id"].as_str() else { continue };
            if self.held_ids.len() < HELD_IDS {
                self.held_ids.insert(id.into());
            } else {
                self.need = self.need.max(Need::Thin);
            }
        }
    }

    pub(super) fn forget_messages(&mut self) {
        self.held.clear();
        self.held_ids.clear();
        self.questions.clear();
        self.echoes.clear();
    }

    /// Forgets what was held, but for the versions, by which what is late is known.
    pub(super) fn outlive(&mut self, now: Now) {
        for message in take(&mut self.held) {
            if let (Some(id), Some(version)) = (message.record["id"].as_str(), version_of(&message.record))
                && self.seen.get(id).is_none_or(|(seen, _)| seen < version || message.is_delete)
            {
                let last = if message.is_delete { Last::Gone } else { Last::Out };
                self.seen.note(now.mono, id, Some(version), last);
            }
        }
        self.held_ids.clear();
    }

    /// Applies what was held.
    ///
    /// What is in none of these, of which all are that a list has found, may have been hidden by a rule while the message was
    /// under way.
    pub(super) fn release(&mut self, now: Now, listed: Option<&HashSet<Box<str>>>) {
        for message in take(&mut self.held) {
            let id = message.record["id"].as_str().unwrap_or_default();
            let is_listed = listed.is_none_or(|listed| listed.contains(id));
            if !is_listed && matches!(self.judge(now, &message), Verdict::In) {
                self.ask(id, Why::Gone);
            } else {
                self.apply(now, &message);
            }
        }
        for id in take(&mut self.held_ids) {
            self.ask(&id, Why::Gone);
        }
    }

    pub(super) fn ask(&mut self, id: &str, why: Why) {
        if self.questions.len() < HELD_IDS {
            self.questions.entry(id.into()).or_insert(why);
        } else {
            self.need = self.need.max(Need::Thin);
        }
    }

    pub(super) fn apply(&mut self, now: Now, message: &Message) {
        let record = &message.record;
        let Some(id) = record["id"].as_str() else { return };
        let verdict = self.judge(now, message);
        if message.role == Role::All && !matches!(verdict, Verdict::In | Verdict::Deleted) {
            self.plan_rises(now, id, record);
        }
        let Some(version) = version_of(record) else {
            // Nothing says whether it is newer than what is known.
            let why = if message.is_delete { Why::Deleted } else { Why::LeftFilter };
            return self.ask(id, why);
        };
        self.echoes.note(now.mono, id, version, message.role, message.is_delete);
        let known = self.index.get(id).and_then(Row::updated);
        let is_row = known.is_some() || self.index.contains(id);
        let seen = self.seen.get(id);
        let order = match (known, seen) {
            (Some(known), _) => version.cmp(known),
            (None, Some((seen, _))) => version.cmp(seen),
            (None, None) => Ordering::Greater,
        };
        let seen_gone = !is_row && seen.is_some_and(|(_, last)| last != Last::Out);
        // A rule may hide it, and the message be from before.
        let was_unlisted = !is_row && seen.is_some_and(|(_, last)| last == Last::Unlisted);
        match (order, verdict) {
            // It may be what was committed last all the same: times are stamped before, and clocks are set back.
            (Ordering::Less, Verdict::Changed) if !is_row => {}
            (Ordering::Less, Verdict::Deleted) => self.ask(id, Why::Deleted),
            (Ordering::Less, _) => self.ask(id, Why::LeftFilter),
            (_, Verdict::Deleted) => {
                self.take_row(id, Why::Deleted);
                self.seen.note(now.mono, id, Some(version), Last::Gone);
            }
            // The filtered topic tells, or nobody does: then it is asked for after a while.
            (Ordering::Greater, Verdict::Changed) if !is_row => {
                self.seen.note(now.mono, id, Some(version), Last::Out);
            }
            (_, Verdict::Changed) => {}
            (_, Verdict::Unknown) => self.ask(id, Why::LeftFilter),
            (Ordering::Greater, Verdict::Out) => {
                self.take_row(id, Why::LeftFilter);
                self.seen.note(now.mono, id, Some(version), Last::Out);
            }
            (Ordering::Equal, Verdict::Out) if !is_row => {}
            (Ordering::Equal, Verdict::Out) => self.ask(id, Why::LeftFilter),
            (Ordering::Equal, Verdict::In) if seen_gone => self.ask(id, Why::LeftFilter),
            (Ordering::Greater, Verdict::In) if was_unlisted => self.ask(id, Why::LeftFilter),
            (order, Verdict::In) => {
                let Some(row) = Row::new(record, &self.settings.order) else { return };
                match self.index.get(id) {
                    Some(known) if *known == row => {}
                    Some(_) if order == Ordering::Equal => self.ask(id, Why::LeftFilter),
                    // Here the same version stands for a record that was out.
                    None if order == Ordering::Equal && message.role == Role::All => {
                        self.ask(id, Why::LeftFilter);
                    }
                    _ => {
                        self.plan_flip_of(now, id, record);
                        self.put_row(now, row);
                    }
                }
            }
        }
    }

    fn judge(&self, now: Now, message: &Message) -> Verdict {
        if message.is_delete {
            return Verdict::Deleted;
        }
        match (&self.settings.judge, message.role) {
            (_, Role::Thin) => Verdict::Changed,
            (_, Role::Filtered) | (Judge::Nobody, Role::All) => Verdict::In,
            (Judge::Server { .. }, Role::All) => Verdict::Unknown,
            (Judge::Here { filter, .. }, Role::All) => match filter.evaluate(&message.record, now.wall) {
                Answer::In => Verdict::In,
                Answer::Out => Verdict::Out,
                Answer::Unknown => Verdict::Unknown,
            },
        }
    }

    // ---- Rows ----

    /// Puts a row where it belongs, in place of what was there of it.
    pub(super) fn put_row(&mut self, now: Now, row: Row) {
        let id = row.id();
        let old = self.index.remove(id);
        if old.as_ref() == Some(&row) {
            self.index.insert(row);
            return;
        }
        if let Some(old) = &old
            && let Ok(at) = self.kept.find(old, &self.settings.order)
        {
            self.kept.remove(at);
        }
        let is_beyond = !self.is_complete
            && self.settings.limit.is_some()
            && self
                .kept
                .last()
                .is_none_or(|last| self.settings.order.compare(&row, last) == Ordering::Greater);
        if is_beyond {
            // What stands between it and the last one is not known.
            self.seen.note(now.mono, id, row.updated(), Last::Out);
            return self.changes.extend(old.map(|old| Change {
                old: Some(old),
                new: None,
                why: Why::Displaced,
            }));
        }
        if let Err(at) = self.kept.find(&row, &self.settings.order) {
            self.kept.insert(at, row.clone());
        }
        self.index.insert(row.clone());
        self.seen.forget(id);
        self.changes.push(Change { old, new: Some(row), why: Why::Displaced });
        if let Some(limit) = self.settings.limit
            && self.kept.len() > limit + self.settings.slack
            && let Some(last) = self.kept.last().cloned()
        {
            self.kept.remove(self.kept.len() - 1);
            self.index.remove(last.id());
            self.is_complete = false;
            self.seen.note(now.mono, last.id(), last.updated(), Last::Out);
            self.changes.push(Change { old: Some(last), new: None, why: Why::Displaced });
        }
    }

    pub(super) fn take_row(&mut self, id: &str, why: Why) {
        let Some(old) = self.index.remove(id) else { return };
        if let Ok(at) = self.kept.find(&old, &self.settings.order) {
            self.kept.remove(at);
        }
        self.changes.push(Change { old: Some(old), new: None, why });
    }

    /// Takes a list that is in order. What is the same row in it stays the same object.
    pub(super) fn take_list(&mut self, now: Now, rows: Vec<Row>) {
        let mut gone = take(&mut self.index);
        self.kept = Rows::of(&rows);
        for row in rows {
            let old = gone.remove(row.id());
            if old.as_ref().is_none_or(|old| !old.is(&row)) {
                self.changes.push(Change { old, new: Some(row.clone()), why: Why::Gone });
            }
            self.index.insert(row);
        }
        for old in gone.into_rows() {
            self.seen.note(now.mono, old.id(), old.updated(), Last::Unlisted);
            self.changes.push(Change { old: Some(old), new: None, why: Why::Gone });
        }
    }

    /// Shows what has changed, unless rows are missing that are on their way.
    pub(super) fn show(&mut self) {
        if self.proven.is_none() || self.lacks_rows() || self.has_gap && !self.is_first && !self.is_listed {
            return;
        }
        self.is_listed = false;
        if self.changes.is_empty() && !self.is_first {
            return;
        }
        let changes = take(&mut self.changes);
        let rows = match self.settings.limit {
            None => self.kept.clone(),
            Some(limit) => self.kept.first(limit),
        };
        let changes = match self.settings.limit {
            None => changes,
            Some(_) => differences(&self.shown, &rows, changes, &self.settings.order),
        };
        self.shown = rows.clone();
        let is_first = std::mem::replace(&mut self.is_first, false);
        if is_first || !changes.is_empty() {
            self.outputs.push_back(Output::Show { rows, changes, is_first, standing: None });
        }
    }

    pub(super) fn current_doubt(&self) -> Option<Doubt> {
        if let Some(error) = &self.untaken {
            Some(Doubt::Identity(Some(error.clone())))
        } else if !self.live {
            Some(Doubt::Link)
        } else if let Some(error) = &self.failed {
            Some(Doubt::List(error.clone()))
        } else if self.is_another {
            Some(Doubt::Identity(None))
        } else if self.has_gap {
            Some(Doubt::Gap)
        } else {
            None
        }
    }

    // ---- The clock ----

    /// Learns from the rows what the fields are, for the filter.
    pub(super) fn learn_filter(&mut self) {
        if let Judge::Here { filter, .. } = &mut self.settings.judge {
            filter.know(&self.schema);
        }
    }

    pub(super) fn has_clock(&self) -> bool {
        match self.settings.judge {
            Judge::Nobody => false,
            Judge::Here { has_clock, .. } | Judge::Server { has_clock } => has_clock,
        }
    }

    /// When time changes whether these rows match.
    pub(super) fn plan_flips(&mut self, now: Now) {
        self.flips.retain(|(_, id)| !self.index.contains(id));
        if matches!(self.settings.judge, Judge::Here { has_clock: true, .. }) {
            let rows: Vec<Row> = self.kept.iter().cloned().collect();
            rows.iter().for_each(|row| self.plan_flip(now, row));
        }
    }

    pub(super) fn plan_flip(&mut self, now: Now, row: &Row) {
        if matches!(self.settings.judge, Judge::Here { has_clock: true, .. }) {
            self.plan_flip_of(now, row.id(), &row.json());
        }
    }

    pub(super) fn plan_flip_of(&mut self, now: Now, id: &str, record: &serde_json::Value) {
        if let Judge::Here { filter, has_clock: true, .. } = &self.settings.judge
            && let Some(at) = filter.next_flip(record, now.wall)
        {
            self.plan(at, id);
        }
    }

    /// Looks at a record again at this time.
    pub(super) fn plan(&mut self, at: u64, id: &str) {
        if self.flips.len() < self.index.len() + HELD_IDS {
            self.flips.insert((at, id.into()));
        } else {
            self.need = self.need.max(Need::Thin);
        }
    }

    /// Looks again at records whose time has come.
    pub(super) fn flip(&mut self, now: Now) {
        while self.flips.first().is_some_and(|(at, _)| *at <= now.wall) {
            let Some((_, id)) = self.flips.pop_first() else { return };
            let Some(row) = self.index.get(&id).cloned() else {
                // It was out, and may be in now.
                if self.risen.len() < HELD_IDS {
                    self.risen.entry(id.clone()).or_insert(now.wall);
                }
                self.ask(&id, Why::LeftFilter);
                continue;
            };
            let record = row.json();
            let Judge::Here { filter, .. } = &self.settings.judge else { continue };
            match filter.evaluate(&record, now.wall) {
                Answer::In => {}
                Answer::Out => {
                    self.take_row(&id, Why::LeftFilter);
                    self.seen.note(now.mono, &id, row.updated(), Last::Out);
                    self.plan_rises(now, &id, &record);
                }
                Answer::Unknown => self.ask(&id, Why::LeftFilter),
            }
            if self.index.contains(&id) {
                self.plan_flip_of(now, &id, &record);
            }
        }
    }
}

/// How long until a time on the server's clock.
pub(super) fn until(now: Now, wall: u64) -> Instant {
    now.mono + Duration::from_millis(wall.saturating_sub(now.wall)).min(Duration::from_secs(3600))
}

/// What differs between two windows, after these changes of what is kept. Nothing else is looked at but the ends, where rows
/// that have not changed leave the window or come into it.
fn differences(before: &Rows, after: &Rows, changes: Vec<Change>, order: &Order) -> Vec<Change> {
    let mut changed: HashMap<Box<str>, Change> = HashMap::new();
    for Change { old, new, why } in changes {
        let Some(row) = old.as_ref().or(new.as_ref()) else { continue };
        let entry = changed.entry(row.id().into()).or_insert(Change { old, new: None, why });
        (entry.new, entry.why) = (new, why);
    }
    let is_in = |rows: &Rows, row: &Row| rows.find(row, order).is_ok();
    let beyond = |inner: &Rows, outer: &Rows| -> Vec<Row> {
        let from_the_end = (0..inner.len()).rev().filter_map(|at| inner.get(at));
        let unchanged = from_the_end.filter(|row| !changed.contains_key(row.id()));
        unchanged.take_while(|row| !is_in(outer, row)).cloned().collect()
    };
    let left = beyond(before, after).into_iter().map(|row| (Some(row), None, Why::Displaced));
    let came = beyond(after, before).into_iter().map(|row| (None, Some(row), Why::Displaced));
    let moved: Vec<_> = left.chain(came).collect();
    let changed = changed.into_values().map(|Change { old, new, why }| {
        let why = if new.is_none() { why } else { Why::Displaced };
        (old.filter(|row| is_in(before, row)), new.filter(|row| is_in(after, row)), why)
    });
    let differs = |old: &Option<Row>, new: &Option<Row>| match (old, new) {
        (Some(old), Some(new)) => !old.is(new),
        (None, None) => false,
        _ => true,
    };
    let found = changed.chain(moved).filter(|(old, new, _)| differs(old, new));
    found.map(|(old, new, why)| Change { old, new, why }).collect()
}
