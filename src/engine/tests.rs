//! Single decisions, each under a clock that the test moves.

use std::{cell::RefCell, rc::Rc};

use super::*;
use crate::{
    Refusal,
    engine::{
        dialect::{Failure, pocketbase::PocketBase, rustbaas::RustBaas},
        identity::jwt,
        stream::FINAL_AFTER,
    },
};

/// Remembers the actions of its events, and why it ended.
#[derive(Clone, Default)]
pub(super) struct Listener(pub(super) Rc<RefCell<Vec<String>>>);

impl Outlet for Listener {
    fn deliver(&self, event: Event) -> Delivered {
        self.0.borrow_mut().push(event.action().to_string());
        Delivered { wake: false, lost: 0, queued: 1 }
    }

    fn ready(&self) {
        self.0.borrow_mut().push("ready".into());
    }

    fn forget(&self) {
        self.0.borrow_mut().push("forget".into());
    }

    fn deny(&self, _error: Option<Error>) {}

    fn park(&self, error: Option<Error>) {
        self.0.borrow_mut().push(format!("parked {:?}", error.and_then(|error| error.status())));
    }

    fn end(&self, error: Option<Error>) {
        self.0.borrow_mut().push(format!("end {:?}", error.and_then(|error| error.status())));
    }
}

pub(super) struct Scene {
    pub(super) engine: Engine<Listener>,
    pub(super) now: Instant,
    pub(super) listener: Listener,
}

impl Scene {
    /// One patient listener, nothing connected.
    pub(super) fn new() -> Self {
        Self::with(PocketBase::default(), Config::default())
    }

    pub(super) fn with(dialect: impl Dialect + 'static, config: Config) -> Self {
        let mut engine = Engine::new(Arc::new(dialect), config, 7);
        let (now, listener) = (Instant::now(), Listener::default());
        engine.subscribe(now, &"posts/*".into(), listener.clone(), true, None).unwrap();
        Self { engine, now, listener }
    }

    /// Lets time pass, firing timers on the way.
    pub(super) fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(at) = self.engine.deadline(self.now).filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
        }
        self.now = until;
    }

    pub(super) fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.engine.poll_output()).collect()
    }

    pub(super) fn is_opening(&mut self) -> Option<(ConnId, Request)> {
        self.outputs().into_iter().find_map(|output| match output {
            Output::Open { conn, request, .. } => Some((conn, request)),
            _ => None,
        })
    }

    pub(super) fn opening(&mut self) -> (ConnId, Request) {
        self.is_opening().expect("a stream is being opened")
    }

    /// Lets time pass until the next stream is asked for, and makes that live.
    pub(super) fn renew(&mut self) -> ConnId {
        loop {
            let at = self.engine.deadline(self.now).expect("there is something to wait for");
            self.pass(at - self.now);
            if let Some((conn, _)) = self.is_opening() {
                self.shake_hands(conn);
                self.engine.submitted(self.now, conn, Ok(()));
                return conn;
            }
        }
    }

    /// Opens the stream that is asked for, up to the submit.
    pub(super) fn open(&mut self) -> ConnId {
        let (conn, _) = self.opening();
        self.shake_hands(conn);
        conn
    }

    pub(super) fn shake_hands(&mut self, conn: ConnId) {
        self.engine.opened(self.now, conn, Some("127.0.0.1:8090".parse().unwrap()));
        let hello = b"id:c\nevent:PB_CONNECT\ndata:{\"clientId\":\"c\"}\n\n";
        self.engine.received(self.now, conn, hello);
        self.pass(Duration::from_millis(10));
    }

    pub(super) fn live(&mut self) -> ConnId {
        let conn = self.open();
        self.engine.submitted(self.now, conn, Ok(()));
        assert!(self.engine.state().is_live());
        conn
    }
}

pub(super) fn refusal(status: u16, message: &str) -> Failure {
    let body = serde_json::json!({"message": message}).to_string();
    Failure::Refused(Refusal::new(status, body.into(), None))
}

#[test]
fn a_quiet_hour_raises_no_alarm() {
    let mut scene = Scene::new();
    let mut conn = scene.live();
    let mut quiet_since = scene.now;
    for _ in 0..12 {
        let next = scene.renew();
        let replaced = scene.now;
        // PocketBase ends a stream that was idle for five minutes; by then there is another.
        scene.pass(quiet_since + Duration::from_secs(300) - scene.now);
        quiet_since = replaced;
        scene.engine.ended(scene.now, conn, None);
        conn = next;
        assert!(scene.engine.state().is_live() && scene.engine.stats().streams == 1);
    }
    assert_eq!(*scene.listener.0.borrow(), ["ready"]);
    let Stats { disconnects, hand_overs, .. } = scene.engine.stats();
    assert_eq!(disconnects, Disconnects { ended_by_server: 12, ..Disconnects::default() });
    assert_eq!(hand_overs, 12);
}

#[test]
fn a_stream_that_was_replaced_and_broke_in_silence_is_a_gap() {
    let mut scene = Scene::new();
    let first = scene.live();
    let quiet_since = scene.now;
    scene.renew();
    scene.pass(quiet_since + Duration::from_secs(319) - scene.now);
    assert_eq!(scene.engine.stats().streams, 2);
    scene.pass(Duration::from_secs(2));
    assert_eq!(*scene.listener.0.borrow(), ["ready", "gap"]);
    assert!(scene.engine.state().is_live());
    assert_eq!(scene.engine.stats().disconnects.silence, 1);
    assert!(scene.now - quiet_since > Duration::from_secs(320));
    assert!(scene.outputs().iter().any(|out| matches!(out, Output::Drop { conn } if *conn == first)));
}

#[test]
fn a_busy_stream_is_replaced_before_the_server_ends_its_life() {
    let mut scene = Scene::new();
    let first = scene.live();
    let event = b"event:posts/*\ndata:{}\n\n";
    let began = scene.now;
    let mut events = 0;
    let next = loop {
        scene.engine.received(scene.now, first, event);
        events += 1;
        scene.pass(Duration::from_secs(4));
        if let Some((next, _)) = scene.is_opening() {
            break next;
        }
    };
    assert!(scene.now - began > Duration::from_secs(1600) && scene.now - began < Duration::from_secs(1790));
    scene.shake_hands(next);
    scene.engine.submitted(scene.now, next, Ok(()));
    // The copies of one event, and then one of which only one has come yet.
    scene.engine.received(scene.now, first, event);
    scene.engine.received(scene.now, next, event);
    scene.engine.received(scene.now, next, b"event:posts/*\ndata:{ }\n\n");
    let took = |scene: &Scene| scene.listener.0.borrow().len() - 1;
    assert_eq!(took(&scene), events + 2);
    scene.pass(pairing::OVERLAP);
    assert!(scene.outputs().iter().any(|out| matches!(out, Output::Drop { conn } if *conn == first)));
    scene.engine.received(scene.now, next, event);
    assert_eq!(took(&scene), events + 3);
    scene.pass(Duration::from_secs(10));
    assert!(scene.engine.sessions.values().all(|session| session.pairing.is_none()));
}

#[test]
fn a_set_that_changes_while_events_come_goes_to_another_stream() {
    let mut scene = Scene::new();
    let first = scene.live();
    scene.engine.received(scene.now, first, b"event:posts/*\ndata:{}\n\n");
    let other = Listener::default();
    scene.engine.subscribe(scene.now, &"other".into(), other.clone(), false, None).unwrap();
    scene.pass(Duration::from_millis(10));
    let second = scene.open();
    assert_ne!(first, second);
    assert!(other.0.borrow().is_empty());
    scene.engine.submitted(scene.now, second, Ok(()));
    assert_eq!(*other.0.borrow(), ["ready"]);
    scene.outputs();
    let is_to = |conn| move |out: &Output| matches!(out, Output::Submit { conn: to, .. } if *to == conn);
    // The first has shown nothing since: it may be dead, and the next change is made in place.
    scene.engine.subscribe(scene.now, &"third".into(), Listener::default(), false, None).unwrap();
    scene.pass(Duration::from_millis(500));
    assert!(!scene.outputs().iter().any(is_to(second)), "it may show in a moment that it is not");
    scene.pass(Duration::from_millis(510));
    assert!(scene.outputs().iter().any(is_to(second)));
    scene.engine.submitted(scene.now, second, Ok(()));
    // What it brings may have been on its way for long, until it is what the other brings too.
    scene.engine.received(scene.now, first, b"event:posts/*\ndata:{ }\n\n");
    assert!(scene.engine.sessions.values().all(|session| !session.second.as_ref().unwrap().is_sound()));
    scene.engine.received(scene.now, second, b"event:posts/*\ndata:{ }\n\n");
    // It takes its turn.
    scene.engine.subscribe(scene.now, &"fourth".into(), Listener::default(), false, None).unwrap();
    scene.pass(Duration::from_millis(10));
    assert!(scene.outputs().iter().any(is_to(first)));
    // What fails there is tried where it is known to work, and the first is read on.
    scene.engine.submitted(scene.now, first, Err(refusal(503, "busy")));
    scene.pass(Duration::from_millis(400));
    let outputs = scene.outputs();
    assert!(!outputs.iter().any(|out| matches!(out, Output::Drop { .. })));
    assert!(outputs.iter().any(is_to(second)));
    assert!(scene.engine.state().is_live());
    assert_eq!(scene.engine.stats().hand_overs, 1);
}

#[test]
fn silence_beyond_the_servers_own_limit_is_a_dead_link() {
    let mut scene = Scene::new();
    scene.live();
    scene.pass(Duration::from_secs(319));
    assert!(scene.engine.state().is_live());
    // A second stream was tried before, and was not answered either.
    scene.outputs();
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.engine.stats().disconnects.silence, 1);
    scene.pass(Duration::from_secs(1));
    scene.live();
    assert_eq!(*scene.listener.0.borrow(), ["ready", "gap"]);
}

#[test]
fn a_machine_that_slept_suspects_its_link() {
    let mut scene = Scene::new();
    scene.live();
    let wall = SystemTime::now();
    scene.engine.look_at_clocks(scene.now, wall);
    // The clock on the wall is set by a few seconds now and then.
    scene.engine.look_at_clocks(scene.now + Duration::from_secs(15), wall + Duration::from_secs(20));
    assert!(scene.engine.state().is_live());
    scene.engine.look_at_clocks(scene.now + Duration::from_secs(30), wall + Duration::from_secs(3600));
    assert_eq!(scene.engine.stats().disconnects.suspected, 1);
}

#[test]
fn the_clocks_are_compared_while_there_is_a_stream_and_only_then() {
    let mut scene = Scene::new();
    scene.engine.look_at_clocks(scene.now, SystemTime::now());
    scene.live();
    assert!(scene.engine.deadline(scene.now).unwrap() <= scene.now + CLOCK_INTERVAL);
    scene.engine.unsubscribe_where(scene.now, |_| true);
    scene.pass(Duration::from_millis(10));
    assert_eq!(scene.engine.deadline(scene.now), None);
}

#[test]
fn a_stream_refused_for_its_address_is_opened_again_at_the_address_it_had() {
    let mut scene = Scene::new();
    let (_, request) = {
        let conn = scene.open();
        let submit = scene.outputs().into_iter().find_map(|output| match output {
            Output::Submit { request, .. } => Some(request),
            _ => None,
        });
        // A submit goes where the stream came from in any case.
        assert_eq!(submit.unwrap().pin, Some("127.0.0.1:8090".parse().unwrap()));
        scene.engine.submitted(scene.now, conn, Err(refusal(400, "Invalid realtime client.")));
        scene.pass(Duration::from_secs(1));
        scene.opening()
    };
    assert_eq!(request.pin, Some("127.0.0.1:8090".parse().unwrap()));
}

#[test]
fn a_final_answer_is_believed_at_once_by_a_new_client_and_after_a_while_by_one_that_was_live() {
    let mut scene = Scene::new();
    let (conn, _) = scene.opening();
    scene.engine.ended(scene.now, conn, Some(refusal(404, "")));
    assert_eq!(*scene.listener.0.borrow(), ["end Some(404)"]);
    assert!(matches!(scene.engine.state(), State::Closed { why: Some(_) }));

    let mut scene = Scene::new();
    let conn = scene.live();
    scene.engine.ended(scene.now, conn, None);
    let began = scene.now;
    while !scene.engine.state().is_closed() {
        scene.pass(Duration::from_secs(1));
        for output in scene.outputs() {
            if let Output::Open { conn, .. } = output {
                scene.engine.ended(scene.now, conn, Some(refusal(404, "")));
            }
        }
        assert!(scene.now < began + Duration::from_secs(120), "{:?}", scene.engine.state());
    }
    assert!(scene.now >= began + FINAL_AFTER);
}

#[test]
fn a_suspected_link_of_a_user_is_asked_and_given_up_without_an_answer() {
    let mut scene = Scene::new();
    scene.engine.set_token(scene.now, Some(jwt("a")), None);
    let conn = scene.live();
    scene.pass(Duration::from_millis(1));
    scene.engine.submitted(scene.now, conn, Err(refusal(403, "… authorization don't match.")));
    assert_eq!(scene.engine.stats().probes, 1);
    scene.outputs();
    scene.engine.suspect(scene.now);
    let probe = scene.outputs().into_iter().find_map(|output| match output {
        Output::Submit { token, request, .. } => Some((token, request)),
        _ => None,
    });
    let (token, request) = probe.expect("a probe");
    assert!(token.is_none() && String::from_utf8(request.body.unwrap()).unwrap().contains("posts/*"));
    scene.pass(SUSPICION + Duration::from_millis(1));
    assert_eq!(scene.engine.stats().disconnects.lost, 1);
}

#[test]
fn a_topic_that_moved_to_another_stream_is_not_acknowledged_by_the_first() {
    let mut scene = Scene::with(PocketBase { capacity: (2, 1000) }, Config::default());
    let subscribe = |scene: &mut Scene, topic: &str| {
        let listener = Listener::default();
        let id = scene.engine.subscribe(scene.now, &topic.into(), listener.clone(), true, None).unwrap();
        (id, listener)
    };
    let (moved, _) = subscribe(&mut scene, "moved/*");
    let conn = scene.open();
    // While both are under way, one is given up, its place is taken, and it is taken up again.
    scene.engine.unsubscribe(scene.now, moved);
    subscribe(&mut scene, "other/*");
    let (_, again) = subscribe(&mut scene, "moved/*");
    scene.engine.submitted(scene.now, conn, Ok(()));
    assert_eq!(*scene.listener.0.borrow(), ["ready"]);
    assert!(again.0.borrow().is_empty(), "{:?}", again.0.borrow());
}

#[test]
fn a_provider_of_tokens_that_the_server_does_not_take_is_asked_less_and_less_often() {
    let config = Config { has_provider: true, ..Config::default() };
    let mut scene = Scene::with(PocketBase::default(), config);
    let end = scene.now + Duration::from_secs(60);
    let mut asked = 0;
    while scene.now < end {
        for output in scene.outputs() {
            match output {
                Output::WantToken => {
                    asked += 1;
                    let token = Token::new(&format!("{}{asked}", jwt("a").as_str())).unwrap();
                    scene.engine.token_provided(scene.now, Ok(Some(token)), None);
                }
                Output::Open { conn, .. } => {
                    scene.engine.opened(scene.now, conn, None);
                    let hello = b"id:c\nevent:PB_CONNECT\ndata:{\"clientId\":\"c\"}\n\n";
                    scene.engine.received(scene.now, conn, hello);
                }
                // With a token or without: to this server it is a guest.
                Output::Submit { conn, .. } => scene.engine.submitted(scene.now, conn, Ok(())),
                _ => {}
            }
        }
        scene.pass(Duration::from_millis(10));
    }
    assert!((3..10).contains(&asked), "asked {asked} times in a minute");
}

#[test]
fn a_burst_whose_host_gets_little_time_makes_one_more_submit() {
    let mut scene = Scene::new();
    let conn = scene.open();
    for n in 0..15 {
        let key = format!("posts/{n}").as_str().into();
        scene.engine.subscribe(scene.now, &key, scene.listener.clone(), true, None).unwrap();
        scene.pass(Duration::from_millis(5));
        scene.engine.submitted(scene.now, conn, Ok(()));
    }
    scene.pass(Duration::from_millis(20));
    assert_eq!(scene.engine.stats().submits, 2);
}

#[test]
fn a_stream_that_finds_the_server_back_hastens_the_others() {
    let mut scene = Scene::with(PocketBase { capacity: (1, 900_000) }, Config::default());
    scene.engine.subscribe(scene.now, &"tasks/*".into(), Listener::default(), true, None).unwrap();
    // The server is away for so long that the delays have grown.
    let found = loop {
        let mut opening: Vec<ConnId> = Vec::new();
        while opening.is_empty() {
            scene.pass(Duration::from_millis(250));
            opening.extend(scene.outputs().into_iter().filter_map(|output| match output {
                Output::Open { conn, .. } => Some(conn),
                _ => None,
            }));
        }
        let waits_long =
            scene.engine.deadline(scene.now).is_none_or(|at| at > scene.now + 4 * backoff::PROMPT);
        if opening.len() == 1 && waits_long {
            break opening[0];
        }
        for conn in opening {
            let refused = Failure::Lost(Error::Protocol("nobody is there".into()));
            scene.engine.ended(scene.now, conn, Some(refused));
        }
    };
    scene.engine.opened(scene.now, found, None);
    scene.pass(backoff::PROMPT);
    let (other, _) = scene.opening();
    assert_ne!(other, found);
}

#[test]
fn a_final_answer_counts_anew_after_any_other_failure() {
    let mut scene = Scene::new();
    let conn = scene.live();
    scene.engine.ended(scene.now, conn, None);
    let began = scene.now;
    let mut answers = [404].into_iter().chain(std::iter::repeat(503));
    while scene.now < began + 2 * FINAL_AFTER {
        scene.pass(Duration::from_secs(1));
        for output in scene.outputs() {
            if let Output::Open { conn, .. } = output {
                scene.engine.ended(scene.now, conn, Some(refusal(answers.next().unwrap(), "")));
            }
        }
    }
    let (conn, _) = loop {
        scene.pass(Duration::from_secs(1));
        if let Some(Output::Open { conn, .. }) = scene.engine.poll_output() {
            break (conn, ());
        }
    };
    scene.engine.ended(scene.now, conn, Some(refusal(404, "")));
    assert!(!scene.engine.state().is_closed(), "{:?}", scene.engine.state());
}

#[test]
fn a_refusal_of_places_that_are_not_in_the_list_is_one_of_the_topic() {
    let mut scene = Scene::new();
    let conn = scene.open();
    scene.outputs();
    let body = br#"{"data":{"subscriptions":{"7":{"code":"validation_length_too_long"}}},"message":"no","status":400}"#;
    let refusal = Failure::Refused(Refusal::new(400, body.to_vec(), None));
    scene.engine.submitted(scene.now, conn, Err(refusal));
    assert_eq!(*scene.listener.0.borrow(), ["end Some(400)"]);
    assert!(!scene.outputs().iter().any(|output| matches!(output, Output::Submit { .. })));
}

#[test]
fn a_probe_that_something_on_the_way_answers_says_nothing() {
    let mut scene = Scene::new();
    scene.engine.set_token(scene.now, Some(jwt("a")), None);
    let conn = scene.live();
    scene.pass(Duration::from_millis(1));
    assert_eq!(scene.engine.stats().probes, 1);
    scene.engine.submitted(scene.now, conn, Err(refusal(404, "")));
    assert!(matches!(scene.engine.state(), State::Live), "{:?}", scene.engine.state());
}

#[test]
fn a_token_that_outlasts_the_clock_does_not_expire() {
    let mut scene = Scene::new();
    scene.engine.set_token(scene.now, Some(jwt("a")), Some(Duration::MAX));
    scene.live();
    assert!(matches!(scene.engine.state(), State::Live), "{:?}", scene.engine.state());
}

#[test]
fn a_token_known_to_be_revoked_makes_no_gap_with_each_submit() {
    let mut scene = Scene::new();
    scene.engine.set_token(scene.now, Some(jwt("a")), None);
    let conn = scene.live();
    // The probe, the token once more, and the probe of that.
    for _ in 0..3 {
        scene.pass(Duration::from_millis(100));
        scene.engine.submitted(scene.now, conn, Ok(()));
    }
    assert!(matches!(scene.engine.state(), State::Unauthenticated { .. }), "{:?}", scene.engine.state());
    let before = scene.listener.0.borrow().len();
    for name in ["a/*", "b/*"] {
        scene.engine.subscribe(scene.now, &name.into(), Listener::default(), true, None).unwrap();
        scene.pass(Duration::from_secs(1));
        scene.engine.submitted(scene.now, conn, Ok(()));
    }
    assert_eq!(scene.listener.0.borrow()[before..], [""; 0], "nobody's identity changed");
}

#[test]
fn what_waits_for_one_user_is_not_for_another() {
    let mut scene = Scene::new();
    let forgets = |scene: &Scene| scene.listener.0.borrow().iter().filter(|entry| *entry == "forget").count();
    for (id, expected) in [(Some("a"), 0), (Some("a"), 0), (Some("b"), 1), (None, 2), (Some("b"), 2)] {
        scene.engine.set_token(scene.now, id.map(jwt), None);
        assert_eq!(forgets(&scene), expected, "{id:?}");
    }
}

#[test]
fn a_new_token_does_not_shorten_the_wait_that_a_busy_server_asks_for() {
    let rustbaas = RustBaas {
        place: dialect::rustbaas::Place::Realm("r".into()),
        app: "a".into(),
        token_in_query: false,
        heartbeat: dialect::rustbaas::HEARTBEAT,
    };
    let mut scene = Scene::with(rustbaas, Config::default());
    let (conn, _) = scene.opening();
    let busy = Failure::Refused(Refusal::new(429, b"{}".to_vec(), Some(Duration::from_secs(10))));
    scene.engine.ended(scene.now, conn, Some(busy));
    scene.engine.set_token(scene.now, Some(jwt("a")), None);
    assert!(scene.is_opening().is_none());
    scene.pass(Duration::from_secs(10));
    let (conn, _) = scene.opening();
    // A token that is not taken is another matter.
    scene.engine.opened(scene.now, conn, None);
    scene.engine.ended(scene.now, conn, None);
    scene.pass(Duration::from_secs(1));
    let (conn, _) = scene.opening();
    scene.engine.ended(scene.now, conn, Some(refusal(401, "expired")));
    assert!(scene.is_opening().is_none());
    scene.engine.set_token(scene.now, Some(jwt("a")), None);
    scene.opening();
}

/// A stream on which an event has just come, and a second one being opened for a topic of `other`.
fn changing(other: &Listener, patience: Duration) -> (Scene, ConnId, ConnId) {
    let mut scene = Scene::new();
    let first = scene.live();
    scene.engine.received(scene.now, first, b"event:posts/*\ndata:{}\n\n");
    let id = scene.engine.subscribe(scene.now, &"other".into(), other.clone(), false, None).unwrap();
    scene.engine.set_patience(scene.now, id, patience);
    scene.pass(Duration::from_millis(10));
    let (second, _) = scene.opening();
    (scene, first, second)
}

fn submitted_to(scene: &mut Scene) -> Vec<ConnId> {
    let to = |output| match output {
        Output::Submit { conn, .. } => Some(conn),
        _ => None,
    };
    scene.outputs().into_iter().filter_map(to).collect()
}

#[test]
fn a_topic_that_a_second_stream_does_not_get_is_told_and_the_others_go_on() {
    let other = Listener::default();
    let (mut scene, _, second) = changing(&other, Duration::from_secs(30));
    scene.shake_hands(second);
    assert_eq!(submitted_to(&mut scene), [second]);
    let body = r#"{"message":"x","data":{"subscriptions":{"1":{"code":"c"}}}}"#;
    let refused = Failure::Refused(Refusal::new(400, body.into(), None));
    scene.engine.submitted(scene.now, second, Err(refused));
    assert_eq!(*other.0.borrow(), ["end Some(400)"]);
    assert_eq!(submitted_to(&mut scene), [second]);
    scene.engine.submitted(scene.now, second, Ok(()));
    assert_eq!(scene.engine.stats().hand_overs, 1);
}

#[test]
fn a_server_that_is_too_busy_for_a_second_stream_is_left_alone() {
    let other = Listener::default();
    let (mut scene, first, second) = changing(&other, Duration::from_secs(30));
    let busy = || Failure::Refused(Refusal::new(429, b"{}".to_vec(), Some(Duration::from_secs(600))));
    scene.engine.ended(scene.now, second, Some(busy()));
    assert_eq!(submitted_to(&mut scene), [first]);
    scene.engine.submitted(scene.now, first, Ok(()));
    assert_eq!(*other.0.borrow(), ["ready"]);
    for after in [100, 290, 205] {
        scene.pass(Duration::from_secs(after));
        scene.engine.received(scene.now, first, b"event:posts/*\ndata:{}\n\n");
        let topic = format!("after {after}").as_str().into();
        scene.engine.subscribe(scene.now, &topic, Listener::default(), true, None).unwrap();
        scene.pass(Duration::from_millis(10));
        assert_eq!(submitted_to(&mut scene), [first]);
        scene.engine.submitted(scene.now, first, Ok(()));
    }
    // And where it says so of the topics, these wait as long too.
    scene.pass(Duration::from_secs(5));
    scene.engine.subscribe(scene.now, &"last".into(), Listener::default(), true, None).unwrap();
    scene.pass(Duration::from_millis(10));
    let (second, _) = scene.opening();
    scene.shake_hands(second);
    assert_eq!(submitted_to(&mut scene), [second]);
    scene.engine.submitted(scene.now, second, Err(busy()));
    for _ in 0..3 {
        scene.pass(Duration::from_secs(199));
        scene.engine.received(scene.now, first, b"event:posts/*\ndata:{}\n\n");
    }
    assert!(submitted_to(&mut scene).is_empty());
    scene.pass(Duration::from_secs(4));
    let (second, _) = scene.opening();
    scene.shake_hands(second);
    assert_eq!(submitted_to(&mut scene), [second]);
}

#[test]
fn a_second_stream_is_not_waited_for_until_the_caller_has_left() {
    let other = Listener::default();
    let (mut scene, first, _) = changing(&other, Duration::from_secs(3));
    scene.pass(Duration::from_secs(2));
    assert_eq!(submitted_to(&mut scene), [first]);
    scene.engine.submitted(scene.now, first, Ok(()));
    assert_eq!(*other.0.borrow(), ["ready"]);
}
