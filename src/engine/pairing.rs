//! Which of what two streams bring is new: while both run, each change comes on both.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hasher},
    time::{Duration, Instant},
};

use super::session::Serial;
use crate::sse::Message;

/// How far apart the copies of one event may come.
pub(super) const SKEW: Duration = Duration::from_secs(1);

/// Events that are remembered; over it the oldest are forgotten, and their copies would be taken for new. With both
/// copies within milliseconds, a server would have to send millions in a second.
const LIMIT: usize = 1 << 16;

/// Equal messages are counted by stream, whatever their order: one is new if its stream has now brought more of its like
/// than were delivered.
#[derive(Debug)]
pub(super) struct Pairing {
    /// Nobody outside can make two messages look equal.
    salt: u64,
    likes: HashMap<u64, Like>,
    /// What was delivered, and when; in order.
    delivered: VecDeque<(Instant, u64)>,
}

#[derive(Debug, Default)]
struct Like {
    delivered: u32,
    /// By the serial of the stream that brought them.
    came: Vec<(Serial, u32)>,
}

impl Pairing {
    pub(super) fn new(salt: u64) -> Self {
        Self { salt, likes: HashMap::new(), delivered: VecDeque::new() }
    }

    /// Whether a message that a stream brings is to be delivered. With `is_last`, it is the only stream that is left, and
    /// there will be no other copy.
    pub(super) fn is_new(
        &mut self,
        now: Instant,
        serial: Serial,
        is_last: bool,
        message: &Message<'_>,
    ) -> bool {
        self.expire(now);
        // Not the id: it is that of the stream.
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.salt);
        hasher.write(message.event().as_bytes());
        hasher.write_u8(0xff);
        hasher.write(message.data().as_bytes());
        let hash = hasher.finish();
        if is_last && !self.likes.contains_key(&hash) {
            return true;
        }
        let like = self.likes.entry(hash).or_default();
        let at = like.came.iter().position(|(of, _)| *of == serial).unwrap_or_else(|| {
            like.came.push((serial, 0));
            like.came.len() - 1
        });
        let (_, came) = &mut like.came[at];
        if *came < like.delivered {
            *came += 1;
            return false;
        }
        if is_last {
            return true;
        }
        *came += 1;
        like.delivered += 1;
        if self.delivered.len() == LIMIT {
            self.forget_oldest();
        }
        self.delivered.push_back((now, hash));
        true
    }

    /// When the copy of the last one may still come, at the latest.
    pub(super) fn until(&self) -> Option<Instant> {
        self.delivered.back().map(|(at, _)| *at + SKEW)
    }

    fn expire(&mut self, now: Instant) {
        while self.delivered.front().is_some_and(|(at, _)| *at + SKEW < now) {
            self.forget_oldest();
        }
    }

    /// What was sent on one stream only, or has come on both.
    fn forget_oldest(&mut self) {
        let Some((_, hash)) = self.delivered.pop_front() else { return };
        let Some(like) = self.likes.get_mut(&hash) else { return };
        like.delivered -= 1;
        like.came.iter_mut().for_each(|(_, came)| *came = came.saturating_sub(1));
        if like.delivered == 0 {
            self.likes.remove(&hash);
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
            new.push(pairing.is_new(
                start + Duration::from_millis(*at),
                Serial::new(*serial).unwrap(),
                false,
                &message,
            ));
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
    fn one_that_came_before_the_other_stream_had_the_topic_is_not_paired_for_ever() {
        let end = SKEW.as_millis() as u64 + 1;
        // The first was of stream 1 only; the second is of both.
        assert_eq!(news(&[(1, "x", 0), (1, "x", 900), (2, "x", end + 1)]), [true, true, false]);
        assert_eq!(news(&[(1, "x", 0), (2, "x", end)]), [true, true], "stream 1 is gone by then");
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
            assert!(pairing.is_new(now, Serial::MIN, false, &message));
        }
        assert_eq!((pairing.likes.len(), pairing.delivered.len()), (LIMIT, LIMIT));
        pairing.expire(now + 2 * SKEW);
        assert!(pairing.likes.is_empty() && pairing.until().is_none());
    }
}
