//! Faults of the network, made by a proxy in front of the real server.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde_json::json;
use tidings::Client;

use crate::{
    Fault,
    fault_proxy::{End, Proxy, Way},
    promises::table,
    real::{PATIENCE, soon},
    scene::{Scene, Told, shared_server, title},
};

const FIN: bool = false;
const RST: bool = true;

/// The connection ends when a part of an event has come.
struct MidEvent<const END: bool>;

impl<const END: bool> Fault for MidEvent<END> {
    const CUTS: bool = true;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        let (end, why) = match END {
            FIN => (End::Fin, "closed the connection before the answer was complete"),
            RST => (End::Rst, "connection reset by the other side"),
        };
        scene.proxy().cut_stream_after(120, end);
        scene.publish("torn").await;
        let state = scene.lost().await;
        assert!(state.to_string().contains(why), "{state}");
    }

    async fn heal(_: &mut Scene) {}
}

/// The link drops everything and says nothing. What was open ends, and what is opened leads nowhere.
struct BlackHole;

impl Fault for BlackHole {
    const CUTS: bool = true;
    const CONNECTS: RangeInclusive<u64> = 2..=2;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        scene.proxy().black_hole(true);
        scene.publish("dropped").await;
        let before = scene.proxy().accepted();
        scene.proxy().end_all(End::Fin);
        scene.lost().await;
        soon("another try", scene.proxy().accepts_more_than(before)).await;
    }

    async fn heal(scene: &mut Scene) {
        scene.proxy().black_hole(false);
    }
}

/// Nobody listens for a while.
struct RefusedConnections;

impl Fault for RefusedConnections {
    const CUTS: bool = true;
    const LASTS: bool = true;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        scene.proxy().refuse(true);
        scene.proxy().end_all(End::Fin);
        scene.lost().await;
        let state = scene.lost().await;
        assert!(state.to_string().contains("connection refused; is the server running?"), "{state}");
    }

    async fn heal(scene: &mut Scene) {
        scene.proxy().refuse(false);
    }
}

const UP: bool = false;
const DOWN: bool = true;

/// One direction stands still.
struct Frozen<const WAY: bool>;

impl<const WAY: bool> Fault for Frozen<WAY> {
    const CUTS: bool = false;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        scene.proxy().freeze(Some(if WAY == UP { Way::Up } else { Way::Down }));
    }

    async fn heal(scene: &mut Scene) {
        scene.proxy().freeze(None);
    }
}

/// Every byte comes by itself, and goes on doing so.
struct Torn;

impl Fault for Torn {
    const CUTS: bool = false;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        scene.proxy().split_bytes(true);
    }

    async fn heal(_: &mut Scene) {}
}

/// Whatever comes comes late, and goes on doing so.
struct Delayed;

impl Fault for Delayed {
    const CUTS: bool = false;

    async fn arrange() -> Scene {
        Scene::behind_a_proxy().await
    }

    async fn strike(scene: &mut Scene) {
        scene.proxy().delay(Duration::from_millis(100));
    }

    async fn heal(_: &mut Scene) {}
}

table! {
    cut_in_the_middle_of_an_event: MidEvent<FIN>;
    reset_in_the_middle_of_an_event: MidEvent<RST>;
    black_hole: BlackHole;
    refused: RefusedConnections;
    frozen_towards_the_client: Frozen<DOWN>;
    frozen_towards_the_server: Frozen<UP>;
    torn_into_bytes: Torn;
    delayed: Delayed;
}

/// A link that drops everything: a request for a stream and a set of topics each have their time, and the text says
/// what was waited for.
#[test]
fn what_falls_into_a_black_hole_has_its_time() {
    smol::block_on(async {
        let mut scene = Scene::behind_a_proxy().await;
        scene.proxy().black_hole(true);
        let fresh = Client::new(&scene.proxy().url()).unwrap();
        let connect = smol::spawn(fresh.realtime().subscribe("jobs/finished").into_future());
        let submit = smol::spawn(scene.client.realtime().subscribe("jobs/finished").into_future());
        let state = scene.lost().await;
        assert!(
            state.to_string().contains("the answer to the topics submitted took longer than 15s"),
            "{state}"
        );
        let error = soon("the end of patience", connect).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("head of the event stream") && text.contains("proxy") && text.contains("20s"),
            "{text}"
        );
        scene.proxy().black_hole(false);
        // Where the next try fails too, that is the answer.
        if let Err(error) = soon("an answer", submit).await {
            assert!(matches!(error, tidings::Error::Network(_)), "{error}");
        }
        scene.publish("last").await;
        for told in scene.read().await {
            assert_eq!(told.gaps.len(), 1);
        }
    });
}

/// A stream that is cut before it is one, wherever in the head of the answer or in the handshake that is.
#[test]
fn a_stream_cut_anywhere_in_its_beginning_is_opened_again() {
    smol::block_on(async {
        let server = shared_server();
        let each = (1..450).step_by(23).map(|bytes| async move {
            let proxy = Proxy::start(server.addr());
            proxy.cut_stream_after(bytes, if bytes % 2 == 0 { End::Fin } else { End::Rst });
            let client = Client::new(&proxy.url()).unwrap();
            let jobs = client.realtime().subscribe("jobs/finished").start().unwrap();
            soon("the server's answer", jobs.ready()).await.unwrap();
            (client.stats().connects, client.stats().submits)
        });
        let counts = join_all(each).await;
        // The last ones may come through before enough has come to be cut.
        assert!(
            counts.iter().all(|(connects, submits)| (1..=2).contains(connects) && *submits <= 2),
            "{counts:?}"
        );
        assert!(counts.iter().filter(|(connects, _)| *connects == 2).count() >= 10, "{counts:?}");
    });
}

/// Each stream lives a second, whether busy or not, and the host loses nothing that it is not told of.
#[test]
fn short_lives_in_a_row_lose_nothing_untold() {
    smol::block_on(async {
        let mut scene = Scene::behind_a_proxy().await;
        scene.plan("connect", 5, json!({"life": 1000})).await;
        scene.proxy().end_all(End::Fin);
        scene.lost().await;
        let began = Instant::now();
        while scene.client.stats().disconnects.ended_by_server < 5 {
            assert!(began.elapsed() < PATIENCE, "{:?}", scene.client.stats());
            scene.publish(&format!("{}", scene.published.len())).await;
            smol::Timer::after(Duration::from_millis(20)).await;
        }
        let connects = scene.client.stats().connects;
        assert!(connects <= 7, "{connects} connects in {:?}", began.elapsed());
        let client = scene.client.clone();
        let live = scene.told(|state| state.is_live() && client.stats().connected == 7).await;
        assert!(live.is_live());
        scene.publish("last").await;
        let lives = scene.published.len();
        for notes in &mut scene.notes {
            let mut told = Told::default();
            while told.titles.last().is_none_or(|title| title != "last") {
                let event = soon("an event", notes.next()).await.unwrap();
                match event.gap() {
                    Some(gap) => told.gaps.push(gap),
                    None => told.titles.push(title(&event)),
                }
            }
            // A stream's last moments overlap with a change: the server may have sent what follows it and not itself.
            for change in &scene.published {
                let covered =
                    told.gaps.iter().any(|gap| gap.since <= change.ended && change.began <= gap.until);
                assert!(
                    covered || told.titles.contains(&change.title),
                    "{} of {lives}: {told:?}",
                    change.title
                );
            }
            assert_eq!(told.gaps.len(), 6, "{:?}", told.gaps);
        }
    });
}
