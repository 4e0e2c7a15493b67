//! What is done with each event, the same for all, and what it took.

use std::{str::FromStr, time::Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is done with each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It is counted; nobody looks into it.
    Count,
    /// Its action and the id of its record are read.
    Head,
    /// The same, and the record is parsed.
    Record,
    /// How long it was under way is noted.
    Latency,
}

pub const WORKS: [(&str, Work); 4] =
    [("count", Work::Count), ("head", Work::Head), ("record", Work::Record), ("latency", Work::Latency)];

impl Work {
    pub fn name(self) -> &'static str {
        WORKS.iter().find(|(_, work)| *work == self).expect("all are there").0
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = WORKS.iter().find(|(name, _)| *name == text);
        found.map(|(_, work)| *work).ok_or_else(|| format!("{text} is no work"))
    }
}

/// An event, as a contender hands it over.
pub trait Change {
    fn payload(&self) -> &[u8];
    /// Bytes of the action's name and of the record's id.
    fn read_head(&self) -> usize;
    /// The same, with the record parsed.
    fn read_record(&self) -> (usize, Value);
}

/// The data of a message, read as a user without tidings would read it.
pub struct Data<'a>(pub &'a str);

impl Change for Data<'_> {
    fn payload(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn read_head(&self) -> usize {
        #[derive(Deserialize)]
        struct Payload<'a> {
            action: &'a str,
            #[serde(borrow)]
            record: Record<'a>,
        }
        #[derive(Deserialize)]
        struct Record<'a> {
            id: &'a str,
        }
        let payload: Payload = serde_json::from_str(self.0).expect("a change");
        payload.action.len() + payload.record.id.len()
    }

    fn read_record(&self) -> (usize, Value) {
        #[derive(Deserialize)]
        struct Payload<'a> {
            action: &'a str,
            record: Value,
        }
        let payload: Payload = serde_json::from_str(self.0).expect("a change");
        let id = payload.record["id"].as_str().expect("an id").len();
        (payload.action.len() + id, payload.record)
    }
}

/// What receiving took, from the first event to the last.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Took {
    pub events_per_s: f64,
    pub cpu_us_per_event: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Dropped because the listener did not keep up.
    pub lost: u64,
}

/// Does the work and takes the time.
pub struct Meter {
    work: Work,
    wanted: usize,
    seen: usize,
    lost: u64,
    began: Option<(Instant, u64)>,
    latencies: Vec<u64>,
    /// So that nothing of the work can be left out.
    sum: usize,
}

impl Meter {
    pub fn new(work: Work, wanted: usize) -> Self {
        let latencies = Vec::with_capacity(if work == Work::Latency { wanted } else { 0 });
        Self { work, wanted, seen: 0, lost: 0, began: None, latencies, sum: 0 }
    }

    /// One event; with the last comes the result.
    pub fn take(&mut self, change: &impl Change) -> Option<Took> {
        self.sum += match self.work {
            Work::Count => change.payload().len(),
            Work::Head => change.read_head(),
            Work::Record => {
                let (head, record) = change.read_record();
                head + record.as_object().expect("an object").len()
            }
            Work::Latency => {
                self.latencies.push(now().saturating_sub(traffic::stamp(change.payload())));
                0
            }
        };
        self.seen(1)
    }

    /// Events that nobody looks into.
    pub fn seen(&mut self, events: usize) -> Option<Took> {
        if self.began.is_none() {
            self.began = Some((Instant::now(), cpu()));
        }
        self.seen += events;
        (self.seen >= self.wanted).then(|| self.took())
    }

    /// Events that will not come.
    pub fn lost(&mut self, events: u64) -> Option<Took> {
        self.lost += events;
        self.seen(events as usize)
    }

    fn took(&mut self) -> Took {
        std::hint::black_box(self.sum);
        let (began, cpu_began) = self.began.expect("something was seen");
        let events = self.wanted as f64;
        self.latencies.sort_unstable();
        let percentile = |part: f64| {
            let last = self.latencies.len().saturating_sub(1);
            let at = (last as f64 * part) as usize;
            self.latencies.get(at).map_or(0.0, |ns| *ns as f64 / 1e3)
        };
        Took {
            events_per_s: events / began.elapsed().as_secs_f64(),
            cpu_us_per_event: (cpu() - cpu_began) as f64 / 1e3 / events,
            p50_us: percentile(0.5),
            p99_us: percentile(0.99),
            lost: self.lost,
        }
    }
}

/// Nanoseconds by a clock that all processes share.
pub fn now() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Nanoseconds that all threads of this process have computed.
fn cpu() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
