//! What is held, what is too large, and how much work it takes.

use super::*;
use crate::sse::lines::{LineEnds, WORK};
use crate::sse::{SHORT_TEXT_LIMIT, field::HEAD};

const CHUNK: usize = 16 * 1024;

#[test]
fn a_line_without_end_is_not_held_beyond_the_limit() {
    let chunk = [b'x'; CHUNK];
    for start in ["data: ", "event: ", "id: "] {
        let mut decoder = Decoder::new();
        let mut told = decode(&mut decoder, [start.as_bytes()]);
        for _ in 0..64 * 1024 * 1024 / CHUNK {
            told.extend(decode(&mut decoder, [&chunk[..]]));
            assert!(decoder.buffered() <= DEFAULT_LIMIT);
            assert!(decoder.capacity() <= DEFAULT_LIMIT + CHUNK);
        }
        let limit = if start == "data: " { DEFAULT_LIMIT } else { SHORT_TEXT_LIMIT };
        assert_eq!(told, [Told::TooLarge { limit }], "{start}");
        assert_eq!(decoder.too_large(), 1);
        // It has not been kept since, and the next message is whole.
        assert!(decoder.capacity() <= 256 * 1024, "{} bytes", decoder.capacity());
        assert_eq!(decode(&mut decoder, [&b"\ndata: rest\n\ndata: next\n\n"[..]]), [data("next")]);
    }
}

#[test]
fn buffers_do_not_grow_beyond_the_limit() {
    let limit = 1_050_000;
    let mut decoder = Decoder::with_limit(limit);
    decode(&mut decoder, [&b"data: "[..]]);
    for _ in 0..limit / 1000 {
        decode(&mut decoder, [&[b'x'; 1000][..]]);
        assert!(decoder.capacity() <= limit, "{} bytes", decoder.capacity());
    }
    assert_eq!(decoder.buffered(), limit);
}

#[test]
fn finds_every_line_end_once() {
    for length in 0..300 {
        for step in [1, 3, 63, 64, 65, 128, 200, 1000] {
            let mut chunk = vec![b'\x0b'; length];
            for at in (0..length).rev().step_by(step) {
                chunk[at] = [b'\n', b'\r'][at % 2];
            }
            let mut ends = LineEnds::default();
            let found: Vec<_> = std::iter::from_fn(|| ends.next(&chunk)).collect();
            let is_end = |at: &usize| matches!(chunk[*at], b'\n' | b'\r');
            let expected: Vec<_> = (0..length).filter(is_end).collect();
            assert_eq!(found, expected, "every {step} of {length}");
        }
    }
}

#[test]
fn long_lines_of_no_use_are_dropped_as_they_arrive() {
    let chunk = [b'9'; CHUNK];
    for start in [":", "unknown: ", "unknown", "retry: x", "retry: ", "id: \0", "\u{feff}:"] {
        let mut decoder = Decoder::with_limit(100);
        let mut told = decode(&mut decoder, [start.as_bytes()]);
        for _ in 0..1000 {
            told.extend(decode(&mut decoder, [&chunk[..]]));
            assert!(decoder.buffered() <= HEAD);
        }
        told.extend(decode(&mut decoder, [&b"\ndata: a\n\n"[..]]));
        told.retain(|told| !matches!(told, Told::Retry(u64::MAX)));
        assert_eq!(told, [data("a")], "{start}");
        assert_eq!(decoder.too_large(), 0);
        assert!(decoder.capacity() <= 1024, "{start}: {}", decoder.capacity());
    }
}

#[test]
fn the_limit_itself_is_allowed() {
    expect_within(5, b"data: 12345\n\n", &[data("12345")]);
    expect_within(4, b"data: 12345\n\n", &[Told::TooLarge { limit: 4 }]);
    // The LF that joins two lines counts.
    expect_within(5, b"data: 12\ndata: 34\n\n", &[data("12\n34")]);
    expect_within(4, b"data: 12\ndata: 34\n\n", &[Told::TooLarge { limit: 4 }]);
    expect_within(0, b"data\n\n", &[data("")]);
    expect_within(0, b"data\ndata\n\n", &[Told::TooLarge { limit: 0 }]);
    // And so do the event type and the id.
    expect_within(3, b"event: e\nid: i\ndata: d\n\n", &[message("e", "d", "i")]);
    expect_within(2, b"event: e\nid: i\ndata: d\n\n", &[Told::TooLarge { limit: 2 }]);
    expect_within(2, b"data: d\nevent: e\nid: i\n\n", &[Told::TooLarge { limit: 2 }]);
}

#[test]
fn only_the_event_type_that_counts_is_counted() {
    expect_within(4, b"event: 1234\nevent: 12\ndata: 34\n\n", &[message("12", "34", "")]);
}

#[test]
fn an_earlier_id_does_not_count() {
    expect_within(4, b"id: 1234\n\ndata: 1234\n\n", &[message("message", "1234", "1234")]);
}

#[test]
fn after_a_message_too_large_the_next_is_whole() {
    let too_large = Told::TooLarge { limit: 8 };
    expect_within(
        8,
        b"data: 123456789\ndata: a\nevent: x\nfoo: bar\n: c\n\ndata: next\n\n",
        &[too_large.clone(), comment("c"), data("next")],
    );
    expect_within(
        8,
        b"event: 123456789\r\ndata: a\r\n\r\ndata: 123456789\r\n\r\ndata: next\r\n\r\n",
        &[too_large.clone(), too_large, data("next")],
    );
}

#[test]
fn many_small_lines_are_too_large_together() {
    let mut decoder = Decoder::with_limit(1 << 20);
    let mut told = Vec::new();
    for _ in 0..400 {
        told.extend(decode(&mut decoder, [&b"data: 7\n".repeat(CHUNK / 8)[..]]));
        assert!(decoder.buffered() <= 1 << 20);
        assert!(decoder.capacity() <= (1 << 20) + CHUNK);
    }
    assert_eq!(told, [Told::TooLarge { limit: 1 << 20 }]);
    assert_eq!(decode(&mut decoder, [&b"\ndata: next\n\n"[..]]), [data("next")]);
}

/// Else a reconnect would ask for the same message for ever.
#[test]
fn a_message_too_large_still_tells_its_id_and_retry() {
    for stream in [
        &b"id: 7\ndata: 123456789\nretry: 5\n\ndata: b\n\n"[..],
        b"data: 123456789\nretry: 5\nid: 7\n\ndata: b\n\n",
    ] {
        expect_within(
            8,
            stream,
            &[Told::TooLarge { limit: 8 }, Told::Retry(5), message("message", "b", "7")],
        );
    }
    // Unless the id itself is what is too large.
    expect_within(
        2,
        b"id: 1\n\nid: 123\nid: 1234\ndata: x\n\ndata: b\n\n",
        &[Told::TooLarge { limit: 2 }, message("message", "b", "1")],
    );
}

#[test]
fn replacement_characters_count_with_three_bytes() {
    for (limit, expected) in [(7, data("a\u{FFFD}\u{FFFD}")), (6, Told::TooLarge { limit: 6 })] {
        for size in 1..12 {
            let mut decoder = Decoder::with_limit(limit);
            let told = decode(&mut decoder, b"data: a\xFF\xFF\n\ndata: b\n\n".chunks(size));
            assert_eq!(told, [expected.clone(), data("b")]);
        }
    }
    // An event type or an id may grow by its repair, and leave the data less room.
    for name in ["event", "id"] {
        let stream = [name.as_bytes(), b": \xFF\xFF\ndata: 1\ndata: 2\n\ndata: b\n\n"].concat();
        for limit in 0..12 {
            let mut decoder = Decoder::with_limit(limit);
            let told = decode(&mut decoder, [&stream[..]]);
            let fits = told.len() == 2 && decoder.too_large() == 0;
            assert_eq!(fits, limit >= 6 + 3, "limit {limit}");
            for size in 1..30 {
                let mut decoder = Decoder::with_limit(limit);
                assert_eq!(decode(&mut decoder, stream.chunks(size)), told, "limit {limit}");
            }
        }
    }
    // Also where they are many, and the event type and the id take their part.
    let mut decoder = Decoder::with_limit(3 * 1000 + 2);
    let stream = [b"event: e\nid: i\ndata: ", &[0xFF; 1000][..], b"\n\n"].concat();
    let expected = message("e", &"\u{FFFD}".repeat(1000), "i");
    assert_eq!(decode(&mut decoder, stream.chunks(64)), std::slice::from_ref(&expected));
    assert_eq!(decode(&mut decoder, [&stream[..]]), [expected]);
    let mut decoder = Decoder::with_limit(3 * 1000 + 1);
    for size in [64, 4096] {
        let told = decode(&mut decoder, stream.chunks(size));
        assert_eq!(told, [Told::TooLarge { limit: 3001 }]);
    }
    let mut decoder = Decoder::with_limit(5);
    assert_eq!(
        decode(&mut decoder, [&b"event: \xFF\xFF\n\nid: \xFF\xFF\n\nid: \xFF\ndata\n\n"[..]]),
        [Told::TooLarge { limit: 5 }, Told::TooLarge { limit: 5 }, message("message", "", "\u{FFFD}")]
    );
}

#[test]
fn event_types_and_ids_have_a_limit_of_their_own() {
    let fits = "x".repeat(SHORT_TEXT_LIMIT);
    for size in [1000, 1 << 20] {
        let mut decoder = Decoder::new();
        let stream = format!("event: {fits}\nid: {fits}\ndata: a\n\n");
        let told = decode(&mut decoder, stream.as_bytes().chunks(size));
        assert_eq!(told, [message(&fits, "a", &fits)]);
        for name in ["event", "id"] {
            let stream = format!("{name}: {fits}x\ndata: a\n\ndata: b\n\n");
            let told = decode(&mut decoder, stream.as_bytes().chunks(size));
            let too_large = Told::TooLarge { limit: SHORT_TEXT_LIMIT };
            assert_eq!(told, [too_large, message("message", "b", &fits)]);
        }
    }
}

#[test]
fn a_long_comment_is_cut_between_two_characters() {
    for (unit, width) in [("x", 1), ("é", 2), ("€", 3), ("😀", 4)] {
        let long = format!("a{}", unit.repeat(100_000));
        let kept = 1 + (SHORT_TEXT_LIMIT - 1) / width * width;
        for size in [1000, 1 << 20] {
            let mut decoder = Decoder::new().comments(true);
            let stream = format!(": {long}\ndata: a\n\n");
            let told = decode(&mut decoder, stream.as_bytes().chunks(size));
            assert_eq!(told, [comment(&long[..kept]), data("a")]);
        }
    }
    let mut decoder = Decoder::new().comments(true);
    let stream = [b":", &[0x80; 100_000][..], b"\n"].concat();
    let told = decode(&mut decoder, stream.chunks(1000));
    assert_eq!(told, [comment(&"\u{FFFD}".repeat(SHORT_TEXT_LIMIT / 3))]);
    assert!(decoder.capacity() <= 4 * SHORT_TEXT_LIMIT);
}

#[test]
fn a_giant_message_does_not_pin_its_memory() {
    let giant = format!("data: {}\n\n", "x".repeat(10_000_000));
    let mut decoder = Decoder::new();
    let told = decode(&mut decoder, giant.as_bytes().chunks(CHUNK));
    assert_eq!(told.len(), 1);
    assert_eq!(decoder.buffered(), 0);
    assert!(decoder.capacity() <= 256 * 1024, "{} bytes", decoder.capacity());
    decode(&mut decoder, giant.as_bytes()[..9_000_000].chunks(CHUNK));
    decoder.reset();
    assert!(decoder.capacity() <= 256 * 1024, "{} bytes", decoder.capacity());
}

/// Counted in bytes looked at and copied, so that no clock is needed: at most once each for
/// the lines, the check of the chunk, that of a value and the copy into a buffer, and four
/// times for a repair.
#[test]
fn the_work_is_linear_whatever_the_chunks() {
    let long = "é".repeat(100_000);
    let lines = "data: é\n".repeat(20_000);
    for stream in [
        format!("data: {long}\n\n").into_bytes(),
        format!("event: {}\n\n", "é".repeat(30_000)).into_bytes(),
        format!(": {long}\n\n").into_bytes(),
        format!("unknown{long}: {long}\n\n").into_bytes(),
        format!("{lines}\n").into_bytes(),
        [b"data: ", &[0xFF; 100_000][..], b"\n\n"].concat(),
    ] {
        for size in [1, 7, 64, 4096, usize::MAX] {
            let mut decoder = Decoder::new().comments(true);
            WORK.set(0);
            decode(&mut decoder, stream.chunks(size));
            let work = WORK.get();
            let length = stream.len() as u64;
            assert!(work >= length, "the scan is counted");
            assert!(work <= 8 * length, "{work} for {length} bytes in chunks of {size}");
        }
    }
}

/// In steady state all is lent from the same buffers, which are where they were and no larger.
#[test]
fn buffers_are_used_again() {
    let stream = "id: 12345\nevent: posts/*\ndata: {\"a\":1}\ndata: é\u{FFFD}\n: x\n\n".repeat(100);
    let stream = [stream.as_bytes(), b"data: \xFF\n\n"].concat();
    let mut decoder = Decoder::new().comments(true);
    let places = |decoder: &Decoder| {
        let held = [&decoder.line, &decoder.data, &decoder.event, &decoder.id];
        let mut places = held.map(|held| held.text.as_ptr()).to_vec();
        places.push(decoder.last_event_id.as_ptr());
        // An id changes places with the one before it.
        places.sort();
        places
    };
    let all_cuts = |decoder: &mut Decoder| {
        for size in 1..200 {
            decode(decoder, stream.chunks(size));
        }
    };
    all_cuts(&mut decoder);
    let (before, capacity) = (places(&decoder), decoder.capacity());
    all_cuts(&mut decoder);
    assert_eq!(places(&decoder), before);
    assert_eq!(decoder.capacity(), capacity);
}
