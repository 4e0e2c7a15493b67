//! A program that read many event sources had a thread and a reactor for each. Alone in its process, since it counts
//! what the process has.
#![cfg(all(feature = "hub", feature = "tokio", target_os = "linux"))]

use std::{fs, task::Poll, time::Duration};

use tidings::{EventSource, SourceEvent, SourceRequest, blocking, hub::Hub};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

/// The threads that read event sources.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "tidings").count()
}

fn next(source: &blocking::EventSource) -> Option<SourceEvent> {
    match source.next(PATIENCE).unwrap() {
        Poll::Ready(event) => event,
        Poll::Pending => panic!("nothing came"),
    }
}

#[test]
fn many_sources_share_a_thread_that_ends_with_the_last_of_them() {
    let hub = Hub::start().unwrap();
    hub.sse("/events").send("nobody hears");
    let url = format!("{}/events", hub.url());
    for _ in 0..3 {
        let sources: Vec<_> = (0..50).map(|_| blocking::EventSource::new(&url).unwrap()).collect();
        for source in &sources {
            assert!(matches!(next(source), Some(SourceEvent::Open(_))));
        }
        assert_eq!(threads(), 1);
        // What one of them does to itself does not concern the others.
        let builder = EventSource::builder(&url)
            .on_connect(async || -> Result<SourceRequest, String> { panic!("the host's own") });
        let bad = blocking::EventSource::build(builder).unwrap();
        assert!(next(&bad).is_none(), "it is over");
        bad.close();
        hub.sse("/events").send("news");
        for source in &sources {
            let Some(SourceEvent::Message(message)) = next(source) else { panic!("no message") };
            assert_eq!(message.data(), "news");
        }
        let (closed, dropped) = sources.split_at(25);
        closed.iter().for_each(blocking::EventSource::close);
        assert_eq!(threads(), 1, "some are left");
        dropped.iter().for_each(blocking::EventSource::close);
        assert_eq!(threads(), 0, "close waits for it");
    }
    // It ends too if they are dropped, soon after.
    let sources: Vec<_> = (0..3).map(|_| blocking::EventSource::new(&url).unwrap()).collect();
    drop(sources);
    for _ in 0..2000 {
        if threads() == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{} threads", threads());
}
