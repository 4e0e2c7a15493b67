//! A listener that takes 50 ms for each of 5,000 events costs itself, and nobody else: the others get all of theirs
//! meanwhile, memory keeps to the limit of its queue, the server's socket is drained, and every loss is told.
#![cfg(all(feature = "hub", feature = "async-io", target_os = "linux"))]

mod real;

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use futures::StreamExt;
use real::{PATIENCE, PocketBase, soon};
use serde_json::json;
use tidings::{Action, Client, Event, Overflow, Subscription, hub::Hub};

const EVENTS: u64 = 5_000;
const BATCH: u64 = 100;
const QUEUE: usize = 50;
const SLOW: Duration = Duration::from_millis(50);

/// All 5,000 weigh 10 MiB, so that a queue without a limit shows.
const PADDING: usize = 2 << 10;

/// The topic on which every event is of another record, and the one on which they are of 40 records in turn.
const EACH: &str = "each";
const FEW: &str = "few";
const RECORDS: u64 = 40;

/// Memory is counted for the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn a_slow_callback_costs_only_itself_with_the_hub() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let hub = Hub::start().unwrap();
    let padding = "x".repeat(PADDING);
    let publish = async |events: Range<u64>| {
        for n in events {
            for (topic, record) in [(EACH, n), (FEW, n % RECORDS)] {
                let record = format!(r#"{{"id":"{record}","n":{n}}}"#);
                let payload = format!(r#"{{"action":"update","record":{record},"padding":"{padding}"}}"#);
                hub.publish(topic, payload);
            }
        }
    };
    smol::block_on(flood(hub.addr(), publish));
}

#[test]
fn a_slow_callback_costs_only_itself_with_pocketbase() {
    const HOOK: &str = r#"
routerAdd("POST", "/flood", (e) => {
    const { from, to, records, padding } = e.requestInfo().body
    const clients = Object.values($app.subscriptionsBroker().clients())
    for (let n = from; n < to; n++) {
        for (const [name, record] of [["each", n], ["few", n % records]]) {
            const payload = { action: "update", record: { id: `${record}`, n }, padding: "x".repeat(padding) }
            const message = new SubscriptionMessage({ name, data: JSON.stringify(payload) })
            for (const client of clients) {
                if (client.hasSubscription(name)) client.send(message)
            }
        }
    }
    return e.noContent(204)
})
"#;
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let server = PocketBase::start(HOOK);
    let publisher = server.client();
    let publish = async |Range { start, end }: Range<u64>| {
        let range = json!({"from": start, "to": end, "records": RECORDS, "padding": PADDING});
        publisher.send("POST", "/flood", range).await.unwrap();
    };
    smol::block_on(flood(server.addr(), publish));
}

/// What a slow callback was called with.
#[derive(Debug, PartialEq)]
enum Call {
    Event { record: String, n: u64 },
    Lagged(u64),
}

/// A client with three listeners to one topic: a slow callback, and a stream and a callback that keep up.
struct Party {
    client: Client,
    overflow: Overflow,
    slow: Subscription,
    /// The calls of the slow callback that are over.
    calls: mpsc::Receiver<Call>,
    calls_begun: Arc<AtomicU64>,
    quick: Subscription,
    /// What came on the stream, in its order.
    streamed: Vec<Call>,
    _quick_callback: Subscription,
    called: futures::channel::mpsc::UnboundedReceiver<Call>,
    seen_by_callback: Vec<Call>,
}

impl Party {
    async fn new(server: SocketAddr, topic: &str, overflow: Overflow) -> Self {
        let client = Client::new(&format!("http://{server}")).unwrap();
        let (send, calls) = mpsc::channel();
        let calls_begun = Arc::<AtomicU64>::default();
        let begun = calls_begun.clone();
        let slow = client.realtime().subscribe(topic).queue(QUEUE, overflow).on(move |event| {
            begun.fetch_add(1, Ordering::Relaxed);
            // The slowness itself.
            thread::sleep(SLOW);
            let _ = send.send(read(&event));
        });
        let (send, called) = futures::channel::mpsc::unbounded();
        let quick = client.realtime().subscribe(topic).on(move |event| {
            let _ = send.unbounded_send(read(&event));
        });
        Self {
            overflow,
            slow: slow.await.unwrap(),
            calls,
            calls_begun,
            quick: client.realtime().subscribe(topic).await.unwrap(),
            streamed: Vec::new(),
            _quick_callback: quick.await.unwrap(),
            called,
            seen_by_callback: Vec::new(),
            client,
        }
    }

    /// Waits until the two quick ones have all that was published.
    async fn keep_up(&mut self, published: u64) {
        while self.streamed.len() < published as usize {
            let event = soon("an event of the stream", self.quick.next()).await.unwrap();
            self.streamed.push(read(&event));
        }
        while self.seen_by_callback.len() < published as usize {
            self.seen_by_callback.push(soon("a call", self.called.next()).await.unwrap());
        }
    }

    /// Lets the slow one finish what its queue holds, and settles the account.
    fn settle(self) {
        let mut distinct: Vec<u64> = self.streamed.iter().map(|call| call.n().unwrap()).collect();
        distinct.sort_unstable();
        assert!(distinct.into_iter().eq(0..EVENTS), "the quick stream got each event once");
        assert_eq!(self.streamed, self.seen_by_callback, "and so did the quick callback");
        assert_eq!(self.quick.lost(), 0);

        let last_of_each: HashMap<&str, u64> = self.streamed.iter().map(Call::event).collect();
        let (mut received, mut lagged) = (Vec::new(), 0);
        let is_over = |received: &[Call], lagged: u64| match self.overflow {
            Overflow::Conflate => {
                let of_records: HashMap<&str, u64> = received.iter().map(Call::event).collect();
                let missed = last_of_each.iter().filter(|(record, n)| of_records.get(*record) != Some(n));
                missed.count() as u64 == lagged
            }
            _ => received.len() as u64 + lagged == EVENTS,
        };
        while !is_over(&received, lagged) {
            match self.calls.recv_timeout(PATIENCE) {
                Ok(Call::Lagged(n)) => lagged += n,
                Ok(event) => received.push(event),
                Err(_) => panic!("{:?}: {} received, {lagged} told as lost", self.overflow, received.len()),
            }
        }
        let (events, lost) = (received.len(), self.slow.lost());
        eprintln!("{:?} of {} records: {events} received, {lost} lost", self.overflow, last_of_each.len());
        assert_eq!(lost, lagged, "what was told is what was counted");
        assert_eq!(self.client.stats().lost, lost);
        if last_of_each.len() as u64 == EVENTS {
            assert_eq!(events as u64 + lost, EVENTS, "what was not lost was received");
        } else {
            assert_eq!(lost, 0, "a newer event of the same record is no loss");
        }
        // In order, and nothing twice. Conflated, an event takes the place of the one before it of the same record.
        let in_order = |record: Option<&str>| {
            let is_wanted = |call: &&Call| record.is_none_or(|record| call.event().0 == record);
            let mut order = self.streamed.iter().filter(is_wanted);
            received.iter().filter(is_wanted).all(|call| order.any(|event| event == call))
        };
        match last_of_each.len() as u64 {
            EVENTS => assert!(in_order(None)),
            _ => assert!(last_of_each.keys().all(|record| in_order(Some(record)))),
        }
        assert!(self.calls.try_recv().is_err(), "nothing comes after the end");
    }
}

impl Call {
    fn n(&self) -> Option<u64> {
        match self {
            Self::Event { n, .. } => Some(*n),
            Self::Lagged(_) => None,
        }
    }

    fn event(&self) -> (&str, u64) {
        match self {
            Self::Event { record, n } => (record, *n),
            Self::Lagged(_) => panic!("{self:?}"),
        }
    }
}

fn read(event: &Event) -> Call {
    #[derive(serde::Deserialize)]
    struct Record {
        id: String,
        n: u64,
    }
    match event.action() {
        Action::Lagged(n) => Call::Lagged(n),
        Action::Update => {
            let Record { id, n } = event.record().unwrap();
            Call::Event { record: id, n }
        }
        other => panic!("{other}"),
    }
}

async fn flood(server: SocketAddr, publish: impl AsyncFn(Range<u64>)) {
    let mut parties = Vec::new();
    for (topic, overflow) in [
        (EACH, Overflow::DropOldest),
        (EACH, Overflow::DropNewest),
        (EACH, Overflow::Conflate),
        (FEW, Overflow::Conflate),
    ] {
        parties.push(Party::new(server, topic, overflow).await);
    }
    let (mut before, mut most_memory, mut most_unread) = (None, 0, 0);
    for start in (0..EVENTS).step_by(BATCH as usize) {
        let published = start + BATCH;
        publish(start..published).await;
        for party in &mut parties {
            party.keep_up(published).await;
            // Were they to take turns event by event, the quick callback would have waited for as many slow ones.
            let slow = party.calls_begun.load(Ordering::Relaxed);
            assert!(slow <= BATCH / 2 + published / 4, "{slow} slow calls held up {published} quick ones");
        }
        most_unread = most_unread.max(unread(server));
        let memory = memory();
        // The first two batches fill the slow queues.
        if published == 3 * BATCH {
            before = Some(memory);
        }
        most_memory = most_memory.max(memory - before.unwrap_or(memory).min(memory));
    }
    let begun: Vec<_> = parties.iter().map(|party| party.calls_begun.load(Ordering::Relaxed)).collect();
    eprintln!(
        "{begun:?} slow calls meanwhile; {most_memory} KiB more; {most_unread} bytes in a socket's queue"
    );
    // The slow ones have hardly begun, so what follows from their slowness would show.
    assert!(begun.iter().all(|begun| *begun < EVENTS / 2), "{begun:?}");
    // Four full queues are 0.4 MiB; what the four are behind is 40 MiB.
    assert!(most_memory < 10 << 10, "{most_memory} KiB more than when the queues were full");
    // A reader that waits for its slowest listener leaves megabytes.
    assert!(
        most_unread <= BATCH as usize * PADDING / 2,
        "{most_unread} bytes wait in a socket of the server"
    );
    parties.into_iter().for_each(Party::settle);
}

/// Memory of the process that is in RAM and its own, in KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The longest queue of bytes that a socket of the server has written and the other side has not taken. Those of the
/// client's sockets count too: their kernel buffer is where a reader that stops fills up first.
fn unread(server: SocketAddr) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |place: &str| u16::from_str_radix(place.rsplit_once(':').unwrap().1, 16).unwrap();
    let queues = table.lines().skip(1).map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (sent, arrived) = fields[4].split_once(':').unwrap();
        let queued = |hex| usize::from_str_radix(hex, 16).unwrap();
        match (port(fields[1]) == server.port(), port(fields[2]) == server.port()) {
            // The third kind is the listening socket, whose queue is one of connections.
            (true, _) if fields[3] != "0A" => queued(sent),
            (false, true) => queued(arrived),
            _ => 0,
        }
    });
    queues.max().unwrap()
}
