//! What the machine remembers of messages for a while.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::machine::{GRACE, Role};

/// How long, and how many: messages of one record come within moments of each other.
const REMEMBERED: Duration = Duration::from_secs(60);
const MOST: usize = 8_192;

/// Where a record is that is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// Not in the filter, or beyond the window.
    Out,
    /// Deleted, or not there when it was asked for.
    Gone,
    /// It was a row, and a list did not have it.
    Unlisted,
}

/// The newest versions of records that are no rows: what is late is known by them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By id: the version, where the record is, and which note is the last about it.
    versions: HashMap<Box<str>, (Box<str>, Last, u64)>,
    notes: VecDeque<(Instant, Box<str>, u64)>,
    next: u64,
}

impl Seen {
    pub(super) fn get(&self, id: &str) -> Option<(&str, Last)> {
        self.versions.get(id).map(|(version, last, _)| (&**version, *last))
    }

    pub(super) fn note(&mut self, now: Instant, id: &str, version: Option<&str>, last: Last) {
        let Some(version) = version else { return };
        self.next += 1;
        self.versions.insert(id.into(), (version.into(), last, self.next));
        self.notes.push_back((now, id.into(), self.next));
        while self.notes.len() > MOST
            || self.notes.front().is_some_and(|(at, ..)| now.saturating_duration_since(*at) > REMEMBERED)
        {
            let Some((_, id, note)) = self.notes.pop_front() else { return };
            if self.versions.get(&id).is_some_and(|(.., last)| *last == note) {
                self.versions.remove(&id);
            }
        }
    }

    pub(super) fn forget(&mut self, id: &str) {
        self.versions.remove(id);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.notes.len()
    }
}

/// Two topics tell of a change where the filter matches, one where it does not. The second message is waited for a
/// moment; what does not come is asked for.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    changes: HashMap<Box<str>, Echo>,
    due: VecDeque<(Instant, Box<str>)>,
}

#[derive(Debug)]
struct Echo {
    version: Box<str>,
    /// Messages on the thin topic, less those on the filtered one.
    balance: i32,
    due: Instant,
}

impl Echoes {
    pub(super) fn note(&mut self, now: Instant, id: &str, version: &str, role: Role, is_delete: bool) {
        let step = match role {
            Role::All => return,
            Role::Thin => 1,
            Role::Filtered => -1,
        };
        if is_delete {
            // Both say all there is to say.
            return;
        }
        let due = now + GRACE;
        match self.changes.get_mut(id) {
            Some(echo) if *echo.version == *version => return echo.balance += step,
            // An older version is the machine's to ask for.
            Some(echo) if *echo.version > *version => return,
            _ => {}
        }
        self.changes.insert(id.into(), Echo { version: version.into(), balance: step, due });
        self.due.push_back((due, id.into()));
    }

    /// Records of which one message did not come in time.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Box<str>> {
        let mut ids = Vec::new();
        while self.due.front().is_some_and(|(at, _)| *at <= now) {
            let Some((at, id)) = self.due.pop_front() else { break };
            let Some(echo) = self.changes.get(&id).filter(|echo| echo.due == at) else { continue };
            if echo.balance != 0 {
                ids.push(id.clone());
            }
            self.changes.remove(&id);
        }
        ids
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.front().map(|(at, _)| *at)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
}
