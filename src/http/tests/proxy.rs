//! Proxies for plain http, refusals, and the environment. Tunnels are in `tls`.

use std::process::Command;

use super::*;

fn through(proxy: impl Into<String>) -> HttpClient {
    client(HttpConfig { proxy: ProxyMode::Url(proxy.into()), ..direct() })
}

#[test]
fn a_plain_request_names_its_whole_url() {
    let (proxy, requests) = answering(ok("proxied"));
    let response =
        block_on(through(format!("http://user:pass@{proxy}")).send(get("http://nowhere.invalid:81/a?b=c")));
    let response = response.unwrap();
    assert_eq!(response.peer, None, "the address of the server is known to the proxy alone");
    assert_eq!(text(response), "proxied");
    let request = requests.recv().unwrap();
    assert_eq!(request.line, "GET http://nowhere.invalid:81/a?b=c HTTP/1.1");
    assert_eq!(request.header("host"), Some("nowhere.invalid:81"));
    // user:pass
    assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpwYXNz"));
}

#[test]
fn a_refused_tunnel_has_a_status() {
    for (status, hint) in
        [(407, "wants other credentials (407)"), (403, "refused to connect (403 Forbidden)")]
    {
        let (proxy, _requests) = answering(format!("HTTP/1.1 {status} No\r\ncontent-length: 4\r\n\r\nbody"));
        let client = through(format!("http://user:s3cret@{proxy}"));
        let error = block_on(client.send(get("https://nowhere.invalid/"))).unwrap_err();
        assert!(
            matches!(&error, HttpError::Proxy { status: Some(found), .. } if found.as_u16() == status),
            "{error:?}"
        );
        let text = error.to_string();
        assert!(text.contains(hint) && text.contains(&proxy.to_string()), "{text}");
        assert!(!format!("{text} {error:?} {client:?}").contains("s3cret"));
    }
}

#[test]
fn a_proxy_that_is_not_there_is_blamed_itself() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in ["http://nowhere.invalid/", "https://nowhere.invalid/"] {
        let error = block_on(through(format!("http://{closed}")).send(get(url))).unwrap_err();
        assert!(matches!(&error, HttpError::Proxy { status: None, cause: Some(_), .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("the proxy {closed} failed: cannot reach")), "{error}");
    }
}

#[test]
fn a_proxy_that_hangs_up_or_talks_nonsense_is_an_error() {
    for nonsense in ["", "SSH-2.0\r\n", "HTTP/1.1 200 OK\r\n\r\nsurprise"] {
        let proxy = server(move |mut stream| {
            Received::from(&mut stream);
            stream.write_all(nonsense.as_bytes()).unwrap();
        });
        let error = block_on(through(format!("http://{proxy}")).send(get("https://nowhere.invalid/")));
        let error = error.unwrap_err();
        assert!(matches!(&error, HttpError::Proxy { .. } | HttpError::Tls { .. }), "{nonsense:?}: {error:?}");
    }
}

#[test]
fn unusable_proxies_are_refused_when_the_client_is_built() {
    for url in
        ["socks5://user:s3cret@127.0.0.1:1", "ftp://user:s3cret@127.0.0.1", "http://", "s3cret with spaces"]
    {
        let config = HttpConfig { proxy: ProxyMode::Url(url.to_owned()), ..direct() };
        let error = HttpClient::new(Arc::new(AsyncIo), config).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("s3cret"), "{error}");
    }
}

/// The environment belongs to the whole process, so it is set for another one: this test program
/// once more, running this test alone, which then makes the request.
#[test]
fn the_environment_chooses_the_proxy() {
    if let Ok(url) = std::env::var("TIDINGS_TEST_URL") {
        let response = block_on(client(HttpConfig::default()).send(get(url))).unwrap();
        assert_eq!(text(response), std::env::var("TIDINGS_TEST_EXPECTED").unwrap());
        return;
    }
    let (proxy, _requests) = answering(ok("proxied"));
    let (target, _requests) = answering(ok("direct"));
    for (url, no_proxy, expected) in [
        (format!("http://localhost:{}/", target.port()), "", "proxied"),
        (format!("http://localhost:{}/", target.port()), "127.0.0.1,localhost", "direct"),
        (format!("http://{target}/"), "127.0.0.0/8", "direct"),
        (format!("http://{target}/"), "example.org", "proxied"),
    ] {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "http::tests::proxy::the_environment_chooses_the_proxy"])
            .env_clear()
            .env("HTTP_PROXY", format!("http://{proxy}"))
            .env("NO_PROXY", no_proxy)
            .env("TIDINGS_TEST_URL", &url)
            .env("TIDINGS_TEST_EXPECTED", expected)
            .output()
            .unwrap();
        assert!(
            status.status.success() && String::from_utf8_lossy(&status.stdout).contains("1 passed"),
            "{url} with NO_PROXY={no_proxy}: {status:?}"
        );
    }
}
