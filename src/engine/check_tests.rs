//! Whether a topic can deliver anything: what is asked, when, and who learns of the answer.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use super::{
    dialect::{Dialect, Failure, pocketbase::PocketBase},
    identity::jwt,
    *,
};
use crate::{Refusal, topic::Topic};

/// Writes down what it is told.
#[derive(Clone, Debug, Default)]
struct Listener(Rc<RefCell<Vec<String>>>);

impl Outlet for Listener {
    fn deliver(&self, event: Event) -> Delivered {
        self.0.borrow_mut().push(event.action().to_string());
        Delivered { wake: false, lost: 0, queued: 1 }
    }

    fn ready(&self) {
        self.0.borrow_mut().push("ready".into());
    }

    fn forget(&self) {}

    fn deny(&self, error: Option<Error>) {
        self.0.borrow_mut().push(format!("denied {:?}", error.and_then(|error| error.status())));
    }

    fn park(&self, _error: Option<Error>) {}

    fn end(&self, error: Option<Error>) {
        self.0.borrow_mut().push(format!("end {:?}", error.and_then(|error| error.status())));
    }
}

impl Listener {
    fn is(&self, seen: &[&str]) -> bool {
        *self.0.borrow() == seen
    }
}

struct Scene {
    engine: Engine<Listener>,
    now: Instant,
    conn: Option<ConnId>,
    /// Questions that wait for an answer.
    asked: Vec<(u64, String, bool)>,
    denied: Vec<String>,
    submits: usize,
}

impl Scene {
    fn new() -> Self {
        let engine = Engine::new(Arc::new(PocketBase::default()), Config::default(), 7);
        Self { engine, now: Instant::now(), conn: None, asked: Vec::new(), denied: Vec::new(), submits: 0 }
    }

    fn subscribe(&mut self, name: &str, filter: Option<&str>, patient: bool) -> Listener {
        let mut topic = Topic::new(name);
        topic.query.extend(filter.map(|filter| ("filter".to_owned(), filter.to_owned())));
        let dialect = PocketBase::default();
        let (key, check) = (dialect.key(&topic).unwrap(), dialect.check(&topic));
        let listener = Listener::default();
        self.engine.subscribe(self.now, &key, listener.clone(), patient, check).unwrap();
        self.work();
        listener
    }

    /// Does what the engine wants; opens streams at once, and leaves submits and checks unanswered.
    fn work(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Open { conn, .. } => {
                    self.conn = Some(conn);
                    self.engine.opened(self.now, conn, None);
                    self.engine.received(
                        self.now,
                        conn,
                        b"id:c\nevent:PB_CONNECT\ndata:{\"clientId\":\"c\"}\n\n",
                    );
                }
                Output::Submit { .. } => self.submits += 1,
                Output::Check { number, request, token } => {
                    self.asked.push((number, request.path, token.is_some()));
                }
                Output::Denied { topic, .. } => self.denied.push(topic.to_string()),
                _ => {}
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(at) = self.engine.deadline(self.now).filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            self.work();
        }
        self.now = until;
    }

    /// The server acknowledges the topics.
    fn acknowledge(&mut self) {
        self.pass(Duration::from_millis(200));
        for _ in 0..std::mem::take(&mut self.submits) {
            self.engine.submitted(self.now, self.conn.unwrap(), Ok(()));
        }
        self.work();
    }

    fn answer(&mut self, answer: Result<(), Failure>) {
        let (number, ..) = self.asked.remove(0);
        self.engine.checked(self.now, number, answer);
        self.work();
    }
}

fn refused(status: u16, message: &str) -> Result<(), Failure> {
    let body = serde_json::json!({"message": message, "status": status, "data": {}}).to_string();
    Err(Failure::Refused(Refusal::new(status, body.into(), None)))
}

#[test]
fn a_caller_waits_for_the_acknowledgement_and_for_the_list_in_either_order() {
    for ack_first in [true, false] {
        let mut scene = Scene::new();
        let listener = scene.subscribe("posts/*", Some("a = \"x y\""), false);
        scene.pass(Duration::from_millis(200));
        assert_eq!(scene.submits, 1);
        assert_eq!(
            scene.asked[0].1,
            "/api/collections/posts/records?perPage=1&skipTotal=1&fields=id&filter=a%20%3D%20%22x%20y%22",
            "asked beside the submit"
        );
        let mut steps: [fn(&mut Scene); 2] = [Scene::acknowledge, |scene| scene.answer(Ok(()))];
        if !ack_first {
            steps.reverse();
        }
        steps[0](&mut scene);
        assert!(listener.is(&[]));
        steps[1](&mut scene);
        assert!(listener.is(&["ready"]));
    }
}

#[test]
fn a_refusal_fails_who_waits_and_nobody_else() {
    for (status, message) in [
        (404, "Missing collection context."),
        (403, "Only superusers can perform this action."),
        (400, "Bad."),
    ] {
        let mut scene = Scene::new();
        let good = scene.subscribe("posts/*", None, false);
        let bad = scene.subscribe("secrets/*", None, false);
        scene.acknowledge();
        scene.answer(Ok(()));
        scene.answer(refused(status, message));
        assert!(good.is(&["ready"]), "{good:?}");
        assert!(bad.is(&[&format!("end Some({status})")]), "{bad:?}");
        assert_eq!(scene.engine.stats().listeners, 1);
        // Nothing of it is remembered: the collection may be made the next moment.
        let again = scene.subscribe("secrets/*", None, false);
        scene.acknowledge();
        scene.answer(Ok(()));
        assert!(again.is(&["ready"]));
    }
}

#[test]
fn what_may_pass_and_what_is_not_the_servers_own_answer_fails_nothing() {
    let proxy = Failure::Refused(Refusal::new(404, br#"{"message":"no Route matched"}"#.to_vec(), None));
    let elsewhere = refused(404, "The requested resource wasn't found.");
    let lost = Failure::Lost(Error::Timeout { what: "it".into(), after: Duration::from_secs(10) });
    for answer in
        [refused(429, "Too Many Requests."), refused(503, "Busy."), Err(proxy), elsewhere, Err(lost)]
    {
        let mut scene = Scene::new();
        let listeners = [None, Some("a=1")].map(|filter| scene.subscribe("posts/*", filter, false));
        scene.acknowledge();
        scene.answer(answer.clone());
        assert!(listeners[0].is(&["ready"]), "{answer:?}");
        scene.answer(answer);
        // For half a minute nothing more is asked.
        let next = scene.subscribe("posts/*", Some("b=1"), false);
        scene.acknowledge();
        assert!(next.is(&["ready"]) && listeners[1].is(&["ready"]) && scene.asked.is_empty());
        scene.pass(Duration::from_secs(31));
        scene.subscribe("posts/*", Some("c=1"), false);
        scene.acknowledge();
        assert_eq!(scene.asked.len(), 1);
    }
}

#[test]
fn a_question_is_asked_once_for_all_who_have_it_and_its_answer_remembered_for_minutes() {
    let mut scene = Scene::new();
    let listeners: Vec<_> = (0..100).map(|_| scene.subscribe("posts/*", None, false)).collect();
    scene.acknowledge();
    assert_eq!(scene.asked.len(), 1);
    scene.answer(Ok(()));
    assert!(listeners.iter().all(|listener| listener.is(&["ready"])));
    assert!(scene.subscribe("posts/*", None, false).is(&["ready"]));
    // Of another topic with the same question.
    let record = scene.subscribe("posts/r1", None, false);
    scene.acknowledge();
    assert!(record.is(&["ready"]) && scene.asked.is_empty());
    scene.pass(Duration::from_secs(300));
    assert!(scene.subscribe("posts/*", None, false).is(&[]));
    assert_eq!(scene.asked.len(), 1);
}

#[test]
fn many_questions_wait_for_their_turn() {
    let mut scene = Scene::new();
    let listeners: Vec<_> =
        (0..100).map(|n| scene.subscribe("posts/*", Some(&format!("n={n}")), false)).collect();
    scene.acknowledge();
    let mut answered = 0;
    while !scene.asked.is_empty() {
        assert!(scene.asked.len() <= 8);
        scene.answer(Ok(()));
        answered += 1;
    }
    assert_eq!(answered, 100);
    assert!(listeners.iter().all(|listener| listener.is(&["ready"])));
}

#[test]
fn a_listener_that_does_not_wait_is_told_and_asked_for_again_as_another_user() {
    let mut scene = Scene::new();
    let listener = scene.subscribe("secrets/*", None, true);
    scene.acknowledge();
    assert!(listener.is(&["ready"]), "it is not held up");
    scene.answer(refused(403, "Only superusers can perform this action."));
    assert!(listener.is(&["ready", "denied Some(403)"]));
    assert_eq!(scene.denied, ["secrets/*"]);
    scene.acknowledge();
    assert!(scene.asked.is_empty());
    scene.engine.set_token(scene.now, Some(jwt("root")), None);
    scene.work();
    scene.acknowledge();
    let (.., with_token) = &scene.asked[0];
    assert!(with_token);
    scene.answer(Ok(()));
    assert!(listener.0.borrow().iter().any(|seen| seen == "denied None"), "{listener:?}");
}

#[test]
fn an_answer_to_who_the_client_was_is_not_believed() {
    let mut scene = Scene::new();
    let listener = scene.subscribe("secrets/*", None, false);
    scene.acknowledge();
    scene.engine.set_token(scene.now, Some(jwt("root")), None);
    scene.answer(refused(403, "Only superusers can perform this action."));
    assert!(listener.is(&[]));
    let (.., with_token) = &scene.asked[0];
    assert!(with_token);
    scene.answer(Ok(()));
    scene.acknowledge();
    assert!(listener.0.borrow().contains(&"ready".into()), "{listener:?}");
}

#[test]
fn an_answer_that_does_not_come_fails_no_caller() {
    let mut scene = Scene::new();
    let listener = scene.subscribe("posts/*", None, false);
    scene.acknowledge();
    scene.pass(Config::default().subscribe_timeout);
    assert!(listener.is(&["ready"]), "{listener:?}");
}

#[test]
fn of_a_records_topic_only_a_missing_collection_counts() {
    for (status, seen) in [(403, "ready"), (400, "ready"), (404, "end Some(404)")] {
        let mut scene = Scene::new();
        let listener = scene.subscribe("posts/r1", Some("a=1"), false);
        scene.acknowledge();
        assert!(!scene.asked[0].1.contains("filter"));
        scene.answer(refused(status, "Missing collection context."));
        assert!(listener.is(&[seen]), "{status}: {listener:?}");
    }
}

#[test]
fn nothing_is_asked_about_other_topics_or_where_the_host_does_not_want_it() {
    let dialect = PocketBase::default();
    assert_eq!(dialect.check(&Topic::new("jobs")), None);
    let mut topic = Topic::new("posts/*");
    topic.headers.insert("x_token".into(), "1".into());
    assert_eq!(dialect.check(&topic), None);

    let config = Config { verify_topics: false, ..Config::default() };
    let mut scene = Scene::new();
    scene.engine = Engine::new(Arc::new(PocketBase::default()), config, 7);
    let listener = scene.subscribe("posts/*", None, false);
    scene.acknowledge();
    assert!(listener.is(&["ready"]) && scene.asked.is_empty());
}

/// In any order of acknowledgements, answers, lost streams, changes of the user and callers that go away.
#[test]
fn every_caller_gets_one_answer_in_any_schedule() {
    for seed in 0..2_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut scene = Scene::new();
        let mut listeners = Vec::new();
        for step in 0..40 {
            match rng.u8(..8) {
                0 | 1 => {
                    let filter = rng.bool().then(|| format!("n={}", rng.u8(..4)));
                    let patient = rng.bool();
                    listeners.push((patient, scene.subscribe("posts/*", filter.as_deref(), patient)));
                }
                2 | 3 => scene.acknowledge(),
                4 if !scene.asked.is_empty() => scene.answer(match rng.u8(..4) {
                    0 => refused(403, "No."),
                    1 => refused(503, "Busy."),
                    _ => Ok(()),
                }),
                5 => {
                    if let Some(conn) = scene.conn {
                        scene.engine.ended(scene.now, conn, None);
                    }
                }
                6 => {
                    let token = rng.bool().then(|| jwt(["a", "b"][rng.usize(..2)]));
                    scene.engine.set_token(scene.now, token, None);
                    scene.work();
                }
                _ => scene.pass(Duration::from_secs(rng.u64(..3))),
            }
            scene.work();
            assert!(scene.asked.len() <= 8, "seed {seed}, step {step}");
        }
        for _ in 0..200 {
            scene.pass(Duration::from_secs(1));
            scene.acknowledge();
            while !scene.asked.is_empty() {
                scene.answer(Ok(()));
            }
        }
        for (patient, listener) in &listeners {
            let seen = listener.0.borrow();
            let count = |what: &str| seen.iter().filter(|seen| seen.starts_with(what)).count();
            assert!(count("ready") <= 1 && count("ready") + count("end") >= 1, "seed {seed}: {seen:?}");
            assert!(!patient || count("end") == 0, "seed {seed}: {seen:?}");
        }
        assert!(scene.engine.checks_are_settled(), "seed {seed}");
    }
}
