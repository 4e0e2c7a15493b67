//! States × inputs: what each input does to a session in each state, without a hole.
//!
//! A cell is the state after the input, `·` where nothing changes. `+` says that the driver is asked for something, `-` that
//! the listener hears of it: of a gap or of its end. Time stands still, so what an input makes due comes in row `time`, which
//! passes until the next deadline.
//!
//! The states are named by matches over [`Link`], [`Phase`], [`Submit`] and [`Life`] that a new variant does not pass, and
//! the inputs by one over [`Input`]; a state or an input without its cells fails the test. In the columns `next`, `replaced`
//! and `again` the inputs of the network are those of the second stream.

use super::{
    conn::{Phase, Submit},
    second::Life,
    session::Link,
    tests::{Listener, Scene, refusal},
    *,
};
use crate::engine::{
    dialect::{
        Failure,
        pocketbase::PocketBase,
        rustbaas::{self, RustBaas},
    },
    identity::jwt,
};

#[rustfmt::skip]
const TABLE: &str = "
            none      idle      backoff   connect   shake     open      submit    later     live      change    probe     next      old       again     closed
subscribe   connect+  ·         ·         ·         ·         ·         ·         ·         ·         ·         ·         ·         ·         ·         ·
unsubscribe ·         none-     none-     connect-  shake-    open-     submit-   later-    live-     change-   probe-    next-     live+-    again-    ·
set_token   ·         connect+  ·         ·         ·         ·         ·         ·         change+   ·         ·         ·         ·         ·         ·
other user  ·         connect+  ·         ·         ·         ·         connect+  connect+  connect+  connect+  connect+  connect+  connect+  connect+  ·
suspect     ·         ·         backoff   backoff+  backoff+  backoff+  ·         ·         probe+    ·         ·         ·         old+      ·         ·
close       closed    closed-   closed-   closed+-  closed+-  closed+-  closed+-  closed+-  closed+-  closed+-  closed+-  closed+-  closed+-  closed+-  ·
opened      ·         ·         ·         shake     ·         ·         ·         ·         ·         ·         ·         ·         ·         ·         ·
handshake   ·         ·         ·         ·         open      ·         ·         ·         ·         ·         ·         ·         ·         ·         ·
event       ·         ·         ·         ·         ·         ·         ·         ·         ·         ·         ·         ·         ·         ·         ·
ended       ·         ·         ·         backoff+  backoff+  backoff+  backoff+  backoff+  backoff+  backoff+  backoff+  change+   live+-    next+-    ·
lost        ·         ·         ·         backoff+  backoff+  backoff+  backoff+  backoff+  backoff+  backoff+  backoff+  change+   live+-    next+-    ·
503         ·         ·         ·         backoff+  backoff+  backoff+  backoff+  backoff+  backoff+  backoff+  backoff+  change+   live+-    next+-    ·
404         ·         ·         ·         none+-    backoff+  backoff+  backoff+  backoff+  backoff+  backoff+  backoff+  change+   live+-    next+-    ·
submitted   ·         ·         ·         ·         ·         ·         probe+    ·         ·         live      change+   old+      ·         old       ·
busy        ·         ·         ·         ·         ·         ·         open      ·         ·         live      live      live+     ·         old       ·
gone        ·         ·         ·         ·         ·         ·         backoff+  ·         ·         backoff+  backoff+  change+   ·         old+      ·
time        ·         ·         connect+  backoff+  backoff+  submit+   backoff+  submit+   next+     backoff+  backoff+  change+   next+-    old+      ·
";

macro_rules! names {
    ($kind:ident { $($item:ident = $name:literal,)* }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum $kind { $($item,)* }

        impl $kind {
            const ALL: [Self; [$($name),*].len()] = [$(Self::$item),*];

            fn name(self) -> &'static str {
                match self { $(Self::$item => $name,)* }
            }
        }
    };
}

// Of a session and its second stream.
names!(Place {
    Nowhere = "none",
    // Waits for a token, which a direct stream needs to open.
    Idle = "idle",
    BackOff = "backoff",
    Connecting = "connect",
    Handshake = "shake",
    // The handshake has come, and nothing was submitted yet, or all that was is refused for now.
    Open = "open",
    Submitting = "submit",
    Postponed = "later",
    Live = "live",
    // Live, and a changed set is under way.
    Changing = "change",
    // Live, and asked whether it is a user's.
    Probing = "probe",
    // Live, beside a stream with a submit under way that is to replace it.
    Next = "next",
    // Live, beside the stream that it has replaced.
    Replaced = "old",
    // Live, beside one that it has replaced, with a submit under way that is to make it the first again.
    Again = "again",
    // By the host.
    Closed = "closed",
});

names!(Input {
    // Of the host.
    Subscribe = "subscribe",
    Unsubscribe = "unsubscribe",
    Refresh = "set_token",
    OtherUser = "other user",
    Suspect = "suspect",
    Close = "close",
    // Of the network.
    Opened = "opened",
    Hello = "handshake",
    Event = "event",
    Ended = "ended",
    Lost = "lost",
    Busy = "503",
    NotFound = "404",
    Taken = "submitted",
    NotTaken = "busy",
    Gone = "gone",
    // Of the clock.
    Time = "time",
});

fn place(engine: &Engine<Listener>) -> Place {
    let Some(session) = engine.sessions.values().next() else {
        return if engine.is_closed() { Place::Closed } else { Place::Nowhere };
    };
    match (&session.link, session.second.as_deref().map(|second| &second.life)) {
        (_, Some(Life::Next { .. })) => Place::Next,
        (_, Some(Life::Replaced(_))) => Place::Replaced,
        (_, Some(Life::Again { .. })) => Place::Again,
        (Link::Idle, None) => Place::Idle,
        (Link::BackOff { .. }, None) => Place::BackOff,
        (Link::Up(conn), None) => match &conn.phase {
            Phase::Connecting { .. } => Place::Connecting,
            Phase::Handshake { .. } => Place::Handshake,
            Phase::Carrier(carrier) => match (&carrier.submit, carrier.live_since) {
                (Submit::InFlight(flight), Some(_)) if flight.is_probe => Place::Probing,
                (Submit::InFlight(_), Some(_)) => Place::Changing,
                (Submit::InFlight(_), None) => Place::Submitting,
                (Submit::Postponed { .. }, _) => Place::Postponed,
                (Submit::Ready, Some(_)) => Place::Live,
                (Submit::Ready, None) => Place::Open,
            },
        },
    }
}

const EVENT: &[u8] = b"event:posts/*\ndata:{}\n\n";

/// A scene in this state, with one patient listener and the connection that inputs of the network are about, if there is or
/// was one.
fn reach(place: Place) -> (Scene, Option<ConnId>) {
    let mut scene = Scene::with(PocketBase::default(), Config { has_provider: false, ..Config::default() });
    scene.engine.set_token(scene.now, Some(jwt("a")), None);
    let conn = match place {
        Place::Nowhere | Place::Closed => {
            let conn = scene.live();
            match place {
                Place::Closed => scene.engine.close(),
                _ => _ = scene.engine.unsubscribe_where(scene.now, |_| true),
            }
            scene.pass(Duration::from_millis(10));
            Some(conn)
        }
        Place::Idle => {
            let heartbeat = Duration::from_secs(15);
            let dialect = RustBaas {
                place: rustbaas::Place::Realm("r".into()),
                app: "a".into(),
                token_in_query: false,
                heartbeat,
            };
            scene = Scene::with(dialect, Config { has_provider: true, ..Config::default() });
            None
        }
        Place::BackOff => {
            let (conn, _) = scene.opening();
            input(Input::Busy, &mut scene, Some(conn));
            Some(conn)
        }
        Place::Connecting => Some(scene.opening().0),
        Place::Handshake => {
            let (conn, _) = scene.opening();
            scene.engine.opened(scene.now, conn, None);
            Some(conn)
        }
        Place::Open => {
            let (conn, _) = scene.opening();
            scene.engine.subscribe(scene.now, &"more".into(), Listener::default(), true, None).unwrap();
            input(Input::Opened, &mut scene, Some(conn));
            input(Input::Hello, &mut scene, Some(conn));
            Some(conn)
        }
        Place::Submitting => Some(scene.open()),
        Place::Postponed => {
            let conn = scene.open();
            let lost = Failure::Lost(Error::Protocol("the connection broke".into()));
            scene.engine.submitted(scene.now, conn, Err(lost));
            Some(conn)
        }
        Place::Probing => Some(scene.live()),
        Place::Live => Some(proved(&mut scene)),
        Place::Changing => {
            let conn = proved(&mut scene);
            subscribe(&mut scene, "other");
            Some(conn)
        }
        Place::Next | Place::Replaced | Place::Again => Some(beside(&mut scene, place)),
    };
    assert_eq!(self::place(&scene.engine), place, "the way to this state leads elsewhere");
    scene.outputs();
    scene.listener.0.borrow_mut().clear();
    (scene, conn)
}

/// A live stream that has shown to be the user's.
fn proved(scene: &mut Scene) -> ConnId {
    let conn = scene.live();
    scene.engine.submitted(scene.now, conn, Err(refusal(403, "… authorization don't match.")));
    conn
}

/// A second stream in one of its lives.
fn beside(scene: &mut Scene, place: Place) -> ConnId {
    let first = proved(scene);
    scene.outputs();
    scene.engine.received(scene.now, first, EVENT);
    subscribe(scene, "other");
    let (second, _) = scene.opening();
    scene.shake_hands(second);
    if place == Place::Next {
        return second;
    }
    scene.engine.submitted(scene.now, second, Ok(()));
    // The new one is asked whether it is the user's.
    scene.engine.submitted(scene.now, second, Err(refusal(403, "… authorization don't match.")));
    if place == Place::Again {
        let another = b"event:posts/*\ndata:{ }\n\n";
        scene.engine.received(scene.now, second, another);
        scene.engine.received(scene.now, first, another);
        subscribe(scene, "third");
    }
    first
}

fn subscribe(scene: &mut Scene, topic: &str) {
    scene.engine.subscribe(scene.now, &topic.into(), Listener::default(), true, None).unwrap();
    scene.pass(Duration::from_millis(10));
}

fn input(input: Input, scene: &mut Scene, conn: Option<ConnId>) {
    let Scene { engine, now, .. } = scene;
    let now = *now;
    match input {
        Input::Subscribe => _ = engine.subscribe(now, &"other".into(), Listener::default(), true, None),
        Input::Unsubscribe => _ = engine.unsubscribe_where(now, |_| true),
        Input::Refresh => {
            engine.set_token(now, Some(Token::new(&format!("{}2", jwt("a").as_str())).unwrap()), None)
        }
        Input::OtherUser => engine.set_token(now, Some(jwt("b")), None),
        Input::Suspect => engine.suspect(now),
        Input::Close => engine.close(),
        Input::Time => {
            if let Some(at) = engine.deadline(now) {
                scene.pass(at - now);
            }
        }
        network => {
            let Some(conn) = conn else { return };
            match network {
                Input::Opened => engine.opened(now, conn, None),
                Input::Hello => {
                    engine.received(now, conn, b"id:c\nevent:PB_CONNECT\ndata:{\"clientId\":\"c\"}\n\n");
                }
                Input::Event => engine.received(now, conn, EVENT),
                Input::Ended => engine.ended(now, conn, None),
                Input::Lost => {
                    let lost = Failure::Lost(Error::Protocol("the connection broke".into()));
                    engine.ended(now, conn, Some(lost));
                }
                Input::Busy => engine.ended(now, conn, Some(refusal(503, "busy"))),
                Input::NotFound => engine.ended(now, conn, Some(refusal(404, "no"))),
                Input::Taken => engine.submitted(now, conn, Ok(())),
                Input::NotTaken => engine.submitted(now, conn, Err(refusal(503, "busy"))),
                _ => engine.submitted(now, conn, Err(refusal(404, "Missing or invalid client id."))),
            }
        }
    }
}

/// What an input does to a session in a state.
fn cell(from: Place, by: Input) -> String {
    let (mut scene, conn) = reach(from);
    let before = scene.engine.state().clone();
    input(by, &mut scene, conn);
    let to = place(&scene.engine);
    let is_asked = |output: &Output| {
        matches!(
            output,
            Output::Open { .. } | Output::Submit { .. } | Output::Drop { .. } | Output::WantToken
        )
    };
    let mut is_same = to == from && before.is_same(scene.engine.state());
    let mut cell = to.name().to_owned();
    if scene.outputs().iter().any(is_asked) {
        is_same = false;
        cell.push('+');
    }
    if scene.listener.0.borrow().iter().any(|entry| entry == "gap" || entry.starts_with("end")) {
        is_same = false;
        cell.push('-');
    }
    if is_same { "·".into() } else { cell }
}

#[test]
fn every_input_is_answered_in_every_state() {
    let mut table = format!("\n{:11}", "");
    Place::ALL.iter().for_each(|place| table += &format!(" {:9}", place.name()));
    for by in Input::ALL {
        table.truncate(table.trim_end().len());
        table += &format!("\n{:11}", by.name());
        Place::ALL.iter().for_each(|from| table += &format!(" {:9}", cell(*from, by)));
    }
    let table = format!("{}\n", table.trim_end());
    assert!(table == TABLE, "the engine does:{table}");
}
