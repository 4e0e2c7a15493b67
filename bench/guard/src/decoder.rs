//! The decoder on each corpus, in each kind of chunks.

use std::hint::black_box;

use tidings::sse::Decoder;

use crate::Workload;

pub fn workloads() -> Vec<Workload> {
    corpora::NAMES
        .into_iter()
        .flat_map(|corpus| {
            corpora::CUTS.map(|cut| Workload {
                name: format!("decoder/{corpus}/{}", cut.name()),
                prepare: Box::new(move || {
                    let chunks = corpora::corpus(corpus).chunks(cut);
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
