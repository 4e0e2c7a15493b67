//! Faults of the real server: signals, and limits of its own.

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::json;
use tidings::State;

use crate::{
    Fault,
    promises::table,
    real::{create, soon},
    scene::{Scene, title},
};

/// SIGTERM, on which the server ends its streams and itself; and started again.
struct Terminated;

impl Fault for Terminated {
    const CUTS: bool = true;
    const LASTS: bool = true;

    async fn arrange() -> Scene {
        Scene::with_a_server_of_its_own().await
    }

    async fn strike(scene: &mut Scene) {
        scene.server().signal("-TERM");
        scene.takes_records = false;
        let state = scene.lost().await;
        assert!(state.to_string().contains("the server ended the stream"), "{state}");
        scene.server().kill();
    }

    async fn heal(scene: &mut Scene) {
        scene.server().restart();
        scene.takes_records = true;
    }
}

/// SIGSTOP and SIGCONT: a host that is out of breath.
struct Suspended;

impl Fault for Suspended {
    const CUTS: bool = false;

    async fn arrange() -> Scene {
        Scene::with_a_server_of_its_own().await
    }

    async fn strike(scene: &mut Scene) {
        scene.server().signal("-STOP");
        scene.takes_records = false;
    }

    async fn heal(scene: &mut Scene) {
        scene.server().signal("-CONT");
        scene.takes_records = true;
    }
}

const IDLE: bool = false;
const LIFE: bool = true;

/// The server ends the stream at a limit of its own.
struct Limit<const KIND: bool>;

impl<const KIND: bool> Fault for Limit<KIND> {
    const CUTS: bool = true;

    async fn arrange() -> Scene {
        let plan = if KIND == IDLE { json!({"idle": 1500}) } else { json!({"life": 1500}) };
        Scene::behind_a_proxy_with(Some(plan)).await
    }

    async fn strike(scene: &mut Scene) {
        let state = scene.lost().await;
        assert!(state.to_string().contains("the server ended the stream"), "{state}");
    }

    async fn heal(_: &mut Scene) {}
}

table! {
    terminated: Terminated;
    suspended: Suspended;
    idle_limit: Limit<IDLE>;
    life_limit: Limit<LIFE>;
}

/// Longer than a submit may take: who only listens notices nothing, who has asked for something is told.
#[test]
fn twenty_seconds_of_a_suspended_server() {
    smol::block_on(async {
        let mut scene = Scene::with_a_server_of_its_own().await;
        let asking = scene.server().client();
        let mut asking_for = asking.collection("notes").subscribe("*").await.unwrap();
        let mut states = asking.states();
        scene.server().signal("-STOP");
        let stopped = Instant::now();
        let call = smol::spawn(asking.realtime().subscribe("jobs/finished").into_future());
        let record = json!({"room": scene.room, "title": "asked while it stood still"});
        let writer = scene.writer.clone().unwrap();
        let write = smol::spawn(async move { create(&writer, "notes", record).await });
        let mut waiting = states
            .by_ref()
            .filter(|state| std::future::ready(matches!(state, State::Waiting { .. })))
            .boxed();
        let state = soon("a state", waiting.next()).await.unwrap();
        assert!(
            state.to_string().contains("the answer to the topics submitted took longer than 15s"),
            "{state}"
        );
        smol::Timer::at(stopped + Duration::from_secs(20)).await;
        scene.server().signal("-CONT");
        soon("the record", write).await;
        let _subscription = soon("the server's answer", call).await.unwrap();
        let notice = soon("a gap", asking_for.next()).await.unwrap();
        // The stream that was given up has brought what was written since; this one may have missed it.
        let mut notice = Some(notice);
        while let Some(event) = notice.take_if(|event| event.gap().is_none()) {
            assert_eq!(title(&event), "asked while it stood still");
            notice = Some(soon("a gap", asking_for.next()).await.unwrap());
        }
        scene.publish("last").await;
        for told in scene.read().await {
            assert!(told.gaps.is_empty(), "{told:?}");
        }
        assert!(futures::poll!(scene.states.next()).is_pending());
        assert_eq!(scene.client.stats().connects, 1);
    });
}
