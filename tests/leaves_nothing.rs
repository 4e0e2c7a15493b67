//! Five hundred clients come and go, and nothing of them stays. Alone in its process, since it counts what the
//! process has.
#![cfg(all(feature = "hub", feature = "async-io", target_os = "linux"))]

use std::{fs, thread, time::Duration};

use serde_json::json;
use tidings::{Client, hub::Hub};

fn count(dir: &str) -> usize {
    fs::read_dir(dir).unwrap().count()
}

/// Memory of the process that is in RAM and its own, in KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn threads_of_clients() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // A thread may end between the listing and the reading.
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    // The kernel keeps 15 characters of a name.
    names.filter(|name| matches!(name.trim_end(), "tidings" | "tidings-callbac")).count()
}

fn cycle(hub: &Hub, way: usize) {
    smol::block_on(async {
        let client = Client::new(&hub.url()).unwrap();
        let mut posts = client.collection("posts").subscribe("*").await.unwrap();
        let calls = client.collection("posts").subscribe("*").on(|_| {}).await.unwrap();
        let id = hub.create("posts", json!({"title": "x"}))["id"].as_str().unwrap().to_owned();
        posts.next().await.unwrap();
        client.send("DELETE", &format!("/api/collections/posts/records/{id}"), None).await.unwrap();
        match way % 3 {
            0 => client.close().await,
            // In one order and the other: the last of them closes the client.
            1 => drop((client, posts, calls)),
            _ => drop((calls, posts, client)),
        }
    });
}

#[test]
fn five_hundred_clients_leave_no_thread_no_descriptor_and_no_memory() {
    let hub = Hub::start().unwrap();
    // What is made once for the process: the reactor's thread, buffers of the allocator.
    for way in 0..100 {
        cycle(&hub, way);
    }
    // A client that is dropped ends on its own, soon after, and the hub closes its end when it has seen that.
    let rest = |what: &str| {
        let mut last = (0, 0);
        let mut same = 0;
        for _ in 0..1000 {
            let is_over = hub.stats().sockets == 0 && threads_of_clients() == 0;
            let now = (count("/proc/self/task"), count("/proc/self/fd"));
            same = if is_over && now == last { same + 1 } else { 0 };
            last = now;
            if same == 5 {
                return now;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{what}: {} threads of clients, {last:?}, {:?}", threads_of_clients(), hub.stats());
    };
    let (threads, descriptors) = rest("at first");
    let before = memory();
    for way in 0..500 {
        cycle(&hub, way);
    }
    assert_eq!(rest("at last"), (threads, descriptors));
    let grown = memory().saturating_sub(before);
    // A client and its connection are some 100 KiB: were a tenth of them left, it would be 5 MiB.
    assert!(grown < 3 * 1024, "{grown} KiB more than before");
}
