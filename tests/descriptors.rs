//! A process that is out of descriptors is told so, as of a failure of the system and not of an argument. It runs itself
//! in a process with a small limit.
#![cfg(all(target_os = "linux", feature = "tokio"))]

use std::{fs::File, io::ErrorKind, process::Command};

use tidings::{Error, blocking};

const MARK: &str = "TIDINGS_TEST_IS_INSIDE";

/// As many as the system gives.
fn all_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
fn a_client_that_gets_no_descriptor_is_a_failure_of_the_system() {
    if std::env::var_os(MARK).is_none() {
        let test = "a_client_that_gets_no_descriptor_is_a_failure_of_the_system";
        let inside = std::env::current_exe().unwrap();
        let output = Command::new("sh")
            .args(["-c", r#"ulimit -n 40 && exec "$0" --exact "$1" --nocapture"#])
            .arg(inside)
            .arg(test)
            .env(MARK, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
        return;
    }
    let is_out = |error: Error| {
        assert!(matches!(error, Error::Network(_)), "{error:?}");
        assert!(error.to_string().contains("os error 24"), "{error}");
    };
    // However many are left, each thing that needs the next one fails in the same way.
    let mut taken = all_descriptors();
    let mut failures = 0;
    let client = loop {
        match blocking::Client::new("http://127.0.0.1:1") {
            Ok(client) => break client,
            Err(error) => is_out(error),
        }
        failures += 1;
        taken.pop().expect("forty descriptors are enough for a client");
    };
    assert!(failures > 0);
    let rest = all_descriptors();
    is_out(client.descriptor().map(drop).unwrap_err());
    let request = client.get().unwrap().send("GET", "/", None);
    match client.call(request).unwrap().wait() {
        Err(Error::Network(error)) => assert_ne!(error.kind(), Some(ErrorKind::ConnectionRefused), "{error}"),
        other => panic!("{other:?}"),
    }
    drop((rest, taken));
}
