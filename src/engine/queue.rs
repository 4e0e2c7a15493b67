//! The bounded queue between the stream and one listener.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::event::{Action, Event, Gap};

/// Declares the policies once, each with its name, so that [`Overflow::ALL`] cannot lack one.
macro_rules! policies {
    ($(#[$about:meta])* pub enum Overflow { $($(#[$doc:meta])* $policy:ident = $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Overflow { $($(#[$doc])* $policy,)* }

        impl Overflow {
            /// All policies.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$policy),*];

            /// The name of the policy in lower case, as other languages have it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$policy => $name,)* }
            }
        }
    };
}

policies! {
    /// What happens when a listener does not keep up and its queue is full.
    ///
    /// The socket is always read: PocketBase buffers without limit for a slow reader and loses all of it when the
    /// stream ends, so a slow listener must cost the listener, not the server.
    pub enum Overflow {
        /// The oldest event makes room. [`Lagged`](crate::Action::Lagged) comes before the events that are left.
        #[default]
        DropOldest = "drop_oldest",
        /// The new event is dropped. [`Lagged`](crate::Action::Lagged) comes after the events that were there.
        DropNewest = "drop_newest",
        /// A newer event of the same record replaces the one that waits; that is no loss and is not counted as
        /// one. When more records wait than the queue holds, the oldest makes room.
        Conflate = "conflate",
    }
}

/// The limits of one queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) events: usize,
    /// Small, since idle listeners are many.
    pub(crate) bytes: u32,
    pub(crate) overflow: Overflow,
}

impl Default for Limits {
    fn default() -> Self {
        Self { events: 8192, bytes: 64 << 20, overflow: Overflow::DropOldest }
    }
}

/// Events in order, never more than the limits allow, and an exact account of what did not fit.
#[derive(Debug)]
pub(crate) struct Queue {
    limits: Limits,
    items: VecDeque<Event>,
    /// Payload bytes in `items`.
    bytes: usize,
    /// With `Conflate`: record id → index. Boxed, since few listeners need it and idle ones are many.
    index: Option<Box<Index>>,
    /// Once something has been lost. Boxed for the same reason.
    losses: Option<Box<Losses>>,
}

/// What did not fit.
#[derive(Debug)]
struct Losses {
    topic: Arc<str>,
    /// Notices, and the event that comes after them. It has left `items`: were it dropped in turn, a listener that
    /// is always behind would hear of nothing but losses.
    next: VecDeque<Event>,
    /// Lost since last reported: before the front (`DropOldest`) or behind the back (`DropNewest`).
    unreported: u64,
    /// A dropped notice of a gap; a gap must be reported in any case.
    unreported_gap: Option<Gap>,
    /// Lost over the whole life.
    total: u64,
}

/// Where the event of each record is.
#[derive(Debug, Default)]
struct Index {
    /// Record id → how many events came before its own.
    places: HashMap<Box<str>, u64>,
    /// How many events ever left `items` at the front: the place of the first item.
    taken: u64,
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        let index = (limits.overflow == Overflow::Conflate).then(Box::default);
        Self { limits, items: VecDeque::new(), bytes: 0, index, losses: None }
    }

    pub(crate) fn push(&mut self, event: Event) {
        if self.replace_same_record(&event) {
            return;
        }
        let size = event.raw().len();
        match self.limits.overflow {
            Overflow::DropNewest if self.is_full(size) => return self.account(&event),
            Overflow::DropNewest => self.report_behind(),
            Overflow::DropOldest | Overflow::Conflate => while self.is_full(size) && self.drop_oldest() {},
        }
        self.append(event);
    }

    /// Adds the last event of all, which no limit keeps out.
    pub(crate) fn push_last(&mut self, event: Event) {
        match self.limits.overflow {
            Overflow::DropNewest => self.report_behind(),
            // Before the front, when it is taken.
            Overflow::DropOldest | Overflow::Conflate => {}
        }
        self.append(event);
    }

    /// Forgets what the server has sent. Notices stay.
    pub(crate) fn forget(&mut self) {
        let waiting: Vec<Event> = std::iter::from_fn(|| self.pop()).collect();
        waiting.into_iter().filter(Event::is_notice).for_each(|notice| self.push_last(notice));
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self) {
        while self.pop().is_some() {}
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        if self.losses.is_some()
            && let Some(event) = self.pop_after_loss()
        {
            return Some(event);
        }
        let event = self.take_front()?;
        if self.items.is_empty() {
            // A burst must not pin its memory for as long as the subscription lives.
            self.items.shrink_to(64);
        }
        Some(event)
    }

    /// A notice, or the event that comes after notices.
    fn pop_after_loss(&mut self) -> Option<Event> {
        if let Some(event) = self.losses.as_mut()?.next.pop_front() {
            return Some(event);
        }
        match self.limits.overflow {
            Overflow::DropNewest if !self.items.is_empty() => return None,
            Overflow::DropOldest | Overflow::DropNewest | Overflow::Conflate => {}
        }
        let first = self.notice()?;
        let second = self.notice();
        let event = self.take_front();
        self.losses.as_mut()?.next.extend(second.into_iter().chain(event));
        Some(first)
    }

    /// Events that wait.
    pub(crate) fn len(&self) -> usize {
        self.items.len() + self.losses.as_ref().map_or(0, |losses| losses.next.len())
    }

    /// Whether [`pop`](Self::pop) would give something: an event that waits, or a loss that is not reported yet.
    pub(crate) fn has_more(&self) -> bool {
        let is_unreported = |losses: &Losses| {
            !losses.next.is_empty() || losses.unreported > 0 || losses.unreported_gap.is_some()
        };
        !self.items.is_empty() || self.losses.as_deref().is_some_and(is_unreported)
    }

    /// Events lost over the whole life.
    pub(crate) fn lost(&self) -> u64 {
        self.losses.as_ref().map_or(0, |losses| losses.total)
    }

    /// One event always fits, however large.
    fn is_full(&self, incoming: usize) -> bool {
        !self.items.is_empty()
            && (self.items.len() >= self.limits.events.max(1)
                || self.bytes + incoming > self.limits.bytes as usize)
    }

    fn append(&mut self, event: Event) {
        // The index first: to ask an event for its id is to parse it.
        if let Some(index) = &mut self.index
            && let Some(id) = event.record_id()
        {
            index.places.insert(id.into(), index.taken + self.items.len() as u64);
        }
        self.bytes += event.raw().len();
        self.items.push_back(event);
    }

    fn take_front(&mut self) -> Option<Event> {
        let event = self.items.pop_front()?;
        self.bytes -= event.raw().len();
        if let Some(index) = &mut self.index {
            if let Some(id) = event.record_id()
                && index.places.get(id) == Some(&index.taken)
            {
                index.places.remove(id);
            }
            index.taken += 1;
        }
        Some(event)
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(event) = self.take_front() else { return false };
        self.account(&event);
        true
    }

    /// Remembers what was dropped, until it is reported.
    fn account(&mut self, dropped: &Event) {
        let topic = dropped.shared_topic();
        let losses = self.losses.get_or_insert_with(|| Losses::of(topic.clone()).into());
        if let Some(gap) = dropped.gap() {
            let since = losses.unreported_gap.map_or(gap.since, |earlier| earlier.since);
            losses.unreported_gap = Some(Gap { since, ..gap });
        } else if dropped.is_notice()
            && let Action::Lagged(lost) = dropped.action()
        {
            losses.unreported += lost;
        } else {
            losses.unreported += 1;
            losses.total += 1;
        }
    }

    /// The next of the things that were dropped and are not reported yet: losses, then a gap.
    fn notice(&mut self) -> Option<Event> {
        let losses = self.losses.as_mut()?;
        if losses.unreported > 0 {
            return Some(Event::lagged(losses.topic.clone(), std::mem::take(&mut losses.unreported)));
        }
        losses.unreported_gap.take().map(|gap| Event::from_gap(losses.topic.clone(), gap))
    }

    fn report_behind(&mut self) {
        while let Some(notice) = self.notice() {
            self.append(notice);
        }
    }

    fn replace_same_record(&mut self, event: &Event) -> bool {
        let Some(index) = &self.index else { return false };
        let Some(at) = event.record_id().and_then(|id| index.places.get(id)) else { return false };
        let Some(slot) = self.items.get_mut((at - index.taken) as usize) else { return false };
        self.bytes = self.bytes - slot.raw().len() + event.raw().len();
        *slot = event.clone();
        true
    }
}

impl Losses {
    fn of(topic: Arc<str>) -> Self {
        Self { topic, next: VecDeque::new(), unreported: 0, unreported_gap: None, total: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{GapReason, Shape};
    use std::time::Instant;

    fn queue(events: usize, overflow: Overflow) -> Queue {
        Queue::new(Limits { events, overflow, ..Limits::default() })
    }

    fn change(id: &str, n: u32) -> Event {
        let data = format!(r#"{{"record":{{"id":"{id}"}},"action":"update","n":{n}}}"#);
        Event::message("t".into(), &data, Shape::Wrapped, None)
    }

    fn drain(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop())
            .map(|event| match event.action() {
                Action::Lagged(n) => format!("lagged {n}"),
                Action::Gap => "gap".into(),
                _ => format!("{} {}", event.record_id().unwrap(), event.json().unwrap()["n"]),
            })
            .collect()
    }

    #[test]
    fn drop_oldest_keeps_the_newest_and_tells_first() {
        let mut queue = queue(3, Overflow::DropOldest);
        (0..10).for_each(|n| queue.push(change("a", n)));
        assert_eq!(queue.lost(), 7);
        assert_eq!(drain(&mut queue), ["lagged 7", "a 7", "a 8", "a 9"]);
    }

    #[test]
    fn one_who_is_always_behind_hears_of_more_than_losses() {
        let mut queue = queue(3, Overflow::DropOldest);
        let mut taken = Vec::new();
        for round in 0..4 {
            // More than fits, each time before one is taken.
            (0..5).for_each(|n| queue.push(change("a", 5 * round + n)));
            taken.extend(queue.pop());
        }
        let is_loss = |event: &Event| matches!(event.action(), Action::Lagged(_));
        assert_eq!(taken.iter().map(is_loss).collect::<Vec<_>>(), [true, false, true, false]);
    }

    #[test]
    fn drop_newest_keeps_the_oldest_and_tells_where_the_hole_is() {
        let mut queue = queue(3, Overflow::DropNewest);
        (0..5).for_each(|n| queue.push(change("a", n)));
        assert_eq!(queue.pop().unwrap().json().unwrap()["n"], 0);
        queue.push(change("a", 9));
        assert_eq!(drain(&mut queue), ["a 1", "a 2", "lagged 2", "a 9"]);
        (0..5).for_each(|n| queue.push(change("b", n)));
        assert_eq!(drain(&mut queue), ["b 0", "b 1", "b 2", "lagged 2"]);
        assert_eq!(queue.lost(), 4);
    }

    #[test]
    fn conflate_keeps_the_newest_of_each_record_and_counts_no_loss() {
        let mut queue = queue(3, Overflow::Conflate);
        for n in 0..100 {
            queue.push(change("a", n));
            queue.push(change("b", n));
        }
        assert_eq!(queue.lost(), 0);
        assert_eq!(drain(&mut queue), ["a 99", "b 99"]);
        for n in 0..5 {
            queue.push(change(&format!("r{n}"), n));
        }
        queue.push(change("r4", 9));
        assert_eq!(drain(&mut queue), ["lagged 2", "r2 2", "r3 3", "r4 9"]);
        assert_eq!(queue.index.as_ref().unwrap().places.len(), 0, "taken events leave nothing behind");
    }

    #[test]
    fn an_event_that_waits_or_is_dropped_is_not_parsed() {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
            let mut queue = queue(1, overflow);
            let events = [change("a", 0), change("a", 1)];
            events.iter().for_each(|event| queue.push(event.clone()));
            while queue.pop().is_some() {}
            assert!(events.iter().all(|event| !event.is_parsed()), "{overflow:?}");
        }
    }

    #[test]
    fn every_policy_keeps_its_limit_and_accounts_for_each_event() {
        for overflow in Overflow::ALL {
            let mut queue = queue(4, overflow);
            let mut lagged = 0;
            (0..10).for_each(|n| queue.push(change(&n.to_string(), n)));
            assert!(queue.len() <= 4, "{}", overflow.as_str());
            let events = std::iter::from_fn(|| queue.pop());
            let got = events.filter(|event| match event.action() {
                Action::Lagged(n) => {
                    lagged += n;
                    false
                }
                _ => true,
            });
            assert_eq!((got.count(), lagged, queue.lost()), (4, 6, 6), "{}", overflow.as_str());
        }
    }

    #[test]
    fn a_gap_survives_an_overflow() {
        let mut queue = queue(2, Overflow::DropOldest);
        let now = Instant::now();
        let gap = Gap { since: now, until: now, reason: GapReason::Disconnected };
        queue.push(Event::from_gap("t".into(), gap));
        (0..4).for_each(|n| queue.push(change("a", n)));
        assert_eq!(drain(&mut queue), ["lagged 2", "gap", "a 2", "a 3"]);
    }

    #[test]
    fn gaps_while_nobody_reads_do_not_pile_up() {
        for overflow in Overflow::ALL {
            let mut queue = queue(2, overflow);
            let now = Instant::now();
            for n in 0..100 {
                let gap = Gap { since: now, until: now, reason: GapReason::Disconnected };
                queue.push(change(&n.to_string(), n));
                queue.push(Event::from_gap("t".into(), gap));
            }
            assert!(queue.len() <= 4, "{overflow:?}: {}", queue.len());
            let taken = drain(&mut queue);
            assert!(taken.contains(&"gap".into()), "{overflow:?}: {taken:?}");
        }
    }

    #[test]
    fn bytes_are_bounded_too_but_one_event_always_fits() {
        let limits = Limits { bytes: 100, ..Limits::default() };
        let mut queue = Queue::new(limits);
        (0..10).for_each(|n| queue.push(change("abcdef", n)));
        assert!(queue.bytes <= 100 && queue.len() == 2, "{}", queue.bytes);
        queue.push(Event::message("t".into(), &"x".repeat(1000), Shape::Wrapped, None));
        assert_eq!((queue.len(), queue.lost()), (1, 10));
    }

    #[test]
    fn what_is_forgotten_takes_no_notice_with_it() {
        let mut queue = Queue::new(Limits { events: 3, ..Limits::default() });
        for n in 0..5 {
            queue.push(change("a", n));
        }
        queue.forget();
        assert_eq!(queue.pop().map(|event| event.action()), Some(Action::Lagged(2)));
        assert!(queue.pop().is_none() && !queue.has_more());
    }
}
