//! Tables: what was seen, and what is found. Each line changes one thing in a server that is well.

use super::{
    evidence::{
        Answer, Canary, Evidence, Got, Hello, Idle, IdleEnd, Many, OAuth2, Stage, Step, Stream, Superuser,
        Token,
    },
    judge::{exit_code, judge},
};

fn got(status: u16, headers: &[(&str, &str)], body: &str) -> Got {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Got::Answer(Answer { status, headers, body: body.to_owned() })
}

fn failed(stage: Stage) -> Got {
    Got::Failed { stage, why: "why".to_owned() }
}

fn stream(headers: &[(&str, &str)], hello: Hello) -> Stream {
    let headers: Vec<_> = [&[("content-type", "text/event-stream")], headers].concat();
    Stream { head: got(200, &headers, ""), hello }
}

fn hello() -> Hello {
    Hello::Client("x".to_owned())
}

const DATE: (&str, &str) = ("date", "Thu, 01 Jan 1970 00:16:40 GMT");
const JSON: (&str, &str) = ("content-type", "application/json");

fn well() -> Evidence {
    Evidence {
        now: 1000,
        health: Some(got(200, &[DATE, JSON], "{}")),
        error: Some(got(404, &[JSON], r#"{"status":404}"#)),
        stream: Some(stream(&[], hello())),
        gzip: Some(stream(&[], hello())),
        posts: vec![got(204, &[], ""); 10],
        collection: Some("posts".to_owned()),
        list: Some(got(200, &[JSON], r#"{"items":[{"id":"a"}]}"#)),
        cors: vec![("GET", got(200, &[("access-control-allow-origin", "*")], ""))],
        ..Evidence::default()
    }
}

fn some(posts: &[(usize, Got)]) -> Vec<Got> {
    posts.iter().flat_map(|(count, got)| vec![got.clone(); *count]).collect()
}

/// What is found, the exit code, and the change of what was seen.
type Line<'a> = (&'a str, i32, &'a dyn Fn(&mut Evidence));

#[track_caller]
fn table(lines: &[Line<'_>]) {
    for (names, code, change) in lines {
        let mut seen = well();
        change(&mut seen);
        let findings = judge(&seen);
        let found: Vec<_> = findings.iter().map(|finding| finding.name).collect();
        assert_eq!(found.join(" "), *names, "{findings:#?}");
        assert_eq!(i32::from(exit_code(&findings)), *code, "{names}");
        assert!(findings.iter().all(|finding| !finding.proof.is_empty() && !finding.fix.is_empty()));
    }
}

#[test]
fn how_far_a_client_gets() {
    table(&[
        ("", 0, &|_| {}),
        ("unreachable", 1, &|seen| seen.health = Some(failed(Stage::Resolve))),
        ("unreachable", 1, &|seen| seen.health = Some(failed(Stage::Connect))),
        ("unreachable", 1, &|seen| seen.health = Some(failed(Stage::Http))),
        ("unreachable", 1, &|seen| seen.health = Some(failed(Stage::Timeout))),
        ("tls", 1, &|seen| seen.health = Some(failed(Stage::Tls))),
        ("unreachable", 1, &|seen| seen.health = Some(got(503, &[], ""))),
        ("wrong-base-path", 1, &|seen| seen.health = Some(got(404, &[JSON], "{}"))),
        ("wrong-base-path", 1, &|seen| seen.health = Some(got(200, &[("content-type", "text/html")], "<p>"))),
        ("redirect", 1, &|seen| seen.health = Some(got(308, &[("location", "https://x/")], ""))),
        ("redirect", 1, &|seen| {
            seen.stream = Some(Stream { head: got(301, &[("location", "/x")], ""), hello: Hello::Nothing });
        }),
        ("redirect", 1, &|seen| seen.posts = some(&[(10, got(301, &[("location", "/x")], ""))])),
        ("rate-limit", 1, &|seen| seen.posts = some(&[(9, got(204, &[], "")), (1, got(429, &[], ""))])),
        // What is more fundamental hides what follows from it.
        ("unreachable", 1, &|seen| {
            seen.health = Some(failed(Stage::Connect));
            seen.list = Some(got(404, &[], ""));
        }),
    ]);
}

#[test]
fn a_stream_that_does_not_come() {
    let silent = || Stream { head: failed(Stage::Timeout), hello: Hello::Nothing };
    let gzip = [("content-encoding", "gzip")];
    table(&[
        ("buffered", 1, &|seen| seen.stream = Some(silent())),
        ("buffered", 1, &|seen| seen.stream = Some(stream(&[], Hello::Nothing))),
        ("compressed", 1, &|seen| seen.gzip = Some(silent())),
        ("compressed", 1, &|seen| seen.gzip = Some(stream(&gzip, Hello::Nothing))),
        ("compressed", 1, &|seen| seen.stream = Some(stream(&gzip, Hello::Coded))),
        ("compressed", 0, &|seen| seen.gzip = Some(stream(&gzip, Hello::Coded))),
        ("", 0, &|seen| seen.gzip = Some(stream(&[("content-encoding", "identity")], hello()))),
        ("wrong-base-path", 1, &|seen| {
            seen.stream =
                Some(Stream { head: got(200, &[("content-type", "text/html")], ""), hello: Hello::Nothing });
        }),
    ]);
}

#[test]
fn topics_that_are_not_taken() {
    let body = |text: &str| format!(r#"{{"message":"{text}"}}"#);
    let (taken, unknown) = (got(204, &[], ""), got(404, &[], &body("Missing or invalid client id.")));
    let mixed = some(&[(5, taken.clone()), (5, unknown.clone())]);
    table(&[
        ("several-instances", 1, &|seen| seen.posts.clone_from(&mixed)),
        ("several-instances", 1, &|seen| seen.posts = some(&[(10, unknown.clone())])),
        ("several-instances", 1, &|seen| {
            (seen.posts, seen.posts_with_cookie) = (mixed.clone(), some(&[(10, taken.clone())]));
        }),
        ("different-addresses", 1, &|seen| {
            seen.posts = some(&[(10, got(400, &[], &body("Invalid realtime client.")))])
        }),
        ("different-addresses", 1, &|seen| seen.post_over_other_family = Some(got(400, &[], ""))),
        ("", 0, &|seen| seen.post_over_other_family = Some(got(204, &[], ""))),
        ("", 0, &|seen| seen.post_over_other_family = Some(failed(Stage::Connect))),
        ("topics-refused", 2, &|seen| seen.posts = some(&[(10, got(400, &[], &body("Something else.")))])),
        ("identity-changed", 1, &|seen| {
            let mismatch =
                got(403, &[], &body("The current and the previous request authorization don't match."));
            seen.posts = some(&[(9, taken.clone()), (1, mismatch)]);
        }),
    ]);
    let mut seen = well();
    (seen.posts, seen.posts_with_cookie) = (mixed, some(&[(10, taken)]));
    assert!(judge(&seen)[0].proof.contains("5 of 10") && judge(&seen)[0].proof.contains("with the cookie"));
}

#[test]
fn who_one_is() {
    let token = |expires| Some(Token { expires: Some(expires) });
    table(&[
        ("token-expired", 1, &|seen| seen.token = token(1000)),
        ("", 0, &|seen| {
            (seen.token, seen.post_as_guest) = (token(1001), Some(got(403, &[], "")));
        }),
        ("token-not-taken", 1, &|seen| {
            (seen.token, seen.post_as_guest) = (token(1001), Some(got(204, &[], "")));
        }),
        // The server's clock counts: by ours it would be good.
        ("token-expired clock", 1, &|seen| (seen.token, seen.now) = (token(950), 900)),
        ("login-refused", 1, &|seen| seen.login = Some(got(400, &[], ""))),
        ("", 0, &|seen| seen.login = Some(got(200, &[], ""))),
    ]);
}

fn superuser(collection: &str, items: &str) -> Option<Superuser> {
    let failing = vec!["a = 1".to_owned()];
    Some(Superuser {
        collection: got(200, &[], collection),
        list: got(200, &[], items),
        expanded: None,
        failing,
    })
}

#[test]
fn what_the_collection_shows() {
    let (none, one) = (r#"{"items":[]}"#, r#"{"items":[{"id":"a"}]}"#);
    let related = r#"{"items":[{"id":"a","owner":"b"}]}"#;
    let filled = r#"{"items":[{"id":"a","owner":"b","expand":{"owner":{"id":"b"}}}]}"#;
    table(&[
        ("no-collection", 1, &|seen| seen.list = Some(got(404, &[], ""))),
        ("superusers-only", 1, &|seen| seen.list = Some(got(403, &[], ""))),
        ("list-refused", 2, &|seen| seen.list = Some(got(500, &[], ""))),
        ("nothing-visible", 2, &|seen| seen.list = Some(got(200, &[], none))),
        ("rule-hides-everything", 1, &|seen| {
            (seen.list, seen.superuser) =
                (Some(got(200, &[], none)), superuser(r#"{"listRule":"a = 1"}"#, one));
        }),
        ("", 0, &|seen| (seen.list, seen.superuser) = (Some(got(200, &[], none)), superuser("{}", none))),
        // Whoever is no superuser has seen nothing: that is not proof of an empty collection.
        ("superuser-refused nothing-visible", 2, &|seen| {
            (seen.list, seen.superuser) = (Some(got(200, &[], none)), superuser("{}", none));
            seen.superuser.as_mut().unwrap().collection = got(403, &[], "");
        }),
        ("filter", 1, &|seen| seen.filtered = Some(got(400, &[], ""))),
        ("filter", 1, &|seen| seen.filtered = Some(got(403, &[], ""))),
        ("filter", 1, &|seen| seen.filter_error = Some((5, "a field is expected".to_owned()))),
        ("view", 1, &|seen| seen.superuser = superuser(r#"{"type":"view"}"#, one)),
        ("expand-does-nothing", 1, &|seen| {
            (seen.expand, seen.expanded) = (Some("owner".to_owned()), Some(got(200, &[], related)));
        }),
        ("", 0, &|seen| {
            (seen.expand, seen.expanded) = (Some("owner".to_owned()), Some(got(200, &[], filled)))
        }),
        ("", 0, &|seen| (seen.expand, seen.expanded) = (Some("owner".to_owned()), Some(got(200, &[], one)))),
    ]);
}

#[test]
fn what_takes_time() {
    let canary = |status, delay| {
        let step = |action, delay| Step { action, answer: got(status, &[], ""), delay };
        Some(Canary { steps: vec![step("create", Some(3)), step("update", delay)] })
    };
    let idle = |seconds, end| Some(Idle { seconds, end });
    let many = |failure| Some(Many { wanted: 9, opened: 5, failure });
    table(&[
        ("", 0, &|seen| seen.canary = canary(200, Some(2_000))),
        ("slow-path", 1, &|seen| seen.canary = canary(200, Some(2_001))),
        ("slow-path", 1, &|seen| seen.canary = canary(200, None)),
        ("canary-refused", 2, &|seen| seen.canary = canary(400, None)),
        ("", 0, &|seen| seen.idle = idle(310.0, IdleEnd::Open)),
        ("", 0, &|seen| seen.idle = idle(300.0, IdleEnd::Clean)),
        ("quiet-streams-are-cut", 1, &|seen| seen.idle = idle(60.0, IdleEnd::Clean)),
        ("quiet-streams-are-cut", 1, &|seen| seen.idle = idle(300.0, IdleEnd::Cut)),
        ("", 0, &|seen| seen.many = many(None)),
        ("descriptors", 1, &|seen| seen.many = many(Some(failed(Stage::Connect)))),
    ]);
}

#[test]
fn browsers_clocks_versions_and_logins_elsewhere() {
    let allowed = |values: &[&str]| {
        let headers: Vec<_> = values.iter().map(|value| ("access-control-allow-origin", *value)).collect();
        vec![("GET", got(200, &headers, ""))]
    };
    let from = |origin: &str| Some(origin.to_owned());
    let oauth2 = |methods: &str, redirect, topic| {
        let (provider, methods) = ("github".to_owned(), got(200, &[], methods));
        Some(OAuth2 { provider, methods, redirect: got(redirect, &[], ""), topic: Some(got(topic, &[], "")) })
    };
    let listed = r#"{"oauth2":{"providers":[{"name":"github"}]}}"#;
    table(&[
        ("cors", 1, &|seen| seen.cors = allowed(&["*", "*"])),
        ("", 0, &|seen| seen.cors = allowed(&[])),
        ("cors", 1, &|seen| (seen.cors, seen.origin) = (allowed(&[]), from("https://a"))),
        ("cors", 1, &|seen| (seen.cors, seen.origin) = (allowed(&["https://b"]), from("https://a"))),
        ("", 0, &|seen| (seen.cors, seen.origin) = (allowed(&["https://a"]), from("https://a"))),
        ("six-connections", 0, &|seen| (seen.is_https, seen.http2) = (true, Some(false))),
        ("", 0, &|seen| (seen.is_https, seen.http2) = (true, Some(true))),
        ("", 0, &|seen| seen.now = 1060),
        ("clock", 1, &|seen| seen.now = 1061),
        ("clock", 1, &|seen| seen.now = 939),
        ("old-version", 0, &|seen| seen.error = Some(got(404, &[], r#"{"code":404}"#))),
        ("", 0, &|seen| seen.oauth2 = oauth2(listed, 307, 204)),
        ("", 0, &|seen| seen.oauth2 = oauth2(r#"{"authProviders":[{"name":"github"}]}"#, 307, 204)),
        ("oauth2", 1, &|seen| seen.oauth2 = oauth2("{}", 307, 204)),
        ("oauth2", 1, &|seen| seen.oauth2 = oauth2(listed, 404, 204)),
        ("oauth2", 1, &|seen| seen.oauth2 = oauth2(listed, 307, 403)),
    ]);
}
