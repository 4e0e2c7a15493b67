//! `tidings tail`, as people run it: it says when it is live and what may have been missed, and never ends in silence.

mod program;
#[path = "../../../tests/real/mod.rs"]
mod real;

use std::{process::Stdio, time::Duration};

use program::{PATIENCE, Running, run, start, tidings};
use serde_json::{Value, json};
use tidings::hub::{Answer, Endpoint, Hub};

fn hub() -> Hub {
    Hub::start().unwrap()
}

fn object(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn changes_go_to_standard_output_and_the_rest_to_standard_error() {
    let hub = hub();
    let tail = start(&mut tidings(&["tail", &hub.url(), "posts"]));
    tail.says("live: posts/*");
    let post = hub.create("posts", json!({"title": "Grüße \u{1b}[2J\u{9b}"}));
    let line = tail.line();
    assert!(line.starts_with(&format!("create posts/* {} {{", post["id"].as_str().unwrap())), "{line}");
    assert!(line.contains("Grüße") && !line.contains(char::is_control), "{line}");
    hub.faults().cut_streams();
    tail.says("gap posts/* ");
    hub.delete("posts", post["id"].as_str().unwrap());
    assert!(tail.line().starts_with("delete posts/* "));
    tail.signal("-INT");
    assert_eq!(tail.end().code, Some(130));
}

#[test]
fn json_has_one_object_on_a_line_and_gaps_among_them() {
    let hub = hub();
    let tail = start(&mut tidings(&["tail", "-o", "json", "--filter", "title ~ 'b'", &hub.url(), "posts/*"]));
    tail.says("live");
    hub.create("posts", json!({"title": "a"}));
    hub.create("posts", json!({"title": "b\n2", "n": 1.5}));
    let event = object(&tail.line());
    assert_eq!((&event["topic"], &event["action"]), (&json!("posts/*"), &json!("create")));
    assert_eq!((&event["record"]["title"], &event["record"]["n"]), (&json!("b\n2"), &json!(1.5)));
    assert_eq!(event["id"], event["record"]["id"]);
    hub.faults().cut_streams();
    let gap = object(&tail.line());
    assert_eq!((&gap["action"], &gap["reason"]), (&json!("gap"), &json!("disconnected")));
    assert!(gap["seconds"].is_number());
    tail.says("gap posts/* ");
}

#[test]
fn raw_topics_carry_whatever_a_hook_sends() {
    let hub = hub();
    let tail = start(&mut tidings(&["tail", "--json", "--raw", &hub.url(), "jobs/finished"]));
    tail.says("live: jobs/finished");
    let deep = format!("{}{}", "[".repeat(9_000), "]".repeat(9_000));
    for (sent, data) in [
        (r#"{"job": 7, "n": 1e400}"#, r#""data":{"job": 7, "n": 1e400}}"#),
        ("plain text", r#""data":"plain text"}"#),
        (r#"{"half": "\ud83d"}"#, r#""data":{"half": "\ud83d"}}"#),
        (&*deep, &*format!(r#""data":{deep}}}"#)),
    ] {
        hub.publish("jobs/finished", sent);
        let line = tail.line();
        assert!(line.ends_with(data), "{line}");
    }
}

#[test]
fn a_template_makes_lines_of_changes_alone() {
    let hub = hub();
    let tail = start(&mut tidings(&[
        "tail",
        &hub.url(),
        "posts",
        "-o",
        "{action}\\t{record.author.name}|{record.n}",
    ]));
    tail.says("live");
    hub.create("posts", json!({"author": {"name": "Ada"}, "n": 3}));
    assert_eq!(tail.line(), "create\tAda|3");
    hub.faults().cut_streams();
    tail.says("gap");
    hub.create("posts", json!({"n": 4}));
    assert_eq!(tail.line(), "create\t|4");
    let wrong = run(&mut tidings(&["tail", &hub.url(), "posts", "-o", "{titel}"]));
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.concat().contains("unknown placeholder {titel}"), "{wrong:?}");
}

#[test]
fn rustbaas_is_spoken_too() {
    let hub = hub();
    for place in ["--rustbaas", "--workspace"] {
        let tail = start(&mut tidings(&[
            "tail",
            &hub.url(),
            "posts",
            place,
            "acme/web",
            "-o",
            "{action} {record.title}",
        ]));
        tail.says("live");
        hub.create("posts", json!({"title": place}));
        assert_eq!(tail.line(), format!("create {place}"));
    }
}

#[test]
fn it_ends_by_count_and_by_time() {
    let hub = hub();
    let tail = start(&mut tidings(&["tail", &hub.url(), "posts", "--count", "2", "-q"]));
    assert!(hub.wait_until(|stats| stats.topics == 1, PATIENCE));
    for n in 0..5 {
        hub.create("posts", json!({"n": n}));
    }
    let ended = tail.end();
    assert_eq!((ended.code, ended.out.len(), ended.err.len()), (Some(0), 2, 0), "{ended:?}");
    let ended = run(&mut tidings(&["tail", &hub.url(), "posts", "--for", "300ms"]));
    assert_eq!((ended.code, ended.err), (Some(0), vec!["tidings: live: posts/*".to_owned()]));
}

#[test]
fn a_reader_that_leaves_ends_it_quietly_also_without_another_event() {
    let hub = hub();
    let line = r#""$0" tail -q "$1" posts | head -n 1; exit "${PIPESTATUS[0]}""#;
    let mut shell = std::process::Command::new("bash");
    let shell = start(
        shell.args(["-c", line, env!("CARGO_BIN_EXE_tidings"), &hub.url()]).env_remove("TIDINGS_TOKEN"),
    );
    assert!(hub.wait_until(|stats| stats.topics == 1, PATIENCE));
    // One alone: nothing more is written to the pipe.
    hub.create("posts", json!({"n": 1}));
    let ended = shell.end();
    assert_eq!((ended.code, ended.out.len(), ended.err.len()), (Some(0), 1, 0), "{ended:?}");
}

#[test]
fn a_server_that_is_not_there_is_waited_for_and_said() {
    let hub = hub();
    let url = hub.url();
    hub.stop();
    let tail = start(&mut tidings(&["tail", &url, "posts", "users"]));
    tail.says("waiting");
    hub.restart().unwrap();
    tail.says("live: posts/*, users/*");
    hub.create("posts", json!({}));
    tail.line();
    hub.stop();
    tail.says("waiting");
    hub.restart().unwrap();
    tail.says("live again");
    tail.signal("-TERM");
    assert_eq!(tail.end().code, Some(143));
    hub.stop();
    let given_up = run(&mut tidings(&["tail", &url, "posts", "--timeout", "200ms"]));
    assert_eq!(given_up.code, Some(1));
    assert!(given_up.err.last().unwrap().contains("not live within 200ms"), "{given_up:?}");
}

#[test]
fn a_final_refusal_ends_it_with_3_and_a_reason() {
    let hub = hub();
    // A base path that is wrong, and an answer to the topics.
    let wrong_path = run(&mut tidings(&["tail", &format!("{}/nowhere", hub.url()), "posts"]));
    assert_eq!(wrong_path.code, Some(3), "{wrong_path:?}");
    assert!(wrong_path.err[0].contains("404"), "{wrong_path:?}");
    hub.faults().refuse_next(Endpoint::Submit, 403, 9);
    let refused = run(&mut tidings(&["tail", &hub.url(), "posts"]));
    assert_eq!(refused.code, Some(3));
    assert!(refused.err[0].contains("the server answered 403"), "{refused:?}");
    hub.faults().clear();
    // Refused when it was live.
    let tail = start(&mut tidings(&["tail", "--json", &hub.url(), "posts"]));
    tail.says("live");
    hub.faults().refuse_next(Endpoint::Submit, 403, 9);
    hub.faults().cut_streams();
    let ended = tail.end();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let last = object(ended.out.last().unwrap());
    assert_eq!((&last["action"], &last["status"]), (&json!("refused"), &json!(403)));
    assert!(ended.err.iter().any(|line| line.contains("refused posts/*")), "{ended:?}");
}

#[test]
fn what_may_pass_is_tried_again() {
    let hub = hub();
    hub.faults().answer_next(Endpoint::Connect, Answer::html("<h1>Sign in</h1>"), 1);
    hub.faults().refuse_next(Endpoint::Submit, 503, 1);
    let tail = start(&mut tidings(&["tail", &hub.url(), "posts"]));
    tail.says("waiting");
    tail.says("live");
}

#[test]
fn wrong_use_is_refused_before_the_network() {
    for (arguments, said) in [
        (&["tail", "ftp://example.com", "posts"][..], "only http and https"),
        (&["tail", "http://127.0.0.1:1", "a/b/c"], "not allowed"),
        (&["tail", "http://127.0.0.1:1", "posts", "-f", "a = "], "column 5"),
        (&["tail", "http://127.0.0.1:1", "posts", "--for", "soon"], "is not a duration"),
        (&["tail", "http://127.0.0.1:1"], "TOPIC"),
        (&["tail", "http://127.0.0.1:1", "posts", "--forward", "nowhere"], "--forward"),
        (&["tail", "http://127.0.0.1:1", "posts", "--rustbaas", "acme"], "two names"),
        (&["tail", "http://127.0.0.1:1", "posts", "--ca", "/nonexistent"], "cannot read"),
        (&["tail", "http://127.0.0.1:1", "posts", "--user", "ada"], "no terminal"),
        (&["tale"], "tail"),
    ] {
        let ended = run(&mut tidings(arguments));
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.err.concat().contains(said), "{arguments:?}: {ended:?}");
        assert!(ended.out.is_empty());
    }
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    for given in [
        &["--token", "s3cret"][..],
        &["--token=s3cret"],
        &["--password", "s3cret", "--user", "a"],
        &["--password=s3cret"],
    ] {
        let ended = run(tidings(&["tail", "http://127.0.0.1:1", "posts"]).args(given));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let said = ended.err.concat();
        assert!(said.contains("read by every user of the machine") && !said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_token_or_a_password_says_who_to_be() {
    let hub = hub();
    let ann = hub.add_user("users", "ann@example.com", "secret-1");
    let token = hub.token("users", &ann, Duration::from_secs(60));
    let path = std::env::temp_dir().join(format!("tidings-cli-token-{}", std::process::id()));
    std::fs::write(&path, format!("{token}\n")).unwrap();
    let file = path.to_str().unwrap();
    for (options, variable, input) in [
        (&[][..], ("TIDINGS_TOKEN", &*token), None),
        (&["--token-file", file], ("TIDINGS_TOKEN", "not this one"), None),
        (&["--token-file", "-"], ("TIDINGS_TOKEN", "not this one"), Some(&*token)),
        (&["--user", "ann@example.com"], ("TIDINGS_PASSWORD", "secret-1"), None),
        (
            &["--user", "ann@example.com", "--password-file", "-"],
            ("TIDINGS_PASSWORD", "no"),
            Some("secret-1"),
        ),
    ] {
        let mut command = tidings(&["tail", &hub.url(), "users"]);
        command.args(options).env(variable.0, variable.1);
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut tail = start(&mut command);
        if let Some(input) = input {
            tail.tell(&format!("{input}\n"));
        }
        tail.says("live");
        // Accounts are seen by their owners only.
        hub.update("users", &ann, json!({"name": "Ann"}));
        assert!(tail.line().starts_with(&format!("update users/* {ann}")));
    }
    std::fs::remove_file(&path).unwrap();
    let mut command = tidings(&["tail", &hub.url(), "users", "--user", "ann@example.com"]);
    let wrong = run(command.env("TIDINGS_PASSWORD", "wrong-password"));
    assert_eq!(wrong.code, Some(3));
    assert!(!wrong.err.concat().contains("wrong-password"), "{wrong:?}");
}

#[test]
fn a_login_is_renewed_before_its_token_expires() {
    let hub = Hub::builder().token_lifetime(Duration::from_secs(3)).start().unwrap();
    let ann = hub.add_user("users", "ann@example.com", "secret-1");
    let mut command = tidings(&["tail", &hub.url(), "users", "--user", "ann@example.com"]);
    let tail = start(command.env("TIDINGS_PASSWORD", "secret-1"));
    tail.says("live");
    let logins = || hub.requests().iter().filter(|seen| seen.path.contains("auth-with-password")).count();
    let first = logins();
    let since = std::time::Instant::now();
    while logins() < first + 2 {
        assert!(since.elapsed() < PATIENCE, "it did not log in again");
        std::thread::sleep(Duration::from_millis(20));
    }
    hub.update("users", &ann, json!({"name": "Ann"}));
    assert!(tail.line().starts_with("update users/* "));
}

#[test]
fn each_event_runs_a_command_with_the_event_on_its_input() {
    let hub = hub();
    let command = r#"echo "$TIDINGS_ACTION $TIDINGS_EVENT_TOPIC $TIDINGS_RECORD_ID"; cat; exit 7"#;
    let tail = start(&mut tidings(&["tail", &hub.url(), "posts", "-o", "line", "--exec", command]));
    assert!(tail.end().err.concat().contains("template"), "a format that is none");
    let tail = start(&mut tidings(&[
        "tail",
        &hub.url(),
        "posts",
        "-o",
        "> {id}",
        "--exec",
        command,
        "--count",
        "1",
    ]));
    tail.says("live");
    let id = hub.create("posts", json!({"title": "a"}))["id"].as_str().unwrap().to_owned();
    assert_eq!(tail.line(), format!("> {id}"));
    assert_eq!(tail.line(), format!("create posts/* {id}"));
    assert_eq!(object(&tail.line())["record"]["title"], "a");
    tail.says("exec: the command ended with exit status: 7");
    assert_eq!(tail.end().code, Some(0));
}

#[test]
fn events_are_posted_to_a_url_until_they_are_taken() {
    let (hub, receiver) = (hub(), hub());
    receiver.faults().refuse_next(Endpoint::Records, 503, 1);
    let url = format!("{}/api/collections/inbox/records?from=tail", receiver.url());
    let tail = start(&mut tidings(&["tail", &hub.url(), "posts", "--forward", &url, "--count", "2"]));
    tail.says("live");
    hub.create("posts", json!({"title": "a"}));
    tail.says("forward: waiting");
    // More at once than are wanted.
    for title in ["b", "c", "d"] {
        hub.create("posts", json!({"title": title}));
    }
    assert_eq!(tail.end().code, Some(0));
    let titles: Vec<Value> =
        receiver.records("inbox").iter().map(|event| event["record"]["title"].clone()).collect();
    assert_eq!(titles, ["a", "b"]);
    // An answer that trying again will not change.
    receiver.faults().refuse_next(Endpoint::Records, 403, 1);
    let tail = start(&mut tidings(&["tail", &hub.url(), "posts", "--forward", &url, "--count", "1"]));
    tail.says("live");
    hub.create("posts", json!({"title": "c"}));
    tail.says("forward: an event was not taken: ");
    assert_eq!(tail.end().code, Some(0));
}

/// Creates records until one is printed: what a fault swallows is a gap, and what comes after it has to come.
#[track_caller]
fn comes_through(hub: &Hub, tail: &Running, fault: &str) {
    let since = std::time::Instant::now();
    for n in 0.. {
        assert!(since.elapsed() < PATIENCE, "after {fault} nothing comes");
        let title = format!("after {fault} {n}");
        hub.create("posts", json!({"title": title}));
        if tail
            .line_within(Duration::from_millis(250))
            .is_some_and(|line| line.contains(&format!("after {fault} ")))
        {
            return;
        }
    }
}

#[test]
fn no_fault_silences_it() {
    let hub = hub();
    let tail = start(&mut tidings(&["tail", &hub.url(), "posts", "-o", "{record.title}"]));
    tail.says("live");
    let faults = hub.faults();
    let table: [(&str, &dyn Fn()); 12] = [
        ("a clean end", &|| _ = faults.end_streams()),
        ("a cut", &|| _ = faults.cut_streams()),
        ("a reset", &|| _ = faults.reset_streams()),
        ("a truncated message", &|| _ = faults.truncate_streams()),
        ("bad JSON", &|| _ = faults.bad_json()),
        ("raw newlines", &|| _ = faults.raw_newlines()),
        ("a huge message", &|| _ = faults.huge_event(20 << 20)),
        ("bytes one by one", &|| faults.split_bytes(true)),
        ("503 for GET and POST", &|| {
            faults.refuse_next(Endpoint::Connect, 503, 2);
            faults.refuse_next(Endpoint::Submit, 503, 2);
            faults.cut_streams();
        }),
        ("a web page", &|| {
            faults.answer_next(Endpoint::Connect, Answer::html("<h1>Sign in</h1>"), 1);
            faults.cut_streams();
        }),
        ("an unknown client", &|| {
            // In the server's words: any other 404 refuses the topic for good.
            let words = r#"{"data":{},"message":"Missing or invalid client id.","status":404}"#;
            let unknown = Answer::status(404).content_type("application/json").body(words);
            faults.answer_next(Endpoint::Submit, unknown, 1);
            faults.cut_streams();
        }),
        ("a restart", &|| {
            hub.stop();
            hub.restart().unwrap();
        }),
    ];
    for (name, strike) in table {
        strike();
        comes_through(&hub, &tail, name);
        faults.clear();
    }
    tail.signal("-INT");
    let ended = tail.end();
    assert_eq!(ended.code, Some(130));
    assert!(ended.err.iter().any(|line| line.contains("gap posts/*")), "{ended:?}");
}

#[test]
fn a_real_server_that_is_killed_is_waited_for_and_its_refusals_end_it() {
    let mut server = real::PocketBase::start("");
    let url = server.url();
    let write =
        |title: &str| smol::block_on(real::create(&server.client(), "notes", json!({"title": title})));
    smol::block_on(async {
        let people = server.collection("people", &["name"], &[], "").await;
        server.collection("notes", &["title"], &[("author_of", &people)], "").await;
    });
    let tail =
        start(&mut tidings(&["tail", &url, "notes", "-f", "title ~ 'b'", "-o", "{action} {record.title}"]));
    tail.says("live: notes/*");
    write("a");
    write("b");
    assert_eq!(tail.line(), "create b");
    server.kill();
    tail.says("waiting");
    server.restart();
    tail.says("live again");
    smol::block_on(real::create(&server.client(), "notes", json!({"title": "b2"})));
    assert_eq!(tail.line(), "create b2");
    for (arguments, said) in [
        (&["nosuch"][..], "404"),
        (&["notes", "-f", "titel = 'a'"], "400"),
        (&["_superusers"], "403"),
        (&["notes", "nosuch/*"], "404"),
    ] {
        let ended = run(tidings(&["tail", &url]).args(arguments));
        assert_eq!(ended.code, Some(3), "{arguments:?}: {ended:?}");
        assert!(ended.err.last().unwrap().contains(said), "{arguments:?}: {ended:?}");
    }
}
