//! A topic that the server refuses for now, with 429 or 5xx, again and again: what the others, its caller and the state see.

use super::{
    dialect::{Failure, pocketbase::PocketBase},
    tests::{Listener, Scene},
    *,
};
use crate::Refusal;

/// Answers what was asked for since the last time: a set with `busy` in it is too much.
fn serve(scene: &mut Scene, until: Duration, retry_after: Option<Duration>) -> usize {
    let end = scene.now + until;
    let mut refused = 0;
    while scene.now < end {
        for output in scene.outputs() {
            match output {
                Output::Open { conn, .. } => {
                    scene.engine.opened(scene.now, conn, None);
                    let hello = b"id:c\nevent:PB_CONNECT\ndata:{\"clientId\":\"c\"}\n\n";
                    scene.engine.received(scene.now, conn, hello);
                }
                Output::Submit { conn, request, .. } => {
                    let body = String::from_utf8(request.body.unwrap()).unwrap();
                    let is_busy = body.contains("\"busy\"");
                    refused += usize::from(is_busy);
                    let refusal = || Failure::Refused(Refusal::new(503, b"{}".to_vec(), retry_after));
                    let answer = if is_busy { Err(refusal()) } else { Ok(()) };
                    scene.engine.submitted(scene.now, conn, answer);
                }
                _ => {}
            }
        }
        scene.pass(Duration::from_millis(5));
    }
    refused
}

fn listen(scene: &mut Scene, topic: &str, patient: bool) -> Listener {
    let listener = Listener::default();
    scene.engine.subscribe(scene.now, &topic.into(), listener.clone(), patient, None).unwrap();
    listener
}

fn heard(listener: &Listener) -> Vec<String> {
    listener.0.borrow().clone()
}

#[test]
fn others_are_acknowledged_and_its_caller_is_refused_promptly() {
    for others in [1, 2, 9] {
        let mut scene = Scene::new();
        let busy = listen(&mut scene, "busy", false);
        let good: Vec<_> = (0..others).map(|n| listen(&mut scene, &format!("good/{n}"), false)).collect();
        serve(&mut scene, Duration::from_secs(4), None);
        assert!(good.iter().all(|good| heard(good) == ["ready"]), "{others}: {:?}", scene.engine.state());
        assert!(scene.engine.state().is_live());
        serve(&mut scene, Duration::from_secs(4), None);
        assert_eq!(heard(&busy).last().unwrap(), "end Some(503)");
    }
}

#[test]
fn a_topic_subscribed_beside_one_that_waits_is_acknowledged_at_once() {
    let mut scene = Scene::new();
    listen(&mut scene, "busy", true);
    serve(&mut scene, Duration::from_secs(20), None);
    let good = listen(&mut scene, "good", false);
    serve(&mut scene, Duration::from_millis(100), None);
    assert_eq!(heard(&good), ["ready"]);
    // And one who asks for the same gets its answer, not the wait of the other.
    let busy = listen(&mut scene, "busy", false);
    serve(&mut scene, Duration::from_millis(100), None);
    assert_eq!(heard(&busy).last().unwrap(), "end Some(503)");
}

#[test]
fn after_a_cut_the_others_are_back_at_once() {
    let mut scene = Scene::new();
    listen(&mut scene, "busy", true);
    serve(&mut scene, Duration::from_secs(20), None);
    assert!(scene.engine.state().is_live());
    let conn = ConnId {
        session: *scene.engine.sessions.keys().next().unwrap(),
        serial: scene.engine.sessions.values().next().unwrap().conn().unwrap().serial,
    };
    scene.engine.ended(scene.now, conn, None);
    serve(&mut scene, Duration::from_millis(100), None);
    assert!(scene.engine.state().is_live());
    assert_eq!(heard(&scene.listener), ["ready", "gap"]);
}

#[test]
fn alone_it_says_why_it_waits() {
    let config = Config::default();
    let mut scene = Scene::with(PocketBase::default(), config);
    scene.engine.unsubscribe_where(scene.now, |_| true);
    listen(&mut scene, "busy", true);
    serve(&mut scene, Duration::from_secs(1), Some(Duration::from_secs(5)));
    match scene.engine.state() {
        State::Waiting { why: Reason::Refused(error), .. } => assert_eq!(error.status(), Some(503)),
        state => panic!("{state:?}"),
    }
}

#[test]
fn it_is_tried_less_and_less_often_and_when_the_server_says() {
    let mut scene = Scene::new();
    listen(&mut scene, "busy", true);
    let refused = serve(&mut scene, Duration::from_secs(60), None);
    assert!((5..40).contains(&refused), "{refused}");
    let later = serve(&mut scene, Duration::from_secs(60), None);
    assert!((2..15).contains(&later), "{later}");
    let mut scene = Scene::new();
    listen(&mut scene, "busy", true);
    let refused = serve(&mut scene, Duration::from_secs(60), Some(Duration::from_secs(10)));
    assert!((5..=8).contains(&refused), "{refused}");
}

#[test]
fn a_busy_stream_is_not_interrupted_by_its_tries() {
    let mut scene = Scene::new();
    listen(&mut scene, "busy", true);
    serve(&mut scene, Duration::from_secs(2), None);
    let before = scene.engine.stats();
    for _ in 0..600 {
        let session = scene.engine.sessions.iter().next().unwrap();
        let conn = ConnId { session: *session.0, serial: session.1.conn().unwrap().serial };
        scene.engine.received(scene.now, conn, b"event:posts/*\ndata:{}\n\n");
        serve(&mut scene, Duration::from_millis(100), None);
    }
    let Stats { submits, submits_failed, hand_overs, disconnects, .. } = scene.engine.stats();
    // Each failed: a set that is taken again without a change would cost events.
    assert_eq!((submits - before.submits, hand_overs), (submits_failed - before.submits_failed, 0));
    assert_eq!(disconnects, Disconnects::default());
}

#[test]
fn a_patient_listener_learns_why_its_topic_is_not_live_and_when_it_is() {
    let mut scene = Scene::new();
    let busy = listen(&mut scene, "busy", true);
    let _good = listen(&mut scene, "good", true);
    serve(&mut scene, Duration::from_secs(8), None);
    assert!(scene.engine.state().is_live());
    assert!(heard(&busy).len() >= 2, "{:?}", heard(&busy));
    assert!(heard(&busy).iter().all(|word| word == "parked Some(503)"), "{:?}", heard(&busy));
    let acknowledged = scene.now + Duration::from_secs(30);
    while heard(&busy).last().is_none_or(|word| word != "ready") {
        assert!(scene.now < acknowledged, "{:?}", heard(&busy));
        for output in scene.outputs() {
            if let Output::Submit { conn, .. } = output {
                scene.engine.submitted(scene.now, conn, Ok(()));
            }
        }
        scene.pass(Duration::from_millis(5));
    }
    assert!(heard(&busy).ends_with(&["parked None".into(), "ready".into()]), "{:?}", heard(&busy));
}

#[test]
fn a_caller_is_told_of_a_stream_that_is_refused_for_now_with_the_second_answer() {
    for status in [429, 502, 503] {
        let mut scene = Scene::new();
        let caller = listen(&mut scene, "posts/*", false);
        let patient = listen(&mut scene, "posts/*", true);
        let mut refused = 0;
        while heard(&caller).is_empty() {
            assert!(refused <= 2, "{status}");
            for output in scene.outputs() {
                if let Output::Open { conn, .. } = output {
                    refused += 1;
                    let refusal = Failure::Refused(Refusal::new(status, b"{}".to_vec(), None));
                    scene.engine.ended(scene.now, conn, Some(refusal));
                }
            }
            scene.pass(Duration::from_millis(5));
        }
        assert_eq!((refused, heard(&caller)), (2, vec![format!("end Some({status})")]));
        assert!(heard(&patient).is_empty());
    }
}
