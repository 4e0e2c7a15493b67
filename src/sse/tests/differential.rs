//! Random streams, cut at random, against the transcription of the standard.

use super::*;

/// Streams of one run, all told.
const STREAMS: u64 = 120_000;
const SEED: u64 = 0x7464_696E_6773;

#[test]
fn agrees_with_the_standard_on_random_streams() {
    for seed in SEED..SEED + STREAMS {
        let mut random = Random(seed);
        let stream = stream(&mut random, FRAGMENTS);
        let comments = random.below(2) == 0;
        let mut decoder = Decoder::new().comments(comments);
        let told = decode(&mut decoder, random_chunks(&mut random, &stream));
        let (mut expected, last_event_id) = interpret(&stream, DEFAULT_LIMIT);
        expected.retain(|told| comments || !matches!(told, Told::Comment(_)));
        let retry = expected.iter().rev().find_map(|told| match told {
            Told::Retry(millis) => Some(std::time::Duration::from_millis(*millis)),
            _ => None,
        });
        let messages = expected
            .iter()
            .filter(|told| matches!(told, Told::Message { .. }))
            .count();
        assert_eq!(told, expected, "seed {seed:#x}: {}", stream.escape_ascii());
        assert_eq!(decoder.last_event_id(), last_event_id, "seed {seed:#x}");
        assert_eq!(decoder.retry(), retry, "seed {seed:#x}");
        assert_eq!(decoder.messages(), messages as u64, "seed {seed:#x}");
        assert_eq!(decoder.bytes(), stream.len() as u64, "seed {seed:#x}");
    }
}

/// The transcription's limit is exact for valid UTF-8.
#[test]
fn agrees_with_the_standard_within_a_limit() {
    for seed in SEED..SEED + STREAMS / 6 {
        let mut random = Random(seed);
        let mut stream = stream(&mut random, VALID_FRAGMENTS);
        // The transcription waits for the end of a line that is too large.
        stream.push(b'\n');
        let limit = random.below(24);
        let mut decoder = Decoder::with_limit(limit).comments(true);
        let told = decode(&mut decoder, random_chunks(&mut random, &stream));
        let (expected, last_event_id) = interpret(&stream, limit);
        assert_eq!(
            told,
            expected,
            "seed {seed:#x}, limit {limit}: {}",
            stream.escape_ascii()
        );
        assert_eq!(decoder.last_event_id(), last_event_id, "seed {seed:#x}");
        let too_large = expected
            .iter()
            .filter(|told| matches!(told, Told::TooLarge { .. }));
        assert_eq!(
            decoder.too_large(),
            too_large.count() as u64,
            "seed {seed:#x}"
        );
    }
}

/// With a limit and invalid UTF-8, the cuts still change nothing.
#[test]
fn cuts_change_nothing_within_a_limit() {
    for seed in SEED..SEED + STREAMS / 6 {
        let mut random = Random(seed);
        // Few kinds of fragments, so that they meet often.
        let few: Vec<&[u8]> = (0..8)
            .map(|_| FRAGMENTS[random.below(FRAGMENTS.len())])
            .chain(FIELDS)
            .collect();
        let stream = stream(&mut random, &few);
        let limit = random.below(24);
        let mut whole = Decoder::with_limit(limit).comments(true);
        let mut cut = whole.clone();
        let expected = decode(&mut whole, [&stream[..]]);
        let mut told = Vec::new();
        for chunk in random_chunks(&mut random, &stream) {
            told.extend(decode(&mut cut, [chunk]));
            let head = crate::sse::field::HEAD;
            assert!(cut.buffered() <= 2 * limit + 1 + head, "seed {seed:#x}");
        }
        assert_eq!(
            told,
            expected,
            "seed {seed:#x}, limit {limit}: {}",
            stream.escape_ascii()
        );
        assert_eq!(cut.last_event_id(), whole.last_event_id(), "seed {seed:#x}");
        assert_eq!(cut.too_large(), whole.too_large(), "seed {seed:#x}");
    }
}

/// Whoever drops `Items` early loses the rest of that chunk's items and nothing else.
#[test]
fn items_dropped_early_leave_no_trace() {
    for seed in SEED..SEED + STREAMS / 6 {
        let mut random = Random(seed);
        let stream = stream(&mut random, FRAGMENTS);
        let mut patient = Decoder::new();
        let mut hasty = Decoder::new();
        for chunk in random_chunks(&mut random, &stream) {
            let told = decode(&mut patient, [chunk]);
            let wanted = random.below(3);
            let mut items = hasty.feed(chunk);
            let mut taken = Vec::new();
            while taken.len() < wanted
                && let Some(item) = items.next()
            {
                taken.push(owned(item));
            }
            drop(items);
            assert_eq!(taken, told[..wanted.min(told.len())], "seed {seed:#x}");
            assert_eq!(hasty.buffered(), patient.buffered(), "seed {seed:#x}");
        }
        assert_eq!(hasty.messages(), patient.messages(), "seed {seed:#x}");
        assert_eq!(
            hasty.last_event_id(),
            patient.last_event_id(),
            "seed {seed:#x}"
        );
        assert_eq!(hasty.retry(), patient.retry(), "seed {seed:#x}");
    }
}

const FIELDS: [&[u8]; 6] = [
    b"\n",
    b"\n\n",
    b"\ndata: ",
    b"\nevent: ",
    b"\nid: ",
    b"\xFF\xFF",
];

const VALID_FRAGMENTS: &[&[u8]] = &[
    b"\n",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\r\r",
    b"\r\n\r\n",
    b"\n\r",
    b"data",
    b"data:",
    b"data: ",
    b"\ndata: ",
    b"event",
    b"event:",
    b"\nevent: ",
    b"id",
    b"id:",
    b"\nid: ",
    b"retry",
    b"retry:",
    b"\nretry: ",
    b":",
    b"\n:",
    b"\n: ",
    b" ",
    b"  ",
    b"\0",
    b"7",
    b"1000",
    b"99999999999999999999",
    b"x",
    b"Data: ",
    b"data2: ",
    b"even",
    b"foo: bar\n",
    b"foo\n",
    b"hello",
    b"{\"a\":[1,2]}",
    b"\xEF\xBB\xBF",
    b"\xC3\xA9",
    b"\xE2\x82\xAC",
    b"\xF0\x9F\x98\x80",
    b"a value that is long enough to fill more than one block of sixty-four bytes, with a tail",
];

const FRAGMENTS: &[&[u8]] = &{
    // The valid fragments and the invalid ones; concatenation is not const.
    const INVALID: [&[u8]; 12] = [
        b"\xEF",
        b"\xEF\xBB",
        b"\xBB\xBF",
        b"\xBF",
        b"\xFF",
        b"\x80",
        b"\xC3",
        b"\xE2\x82",
        b"\xF0\x9F",
        b"\xF0\x9F\x98",
        b"\xED\xA0\x80",
        b"\xC0\xAF",
    ];
    const ALL: usize = VALID_FRAGMENTS.len() + INVALID.len();
    let mut all: [&[u8]; ALL] = [b""; ALL];
    let mut at = 0;
    while at < ALL {
        all[at] = match at.checked_sub(VALID_FRAGMENTS.len()) {
            Some(at) => INVALID[at],
            None => VALID_FRAGMENTS[at],
        };
        at += 1;
    }
    all
};

fn stream(random: &mut Random, fragments: &[&[u8]]) -> Vec<u8> {
    let mut stream = Vec::new();
    if random.below(8) == 0 {
        stream.extend_from_slice(b"\xEF\xBB\xBF");
    }
    for _ in 0..random.below(40) {
        stream.extend_from_slice(fragments[random.below(fragments.len())]);
    }
    stream
}

/// Cuts `stream` into chunks: of one byte, of a few, of blocks, or whole.
fn random_chunks<'s>(random: &mut Random, stream: &'s [u8]) -> Vec<&'s [u8]> {
    let longest = [1, 2, 5, 16, 64, 100, usize::MAX][random.below(7)];
    let mut chunks = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let length = match longest {
            1 => 1,
            _ => random.below(rest.len().min(longest) + 1),
        };
        let (chunk, after) = rest.split_at(length);
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

/// SplitMix64: one number after the other from a seed, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}
