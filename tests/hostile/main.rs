//! A server that means harm: endless heads, lies about lengths, bombs, storms of reconnects, JSON of any depth, floods.
//!
//! Each misdeed meets each kind of client. Nothing may panic; the client is closed within [`CLOSE`] while the server is
//! still at it; the memory of the process stays within [`MEMORY`] of what it was before; what an error shows is short and has no
//! control characters; and a listener on another client, of another server, receives its events all the while.
//!
//! Alone in its process, since it measures it, and one test, since it is measured as a whole. `HOSTILE_SEED` repeats a
//! run, `HOSTILE_ROUNDS` makes it longer (`make hostile`): each round draws other lengths and orders; `HOSTILE_ONLY` takes
//! the misdeeds with this in their name.
#![cfg(all(feature = "hub", feature = "async-io", target_os = "linux"))]

mod misdeeds;
mod villain;

use std::{
    cell::Cell,
    fmt::Debug,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::Either};
use misdeeds::{LAST, MISDEEDS, Misdeed, Over};
use serde_json::{Value, json};
use tidings::{Client, Error, Event, EventSource, SourceEvent, Subscription, hub::Hub};
use villain::Villain;

/// What closing may take, whatever the server does: the second that is promised, and half a one for a busy machine.
const CLOSE: Duration = Duration::from_millis(1500);

/// How much more memory the process may have during an episode than before it, in KiB. Most of what is sent without an end
/// is half as much again.
const MEMORY: u64 = 20 * 1024;

/// The same where a request meets a body over the limit: one answer of 64 MiB, while it is put together from its parts.
const MEMORY_FOR_BODIES: u64 = 160 * 1024;

/// Long enough for a loaded machine; nothing waits this long and passes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest message that the clients take.
const MESSAGE: usize = 64 * 1024;

#[derive(Clone, Copy, Debug)]
enum Victim {
    PocketBase,
    RustBaas,
    Source,
}

#[test]
fn a_hostile_server_crashes_nothing_delays_no_close_and_stays_within_bounds() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seed = number("HOSTILE_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rounds = number("HOSTILE_ROUNDS").unwrap_or(1);
    let only = std::env::var("HOSTILE_ONLY").unwrap_or_default();
    eprintln!("HOSTILE_SEED={seed} repeats this");
    let mut rng = fastrand::Rng::with_seed(seed);
    let panics = count_panics();
    let mut witness = Witness::new();
    witness.hears();
    let memory = Memory::watch();
    let mut most = 0;
    for round in 0..rounds {
        let victims = [Victim::PocketBase, Victim::RustBaas, Victim::Source];
        let mut episodes: Vec<_> = victims
            .into_iter()
            .flat_map(|victim| MISDEEDS.iter().map(move |misdeed| (victim, misdeed)))
            .filter(|(_, misdeed)| misdeed.name.contains(&only))
            .collect();
        rng.shuffle(&mut episodes);
        for (victim, misdeed) in episodes {
            let what = format!("round {round}: {victim:?} meets {}, HOSTILE_SEED={seed}", misdeed.name);
            memory.begin();
            let villain = Villain::start(misdeed, rng.fork());
            smol::block_on(meet(victim, misdeed.over, &villain, &what));
            witness.hears();
            assert_eq!(panics.load(Ordering::SeqCst), 0, "{what}: a panic");
            let (grown, bound) = (memory.grown(), if misdeed.is_large { MEMORY_FOR_BODIES } else { MEMORY });
            most = most.max(if misdeed.is_large { 0 } else { grown });
            assert!(grown < bound, "{what}: {grown} KiB more than before");
        }
    }
    let misdeeds = MISDEEDS.iter().filter(|misdeed| misdeed.name.contains(&only)).count();
    let episodes = rounds * 3 * misdeeds as u64;
    eprintln!("{episodes} episodes, at most {most} KiB more during one, but for bodies over the limit");
}

/// Lets a client do all that it can with the villain until the misdeed is over, and closes it.
async fn meet(victim: Victim, over: Over, villain: &Villain, what: &str) {
    let (heard, hears) = async_channel::bounded::<()>(1);
    let millisecond = Duration::from_millis(1);
    if let Victim::Source = victim {
        let builder = EventSource::builder(&villain.url()).no_proxy().message_limit(MESSAGE);
        let mut source = builder.backoff(millisecond, 20 * millisecond).retry(millisecond).build().unwrap();
        let handle = source.handle();
        let follow = async {
            while let Some(event) = source.next().await {
                show(&event);
                if matches!(&event, SourceEvent::Message(message) if message.data().contains(LAST)) {
                    let _ = heard.try_send(());
                }
            }
        };
        let follow = follow.shared();
        // What is no stream ends a source at once, or never.
        let done = async {
            match over {
                Over::Received => hears.recv().map(drop).await,
                Over::Done | Over::Answered => villain.done().await,
            }
        };
        either(done, follow.clone(), what).await;
        handle.close();
        return within(CLOSE, follow, what).await;
    }
    let mut builder = Client::builder(&villain.url()).no_proxy().message_limit(MESSAGE);
    builder = builder.backoff(millisecond, 20 * millisecond);
    if let Victim::RustBaas = victim {
        builder = builder.rustbaas("acme", "web");
    }
    let client = builder.build().unwrap();
    let mut posts = client.collection("posts").subscribe("*").start().unwrap();
    let mut one = client.collection("posts").subscribe("abc").start().unwrap();
    // What fails is as good as what does not, as long as it does so in words that can be shown.
    let requests = async {
        let users = client.collection("users");
        let oauth2 = users.auth_with_oauth2("github", |_| {});
        let (answer, login, refresh, oauth2) = futures::join!(
            client.send("GET", "/api/collections/posts/records", None).into_future(),
            users.auth_with_password("a", "b"),
            users.auth_refresh(),
            oauth2.into_future(),
        );
        match answer {
            Ok(answer) => {
                show(&answer);
                let _ = answer.json::<Value>().map_err(|error| show_error(&error));
            }
            Err(error) => show_error(&error),
        }
        for outcome in [login, refresh, oauth2] {
            outcome.map_or_else(|error| show_error(&error), |answer| show(&answer));
        }
        show(&client.auth());
        let _ = client.auth().is_valid();
    };
    let requests = requests.shared();
    let all = async {
        futures::join!(requests.clone(), read(&mut posts, &heard), read(&mut one, &heard));
    };
    let all = all.shared();
    let done = async {
        match over {
            Over::Done => villain.done().await,
            Over::Answered => requests.clone().await,
            Over::Received => hears.recv().map(drop).await,
        }
    };
    either(done, all.clone(), what).await;
    show(&client.state());
    show(&client.stats());
    within(CLOSE, client.close(), what).await;
    // The calls and the listeners end with it.
    within(CLOSE, all, what).await;
    assert_eq!(client.stats().panics, 0, "{what}");
}

async fn either(done: impl Future<Output = ()>, work: impl Future<Output = ()>, what: &str) {
    within(PATIENCE, futures::future::select(std::pin::pin!(done), std::pin::pin!(work)), what).await;
}

async fn read(subscription: &mut Subscription, heard: &async_channel::Sender<()>) {
    while let Some(event) = subscription.next().await {
        touch(&event);
        if event.record_id() == Some(LAST) {
            let _ = heard.try_send(());
        }
    }
}

/// Asks an event for everything that it parses.
fn touch(event: &Event) {
    let _ = (event.action(), event.record_id(), event.name(), event.raw());
    let _ = event.json().map_err(|error| show_error(&error));
    let _ = event.json_text().map_err(|error| show_error(&error));
    let _ = event.record::<Value>().map_err(|error| show_error(&error));
    if let Some(error) = event.error() {
        show_error(error);
    }
}

fn show(value: &impl Debug) {
    let _ = format!("{value:?}");
}

fn show_error(error: &Error) {
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(text.len() < 8 * 1024, "{} bytes of an error: {:.300}", text.len(), text);
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

async fn within<T>(patience: Duration, future: impl Future<Output = T>, what: &str) -> T {
    match futures::future::select(std::pin::pin!(future), smol::Timer::after(patience)).await {
        Either::Left((value, _)) => value,
        Either::Right(_) => panic!("{what}: not over within {patience:?}"),
    }
}

/// A listener on another client, of a server that means well.
struct Witness {
    hub: Hub,
    _client: Client,
    posts: Subscription,
    heard: u64,
}

impl Witness {
    fn new() -> Self {
        let hub = Hub::start().unwrap();
        let client = Client::builder(&hub.url()).no_proxy().build().unwrap();
        let posts = smol::block_on(client.collection("posts").subscribe("*").into_future()).unwrap();
        Self { hub, _client: client, posts, heard: 0 }
    }

    fn hears(&mut self) {
        self.heard += 1;
        self.hub.create("posts", json!({"n": self.heard}));
        let event = smol::block_on(within(PATIENCE, self.posts.next(), "the witness")).unwrap();
        assert_eq!(event.record::<Value>().unwrap()["n"], self.heard, "{event:?}");
    }
}

/// The most memory of its own that the process has had since an episode began.
struct Memory {
    before: Cell<u64>,
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Memory {
    fn watch() -> Self {
        let (most, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, stopped) = (most.clone(), stop.clone());
        thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                seen.fetch_max(resident(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
        });
        Self { before: Cell::new(0), most, stop }
    }

    fn begin(&self) {
        self.before.set(resident());
        self.most.store(0, Ordering::Relaxed);
    }

    fn grown(&self) -> u64 {
        self.most.fetch_max(resident(), Ordering::Relaxed);
        self.most.load(Ordering::Relaxed).saturating_sub(self.before.get())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Memory of the process that is in RAM and its own, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Panics on any thread but those that say what the test has found.
fn count_panics() -> Arc<AtomicUsize> {
    let (count, counted) = (Arc::new(AtomicUsize::new(0)), thread::current().id());
    let panics = count.clone();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if thread::current().id() != counted {
            panics.fetch_add(1, Ordering::SeqCst);
        }
        print(info);
    }));
    count
}
