//! Faults that only the embedded hub can make.

use std::{ops::RangeInclusive, time::Instant};

use serde_json::json;
use tidings::{
    Client, GapReason,
    hub::{Answer, Endpoint, Hub},
};

use crate::{
    Fault,
    promises::table,
    real::soon,
    scene::{Scene, title},
};

/// The stream ends as the hub ends it.
struct HubLoss<const HOW: u8>;

const END: u8 = 0;
const CUT: u8 = 1;
const RESET: u8 = 2;
const RESTART: u8 = 3;

impl<const HOW: u8> Fault for HubLoss<HOW> {
    const CUTS: bool = true;
    // A restarted hub may not listen yet when the client is there.
    const CONNECTS: RangeInclusive<u64> = if HOW == RESTART { 1..=2 } else { 1..=1 };

    async fn arrange() -> Scene {
        Scene::on_the_hub().await
    }

    async fn strike(scene: &mut Scene) {
        match HOW {
            END => assert_eq!(scene.hub().faults().end_streams(), 1),
            CUT => assert_eq!(scene.hub().faults().cut_streams(), 1),
            RESET => assert_eq!(scene.hub().faults().reset_streams(), 1),
            _ => scene.hub().restart().unwrap(),
        }
        scene.lost().await;
    }

    async fn heal(_: &mut Scene) {}
}

struct HubFrozen;

impl Fault for HubFrozen {
    const CUTS: bool = false;

    async fn arrange() -> Scene {
        Scene::on_the_hub().await
    }

    async fn strike(scene: &mut Scene) {
        scene.hub().faults().freeze(true);
    }

    async fn heal(scene: &mut Scene) {
        scene.hub().faults().freeze(false);
    }
}

struct HubTorn;

impl Fault for HubTorn {
    const CUTS: bool = false;

    async fn arrange() -> Scene {
        Scene::on_the_hub().await
    }

    async fn strike(scene: &mut Scene) {
        scene.hub().faults().split_bytes(true);
    }

    async fn heal(_: &mut Scene) {}
}

/// The stream is cut, and the next two requests for a stream, or with topics, get something else than their answer.
struct HubAnswers<const ENDPOINT: bool, const WHAT: u16>;

const CONNECT: bool = false;
const SUBMIT: bool = true;
const HTML: u16 = 1000;
const HANG_UP: u16 = 1001;
const ABORT: u16 = 1002;
const MISLABELLED: u16 = 1003;

impl<const ENDPOINT: bool, const WHAT: u16> Fault for HubAnswers<ENDPOINT, WHAT> {
    const CUTS: bool = true;
    const CONNECTS: RangeInclusive<u64> = if ENDPOINT == CONNECT { 3..=3 } else { 1..=1 };
    const SUBMITS: u64 = match ENDPOINT {
        CONNECT => 1,
        SUBMIT if WHAT < 1000 => 4,
        SUBMIT => 3,
    };
    const REFUSES: Option<u16> = if ENDPOINT == CONNECT && WHAT < 1000 { Some(WHAT) } else { None };

    async fn arrange() -> Scene {
        Scene::on_the_hub().await
    }

    async fn strike(scene: &mut Scene) {
        let answer = match WHAT {
            HTML => Answer::html("<h1>Sign in to the Wi-Fi</h1>"),
            HANG_UP => Answer::hang_up(),
            ABORT => Answer::reset(),
            MISLABELLED => Answer::mislabelled("text/plain"),
            status => Answer::status(status),
        };
        let endpoint = if ENDPOINT == CONNECT { Endpoint::Connect } else { Endpoint::Submit };
        scene.hub().faults().answer_next(endpoint, answer, 2);
        scene.hub().faults().cut_streams();
        scene.lost().await;
    }

    async fn heal(_: &mut Scene) {}
}

table! {
    hub_ended: HubLoss<END>;
    hub_cut: HubLoss<CUT>;
    hub_reset: HubLoss<RESET>;
    hub_restarted: HubLoss<RESTART>;
    hub_frozen: HubFrozen;
    hub_torn_into_bytes: HubTorn;
    hub_connect_503: HubAnswers<CONNECT, 503>;
    hub_connect_204: HubAnswers<CONNECT, 204>;
    hub_connect_html: HubAnswers<CONNECT, HTML>;
    hub_connect_hang_up: HubAnswers<CONNECT, HANG_UP>;
    hub_connect_reset: HubAnswers<CONNECT, ABORT>;
    hub_connect_mislabelled: HubAnswers<CONNECT, MISLABELLED>;
    hub_submit_503: HubAnswers<SUBMIT, 503>;
    hub_submit_429: HubAnswers<SUBMIT, 429>;
    hub_submit_html: HubAnswers<SUBMIT, HTML>;
    hub_submit_hang_up: HubAnswers<SUBMIT, HANG_UP>;
    hub_submit_reset: HubAnswers<SUBMIT, ABORT>;
}

/// A message over the limit is not delivered, and its gap holds the time in which it was made.
#[test]
fn a_message_over_the_limit_is_in_the_gap_that_tells_of_it() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = Client::builder(&hub.url()).message_limit(4096).build().unwrap();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        hub.create("notes", json!({"title": "small"}));
        assert_eq!(title(&soon("an event", notes.next()).await.unwrap()), "small");
        let began = Instant::now();
        hub.create("notes", json!({"title": "large".repeat(2000)}));
        let gap = soon("a gap", notes.next()).await.unwrap().gap().unwrap();
        assert_eq!(gap.reason, GapReason::TooLarge);
        assert!(gap.since <= began && began <= gap.until, "made at {began:?}: {gap:?}");
        hub.create("notes", json!({"title": "small again"}));
        assert_eq!(title(&soon("an event", notes.next()).await.unwrap()), "small again");
    });
}
