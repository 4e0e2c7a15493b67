//! `tidings bench`: how many streams a server carries, and how soon changes arrive.

use std::{
    collections::HashMap,
    io::Write,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use futures::{
    StreamExt,
    future::try_join_all,
    stream::{FuturesUnordered, SelectAll, select_all},
};
use serde_json::{Map, Value, json};
use tidings::{Action, Client, Error, Event, Subscription, rt};

use crate::{
    failure::Failure,
    login::{Identity, Login},
    server::Server,
    text::{duration, tame},
};

/// Measures streams, events per second and latency
///
/// It opens streams, each of a client of its own, subscribes them to a collection, creates records at a steady rate, and
/// waits for their events on all streams. The latency is from sending a request to its event. The records are deleted in
/// the end. It ends with 0 when every event has arrived, and with 1 when one is missing or a record was refused.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    server: Server,
    /// The collection to write to
    collection: String,
    /// How many streams
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,
    /// How many records a second
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// For how long: seconds, or 500ms, 2m
    #[arg(long = "for", value_name = "TIME", default_value = "5s", value_parser = duration)]
    time: Duration,
    /// The fields of the records, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = fields)]
    body: Map<String, Value>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    login: Login,
}

fn fields(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not a JSON object: {error}"))
}

/// No event for so long: what is missing does not come.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(options: Options) -> Result<u8, Failure> {
    let writer = client(&options.server, None)?;
    if let Identity::Password { collection, user, password } = &identify(&options, &writer).await? {
        writer.collection(collection).auth_with_password(user, password).await?;
    }
    let token = writer.auth().token();
    let clients = (0..options.streams).map(|_| client(&options.server, token.as_deref()));
    let clients = clients.collect::<Result<Vec<_>, _>>()?;
    let since = Instant::now();
    let topics =
        clients.iter().map(|client| client.collection(&options.collection).subscribe("*").into_future());
    let subscriptions = try_join_all(topics).await?;
    let mut run = Run { connected: since.elapsed(), ..Run::default() };
    run.measure(&options, &writer, select_all(subscriptions)).await;
    run.clean_up(&options, &writer).await;
    let report = run.report(&options);
    let mut out = std::io::stdout();
    match options.json {
        true => writeln!(out, "{report}")?,
        false => print(&mut out, &report)?,
    }
    Ok(u8::from(run.failure.is_some() || run.missing(&options) > 0))
}

async fn identify(options: &Options, writer: &Client) -> Result<Identity, Failure> {
    let identity = options.login.identity().await?;
    if let Identity::Token(token) = &identity {
        writer.auth().set_token(token)?;
    }
    Ok(identity)
}

/// All on this executor: a thread for each would be what is measured.
fn client(server: &Server, token: Option<&str>) -> Result<Client, Failure> {
    let mut builder = server.builder()?;
    if let Some(token) = token {
        builder = builder.token(token);
    }
    let (client, driver) = builder.connect_with(rt::Tokio::new(tokio::runtime::Handle::current()))?;
    tokio::spawn(driver);
    Ok(client)
}

#[derive(Default)]
struct Run {
    connected: Duration,
    /// When each record was sent, by its id.
    sent: HashMap<String, Instant>,
    created: Vec<String>,
    failure: Option<Error>,
    failed: u64,
    latencies: Vec<Duration>,
    notices: u64,
    lasted: Duration,
}

impl Run {
    async fn measure(&mut self, options: &Options, writer: &Client, subscriptions: SelectAll<Subscription>) {
        let path = records(options);
        let mut events = subscriptions.ready_chunks(1024);
        let mut requests = FuturesUnordered::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / options.rate);
        let (since, ids) = (Instant::now(), Ids::new());
        let mut last = since;
        loop {
            let is_over = since.elapsed() >= options.time;
            if is_over && requests.is_empty() && self.missing(options) == 0 {
                break;
            }
            tokio::select! {
                // Not too many at once: the rate is then what the server takes.
                _ = ticks.tick(), if !is_over && requests.len() < 32 => {
                    let id = ids.id(self.sent.len());
                    let mut body = options.body.clone();
                    body.insert("id".to_owned(), id.clone().into());
                    self.sent.insert(id.clone(), Instant::now());
                    let request = writer.send("POST", &path, Value::Object(body)).into_future();
                    requests.push(async move { (id, request.await) });
                }
                Some((id, result)) = requests.next() => match result {
                    Ok(_) => self.created.push(id),
                    Err(error) => {
                        self.failed += 1;
                        self.failure.get_or_insert(error);
                    }
                },
                Some(chunk) = events.next() => {
                    last = Instant::now();
                    chunk.iter().for_each(|event| self.take(event));
                }
                () = tokio::time::sleep_until((last + PATIENCE).into()), if is_over && requests.is_empty() => break,
            }
        }
        self.lasted = last.duration_since(since);
    }

    fn take(&mut self, event: &Event) {
        match event.action() {
            Action::Create => {
                if let Some(sent) = event.record_id().and_then(|id| self.sent.get(id)) {
                    self.latencies.push(sent.elapsed());
                }
            }
            _ if event.is_notice() => self.notices += 1,
            _ => {}
        }
    }

    fn missing(&self, options: &Options) -> usize {
        (self.created.len() * options.streams as usize).saturating_sub(self.latencies.len())
    }

    async fn clean_up(&mut self, options: &Options, writer: &Client) {
        let path = records(options);
        let deletions = self.created.iter().map(|id| {
            let request = writer.send("DELETE", &format!("{path}/{id}"), None);
            async move { request.await }
        });
        let mut deletions = futures::stream::iter(deletions).buffer_unordered(16);
        while let Some(result) = deletions.next().await {
            if let Err(error) = result {
                self.failure.get_or_insert(error);
            }
        }
    }

    fn report(&mut self, options: &Options) -> Value {
        self.latencies.sort_unstable();
        let at = |part: f64| {
            let last = self.latencies.len().checked_sub(1)?;
            Some(self.latencies[(last as f64 * part) as usize].as_secs_f64() * 1000.0)
        };
        let seconds = self.lasted.as_secs_f64();
        let latency = json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0)});
        json!({
            "streams": options.streams,
            "connected_ms": self.connected.as_secs_f64() * 1000.0,
            "created": self.created.len(),
            "refused": self.failed,
            "events": self.latencies.len(),
            "missing": self.missing(options),
            "notices": self.notices,
            "seconds": seconds,
            "events_per_second": if seconds > 0.0 { self.latencies.len() as f64 / seconds } else { 0.0 },
            "latency_ms": latency,
            "failure": self.failure.as_ref().map(ToString::to_string),
        })
    }
}

fn records(options: &Options) -> String {
    format!("/api/collections/{}/records", options.collection)
}

/// Ids that no run before has used, so that an event can be told before its request is answered.
struct Ids(u64);

impl Ids {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or_default())
    }

    /// 15 characters, as PocketBase wants them.
    fn id(&self, serial: usize) -> String {
        format!("b{:08x}{:06x}", self.0 & 0xffff_ffff, serial & 0xff_ffff)
    }
}

fn print(out: &mut impl Write, report: &Value) -> std::io::Result<()> {
    let number = |value: &Value| value.as_f64().map_or("-".to_owned(), |number| format!("{number:.1}"));
    writeln!(out, "streams   {}, connected in {} ms", report["streams"], number(&report["connected_ms"]))?;
    writeln!(out, "records   {} created, {} refused", report["created"], report["refused"])?;
    writeln!(
        out,
        "events    {} in {} s, {} a second; {} missing, {} notices",
        report["events"],
        number(&report["seconds"]),
        number(&report["events_per_second"]),
        report["missing"],
        report["notices"]
    )?;
    let latency = &report["latency_ms"];
    let [p50, p90, p99, max] = ["p50", "p90", "p99", "max"].map(|name| number(&latency[name]));
    writeln!(out, "latency   {p50} ms median, {p90} ms p90, {p99} ms p99, {max} ms at most")?;
    if let Some(failure) = report["failure"].as_str() {
        writeln!(out, "failure   {}", tame(failure))?;
    }
    Ok(())
}
