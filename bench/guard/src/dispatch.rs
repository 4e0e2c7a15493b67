//! From the bytes of a stream into the queues of listeners, and out of them.

use std::hint::black_box;

use fanout::Bed;
use tidings::Event;

use crate::Workload;

/// Topics, listeners of each, and events for each topic.
const SHAPES: [(usize, usize, usize); 4] = [(1, 1, 1000), (1, 100, 100), (1, 10_000, 5), (1000, 1, 5)];

pub fn workloads() -> Vec<Workload> {
    let delivering = SHAPES.map(|(topics, listeners, events)| Workload {
        name: format!("dispatch/deliver/{topics} topics of {listeners}"),
        prepare: Box::new(move || {
            let bed = live(topics, listeners);
            let rendered = bed.render(events);
            // What grows with the first events has grown.
            bed.deliver(&rendered, events);
            bed.take(|_| {});
            Box::new(move || bed.deliver(&rendered, events))
        }),
    });
    let taking: [(&str, fn(&Event)); 3] = [
        ("count", |event| _ = black_box(event.raw())),
        ("head", |event| _ = black_box((event.action(), event.record_id()))),
        ("record", |event| _ = black_box(event.record::<serde_json::Value>())),
    ];
    let taking = taking.map(|(name, look)| Workload {
        name: format!("dispatch/take/{name}"),
        prepare: Box::new(move || {
            let bed = live(1, 1);
            let rendered = bed.render(1000);
            bed.deliver(&rendered, 1000);
            Box::new(move || _ = bed.take(look))
        }),
    });
    let leaving = Workload {
        name: "dispatch/leave/10000 of one topic".into(),
        prepare: Box::new(|| {
            let bed = live(1, 10_000);
            Box::new(move || bed.leave())
        }),
    };
    delivering.into_iter().chain(taking).chain([leaving]).collect()
}

/// Leaked, since its end is not to be counted.
fn live(topics: usize, listeners: usize) -> &'static mut Bed {
    let names: Vec<String> = (0..topics).map(|number| format!("posts/r{number:014}")).collect();
    let mut bed = Bed::new(topics * listeners);
    bed.subscribe(names.iter().map(String::as_str), listeners);
    Box::leak(Box::new(bed))
}
