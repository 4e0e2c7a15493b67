//! `tidings doctor` beside what it is for: each trouble is arranged, and it names that and nothing else.

mod program;
#[path = "../../../tests/real/mod.rs"]
mod real;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use program::{run, tidings};
use real::{
    PocketBase,
    nginx::{Nginx, Settings},
};
use serde_json::{Value, json};
use smol::block_on;
use tidings::hub::{Answer, Endpoint, Hub};

/// What it found: exit code, and names with weights.
struct Report {
    code: i32,
    names: Vec<String>,
    proofs: String,
}

fn doctor(arguments: &[&str]) -> Report {
    doctor_as(&[], arguments)
}

fn doctor_as(environment: &[(&str, &str)], arguments: &[&str]) -> Report {
    let mut command = tidings(&["doctor", "--json"]);
    command.args(arguments).envs(environment.iter().copied());
    report(&run(&mut command))
}

fn report(ended: &program::Ended) -> Report {
    assert!(ended.err.is_empty(), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.out[0]).unwrap();
    let findings = report["findings"].as_array().unwrap();
    println!("{:.2} s {findings:#?}", report["seconds"].as_f64().unwrap());
    let names = findings.iter().map(|one| {
        assert!(!one["proof"].as_str().unwrap().is_empty() && !one["fix"].as_str().unwrap().is_empty());
        format!("{} {}", one["weight"].as_str().unwrap(), one["name"].as_str().unwrap())
    });
    let proofs = findings.iter().map(|one| one["proof"].as_str().unwrap()).collect::<Vec<_>>().join("; ");
    Report { code: ended.code.unwrap(), names: names.collect(), proofs }
}

impl Report {
    /// It found this alone.
    #[track_caller]
    fn is(&self, name: &str, proof: &str) {
        assert_eq!(self.names, [name], "{}", self.proofs);
        assert!(self.proofs.contains(proof), "{}", self.proofs);
        let code = match name.split(' ').next().unwrap() {
            "fault" => 1,
            "unproved" => 2,
            _ => 0,
        };
        assert_eq!(self.code, code);
    }

    #[track_caller]
    fn is_well(&self) {
        assert_eq!(self.names, [""; 0], "{}", self.proofs);
        assert_eq!(self.code, 0);
    }
}

fn hub() -> Hub {
    let hub = Hub::start().unwrap();
    hub.create("posts", json!({"title": "a"}));
    hub
}

/// A PocketBase with a record in `notes`.
fn pocketbase() -> PocketBase {
    let server = PocketBase::start("");
    block_on(async {
        server.collection("notes", &["title"], &[], "").await;
        real::create(&server.client(), "notes", json!({"title": "a"})).await;
    });
    server
}

fn nginx(upstream: SocketAddr, location: &str) -> Nginx {
    Nginx::start(upstream, &Settings { location, ..Settings::default() })
}

fn superuser(server: &PocketBase) -> String {
    block_on(server.root()).auth().token().unwrap()
}

#[test]
fn a_server_that_is_well_has_no_finding() {
    let server = pocketbase();
    doctor(&[&server.url()]).is_well();
    doctor(&[
        &server.url(),
        "notes",
        "-f",
        "title = 'a'",
        "--write",
        "notes",
        "--write-body",
        r#"{"title":"b"}"#,
    ])
    .is_well();
    doctor(&[&nginx(server.addr(), "").url(), "notes", "--origin", "https://app.example.com"]).is_well();
    let (ann, all) = (block_on(server.user("ann@example.com")), superuser(&server));
    doctor_as(
        &[("TIDINGS_PASSWORD", real::PASSWORD), ("TIDINGS_SUPERUSER_TOKEN", &all)],
        &[&server.url(), "users", "--user", "ann@example.com"],
    )
    .is_well();
    assert!(!ann.is_empty());
    let ended = run(&mut tidings(&["doctor", &server.url()]));
    assert_eq!(ended.out, [format!("{} is well: nothing stands in the way of events.", server.url())]);
}

#[test]
fn row_1_not_reachable_tls_or_a_wrong_path() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    doctor(&[&format!("http://{free}")]).is("fault unreachable", "Connection refused");
    doctor(&["http://nosuch.invalid"]).is("fault unreachable", "lookup");
    doctor(&[&nginx(free, "").url()]).is("fault unreachable", "502 from a proxy (nginx");
    let hub = hub();
    doctor(&[&hub.url().replace("http:", "https:")]).is("fault tls", "");
    doctor(&[&format!("{}/nowhere", hub.url())]).is("fault wrong-base-path", "404");
    hub.faults().answer_next(Endpoint::Health, Answer::html("<h1>Sign in</h1>"), 1);
    doctor(&[&hub.url()]).is("fault wrong-base-path", "200 with text/html");
    hub.faults().answer_next(Endpoint::Connect, Answer::html("<h1>An app</h1>"), 2);
    doctor(&[&hub.url()]).is("fault wrong-base-path", "/api/realtime: 200 with text/html");
    hub.faults().freeze(true);
    doctor(&[&hub.url()]).is("fault unreachable", "no answer in 3");
}

#[test]
fn row_2_a_redirect_eats_the_post() {
    let hub = hub();
    let to = "return 301 https://www.example.com$request_uri;";
    doctor(&[&nginx(hub.addr(), to).url()]).is("fault redirect", "301 to https://www.example.com/api/health");
    let slash = "location = /api/realtime { return 301 /api/realtime/; }";
    let nginx = Nginx::start(hub.addr(), &Settings { server: slash, ..Settings::default() });
    doctor(&[&nginx.url()]).is("fault redirect", "GET /api/realtime: 301 to");
    let post = format!(
        "location = /api/realtime {{ if ($request_method = POST) {{ return 302 /moved; }} proxy_pass http://{}; }}",
        hub.addr()
    );
    let nginx = Nginx::start(hub.addr(), &Settings { server: &post, ..Settings::default() });
    doctor(&[&nginx.url()]).is("fault redirect", "POST /api/realtime: 302 to");
}

#[test]
fn row_3_the_answer_is_buffered() {
    let server = pocketbase();
    let nginx = nginx(server.addr(), "proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;");
    doctor(&[&nginx.url(), "notes"]).is("fault buffered", "in 5 s, while /api/health is answered");
    let hub = hub();
    hub.faults().answer_next(Endpoint::Connect, Answer::silence(), 2);
    doctor(&[&hub.url()]).is("fault buffered", "not even a head");
}

#[test]
fn row_4_by_compression() {
    let hub = hub();
    hub.faults().answer_next(Endpoint::Connect, Answer::gzipped(), 2);
    doctor(&[&hub.url()]).is("fault compressed", "Content-Encoding: gzip, though only identity was accepted");
    // That of nginx sends on what it has, so it is not why nothing comes.
    let server = pocketbase();
    let settings = Settings {
        http: "gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 0;",
        ..Settings::default()
    };
    doctor(&[&Nginx::start(server.addr(), &settings).url()]).is("warning compressed", "came all the same");
    doctor(&[&format!("http://{}", holds_back_what_it_compresses())])
        .is("fault compressed", "and not with gzip");
}

/// A proxy whose compressor waits for more, as many do and nginx does not.
fn holds_back_what_it_compresses() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 4096];
            let length = connection.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
            let hello = "event: PB_CONNECT\ndata: {\"clientId\":\"x\"}\n\n";
            let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
            let answer = match () {
                () if request.contains("get /api/health") => {
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
                        .to_owned()
                }
                () if request.contains("accept-encoding: gzip") => {
                    format!("{stream}content-encoding: gzip\r\n\r\n\x1f")
                }
                () if request.contains("get /api/realtime") => format!("{stream}\r\n{hello}"),
                () if request.contains("post /api/realtime") => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
                () => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
            };
            connection.write_all(answer.as_bytes()).unwrap();
            open.push(connection);
        }
    });
    addr
}

#[test]
fn row_5_a_proxy_cuts_quiet_streams() {
    let server = pocketbase();
    let nginx = nginx(server.addr(), "proxy_read_timeout 1s;");
    doctor(&[&nginx.url(), "--idle", "30s"]).is("fault quiet-streams-are-cut", "server: nginx");
    doctor(&[&server.url(), "--idle", "2s"]).is_well();
}

/// One nginx in front of two servers.
fn balanced(a: SocketAddr, b: SocketAddr, http: &str, location: &str) -> Nginx {
    let http = format!("upstream pair {{ server {a}; server {b}; }} {http}");
    let server = format!("location /api/realtime {{ proxy_pass http://pair; {location} }}");
    Nginx::start(a, &Settings { http: &http, server: &server, ..Settings::default() })
}

#[test]
fn row_6_several_instances_behind_a_balancer() {
    let (a, b) = (pocketbase(), pocketbase());
    let (a, b) = (a.addr(), b.addr());
    doctor(&[&balanced(a, b, "", "").url(), "notes"])
        .is("fault several-instances", "of 10 do not know the client id");
    let http = format!(
        "map $upstream_addr $instance {{ {a} a; default b; }}
        upstream a {{ server {a}; }} upstream b {{ server {b}; }}
        map $cookie_instance $to {{ a a; b b; default pair; }}"
    );
    let sticky = "proxy_pass http://$to; add_header Set-Cookie instance=$instance;";
    let server = format!("location /api/realtime {{ {sticky} }}");
    let http = format!("upstream pair {{ server {a}; server {b}; }} {http}");
    let nginx = Nginx::start(a, &Settings { http: &http, server: &server, ..Settings::default() });
    doctor(&[&nginx.url(), "notes"])
        .is("fault several-instances", "with the cookie of the stream's answer, all are accepted");
}

#[test]
fn row_7_get_and_post_from_different_addresses() {
    let server = pocketbase();
    let http = "map $request_method $from { POST 127.0.0.2; default 127.0.0.3; }";
    let settings = Settings { http, location: "proxy_bind $from;", ..Settings::default() };
    doctor(&[&Nginx::start(server.addr(), &settings).url(), "notes"])
        .is("fault different-addresses", "10 of 10");
}

#[test]
fn row_8_cors() {
    let server = pocketbase();
    let twice = nginx(server.addr(), "add_header Access-Control-Allow-Origin * always;");
    doctor(&[&twice.url()]).is("fault cors", "comes 2 times");
    let none = nginx(server.addr(), "proxy_hide_header Access-Control-Allow-Origin;");
    doctor(&[&none.url(), "--origin", "https://app.example.com"])
        .is("fault cors", "no Access-Control-Allow-Origin");
    doctor(&[&none.url()]).is_well();
    let other = nginx(
        server.addr(),
        "proxy_hide_header Access-Control-Allow-Origin;
         add_header Access-Control-Allow-Origin https://other.example.com;",
    );
    doctor(&[&other.url(), "--origin", "https://app.example.com"])
        .is("fault cors", "is https://other.example.com");
}

#[test]
fn row_9_six_connections() {
    let server = pocketbase();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let ca = std::env::temp_dir().join(format!("tidings-cli-ca-{}.pem", std::process::id()));
    std::fs::write(&ca, certificate.pem()).unwrap();
    let https = Some((certificate.pem(), key.serialize_pem()));
    let modern = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = format!("listen {modern} ssl http2;");
    let nginx = Nginx::start(server.addr(), &Settings { https, server: &listen, ..Settings::default() });
    let url = nginx.url().replace("http:", "https:");
    doctor(&[&url, "--ca", ca.to_str().unwrap()]).is("warning six-connections", "h2");
    doctor(&[&format!("https://{modern}"), "--ca", ca.to_str().unwrap()]).is_well();
    doctor(&[&url]).is("fault tls", "certificate");
    std::fs::remove_file(&ca).unwrap();
}

#[test]
fn row_10_the_token() {
    let (hub, other) = (hub(), hub());
    let ann = hub.add_user("users", "ann@example.com", "secret-1");
    let token = |hub: &Hub, user: &str, life| hub.token("users", user, Duration::from_secs(life));
    let expired = token(&hub, &ann, 0);
    doctor_as(&[("TIDINGS_TOKEN", &expired)], &[&hub.url()]).is("fault token-expired", "expired");
    let good = token(&hub, &ann, 60);
    doctor_as(&[("TIDINGS_TOKEN", &good)], &[&hub.url()]).is_well();
    let bob = other.add_user("users", "bob@example.com", "secret-1");
    let others = token(&other, &bob, 60);
    doctor_as(&[("TIDINGS_TOKEN", &others)], &[&hub.url()]).is("fault token-not-taken", "204");
    assert!(hub.revoke(&ann));
    doctor_as(&[("TIDINGS_TOKEN", &good)], &[&hub.url()]).is("fault token-not-taken", "204");
    let wrong =
        doctor_as(&[("TIDINGS_PASSWORD", "wrong-password")], &[&hub.url(), "--user", "ann@example.com"]);
    wrong.is("fault login-refused", "400");
    // The real server says the same.
    let server = pocketbase();
    doctor_as(&[("TIDINGS_TOKEN", &good)], &[&server.url(), "notes"]).is("fault token-not-taken", "204");
    let root = superuser(&server);
    doctor_as(&[("TIDINGS_TOKEN", &root)], &[&server.url(), "notes"]).is_well();
}

#[test]
fn row_11_the_identity_changes_on_one_stream() {
    let server = pocketbase();
    block_on(server.user("ann@example.com"));
    // A proxy that loses the header of some requests.
    let http = r#"map $connection $kept { "~[0-4]$" $http_authorization; default ""; }"#;
    let location = "proxy_set_header Authorization $kept;";
    let nginx = Nginx::start(server.addr(), &Settings { http, location, ..Settings::default() });
    let root = superuser(&server);
    doctor_as(&[("TIDINGS_TOKEN", &root)], &[&nginx.url(), "notes"])
        .is("fault identity-changed", "authorization don't match");
}

#[test]
fn rows_12_to_16_the_collection_and_its_rules() {
    let server = pocketbase();
    let url = server.url();
    block_on(async {
        server.collection("locked", &["title"], &[], None).await;
        server.collection("owned", &["title", "owner"], &[], "title != '' && owner = @request.auth.id").await;
        let root = server.root().await;
        real::create(&root, "owned", json!({"title": "a", "owner": "nobody"})).await;
        real::create(&root, "locked", json!({"title": "a"})).await;
        let view = json!({
            "name": "seen", "type": "view", "listRule": "", "viewRule": "", "viewQuery": "SELECT id, title FROM notes",
        });
        root.send("POST", "/api/collections", view).await.unwrap();
        server.collection("empty", &["title"], &[], "").await;
    });
    let root = superuser(&server);
    let knows = [("TIDINGS_SUPERUSER_TOKEN", &*root)];
    doctor(&[&url, "nosuch"]).is("fault no-collection", "404, while subscribing to it is acknowledged");
    doctor(&[&url, "locked"]).is("fault superusers-only", "403");
    doctor_as(&[("TIDINGS_TOKEN", &root)], &[&url, "locked"]).is_well();
    doctor(&[&url, "owned"]).is("unproved nothing-visible", "no records");
    let hidden = doctor_as(&knows, &[&url, "owned"]);
    hidden.is("fault rule-hides-everything", "no record passes `owner = @request.auth.id`");
    assert!(!hidden.proofs.contains("passes `title"), "{}", hidden.proofs);
    doctor_as(&knows, &[&url, "empty"]).is_well();
    let stranger = doctor_as(&[("TIDINGS_SUPERUSER_TOKEN", "not.a.token")], &[&url, "notes"]);
    stranger.is("unproved superuser-refused", "40");
    doctor(&[&url, "notes", "-f", "titel = 'a'"]).is("fault filter", "with the filter: 400");
    doctor(&[&url, "notes", "-f", "title = "]).is("fault filter", "at column");
    doctor_as(&knows, &[&url, "seen"]).is("fault view", "is a view");
}

#[test]
fn row_17_expand_does_nothing() {
    let server = pocketbase();
    block_on(async {
        let root = server.root().await;
        let people = server.collection("people", &["name"], &[], None).await;
        server.collection("tasks", &["title"], &[("owner_of", &people)], "").await;
        let ada = real::create(&root, "people", json!({"name": "Ada"})).await;
        real::create(&root, "tasks", json!({"title": "a", "owner_of": ada})).await;
    });
    let root = superuser(&server);
    let arguments = [&server.url(), "tasks", "--expand", "owner_of"];
    doctor_as(&[("TIDINGS_SUPERUSER_TOKEN", &root)], &arguments)
        .is("fault expand-does-nothing", "a superuser gets it");
    doctor_as(&[("TIDINGS_TOKEN", &root)], &arguments).is_well();
}

#[test]
fn row_18_the_rate_limit() {
    let server = pocketbase();
    let rules = json!([{"label": "POST /api/realtime", "maxRequests": 3, "duration": 60}]);
    let limits = json!({"rateLimits": {"enabled": true, "rules": rules}});
    block_on(async { server.root().await.send("PATCH", "/api/settings", limits).await.unwrap() });
    doctor(&[&server.url(), "notes"]).is("fault rate-limit", "POST /api/realtime: 429");
    let hub = hub();
    hub.faults().refuse_next(Endpoint::Connect, 429, 2);
    doctor(&[&hub.url()]).is("fault rate-limit", "GET /api/realtime: 429");
}

#[test]
fn row_19_the_clock() {
    let hub = hub();
    for (date, said) in
        [("Sat, 01 Jan 2000 00:00:00 GMT", "ahead of"), ("Sat, 01 Jan 2050 00:00:00 GMT", "behind")]
    {
        let health = Answer::status(200).header("date", date).content_type("application/json").body("{}");
        hub.faults().answer_next(Endpoint::Health, health, 1);
        doctor(&[&hub.url()]).is("fault clock", said);
    }
}

#[test]
fn row_20_the_path_is_slow() {
    let server = pocketbase();
    // Hooks that keep the event back, and stop it.
    let hook = |what: &str| {
        format!(
            "onRealtimeMessageSend((e) => {{ if (e.message.name != 'PB_CONNECT') {{ {what} }} e.next() }})"
        )
    };
    let slow = PocketBase::start(&hook("sleep(2500)"));
    block_on(slow.collection("notes", &["title"], &[], ""));
    doctor(&[&slow.url(), "--write", "notes"]).is("fault slow-path", "ms after the answer");
    let silent = PocketBase::start(&hook("return"));
    block_on(silent.collection("notes", &["title"], &[], ""));
    doctor(&[&silent.url(), "--write", "notes"]).is("fault slow-path", "did not come in 5 s");
    doctor(&[&server.url(), "--write", "nosuch"]).is("unproved canary-refused", "404");
}

#[test]
fn row_21_descriptors() {
    let hub = hub();
    let mut command = std::process::Command::new("sh");
    command.args([
        "-c",
        r#"ulimit -n 60; exec "$0" doctor --json "$1" --streams 200"#,
        env!("CARGO_BIN_EXE_tidings"),
        &hub.url(),
    ]);
    report(&run(&mut command)).is("fault descriptors", "Too many open files");
    doctor(&[&hub.url(), "--streams", "50"]).is_well();
}

#[test]
fn row_22_oauth2() {
    let hub = hub();
    hub.oauth2("users", "github", Some("ann@example.com"));
    doctor(&[&hub.url(), "--oauth2", "github"]).is_well();
    doctor(&[&hub.url(), "--oauth2", "google"]).is("fault oauth2", "the providers are [github]");
    let lost = "location /api/oauth2-redirect { return 404; }";
    let nginx = Nginx::start(hub.addr(), &Settings { server: lost, ..Settings::default() });
    doctor(&[&nginx.url(), "--oauth2", "github"]).is("fault oauth2", "GET /api/oauth2-redirect: 404");
}

#[test]
fn row_23_the_version() {
    let server = pocketbase();
    let seen = doctor(&[&server.url(), "notes"]);
    match server.legacy {
        true => seen.is("warning old-version", "`code`"),
        false => seen.is_well(),
    }
}

#[test]
fn no_secret_is_shown_even_if_a_server_repeats_it() {
    let hub = hub();
    let token = "s3cret.of-a.token";
    let echo =
        Answer::status(403).content_type("application/json").body(json!({"message": token}).to_string());
    hub.faults().answer_next(Endpoint::Submit, echo, 10);
    let seen = doctor_as(&[("TIDINGS_TOKEN", token)], &[&hub.url().replace("http://", "http://me:hidden@")]);
    seen.is("unproved topics-refused", "403");
    assert!(!seen.proofs.contains("s3cret"), "{}", seen.proofs);
    let ended = run(&mut tidings(&["doctor", "http://me:hidden@127.0.0.1:1/?token=hidden"]));
    assert!(ended.code.is_some() && !format!("{ended:?}").contains("hidden"), "{ended:?}");
}
