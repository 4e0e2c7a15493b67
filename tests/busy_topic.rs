//! A hook that answers 429 or 503 to one topic, for as long as it is asked: the other topics of the client go on.

mod real;

use std::time::{Duration, Instant};

use real::{PocketBase, create, soon};
use serde_json::json;
use tidings::{Action, Client, State, SubscriptionState};

/// Far under the 30 seconds of a subscribe, and far over what it takes.
const PROMPTLY: Duration = Duration::from_secs(12);

const HOOK: &str = r#"
onRealtimeSubscribeRequest((e) => {
    if (e.subscriptions.some((topic) => topic.startsWith("busy"))) {
        throw new ApiError(429, "Not this topic.")
    }
    return e.next()
})
"#;

#[test]
fn one_busy_topic_holds_up_no_other_and_its_caller_gets_the_status() {
    smol::block_on(async {
        let server = PocketBase::start(HOOK);
        server.collection("notes", &["title"], &[], "").await;
        let client = Client::builder(&server.url()).no_proxy().build().unwrap();
        let began = Instant::now();
        let busy = smol::spawn(client.realtime().subscribe("busy").into_future());
        let mut notes =
            soon("an answer", client.collection("notes").subscribe("*").into_future()).await.unwrap();
        let error = soon("an answer", busy).await.unwrap_err();
        assert_eq!(error.status(), Some(429), "{error}");
        assert!(began.elapsed() < PROMPTLY, "{:?}", began.elapsed());
        // One that waits patiently is tried again, and again nothing waits for it; also after the server was gone.
        let patient = client.realtime().subscribe("busy/patient").start().unwrap();
        let writer = server.root().await;
        create(&writer, "notes", json!({"title": "first"})).await;
        assert_eq!(soon("an event", notes.next()).await.unwrap().action(), Action::Create);
        let mut states = client.states();
        assert!(soon("the state", states.next()).await.unwrap().is_live());
        let mut server = server;
        server.kill();
        server.restart();
        while !soon("the state", states.next()).await.unwrap().is_live() {}
        assert_eq!(soon("a gap", notes.next()).await.unwrap().action(), Action::Gap);
        create(&server.root().await, "notes", json!({"title": "second"})).await;
        assert_eq!(soon("an event", notes.next()).await.unwrap().action(), Action::Create);
        assert!(patient.state() != SubscriptionState::Live && client.state().is_live());
        let denial = patient.denial().expect("the server's answer");
        assert_eq!(denial.status(), Some(429), "{denial}");
        assert!(denial.to_string().contains("Not this topic."), "{denial}");
        assert!(notes.denial().is_none());
        // Alone, the state says why nothing comes.
        drop(notes);
        drop(client);
        let client = Client::builder(&server.url()).no_proxy().build().unwrap();
        let _patient = client.realtime().subscribe("busy").start().unwrap();
        let mut states = client.states();
        loop {
            if let State::Waiting { why, .. } = soon("the state", states.next()).await.unwrap() {
                assert_eq!(why.error().and_then(|error| error.status()), Some(429), "{why}");
                break;
            }
        }
    });
}
