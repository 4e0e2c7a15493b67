//! Login through OAuth2: against the hub, which plays the provider too, and against the real PocketBase with
//! a small OpenID provider on loopback.
#![cfg(all(feature = "hub", feature = "async-io"))]

mod real;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use real::{PocketBase, soon};
use serde_json::json;
use tidings::{
    Client, Error,
    hub::{Answer, Endpoint, Hub},
};
use url::Url;

/// What a browser does with the address: gets it, and goes where it is sent.
fn browse(url: &str) {
    let mut url = Url::parse(url).unwrap();
    for _ in 0..5 {
        let (status, location) = get(&url);
        match location.filter(|_| (300..400).contains(&status)) {
            Some(location) => url = url.join(&location).unwrap(),
            None => return,
        }
    }
    panic!("redirects without end");
}

fn get(url: &Url) -> (u16, Option<String>) {
    let addr = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let mut stream = TcpStream::connect(&addr).unwrap();
    let target = &url[url::Position::BeforePath..];
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.take_while(|line| !line.is_empty());
    let location = headers.filter_map(|line| {
        line.split_once(": ")
            .filter(|(name, _)| name.eq_ignore_ascii_case("location"))
            .map(|(_, v)| v.to_owned())
    });
    (status, location.last())
}

fn open(url: &str) {
    let url = url.to_owned();
    thread::spawn(move || browse(&url));
}

#[test]
fn against_the_hub_somebody_says_yes() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.oauth2("users", "mock", Some("ann@example.com"));
        let client = Client::new(&hub.url()).unwrap();
        let login =
            soon("the login", client.collection("users").auth_with_oauth2("mock", open).into_future());
        let login = login.await.unwrap();
        assert_eq!(login.record["email"], "ann@example.com");
        assert_eq!(client.auth().token(), Some(login.token));
        assert!(hub.wait_until(|stats| stats.streams == 0, real::PATIENCE), "its stream is gone");
    });
}

#[test]
fn from_inside_a_callback_it_does_not_wait_for_itself() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.oauth2("users", "mock", Some("ann@example.com"));
        let client = Client::new(&hub.url()).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let own = client.clone();
        let log_in = move |_| {
            let login = own.collection("users").auth_with_oauth2("mock", open);
            tell.send(smol::block_on(login.timeout(real::PATIENCE).into_future())).unwrap();
        };
        let posts = client.collection("posts").subscribe("*").on(log_in).await.unwrap();
        hub.create("posts", serde_json::json!({"title": "x"}));
        let login = smol::unblock(move || told.recv_timeout(2 * real::PATIENCE)).await.unwrap();
        assert_eq!(login.unwrap().record["email"], "ann@example.com");
        drop(posts);
    });
}

#[test]
fn somebody_says_no() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.oauth2("users", "mock", None);
        let client = Client::new(&hub.url()).unwrap();
        let login =
            soon("the answer", client.collection("users").auth_with_oauth2("mock", open).into_future());
        let error = login.await.unwrap_err();
        assert!(error.to_string().contains("refused the login"), "{error}");
        assert!(client.auth().token().is_none());
        assert!(hub.wait_until(|stats| stats.streams == 0, real::PATIENCE));
    });
}

#[test]
fn a_site_that_the_server_does_not_know_is_told_with_those_it_knows() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.oauth2("users", "mock", None);
        let client = Client::new(&hub.url()).unwrap();
        let error = client.collection("users").auth_with_oauth2("github", open).await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error:?}");
        assert!(error.to_string().contains("\"mock\""), "{error}");
    });
}

#[test]
fn it_has_a_time_limit_and_can_be_given_up_and_leaves_nothing() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.oauth2("users", "mock", Some("ann@example.com"));
        let client = Client::new(&hub.url()).unwrap();
        let users = client.collection("users");
        let error =
            users.auth_with_oauth2("mock", |_| {}).timeout(Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
        assert!(hub.wait_until(|stats| stats.streams == 0, real::PATIENCE));

        let (opened, is_open) = mpsc::channel();
        let login =
            smol::spawn(users.auth_with_oauth2("mock", move |_| opened.send(()).unwrap()).into_future());
        smol::unblock(move || is_open.recv_timeout(real::PATIENCE).unwrap()).await;
        assert_eq!(hub.stats().streams, 1);
        drop(login);
        assert!(hub.wait_until(|stats| stats.streams == 0, real::PATIENCE));
    });
}

fn pairs(url: &str) -> HashMap<String, String> {
    Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

#[test]
fn the_password_of_the_servers_url_is_not_told_to_the_site() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        hub.oauth2("users", "mock", Some("ann@example.com"));
        let client = Client::new(&format!("http://user:hushhush@{}", hub.addr())).unwrap();
        let (tell, told) = mpsc::channel();
        let see_and_open = move |url: &str| {
            tell.send(url.to_owned()).unwrap();
            open(url);
        };
        let login = client.collection("users").auth_with_oauth2("mock", see_and_open);
        soon("the login", login.into_future()).await.unwrap();
        let url = told.recv().unwrap();
        assert!(!url.contains("hushhush"), "{url}");
        assert_eq!(pairs(&url)["redirect_uri"], format!("{}/api/oauth2-redirect", hub.url()));
        let seen = hub.requests();
        let exchange = seen.iter().find(|request| request.path.ends_with("auth-with-oauth2")).unwrap();
        assert!(!String::from_utf8_lossy(&exchange.body).contains("hushhush"));
        // The server itself gets them, with each request of a guest.
        let own = seen.iter().filter(|request| request.header("host") == Some(&hub.addr().to_string()));
        let with =
            own.filter(|request| request.header("authorization") == Some("Basic dXNlcjpodXNoaHVzaA=="));
        let paths: Vec<_> = with.map(|request| request.path.rsplit('/').next().unwrap()).collect();
        for path in ["auth-methods", "realtime", "auth-with-oauth2"] {
            assert!(paths.contains(&path), "{paths:?}");
        }
    });
}

/// The methods of a server whose site is at `url`; with a verifier where there is one.
fn methods(url: &str, verifier: Option<&str>) -> Answer {
    let mut site = json!({"name": "site", "authURL": url});
    if let Some(verifier) = verifier {
        site["codeVerifier"] = json!(verifier);
    }
    let body = json!({"oauth2": {"enabled": true, "providers": [site]}});
    Answer::status(200).content_type("application/json").body(body.to_string())
}

#[test]
#[cfg(feature = "tls")]
fn a_log_in_for_which_the_server_gives_no_verifier_makes_its_own() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    smol::block_on(async {
        let hub = Hub::start().unwrap();
        for given in [None, Some("theirs"), Some("")] {
            hub.faults().answer_next(Endpoint::Auth, methods("https://site.test/auth", given), 1);
            let client = Client::new(&hub.url()).unwrap();
            let (tell, told) = mpsc::channel();
            let see = move |url: &str| tell.send(url.to_owned()).unwrap();
            let login = smol::spawn(client.collection("users").auth_with_oauth2("site", see).into_future());
            let query = pairs(&smol::unblock(move || told.recv_timeout(real::PATIENCE).unwrap()).await);
            let answer = json!({"state": query["state"], "code": "c0de"});
            assert_eq!(hub.publish("@oauth2", answer.to_string()), 1);
            // The hub has given no such code.
            soon("the refusal", login).await.unwrap_err();
            let seen = hub.requests();
            let exchange = seen.iter().rfind(|request| request.path.ends_with("auth-with-oauth2")).unwrap();
            let body: serde_json::Value = serde_json::from_slice(&exchange.body).unwrap();
            let verifier = body["codeVerifier"].as_str().unwrap();
            match given {
                Some(given) => {
                    assert_eq!(verifier, given);
                    assert!(!query.contains_key("code_challenge"), "what the server's address has is all");
                }
                None => {
                    let hash = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
                    assert_eq!(query["code_challenge"], URL_SAFE_NO_PAD.encode(hash));
                    assert_eq!(query["code_challenge_method"], "S256");
                }
            }
        }
    });
}

#[test]
fn an_address_that_is_no_secure_page_is_not_opened() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        for url in ["http://site.test/auth", "javascript:alert(1)", "file:///etc/passwd"] {
            hub.faults().answer_next(Endpoint::Auth, methods(url, Some("v")), 1);
            let client = Client::new(&hub.url()).unwrap();
            let login = client.collection("users").auth_with_oauth2("site", |url| panic!("opened {url}"));
            let error = soon("the refusal", login.into_future()).await.unwrap_err();
            assert!(error.to_string().contains("https:"), "{error}");
            assert_eq!(client.stats().panics, 0);
        }
    });
}

/// The least that PocketBase takes for an OpenID provider: says yes to all, and that they are Ann.
fn provider() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let target = line.split(' ').nth(1).unwrap_or("/").to_owned();
            let mut length = 0;
            loop {
                let mut header = String::new();
                if reader.read_line(&mut header).unwrap() == 0 || header == "\r\n" {
                    break;
                }
                if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let url = Url::parse("http://provider").unwrap().join(&target).unwrap();
            let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
            let answer = match url.path() {
                "/auth" => {
                    let back = Url::parse_with_params(
                        &query["redirect_uri"],
                        [("state", query["state"].as_str()), ("code", "c0de")],
                    );
                    format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", back.unwrap())
                }
                path => {
                    let body = match path {
                        "/token" => json!({"access_token": "t", "token_type": "Bearer"}),
                        _ => {
                            json!({"sub": "1", "email": "ann@example.com", "email_verified": true, "name": "Ann"})
                        }
                    };
                    let body = body.to_string();
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    )
                }
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    addr
}

#[test]
fn against_the_real_server_with_an_open_id_provider() {
    smol::block_on(async {
        let server = PocketBase::start("");
        let site = format!("http://{}", provider());
        let oidc = json!({
            "name": "oidc", "clientId": "me", "clientSecret": "s3cret", "displayName": "Mock",
            "authURL": format!("{site}/auth"), "tokenURL": format!("{site}/token"), "userInfoURL": format!("{site}/me"),
        });
        let settings = json!({"oauth2": {"enabled": true, "providers": [oidc]}});
        server.root().await.send("PATCH", "/api/collections/users", settings).await.unwrap();
        let client = server.client();
        let login =
            soon("the login", client.collection("users").auth_with_oauth2("oidc", open).into_future());
        let login = login.await.unwrap();
        assert_eq!(login.record["email"], "ann@example.com");
        assert!(client.auth().is_valid());
        // The token works.
        client.collection("users").auth_refresh().await.unwrap();
    });
}

/// A server that has PKCE switched off for a site gives an empty verifier and passes none on, so a challenge of ours could
/// not be answered.
#[test]
fn against_the_real_server_with_a_site_without_pkce() {
    smol::block_on(async {
        let server = PocketBase::start("");
        let site = format!("http://{}", provider());
        let oidc = json!({
            "name": "oidc", "clientId": "me", "clientSecret": "s3cret", "displayName": "Mock", "pkce": false,
            "authURL": format!("{site}/auth"), "tokenURL": format!("{site}/token"), "userInfoURL": format!("{site}/me"),
        });
        let settings = json!({"oauth2": {"enabled": true, "providers": [oidc]}});
        server.root().await.send("PATCH", "/api/collections/users", settings).await.unwrap();
        let client = server.client();
        let (tell, told) = mpsc::channel();
        let see_and_open = move |url: &str| {
            tell.send(url.to_owned()).unwrap();
            open(url);
        };
        let login = client.collection("users").auth_with_oauth2("oidc", see_and_open);
        let login = soon("the login", login.into_future()).await.unwrap();
        assert_eq!(login.record["email"], "ann@example.com");
        assert!(!pairs(&told.recv().unwrap()).contains_key("code_challenge"));
    });
}
