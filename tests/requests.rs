//! Requests that a host sends through the client.
#![cfg(all(feature = "hub", feature = "async-io"))]

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, join_all};
use serde_json::json;
use tidings::{
    Client, Error,
    hub::{Answer, Endpoint, Hub},
    rt::{AsyncIo, BoxIo, Runtime, Timer},
};

/// Waits for the hub to see it: a socket that is closed on this side is not yet closed on that one.
async fn sockets(hub: &Hub, expected: usize) {
    for _ in 0..2000 {
        if hub.stats().sockets == expected {
            return;
        }
        smol::Timer::after(Duration::from_millis(5)).await;
    }
    panic!("{:?}, not {expected} sockets", hub.stats());
}

#[test]
fn idle_connections_are_few_and_are_closed_with_the_client() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = Client::new(&hub.url()).unwrap();
        let health = || client.send("GET", "/api/health", None).into_future();
        for _ in 0..20 {
            health().await.unwrap();
            assert_eq!(hub.stats().sockets, 1);
        }
        for answer in join_all((0..32).map(|_| health())).await {
            answer.unwrap();
        }
        sockets(&hub, 4).await;
        // The new network may not lead to where they went.
        client.network_changed();
        sockets(&hub, 0).await;
        health().await.unwrap();
        let posts = client.collection("posts").subscribe("*").await.unwrap();
        assert!(hub.stats().sockets >= 2, "a stream, and what asked for its topics: {:?}", hub.stats());
        client.close().await;
        sockets(&hub, 0).await;
        drop(posts);
        let client = Client::new(&hub.url()).unwrap();
        client.send("GET", "/api/health", None).await.unwrap();
        drop(client);
        sockets(&hub, 0).await;
    });
}

/// A clock that is a hundred times as fast as that of the wall.
#[derive(Debug)]
struct Fast(Instant);

impl Runtime for Fast {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, std::io::Result<BoxIo>> {
        AsyncIo.connect(address)
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn Timer>> {
        Box::pin(FastTimer(self.0, AsyncIo.new_timer(self.slow(at))))
    }

    fn now(&self) -> Instant {
        self.0 + self.0.elapsed() * 100
    }
}

impl Fast {
    fn slow(&self, at: Instant) -> Instant {
        self.0 + at.saturating_duration_since(self.0) / 100
    }
}

struct FastTimer(Instant, Pin<Box<dyn Timer>>);

impl Timer for FastTimer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        let at = Fast(self.0).slow(at);
        self.1.as_mut().reset(at);
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.1.as_mut().poll(cx)
    }
}

#[test]
fn idle_connections_are_closed_after_a_time_although_nothing_else_happens() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let runtime = Fast(Instant::now());
        let (client, driver) = Client::builder(&hub.url()).connect_with(runtime).unwrap();
        let driver = smol::spawn(driver);
        client.send("GET", "/api/health", None).await.unwrap();
        assert_eq!(hub.stats().sockets, 1);
        sockets(&hub, 0).await;
        client.close().await;
        driver.await;
    });
}

#[test]
fn a_server_that_is_gone_costs_no_post_and_repeats_none() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = Client::new(&hub.url()).unwrap();
        let post =
            || client.send("POST", "/api/collections/posts/records", json!({"title": "x"})).into_future();
        post().await.unwrap();
        // All its connections are closed, and the next request finds that out.
        hub.restart().unwrap();
        post().await.unwrap();
        assert_eq!(hub.records("posts").len(), 2);
    });
}

#[test]
fn waiting_in_line_counts_as_time() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.faults().delay(Endpoint::Records, Duration::from_secs(600));
        let client = Client::new(&hub.url()).unwrap();
        let list = |timeout| {
            client.send("GET", "/api/collections/posts/records", None).timeout(timeout).into_future()
        };
        // As many as run beside each other, and one whose time is over when its turn comes.
        let full = (0..32).map(|_| list(Duration::from_secs(3)));
        let all = full.chain([list(Duration::from_secs(1))]);
        for answer in join_all(all).await {
            assert!(matches!(answer, Err(Error::Timeout { .. })), "{answer:?}");
        }
        assert_eq!(hub.stats().requests, 32, "the last one was not sent");
    });
}

/// Whatever a path or a name from outside holds, it does not lead out of the server's URL.
#[test]
fn no_path_leads_out_of_the_servers_url() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = Client::new(&format!("{}/pb", hub.url())).unwrap();
        for path in ["../../etc", "/api/../../etc", "%2e%2e/etc", "/a/%2E./etc", "..\\etc", "..%2Fetc", "/."]
        {
            let error = client.send("GET", path, None).await.unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{path}: {error:?}");
        }
        for name in ["..", ".", "../x", "%2e%2e"] {
            let collection = client.collection(name);
            if name.starts_with('.') {
                let error = collection.subscribe("*").await.unwrap_err();
                assert!(matches!(error, Error::InvalidTopic { .. }), "{name}: {error:?}");
            }
            let error = collection.auth_with_password("ann", "s3cret").await.unwrap_err();
            // In the name of a collection a slash and a per cent sign are encoded, and lead nowhere else.
            assert!(
                matches!(error, Error::InvalidArgument { .. }) || error.status() == Some(404),
                "{name}: {error:?}"
            );
        }
        let realm = |realm: &str, app: &str| Client::rustbaas(&hub.url(), realm, app);
        for error in [realm("..", "web").unwrap_err(), realm("acme", ".").unwrap_err()] {
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        }
        let app = realm("acme", "web").unwrap();
        let error = app.realtime().subscribe("../*").await.unwrap_err();
        assert!(matches!(error, Error::InvalidTopic { .. }), "{error:?}");
        for request in hub.requests() {
            assert!(request.path.starts_with("/pb/api/collections/"), "{}", request.path);
        }
    });
}

#[test]
fn a_text_in_json_stands_in_a_query_without_its_quotes() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let client = Client::builder(&hub.url()).headers(HashMap::from([("X-All", "1")])).build().unwrap();
        let sort = json!({"sort": "-created"});
        let request = client.send("GET", "/api/health", None);
        let request =
            request.query("filter", json!("a = 'b'")).query("n", 7).query("yes", true).query("list", ["x"]);
        let request = request.queries(sort.as_object().unwrap()).queries([("page", 1)]);
        request.headers(BTreeMap::from([("X-One", "2")])).await.unwrap();
        let seen = hub.requests().pop().unwrap();
        let query = seen.query.clone().unwrap();
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let expected = [
            ("filter", "a = 'b'"),
            ("n", "7"),
            ("yes", "true"),
            ("list", r#"["x"]"#),
            ("sort", "-created"),
            ("page", "1"),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((seen.header("x-all"), seen.header("x-one")), (Some("1"), Some("2")));

        let posts = client.collection("posts");
        let same = posts.subscribe("*").filter("a = 'b'").header("X-Room", "r").await.unwrap();
        let value = posts.subscribe("*").query("filter", json!("a = 'b'")).headers([("X-Room", "r")]);
        let value = value.await.unwrap();
        assert_eq!(hub.topics().len(), 1, "{:?}", hub.topics());
        drop((same, value));

        let bad = HashMap::from([((1, 2), 3)]);
        let error = client.send("GET", "/", None).query("map", &bad).await.unwrap_err();
        assert!(error.to_string().contains("map"), "{error}");
        assert!(posts.subscribe("*").query("map", &bad).await.is_err());
    });
}

/// What compresses on the way and was not asked to is named, whatever it compressed.
#[test]
fn an_answer_that_is_compressed_is_refused_with_a_word() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.add_user("users", "ann@example.com", "password");
        let (faults, gzipped) = (hub.faults(), Answer::gzipped);
        let client = || Client::new(&hub.url()).unwrap();
        let told = |what: &str, error: Error| {
            assert!(error.to_string().contains("gzip"), "{what}: {error}");
        };
        faults.answer_next(Endpoint::Health, gzipped(), 1);
        told("send", client().send("GET", "/api/health", None).await.unwrap_err());
        faults.answer_next(Endpoint::Auth, gzipped(), 1);
        let login = client().collection("users").auth_with_password("ann@example.com", "password").await;
        told("log-in", login.map(drop).unwrap_err());
        faults.answer_next(Endpoint::Connect, gzipped(), 1);
        told("stream", client().collection("posts").subscribe("*").await.map(drop).unwrap_err());
        faults.answer_next(Endpoint::Connect, gzipped(), 1);
        let mut source = tidings::EventSource::new(&format!("{}/api/realtime", hub.url())).unwrap();
        told("event source", source.next_message().await.map(drop).unwrap_err());
        faults.answer_next(
            Endpoint::Health,
            Answer::status(503).header("content-encoding", "gzip").body("x"),
            1,
        );
        let error = client().send("GET", "/api/health", None).await.unwrap_err();
        assert_eq!(error.status(), Some(503));
        told("refusal", error);
    });
}
