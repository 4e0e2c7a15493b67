//! A real PocketBase, as a test wants it: fresh, with hooks, killed and started again at will.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod nginx;

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::{FutureExt, future::Either};
use serde_json::{Value, json};
use tidings::Client;

pub(crate) const EMAIL: &str = "root@example.com";
pub(crate) const PASSWORD: &str = "correct-horse-1";

/// Long enough for a loaded machine; no test waits this long and passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server with a directory of its own. Dropping it ends it, and so does the end of this process.
pub(crate) struct PocketBase {
    binary: PathBuf,
    dir: PathBuf,
    addr: SocketAddr,
    /// The network namespace that it lives in, if not ours.
    namespace: Option<String>,
    running: Option<Running>,
    /// Before 0.23: other superusers, other collections.
    pub(crate) legacy: bool,
}

struct Running {
    /// Reads a pipe that we hold, and takes the server with it.
    shell: Child,
    pid: String,
}

impl PocketBase {
    /// Starts a server with the given hooks.
    pub(crate) fn start(hooks: &str) -> Self {
        let mut server = Self::stopped(hooks);
        server.restart();
        server
    }

    /// Starts a server in another network namespace, on all its addresses. It is spoken to at the one given.
    pub(crate) fn start_in(namespace: &str, addr: SocketAddr) -> Self {
        let mut server = Self::stopped("");
        (server.namespace, server.addr) = (Some(namespace.to_owned()), addr);
        server.restart();
        server
    }

    /// A server that has an address and does not run yet.
    pub(crate) fn stopped(hooks: &str) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let binary = PathBuf::from(std::env::var_os("TIDINGS_POCKETBASE").expect(
            "TIDINGS_POCKETBASE does not name a PocketBase binary: run `make test`, which fetches one and sets this",
        ));
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("tidings-{}-{serial}", std::process::id()));
        std::fs::create_dir_all(dir.join("hooks")).unwrap();
        std::fs::write(dir.join("hooks/test.pb.js"), hooks).unwrap();
        let version = Command::new(&binary).arg("--version").output().expect("PocketBase runs");
        let legacy = String::from_utf8_lossy(&version.stdout).contains("version 0.22.");
        // The legacy server makes its tables only when it first serves or migrates.
        if legacy {
            run(Command::new(&binary).args(["migrate", "up", "--dir"]).arg(dir.join("data")));
            run(Command::new(&binary)
                .args(["admin", "create", EMAIL, PASSWORD, "--dir"])
                .arg(dir.join("data")));
        } else {
            run(Command::new(&binary)
                .args(["superuser", "upsert", EMAIL, PASSWORD, "--dir"])
                .arg(dir.join("data")));
        }
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { binary, dir, addr, namespace: None, running: None, legacy }
    }

    /// Starts the server, at the same address and with the same data.
    pub(crate) fn restart(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let script = r#"${3:+ip netns exec "$3"} "$0" serve --http "$1" --dir "$2/data" --hooksDir "$2/hooks" --hooksWatch=false 2>&1 & server=$!
            echo "$server"; read -r kept; kill -9 "$server" 2>/dev/null; wait; [ "$kept" ] || rm -rf "$2""#;
        let listens_at = match self.namespace {
            Some(_) => format!("0.0.0.0:{}", self.addr.port()),
            None => self.addr.to_string(),
        };
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .arg(&self.binary)
            .arg(listens_at)
            .arg(&self.dir)
            .args(&self.namespace)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines().map(|line| line.unwrap());
        let pid = lines.next().expect("the server's process");
        let started = lines.by_ref().any(|line| line.contains("Server started"));
        assert!(started, "PocketBase ended before it had started");
        // Before 0.23 it says so before it listens.
        while TcpStream::connect(self.addr).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // What it prints later must find a reader.
        std::thread::spawn(move || lines.for_each(drop));
        self.running = Some(Running { shell, pid });
    }

    /// Ends the server at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            signal("-KILL", &running.pid);
            let mut pipe = running.shell.stdin.take().unwrap();
            // The shell of a test that ended without this removes the directory.
            let _ = pipe.write_all(b"kept\n");
            drop(pipe);
            running.shell.wait().unwrap();
        }
    }

    /// Sends it a signal, such as `-STOP`.
    pub(crate) fn signal(&self, name: &str) {
        signal(name, &self.running.as_ref().expect("it runs").pid);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url()).unwrap()
    }

    /// A client that is superuser.
    pub(crate) async fn root(&self) -> Client {
        let client = self.client();
        client.collection("_superusers").auth_with_password(EMAIL, PASSWORD).await.unwrap();
        client
    }

    /// Makes a public collection with text fields, and says its id. Fields named `…_of` are relations to the
    /// collection whose id is given. With `None` as its rule, only superusers see it.
    pub(crate) async fn collection<'a>(
        &self,
        name: &str,
        texts: &[&str],
        relations: &[(&str, &str)],
        rule: impl Into<Option<&'a str>>,
    ) -> String {
        let rule = rule.into();
        let root = self.root().await;
        let texts = texts.iter().map(|name| match self.legacy {
            true => json!({"name": name, "type": "text", "options": {}}),
            false => json!({"name": name, "type": "text"}),
        });
        let relations = relations.iter().map(|(name, target)| match self.legacy {
            true => {
                json!({"name": name, "type": "relation", "options": {"collectionId": target, "maxSelect": 1}})
            }
            false => json!({"name": name, "type": "relation", "collectionId": target, "maxSelect": 1}),
        });
        let fields: Vec<Value> = texts.chain(relations).collect();
        let mut collection = json!({
            "name": name, "type": "base",
            "listRule": rule, "viewRule": rule, "createRule": "", "updateRule": "", "deleteRule": "",
        });
        collection[if self.legacy { "schema" } else { "fields" }] = fields.into();
        let made: Value = root.send("POST", "/api/collections", collection).await.unwrap().json().unwrap();
        made["id"].as_str().unwrap().to_owned()
    }

    /// Makes a user, and says the id.
    pub(crate) async fn user(&self, email: &str) -> String {
        let root = self.root().await;
        let user = json!({"email": email, "password": PASSWORD, "passwordConfirm": PASSWORD});
        let made: Value =
            root.send("POST", "/api/collections/users/records", user).await.unwrap().json().unwrap();
        made["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for PocketBase {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("PocketBase runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn signal(signal: &str, pid: &str) {
    Command::new("kill").args([signal, pid]).status().expect("kill");
}

/// Makes a record of `collection`, and says its id.
pub(crate) async fn create(client: &Client, collection: &str, record: Value) -> String {
    let path = format!("/api/collections/{collection}/records");
    let made: Value = client.send("POST", &path, record).await.unwrap().json().unwrap();
    made["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn update(client: &Client, collection: &str, id: &str, changes: Value) {
    client.send("PATCH", &format!("/api/collections/{collection}/records/{id}"), changes).await.unwrap();
}

pub(crate) async fn delete(client: &Client, collection: &str, id: &str) {
    client.send("DELETE", &format!("/api/collections/{collection}/records/{id}"), None).await.unwrap();
}

/// Waits for something that must come.
#[track_caller]
pub(crate) fn soon<T>(what: &'static str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    let future = std::panic::AssertUnwindSafe(future);
    async move {
        let alarm = std::pin::pin!(smol::Timer::after(PATIENCE));
        match futures::future::select(std::pin::pin!(future.0), alarm).await {
            Either::Left((value, _)) => value,
            Either::Right(_) => panic!("{what} did not come: {caller}"),
        }
    }
    .fuse()
}
