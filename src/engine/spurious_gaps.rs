//! Streams that were replaced, and end: without a gap where nothing can be missing.

use super::{
    tests::{Listener, Scene, refusal},
    *,
};

const EVENT: &[u8] = b"event:posts/*\ndata:{}\n\n";

/// A guest whose set has changed after an event, so that another stream has taken over. Both.
fn replaced(scene: &mut Scene, other: &Listener) -> (ListenerId, ConnId, ConnId) {
    let first = scene.live();
    scene.outputs();
    scene.engine.received(scene.now, first, EVENT);
    let id = scene.engine.subscribe(scene.now, &"other".into(), other.clone(), true, None).unwrap();
    scene.pass(Duration::from_millis(10));
    let second = scene.open();
    scene.outputs();
    scene.engine.submitted(scene.now, second, Ok(()));
    assert_eq!(scene.engine.stats().streams, 2);
    (id, first, second)
}

fn gaps(listener: &Listener) -> usize {
    listener.0.borrow().iter().filter(|entry| *entry == "gap").count()
}

#[test]
fn a_login_beside_a_stream_that_was_replaced_is_one_gap() {
    let mut scene = Scene::new();
    let other = Listener::default();
    let (_, first, second) = replaced(&mut scene, &other);
    scene.pass(Duration::from_secs(5));
    scene.engine.set_token(scene.now, Some(identity::jwt("a")), None);
    scene.pass(Duration::from_millis(10));
    scene.engine.submitted(scene.now, second, Ok(()));
    // What the user may see was not sent before; nothing else can be missing.
    assert_eq!((gaps(&scene.listener), gaps(&other)), (1, 1));
    // The server ends the old one, which shows that its link was sound.
    scene.pass(Duration::from_millis(10));
    let users = refusal(403, "The current and the previous request authorization don't match.");
    scene.engine.submitted(scene.now, second, Err(users));
    scene.pass(Duration::from_secs(5));
    scene.engine.ended(scene.now, first, None);
    assert_eq!((gaps(&scene.listener), gaps(&other)), (1, 1));
    assert_eq!(
        scene.engine.stats().disconnects,
        Disconnects { ended_by_server: 1, ..Disconnects::default() }
    );
}

#[test]
fn a_stream_that_brings_only_what_nobody_wants_any_more_is_not_read_for_long() {
    let mut scene = Scene::new();
    let other = Listener::default();
    let (id, first, second) = replaced(&mut scene, &other);
    // The next change goes to a third stream or to the first again; here in place, since nothing has come on both.
    scene.engine.unsubscribe(scene.now, id);
    scene.pass(Duration::from_millis(1100));
    scene.engine.submitted(scene.now, second, Ok(()));
    let began = scene.now;
    while scene.engine.stats().streams == 2 {
        scene.engine.received(scene.now, first, b"event:dropped/*\ndata:{}\n\n");
        scene.pass(Duration::from_millis(100));
        assert!(scene.now < began + Duration::from_secs(40), "it is still read");
    }
    assert_eq!(gaps(&scene.listener), 0);
}

#[test]
fn a_stream_that_carries_nothing_wanted_is_closed_at_once() {
    let mut scene = Scene::new();
    let other = Listener::default();
    let (_, first, _) = replaced(&mut scene, &other);
    scene.outputs();
    // `other` is on the new stream alone.
    scene.engine.unsubscribe_where(scene.now, |key| key == "posts/*");
    let is_drop = |out: &Output| matches!(out, Output::Drop { conn } if *conn == first);
    assert!(scene.outputs().iter().any(is_drop));
    assert_eq!(gaps(&other), 0);
}
