//! `tidings hub`: the embedded server as a program, with faults on demand.

use std::{io::Write, time::Duration};

use clap::Args;
use serde_json::json;
use tidings::hub::{Answer, Endpoint, Hub};

use crate::{failure::Failure, text::duration};

/// Serves records and their changes from memory, to try clients against
///
/// It listens on 127.0.0.1 alone, imitates PocketBase and the streams of RustBaaS, and provides no security. It prints
/// its URL, then a token for each account, and serves until Ctrl-C.
#[derive(Args)]
pub(crate) struct Options {
    /// Listen on this port; 0 is a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Create, update or delete a record of posts each time
    #[arg(long, value_name = "TIME", value_parser = duration, num_args = 0..=1, default_missing_value = "1s")]
    tick: Option<Duration>,
    /// Add an account to users; may be given again
    #[arg(long, value_names = ["EMAIL", "PASSWORD"], num_args = 2, action = clap::ArgAction::Append)]
    user: Vec<String>,
    /// Draw ids from this number, for runs that are alike
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Collections are not created when they are first used
    #[arg(long)]
    strict: bool,
    /// Answer as BosBase does
    #[arg(long)]
    bosbase: bool,
    /// Print the URL of the RustBaaS stream of posts instead
    #[arg(long)]
    rustbaas: bool,
    /// RustBaaS streams want the token of an account
    #[arg(long)]
    require_token: bool,
    /// How long tokens are good
    #[arg(long, value_name = "TIME", value_parser = duration)]
    token_lifetime: Option<Duration>,
    #[command(flatten)]
    faults: Faults,
}

#[derive(Args)]
#[command(next_help_heading = "Faults")]
struct Faults {
    /// Cut all streams each time, as a killed server does
    #[arg(long, value_name = "TIME", value_parser = duration)]
    cut_every: Option<Duration>,
    /// Reset the connections of all streams each time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    reset_every: Option<Duration>,
    /// Make all connections half-open each time: no byte comes or goes any more
    #[arg(long, value_name = "TIME", value_parser = duration)]
    half_open_every: Option<Duration>,
    /// End a stream at this age
    #[arg(long, value_name = "TIME", value_parser = duration)]
    life: Option<Duration>,
    /// End a stream after this long without a message
    #[arg(long, value_name = "TIME", value_parser = duration)]
    idle: Option<Duration>,
    /// Answer the next N requests to an endpoint with a status, e.g. submit=503x2. Endpoints: connect, submit, records,
    /// lists, auth, health, events, other
    #[arg(long, value_name = "ENDPOINT=STATUS[xN]", value_parser = refusal)]
    refuse: Vec<(Endpoint, u16, usize)>,
    /// Leave the next N requests to an endpoint without an answer
    #[arg(long, value_name = "ENDPOINT[xN]", value_parser = silence)]
    silence: Vec<(Endpoint, usize)>,
    /// Delay each request to an endpoint, e.g. submit=300ms
    #[arg(long, value_name = "ENDPOINT=TIME", value_parser = delay)]
    delay: Vec<(Endpoint, Duration)>,
    /// Shuffle the messages of a stream in groups of this size
    #[arg(long, value_name = "N")]
    reorder: Option<usize>,
    /// Take every token for one that has expired, without a word: lists are those of a guest
    #[arg(long)]
    lose_tokens: bool,
    /// Write every byte of a stream by itself
    #[arg(long)]
    split_bytes: bool,
    /// Send each connection so many bytes in a second at most
    #[arg(long, value_name = "BYTES")]
    throttle: Option<usize>,
}

fn endpoint(name: &str) -> Result<Endpoint, String> {
    Ok(match name {
        "connect" => Endpoint::Connect,
        "submit" => Endpoint::Submit,
        "records" => Endpoint::Records,
        "lists" => Endpoint::Lists,
        "auth" => Endpoint::Auth,
        "health" => Endpoint::Health,
        "events" => Endpoint::Events,
        "other" => Endpoint::Other,
        _ => {
            return Err(format!(
                "unknown endpoint {name:?}; there are connect, submit, records, lists, auth, health, events and other"
            ));
        }
    })
}

fn times(text: &str) -> Result<(&str, usize), String> {
    match text.rsplit_once('x') {
        Some((rest, number)) if number.parse::<usize>().is_ok_and(|n| n > 0) => {
            Ok((rest, number.parse().unwrap_or(1)))
        }
        _ => Ok((text, 1)),
    }
}

fn refusal(text: &str) -> Result<(Endpoint, u16, usize), String> {
    let (text, times) = times(text)?;
    let (name, status) = text.split_once('=').ok_or("give an endpoint and a status, e.g. submit=503")?;
    match status.parse() {
        Ok(status @ 200..=599) => Ok((endpoint(name)?, status, times)),
        _ => Err(format!("{status:?} is not a status between 200 and 599")),
    }
}

fn silence(text: &str) -> Result<(Endpoint, usize), String> {
    let (name, times) = times(text)?;
    Ok((endpoint(name)?, times))
}

fn delay(text: &str) -> Result<(Endpoint, Duration), String> {
    let (name, time) = text.split_once('=').ok_or("give an endpoint and a time, e.g. submit=300ms")?;
    Ok((endpoint(name)?, duration(time)?))
}

pub(crate) async fn run(options: Options) -> Result<u8, Failure> {
    let hub = start(&options)
        .map_err(|error| Failure::new(1, format!("cannot serve on port {}: {error}", options.port)))?;
    options.faults.set(&hub);
    let url = if options.rustbaas { hub.rustbaas_url("acme", "web", "posts") } else { hub.url() };
    let mut lines = format!("{url}\n");
    for account in options.user.chunks_exact(2) {
        let id = hub.add_user("users", &account[0], &account[1]);
        let lifetime = options.token_lifetime.unwrap_or(Duration::from_secs(7 * 86400));
        lines += &format!("{}\n", hub.token("users", &id, lifetime));
    }
    // A program that started this one waits for the first line, and may log in at once.
    let mut out = std::io::stdout();
    out.write_all(lines.as_bytes())?;
    out.flush()?;
    let faults = &options.faults;
    tokio::join!(
        each(options.tick, {
            let mut second = 0;
            let hub = &hub;
            move || {
                tick(hub, second);
                second += 1;
            }
        }),
        each(faults.cut_every, || _ = hub.faults().cut_streams()),
        each(faults.reset_every, || _ = hub.faults().reset_streams()),
        each(faults.half_open_every, || _ = hub.faults().half_open()),
        // Until a signal comes.
        std::future::pending::<()>(),
    );
    Ok(0)
}

fn start(options: &Options) -> std::io::Result<Hub> {
    let mut builder = Hub::builder().port(options.port);
    if let Some(seed) = options.seed {
        builder = builder.seed(seed);
    }
    if options.strict {
        builder = builder.strict();
    }
    if options.bosbase {
        builder = builder.bosbase();
    }
    if options.require_token {
        builder = builder.require_token();
    }
    if let Some(lifetime) = options.token_lifetime {
        builder = builder.token_lifetime(lifetime);
    }
    builder.start()
}

impl Faults {
    fn set(&self, hub: &Hub) {
        let faults = hub.faults();
        if let Some(life) = self.life {
            faults.life(life);
        }
        if let Some(idle) = self.idle {
            faults.idle(idle);
        }
        for (endpoint, status, times) in &self.refuse {
            faults.refuse_next(*endpoint, *status, *times);
        }
        for (endpoint, times) in &self.silence {
            faults.answer_next(*endpoint, Answer::silence(), *times);
        }
        for (endpoint, time) in &self.delay {
            faults.delay(*endpoint, *time);
        }
        if let Some(window) = self.reorder {
            faults.reorder(window);
        }
        faults.lose_tokens(self.lose_tokens);
        faults.split_bytes(self.split_bytes);
        if let Some(bytes) = self.throttle {
            faults.throttle(bytes);
        }
    }
}

async fn each(time: Option<Duration>, mut act: impl FnMut()) {
    // Zero would be without a pause.
    let Some(time) = time.map(|time| time.max(Duration::from_millis(1))) else { return };
    loop {
        tokio::time::sleep(time).await;
        act();
    }
}

/// Three steps in the life of a post.
fn tick(hub: &Hub, step: u64) {
    let newest = hub.records("posts").pop();
    match newest.as_ref().and_then(|post| post["id"].as_str()) {
        Some(id) if step % 3 == 1 => {
            hub.update("posts", id, json!({ "title": format!("Post {step}, revised") }));
        }
        Some(id) if step % 3 == 2 => hub.delete("posts", id),
        _ => _ = hub.create("posts", json!({ "title": format!("Post {step}"), "n": step })),
    }
}
