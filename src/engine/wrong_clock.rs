//! The clock of this machine is wrong, so that tokens look expired which the server takes, or good which it does not.

use super::{
    dialect::pocketbase::PocketBase,
    identity::jwt,
    tests::{Scene, refusal},
    *,
};

/// To a guest's submit, on a stream that is the user's.
fn is_users() -> dialect::Failure {
    refusal(403, "The current and the previous request authorization don't match.")
}

#[test]
fn a_token_that_looks_expired_is_taken_for_good_when_the_server_does() {
    let mut scene = Scene::new();
    scene.engine.set_token(scene.now, Some(jwt("a")), Some(Duration::ZERO));
    let conn = scene.live();
    scene.pass(Duration::from_millis(10));
    assert_eq!(scene.engine.stats().probes, 1);
    scene.engine.submitted(scene.now, conn, Err(is_users()));
    scene.pass(Duration::from_secs(60));
    assert!(scene.engine.state().is_live(), "{:?}", scene.engine.state());
}

#[test]
fn a_token_that_expires_by_our_clock_is_asked_about_and_goes_on_if_the_server_takes_it() {
    let mut scene = Scene::new();
    scene.engine.set_token(scene.now, Some(jwt("a")), Some(Duration::from_secs(60)));
    let conn = scene.live();
    scene.pass(Duration::from_millis(10));
    scene.engine.submitted(scene.now, conn, Err(is_users()));
    scene.pass(Duration::from_secs(61));
    assert_eq!(scene.engine.stats().probes, 2);
    assert!(scene.engine.state().is_live(), "nothing is known yet: {:?}", scene.engine.state());
    scene.engine.submitted(scene.now, conn, Err(is_users()));
    assert!(scene.engine.state().is_live());
    // And when the server does not: the token once more, and the proof of that.
    scene.engine.suspect(scene.now);
    for _ in 0..3 {
        scene.engine.submitted(scene.now, conn, Ok(()));
        scene.pass(Duration::from_millis(100));
    }
    let state = scene.engine.state();
    assert!(matches!(state, State::Unauthenticated { why: Reason::TokenExpired }), "{state:?}");
}

#[test]
fn a_provider_of_tokens_that_look_expired_is_asked_once_and_the_client_connects() {
    let config = Config { has_provider: true, ..Config::default() };
    let mut scene = Scene::with(PocketBase::default(), config);
    let end = scene.now + Duration::from_secs(200);
    let (mut asked, mut conn) = (0, None);
    while scene.now < end {
        for output in scene.outputs() {
            match output {
                Output::WantToken => {
                    asked += 1;
                    scene.engine.token_provided(scene.now, Ok(Some(jwt("a"))), Some(Duration::ZERO));
                }
                Output::Open { conn: opened, .. } => {
                    conn = Some(opened);
                    scene.shake_hands(opened);
                }
                Output::Submit { conn, token, .. } => {
                    let answer = if token.is_some() { Ok(()) } else { Err(is_users()) };
                    scene.engine.submitted(scene.now, conn, answer);
                }
                _ => {}
            }
        }
        scene.pass(Duration::from_millis(10));
    }
    assert!(conn.is_some() && scene.engine.state().is_live(), "{:?}", scene.engine.state());
    assert_eq!(asked, 1);
}
