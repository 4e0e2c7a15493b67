//! How soon a client is back after its stream is gone, and how often it tries: in virtual time.

use super::{
    dialect::{Failure, pocketbase::PocketBase},
    tests::{Listener, Scene, refusal},
    *,
};

/// From a request to its answer.
const LATENCY: Duration = Duration::from_millis(5);

/// What the server does to streams, as a driver would bring it.
struct Server {
    scene: Scene,
    /// Connections are refused, or time out after [`LATENCY`], until then.
    back: Instant,
    /// A stream that is acknowledged lives so long, and ends so.
    life: Duration,
    end: Option<Failure>,
    /// What comes, and when.
    coming: Vec<(Instant, Coming)>,
    /// When streams were asked for, and when they were live: from, to.
    tries: Vec<Instant>,
    live: Vec<(Instant, Instant)>,
}

enum Coming {
    Head(ConnId),
    Answer(ConnId),
    End(ConnId),
}

fn lost() -> Failure {
    Failure::Lost(Error::Protocol("the connection broke".into()))
}

impl Server {
    fn new(seed: u64, config: Config, life: Duration, end: Option<Failure>) -> Self {
        let mut engine = Engine::new(Arc::new(PocketBase::default()), config, seed);
        let (now, listener) = (Instant::now(), Listener::default());
        engine.subscribe(now, &"posts/*".into(), listener.clone(), true, None).unwrap();
        let scene = Scene { engine, now, listener };
        Self { scene, back: now, life, end, coming: Vec::new(), tries: Vec::new(), live: Vec::new() }
    }

    fn run(&mut self, span: Duration) {
        let until = self.scene.now + span;
        loop {
            self.obey();
            let now = self.scene.now;
            let next = self.coming.iter().map(|(at, _)| *at).chain(self.scene.engine.deadline(now)).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.scene.now = now.max(next);
            let now = self.scene.now;
            self.scene.engine.handle_timeout(now);
            if let Some(at) = self.coming.iter().position(|(at, _)| *at <= now) {
                let (_, coming) = self.coming.swap_remove(at);
                self.happen(coming);
            }
        }
        self.scene.now = until;
    }

    fn obey(&mut self) {
        let now = self.scene.now;
        for output in self.scene.outputs() {
            match output {
                Output::Open { conn, .. } => {
                    self.tries.push(now);
                    let coming = if now < self.back { Coming::End(conn) } else { Coming::Head(conn) };
                    self.coming.push((now + LATENCY, coming));
                }
                Output::Submit { conn, .. } => self.coming.push((now + LATENCY, Coming::Answer(conn))),
                Output::Drop { conn } => {
                    let is_of = |coming: &Coming| match coming {
                        Coming::Head(of) | Coming::Answer(of) | Coming::End(of) => *of == conn,
                    };
                    self.coming.retain(|(_, coming)| !is_of(coming));
                }
                _ => {}
            }
        }
    }

    fn happen(&mut self, coming: Coming) {
        let Scene { engine, now, .. } = &mut self.scene;
        let now = *now;
        match coming {
            Coming::Head(conn) => {
                engine.opened(now, conn, None);
                engine.received(now, conn, b"id:c\nevent:PB_CONNECT\ndata:{\"clientId\":\"c\"}\n\n");
            }
            Coming::Answer(conn) => {
                engine.submitted(now, conn, Ok(()));
                self.live.push((now, now + self.life));
                self.coming.push((now + self.life, Coming::End(conn)));
            }
            Coming::End(conn) if now < self.back => engine.ended(now, conn, Some(lost())),
            Coming::End(conn) => engine.ended(now, conn, self.end.clone()),
        }
    }

    /// How much of the time since it was first live nothing was heard.
    fn deaf(&self) -> Duration {
        let (began, _) = self.live[0];
        let heard = self.live.iter().map(|(from, to)| (*to).min(self.scene.now) - *from).sum();
        (self.scene.now - began).saturating_sub(heard)
    }

    fn tries_in(&self, minute: u32) -> usize {
        let from = self.tries[0] + minute * Duration::from_secs(60);
        self.tries.iter().filter(|at| (from..from + Duration::from_secs(60)).contains(*at)).count()
    }
}

/// Ten promptly, and then as a server that does not answer.
#[test]
fn a_server_that_acknowledges_and_ends_again_and_again_sees_back_off() {
    for end in [None, Some(lost()), Some(refusal(500, "oops"))] {
        for life in [0, 1, 100] {
            let life = Duration::from_millis(life);
            for seed in 0..20 {
                let mut server = Server::new(seed, Config::default(), life, end.clone());
                server.run(Duration::from_secs(600));
                let tries: Vec<_> = (0..10).map(|minute| server.tries_in(minute)).collect();
                assert!(
                    tries[0] <= 45 && tries[1..].iter().all(|tries| *tries <= 15),
                    "{end:?} {life:?} {tries:?}"
                );
                assert!(server.live.len() >= 10, "and it is not given up");
            }
        }
    }
}

#[test]
fn streams_cut_every_two_seconds_are_deaf_for_less_than_a_twentieth_of_a_minute() {
    for seed in 0..100 {
        for end in [None, Some(lost())] {
            let mut server = Server::new(seed, Config::default(), Duration::from_secs(2), end);
            server.run(Duration::from_secs(60));
            assert!(server.deaf() <= Duration::from_secs(3), "{:?}", server.deaf());
            // And however long that goes on, the one in three that was not earned waits 400 ms at most.
            server.run(Duration::from_secs(1200));
            assert!(server.deaf() <= Duration::from_secs(126), "{:?}", server.deaf());
        }
    }
}

#[test]
fn streams_ended_every_thirty_seconds_are_deaf_for_less_than_a_second_in_ninety() {
    for seed in 0..100 {
        let mut server = Server::new(seed, Config::default(), Duration::from_secs(30), None);
        server.run(Duration::from_secs(91));
        assert_eq!(server.live.len(), 4);
        assert!(server.deaf() < Duration::from_millis(500), "{:?}", server.deaf());
    }
}

#[test]
fn a_server_that_was_away_for_six_seconds_is_found_within_a_second_or_three() {
    let mut waits = Vec::new();
    for seed in 0..1000 {
        let mut server = Server::new(seed, Config::default(), Duration::from_secs(100), Some(lost()));
        server.run(Duration::from_secs(99));
        let back = server.live[0].1 + Duration::from_secs(6);
        server.back = back;
        server.run(Duration::from_secs(15));
        waits.push(server.live[1].0 - back);
    }
    waits.sort();
    let (median, most) = (waits[500], waits[999]);
    assert!(median < Duration::from_secs(1) && most < Duration::from_secs(3), "{median:?} {most:?}");
}

#[test]
fn what_submits_wait_is_not_what_streams_wait() {
    let mut scene = Scene::new();
    let conn = scene.open();
    for _ in 0..8 {
        scene.engine.submitted(scene.now, conn, Err(refusal(503, "busy")));
        scene.pass(Duration::from_secs(10));
    }
    scene.engine.submitted(scene.now, conn, Ok(()));
    assert!(scene.engine.state().is_live());
    scene.pass(Duration::from_secs(2));
    let lost_at = scene.now;
    scene.engine.ended(scene.now, conn, Some(lost()));
    let State::Waiting { until, .. } = scene.engine.state() else { panic!("{:?}", scene.engine.state()) };
    assert!(*until <= lost_at + Duration::from_millis(100), "{:?}", *until - lost_at);
}

/// Whatever ends a stream, and whoever asks: the least delay that the host has set is kept.
#[test]
fn every_reason_but_another_identity_keeps_the_delay_that_the_host_has_set() {
    let least = Duration::from_secs(5);
    let bounds = Bounds { min: least, max: Duration::from_secs(6) };
    type End = fn(&mut Scene, ConnId);
    let ends: [(&str, End); 6] = [
        ("ended", |scene, conn| scene.engine.ended(scene.now, conn, None)),
        ("lost", |scene, conn| scene.engine.ended(scene.now, conn, Some(lost()))),
        ("refused", |scene, conn| scene.engine.ended(scene.now, conn, Some(refusal(503, "busy")))),
        ("suspected", |scene, _| scene.engine.suspect(scene.now)),
        ("suspected while it waits", |scene, conn| {
            scene.engine.ended(scene.now, conn, None);
            scene.engine.suspect(scene.now);
        }),
        ("rejected", |scene, conn| {
            scene.engine.subscribe(scene.now, &"more".into(), Listener::default(), true, None).unwrap();
            scene.pass(Duration::from_millis(10));
            scene.engine.submitted(scene.now, conn, Err(refusal(404, "Missing or invalid client id.")));
        }),
    ];
    for (name, end) in ends {
        let config = Config { backoff: bounds, least_delay: least, ..Config::default() };
        let mut scene = Scene::with(PocketBase::default(), config);
        let conn = scene.live();
        scene.pass(Duration::from_secs(60));
        end(&mut scene, conn);
        let now = scene.now;
        match scene.engine.state() {
            State::Waiting { until, .. } => {
                assert!((least..=bounds.max).contains(&(*until - now)), "{name}: {:?}", *until - now);
            }
            state => panic!("{name}: {state:?}"),
        }
    }
}

/// A client that was live and whose server has been away for so long.
fn away(span: Duration) -> Server {
    let mut server = Server::new(3, Config::default(), Duration::from_secs(10), Some(lost()));
    server.run(Duration::from_secs(9));
    server.back = server.scene.now + Duration::from_secs(3600);
    server.run(Duration::from_secs(2) + span);
    assert!(!server.scene.engine.state().is_live());
    server
}

fn ask(server: &mut Server, patient: bool) -> Listener {
    let listener = Listener::default();
    let now = server.scene.now;
    server.scene.engine.subscribe(now, &"other".into(), listener.clone(), patient, None).unwrap();
    listener
}

#[test]
fn a_caller_hears_at_once_that_the_server_cannot_be_reached_though_it_once_was() {
    for away_for in [0, 1, 7, 60, 600] {
        let mut server = away(Duration::from_secs(away_for));
        // More often than there are prompt tries; the rest hears what is known.
        for n in 0..20 {
            let before = server.tries.len();
            let (caller, patient) = (ask(&mut server, false), ask(&mut server, true));
            server.run(Duration::from_millis(300));
            assert_eq!(*caller.0.borrow(), ["end None"], "{away_for} s, caller {n}");
            assert!(patient.0.borrow().is_empty(), "one who is patient waits");
            assert!(server.tries.len() <= before + 3);
        }
        let tries = server.tries.iter().filter(|at| **at + Duration::from_secs(6) > server.scene.now).count();
        assert!(tries <= 10 + 10, "{tries} tries in six seconds");
    }
}

#[test]
fn a_caller_waits_for_the_try_that_follows_the_loss_of_a_stream() {
    let mut server = Server::new(3, Config::default(), Duration::from_secs(10), Some(lost()));
    server.run(Duration::from_secs(9));
    let end = server.live[0].1;
    server.run(end - server.scene.now);
    assert!(!server.scene.engine.state().is_live());
    let caller = ask(&mut server, false);
    server.run(Duration::from_millis(200));
    assert_eq!(*caller.0.borrow(), ["ready"]);
}
