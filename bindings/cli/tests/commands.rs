//! The commands that need no server, and the one that is a server.

mod program;

use std::process::Stdio;

use program::{run, start, tidings};
use serde_json::{Value, json};
use tidings::hub::{Endpoint, Hub};

#[test]
fn a_filter_is_explained() {
    let known = run(&mut tidings(&["filter", "status = \"open\" && @request.auth.id = \"x\"", "--json"]));
    let report: Value = serde_json::from_str(&known.out[0]).unwrap();
    assert_eq!((known.code, &report["plan"]), (Some(0), &"partly".into()), "{report}");
    assert_eq!(report["fields"], serde_json::json!(["status", "@request.auth.id"]));
    let wrong = run(&mut tidings(&["filter", "a ="]));
    assert_eq!(wrong.code, Some(2));
    // A mark below the place.
    assert_eq!(wrong.err[1..], ["  a =", "     ^"], "{wrong:?}");
    let wrong = run(&mut tidings(&["filter", "a =", "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&wrong.out[0]).unwrap()["column"], 4);
}

#[test]
fn records_pass_a_filter_or_not() {
    for (records, answers, code) in [
        (r#"{"n": 3}"#, &["record  in"][..], 0),
        (r#"{"n": 3} {"n": 1}"#, &["record  in", "record  out"], 1),
        (r#"{"title": "x"}"#, &["record  unknown"], 3),
    ] {
        let mut command = tidings(&["filter", "n > 2", "--record", "-"]);
        let mut filter = start(command.stdin(Stdio::piped()));
        filter.tell(records);
        let ended = filter.end();
        assert_eq!((ended.code, &ended.out[2..]), (Some(code), &answers.map_owned()[..]), "{ended:?}");
    }
    let mut command = tidings(&["filter", "n > 2", "--record", "-"]);
    let mut filter = start(command.stdin(Stdio::piped()));
    filter.tell("[1]");
    let ended = filter.end();
    assert_eq!(ended.code, Some(2));
    assert!(ended.err[0].contains("a record is a JSON object"), "{ended:?}");
}

trait MapOwned {
    fn map_owned(&self) -> Vec<String>;
}

impl MapOwned for &[&str] {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[test]
fn the_hub_serves_with_the_faults_that_it_is_told() {
    let arguments = [
        "hub",
        "--tick",
        "50ms",
        "--user",
        "ann@example.com",
        "secret-1",
        "--cut-every",
        "1s",
        "--refuse",
        "submit=403x1",
        "--delay",
        "connect=20ms",
    ];
    let hub = start(&mut tidings(&arguments));
    let url = hub.line();
    let token = hub.line();
    assert_eq!(token.split('.').count(), 3, "{token}");
    let refused = run(&mut tidings(&["tail", &url, "posts"]));
    assert!(refused.code == Some(3) && refused.err[0].contains("403"), "{refused:?}");
    let tail = start(&mut tidings(&["tail", &url, "posts"]));
    tail.says("live");
    assert!(tail.line().contains("Post "));
    tail.says("gap posts/*");
    hub.signal("-INT");
    assert_eq!(hub.end().code, Some(130));
    for (arguments, said) in [
        (["hub", "--refuse", "submit=99"], "is not a status"),
        (["hub", "--refuse", "nowhere=503"], "unknown endpoint"),
        (["hub", "--delay", "submit=soon"], "is not a duration"),
    ] {
        let ended = run(&mut tidings(&arguments));
        assert_eq!(ended.code, Some(2));
        assert!(ended.err.concat().contains(said), "{ended:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = run(&mut tidings(&["hub", "--port", &port]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.err[0].contains(&format!("cannot serve on port {port}")), "{ended:?}");
}

#[test]
fn completions_and_pages_for_man_know_every_command() {
    let completions = run(&mut tidings(&["completions", "bash"]));
    let man = run(&mut tidings(&["man"]));
    let folder = std::env::temp_dir().join(format!("tidings-cli-man-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    assert_eq!(run(&mut tidings(&["man", "--out", folder.to_str().unwrap()])).code, Some(0));
    for command in ["tail", "doctor", "filter", "bench", "hub"] {
        assert!(
            completions.out.iter().any(|line| line.contains(&format!("tidings,{command})"))),
            "{command}"
        );
        assert!(man.out.iter().any(|line| line.contains(&format!("tidings\\-{command}"))), "{command}");
        let page = std::fs::read_to_string(folder.join(format!("tidings-{command}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS"), "{command}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(run(&mut tidings(&["man", "tale"])).code, Some(2));
}

#[test]
fn a_bench_counts_every_event_and_leaves_nothing_behind() {
    let hub = Hub::start().unwrap();
    hub.create("posts", json!({"title": "stays"}));
    let arguments =
        ["bench", &hub.url(), "posts", "--streams", "3", "--rate", "50", "--for", "500ms", "--json"];
    let ended = run(tidings(&arguments).args(["--body", r#"{"title": "x"}"#]));
    let report: Value = serde_json::from_str(&ended.out[0]).unwrap();
    assert_eq!(
        (ended.code, &report["missing"], &report["notices"]),
        (Some(0), &json!(0), &json!(0)),
        "{report}"
    );
    let created = report["created"].as_u64().unwrap();
    assert!(created > 0 && report["events"] == created * 3, "{report}");
    assert_eq!(hub.records("posts").len(), 1);

    hub.faults().refuse_next(Endpoint::Records, 403, 100_000);
    let ended = run(&mut tidings(&["bench", &hub.url(), "posts", "--for", "100ms"]));
    assert_eq!(ended.code, Some(3), "the check of the topic was refused: {ended:?}");
}
