//! The decoder on each corpus, in each kind of chunks.

use std::hint::black_box;

use tidings::sse::Decoder;

use crate::Workload;

pub fn workloads() -> Vec<Workload> {
    let names = corpora::all().into_iter().enumerate();
    names
        .flat_map(|(at, corpus)| {
            corpora::CUTS.map(|cut| Workload {
                name: format!("decoder/{}/{}", corpus.name, cut.name()),
                prepare: Box::new(move || {
                    let chunks = corpora::all()[at].chunks(cut);
                    Box::new(move || {
                        let mut decoder = Decoder::new();
                        for chunk in &chunks {
                            let mut items = decoder.feed(chunk);
                            while let Some(item) = items.next() {
                                black_box(item);
                            }
                        }
                    })
                }),
            })
        })
        .collect()
}
