//! Which of what two streams bring is new: while both run, each change comes on both.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hasher},
    time::{Duration, Instant},
};

use super::conn::Serial;
use crate::sse::Message;

/// How far apart the copies of one event come, unless a link stalls.
pub(super) const SKEW: Duration = Duration::from_secs(1);

/// And if it does.
pub(super) const LONGEST_SKEW: Duration = Duration::from_secs(10);

/// How long a stream that was replaced is read on: what was sent before has come by then, and so has a copy of what it
/// has brought since.
pub(super) const OVERLAP: Duration = SKEW.saturating_mul(2);

/// Events that are remembered; over it the oldest are forgotten, and their copies would be taken for new. With both
/// copies within milliseconds, a server would have to send millions in a second.
const LIMIT: usize = 1 << 16;

/// Equal messages are counted by stream, whatever their order: one is new if its stream has now brought more of its like
/// than were delivered.
#[derive(Debug)]
pub(super) struct Pairing {
    /// Nobody outside can make two messages look equal.
    salt: u64,
    groups: HashMap<u64, Group>,
    /// What was delivered, and when; in order.
    delivered: VecDeque<(Instant, u64)>,
    /// From then on what one stream brings comes on the other too.
    settled_at: Option<Instant>,
    /// There is one stream left, and copies may be on their way on it.
    is_over: bool,
}

/// Messages that are equal.
#[derive(Debug, Default)]
struct Group {
    delivered: u32,
    /// When one was last delivered.
    last: Option<Instant>,
    came: Vec<Came>,
    /// Since streams have [settled](Pairing::settles_at).
    settled: Option<Settled>,
}

#[derive(Debug)]
struct Settled {
    at: Instant,
    delivered: u32,
    last: Instant,
    /// The longest time without one: no copy was on its way then.
    longest: Duration,
    /// The streams are not waited for any more for what did not come on them by then.
    is_even: bool,
}

/// What one stream has brought.
#[derive(Debug)]
struct Came {
    on: Serial,
    times: u32,
    /// What had been delivered and not come on this stream in the longest quiet time: it did not have the topic yet when
    /// that was sent.
    behind: u32,
}

impl Pairing {
    pub(super) fn new(salt: u64) -> Self {
        Self { salt, groups: HashMap::new(), delivered: VecDeque::new(), settled_at: None, is_over: false }
    }

    /// There are two streams, or will be.
    pub(super) fn together(&mut self) {
        self.is_over = false;
        self.settled_at = None;
    }

    /// What was sent before now may come on one of them only; it has come by then.
    pub(super) fn settles_at(&mut self, at: Instant) {
        self.settled_at = Some(at);
    }

    /// There is one stream left.
    pub(super) fn alone(&mut self) {
        self.is_over = true;
        self.groups.values_mut().for_each(Group::even_out);
    }

    /// When the message of which a stream brings a copy came, if it is one; else it is to be delivered. `topic` tells a topic
    /// from the same one before it was dropped and subscribed to again: what came then is no copy of what comes now.
    pub(super) fn copy_of(
        &mut self,
        now: Instant,
        serial: Serial,
        message: &Message<'_>,
        topic: u64,
    ) -> Option<Instant> {
        self.expire(now);
        // Not the id: it is that of the stream.
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.salt);
        hasher.write_u64(topic);
        hasher.write(message.event().as_bytes());
        hasher.write_u8(0xff);
        hasher.write(message.data().as_bytes());
        let hash = hasher.finish();
        if self.is_over && !self.groups.contains_key(&hash) {
            return None;
        }
        let group = self.groups.entry(hash).or_default();
        if let Some(at) = self.settled_at.filter(|at| now >= *at) {
            group.measure(now, at);
        }
        let at = group.came.iter().position(|came| came.on == serial).unwrap_or_else(|| {
            group.came.push(Came { on: serial, times: 0, behind: 0 });
            group.came.len() - 1
        });
        let came = &mut group.came[at];
        if came.times < group.delivered {
            came.times += 1;
            return group.last;
        }
        if self.is_over {
            return None;
        }
        came.times += 1;
        group.delivered += 1;
        group.last = Some(now);
        if let Some(settled) = &mut group.settled {
            settled.delivered += 1;
        }
        if self.delivered.len() == LIMIT {
            self.forget_oldest();
        }
        self.delivered.push_back((now, hash));
        None
    }

    /// When the copy of the last one may still come, at the latest.
    pub(super) fn until(&self) -> Option<Instant> {
        self.delivered.back().map(|(at, _)| *at + SKEW)
    }

    fn expire(&mut self, now: Instant) {
        let skew = if self.is_over { SKEW } else { LONGEST_SKEW };
        while self.delivered.front().is_some_and(|(at, _)| *at + skew < now) {
            self.forget_oldest();
        }
    }

    /// What was sent on one stream only, or has come on both.
    fn forget_oldest(&mut self) {
        let Some((_, hash)) = self.delivered.pop_front() else { return };
        let Some(group) = self.groups.get_mut(&hash) else { return };
        group.delivered -= 1;
        for came in &mut group.came {
            came.times = came.times.saturating_sub(1);
        }
        if group.delivered == 0 {
            self.groups.remove(&hash);
        }
    }
}

impl Group {
    /// Another one has come: looks at the quiet time before it.
    fn measure(&mut self, now: Instant, settled_at: Instant) {
        let fresh =
            Settled { at: settled_at, delivered: 0, last: now, longest: Duration::ZERO, is_even: false };
        let settled = match &mut self.settled {
            Some(settled) if settled.at == settled_at => settled,
            other => other.insert(fresh),
        };
        let quiet = now.saturating_duration_since(std::mem::replace(&mut settled.last, now));
        if quiet > settled.longest {
            settled.longest = quiet;
            for came in &mut self.came {
                came.behind = self.delivered.saturating_sub(came.times);
            }
        }
        if now >= settled_at + SKEW / 2 {
            self.even_out();
        }
    }

    /// What was sent when a stream did not have the topic is not waited for on it. That shows only where there are
    /// more of the like: of a single one the copy is late.
    fn even_out(&mut self) {
        if let Some(settled) =
            self.settled.as_mut().filter(|settled| settled.delivered > 1 && !settled.is_even)
        {
            settled.is_even = true;
            self.came.iter_mut().for_each(|came| came.times += std::mem::take(&mut came.behind));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::Decoder;

    /// Whether each message is new, of `(stream, data, milliseconds)`.
    fn news(story: &[(u64, &str, u64)]) -> Vec<bool> {
        let (start, mut pairing) = (Instant::now(), Pairing::new(7));
        let mut new = Vec::new();
        for (serial, data, at) in story {
            let mut decoder = Decoder::default();
            let bytes = format!("id:{serial}\nevent:a\ndata:{data}\n\n");
            let mut items = decoder.feed(bytes.as_bytes());
            let Some(crate::sse::Item::Message(message)) = items.next() else { panic!("a message") };
            new.push(
                pairing
                    .copy_of(start + Duration::from_millis(*at), Serial::new(*serial).unwrap(), &message, 1)
                    .is_none(),
            );
        }
        new
    }

    #[test]
    fn copies_are_told_from_news_in_any_order() {
        assert_eq!(news(&[(1, "x", 0), (2, "x", 1)]), [true, false]);
        assert_eq!(news(&[(2, "x", 0), (1, "y", 1), (1, "x", 2), (2, "y", 3)]), [true, true, false, false]);
        assert_eq!(news(&[(1, "x", 0), (1, "x", 1), (2, "x", 2), (2, "x", 3)]), [true, true, false, false]);
        assert_eq!(news(&[(1, "x", 0), (2, "x", 1), (2, "x", 2), (1, "x", 3)]), [true, false, true, false]);
    }

    #[test]
    fn a_copy_that_is_seconds_late_is_still_one() {
        assert_eq!(news(&[(1, "x", 0), (2, "x", 5000)]), [true, false]);
        let end = LONGEST_SKEW.as_millis() as u64 + 1;
        assert_eq!(news(&[(1, "x", 0), (1, "x", 9000), (2, "x", end)]), [true, true, false]);
        assert_eq!(news(&[(1, "x", 0), (2, "x", end)]), [true, true]);
    }

    /// How many equal messages are delivered of those that two streams bring until 2 s, and then the second alone.
    fn ticks(story: &[(u64, u64)], then: &[u64]) -> usize {
        let (start, mut pairing) = (Instant::now(), Pairing::new(7));
        let mut decoder = Decoder::default();
        let mut is_new = |pairing: &mut Pairing, serial: u64, at: u64| {
            let mut items = decoder.feed(b"data:tick\n\n");
            let Some(crate::sse::Item::Message(message)) = items.next() else { panic!("a message") };
            pairing
                .copy_of(start + Duration::from_millis(at), Serial::new(serial).unwrap(), &message, 1)
                .is_none()
        };
        pairing.together();
        pairing.settles_at(start + SKEW);
        let before = story.iter().filter(|(serial, at)| is_new(&mut pairing, *serial, *at)).count();
        pairing.alone();
        before + then.iter().filter(|at| is_new(&mut pairing, 2, **at)).count()
    }

    #[test]
    fn what_only_the_old_stream_had_is_not_waited_for_on_the_new_one() {
        for alone in 0..4 {
            for (first, second) in [(1, 2), (2, 1)] {
                // Sent before the second stream had the topic; and then ever again, with either copy first.
                let mut story: Vec<_> = (0..alone).map(|n| (1, 10 * n)).collect();
                for n in 2..20 {
                    let at = 100 * n;
                    // Now and then the order is another one.
                    let (first, second) = if n % 5 == 0 { (second, first) } else { (first, second) };
                    story.extend([(first, at), (second, at + 3)]);
                }
                let sent = alone as usize + 18;
                assert_eq!(ticks(&story, &[2000, 2100]), sent + 2, "{alone} {first}");
                // The copy of the last one is on its way when the first stream is closed.
                story.push((1, 1999));
                assert_eq!(ticks(&story, &[2002, 2100]), sent + 2, "{alone} {first}");
            }
        }
        assert_eq!(ticks(&[(1, 1999)], &[2000, 2001]), 2);
        assert_eq!(ticks(&[(1, 0)], &[2000]), 2);
    }

    #[test]
    fn memory_is_bounded() {
        let mut pairing = Pairing::new(7);
        let now = Instant::now();
        let mut decoder = Decoder::default();
        for n in 0..2 * LIMIT {
            let bytes = format!("data:{n}\n\n");
            let mut items = decoder.feed(bytes.as_bytes());
            let Some(crate::sse::Item::Message(message)) = items.next() else { panic!("a message") };
            assert!(pairing.copy_of(now, Serial::MIN, &message, 1).is_none());
        }
        assert_eq!((pairing.groups.len(), pairing.delivered.len()), (LIMIT, LIMIT));
        pairing.expire(now + 2 * LONGEST_SKEW);
        assert!(pairing.groups.is_empty() && pairing.until().is_none());
    }

    #[test]
    fn what_came_before_a_topic_was_dropped_is_no_copy_of_what_comes_after() {
        let (now, mut pairing) = (Instant::now(), Pairing::new(7));
        let mut decoder = Decoder::default();
        let mut items = decoder.feed(b"event:done\ndata:{}\n\n");
        let Some(crate::sse::Item::Message(message)) = items.next() else { panic!("a message") };
        let [first, second] = [1, 2].map(|serial| Serial::new(serial).unwrap());
        assert!(pairing.copy_of(now, first, &message, 1).is_none());
        assert!(pairing.copy_of(now, second, &message, 2).is_none(), "the topic was subscribed to again");
        assert!(pairing.copy_of(now, first, &message, 2).is_some(), "that is a copy");
    }
}
