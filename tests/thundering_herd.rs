//! A thousand clients lose their server at the same moment. They come back spread out, none of them busier than the
//! backoff allows, and all of them do.
#![cfg(all(feature = "hub", feature = "async-io", target_os = "linux"))]

use std::{
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures::future::{Either, join_all, select};
use tidings::{Action, Client, State, hub::Hub, rt};

const CLIENTS: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

/// The default of [`tidings::ClientBuilder::backoff`], and less than the default so that the last is back soon.
const LEAST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(3);

/// The delay after the third refused try in a row is drawn evenly from 200 to 1,600 ms; later ones from more.
const WIDTH: Duration = Duration::from_millis(1400);
const BUCKET: Duration = Duration::from_millis(50);

struct Comeback {
    /// When the try that succeeded was to be made.
    planned: Instant,
    live: Instant,
    tries: u64,
    /// The least time between two tries that were planned.
    least: Duration,
}

#[test]
fn a_thousand_clients_come_back_spread_out_after_a_restart() {
    // A client needs a descriptor for its stream and one for its submit, and the hub as many.
    let clients = CLIENTS.min((descriptors() - 100) / 4);
    if clients < CLIENTS {
        eprintln!("only {clients} clients: `ulimit -n` is {}", descriptors());
    }
    let hub = Hub::builder().seed(6).start().unwrap();
    let executor = Arc::new(smol::Executor::new());
    let (stop, stopped) = async_channel::bounded::<()>(1);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (executor, stopped) = (executor.clone(), stopped.clone());
            thread::spawn(move || smol::block_on(executor.run(stopped.recv())))
        })
        .collect();

    smol::block_on(async {
        let herd =
            soon("all are there", join_all((0..clients).map(|n| enter(&executor, &hub, n as u64)))).await;
        assert_eq!(hub.stats().streams, clients);

        let (refused, all_refused) = async_channel::bounded(clients);
        let comebacks: Vec<_> =
            herd.iter().map(|(client, _)| executor.spawn(watch(client.clone(), refused.clone()))).collect();
        let gone = Instant::now();
        hub.stop();
        // Nobody comes back before everybody has been refused three times in a row.
        for _ in 0..clients {
            soon("a client is refused", all_refused.recv()).await.unwrap();
        }
        let back = Instant::now();
        hub.restart().unwrap();
        let comebacks = soon("all are back", join_all(comebacks)).await;

        for Comeback { live, tries, least, .. } in &comebacks {
            assert!(*least >= LEAST_DELAY, "two tries within {least:?}");
            // The first may be made at once.
            let cap = 1 + live.duration_since(gone).as_nanos() / LEAST_DELAY.as_nanos();
            assert!(u128::from(*tries) <= cap, "{tries} tries in {:?}", live.duration_since(gone));
        }
        let tries: u64 = comebacks.iter().map(|comeback| comeback.tries).sum();
        let planned = histogram(comebacks.iter().map(|comeback| comeback.planned), back);
        let live = histogram(comebacks.iter().map(|comeback| comeback.live), back);
        eprintln!("{clients} clients, gone for {:?}, {tries} tries", back - gone);
        eprintln!("planned tries per {BUCKET:?} since the restart: {planned:?}");
        eprintln!("live again per {BUCKET:?} since the restart:    {live:?}");

        // With delays drawn evenly from a width, the next tries are thickest at first: there is one per mean delay,
        // which is half the width and the least delay. Four standard deviations above that is the bound. What is
        // bounded is when tries were planned: when they were made depends on how busy this machine is.
        let share = BUCKET.div_duration_f64(LEAST_DELAY + WIDTH / 2);
        let mean = clients as f64 * share;
        let bound = (mean + 4.0 * (mean * (1.0 - share)).sqrt()).ceil() as usize;
        let most = planned.iter().copied().max().unwrap();
        eprintln!("at most {most} in one bucket, {bound} allowed");
        assert!(most <= bound, "{most} of {clients} tries within {BUCKET:?}, {bound} allowed");

        // They are back for good: each has the event, and was told of the gap before it.
        hub.publish("herd", "{}");
        for (_client, mut listener) in herd {
            let gap = soon("a gap", listener.next()).await.unwrap();
            assert_eq!(gap.action(), Action::Gap);
            assert_eq!(soon("the event", listener.next()).await.unwrap().action(), Action::Custom);
        }
    });
    drop(stop);
    threads.into_iter().for_each(|thread| _ = thread.join().unwrap());
}

async fn enter(executor: &smol::Executor<'static>, hub: &Hub, seed: u64) -> (Client, tidings::Subscription) {
    let builder = Client::builder(&hub.url()).seed(seed).no_proxy().subscribe_timeout(PATIENCE);
    let builder = builder.backoff(LEAST_DELAY, LONGEST_DELAY);
    let (client, driver) = builder.connect_with(rt::AsyncIo).unwrap();
    executor.spawn(driver).detach();
    let listener = client.realtime().subscribe("herd").await.unwrap();
    (client, listener)
}

/// Follows one client from live to live, and says when it has been refused three times in between.
async fn watch(client: Client, refused: async_channel::Sender<()>) -> Comeback {
    let before = client.stats().connects;
    let mut states = client.states();
    let (mut planned, mut waits, mut least) = (None, 0, Duration::MAX);
    loop {
        match states.next().await.unwrap() {
            State::Waiting { until, .. } => {
                if let Some(before) = planned.replace(until) {
                    least = least.min(until - before);
                }
                waits += 1;
                // The first wait is for the end of the stream, which is no refusal.
                if waits == 4 {
                    refused.try_send(()).unwrap();
                }
            }
            State::Live => {
                if let Some(planned) = planned {
                    let tries = client.stats().connects - before;
                    return Comeback { planned, live: Instant::now(), tries, least };
                }
            }
            _ => {}
        }
    }
}

/// How many moments lie in each bucket after `start`; those before it are in the first.
fn histogram(moments: impl Iterator<Item = Instant>, start: Instant) -> Vec<usize> {
    let mut buckets = Vec::new();
    for moment in moments {
        let bucket = moment.saturating_duration_since(start).div_duration_f64(BUCKET) as usize;
        buckets.resize(buckets.len().max(bucket + 1), 0);
        buckets[bucket] += 1;
    }
    buckets
}

/// How many descriptors this process may have.
fn descriptors() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let alarm = std::pin::pin!(smol::Timer::after(PATIENCE));
    match select(std::pin::pin!(future), alarm).await {
        Either::Left((value, _)) => value,
        Either::Right(_) => panic!("{what}: that did not come"),
    }
}
