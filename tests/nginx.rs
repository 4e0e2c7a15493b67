//! A real nginx between the client and the real server, with the settings that people have: each works, or ends in
//! an error that says what is in the way.

mod real;

use std::time::{Duration, Instant};

use futures::{StreamExt, future::join_all};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use real::{
    PocketBase, create,
    nginx::{Nginx, Settings},
    soon,
};
use serde_json::{Value, json};
use tidings::{Client, Event, State, States, Subscription};

/// The real server with a collection, and a client that speaks to it directly.
async fn server() -> (PocketBase, Client) {
    let server = PocketBase::start("");
    server.collection("notes", &["title"], &[], "").await;
    let writer = server.client();
    (server, writer)
}

/// Makes a record and waits for it to come.
async fn arrives(writer: &Client, notes: &mut Subscription, title: &str) {
    create(writer, "notes", json!({"title": title})).await;
    let event = soon("an event", notes.next()).await.unwrap();
    assert_eq!(title_of(&event), title);
}

fn title_of(event: &Event) -> String {
    assert!(!event.is_notice(), "{event:?}");
    event.record::<Value>().unwrap()["title"].as_str().unwrap().to_owned()
}

async fn told(states: &mut States, wanted: impl Fn(&State) -> bool) -> State {
    loop {
        let state = soon("a state", states.next()).await.expect("the client is open");
        if wanted(&state) {
            return state;
        }
    }
}

fn waits(state: &State) -> bool {
    matches!(state, State::Waiting { .. })
}

#[test]
fn its_defaults_pass_events_on_at_once() {
    smol::block_on(async {
        let (server, writer) = server().await;
        let nginx = Nginx::start(server.addr(), &Settings::default());
        let client = nginx.client();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        for n in 0..20 {
            arrives(&writer, &mut notes, &n.to_string()).await;
        }
        assert_eq!(client.stats().connects, 1);
    });
}

#[test]
fn a_server_that_restarts_behind_it_is_waited_for_and_the_state_says_502() {
    smol::block_on(async {
        let (mut server, writer) = server().await;
        let nginx = Nginx::start(server.addr(), &Settings::default());
        let client = nginx.client();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        let mut states = client.states();
        arrives(&writer, &mut notes, "before").await;
        let (killed, before) = (Instant::now(), client.stats().connects);
        server.kill();
        for _ in 0..4 {
            told(&mut states, waits).await;
        }
        let state = client.state().to_string();
        assert!(state.contains("the server answered 502"), "{state}");
        // One may follow the clean end, which nginx makes of the cut, at once.
        let most = 1 + (killed.elapsed().as_millis() / 200) as u64;
        assert!(client.stats().connects - before <= most, "{:?} in {:?}", client.stats(), killed.elapsed());
        server.restart();
        create(&writer, "notes", json!({"title": "missed, perhaps"})).await;
        told(&mut states, State::is_live).await;
        let gap = soon("a gap", notes.next()).await.unwrap().gap().unwrap();
        assert!(gap.since <= killed && killed <= gap.until);
        arrives(&writer, &mut notes, "after").await;
    });
}

#[test]
fn a_read_timeout_of_five_seconds_costs_gaps_and_nothing_else() {
    smol::block_on(async {
        let (server, writer) = server().await;
        let nginx = Nginx::start(
            server.addr(),
            &Settings { location: "proxy_read_timeout 5s;", ..Settings::default() },
        );
        let client = nginx.client();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        let mut states = client.states();
        for n in 0..2 {
            arrives(&writer, &mut notes, "heard").await;
            let state = told(&mut states, waits).await;
            assert!(
                state.to_string().contains("closed the connection before the answer was complete"),
                "{state}"
            );
            let began = Instant::now();
            create(&writer, "notes", json!({"title": "missed"})).await;
            told(&mut states, State::is_live).await;
            let gap = soon("a gap", notes.next()).await.unwrap().gap().unwrap();
            assert!(gap.since < began && began < gap.until, "{n}: {began:?} {gap:?}");
        }
        arrives(&writer, &mut notes, "last").await;
        assert_eq!(client.stats().connects, 3);
    });
}

#[test]
fn forced_buffering_is_told_for_what_it_is() {
    smol::block_on(async {
        let (server, _) = server().await;
        let location = "proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;";
        let nginx = Nginx::start(server.addr(), &Settings { location, ..Settings::default() });
        let client = nginx.client();
        let asked = Instant::now();
        let answer = client.collection("notes").subscribe("*").into_future();
        let error = soon("an answer", answer).await.unwrap_err().to_string();
        eprintln!("forced buffering told after {:.1?}: {error}", asked.elapsed());
        assert!(error.contains("does a proxy on the way buffer responses?"), "{error}");
        let state = client.state().to_string();
        assert!(matches!(client.state(), State::Idle) || state.contains("buffer responses"), "{state}");
    });
}

#[test]
fn gzip_for_event_streams_holds_nothing_back() {
    smol::block_on(async {
        let (server, writer) = server().await;
        let http =
            "gzip on; gzip_types text/event-stream application/json; gzip_proxied any; gzip_min_length 0;";
        let nginx = Nginx::start(server.addr(), &Settings { http, ..Settings::default() });
        let client = nginx.client();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        for n in 0..5 {
            arrives(&writer, &mut notes, &n.to_string()).await;
        }
        let list: Value =
            client.send("GET", "/api/collections/notes/records", None).await.unwrap().json().unwrap();
        assert_eq!(list["totalItems"], 5);
    });
}

/// Its limit on a body is 1 MB unless set; 1,500 topics weigh twice that.
#[test]
fn more_topics_than_its_body_limit_takes_go_in_several_bodies() {
    smol::block_on(async {
        let (server, writer) = server().await;
        let nginx = Nginx::start(server.addr(), &Settings::default());
        let client = nginx.client();
        let notes = client.collection("notes");
        let subscribe =
            |n: usize| notes.subscribe(&format!("record{n:09}")).query("pad", "x".repeat(1300)).into_future();
        let mut all = soon("all answers", join_all((0..1500).map(subscribe))).await;
        assert!(all.iter().all(Result::is_ok), "{:?}", all.iter().find_map(|answer| answer.as_ref().err()));
        let stats = client.stats();
        assert!(stats.streams >= 3 && stats.submits_failed == 0, "{stats:?}");
        create(&writer, "notes", json!({"id": "record000001499", "title": "heard"})).await;
        let event = soon("an event", all[1499].as_mut().unwrap().next()).await.unwrap();
        assert_eq!(title_of(&event), "heard");
    });
}

#[test]
fn a_smaller_body_limit_reaches_the_caller_as_413() {
    smol::block_on(async {
        let (server, writer) = server().await;
        let nginx = Nginx::start(
            server.addr(),
            &Settings { server: "client_max_body_size 1k;", ..Settings::default() },
        );
        let client = nginx.client();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        let padded = client.collection("notes").subscribe("abc").query("pad", "x".repeat(1300));
        let error = soon("an answer", padded.into_future()).await.unwrap_err();
        assert_eq!(error.status(), Some(413), "{error}");
        assert!(error.to_string().contains("the server answered 413"), "{error}");
        // What was there before does not suffer.
        arrives(&writer, &mut notes, "heard").await;
    });
}

#[test]
fn https_of_a_private_authority_works_with_its_certificate_and_says_so_without() {
    smol::block_on(async {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        let (server, writer) = server().await;
        let https = Some((certificate.pem(), key.serialize_pem()));
        let mut nginx = Nginx::start(server.addr(), &Settings { https, ..Settings::default() });
        let url = nginx.url().replace("http:", "https:");

        let client = Client::builder(&url).ca_pem(authority.pem()).build().unwrap();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        arrives(&writer, &mut notes, "heard").await;

        let stranger = Client::new(&url).unwrap();
        let answer = stranger.collection("notes").subscribe("*").into_future();
        let error = soon("an answer", answer).await.unwrap_err().to_string();
        assert!(
            error.contains("not signed by an authority that is trusted here") && error.contains("ca_pem"),
            "{error}"
        );
        // And where https is spoken, http is told from a server that is none.
        let answer = nginx.client().collection("notes").subscribe("*").into_future();
        let error = soon("an answer", answer).await.unwrap_err();
        assert_eq!(error.status(), Some(400), "{error}");

        let mut states = client.states();
        nginx.stop();
        let lost = told(&mut states, waits).await;
        eprintln!("a stopped nginx with https: {lost}");
        nginx.restart();
        told(&mut states, State::is_live).await;
        assert!(soon("a gap", notes.next()).await.unwrap().gap().is_some());
        arrives(&writer, &mut notes, "after").await;
    });
}

/// The number that nginx gave to the connection of a request.
async fn connection_of(client: &Client, method: &str, path: &str, body: Value) -> String {
    let body = (!body.is_null()).then_some(body);
    let answer = soon("an answer", client.send(method, path, body).into_future()).await.unwrap();
    answer.header("x-connection").expect("nginx adds it").to_owned()
}

const NUMBERED: &str = "add_header X-Connection $connection always;";

#[test]
fn requests_one_after_another_come_over_one_connection() {
    smol::block_on(async {
        let (server, _) = server().await;
        let nginx = Nginx::start(server.addr(), &Settings { location: NUMBERED, ..Settings::default() });
        let client = nginx.client();
        let notes = client.collection("notes").subscribe("*").await.unwrap();
        let records = "/api/collections/notes/records";
        let first = connection_of(&client, "GET", records, Value::Null).await;
        for n in 0..20 {
            assert_eq!(connection_of(&client, "POST", records, json!({"title": n.to_string()})).await, first);
            assert_eq!(connection_of(&client, "GET", records, Value::Null).await, first);
        }
        drop(notes);
    });
}

/// With pauses as long as nginx waits for the next request, some requests come just when it closes.
#[test]
fn a_connection_that_nginx_closes_costs_no_request() {
    smol::block_on(async {
        let (server, _) = server().await;
        let http = "keepalive_timeout 2s;";
        let nginx =
            Nginx::start(server.addr(), &Settings { http, location: NUMBERED, ..Settings::default() });
        let records = "/api/collections/notes/records";
        let asking = |n: u64| {
            let client = nginx.client();
            async move {
                let first = connection_of(&client, "GET", records, Value::Null).await;
                for round in 0..2 {
                    smol::Timer::after(Duration::from_micros(1_990_000 + 500 * n)).await;
                    let title = json!({"title": format!("{n} {round}")});
                    connection_of(&client, "POST", records, title).await;
                    smol::Timer::after(Duration::from_micros(1_990_000 + 500 * n)).await;
                    connection_of(&client, "GET", records, Value::Null).await;
                }
                smol::Timer::after(Duration::from_millis(2_500)).await;
                assert_ne!(connection_of(&client, "GET", records, Value::Null).await, first);
            }
        };
        join_all((0..40).map(asking)).await;
        let list = server.client().send("GET", &format!("{records}?perPage=1"), None).await.unwrap();
        assert_eq!(list.json::<Value>().unwrap()["totalItems"], 80, "each was done once");
    });
}

#[test]
fn a_restart_of_nginx_is_survived() {
    smol::block_on(async {
        let (server, writer) = server().await;
        let mut nginx = Nginx::start(server.addr(), &Settings::default());
        let client = nginx.client();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        arrives(&writer, &mut notes, "before").await;
        let states = client.states();
        let mut reasons =
            states.filter(|state| std::future::ready(waits(state))).map(|state| state.to_string()).boxed();
        let (stopped, before) = (Instant::now(), client.stats().connects);
        nginx.stop();
        let first = soon("a state", reasons.next()).await.unwrap();
        assert!(first.contains("closed the connection") || first.contains("broke"), "{first}");
        for _ in 0..3 {
            let later = soon("a state", reasons.next()).await.unwrap();
            assert!(later.contains("connection refused; is the server running?"), "{later}");
        }
        create(&writer, "notes", json!({"title": "missed"})).await;
        nginx.restart();
        let gap = soon("a gap", notes.next()).await.unwrap().gap().unwrap();
        assert!(gap.since <= stopped && stopped <= gap.until);
        arrives(&writer, &mut notes, "after").await;
        let connects = client.stats().connects - before;
        assert!(
            connects <= 1 + (stopped.elapsed().as_millis() / 200) as u64,
            "{connects} in {:?}",
            stopped.elapsed()
        );
    });
}

/// A page of maintenance instead of the server: it is no event stream, and the state says so.
#[test]
fn a_page_instead_of_the_server_is_named() {
    smol::block_on(async {
        let (server, _) = server().await;
        let server_lines =
            "default_type text/html; location /api/realtime { return 200 '<h1>Back soon</h1>'; }";
        let nginx = Nginx::start(server.addr(), &Settings { server: server_lines, ..Settings::default() });
        let client = nginx.client();
        let answer = client.collection("notes").subscribe("*").into_future();
        let error = soon("an answer", answer).await.unwrap_err().to_string();
        assert!(error.contains("text/html where an event stream was expected"), "{error}");
    });
}
