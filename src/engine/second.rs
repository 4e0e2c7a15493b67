//! The stream beside the one that carries a session's topics: on its way to replace it, or replaced by it.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    conn::{Conn, Phase, Submit},
    pairing::{LONGEST_SKEW, OVERLAP, SKEW},
};

#[derive(Debug)]
pub(super) struct Second {
    pub(super) conn: Box<Conn>,
    pub(super) life: Life,
    /// Topics that it carried when it was replaced and that are still wanted.
    pub(super) carries: Vec<Arc<str>>,
}

/// What a replaced stream brings without a pause for this long was sent after it was replaced, whatever was on its way.
const LONGEST_BACKLOG: Duration = LONGEST_SKEW.saturating_mul(3);

/// What a second stream is there for. Two calls end it: `withdraw`, where it does not take over after all, and
/// `close_second`, which closes it and reports the gap if there may be one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Life {
    /// To carry the topics for the first time, once the server has acknowledged them on it. It is tried until then.
    ///
    /// Becomes the first stream when they are acknowledged. `withdraw` closes it without a report: it has carried
    /// nothing.
    Next {
        until: Instant,
        /// When it last brought something that the first had brought or brought then.
        paired: Option<Instant>,
    },
    /// It has carried them, and is read until it is certain that nothing was lost with it.
    ///
    /// `close_second` ends it, and reports a gap as long as that is in doubt. `withdraw` changes nothing.
    Replaced(Past),
    /// It has carried them, and is to do so again once the server has acknowledged the changed set on it.
    ///
    /// Becomes the first stream then. `withdraw` makes it `Replaced` again, without a report.
    Again { until: Instant, past: Past },
}

/// What is known of a stream that was replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// When another stream took over from it.
    pub(super) first: Instant,
    /// When it last did, or may have needed this one to stand in.
    pub(super) at: Instant,
    /// What it had brought by then was whole at this time.
    pub(super) whole: Instant,
    /// When it had brought something that came on the other stream too, both since `proof_from`: it is not behind any
    /// more. That it is heard shows nothing, since what it brings may have been on its way for long.
    pub(super) proved: Option<Instant>,
    pub(super) proof_from: Instant,
    /// When bytes came on it for the first time since `at`.
    pub(super) heard_since: Option<Instant>,
}

impl Second {
    /// Until when it is tried, if it is to take over.
    pub(super) fn next_until(&self) -> Option<Instant> {
        match self.life {
            Life::Next { until, .. } | Life::Again { until, .. } => Some(until),
            Life::Replaced(_) => None,
        }
    }

    /// What is known of its time as the first stream, if it ever was.
    pub(super) fn past(&self) -> Option<&Past> {
        match &self.life {
            Life::Next { .. } => None,
            Life::Replaced(past) | Life::Again { past, .. } => Some(past),
        }
    }

    pub(super) fn past_mut(&mut self) -> Option<&mut Past> {
        match &mut self.life {
            Life::Next { .. } => None,
            Life::Replaced(past) | Life::Again { past, .. } => Some(past),
        }
    }

    /// It takes the place of `first`, which becomes the second.
    pub(super) fn take_over(&mut self, now: Instant, first: &mut Box<Conn>) {
        std::mem::swap(first, &mut self.conn);
        let (proved, proof_from) = match self.life {
            // All that a new one has brought was sent after it had the topics.
            Life::Next { paired, .. } => (paired, first.born),
            Life::Replaced(_) | Life::Again { .. } => (None, now),
        };
        let whole = self.conn.whole;
        self.life =
            Life::Replaced(Past { first: now, at: now, whole, proved, proof_from, heard_since: None });
    }

    /// The time in which a stream that was replaced may have missed events: what the server sent on it before may not
    /// have come, as it has not shown since that its link was sound, or is not long replaced.
    pub(super) fn in_doubt(&self, now: Instant) -> Option<Range<Instant>> {
        let Past { at, whole, .. } = *self.past()?;
        // What was on its way when it came to this was sent before.
        let since = whole.checked_sub(SKEW).unwrap_or(whole);
        self.done_at().is_none_or(|done| now < done).then_some(since..at)
    }

    /// Bytes have come on it.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Some(past) = self.past_mut() {
            past.heard_since.get_or_insert(now);
        }
    }

    /// A topic is not wanted any more. Whether it was replaced and carries none that is.
    pub(super) fn drop_topic(&mut self, key: &str) -> bool {
        self.carries.retain(|carried| &**carried != key);
        self.carries.is_empty() && matches!(self.life, Life::Replaced(_))
    }

    /// Something has come on both streams, for the first time at `first`.
    pub(super) fn paired(&mut self, now: Instant, first: Instant) {
        match &mut self.life {
            Life::Next { paired, .. } => *paired = Some(now),
            Life::Replaced(past) | Life::Again { past, .. } if first >= past.proof_from => {
                past.proved.get_or_insert(now);
            }
            Life::Replaced(_) | Life::Again { .. } => {}
        }
    }

    /// It is not behind the stream that replaced it.
    pub(super) fn is_sound(&self) -> bool {
        self.past().is_some_and(|past| past.proved.is_some())
    }

    /// When all that only it was sent has come.
    pub(super) fn done_at(&self) -> Option<Instant> {
        let Past { at, proved, heard_since, .. } = *self.past()?;
        let proved = proved.map(|proved| (at + OVERLAP).max(proved + SKEW));
        // What was on its way comes in one go; after that it may bring nothing that the other brings too.
        let heard = self.conn.watchdog.heard;
        let drained = heard_since.map(|since| (heard + LONGEST_SKEW).min(since + LONGEST_BACKLOG));
        [proved, drained].into_iter().flatten().min()
    }

    /// Whether a stream that was replaced may take its turn again, which does not end `before` long.
    pub(super) fn may_take_over_again(&self, before: Option<Instant>) -> bool {
        let Phase::Carrier(carrier) = &self.conn.phase else { return false };
        let is_old = before.is_some_and(|before| self.conn.born < before);
        self.is_sound() && !is_old && matches!(carrier.submit, Submit::Ready) && carrier.batch == usize::MAX
    }
}
