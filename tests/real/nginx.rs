//! A real nginx in front of a server.

use std::{
    fmt::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tidings::Client;

use super::PATIENCE;

/// An nginx with a directory of its own. Dropping it ends it, and so does the end of this process.
pub(crate) struct Nginx {
    dir: PathBuf,
    addr: SocketAddr,
    /// Reads a pipe that we hold, and takes nginx with it.
    shell: Option<Child>,
}

/// What a test adds to a configuration that is otherwise all defaults.
#[derive(Default)]
pub(crate) struct Settings<'a> {
    pub(crate) http: &'a str,
    pub(crate) server: &'a str,
    pub(crate) location: &'a str,
    /// Certificate and key, in PEM.
    pub(crate) https: Option<(String, String)>,
}

impl Nginx {
    pub(crate) fn start(upstream: SocketAddr, settings: &Settings<'_>) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("tidings-nginx-{}-{serial}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut server = settings.server.to_owned();
        if let Some((certificate, key)) = &settings.https {
            std::fs::write(dir.join("certificate.pem"), certificate).unwrap();
            std::fs::write(dir.join("key.pem"), key).unwrap();
            write!(server, "ssl_certificate certificate.pem; ssl_certificate_key key.pem;").unwrap();
        }
        let ssl = if settings.https.is_some() { "ssl" } else { "" };
        let Settings { http, location, .. } = settings;
        // Paths are told because Debian's are for root; a worker of root's nginx must reach ours.
        let config = format!(
            "daemon off;
            user root;
            worker_processes 1;
            pid nginx.pid;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path body;
                proxy_temp_path proxy;
                fastcgi_temp_path fastcgi;
                uwsgi_temp_path uwsgi;
                scgi_temp_path scgi;
                {http}
                server {{
                    listen {addr} {ssl};
                    {server}
                    location / {{
                        proxy_pass http://{upstream};
                        {location}
                    }}
                }}
            }}"
        );
        std::fs::write(dir.join("nginx.conf"), config).unwrap();
        let mut nginx = Self { dir, addr, shell: None };
        nginx.restart();
        nginx
    }

    pub(crate) fn restart(&mut self) {
        assert!(self.shell.is_none(), "it runs");
        let script = r#"PATH=$PATH:/usr/sbin:/sbin
            nginx -p "$0" -c "$0/nginx.conf" -e "$0/error.log" & nginx=$!
            read -r kept; kill -TERM "$nginx"; wait; [ "$kept" ] || rm -rf "$0""#;
        let shell = Command::new("sh")
            .args(["-c", script])
            .arg(&self.dir)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        self.shell = Some(shell);
        let asked = Instant::now();
        while TcpStream::connect(self.addr).is_err() {
            assert!(
                asked.elapsed() < PATIENCE,
                "nginx does not listen; is the Debian package `nginx` installed? `make tools` tells. It said: {}",
                std::fs::read_to_string(self.dir.join("error.log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it at once, and its connections with it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            let _ = std::io::Write::write_all(&mut shell.stdin.take().unwrap(), b"kept\n");
            shell.wait().unwrap();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url()).unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
