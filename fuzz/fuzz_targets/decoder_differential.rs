//! Any stream, cut anywhere, against the transcription of the standard.
//!
//! The first byte of the input says how to cut the rest, and the second what limit to set.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::sse::{DEFAULT_LIMIT, Decoder, Item};
use transcription::{Told, interpret};

#[path = "../../src/sse/transcription.rs"]
mod transcription;

fuzz_target!(|input: &[u8]| {
    let [cuts, limit, stream @ ..] = input else {
        return;
    };

    let (expected, last_event_id) = interpret(stream, DEFAULT_LIMIT);
    for chunks in [vec![stream], cut(stream, *cuts)] {
        let mut decoder = Decoder::new().comments(true);
        assert_eq!(decode(&mut decoder, &chunks), expected);
        assert_eq!(decoder.last_event_id(), last_event_id);
    }

    // With a limit, cuts still change nothing; and where the transcription knows the exact
    // size (it counts decoded text) it agrees.
    let limit = usize::from(*limit);
    let mut decoder = Decoder::with_limit(limit).comments(true);
    let told = decode(&mut decoder, &[stream]);
    let mut other = Decoder::with_limit(limit).comments(true);
    assert_eq!(decode(&mut other, &cut(stream, *cuts)), told);
    assert_eq!(decoder.last_event_id(), other.last_event_id());
    // What waits to be decoded counts as it came, so how much is held depends on the cuts.
    for decoder in [&decoder, &other] {
        assert!(decoder.buffered() <= 2 * limit + 8);
    }
    if std::str::from_utf8(stream).is_ok() {
        let (mut expected, last_event_id) = interpret(stream, limit);
        // The transcription waits for the end of a line that is too large.
        if told.len() == expected.len() + 1 && told.ends_with(&[Told::TooLarge { limit }]) {
            expected.push(Told::TooLarge { limit });
        }
        assert_eq!(told, expected);
        assert_eq!(decoder.last_event_id(), last_event_id);
    }
});

fn cut(stream: &[u8], cuts: u8) -> Vec<&[u8]> {
    let mut chunks = Vec::new();
    let mut rest = stream;
    let mut state = u32::from(cuts);
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let longest = if cuts & 1 == 0 { 4 } else { 150 };
        let length = (state >> 16) as usize % longest;
        let (chunk, after) = rest.split_at(length.min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

fn decode(decoder: &mut Decoder, chunks: &[&[u8]]) -> Vec<Told> {
    let mut told = Vec::new();
    for chunk in chunks {
        let mut items = decoder.feed(chunk);
        while let Some(item) = items.next() {
            told.push(match item {
                Item::Message(message) => Told::Message {
                    event: message.event().into(),
                    data: message.data().into(),
                    id: message.id().into(),
                },
                Item::Comment(text) => Told::Comment(text.into()),
                Item::Retry(after) => Told::Retry(after.as_millis() as u64),
                Item::TooLarge { limit } => Told::TooLarge { limit },
            });
        }
    }
    told
}
