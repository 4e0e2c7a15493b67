//! What time will bring in: records that are out now, and will match once a clock has passed them (`due < @now`).
//!
//! Of what changes, messages tell, whether it matches or not. What does not change is asked for: after each list, the next
//! records to come, by the field that says when. That is one request of ids and times, and one more list only when as many
//! records have come as it named. When the time of a record comes, it is asked for by id: it may be hidden by then.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    machine::{Judge, Machine, Now},
    merge::until,
    tasks::{Need, Task},
};
use crate::filter::{Ahead, Rise};

/// Records that are looked for in advance.
pub(super) const AHEAD: usize = 200;

/// How long a record is asked for that should be there by our clock and is not by the server's, and how often at first.
const LATE: u64 = 2_000;
const SOON: u64 = 20;

/// How far the two clocks may part within a time without something being amiss.
const DRIFT: u64 = 1_000;

/// The question for the next records of one kind.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) number: u64,
    pub(super) rise: usize,
}

/// What is known of the time to come.
#[derive(Debug, Default)]
pub(super) struct Horizon {
    /// Questions that are to be asked.
    pub(super) open: Vec<usize>,
    /// What comes after this time is asked for.
    since: u64,
    /// By the server's clock: beyond it nothing is known.
    end: Option<u64>,
    /// Both clocks, when they were looked at last.
    clocks: Option<(Instant, u64)>,
}

impl Machine {
    pub(super) fn ahead(&self) -> Option<&Ahead> {
        match &self.settings.judge {
            Judge::Here { ahead, .. } => ahead.as_ref(),
            Judge::Nobody | Judge::Server { .. } => None,
        }
    }

    fn rise(&self, rise: usize) -> Option<&Rise> {
        self.ahead()?.rises.get(rise)
    }

    /// After a list that was begun at a time by the server's clock, which says what was in then.
    pub(super) fn look_again(&mut self, now: Now, began: u64) {
        let Some(ahead) = self.ahead() else { return };
        let (open, end) = ((0..ahead.rises.len()).collect(), ahead.next_step(now.wall));
        let since = began.saturating_sub(LATE);
        self.horizon = Horizon { open, since, end, clocks: Some((now.mono, now.wall)) };
        for id in std::mem::take(&mut self.risen).into_keys() {
            if !self.index.contains(&id) {
                self.plan(now.wall + SOON, &id);
            }
        }
    }

    /// Asks the next of these questions, if there is one.
    pub(super) fn begin_look(&mut self) -> bool {
        let Some(rise) = self.horizon.open.pop() else { return false };
        let Some(wanted) = self.rise(rise).map(|rise| self.settings.question.ahead(rise, self.horizon.since))
        else {
            return false;
        };
        self.task = Task::Look(Look { number: 0, rise });
        self.put(wanted);
        true
    }

    pub(super) fn looked(&mut self, now: Now, rise: usize, items: &[Value]) {
        self.task = Task::Rest;
        let Some(which) = self.rise(rise).cloned() else { return };
        let mut last = now.wall;
        for item in items {
            let Some(id) = item["id"].as_str().filter(|id| !self.index.contains(id)) else { continue };
            match which.at(item, now.wall) {
                Some(at) => {
                    self.flips.insert((at, id.into()));
                    last = last.max(at);
                }
                // By our clock its time has come.
                None if which.has_come(item, now.wall) => {
                    self.flips.insert((now.wall, id.into()));
                }
                None => {}
            }
        }
        if items.len() >= AHEAD {
            self.horizon.end = Some(self.horizon.end.map_or(last, |end| end.min(last)));
        }
    }

    /// Looking ahead is not to be had: then the list is compared now and then.
    pub(super) fn look_no_more(&mut self, now: Now) {
        if let Judge::Here { ahead, .. } = &mut self.settings.judge {
            *ahead = None;
        }
        self.horizon = Horizon::default();
        self.task = Task::Rest;
        self.plan_audit(now);
    }

    /// Notes when time may bring in a record that is out.
    pub(super) fn plan_rises(&mut self, now: Now, id: &str, record: &Value) {
        let Some(ahead) = self.ahead() else { return self.plan_flip_of(now, id, record) };
        let times: Vec<u64> = ahead.rises.iter().filter_map(|rise| rise.at(record, now.wall)).collect();
        for at in times {
            self.plan(at, id);
        }
    }

    /// The time of a record has come by our clock, and the server has not got it yet.
    pub(super) fn is_early(&mut self, now: Now, id: &str) {
        let Some(since) = self.risen.get(id).copied() else { return };
        let passed = now.wall.saturating_sub(since);
        if passed < LATE && self.ahead().is_some() {
            self.plan(now.wall + passed.max(SOON), id);
        } else {
            self.risen.remove(id);
        }
    }

    /// Compares with the list where more is not known, or a clock was set.
    pub(super) fn watch_clock(&mut self, now: Now) {
        if self.ahead().is_none() {
            return;
        }
        let is_set = self.horizon.clocks.replace((now.mono, now.wall)).is_some_and(|(mono, wall)| {
            let passed = now.mono.saturating_duration_since(mono);
            let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
            now.wall.abs_diff(wall.saturating_add(passed)) > DRIFT
        });
        if is_set || self.horizon.end.is_some_and(|end| end <= now.wall) {
            self.horizon.end = None;
            self.need = self.need.max(Need::Thin);
        }
    }

    pub(super) fn horizon_at(&self, now: Now) -> Option<Instant> {
        // A clock that is set in between is noticed within this time.
        self.ahead().map(|_| {
            let latest = now.mono + Duration::from_secs(10);
            self.horizon.end.map_or(latest, |end| until(now, end).min(latest))
        })
    }
}
