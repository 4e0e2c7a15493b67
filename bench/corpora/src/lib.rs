//! What is decoded: eight streams, the same on every machine, each of about half a MiB, so
//! that it fits the second cache level and not the first.

use std::fmt::Write;

use bytes::Bytes;

pub struct Corpus {
    pub name: &'static str,
    /// Where each event ends, for those who are to get one at a time.
    ends: Vec<usize>,
    pub bytes: Bytes,
}

/// How a stream is cut.
#[derive(Clone, Copy)]
pub enum Cut {
    /// What a read of a busy socket returns.
    Every(usize),
    /// What a read returns that keeps up with the server.
    AfterEachEvent,
}

pub const CUTS: [Cut; 4] = [Cut::Every(16 * 1024), Cut::Every(1460), Cut::Every(64), Cut::AfterEachEvent];

impl Cut {
    pub fn name(self) -> String {
        match self {
            Cut::Every(bytes) => bytes.to_string(),
            Cut::AfterEachEvent => "event".into(),
        }
    }
}

impl Corpus {
    pub fn chunks(&self, cut: Cut) -> Vec<Bytes> {
        let length = self.bytes.len();
        let ends = match cut {
            Cut::Every(size) => (1..=length.div_ceil(size)).map(|i| (i * size).min(length)).collect(),
            Cut::AfterEachEvent => self.ends.clone(),
        };
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(&ends).map(|(start, end)| self.bytes.slice(start..*end)).collect()
    }

    fn new(name: &'static str, mut write_event: impl FnMut(&mut String, &mut Random)) -> Self {
        const SIZE: usize = 512 * 1024;
        let (mut text, mut random, mut ends) = (String::new(), Random(7), Vec::new());
        while text.len() < SIZE {
            write_event(&mut text, &mut random);
            ends.push(text.len());
        }
        Self { name, ends, bytes: text.into() }
    }
}

pub const NAMES: [&str; 8] = [
    "data: 7",
    "40-byte events",
    "records",
    "records, CRLF",
    "records, half non-ASCII",
    "64 KiB lines",
    "50 lines",
    "heartbeats between records",
];

/// The corpus of one of the [`NAMES`].
pub fn corpus(name: &'static str) -> Corpus {
    match name {
        "data: 7" => Corpus::new(name, |text, _| text.push_str("data: 7\n\n")),
        "40-byte events" => Corpus::new(name, |text, random| {
            let words = words(ASCII, 8 + random.below(24));
            write!(text, "data: {{\"text\":\"{words}\"}}\n\n").unwrap();
        }),
        "records" => Corpus::new(name, |text, random| record(text, random, ASCII, "\n")),
        "records, CRLF" => Corpus::new(name, |text, random| record(text, random, ASCII, "\r\n")),
        "records, half non-ASCII" => Corpus::new(name, |text, random| record(text, random, MIXED, "\n")),
        "64 KiB lines" => Corpus::new(name, |text, _| {
            write!(text, "data: {{\"text\":\"{}\"}}\n\n", words(ASCII, 64 * 1024)).unwrap();
        }),
        "50 lines" => Corpus::new(name, |text, random| {
            for line in 1..=50 {
                writeln!(text, "data: {line}: {}", words(ASCII, 10 + random.below(50))).unwrap();
            }
            text.push('\n');
        }),
        "heartbeats between records" => Corpus::new(name, |text, random| {
            for _ in 0..=random.below(8) {
                text.push_str(": heartbeat\n\n");
            }
            record(text, random, ASCII, "\n");
        }),
        _ => panic!("there is no corpus {name}"),
    }
}

/// One event of a single line of data, of `length` bytes, for the test of linearity.
pub fn giant(length: usize) -> Corpus {
    let bytes = Bytes::from(format!("data: {}\n\n", words(ASCII, length)));
    Corpus { name: "giant", ends: vec![bytes.len()], bytes }
}

/// A change of a record as PocketBase sends it, of about 550 bytes.
fn record(text: &mut String, random: &mut Random, language: &str, end: &str) {
    let title = words(language, 20 + random.below(40));
    let body = words(language, 140 + random.below(120));
    let n = random.below(100_000);
    write!(
        text,
        "id:Vx0q9yJr2cT7bNfLw5ZkHs3mEa8uGd1oRp6iXtKe{end}event:posts/*{end}data:{{\"action\":\"update\",\"record\":{{\
         \"collectionId\":\"pbc_1125843985\",\"collectionName\":\"posts\",\"id\":\"ab{n:05}cdefghij\",\
         \"title\":\"{title}\",\"body\":\"{body}\",\"views\":{n},\"published\":true,\
         \"created\":\"2026-01-02 03:04:05.678Z\",\"updated\":\"2026-01-02 03:04:05.678Z\"}}}}{end}{end}"
    )
    .unwrap();
}

const ASCII: &str = "the quick brown fox jumps over the lazy dog while ";
/// Half of its bytes are not ASCII: two, three and four bytes wide.
const MIXED: &str = "the quick бурая лиса jumps over 犬 and çà et là 😀, o";

/// Text of at most `length` bytes.
fn words(language: &str, length: usize) -> String {
    let mut text = String::with_capacity(length);
    for character in language.chars().cycle() {
        if text.len() + character.len_utf8() > length {
            return text;
        }
        text.push(character);
    }
    text
}

/// A linear congruential generator: the same numbers everywhere.
struct Random(u32);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % end
    }
}
