//! What a PocketBase server sends, rendered beforehand, and a network in memory that sends it.

mod memory;

pub use memory::Network;

/// The head of the answer that is a stream.
pub const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: text/event-stream\r\n\
    Cache-Control: no-store\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

/// The answer to a submit.
pub const ACCEPTED: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Digits of the time at which an event was sent.
pub const STAMP: usize = 20;

const BEFORE_STAMP: &str = r#"{"record":{"body":"The quick brown fox jumps over the lazy dog, and then does it again, because one sentence alone does not make a body of the length that posts have on average; two hundred bytes or so do.","collectionId":"pbc_1125843985","collectionName":"posts","created":"2026-01-02 03:04:05.678Z","sent":""#;

/// The payload of an event: the record that a server would send, of the same length whatever its number.
pub fn payload(number: usize) -> String {
    format!(
        "{BEFORE_STAMP}{:0STAMP$}\",\"id\":\"r{number:014}\",\"likes\":{:03},\"owner\":\"u{:014}\",\"published\":true,\
         \"tags\":[\"news\",\"weather\"],\"title\":\"Post number {number:08}\",\"updated\":\"2026-01-02 \
         03:04:05.678Z\"}},\"action\":\"update\"}}",
        0,
        100 + number % 900,
        number % 97,
    )
}

/// When the event with this payload was sent, which stands in the field `sent`.
pub fn stamp(payload: &[u8]) -> u64 {
    const NAME: &[u8] = b"\"sent\":\"";
    let at = payload.windows(NAME.len()).position(|window| window == NAME).expect("a stamp") + NAME.len();
    let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// Writes into an event as it stands on the wire when it was sent.
pub fn set_stamp(wire: &mut [u8], nanoseconds: u64) {
    let after = payload(0).len() - BEFORE_STAMP.len() + "\n\n\r\n".len();
    let at = wire.len() - after;
    wire[at..at + STAMP].copy_from_slice(format!("{nanoseconds:0STAMP$}").as_bytes());
}

/// A message as the decoder sees it.
pub fn message(topic: &str, number: usize) -> String {
    format!("id:{CLIENT}\nevent:{topic}\ndata:{}\n\n", payload(number))
}

/// A message as it stands on the wire: a chunk of its own, since the server flushes after each.
pub fn event(topic: &str, number: usize) -> Vec<u8> {
    chunk(&message(topic, number))
}

/// The first message of a stream.
pub fn handshake(client: &str) -> Vec<u8> {
    chunk(&format!("id:{client}\nevent:PB_CONNECT\ndata:{{\"clientId\":\"{client}\"}}\n\n"))
}

/// A client id as long as the server's.
pub const CLIENT: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCD";

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_where_it_was_set() {
        let mut wire = event("posts/*", 7);
        set_stamp(&mut wire, 123_456_789);
        let text = String::from_utf8(wire).unwrap();
        let payload = text.split_once("data:").unwrap().1.trim_end();
        assert_eq!(stamp(payload.as_bytes()), 123_456_789);
        assert_eq!(payload.len(), super::payload(99_999).len());
        assert!(serde_json::from_str::<serde_json::Value>(payload).is_ok());
    }
}
