//! Faults on demand, and the promises kept under each: a table whose rows are faults, whose columns are promises, and
//! whose cells are tests. A row is a `Fault`, with an example below; the columns are in `promises`. Each file holds the
//! rows of one family, and the tests of that family that do not fit the table.

#[path = "../fault_proxy/mod.rs"]
mod fault_proxy;
#[path = "../real/mod.rs"]
mod real;

mod half_open;
mod hub;
mod network;
mod promises;
mod refusals;
mod scene;
mod server;

use std::ops::RangeInclusive;

use promises::table;
use scene::Scene;

/// One row of the table.
trait Fault {
    /// Whether the stream is lost by it. If not, everything is late at most.
    const CUTS: bool;

    /// Whether tries to connect go on failing until it is healed.
    const LASTS: bool = false;

    /// Streams that it takes to be back, where that is certain, and sets of topics.
    const CONNECTS: RangeInclusive<u64> = 1..=1;
    const SUBMITS: u64 = 1;

    /// The status that a call made meanwhile may get for an answer.
    const REFUSES: Option<u16> = None;

    async fn arrange() -> Scene;

    async fn strike(scene: &mut Scene);

    async fn heal(scene: &mut Scene);
}

// ---- A row, as an example ----

/// SIGKILL, and started again.
struct Killed;

impl Fault for Killed {
    const CUTS: bool = true;
    const LASTS: bool = true;

    async fn arrange() -> Scene {
        Scene::with_a_server_of_its_own().await
    }

    async fn strike(scene: &mut Scene) {
        scene.server().kill();
        scene.takes_records = false;
        let state = scene.lost().await;
        assert!(
            state.to_string().contains("closed the connection before the answer was complete"),
            "{state}"
        );
    }

    async fn heal(scene: &mut Scene) {
        scene.server().restart();
        scene.takes_records = true;
    }
}

table! {
    killed: Killed;
}
