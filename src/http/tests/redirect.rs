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

/// Each in turn, in a request that otherwise carries nothing.
fn with_each_secret(url: &str) -> Vec<(&'static str, Request)> {
    let header = |name: &'static str, is_sensitive: bool| {
        let mut request = get(url);
        let mut value = hyper::header::HeaderValue::from_static("s3cret");
        value.set_sensitive(is_sensitive);
        request.headers.insert(name, value);
        request
    };
    vec![
        ("authorization", header("authorization", false)),
        ("cookie", header("cookie", false)),
        ("a header of the host's", header("x-key", true)),
        ("userinfo", get(url.replace("//", "//user:s3cret@"))),
        ("the query", get(format!("{url}?key=s3cret"))),
        ("a body", Request { body: "s3cret".into(), ..get(url) }),
        ("a body that a 303 would drop", post(url, "s3cret")),
    ]
}

#[test]
fn a_foreign_origin_gets_nothing_secret_and_its_answer_is_not_taken() {
    for status in [301, 302, 303, 307, 308] {
        let (elsewhere, requests) = answering(ok("elsewhere"));
        let (address, _requests) = answering(redirect(status, format!("http://{elsewhere}/x")));
        let url = format!("http://{address}/");
        let mut refused = with_each_secret(&url);
        refused.iter_mut().for_each(|(_, request)| request.redirects = Redirects::Roam);
        // Whose answer is taken for the server's follows none, whatever it carries.
        refused.push(("nothing", get(&url)));
        for (what, request) in refused {
            let error = send(request).unwrap_err();
            assert!(matches!(error, HttpError::BadRedirect { .. }), "{status} {what}: {error:?}");
            let text = error.to_string();
            assert!(text.contains(&url) && text.contains(&format!("http://{elsewhere}")), "{text}");
            assert!(!text.contains("s3cret"), "{text}");
        }
        assert_eq!(requests.try_iter().count(), 0);

        let roaming = Request { redirects: Redirects::Roam, ..get(&url) };
        assert_eq!(text(send(roaming).unwrap()), "elsewhere");
    }
}

#[test]
fn what_belongs_to_the_origin_does_not_go_further() {
    let (elsewhere, requests) =
        answering("HTTP/1.1 200 OK\r\nset-cookie: theirs=1\r\ncontent-length: 0\r\n\r\n");
    let location = format!("http://evil:pass@{elsewhere}/x");
    let (address, _requests) = answering(format!(
        "HTTP/1.1 302 Found\r\nset-cookie: ours=1\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
    ));
    let client = client(direct());
    for _ in 0..2 {
        let mut request = get(format!("http://{address}/"));
        request.redirects = Redirects::Roam;
        request.pin = Some(address);
        request.headers.insert("host", "virtual".parse().unwrap());
        request.headers.insert("x-plain", "plain".parse().unwrap());
        let response = block_on(client.send(request)).unwrap();
        assert_eq!(response.peer, Some(elsewhere), "the pin is of the first origin");
        let request = requests.recv().unwrap();
        assert_eq!(request.header("host"), Some(elsewhere.to_string().as_str()));
        assert_eq!(request.header("x-plain"), Some("plain"));
        assert_eq!(request.header("cookie"), None, "neither ours nor theirs");
        assert_eq!(request.header("authorization"), None, "a server does not choose our credentials");
    }
}

#[test]
fn a_loop_ends() {
    let (seen, requests) = mpsc::channel();
    let address = server(move |mut stream| {
        let request = Received::from(&mut stream);
        let next = if request.line.contains("/a ") { "/b" } else { "/a" };
        seen.send(request).unwrap();
        stream.write_all(redirect(302, next).as_bytes()).unwrap();
        wait_for_end(&mut stream);
    });
    let error = send(get(format!("http://{address}/"))).unwrap_err();
    assert!(matches!(error, HttpError::TooManyRedirects { limit: 10, .. }), "{error:?}");
    assert_eq!(requests.try_iter().count(), 11, "the first and ten redirects");
}

#[test]
fn a_redirect_to_itself_ends_at_once() {
    for (location, why) in
        [("", "its target is empty"), (" \t", "empty"), ("/x?y", "it leads to itself"), ("#z", "itself")]
    {
        let (address, requests) = answering(redirect(302, location));
        let error = send(get(format!("http://{address}/x?y"))).unwrap_err();
        assert!(matches!(error, HttpError::BadRedirect { .. }), "{location}: {error:?}");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(requests.try_iter().count(), 1);
    }
    // A POST that becomes a GET is another request, and so is one with a cookie.
    let (address, requests) = to_itself_until(|request| request.line.starts_with("GET"), "");
    assert_eq!(text(send(post(format!("http://{address}/"), "{}")).unwrap()), "there");
    assert_eq!(requests.try_iter().count(), 2);
    let (address, requests) =
        to_itself_until(|request| request.header("cookie") == Some("seen=1"), "set-cookie: seen=1\r\n");
    assert_eq!(text(send(get(format!("http://{address}/"))).unwrap()), "there");
    assert_eq!(requests.try_iter().count(), 2);
}

/// Redirects to the very URL that was asked for, until a request is as it should be.
fn to_itself_until(
    is_good: fn(&Received) -> bool,
    headers: &'static str,
) -> (SocketAddr, Receiver<Received>) {
    let (seen, requests) = mpsc::channel();
    let address = server(move |mut stream| {
        let request = Received::from(&mut stream);
        let answer = match is_good(&request) {
            true => ok("there"),
            false => format!("HTTP/1.1 302 Found\r\n{headers}location: /\r\ncontent-length: 0\r\n\r\n"),
        };
        seen.send(request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        wait_for_end(&mut stream);
    });
    (address, requests)
}

#[test]
fn bad_targets_are_refused() {
    for location in ["file:///etc/passwd", "http://[broken/", "javascript:alert(1)"] {
        let (address, _requests) = answering(redirect(302, location));
        let error = send(get(format!("http://{address}/"))).unwrap_err();
        assert!(matches!(error, HttpError::BadRedirect { .. }), "{location}: {error:?}");
    }
}
