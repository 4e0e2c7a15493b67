//! Who the client is, against the real server.

mod real;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use real::{PASSWORD, PocketBase, create, soon, update};
use serde_json::{Value, json};
use tidings::{Action, Client, Disconnects, Event, GapReason, Reason, State, Subscription};

/// Quick enough for a test; the host would choose minutes.
const CHECK: Duration = Duration::from_millis(200);

struct Notes {
    server: PocketBase,
    root: Client,
    ada: String,
    bob: String,
}

impl Notes {
    /// A server with two users and notes that only their owners may see.
    async fn new() -> Self {
        let server = PocketBase::start("");
        server.collection("notes", &["owner", "title"], &[], "owner != '' && owner = @request.auth.id").await;
        let (ada, bob) = (server.user("ada@example.com").await, server.user("bob@example.com").await);
        let root = server.root().await;
        Self { server, root, ada, bob }
    }

    async fn note(&self, owner: &str, title: &str) {
        create(&self.root, "notes", json!({"owner": owner, "title": title})).await;
    }

    async fn token(&self, email: &str) -> String {
        self.server.client().collection("users").auth_with_password(email, PASSWORD).await.unwrap().token
    }

    async fn change_password(&self, user: &str) {
        let changes = json!({"password": "another-horse-2", "passwordConfirm": "another-horse-2"});
        update(&self.root, "users", user, changes).await;
    }
}

fn title(event: &Event) -> String {
    event.record::<Value>().unwrap()["title"].as_str().unwrap().to_owned()
}

async fn next(subscription: &mut Subscription) -> Event {
    soon("an event", subscription.next()).await.expect("the stream goes on")
}

async fn gap(subscription: &mut Subscription) -> GapReason {
    next(subscription).await.gap().expect("a gap").reason
}

async fn unauthenticated(client: &Client) -> Reason {
    let mut states = client.states();
    loop {
        if let State::Unauthenticated { why } = soon("a state", states.next()).await.unwrap() {
            return why;
        }
    }
}

#[test]
fn from_user_to_user_while_events_flow() {
    smol::block_on(async {
        let notes = Notes::new().await;
        let client = notes.server.client();
        client.auth().set_token(&notes.token("ada@example.com").await).unwrap();
        let mut stream = client.collection("notes").subscribe("*").await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let writer = {
            let (root, done) = (notes.root.clone(), done.clone());
            let owners = [notes.ada.clone(), notes.bob.clone()];
            smol::spawn(async move {
                for n in 0.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    create(&root, "notes", json!({"owner": owners[n % 2], "title": n.to_string()})).await;
                }
            })
        };
        let owner = |event: &Event| event.record::<Value>().unwrap()["owner"].as_str().unwrap().to_owned();
        for _ in 0..20 {
            assert_eq!(owner(&next(&mut stream).await), notes.ada);
        }
        let bobs = notes.token("bob@example.com").await;
        client.auth().set_token(&bobs).unwrap();
        // Nothing of what had come before and waited.
        let event = next(&mut stream).await;
        assert_eq!(event.gap().expect("a gap").reason, GapReason::IdentityChanged);
        for _ in 0..50 {
            assert_eq!(
                owner(&next(&mut stream).await),
                notes.bob,
                "an event of the old user after the switch"
            );
        }
        done.store(true, Ordering::Relaxed);
        writer.await;
        assert_eq!(client.stats().submits_failed, 0, "no 403 on the way");
    });
}

#[test]
fn a_refreshed_token_interrupts_no_stream_and_loses_nothing() {
    smol::block_on(async {
        let notes = Notes::new().await;
        let client = notes.server.client();
        client.auth().set_token(&notes.token("ada@example.com").await).unwrap();
        let mut stream = client.collection("notes").subscribe("*").await.unwrap();
        let id = client.realtime().client_id();
        for n in 0..4 {
            // Within one second of the server's clock it is the same token, which is no reason to submit anything.
            let before = client.auth().token();
            while client.auth().token() == before {
                let answer = client.collection("users").auth_refresh().await.unwrap();
                assert_eq!(client.auth().token(), Some(answer.token));
            }
            notes.note(&notes.ada, &n.to_string()).await;
            assert_eq!(title(&next(&mut stream).await), n.to_string());
        }
        // While events come a token that is new goes to another stream, as a new set does: this is what replaced it.
        let stats = client.stats();
        assert!(client.realtime().client_id() == id || stats.hand_overs > 0, "{stats:?}");
        assert_eq!(stats.disconnects, Disconnects::default());
    });
}

#[test]
fn a_password_change_is_noticed_and_a_new_token_mends_it() {
    smol::block_on(async {
        let notes = Notes::new().await;
        let client = Client::builder(&notes.server.url()).identity_check(CHECK).build().unwrap();
        client.auth().set_token(&notes.token("ada@example.com").await).unwrap();
        let mut stream = client.collection("notes").subscribe("*").await.unwrap();
        notes.note(&notes.ada, "before").await;
        assert_eq!(title(&next(&mut stream).await), "before");

        notes.change_password(&notes.ada).await;
        let why = unauthenticated(&client).await;
        assert!(matches!(why, Reason::TokenRevoked), "{why:?}");
        notes.note(&notes.ada, "missed").await;
        let login = client.collection("users").auth_with_password("ada@example.com", "another-horse-2").await;
        login.unwrap();
        let mut states = client.states();
        while !soon("a state", states.next()).await.unwrap().is_live() {}
        notes.note(&notes.ada, "after").await;
        let mut gaps = 0;
        loop {
            let event = next(&mut stream).await;
            match event.gap() {
                Some(gap) => {
                    assert_eq!(gap.reason, GapReason::IdentityChanged);
                    gaps += 1;
                }
                None => break assert_eq!(title(&event), "after"),
            }
        }
        assert!(gaps > 0, "what was missed is told");
    });
}

#[test]
fn a_provider_mends_a_password_change_without_the_host_doing_anything() {
    smol::block_on(async {
        let notes = Notes::new().await;
        let tokens = Arc::new(Mutex::new(vec![notes.token("ada@example.com").await]));
        let (source, asked) = (tokens.clone(), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let client = Client::builder(&notes.server.url())
            .identity_check(CHECK)
            .token_provider(move || {
                count.fetch_add(1, Ordering::Relaxed);
                let token = source.lock().unwrap().last().cloned();
                async move { Ok::<_, std::io::Error>(token) }
            })
            .build()
            .unwrap();
        let mut stream = client.collection("notes").subscribe("*").await.unwrap();
        notes.note(&notes.ada, "before").await;
        assert_eq!(title(&next(&mut stream).await), "before");
        assert_eq!(asked.load(Ordering::Relaxed), 1);

        notes.change_password(&notes.ada).await;
        let users = notes.server.client();
        let fresh = users.collection("users").auth_with_password("ada@example.com", "another-horse-2").await;
        tokens.lock().unwrap().push(fresh.unwrap().token);
        let mut told = gap(&mut stream).await;
        while client.auth().token() != tokens.lock().unwrap().last().cloned() {
            told = gap(&mut stream).await;
        }
        assert_eq!(told, GapReason::IdentityChanged);
        // Until it comes: the acknowledgement of the new token may be on its way.
        loop {
            notes.note(&notes.ada, "after").await;
            let event = soon("an event", stream.next()).await.unwrap();
            if event.action() == Action::Create {
                break;
            }
        }
    });
}

#[test]
fn a_user_that_is_deleted_is_noticed() {
    smol::block_on(async {
        let notes = Notes::new().await;
        let client = Client::builder(&notes.server.url()).identity_check(CHECK).build().unwrap();
        client.auth().set_token(&notes.token("ada@example.com").await).unwrap();
        let _stream = client.collection("notes").subscribe("*").await.unwrap();
        real::delete(&notes.root, "users", &notes.ada).await;
        let why = unauthenticated(&client).await;
        assert!(matches!(why, Reason::TokenRevoked), "{why:?}");
    });
}

#[test]
fn a_token_that_the_server_does_not_take_is_noticed_at_once() {
    smol::block_on(async {
        let notes = Notes::new().await;
        let client = notes.server.client();
        client.auth().set_token("garbage").unwrap();
        let _stream = client.collection("notes").subscribe("*").await.unwrap();
        let why = unauthenticated(&client).await;
        assert!(matches!(why, Reason::TokenRevoked), "{why:?}");
        client.auth().clear();
        let mut states = client.states();
        while !soon("a state", states.next()).await.unwrap().is_live() {}
    });
}

#[test]
fn a_token_that_expires_is_noticed_with_the_next_stream_and_replaced_ahead_of_it_by_a_provider() {
    smol::block_on(async {
        let mut notes = Notes::new().await;
        let collection = "/api/collections/users";
        notes.root.send("PATCH", collection, json!({"authToken": {"duration": 10}})).await.unwrap();
        let client = notes.server.client();
        client.auth().set_token(&notes.token("ada@example.com").await).unwrap();
        assert!(client.auth().is_valid());
        let mut own = client.collection("notes").subscribe("*").await.unwrap();

        let users = notes.server.client();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let provided = Client::builder(&notes.server.url())
            .token_provider(move || {
                count.fetch_add(1, Ordering::Relaxed);
                let users = users.clone();
                async move {
                    let answer =
                        users.collection("users").auth_with_password("ada@example.com", PASSWORD).await?;
                    Ok::<_, tidings::Error>(Some(answer.token))
                }
            })
            .build()
            .unwrap();
        let mut stream = provided.collection("notes").subscribe("*").await.unwrap();
        while client.auth().is_valid() {
            smol::Timer::after(Duration::from_millis(50)).await;
        }
        // PocketBase goes on to take the stream for the user's, and says so.
        let probes = client.stats().probes;
        while client.stats().probes < probes.max(2) {
            smol::Timer::after(Duration::from_millis(5)).await;
        }
        notes.note(&notes.ada, "still").await;
        assert_eq!(title(&next(&mut own).await), "still");
        assert!(client.state().is_live());
        // The same ten seconds later, and the provided one is still who it is.
        assert!(provided.auth().is_valid() && asked.load(Ordering::Relaxed) >= 2);
        assert_eq!(title(&next(&mut stream).await), "still");
        // A new stream is a guest's.
        notes.server.kill();
        notes.server.restart();
        let why = unauthenticated(&client).await;
        assert!(matches!(why, Reason::TokenExpired), "{why:?}");
    });
}

#[test]
fn a_provider_that_fails_is_told_to_who_waits_and_asked_again() {
    smol::block_on(async {
        let notes = Notes::new().await;
        let token = notes.token("ada@example.com").await;
        let works = Arc::new(AtomicBool::new(false));
        let switch = works.clone();
        let client = Client::builder(&notes.server.url())
            .token_provider(move || {
                let answer = match switch.load(Ordering::Relaxed) {
                    true => Ok(Some(token.clone())),
                    false => Err("the vault is locked"),
                };
                async move { answer }
            })
            .build()
            .unwrap();
        let error = client.collection("notes").subscribe("*").await.unwrap_err();
        assert!(error.to_string().contains("the vault is locked"), "{error}");
        let mut stream = client.collection("notes").subscribe("*").start().unwrap();
        works.store(true, Ordering::Relaxed);
        soon("the server's answer", stream.ready()).await.unwrap();
        notes.note(&notes.ada, "mine").await;
        assert_eq!(title(&next(&mut stream).await), "mine");
    });
}

#[test]
fn a_changed_network_is_checked_without_a_side_effect_for_a_user_and_with_a_new_stream_for_a_guest() {
    smol::block_on(async {
        let notes = Notes::new().await;
        let client = notes.server.client();
        client.auth().set_token(&notes.token("ada@example.com").await).unwrap();
        let _stream = client.collection("notes").subscribe("*").await.unwrap();
        while client.stats().probes < 1 {
            smol::Timer::after(Duration::from_millis(5)).await;
        }
        let id = client.realtime().client_id();
        let mut states = client.states();
        while !soon("a state", states.next()).await.unwrap().is_live() {}
        client.network_changed();
        while client.stats().probes < 2 {
            smol::Timer::after(Duration::from_millis(5)).await;
        }
        assert_eq!(client.realtime().client_id(), id);

        let guest = notes.server.client();
        let mut stream = guest.collection("notes").subscribe("*").await.unwrap();
        let id = guest.realtime().client_id();
        guest.network_changed();
        assert_eq!(gap(&mut stream).await, GapReason::Disconnected);
        assert_ne!(guest.realtime().client_id(), id);
        assert_eq!(guest.stats().disconnects.suspected, 1);
    });
}
