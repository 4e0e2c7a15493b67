//! The two servers that the suite runs against, behind one face.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};
use tidings::hub::{Answer, Endpoint, Hub};

use crate::plain_client::{Ask, Stream, ask};

const EMAIL: &str = "root@example.com";
const PASSWORD: &str = "correct-horse-1";

/// Answers a publish with how many clients got it, as `Hub::publish` does.
const HOOKS: &str = r#"
routerAdd("POST", "/publish", (e) => {
    const topic = e.request.url.query().get("topic")
    const message = new SubscriptionMessage({ name: topic, data: toString(e.request.body) })
    let sent = 0
    for (const client of Object.values($app.subscriptionsBroker().clients())) {
        if (client.hasSubscription(topic)) {
            client.send(message)
            sent++
        }
    }
    return e.json(200, sent)
})
"#;

/// While others make collections PocketBase may not see the one that it has
/// just answered with (`validation_field_relation_missing_collection`).
static ONE_BY_ONE: Mutex<()> = Mutex::new(());

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) addr: SocketAddr,
    pub(crate) root: String,
    kind: Kind,
}

enum Kind {
    Hub(Hub),
    /// The child ends when this process does: it reads a pipe that we hold.
    PocketBase {
        _child: Child,
    },
}

/// A collection made for one test.
pub(crate) struct Posts {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) authors: String,
}

/// Runs a scenario against the hub, also as BosBase, then against the real server.
pub(crate) fn on_both(scenario: impl Fn(&Server)) {
    run(scenario, &[Server::hub(), Server::bosbase(), Server::pocketbase()]);
}

/// Runs a scenario of what BosBase does otherwise.
pub(crate) fn on_pocketbase(scenario: impl Fn(&Server)) {
    run(scenario, &[Server::hub(), Server::pocketbase()]);
}

fn run(scenario: impl Fn(&Server), servers: &[&'static Server]) {
    for server in servers {
        eprintln!("against {}", server.name);
        scenario(server);
    }
}

impl Server {
    fn hub() -> &'static Self {
        static HUB: OnceLock<Server> = OnceLock::new();
        HUB.get_or_init(|| {
            let hub = Hub::builder().strict().start().expect("a hub");
            hub.add_user("_superusers", EMAIL, PASSWORD);
            Self::new("the hub", hub.addr(), Kind::Hub(hub))
        })
    }

    fn bosbase() -> &'static Self {
        static BOSBASE: OnceLock<Server> = OnceLock::new();
        BOSBASE.get_or_init(|| {
            let hub = Hub::builder().strict().bosbase().start().expect("a hub");
            hub.add_user("_superusers", EMAIL, PASSWORD);
            Self::new("the hub as BosBase", hub.addr(), Kind::Hub(hub))
        })
    }

    fn pocketbase() -> &'static Self {
        static POCKETBASE: OnceLock<Server> = OnceLock::new();
        POCKETBASE.get_or_init(|| {
            let binary = std::env::var_os("TIDINGS_POCKETBASE").unwrap_or_else(|| {
                panic!(
                    "TIDINGS_POCKETBASE does not name a PocketBase binary. The hub is checked \
                     against the real server: run `make test`, which fetches it and sets this."
                )
            });
            let (addr, child) = start_pocketbase(&PathBuf::from(binary));
            let server = Self::new("PocketBase", addr, Kind::PocketBase { _child: child });
            // Off unless asked for; the hub takes them at once.
            let batches = json!({ "batch": { "enabled": true, "maxRequests": 50, "timeout": 3 } });
            let set = server.ask("PATCH", "/api/settings").token(&server.root).json(&batches).send();
            assert_eq!(set.status, 200, "{}", set.body);
            server
        })
    }

    fn new(name: &'static str, addr: SocketAddr, kind: Kind) -> Self {
        let login = json!({ "identity": EMAIL, "password": PASSWORD });
        let path = "/api/collections/_superusers/auth-with-password";
        let answer = ask(addr, "POST", path).json(&login).send().value();
        let root = answer["token"].as_str().expect("a superuser's token").to_owned();
        Self { name, addr, root, kind }
    }

    pub(crate) fn ask<'a>(&self, method: &'a str, path: &'a str) -> Ask<'a> {
        ask(self.addr, method, path)
    }

    pub(crate) fn stream(&self) -> Stream {
        Stream::open(self.addr)
    }

    /// Sets the topics of a stream, as nobody in particular.
    #[track_caller]
    pub(crate) fn subscribe(&self, stream: &Stream, topics: &[&str]) {
        let answer = self.submit(stream, topics).send();
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    }

    pub(crate) fn submit(&self, stream: &Stream, topics: &[&str]) -> Ask<'static> {
        let body = json!({ "clientId": stream.client_id, "subscriptions": topics });
        ask(self.addr, "POST", "/api/realtime").json(&body)
    }

    pub(crate) fn publish(&self, topic: &str, payload: &str) -> usize {
        match &self.kind {
            Kind::Hub(hub) => hub.publish(topic, payload),
            Kind::PocketBase { .. } => {
                let path = format!("/publish?topic={}", encoded(topic));
                let answer = self.ask("POST", &path).raw("text/plain", payload).send();
                answer.body.trim().parse().expect("how many clients")
            }
        }
    }

    /// A collection like the usual posts, and one of authors that it points to.
    pub(crate) fn posts(&self) -> Posts {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let _turn = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let serial = SERIAL.fetch_add(1, Ordering::SeqCst);
        let (name, authors) = (format!("posts{serial}"), format!("authors{serial}"));
        let id = match &self.kind {
            Kind::Hub(hub) => {
                hub.collection(&authors, json!({ "name": "" }));
                let fields = json!({ "title": "", "n": 0, "on": false, "meta": null, "author": "" });
                let id = hub.collection(&name, fields);
                hub.relation(&name, "author", &authors);
                id
            }
            Kind::PocketBase { .. } => {
                let authors = self.make(&authors, json!([{ "name": "name", "type": "text" }]));
                self.make(
                    &name,
                    json!([
                        { "name": "title", "type": "text" },
                        { "name": "n", "type": "number" },
                        { "name": "on", "type": "bool" },
                        { "name": "meta", "type": "json" },
                        {
                            "name": "author", "type": "relation",
                            "collectionId": authors, "maxSelect": 1,
                        },
                    ]),
                )
            }
        };
        let path = format!("/api/collections/{name}/records");
        Posts { name, id, path, authors }
    }

    fn make(&self, name: &str, mut fields: Value) -> String {
        let stamp = |name: &str, on_update: bool| json!({ "name": name, "type": "autodate", "onCreate": true, "onUpdate": on_update });
        let list = fields.as_array_mut().expect("a list of fields");
        list.extend([stamp("created", false), stamp("updated", true)]);
        let collection = json!({
            "name": name, "type": "base", "fields": fields,
            "listRule": "", "viewRule": "", "createRule": "", "updateRule": "", "deleteRule": "",
        });
        let made = self.ask("POST", "/api/collections").token(&self.root).json(&collection).send();
        assert_eq!(made.status, 200, "{}", made.body);
        made.value()["id"].as_str().expect("an id").to_owned()
    }

    /// A collection of accounts with one provider, `oidc`, where Ann says yes.
    pub(crate) fn members(&self) -> String {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let _turn = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("members{}", SERIAL.fetch_add(1, Ordering::SeqCst));
        match &self.kind {
            Kind::Hub(hub) => hub.oauth2(&name, "oidc", Some("ann@example.com")),
            Kind::PocketBase { .. } => {
                let base = provider().url();
                let oidc = json!({
                    "name": "oidc", "clientId": "c", "clientSecret": "s", "authURL": format!("{base}/auth"),
                    "tokenURL": format!("{base}/token"), "userInfoURL": format!("{base}/user"),
                });
                let collection = json!({
                    "name": name, "type": "auth", "createRule": "",
                    "oauth2": { "enabled": true, "providers": [oidc] },
                });
                let made = self.ask("POST", "/api/collections").token(&self.root).json(&collection).send();
                assert_eq!(made.status, 200, "{}", made.body);
            }
        }
        name
    }

    /// What the provider gives to a browser that opens this URL.
    pub(crate) fn code(&self, url: &str) -> String {
        match &self.kind {
            Kind::Hub(hub) => {
                let path = url.strip_prefix(&hub.url()).expect("the hub's own page");
                let answer = self.ask("GET", path).send();
                assert_eq!(answer.status, 307, "{}", answer.body);
                let location = answer.header("location").expect("a way back");
                location.split_once("code=").expect("a code").1.to_owned()
            }
            // Its token and its user are asked for with the code.
            Kind::PocketBase { .. } => {
                let json = |body: &Value| {
                    Answer::status(200).content_type("application/json").body(body.to_string())
                };
                let token = json!({ "access_token": "t", "token_type": "Bearer" });
                let user =
                    json!({ "sub": "1", "name": "Ann", "email": "ann@example.com", "email_verified": true });
                for answer in [json(&token), json(&user)] {
                    provider().faults().answer_next(Endpoint::Other, answer, 1);
                }
                "any".to_owned()
            }
        }
    }

    /// A new account among `users`: its record's id, its e-mail address, and a token.
    pub(crate) fn user(&self) -> (String, String, String) {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::SeqCst);
        let email = format!("user{serial}@example.com");
        let account = json!({ "email": email, "password": PASSWORD, "passwordConfirm": PASSWORD });
        let path = "/api/collections/users/records";
        let made = self.ask("POST", path).token(&self.root).json(&account).send();
        assert_eq!(made.status, 200, "{}", made.body);
        let id = made.value()["id"].as_str().expect("an id").to_owned();
        let session = self.login(&email, PASSWORD).value();
        (id, email, session["token"].as_str().expect("a token").to_owned())
    }

    pub(crate) fn login(&self, email: &str, password: &str) -> crate::plain_client::Answer {
        let login = json!({ "identity": email, "password": password });
        self.ask("POST", "/api/collections/users/auth-with-password").json(&login).send()
    }

    #[track_caller]
    pub(crate) fn create(&self, posts: &Posts, record: &Value) -> Value {
        let made = self.ask("POST", &posts.path).json(record).send();
        assert_eq!(made.status, 200, "{}", made.body);
        made.value()
    }
}

pub(crate) use encoding::{encoded, with_options};

mod encoding {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    use serde_json::Value;

    /// What `encodeURIComponent` leaves alone.
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'!')
        .remove(b'~')
        .remove(b'*')
        .remove(b'\'')
        .remove(b'(')
        .remove(b')');

    pub(crate) fn encoded(text: &str) -> String {
        utf8_percent_encode(text, KEPT).to_string()
    }

    pub(crate) fn with_options(topic: &str, options: &Value) -> String {
        format!("{topic}?options={}", encoded(&options.to_string()))
    }
}

/// A provider for PocketBase: a hub whose answers are planned.
fn provider() -> &'static Hub {
    static PROVIDER: OnceLock<Hub> = OnceLock::new();
    PROVIDER.get_or_init(|| Hub::start().expect("a hub"))
}

fn start_pocketbase(binary: &Path) -> (SocketAddr, Child) {
    let dir = std::env::temp_dir().join(format!("tidings-parity-{}", std::process::id()));
    let (data, hooks) = (dir.join("data"), dir.join("hooks"));
    std::fs::create_dir_all(&hooks).expect("a directory for the hooks");
    std::fs::write(hooks.join("publish.pb.js"), HOOKS).expect("the hooks");
    let upsert = Command::new(binary)
        .args(["superuser", "upsert", EMAIL, PASSWORD, "--dir"])
        .arg(&data)
        .output()
        .expect("PocketBase runs");
    assert!(upsert.status.success(), "{}", String::from_utf8_lossy(&upsert.stderr));

    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a port");
    // Statics are not dropped: the shell ends the server when our end of the
    // pipe closes, however this process ends.
    let script = r#""$0" serve --http "$1" --dir "$2" --hooksDir "$3" & server=$!
        cat >/dev/null; kill "$server"; wait "$server"; rm -rf "$4""#;
    let mut child = Command::new("sh")
        .args(["-c", script])
        .arg(binary)
        .arg(port.to_string())
        .args([&data, &hooks, &dir])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    let mut lines = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    while !line.contains("Server started") {
        line.clear();
        let n = lines.read_line(&mut line).expect("its output");
        assert!(n > 0, "PocketBase ended before it had started");
    }
    // Later output must find a reader.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    (port, child)
}
