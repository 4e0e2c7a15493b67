//! A minute of a live subscription to which nothing happens costs next to nothing, on every executor. Alone in its
//! process, since it counts what the process uses.
#![cfg(all(feature = "hub", feature = "async-io", feature = "tokio", target_os = "linux"))]

use std::{fs, sync::mpsc, thread, time::Duration};

use tidings::{Client, hub::Hub, rt};

/// CPU time used by all threads of this process so far.
fn cpu() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let nanos = tasks.map(|task| {
        let path = task.unwrap().path().join("schedstat");
        fs::read_to_string(path).map_or(0, |stat| stat.split(' ').next().unwrap().parse().unwrap())
    });
    Duration::from_nanos(nanos.sum())
}

/// Subscribes, says so, and waits for an event that does not come.
async fn wait(client: Client, live: mpsc::Sender<()>) {
    let mut posts = client.collection("posts").subscribe("*").await.unwrap();
    live.send(()).unwrap();
    posts.next().await;
}

#[test]
fn an_idle_minute_is_all_but_free() {
    let hub = Hub::start().unwrap();
    let url = hub.url();
    let (live, is_live) = mpsc::channel();
    let connect = |runtime| Client::builder(&url).connect_with(runtime).unwrap();
    let client = || Client::new(&url).unwrap();
    let many = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut places = 0;
    let mut place = |future: futures::future::BoxFuture<'static, ()>,
                     on: fn(futures::future::BoxFuture<'static, ()>)| {
        places += 1;
        thread::spawn(move || on(future));
    };
    fn on_one(future: futures::future::BoxFuture<'static, ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    }
    place(Box::pin(wait(client(), live.clone())), smol::block_on);
    place(Box::pin(wait(client(), live.clone())), on_one);
    place(Box::pin(wait(client(), live.clone())), futures::executor::block_on);
    // The driver on the host's executor: this pair used to spin a core.
    let (own, driver) = connect(rt::AsyncIo);
    let both = futures::future::join(wait(own, live.clone()), driver);
    place(Box::pin(async { _ = both.await }), on_one);
    many.spawn(wait(client(), live.clone()));
    let (own, driver) = Client::builder(&url).connect_with(rt::Tokio::new(many.handle().clone())).unwrap();
    many.spawn(wait(own, live.clone()));
    many.spawn(driver);
    places += 2;

    for _ in 0..places {
        is_live.recv_timeout(Duration::from_secs(30)).unwrap();
    }
    let before = cpu();
    thread::sleep(Duration::from_secs(60));
    let used = cpu() - before;
    eprintln!("{places} clients and the hub used {used:?} of CPU in a minute");
    // The bound holds for each: one that spins uses the whole minute.
    assert!(used < Duration::from_millis(50), "{used:?}");
    assert_eq!(hub.stats().streams, places);
}
