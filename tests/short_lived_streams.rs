//! A server that acknowledges every stream and then drops it, again and again: the client comes back each time, at once as
//! long as that may help, and then less and less often.
#![cfg(all(feature = "hub", feature = "async-io"))]

mod real;

use std::time::Duration;

use real::soon;
use tidings::{Action, Client, State, hub::Hub};

/// The default of [`tidings::ClientBuilder::backoff`], and the tries that need not keep it.
const LEAST_DELAY: Duration = Duration::from_millis(200);
const PROMPT_TRIES: usize = 10;

const CUTS: usize = 20;

#[test]
fn acknowledges_then_cuts_again_and_again() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = Client::builder(&hub.url()).no_proxy().seed(5).build().unwrap();
        let mut listener = client.realtime().subscribe("news").await.unwrap();
        let mut states = client.states();
        let (mut planned, mut cuts) = (Vec::new(), 0);
        while cuts < CUTS {
            match soon("another state", states.next()).await.unwrap() {
                State::Live => {
                    hub.faults().cut_streams();
                    cuts += 1;
                }
                State::Waiting { until, .. } => planned.push(until),
                _ => {}
            }
        }
        let prompt = planned.windows(2).filter(|pair| pair[1] - pair[0] < LEAST_DELAY).count();
        assert!(prompt <= PROMPT_TRIES, "{prompt} of {} tries in a hurry", planned.len());
        assert!(client.stats().connects >= CUTS as u64, "each was live");
        // It is not given up, and what was missed was reported.
        loop {
            hub.publish("news", "{}");
            let event = soon("an event", listener.next()).await.unwrap();
            if event.action() == Action::Custom {
                break;
            }
            assert_eq!(event.action(), Action::Gap);
        }
    });
}
