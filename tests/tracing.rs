//! What a log says, and what it must never say. Alone in its process, since it watches all that the process logs.
#![cfg(all(feature = "hub", feature = "async-io", feature = "tracing"))]

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use tidings::{
    Client, State,
    hub::{Answer, Endpoint, Hub},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Writes down everything, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.lock().unwrap().push_str(&format!(" {field}={value:?}"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push_str(event.metadata().level().as_str());
        event.record(&mut self.clone());
        self.0.lock().unwrap().push('\n');
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_log_tells_what_happens_and_no_secret() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.add_user("users", "ada@example.com", "s3cret-password");
        let url = hub.url().replace("http://", "http://s3cret-user:s3cret-userinfo@");
        let client = Client::builder(&url).name("ours").header("X-Key", "s3cret-header").build().unwrap();
        client.collection("users").auth_with_password("ada@example.com", "s3cret-password").await.unwrap();
        let token = client.auth().token().unwrap();
        let posts = client.collection("posts");
        let mut stream = posts.subscribe("*").header("X-Room", "s3cret-option").await.unwrap();
        hub.faults().reset_streams();
        stream.next().await.unwrap();
        // More than one: the client may just be asking whether its token still holds.
        hub.faults().answer_next(Endpoint::Submit, Answer::status(403), 100);
        posts.subscribe("other").query("key", "s3cret-query").await.unwrap_err();
        hub.faults().clear();
        client.auth().set_token("s3cret-token").unwrap();
        stream.next().await.unwrap();
        // One cut is one outage, whatever hangs on it.
        let many: Vec<_> =
            (0..300).map(|n| client.realtime().subscribe(&format!("topic-{n}")).start().unwrap()).collect();
        for topic in &many {
            topic.ready().await.unwrap();
        }
        // With a token that the server does not take, it is never live.
        let mut states = client.states();
        while !matches!(states.next().await.unwrap(), State::Unauthenticated { .. }) {}
        client.auth().clear();
        // The guest's stream: one that is lost before it is live makes another state.
        while !states.next().await.unwrap().is_live() {}
        let before = log.0.lock().unwrap().len();
        hub.faults().reset_streams();
        // A watcher hears of a state once the log does.
        while !matches!(states.next().await.unwrap(), State::Waiting { .. }) {}
        while !states.next().await.unwrap().is_live() {}
        let worth_seeing = |log: &str| {
            log.lines().filter(|line| !line.starts_with("DEBUG")).map(str::to_owned).collect::<Vec<_>>()
        };
        let lines = worth_seeing(&log.0.lock().unwrap()[before..]);
        assert!(
            matches!(&lines[..], [out, back] if out.starts_with("WARN") && back.starts_with("INFO")),
            "{lines:#?}"
        );
        client.close().await;

        let log = log.0.lock().unwrap();
        assert!(log.lines().all(|line| line.contains("client=\"ours\"")), "{log}");
        for said in ["opening a stream", "submitting topics", "state=live", "state=waiting", "state=closed"] {
            assert!(log.contains(said), "{said} is not in:\n{log}");
        }
        assert!(!log.contains("s3cret") && !log.contains(&token), "{log}");
    });
}
