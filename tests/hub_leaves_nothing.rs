//! Stopping. Alone in its program, since it counts what the process holds.
#![cfg(feature = "hub")]

#[path = "hub_parity/plain_client.rs"]
#[expect(dead_code, reason = "the parity suite uses the rest of it")]
mod plain_client;

use std::time::{Duration, Instant};

use plain_client::{End, Stream};
use tidings::hub::Hub;

#[test]
fn stops_within_a_second_and_leaves_nothing() {
    // The process-wide thread and descriptors of async-io come with the first hub.
    drop(Hub::start().expect("a hub"));
    let before = (count("task"), count("fd"));
    for frozen in [false, true] {
        let hub = Hub::start().expect("a hub");
        let mut streams: Vec<_> = (0..20).map(|_| Stream::open(hub.addr())).collect();
        hub.faults().freeze(frozen);
        let asked = Instant::now();
        hub.stop();
        assert!(asked.elapsed() < Duration::from_secs(1));
        let end = if frozen { End::Cut } else { End::Clean };
        for stream in &mut streams {
            assert_eq!(stream.end(), end);
        }
        assert!(Stream::try_open(hub.addr()).is_err());
        assert_eq!(hub.stats().sockets, 0);
        hub.stop();
        drop((hub, streams));
        assert_eq!((count("task"), count("fd")), before);
    }
}

/// How many threads (`task`) or descriptors (`fd`) this process has.
fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).expect("Linux").count()
}
