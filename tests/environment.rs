//! What the environment says about proxies and authorities, and cannot be read, is an error with its name: never a
//! connection without the proxy, or with more authorities than were meant. Each test runs itself in a process whose
//! environment is so.
#![cfg(all(unix, feature = "async-io", feature = "tls", feature = "proxy"))]

use std::{
    ffi::OsStr,
    future::IntoFuture,
    os::unix::ffi::OsStrExt,
    process::{Command, Output},
};

use tidings::{Client, Error, EventSource};

/// Says to a test that it runs in the other process.
const MARK: &str = "TIDINGS_TEST_IS_INSIDE";

fn again(test: &str, name: &str, value: &OsStr) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.args(["--exact", test, "--nocapture"]).env(MARK, name).env(name, value).output().unwrap()
}

#[track_caller]
fn passed(output: Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

#[test]
fn a_proxy_that_cannot_be_read_is_refused_when_the_client_is_built() {
    if let Ok(name) = std::env::var(MARK) {
        for error in [
            Client::new("http://127.0.0.1:1").map(drop).unwrap_err(),
            EventSource::new("http://127.0.0.1:1").map(drop).unwrap_err(),
        ] {
            assert!(
                matches!(&error, Error::InvalidArgument { argument, .. } if *argument == name),
                "{error:?}"
            );
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        // Who says which proxy, or none, is not held up by the environment.
        Client::builder("http://127.0.0.1:1").no_proxy().build().unwrap();
        Client::builder("http://127.0.0.1:1").proxy("http://127.0.0.1:2").build().unwrap();
        return;
    }
    let test = "a_proxy_that_cannot_be_read_is_refused_when_the_client_is_built";
    for name in ["HTTP_PROXY", "https_proxy", "ALL_PROXY"] {
        passed(again(test, name, OsStr::new("http://u:s3cret@ho st")));
        passed(again(test, name, OsStr::from_bytes(b"http://s3cret\xff")));
    }
}

#[test]
#[cfg(target_os = "linux")] // Elsewhere they may be no files.
fn authorities_that_cannot_be_read_are_an_error_with_the_name_of_the_variable() {
    let ask = |builder: tidings::ClientBuilder| {
        let client = builder.no_proxy().build().unwrap();
        smol::block_on(client.send("GET", "/", None).into_future()).unwrap_err().to_string()
    };
    if let Ok(name) = std::env::var(MARK) {
        // It listens, so that the handshake is reached, and says nothing.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = ask(Client::builder(&format!("https://{address}")));
        assert!(error.contains(&name), "{error}");
        // Nothing of it is needed for a plain server.
        let error = ask(Client::builder("http://127.0.0.1:1"));
        assert!(error.contains("cannot reach"), "{error}");
        return;
    }
    let test = "authorities_that_cannot_be_read_are_an_error_with_the_name_of_the_variable";
    for path in ["/nowhere/at.all", "/", "", "/dev/null"] {
        passed(again(test, "SSL_CERT_FILE", OsStr::new(path)));
    }
    passed(again(test, "SSL_CERT_DIR", OsStr::new("/nowhere/at.all")));
}
