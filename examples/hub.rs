//! The hub as a program: a server to try a client against, from any language.
//!
//! ```text
//! cargo run --example hub --features hub -- --port 8090 --tick
//! ```
//!
//! It prints the URL to point a client at, and serves until Ctrl-C. With
//! `--tick` something happens in the collection `posts` every second.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use tidings::hub::Hub;

const USAGE: &str = "\
Serves records and their changes from memory, on 127.0.0.1, until Ctrl-C.

  --port N               listen on this port (a free one unless given)
  --tick                 create, update or delete a post every second
  --rustbaas             print the URL of the RustBaaS stream of posts instead
  --require-token        RustBaaS streams want the token of the account
  --user EMAIL PASSWORD  add an account to users, and print a token of it; may be given again
  --seed N               draw ids from this number, for runs that are alike
  --help                 print this
";

/// What the command line asks for.
#[derive(Default)]
struct Wishes {
    port: u16,
    tick: bool,
    rustbaas: bool,
    require_token: bool,
    users: Vec<(String, String)>,
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let wishes = match read(std::env::args().skip(1)) {
        Ok(Some(wishes)) => wishes,
        Ok(None) => {
            // Whoever closed the pipe needs no help.
            let _ = std::io::stdout().write_all(USAGE.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprint!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(&wishes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot serve on port {}: {error}", wishes.port);
            ExitCode::FAILURE
        }
    }
}

fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Wishes>, String> {
    let mut wishes = Wishes::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--port" => wishes.port = value()?.parse().map_err(|error| format!("--port: {error}"))?,
            "--seed" => wishes.seed = Some(value()?.parse().map_err(|error| format!("--seed: {error}"))?),
            "--user" => wishes.users.push((value()?, value()?)),
            "--tick" => wishes.tick = true,
            "--rustbaas" => wishes.rustbaas = true,
            "--require-token" => wishes.require_token = true,
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("unknown: {other}")),
        }
    }
    Ok(Some(wishes))
}

fn serve(wishes: &Wishes) -> std::io::Result<()> {
    let mut builder = Hub::builder().port(wishes.port);
    if let Some(seed) = wishes.seed {
        builder = builder.seed(seed);
    }
    if wishes.require_token {
        builder = builder.require_token();
    }
    let hub = builder.start()?;
    let url = if wishes.rustbaas { hub.rustbaas_url("acme", "web", "posts") } else { hub.url() };
    let mut lines = format!("{url}\n");
    for (email, password) in &wishes.users {
        let id = hub.add_user("users", email, password);
        lines += &format!("{}\n", hub.token("users", &id, Duration::from_secs(7 * 24 * 3600)));
    }
    // A program that started this one waits for the first line, and may log in at once.
    std::io::stdout().write_all(lines.as_bytes())?;

    // Ctrl-C ends the process, and with it the hub.
    for second in 0_u64.. {
        std::thread::sleep(Duration::from_secs(1));
        if wishes.tick {
            tick(&hub, second);
        }
    }
    Ok(())
}

/// Three seconds in the life of a post.
fn tick(hub: &Hub, second: u64) {
    let newest = hub.records("posts").pop();
    match newest.as_ref().and_then(|post| post["id"].as_str()) {
        Some(id) if second % 3 == 1 => {
            hub.update("posts", id, json!({ "title": format!("Post {second}, revised") }));
        }
        Some(id) if second % 3 == 2 => hub.delete("posts", id),
        _ => {
            hub.create("posts", json!({ "title": format!("Post {second}"), "n": second }));
        }
    }
}
