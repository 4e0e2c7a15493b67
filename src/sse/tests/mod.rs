//! The decoder's promises. `standard` has one test for each rule of the standard, each of
//! which runs under every cut of its stream; `bounds` has what the standard leaves out;
//! `differential` compares with the transcription of the standard on random streams.

use super::transcription::{Told, interpret};
use super::{DEFAULT_LIMIT, Decoder, Item};

mod bounds;
mod differential;
mod standard;

/// Decodes `stream` whole, cut in two at every place, and byte by byte, and expects the
/// same each time: of the decoder, of the transcription, and after every byte of it what
/// the transcription makes of the stream so far.
#[track_caller]
fn expect(stream: impl AsRef<[u8]>, expected: &[Told]) {
    let stream = stream.as_ref();
    expect_within(DEFAULT_LIMIT, stream, expected);
}

#[track_caller]
fn expect_within(limit: usize, stream: &[u8], expected: &[Told]) {
    let (told, last_event_id) = interpret(stream, limit);
    assert_eq!(told, expected, "the transcription, of {}", stream.escape_ascii());
    for cut in 0..=stream.len() {
        let (first, second) = stream.split_at(cut);
        let mut decoder = Decoder::with_limit(limit).comments(true);
        let told = decode(&mut decoder, [first, second]);
        assert_eq!(told, expected, "cut at {cut} of {}", stream.escape_ascii());
        assert_eq!(decoder.last_event_id(), last_event_id, "cut at {cut}");
    }
    let mut decoder = Decoder::with_limit(limit).comments(true);
    let mut told = Vec::new();
    for (at, byte) in stream.chunks(1).enumerate() {
        told.extend(decode(&mut decoder, [byte]));
        let (mut so_far, last_event_id) = interpret(&stream[..=at], limit);
        // The transcription waits for the end of the line.
        if told.len() == so_far.len() + 1 && told.ends_with(&[Told::TooLarge { limit }]) {
            so_far.push(Told::TooLarge { limit });
        }
        assert_eq!(told, so_far, "after byte {at} of {}", stream.escape_ascii());
        assert_eq!(decoder.last_event_id(), last_event_id, "after byte {at}");
    }
}

/// All that `chunks` tell.
fn decode<'c>(decoder: &mut Decoder, chunks: impl IntoIterator<Item = &'c [u8]>) -> Vec<Told> {
    let mut told = Vec::new();
    for chunk in chunks {
        let mut items = decoder.feed(chunk);
        while let Some(item) = items.next() {
            told.push(owned(item));
        }
    }
    told
}

fn owned(item: Item<'_>) -> Told {
    match item {
        Item::Message(message) => Told::Message {
            event: message.event().into(),
            data: message.data().into(),
            id: message.id().into(),
        },
        Item::Comment(text) => Told::Comment(text.into()),
        Item::Retry(after) => Told::Retry(after.as_millis().try_into().unwrap()),
        Item::TooLarge { limit } => Told::TooLarge { limit },
    }
}

/// A message with nothing but data.
fn data(data: &str) -> Told {
    message("message", data, "")
}

fn message(event: &str, data: &str, id: &str) -> Told {
    Told::Message { event: event.into(), data: data.into(), id: id.into() }
}

fn comment(text: &str) -> Told {
    Told::Comment(text.into())
}
