//! Where redirects lead, and what goes along.

use super::*;

fn redirect(status: u16, location: impl std::fmt::Display) -> String {
    format!("HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
}

/// Redirects with `status` to `../end`, and answers there.
fn to_the_end(status: u16) -> (SocketAddr, Receiver<Received>) {
    let (seen, requests) = mpsc::channel();
    let address = server(move |mut stream| {
        let request = Received::from(&mut stream);
        let answer = match request.line.contains("/end ") {
            true => ok("end"),
            false => redirect(status, "../end"),
        };
        seen.send(request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        wait_for_end(&mut stream);
    });
    (address, requests)
}

#[test]
fn each_kind_keeps_or_drops_method_and_body() {
    for (status, method, body) in
        [(301, "GET", ""), (302, "GET", ""), (303, "GET", ""), (307, "POST", "{}"), (308, "POST", "{}")]
    {
        let (address, requests) = to_the_end(status);
        let mut request = post(format!("http://{address}/a/b/c"), "{}");
        request.headers.insert("authorization", "token".parse().unwrap());
        let response = send(request).unwrap();
        assert_eq!(response.url.path(), "/a/end");
        drop(response);
        assert_eq!(requests.recv().unwrap().line, "POST /a/b/c HTTP/1.1");
        let next = requests.recv().unwrap();
        assert_eq!(next.line, format!("{method} /a/end HTTP/1.1"), "{status}");
        assert_eq!(next.body, body);
        assert_eq!(next.header("content-type").is_some(), !body.is_empty());
        assert_eq!(next.header("authorization"), Some("token"), "the origin is the same");
    }
}

#[test]
fn a_put_survives_all_but_303() {
    for (status, method) in [(301, "PUT"), (302, "PUT"), (303, "GET"), (307, "PUT")] {
        let (address, requests) = to_the_end(status);
        let request = Request { method: Method::PUT, ..post(format!("http://{address}/"), "{}") };
        send(request).unwrap();
        requests.recv().unwrap();
        assert!(requests.recv().unwrap().line.starts_with(method), "{status}");
    }
}

#[test]
fn other_statuses_and_missing_locations_are_answers() {
    for (status, head) in [(300, redirect(300, "/end")), (304, redirect(304, "/end"))]
        .into_iter()
        .chain([(302, "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n".to_owned())])
    {
        let (address, _requests) = answering(head);
        assert_eq!(send(get(format!("http://{address}/"))).unwrap().status, status);
    }
}

#[test]
fn credentials_stay_with_their_origin() {
    let (elsewhere, requests) = answering(ok("elsewhere"));
    let (address, _requests) = answering(redirect(307, format!("http://evil:pass@{elsewhere}/x")));
    let mut config = direct();
    config.default_headers.insert("cookie", "session".parse().unwrap());
    let mut request = get(format!("http://{address}/"));
    request.pin = Some(address);
    request.headers.insert("authorization", "token".parse().unwrap());
    request.headers.insert("host", "virtual".parse().unwrap());
    request.headers.insert("x-plain", "plain".parse().unwrap());
    let mut key = hyper::header::HeaderValue::from_static("key");
    key.set_sensitive(true);
    request.headers.insert("x-api-key", key);

    let response = block_on(client(config).send(request)).unwrap();
    assert_eq!(response.peer, Some(elsewhere), "the pin is of the first origin");
    let request = requests.recv().unwrap();
    for name in ["authorization", "cookie", "x-api-key"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("host"), Some(elsewhere.to_string().as_str()));
    assert_eq!(request.header("x-plain"), Some("plain"));
}

#[test]
fn credentials_of_the_url_stay_with_their_origin() {
    let (elsewhere, requests) = answering(ok(""));
    let (address, _requests) = answering(redirect(302, format!("//{elsewhere}/x")));
    send(get(format!("http://user:pass@{address}/"))).unwrap();
    assert_eq!(requests.recv().unwrap().header("authorization"), None);
}

#[test]
fn a_body_stays_with_its_origin() {
    for status in [307, 308] {
        let (elsewhere, requests) = answering(ok("elsewhere"));
        let (address, _requests) = answering(redirect(status, format!("http://{elsewhere}/x")));
        let error = send(post(format!("http://{address}/"), "password")).unwrap_err();
        assert!(matches!(error, HttpError::BadRedirect { .. }), "{status}: {error:?}");
        assert_eq!(requests.try_iter().count(), 0);
    }
}

#[test]
fn a_loop_ends() {
    let (address, requests) = answering(redirect(302, "/again"));
    let error = send(get(format!("http://{address}/"))).unwrap_err();
    assert!(matches!(error, HttpError::TooManyRedirects { limit: 10, .. }), "{error:?}");
    assert_eq!(requests.try_iter().count(), 11, "the first and ten redirects");
}

#[test]
fn bad_targets_are_refused() {
    for location in ["file:///etc/passwd", "http://[broken/", "javascript:alert(1)"] {
        let (address, _requests) = answering(redirect(302, location));
        let error = send(get(format!("http://{address}/"))).unwrap_err();
        assert!(matches!(error, HttpError::BadRedirect { .. }), "{location}: {error:?}");
    }
}
