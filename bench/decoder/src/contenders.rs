//! Who decodes: tidings and its peers, each through the fastest way that it makes public.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hasher};
use std::hint::black_box;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};

pub struct Contender {
    pub name: &'static str,
    pub version: &'static str,
    /// Decodes the chunks; it may take them out, if its interface wants to own them.
    pub count: fn(&mut Vec<Bytes>) -> Count,
    pub digest: fn(&mut Vec<Bytes>) -> Digest,
}

/// The first is what the others are compared with.
pub fn all() -> Vec<Contender> {
    vec![
        contender::<Tidings>("tidings", HERE),
        contender::<Owned>(OWNED, HERE),
        contender::<SseStream>("sse-stream", "0.3.0"),
        contender::<SseCore>("sse-core", "0.2.3"),
        contender::<SseParse>("sse-parse", "0.1.0"),
        contender::<Sseer>("sseer", "0.3.0"),
        contender::<EventsourceStream>("eventsource-stream", "0.2.3"),
        contender::<EventsourceClient>("eventsource-client", "0.18.0"),
        contender::<Scan>(SCAN, "2"),
    ]
}

const HERE: &str = "this tree";
/// Like for like with the peers that hand out strings.
const OWNED: &str = "tidings, owned strings";
/// What it costs to look at the bytes at all.
pub const SCAN: &str = "memchr2";

fn contender<C: Decode>(name: &'static str, version: &'static str) -> Contender {
    Contender {
        name,
        version,
        count: |chunks| decoded::<C, _>(chunks),
        digest: |chunks| decoded::<C, _>(chunks),
    }
}

fn decoded<C: Decode, S: Sink>(chunks: &mut Vec<Bytes>) -> S {
    let mut sink = S::default();
    C::decode(chunks, &mut sink);
    sink
}

trait Decode {
    fn decode(chunks: &mut Vec<Bytes>, sink: &mut impl Sink);
}

/// Takes messages. A message without an event type is a `"message"`.
pub trait Sink: Default {
    fn message(&mut self, event: &str, data: &str, id: &str);
}

/// Looks at as little as possible of a message.
#[derive(Default)]
pub struct Count {
    pub messages: usize,
}

impl Sink for Count {
    #[inline]
    fn message(&mut self, event: &str, data: &str, id: &str) {
        black_box((event, data, id));
        self.messages += 1;
    }
}

/// Looks at all of it: who agrees in this has yielded the same.
#[derive(Default)]
pub struct Digest {
    pub messages: usize,
    pub bytes: usize,
    hasher: DefaultHasher,
}

impl Sink for Digest {
    fn message(&mut self, event: &str, data: &str, id: &str) {
        self.messages += 1;
        self.bytes += event.len() + data.len() + id.len();
        for text in [event, data, id] {
            self.hasher.write_usize(text.len());
            self.hasher.write(text.as_bytes());
        }
    }
}

impl Digest {
    /// How this differs from what was `expected`.
    pub fn fault(&self, expected: &Self) -> Option<String> {
        if (self.messages, self.bytes) != (expected.messages, expected.bytes) {
            let Self { messages, bytes, .. } = self;
            return Some(format!(
                "{messages} messages of {bytes} bytes instead of {} of {}",
                expected.messages, expected.bytes
            ));
        }
        (self.hasher.finish() != expected.hasher.finish()).then(|| "other text".into())
    }
}

struct Tidings;

impl Decode for Tidings {
    fn decode(chunks: &mut Vec<Bytes>, sink: &mut impl Sink) {
        let mut decoder = tidings::sse::Decoder::new();
        for chunk in chunks {
            let mut items = decoder.feed(chunk);
            while let Some(item) = items.next() {
                if let tidings::sse::Item::Message(message) = item {
                    sink.message(message.event(), message.data(), message.id());
                }
            }
        }
    }
}

struct Owned;

impl Decode for Owned {
    fn decode(chunks: &mut Vec<Bytes>, sink: &mut impl Sink) {
        let mut decoder = tidings::sse::Decoder::new();
        for chunk in chunks {
            let mut items = decoder.feed(chunk);
            while let Some(item) = items.next() {
                if let tidings::sse::Item::Message(message) = item {
                    let [event, data, id] =
                        [message.event(), message.data(), message.id()].map(str::to_owned);
                    sink.message(&event, &data, &id);
                }
            }
        }
    }
}

struct SseStream;

impl Decode for SseStream {
    fn decode(chunks: &mut Vec<Bytes>, sink: &mut impl Sink) {
        // It takes any `Buf`, so nothing need be counted by reference here.
        let chunks = stream::iter(chunks.iter().map(|chunk| Ok::<&[u8], Infallible>(chunk)));
        drain(sse_stream::SseByteStream::new(chunks), |message| {
            let Ok(message) = message else { return };
            // It also yields what has no data; and an id is that of its own block alone,
            // which in these corpora is the one in force.
            if let Some(data) = message.data {
                sink.message(
                    message.event.as_deref().unwrap_or("message"),
                    &data,
                    message.id.as_deref().unwrap_or_default(),
                );
            }
        });
    }
}

struct SseCore;

impl Decode for SseCore {
    fn decode(chunks: &mut Vec<Bytes>, sink: &mut impl Sink) {
        let mut decoder = sse_core::SseDecoder::new();
        for chunk in chunks {
            let mut rest: &[u8] = chunk;
            while let Some(event) = decoder.next(&mut rest) {
                if let Ok(sse_core::SseEvent::Message(message)) = event {
                    sink.message(
                        &message.event,
                        &message.data,
                        message.last_event_id.as_deref().unwrap_or_default(),
                    );
                }
            }
        }
    }
}

struct SseParse;

impl Decode for SseParse {
    fn decode(chunks: &mut Vec<Bytes>, sink: &mut impl Sink) {
        let mut parser = sse_parse::SseParser::new();
        for chunk in chunks {
            parser.feed(chunk);
            while let Some(message) = parser.next_event() {
                sink.message(&message.event, &message.data, &message.id);
            }
        }
    }
}

struct Sseer;

impl Decode for Sseer {
    fn decode(chunks: &mut Vec<Bytes>, sink: &mut impl Sink) {
        // Its events are parts of the chunks.
        let chunks = stream::iter(chunks.drain(..).map(Ok::<Bytes, Infallible>));
        drain(sseer::EventStream::new(chunks), |message| {
            if let Ok(message) = message {
                sink.message(&message.event, &message.data, &message.id);
            }
        });
    }
}

struct EventsourceStream;

impl Decode for EventsourceStream {
    fn decode(chunks: &mut Vec<Bytes>, sink: &mut impl Sink) {
        let chunks = stream::iter(chunks.iter().map(|chunk| Ok::<&[u8], Infallible>(chunk)));
        drain(eventsource_stream::EventStream::new(chunks), |message| {
            if let Ok(message) = message {
                sink.message(&message.event, &message.data, &message.id);
            }
        });
    }
}

struct EventsourceClient;

impl Decode for EventsourceClient {
    /// Its decoder is private; the client over it takes a transport, which here has the
    /// response in memory.
    fn decode(chunks: &mut Vec<Bytes>, sink: &mut impl Sink) {
        use eventsource_client::{Client, ClientBuilder, ReconnectOptions, SSE};

        let client = ClientBuilder::for_url("http://localhost/")
            .expect("it is a URL")
            .reconnect(ReconnectOptions::reconnect(false).build())
            .build_with_transport(InMemory(Arc::new(Mutex::new(std::mem::take(chunks)))));
        drain(client.stream(), |event| {
            if let Ok(SSE::Event(message)) = event {
                sink.message(&message.event_type, &message.data, message.id.as_deref().unwrap_or_default());
            }
        });
    }
}

#[derive(Clone)]
struct InMemory(Arc<Mutex<Vec<Bytes>>>);

impl launchdarkly_sdk_transport::HttpTransport for InMemory {
    fn request(&self, _: http::Request<Option<Bytes>>) -> launchdarkly_sdk_transport::ResponseFuture {
        let chunks = std::mem::take(&mut *self.0.lock().expect("nobody has panicked"));
        let body: launchdarkly_sdk_transport::ByteStream = Box::pin(stream::iter(chunks.into_iter().map(Ok)));
        Box::pin(std::future::ready(Ok(http::Response::new(body))))
    }
}

struct Scan;

impl Decode for Scan {
    fn decode(chunks: &mut Vec<Bytes>, _: &mut impl Sink) {
        for chunk in chunks {
            black_box(memchr::memchr2_iter(b'\n', b'\r', chunk).count());
        }
    }
}

/// Polls a stream that never waits to its end.
fn drain<S: Stream>(stream: S, mut take: impl FnMut(S::Item)) {
    let mut stream = pin!(stream);
    while let Some(item) = stream.next().now_or_never().expect("all is in memory") {
        take(item);
    }
}
