//! What the server does, each to every request that is made to it unless it says otherwise.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
    sync::OnceLock,
};

use super::{MESSAGE, villain::Peer};

pub(crate) struct Misdeed {
    pub(crate) name: &'static str,
    pub(crate) over: Over,
    /// It may fill the memory that the body of one answer may have.
    pub(crate) is_large: bool,
    /// Ends well when the worst has been done, with the connection still open.
    pub(crate) act: fn(&mut Peer<'_>) -> io::Result<()>,
}

/// When a client has met a misdeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// When the server has done its worst.
    Done,
    /// When every request of the host has an answer or an error: the misdeed lets them end.
    Answered,
    /// When the listener has received the event that comes [last](LAST).
    Received,
}

/// The id of the record in the last event.
pub(crate) const LAST: &str = "last";

const MIB: usize = 1 << 20;

/// Half as much again as the memory that the process may have more than before.
const ENDLESS: usize = 32 * MIB;

const fn misdeed(name: &'static str, act: fn(&mut Peer<'_>) -> io::Result<()>) -> Misdeed {
    Misdeed { name, over: Over::Done, is_large: false, act }
}

const fn answers(name: &'static str, act: fn(&mut Peer<'_>) -> io::Result<()>) -> Misdeed {
    Misdeed { name, over: Over::Answered, is_large: false, act }
}

const fn events(name: &'static str, act: fn(&mut Peer<'_>) -> io::Result<()>) -> Misdeed {
    Misdeed { name, over: Over::Received, is_large: false, act }
}

pub(crate) static MISDEEDS: &[Misdeed] = &[
    misdeed("silence", |_| Ok(())),
    misdeed("100 Continue for ever", |peer| peer.repeat("HTTP/1.1 100 Continue\r\n\r\n", 2 * MIB)),
    misdeed("103 Early Hints for ever", |peer| {
        peer.repeat("HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n", 2 * MIB)
    }),
    misdeed("an endless status line", |peer| {
        peer.send("HTTP/1.1 200 ")?;
        peer.repeat("O", ENDLESS)
    }),
    answers("an endless header line", |peer| {
        peer.send("HTTP/1.1 200 OK\r\nx: ")?;
        peer.repeat("a", ENDLESS)
    }),
    answers("endless header lines", |peer| {
        peer.send("HTTP/1.1 200 OK\r\n")?;
        peer.repeat("x: y\r\n", ENDLESS)
    }),
    answers("cookies without end", |peer| {
        let cookies: String = (0..200)
            .map(|n| format!("set-cookie: c{n}-{}={}; Path=/\r\n", peer.rng.u32(..), "v".repeat(200)))
            .collect();
        peer.answer(404, &cookies, "{}")
    }),
    misdeed("noise", |peer| {
        let noise: Vec<u8> = (0..peer.rng.usize(1..MIB)).map(|_| peer.rng.u8(..)).collect();
        peer.send(noise)
    }),
    misdeed("noise in a stream", |peer| {
        peer.open()?;
        for _ in 0..200 {
            let noise: Vec<u8> = (0..peer.rng.usize(1..8192)).map(|_| peer.rng.u8(..)).collect();
            peer.chunk(noise)?;
        }
        Ok(())
    }),
    misdeed("sizes of chunks that are none", |peer| {
        let sizes =
            ["ffffffffffffffff", "-1", "zz", "", "0x10", "1 1", "fffffffffffffffffffff", "7fffffffffffffff"];
        let size = *peer.rng.choice(&sizes).unwrap();
        peer.open()?;
        peer.send(format!("{size}\r\n"))?;
        peer.repeat("data: x\n\n", MIB)
    }),
    misdeed("a chunk that is shorter than it says", |peer| {
        peer.go_live()?;
        peer.send("ffff\r\ndata: x\n\n")?;
        peer.hang_up()
    }),
    misdeed("a chunk that is longer than it says", |peer| {
        peer.go_live()?;
        peer.send("3\r\ndata: a long line\n\n\r\n")
    }),
    misdeed("endless extensions of a chunk", |peer| {
        peer.go_live()?;
        peer.send("1;")?;
        peer.repeat("a=b;", ENDLESS)
    }),
    misdeed("endless trailers", |peer| {
        peer.go_live()?;
        peer.send("0\r\n")?;
        peer.repeat("x: y\r\n", ENDLESS)
    }),
    misdeed("chunks of one byte", |peer| {
        peer.go_live()?;
        peer.repeat("1\r\na\r\n", MIB)
    }),
    misdeed("lengths that contradict each other", |peer| {
        let heads = [
            "content-length: 5\r\ncontent-length: 7\r\n",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "content-length: 18446744073709551616\r\n",
            "content-length: -1\r\n",
            "transfer-encoding: chunked, chunked\r\n",
        ];
        let head = *peer.rng.choice(&heads).unwrap();
        peer.send(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{head}\r\n"))?;
        peer.repeat("data: x\n\n", MIB)
    }),
    Misdeed {
        is_large: true,
        ..answers("a body of more than the limit", |peer| {
            // Of one request alone: each may have as much.
            if !peer.is_list() {
                return peer.answer(404, "", "{}");
            }
            peer.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n\"")?;
            peer.repeat("a", 80 * MIB)
        })
    },
    answers("a refusal without an end", |peer| {
        peer.send("HTTP/1.1 400 No\r\ncontent-type: application/json\r\n\r\n{\"message\":\"")?;
        peer.repeat("a\u{1b}[31m", ENDLESS)
    }),
    answers("a refusal that forges a line of a log", |peer| {
        let forged = "\\n2026-01-01 INFO root logged in\\u001b[2J\\r".repeat(100);
        peer.answer(403, "", format!("{{\"message\":\"{forged}\",\"data\":{{\"{forged}\":1}}}}"))
    }),
    answers("bombs", |peer| {
        let headers = "content-type: text/event-stream\r\ncontent-encoding: gzip\r\n";
        let status = *peer.rng.choice(&[200, 400]).unwrap();
        peer.answer(status, headers, bomb())
    }),
    misdeed("a bomb after the handshake", |peer| {
        if !peer.is_stream() {
            return peer.answer(204, "content-encoding: gzip\r\n", bomb());
        }
        peer.go_live()?;
        peer.chunk(bomb())
    }),
    events("a line without an end", |peer| {
        if !peer.is_stream() {
            return peer.answer(204, "", "");
        }
        peer.go_live()?;
        for _ in 0..ENDLESS / MESSAGE {
            peer.chunk("a".repeat(MESSAGE))?;
        }
        last(peer)
    }),
    events("data, ids, comments and names without an end", |peer| {
        if !peer.is_stream() {
            return peer.answer(204, "", "");
        }
        peer.go_live()?;
        let field =
            *peer.rng.choice(&["data: ", "id: ", ": ", "event: ", "retry: ", "data\n", "\u{feff}"]).unwrap();
        for _ in 0..ENDLESS / MESSAGE {
            peer.chunk(field.repeat(MESSAGE / field.len()))?;
        }
        last(peer)
    }),
    events("a message of many lines", |peer| {
        if !peer.is_stream() {
            return peer.answer(204, "", "");
        }
        peer.go_live()?;
        for _ in 0..ENDLESS / MESSAGE {
            peer.chunk("data:\n".repeat(MESSAGE / 6))?;
        }
        last(peer)
    }),
    misdeed("a storm of ends", |peer| {
        peer.go_live()?;
        peer.send("0\r\n\r\n")?;
        peer.hang_up()?;
        Err(io::ErrorKind::ConnectionAborted.into())
    }),
    answers("a storm of hang-ups", |peer| {
        peer.hang_up()?;
        Err(io::ErrorKind::ConnectionAborted.into())
    }),
    answers("a storm of refusals", |peer| {
        let statuses = [204, 301, 400, 401, 403, 404, 408, 418, 429, 500, 503, 599, 999];
        let status = *peer.rng.choice(&statuses).unwrap();
        let after =
            ["", "retry-after: 0\r\n", "retry-after: 99999999999999999999\r\n", "retry-after: -1\r\n"];
        let after = *peer.rng.choice(&after).unwrap();
        peer.answer(status, after, "{\"message\":\"no\"}")?;
        peer.hang_up()?;
        Err(io::ErrorKind::ConnectionAborted.into())
    }),
    misdeed("redirects in a circle", |peer| {
        let places =
            ["/", "/a", "", "//", "?", "http://[", "/\u{1}", "file:///etc/passwd", "http://127.0.0.1:1/"];
        let place = peer.rng.choice(&places).unwrap().to_string();
        let place = if peer.rng.bool() { format!("{place}{}", "x".repeat(60_000)) } else { place };
        let status = *peer.rng.choice(&[301, 302, 303, 307, 308]).unwrap();
        peer.answer(status, &format!("location: {place}\r\n"), "")
    }),
    answers("redirects to endless names", |peer| {
        let name = "x".repeat(60_000);
        let places =
            [format!("http://{name}/"), format!("/{name}"), format!("{name}://x"), format!("http://[{name}")];
        let place = peer.rng.choice(&places).unwrap().clone();
        peer.answer(307, &format!("location: {place}\r\n"), "")
    }),
    events("times of another world", |peer| {
        if !peer.is_stream() {
            return peer.answer(204, "", "");
        }
        peer.go_live()?;
        for retry in ["0", "18446744073709551615", "99999999999999999999999", "-1", "1e9"] {
            peer.chunk(format!("retry: {retry}\n\n"))?;
        }
        last(peer)
    }),
    misdeed("handshakes that are none", |peer| {
        peer.open()?;
        let long = "c".repeat(MESSAGE / 2);
        for data in
            ["", "null", "{\"clientId\":7}", "{\"clientId\":\"\"}", &format!("{{\"clientId\":\"{long}\"}}")]
        {
            peer.chunk(format!("event: PB_CONNECT\ndata: {data}\n\n"))?;
        }
        peer.chunk(format!("event: PB_CONNECT\nid: {long}\ndata: {}\n\n", deep(10_000)))
    }),
    events("handshakes without end", |peer| {
        if !peer.is_stream() {
            return peer.answer(204, "", "");
        }
        peer.go_live()?;
        for n in 0..20_000 {
            peer.chunk(format!("id:{n}\nevent:PB_CONNECT\ndata:{{\"clientId\":\"{n}\"}}\n\n"))?;
        }
        last(peer)
    }),
    answers("deep JSON in an answer", |peer| {
        let status = *peer.rng.choice(&[200, 400, 404, 500]).unwrap();
        let depth = peer.rng.usize(100..200_000);
        let body = match peer.rng.u8(0..7) {
            0 => deep(depth),
            1 => format!("{{\"message\":{}}}", deep(depth)),
            2 => format!("{{\"data\":{},\"message\":\"x\"}}", deep(depth)),
            3 => format!("{{\"error\":{}}}", deep(depth)),
            4 => format!("{{\"token\":\"{}\",\"record\":{}}}", token(depth), deep(depth)),
            5 => format!("{{\"oauth2\":{{\"providers\":{}}}}}", deep(depth)),
            _ => "{\"a\":".repeat(depth),
        };
        peer.answer(status, "content-type: application/json\r\n", body)
    }),
    answers("a token with deep claims", |peer| {
        if peer.is_stream() {
            return peer.go_live();
        }
        let depth = peer.rng.usize(100..100_000);
        let body = format!("{{\"token\":\"{}\",\"record\":{{\"id\":\"a\"}}}}", token(depth));
        peer.answer(200, "content-type: application/json\r\n", body)
    }),
    events("deep JSON in events", |peer| {
        if !peer.is_stream() {
            return peer.answer(204, "", "");
        }
        peer.go_live()?;
        for depth in [100, 127, 128, 129, 1000, MESSAGE / 4] {
            let deep = deep(depth);
            for data in [
                deep.clone(),
                format!("{{\"record\":{{\"id\":\"abc\",\"x\":{deep}}},\"action\":\"update\"}}"),
                format!("{{\"action\":{deep},\"record\":{deep}}}"),
                format!("{{\"id\":\"abc\",\"fields\":{{\"x\":{deep}}}}}"),
                format!("{{\"kind\":{deep},\"record\":{{\"id\":{deep}}}}}"),
                "{\"record\":".repeat(depth.min(4000)),
            ] {
                for name in ["posts/*", "posts/abc", "record_updated", "message"] {
                    peer.chunk(format!("event: {name}\ndata: {data}\n\n"))?;
                }
            }
        }
        last(peer)
    }),
    events("a flood on other topics", |peer| flood(peer, |n| format!("other/{n}"))),
    events("a flood on one topic", |peer| flood(peer, |_| "posts/*".into())),
];

/// Ends what came before, whatever it was, and sends the last event: as PocketBase does and as RustBaaS does.
fn last(peer: &mut Peer<'_>) -> io::Result<()> {
    peer.chunk("\n\n")?;
    peer.chunk(format!(
        "event: posts/*\ndata: {{\"record\":{{\"id\":\"{LAST}\"}},\"action\":\"delete\"}}\n\n"
    ))?;
    peer.chunk(format!("event: record_deleted\ndata: {{\"id\":\"{LAST}\"}}\n\n"))
}

/// Goes live, acknowledges everything, and sends 8 MiB of events.
fn flood(peer: &mut Peer<'_>, topic: fn(usize) -> String) -> io::Result<()> {
    if !peer.is_stream() {
        return peer.answer(204, "", "");
    }
    peer.go_live()?;
    let record =
        format!("{{\"record\":{{\"id\":\"abc\",\"x\":\"{}\"}},\"action\":\"update\"}}", "x".repeat(900));
    for n in 0..8 * MIB / 1000 {
        peer.chunk(format!("event: {}\ndata: {record}\n\n", topic(n)))?;
    }
    last(peer)
}

fn deep(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// A JWT whose claims are so deep.
fn token(depth: usize) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims = format!("{{\"id\":\"a\",\"exp\":{}}}", deep(depth));
    format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims))
}

/// 256 MiB of nothing, gzipped to a quarter of a MiB.
fn bomb() -> &'static [u8] {
    static BOMB: OnceLock<Vec<u8>> = OnceLock::new();
    BOMB.get_or_init(|| {
        let gzip = Command::new("gzip").arg("-9").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut gzip = gzip.expect("gzip");
        let mut input = gzip.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            let nothing = vec![0; MIB];
            (0..256).for_each(|_| input.write_all(&nothing).unwrap());
        });
        let output = gzip.wait_with_output().unwrap();
        writer.join().unwrap();
        output.stdout
    })
}
