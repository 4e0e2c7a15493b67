//! No secret leaks: not in what can be printed, not in the text of an error, not to where a redirect leads.
//!
//! Every secret here holds one word, so that looking for it is one search. Whatever a program can show goes through
//! [`Listener::hears`]; the log of a test's whole run (feature `tracing`, at trace level) will be one more thing to pass
//! to it, as the last line of each test here.
#![cfg(all(feature = "hub", feature = "async-io", feature = "tls", feature = "proxy"))]

use std::{
    error::Error as _,
    fmt::Debug,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::json;
use tidings::{
    Client, ClientBuilder, Error,
    hub::{Answer, Endpoint, Hub},
};

/// The word in every secret.
const WORD: &str = "hushhush";

/// The word inside something encoded in Base64, by where in a group of three bytes it begins.
const WORD_IN_BASE64: [&str; 3] = ["aHVzaGh1c2", "h1c2hodXNo", "odXNoaHVza"];

const TOKEN: &str = "token-hushhush";
const PASSWORD: &str = "password-hushhush";
const PROXY_PASSWORD: &str = "proxy-hushhush";
const URL_PASSWORD: &str = "url-hushhush";
const HEADER: &str = "header-hushhush";
const QUERY: &str = "query-hushhush";

/// Hears all that is shown, and fails the test at the first secret.
#[derive(Default)]
struct Listener {
    /// Secrets that a server has made, which do not hold the word.
    issued: Vec<String>,
}

impl Listener {
    #[track_caller]
    fn hears(&self, what: &str, text: &str) {
        let lower = text.to_lowercase();
        assert!(!lower.contains(WORD), "{what} tells a secret: {text}");
        let words = WORD_IN_BASE64.into_iter().chain(self.issued.iter().map(String::as_str));
        for word in words {
            assert!(!text.contains(word), "{what} tells a secret: {text}");
        }
    }

    #[track_caller]
    fn sees(&self, what: &str, value: &impl Debug) {
        self.hears(what, &format!("{value:?}"));
        self.hears(what, &format!("{value:#?}"));
    }

    /// All that can be printed of an error, down to the first cause. Returns what a user reads.
    #[track_caller]
    fn told(&self, what: &str, error: &Error) -> String {
        self.sees(what, error);
        self.hears(what, &error.to_string());
        if let Some(refusal) = error.refusal() {
            self.sees(what, refusal);
            self.hears(what, &refusal.to_string());
        }
        let mut cause = error.source();
        while let Some(error) = cause {
            self.sees(what, &error);
            self.hears(what, &error.to_string());
            cause = error.source();
        }
        error.to_string()
    }
}

/// A client with every kind of secret in its settings.
fn armed(address: impl std::fmt::Display) -> ClientBuilder {
    builder(&format!("http://user:{URL_PASSWORD}@{address}/?key={QUERY}"))
}

fn builder(url: &str) -> ClientBuilder {
    Client::builder(url)
        .token(TOKEN)
        .header("X-Api-Key", HEADER)
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
}

/// A server that writes down every request, byte for byte, and answers all with the same.
struct Recorder {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    fn answering(answer: impl Into<String>) -> Self {
        let (answer, requests) = (answer.into(), Arc::<Mutex<Vec<String>>>::default());
        let seen = requests.clone();
        let address = serve(move |mut stream| {
            let request = read_request(&mut stream);
            seen.lock().unwrap().push(request);
            let _ = stream.write_all(answer.as_bytes());
        });
        Self { address, requests }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

/// Runs `script` for each connection, one after the other, and closes it.
fn serve(script: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(|stream| script(stream.unwrap())));
    address
}

/// Reads a request to the end of its body, or as much of it as comes.
fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return String::from_utf8_lossy(&request).into_owned();
            }
        }
        match stream.read(&mut chunk) {
            Ok(n @ 1..) => request.extend_from_slice(&chunk[..n]),
            _ => return String::from_utf8_lossy(&request).into_owned(),
        }
    }
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn no_debug_of_any_type_shows_a_secret() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.add_user("users", "ada@example.com", PASSWORD);
        let settings = armed(hub.addr())
            .proxy(format!("http://user:{PROXY_PASSWORD}@127.0.0.1:1"))
            .user_agent(format!("agent-{WORD}"));
        Listener::default().sees("ClientBuilder", &settings);
        let client = armed(hub.addr()).build().unwrap();
        let mut changes = client.auth().changes();
        assert_eq!(changes.next().await.unwrap().as_deref(), Some(TOKEN), "the API does give it");

        let users = client.collection("users");
        let answer = users.auth_with_password("ada@example.com", PASSWORD).await.unwrap();
        let listener = Listener { issued: vec![answer.token.clone()] };
        listener.sees("AuthResponse", &answer);

        let subscribe = || {
            let posts = client.collection("posts").subscribe("*");
            posts.header("X-Room-Key", HEADER).query("key", QUERY)
        };
        listener.sees("Subscribe", &subscribe());
        let mut posts = subscribe().await.unwrap();
        let calls = subscribe().on(|_| {}).await.unwrap();
        hub.create("posts", json!({"title": "x"}));
        let event = posts.next().await.unwrap();
        listener.sees("Event", &event);
        hub.faults().cut_streams();
        listener.sees("the Event of a gap", &posts.next().await.unwrap());

        let request = client.send("POST", &format!("/x?key={QUERY}"), json!({"password": PASSWORD}));
        let request = request.header("X-Key", HEADER).query("key", QUERY);
        listener.sees("Request", &request);
        let answer =
            client.send("POST", "/api/collections/notes/records", json!({"text": WORD})).await.unwrap();
        assert!(String::from_utf8_lossy(answer.body()).contains(WORD), "the API does give it");
        listener.sees("Response", &answer);

        listener.sees("Client", &client);
        listener.sees("Auth", &client.auth());
        listener.sees("Collection", &users);
        listener.sees("Realtime", &client.realtime());
        listener.sees("Subscription", &posts);
        listener.sees("Subscription with a callback", &calls);
        listener.sees("SubscriptionState", &posts.state());
        listener.sees("States", &client.states());
        listener.sees("State", &client.state());
        listener.sees("Stats", &client.stats());
        listener.sees("TokenChanges", &changes);
        listener.sees("the next of TokenChanges", &changes.next());
        listener.sees("the next of Subscription", &posts.next());
        listener.sees("Close", &client.close());
        listener.sees("Client, closed", &client);
    });
}

/// What goes wrong before the network is asked.
#[test]
fn no_error_about_an_argument_shows_a_secret() {
    let listener = Listener::default();
    let fails = |what: &str, builder: ClientBuilder, tells: &str| {
        let error = builder.build().map(drop).expect_err(what);
        let text = listener.told(what, &error);
        assert!(text.contains(tells), "{what}: {text}");
    };
    for (url, tells) in [
        (format!("http://user:{URL_PASSWORD}@127.0.0.1:99999/?token={QUERY}"), "port"),
        (format!("http://user:{URL_PASSWORD}@ho st/#{QUERY}"), "domain name"),
        (format!("http://user:{URL_PASSWORD}@[::1/?{QUERY}"), "IPv6"),
        (format!("user:{URL_PASSWORD}@host:8090?{QUERY}"), "scheme"),
        (format!("ftp://user:{URL_PASSWORD}@host/?{QUERY}"), "http and https"),
        (format!("https://user:{URL_PASSWORD}@host/api/?{QUERY}"), "leave out /api"),
        (format!("http://user:{URL_PASSWORD}@?{QUERY}"), "host"),
        // A password with characters that should have been encoded.
        (format!("http://user:a@b-{URL_PASSWORD}@ho st/"), "domain name"),
        (format!("http://user:a/b-{URL_PASSWORD}@host/"), "port"),
        (format!("http://user:a?b-{URL_PASSWORD}@host/"), "port"),
    ] {
        fails("a bad URL", builder(&url), tells);
    }
    let plain = || builder("http://127.0.0.1:1");
    fails("a bad header", plain().header("X-Key", format!("{HEADER}\n")), "X-Key");
    fails("a bad token", plain().token(format!("{TOKEN} {TOKEN}")), "token");
    fails("a bad token", plain().token(format!("{TOKEN}\u{7f}")), "token");
    fails("a bad agent", plain().user_agent(format!("{WORD}\n")), "user agent");
    fails("bad roots", plain().ca_pem(WORD), "ca_pem");
    let key = format!("-----BEGIN PRIVATE KEY-----\n{WORD}\n-----END PRIVATE KEY-----\n");
    fails("a bad key", plain().client_certificate(WORD, key.clone()), "client");
    let chain = rcgen::generate_simple_self_signed([String::from("me")]).unwrap().cert.pem();
    fails("a bad key", plain().client_certificate(chain, key), "client");
    for proxy in [
        format!("http://user:{PROXY_PASSWORD}@ho st:1"),
        format!("http://user:{PROXY_PASSWORD}@host:99999"),
        format!("user:{PROXY_PASSWORD}@"),
        format!("socks5://user:{PROXY_PASSWORD}@host:1080"),
        format!("socks4://user:{PROXY_PASSWORD}@host:1080"),
    ] {
        fails("a bad proxy", plain().proxy(proxy), "prox");
    }

    let client = plain().build().unwrap();
    let told = |what, error: Error| listener.told(what, &error);
    told("a token with a space", client.auth().set_token(&format!("{TOKEN} x")).unwrap_err());
    told("a token that is no text", client.auth().set(&format!("{TOKEN}\n\0"), json!({})).unwrap_err());
    told("a filter", client.filter("a = {:b}", json!({"c": WORD})).unwrap_err());
    told("a filter", client.filter("a = {:b}", json!(WORD)).unwrap_err());
    let posts = client.collection("posts");
    let long = posts.subscribe("*").header("X-Key", HEADER.repeat(300)).start();
    told("a topic that is too long", long.unwrap_err());
    smol::block_on(async {
        told("a header", client.send("GET", "/", None).header("X-Key", "hushhush\n").await.unwrap_err());
        told("a path", client.send("GET", &format!("http://u:{WORD}@h/"), None).await.unwrap_err());
        client.close().await;
        told("closed", client.send("GET", &format!("/?{QUERY}"), None).await.unwrap_err());
    });
}

/// What goes wrong on the way and at the server.
#[test]
fn no_error_of_a_real_failure_shows_a_secret() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.add_user("users", "ada@example.com", PASSWORD);
        let listener = Listener::default();
        let path = format!("/api/health?key={QUERY}");

        // Refusals.
        let client = armed(hub.addr()).build().unwrap();
        let users = client.collection("users");
        let error = users.auth_with_password("ada@example.com", "wrong-hushhush").await.unwrap_err();
        assert!(listener.told("a refused log-in", &error).contains("Failed to authenticate"));
        let error = users.auth_refresh().await.unwrap_err();
        assert_eq!(error.status(), Some(401), "{}", listener.told("a refused refresh", &error));
        hub.faults().refuse_next(Endpoint::Submit, 403, 1);
        let error = client.collection("posts").subscribe("*").header("X-Key", HEADER).await.unwrap_err();
        assert_eq!(error.status(), Some(403), "{}", listener.told("a refused topic", &error));
        let posts = client.collection("posts");
        let mut refused = posts.subscribe("*").header("X-Key", HEADER).query("key", QUERY).await.unwrap();
        hub.faults().refuse_next(Endpoint::Submit, 403, 2);
        // The set is submitted anew, and the server takes it back.
        let _ = posts.subscribe("one").await;
        hub.faults().refuse_next(Endpoint::Submit, 403, 9);
        hub.faults().cut_streams();
        let last = loop {
            let event = refused.next().await.unwrap();
            if event.error().is_some() {
                break event;
            }
        };
        listener.sees("a refused subscription", &last);
        listener.told("a refused subscription", last.error().unwrap());
        listener.sees("the state", &client.state());
        listener.hears("the state", &client.state().to_string());
        hub.faults().clear();

        // Answers that are none.
        for (what, answer) in [
            ("a page", Answer::html(WORD)),
            ("no stream", Answer::status(200).content_type("text/plain").body(WORD)),
            ("a hang-up", Answer::hang_up()),
            ("a reset", Answer::reset()),
            ("a redirect to nowhere", Answer::status(302).header("location", "http://[hush")),
        ] {
            hub.faults().answer_next(Endpoint::Connect, answer.clone(), 1);
            let client = armed(hub.addr()).build().unwrap();
            let error = client.collection("posts").subscribe("*").header("X-Key", HEADER).await.unwrap_err();
            listener.told(what, &error);
            listener.sees(what, &client.state());
            listener.hears(what, &client.state().to_string());
        }
        for (what, answer) in [
            ("a hang-up", Answer::hang_up()),
            ("a reset", Answer::reset()),
            ("silence", Answer::silence()),
            ("a loop", Answer::redirect(&format!("/api/health?again={QUERY}"))),
            ("a redirect to no web page", Answer::redirect("ftp://user:hushhush@host/")),
            ("an error page", Answer::status(502)),
        ] {
            hub.faults().answer_next(Endpoint::Health, answer, 11);
            let request = client.send("POST", &path, json!({"password": PASSWORD}));
            let error = request.timeout(Duration::from_millis(300)).await.unwrap_err();
            listener.told(what, &error);
            hub.faults().clear();
        }

        // An answer of another shape than expected: the parser would quote what it found.
        let secret = json!({"token": TOKEN, "record": {}});
        let body = Answer::status(200).content_type("application/json").body(secret.to_string());
        hub.faults().answer_next(Endpoint::Health, body, 1);
        #[derive(Debug, serde::Deserialize)]
        struct Wrong {
            #[serde(rename = "token")]
            _token: u8,
        }
        let error = client.send("GET", &path, None).await.unwrap().json::<Wrong>().unwrap_err();
        assert!(listener.told("a body of another shape", &error).contains("u8"), "{error}");
        for body in [json!(TOKEN), json!({"token": [TOKEN]}), json!({TOKEN: 1})] {
            let answer = Answer::status(200).content_type("application/json").body(body.to_string());
            hub.faults().answer_next(Endpoint::Auth, answer, 1);
            let error = users.auth_with_password("ada@example.com", PASSWORD).await.unwrap_err();
            listener.told("a log-in answered in another shape", &error);
        }

        // No answer at all.
        let to = |address: String| armed(address).build().unwrap();
        for (what, address, tells) in [
            ("nobody there", nobody().to_string(), "refused"),
            ("no such host", "nowhere.invalid".to_owned(), "nowhere.invalid"),
            ("no HTTP", Recorder::answering("SSH-2.0-x\r\n").address.to_string(), "HTTP"),
            ("an empty answer", Recorder::answering("").address.to_string(), "closed"),
        ] {
            let client = to(address);
            let error = client.send("GET", &path, None).await.unwrap_err();
            assert!(listener.told(what, &error).contains(tells), "{what}: {error}");
            let error = client.collection("posts").subscribe("*").header("X-Key", HEADER).await.unwrap_err();
            listener.told(what, &error);
            listener.hears(what, &client.state().to_string());
        }
    });
}

#[test]
fn no_error_of_tls_shows_a_secret() {
    let untrusted = serve_tls();
    let plain = Hub::start().unwrap();
    let listener = Listener::default();
    smol::block_on(async {
        for (what, address, tells) in
            [("an unknown authority", untrusted, "certificate"), ("no TLS", plain.addr(), "TLS")]
        {
            let client = builder(&format!("https://user:{URL_PASSWORD}@{address}/?{QUERY}")).build().unwrap();
            let request = client.send("POST", &format!("/x?{QUERY}"), json!({"password": PASSWORD}));
            let error = request.await.unwrap_err();
            let text = listener.told(what, &error);
            assert!(text.contains(tells), "{what}: {text}");
            let error = client.collection("posts").subscribe("*").header("X-Key", HEADER).await.unwrap_err();
            listener.told(what, &error);
        }
    });
}

/// Answers nobody: its certificate is its own word.
fn serve_tls() -> SocketAddr {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed([String::from("127.0.0.1")]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(vec![cert.der().clone()], key).unwrap());
    serve(move |mut stream| {
        let mut tls = rustls::ServerConnection::new(config.clone()).unwrap();
        while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
    })
}

#[test]
fn no_error_of_a_proxy_shows_a_secret_and_the_proxy_learns_only_its_own() {
    let listener = Listener::default();
    let refusing = Recorder::answering(
        "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 2\r\n\r\nno",
    );
    smol::block_on(async {
        for (proxy, tells) in [(refusing.address, "407"), (nobody(), "refused")] {
            for scheme in ["http", "https"] {
                let what = format!("a proxy before {scheme}");
                let client =
                    Client::builder(&format!("{scheme}://user:{URL_PASSWORD}@host.invalid/?{QUERY}"))
                        .token(TOKEN)
                        .header("X-Api-Key", HEADER)
                        .proxy(format!("http://user:{PROXY_PASSWORD}@{proxy}"))
                        .build()
                        .unwrap();
                let error = client.send("GET", &format!("/x?{QUERY}"), None).await.unwrap_err();
                let text = listener.told(&what, &error);
                assert!(text.contains(tells), "{what}: {text}");
                let error = client.collection("posts").subscribe("*").await.unwrap_err();
                listener.told(&what, &error);
                listener.sees(&what, &client);
            }
        }
    });
    let seen = refusing.take();
    let tunnels: Vec<&String> = seen.iter().filter(|request| request.starts_with("CONNECT ")).collect();
    assert!(!tunnels.is_empty() && tunnels.len() < seen.len());
    for request in tunnels {
        // The password of the proxy, and nothing of what is inside.
        let (_, credentials) = request.split_once("proxy-authorization: Basic ").unwrap();
        let (credentials, rest) = credentials.split_once("\r\n").unwrap();
        assert_eq!(credentials, "dXNlcjpwcm94eS1odXNoaHVzaA==");
        listener.hears("what a tunnel's proxy sees", &request.replace(credentials, ""));
        assert!(!rest.contains("uthorization"));
    }
}

#[test]
fn a_redirect_takes_no_secret_to_another_origin() {
    smol::block_on(async {
        let listener = Listener::default();
        for status in [301, 302, 303, 307, 308] {
            let there = Recorder::answering("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n");
            let here = Recorder::answering(format!(
                "HTTP/1.1 {status} Moved\r\nlocation: http://{}/there\r\ncontent-length: 0\r\n\r\n",
                there.address
            ));
            let login = |client: &Client| {
                let request = client.send("POST", &format!("/log-in?{QUERY}"), json!({"password": PASSWORD}));
                request.header("X-Key", HEADER).header("Cookie", WORD).into_future()
            };
            // One who has a token is told, and so is a guest whose body would go along.
            for is_guest in [false, true] {
                let client = armed(here.address).build().unwrap();
                if is_guest {
                    client.auth().clear();
                }
                let answer = login(&client).await;
                let first = here.take().concat();
                for secret in [PASSWORD, HEADER, QUERY] {
                    assert!(first.contains(secret), "{status}: the server itself gets {secret}: {first}");
                }
                assert_eq!(first.contains(TOKEN), !is_guest);
                assert_eq!(first.contains(WORD_IN_BASE64[0]), is_guest, "the password of the URL");
                assert!(listener.told("a redirect", &answer.unwrap_err()).contains("redirect"));
                assert_eq!(there.take().len(), 0, "{status}");
            }
        }
    });
}

#[test]
fn a_redirected_stream_takes_no_secret_to_another_origin() {
    smol::block_on(async {
        let listener = Listener::default();
        let there = Recorder::answering(concat!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
            "id:1\nevent:PB_CONNECT\ndata:{\"clientId\":\"1\"}\n\n"
        ));
        for status in [301, 302, 303, 307, 308] {
            let to = |path: &str| {
                let answer = Answer::status(status);
                answer.header("location", &format!("http://{}/{path}", there.address))
            };
            for endpoint in [Endpoint::Connect, Endpoint::Submit] {
                let hub = Hub::start().unwrap();
                hub.faults().answer_next(endpoint, to("api/realtime"), 1);
                let client = armed(hub.addr()).build().unwrap();
                let posts = client.collection("posts").subscribe("*").header("X-Room-Key", HEADER);
                // A stream elsewhere is refused; a submit is tried again at the server itself.
                match posts.await {
                    Err(error) => {
                        assert!(listener.told("a redirect", &error).contains("redirect"), "{error}")
                    }
                    Ok(_) => assert_eq!(endpoint, Endpoint::Submit),
                }
                client.close().await;
                for request in there.take() {
                    listener.hears(&format!("where {status} of {endpoint:?} leads"), &request);
                }
            }
        }
    });
}
