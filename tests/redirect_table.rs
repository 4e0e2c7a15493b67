//! The whole table of redirects: each status, each kind of target, each secret, each call that makes requests. Origins
//! with names and default ports are played on loopback; each writes down what reaches it.
//!
//! Shown of every cell: nothing reaches an origin that is not the client's own or its upgrade, no answer from there is
//! believed, and the refusal names both origins. An event source alone may go further, and only without a secret.
#![cfg(all(feature = "async-io", feature = "tls"))]

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    sync::{
        Arc, Mutex,
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::json;
use tidings::{
    Client, ClientBuilder, Error, EventSource,
    rt::{AsyncIo, BoxIo, Runtime, Timer},
};

const PATIENCE: Duration = Duration::from_secs(20);
const WORD: &str = "hushhush";

/// One request a connection, and said so: a POST that meets the end of one would be another table.
const CLOSE: &str = "connection: close\r\n";

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// Name, the origin of the client, where it is sent, and whether it may go there.
const TARGETS: [(&str, &str, &[&str], bool); 11] = [
    ("the same origin", "http://a.test", &["http://a.test"], true),
    ("the same origin with TLS", "https://a.test", &["https://a.test"], true),
    ("its upgrade", "http://a.test", &["https://a.test"], true),
    ("another port", "http://a.test", &["http://a.test:81"], false),
    ("another host", "http://a.test", &["http://b.test"], false),
    ("https on another port", "http://a.test", &["https://a.test:8443"], false),
    ("an upgrade from another port", "http://a.test:81", &["https://a.test"], false),
    ("another port with TLS", "https://a.test", &["https://a.test:8443"], false),
    ("another host with TLS", "https://a.test", &["https://b.test"], false),
    ("a downgrade", "https://a.test", &["http://a.test"], false),
    ("there and back", "http://a.test", &["http://b.test", "http://a.test"], false),
];

const SECRETS: [&str; 8] =
    ["nothing", "token", "cookie", "authorization", "own header", "userinfo", "query", "body"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Send,
    LogIn,
    Stream,
    Submit,
    DirectStream,
    OAuth2Methods,
    OAuth2Stream,
    OAuth2Exchange,
    EventSource,
}

const CALLS: [Call; 9] = [
    Call::Send,
    Call::LogIn,
    Call::Stream,
    Call::Submit,
    Call::DirectStream,
    Call::OAuth2Methods,
    Call::OAuth2Stream,
    Call::OAuth2Exchange,
    Call::EventSource,
];

impl Call {
    /// Whether a request is the one that is redirected.
    fn is_hit_by(self, method: &str, path: &str) -> bool {
        match self {
            Self::Send => path.contains("/x"),
            Self::LogIn => path.contains("auth-with-password"),
            Self::Stream | Self::OAuth2Stream => method == "GET" && path.contains("/api/realtime"),
            Self::Submit => method == "POST" && path.contains("/api/realtime"),
            Self::DirectStream | Self::EventSource => path.contains("/events"),
            Self::OAuth2Methods => path.contains("auth-methods"),
            Self::OAuth2Exchange => path.contains("auth-with-oauth2"),
        }
    }
}

/// What the servers do in one cell of the table.
#[derive(Clone, Default)]
struct Plan {
    status: u16,
    origin: String,
    hops: Vec<String>,
    call: Option<Call>,
}

/// Origins by name, and what has reached them.
#[derive(Clone)]
struct World(Arc<Inner>);

struct Inner {
    addresses: HashMap<(String, u16), SocketAddr>,
    ca_pem: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    plan: Plan,
    reached: Vec<(String, String)>,
    /// Streams that are open, by client id.
    streams: HashMap<String, Sender<()>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

/// Names lead to loopback; everything else is the usual.
impl Runtime for World {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<BoxIo>> {
        AsyncIo.connect(address)
    }

    fn new_timer(&self, at: Instant) -> Pin<Box<dyn Timer>> {
        AsyncIo.new_timer(at)
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let found = self.0.addresses.get(&(host.to_owned(), port)).copied();
        Box::pin(async move { found.map(|address| vec![address]).ok_or_else(|| io::Error::other("unknown")) })
    }
}

impl World {
    fn new() -> Self {
        let names = ["a.test", "b.test"].map(String::from);
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
        let key: PrivateKeyDer<'static> = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let tls = tls(cert.der().clone(), key);
        let origins = ["a.test", "b.test"]
            .into_iter()
            .flat_map(|host| [(host, 80, false), (host, 443, true), (host, 81, false), (host, 8443, true)]);
        let mut addresses = HashMap::new();
        let mut listeners = Vec::new();
        for (host, port, secure) in origins {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            addresses.insert((host.to_owned(), port), listener.local_addr().unwrap());
            let url = format!("{}://{host}:{port}/", if secure { "https" } else { "http" });
            let origin = url::Url::parse(&url).unwrap().origin().ascii_serialization();
            listeners.push((listener, origin, secure.then(|| tls.clone())));
        }
        let world = Self(Arc::new(Inner { addresses, ca_pem: cert.pem(), state: Mutex::default() }));
        for (listener, origin, tls) in listeners {
            let world = world.clone();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let (world, origin, tls) = (world.clone(), origin.clone(), tls.clone());
                    thread::spawn(move || world.serve(&origin, tls, stream.unwrap()));
                }
            });
        }
        world
    }

    fn begin(&self, plan: Plan) {
        // Dropping the senders ends the streams of the case before.
        *self.0.state.lock().unwrap() = State { plan, ..State::default() };
    }

    fn reached(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.0.state.lock().unwrap().reached)
    }

    fn serve(&self, origin: &str, tls: Option<Arc<ServerConfig>>, stream: TcpStream) {
        match tls {
            Some(tls) => {
                self.answer(origin, &mut StreamOwned::new(ServerConnection::new(tls).unwrap(), stream))
            }
            None => self.answer(origin, &mut { stream }),
        }
    }

    fn answer(&self, origin: &str, stream: &mut (impl Read + Write)) {
        let Some(request) = read_request(stream) else { return };
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let plan = {
            let mut state = self.0.state.lock().unwrap();
            state.reached.push((origin.to_owned(), request.clone()));
            state.plan.clone()
        };
        // The hop is in the path: `/hop1/…` was redirected once.
        let hop: usize = path.strip_prefix("/hop").and_then(|rest| rest[..1].parse().ok()).unwrap_or(0);
        let is_at = hop > 0 || origin == plan.origin;
        if is_at && plan.call.is_some_and(|call| call.is_hit_by(&method, &path)) && hop < plan.hops.len() {
            let rest = if hop > 0 { &path["/hop1".len()..] } else { &path };
            // Everything of the request goes into the redirect, the query included.
            let next = format!("{}/hop{}{rest}", plan.hops[hop], hop + 1);
            let status = plan.status;
            let head =
                format!("HTTP/1.1 {status} Moved\r\nlocation: {next}\r\n{CLOSE}content-length: 0\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            return;
        }
        self.answer_as_the_server(origin, &method, &path, &request, stream);
    }

    /// As the true server would; who answers stands in the answer.
    fn answer_as_the_server(
        &self,
        origin: &str,
        method: &str,
        path: &str,
        request: &str,
        stream: &mut impl Write,
    ) {
        let json = |value: serde_json::Value| {
            let body = value.to_string();
            let length = body.len();
            let head = format!("content-type: application/json\r\n{CLOSE}content-length: {length}\r\n\r\n");
            format!("HTTP/1.1 200 OK\r\n{head}{body}")
        };
        let answer = if path.contains("/api/realtime") && method == "GET" || path.contains("/events") {
            return self.stream(origin, stream);
        } else if path.contains("/api/realtime") {
            if request.contains("@oauth2") {
                let streams = self.0.state.lock().unwrap().streams.clone();
                streams.iter().filter(|(id, _)| request.contains(*id)).for_each(|(_, stream)| {
                    let _ = stream.send(());
                });
            }
            format!("HTTP/1.1 204 No Content\r\n{CLOSE}\r\n")
        } else if path.contains("auth-methods") {
            let site = json!({"name": "site", "authURL": "https://site.test/auth?redirect_uri=", "codeVerifier": "v"});
            json(json!({"oauth2": {"providers": [site]}}))
        } else {
            json(json!({"token": format!("token-of-{origin}"), "record": {}, "from": origin}))
        };
        let _ = stream.write_all(answer.as_bytes());
    }

    fn stream(&self, origin: &str, stream: &mut impl Write) {
        let id = format!("client{}", fastrand::u64(..));
        let (sender, signal) = mpsc::channel();
        self.0.state.lock().unwrap().streams.insert(id.clone(), sender);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        let hello = format!("id:{id}\nevent:PB_CONNECT\ndata:{{\"clientId\":\"{id}\"}}\n\ndata:{origin}\n\n");
        let mut text = format!("{head}{hello}");
        while stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_ok() && signal.recv().is_ok()
        {
            text =
                format!("id:{id}\nevent:@oauth2\ndata:{{\"state\":\"{id}\",\"code\":\"code-{WORD}\"}}\n\n");
        }
    }
}

fn tls(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(builder.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}

fn read_request(stream: &mut impl Read) -> Option<String> {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        match stream.read(&mut chunk) {
            Ok(n @ 1..) => request.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
    }
}

fn url(origin: &str, secret: &str) -> String {
    match secret {
        "userinfo" => origin.replace("//", &format!("//user:url-{WORD}@")),
        "query" => format!("{origin}/?key=query-{WORD}"),
        _ => origin.to_owned(),
    }
}

/// What the calls come to: that of the caller, and the token that the client has afterwards.
struct Outcome {
    result: Result<String, Error>,
    token: Option<String>,
}

fn client_builder(world: &World, origin: &str, call: Call, secret: &str) -> ClientBuilder {
    let mut builder = Client::builder(&url(origin, secret))
        .no_proxy()
        .ca_pem(world.0.ca_pem.clone())
        .backoff(Duration::from_millis(1), Duration::from_millis(2));
    if call == Call::DirectStream {
        builder = builder.rustbaas("realm", "app");
        if secret == "query" {
            builder = builder.token_in_query().token(format!("token-{WORD}"));
        }
    }
    match secret {
        "token" => builder.token(format!("token-{WORD}")),
        "cookie" => builder.header("Cookie", format!("a={WORD}")),
        "authorization" => builder.header("Authorization", format!("Key {WORD}")),
        "own header" => builder.header("X-Api-Key", WORD),
        _ => builder,
    }
}

async fn perform(world: &World, origin: &str, call: Call, secret: &str) -> Outcome {
    if call == Call::EventSource {
        return Outcome { result: read_source(world, origin, secret).await, token: None };
    }
    let builder = client_builder(world, origin, call, secret);
    let (client, driver) = builder.connect_with(world.clone()).unwrap();
    let driver = smol::spawn(driver);
    let result = match call {
        Call::Send => {
            let body = if secret == "body" { Some(json!({"secret": WORD})) } else { None };
            let mut request = client.send(if body.is_some() { "POST" } else { "GET" }, "/x", body);
            if secret == "query" {
                request = request.query("key", WORD);
            }
            request.await.map(|answer| answer.json::<serde_json::Value>().unwrap()["from"].to_string())
        }
        Call::LogIn => {
            let users = client.collection("users");
            users.auth_with_password("ann", &format!("password-{WORD}")).await.map(|answer| answer.token)
        }
        Call::Stream | Call::Submit | Call::DirectStream => {
            let mut subscribe = client.collection("posts").subscribe("*");
            if call == Call::Submit && matches!(secret, "query" | "body") {
                subscribe = subscribe.query("key", WORD).header("X-Key", WORD);
            }
            // Until the client is closed.
            subscribe.await.map(|subscription| subscription.detach()).map(|()| "live".to_owned())
        }
        Call::OAuth2Methods | Call::OAuth2Stream | Call::OAuth2Exchange => {
            let users = client.collection("users");
            users.auth_with_oauth2("site", |_| {}).await.map(|answer| answer.token)
        }
        Call::EventSource => unreachable!("it has no client"),
    };
    let token = client.auth().token();
    client.close().await;
    driver.await;
    Outcome { result, token }
}

async fn read_source(world: &World, origin: &str, secret: &str) -> Result<String, Error> {
    let query = if secret == "query" { format!("?key={WORD}") } else { String::new() };
    let builder = EventSource::builder(&format!(
        "{}/events{query}",
        url(origin, if secret == "query" { "" } else { secret })
    ));
    let builder = builder.no_proxy().ca_pem(world.0.ca_pem.clone()).runtime(world.clone()).once();
    let mut source = match secret {
        "token" => builder.token(format!("token-{WORD}")),
        "cookie" => builder.header("Cookie", format!("a={WORD}")),
        "authorization" => builder.header("Authorization", format!("Key {WORD}")),
        "own header" => builder.header("X-Api-Key", WORD),
        "body" => builder.body(WORD),
        _ => builder,
    }
    .build()?;
    loop {
        match source.next_message().await? {
            Some(message) if message.event() == "message" => return Ok(message.data().to_owned()),
            Some(_) => {}
            None => return Ok("ended".into()),
        }
    }
}

/// Whether any of the word is in it, in clear or in Base64.
fn is_secret(text: &str) -> bool {
    let encoded = ["aHVzaGh1c2", "h1c2hodXNo", "odXNoaHVza"];
    text.to_lowercase().contains(WORD) || encoded.iter().any(|word| text.contains(word))
}

/// One cell. Whether the redirect was followed to its end.
fn check(world: &World, status: u16, target: (&str, &str, &[&str], bool), call: Call, secret: &str) -> bool {
    let (name, origin, hops, is_ours) = target;
    let cell = format!("{status} to {name}, {call:?} with {secret}");
    let plan = Plan {
        status,
        origin: origin.into(),
        hops: hops.iter().map(|hop| hop.to_string()).collect(),
        call: Some(call),
    };
    world.begin(plan);
    let outcome =
        smol::block_on(smol::future::or(async { Some(perform(world, origin, call, secret).await) }, async {
            smol::Timer::after(PATIENCE).await;
            None
        }))
        .unwrap_or_else(|| panic!("{cell}: hangs"));

    let reached = world.reached();
    let (home, abroad): (Vec<_>, Vec<_>) =
        reached.iter().partition(|(at, _)| at == origin || is_ours && hops.contains(&at.as_str()));
    assert!(!home.is_empty(), "{cell}: the server itself was not asked");
    let is_downgrade = origin.starts_with("https:") && hops[0].starts_with("http:");
    let may_roam = call == Call::EventSource && secret == "nothing" && !is_downgrade;
    if is_ours || may_roam {
        let last = *hops.last().unwrap();
        assert!(
            reached.iter().any(|(at, request)| at == last && request.contains("/hop")),
            "{cell}: not followed"
        );
        for (at, request) in abroad {
            assert!(!is_secret(request), "{cell}: {at} got {request}");
        }
        // A 301, 302 or 303 makes a GET of a submit, which is answered with a stream.
        match outcome.result {
            // Only that request is redirected, and not the one that brings the token.
            Ok(answer) if matches!(call, Call::OAuth2Methods | Call::OAuth2Stream) => {
                assert!(answer.contains(origin), "{cell}: {answer}");
            }
            Ok(answer) => assert!(answer == "live" || answer.contains(last), "{cell}: {answer}"),
            Err(error) => assert!(call == Call::Submit && status < 307, "{cell}: {error}"),
        }
        // All that the server itself is given went to where it sent us, unless the status drops it with the body.
        let goes_along = match secret {
            "nothing" => false,
            // What the base URL has there is no part of it.
            "query" => matches!(call, Call::Send | Call::DirectStream | Call::EventSource),
            "body" => false,
            "token" => !matches!(call, Call::Stream | Call::OAuth2Stream) && call != Call::OAuth2Stream,
            _ => true,
        };
        let arrived =
            reached.iter().any(|(at, request)| at == last && request.contains("/hop") && is_secret(request));
        assert!(arrived || !goes_along, "{cell}: {reached:?}");
        return true;
    }
    assert!(abroad.is_empty(), "{cell}: {abroad:?}");
    let error = outcome.result.expect_err(&cell).to_string();
    assert!(error.contains(origin) && error.contains(hops[0]), "{cell}: both origins are named: {error}");
    assert!(error.contains("another origin") && !is_secret(&error), "{cell}: {error}");
    let believed = outcome.token.filter(|token| token.starts_with("token-of-"));
    assert_eq!(believed, None, "{cell}: a stranger's token");
    false
}

#[test]
fn nothing_leaves_the_origin_and_no_stranger_is_believed() {
    let mut cells = Vec::new();
    for status in STATUSES {
        for target in TARGETS {
            for call in CALLS {
                cells.extend(SECRETS.map(|secret| (status, target, call, secret)));
            }
        }
    }
    let total = cells.len();
    let queue = Mutex::new(cells.into_iter());
    let counts = Mutex::new(BTreeMap::<(Call, bool), usize>::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let world = World::new();
                loop {
                    let Some((status, target, call, secret)) = queue.lock().unwrap().next() else { return };
                    let followed = check(&world, status, target, call, secret);
                    *counts.lock().unwrap().entry((call, followed)).or_default() += 1;
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    assert_eq!(counts.values().sum::<usize>(), total);
    // Three of eleven targets are the client's own; an event source without a secret goes to seven more.
    for call in CALLS {
        let own = 5 * 3 * SECRETS.len();
        let roamed = if call == Call::EventSource { 5 * 7 } else { 0 };
        assert_eq!(counts[&(call, true)], own + roamed, "{call:?}");
    }
    println!("{total} cells, {counts:?}");
}

#[test]
fn the_names_of_this_world_lead_to_loopback_alone() {
    let world = World::new();
    assert!(world.0.addresses.values().all(|address| IpAddr::is_loopback(&address.ip())));
}
