//! `tidings tail`: prints events as they come, and never ends in silence.

mod line;
mod sinks;
mod template;

use std::{io::IsTerminal, time::Duration};

use clap::Args;
use futures::{
    StreamExt,
    future::try_join_all,
    stream::{SelectAll, select_all},
};
use tidings::{Action, Client, Error, Event, State, Subscribe, Subscription};
use tokio::io::{AsyncWriteExt, Stdout, stdout};

use crate::{
    failure::{Failure, REFUSED},
    login::Login,
    server::{Server, again_and_again, is_waiting},
    text::{duration, plain_topic, tame},
};
use line::Format;
use sinks::Sinks;

/// Prints events as they come
///
/// Changes go to standard output, one on a line. What else is to be known (when it is live, what may have been missed,
/// why it waits) goes to standard error. It ends with 0 by --count, --for and when its reader leaves, with 3 when the
/// server refuses for good, with 1 by --timeout, and with 130 by Ctrl-C; a network that fails is waited for.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    server: Server,
    /// posts or posts/* for all records of a collection, posts/RECORD_ID for one
    #[arg(value_name = "TOPIC", required = true)]
    topics: Vec<String>,
    /// Topics are those of the server, such as a hook's jobs/finished: they are sent as they are, and not verified
    #[arg(long)]
    raw: bool,
    /// Only records that match, e.g. 'status = "open"'; the server decides
    #[arg(short, long, value_name = "EXPR")]
    filter: Option<String>,
    /// Relations to include in the records, separated by commas
    #[arg(long, value_name = "FIELDS")]
    expand: Option<String>,
    /// Only these fields of the records, separated by commas
    #[arg(long, value_name = "FIELDS")]
    fields: Option<String>,
    /// pretty, json (an object on each line, notices too), or a template such as '{action} {id} {record.title}'
    #[arg(short, long, value_name = "FORMAT", default_value = "pretty", value_parser = Format::parse)]
    output: Format,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// End after so many changes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this long: seconds, or 500ms, 2m, 1h
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    limit: Option<Duration>,
    /// Give up (1) when the server has not acknowledged the topics by then. By default it is waited for
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Run this by the shell for each event, one after the other, with the event as JSON on its standard input
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// POST each event as JSON to this URL, one after the other. What may pass (the network, 408, 425, 429, 5xx) is tried
    /// again until it is taken
    #[arg(long, value_name = "URL")]
    forward: Option<String>,
    /// Say nothing of when it is live or waits. What may have been missed is still reported
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    login: Login,
}

pub(crate) async fn run(mut options: Options) -> Result<u8, Failure> {
    if options.json {
        options.output = Format::Json;
    }
    let mut sinks = Sinks::new(options.exec.take(), options.forward.take())?;
    let limit = options.limit;
    let mut printer = Printer::new(&options);
    let work = async {
        let (client, subscriptions) = match options.timeout {
            None => subscribe(&options, &printer).await?,
            Some(timeout) => match tokio::time::timeout(timeout, subscribe(&options, &printer)).await {
                Ok(result) => result?,
                Err(_) => return Err(Failure::new(1, format!("not live within {timeout:?}"))),
            },
        };
        let names: Vec<_> = subscriptions.iter().map(|one| tame(plain_topic(one.topic()))).collect();
        printer.status(&format!("live: {}", names.join(", ")));
        follow(&client, select_all(subscriptions), &mut printer, &mut sinks).await
    };
    let ended = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = work => result,
        () = ended => Ok(0),
        () = reader_left() => Ok(0),
    }
}

/// Waits until the server has acknowledged everything, or has refused something.
async fn subscribe(options: &Options, printer: &Printer) -> Result<(Client, Vec<Subscription>), Failure> {
    let said = std::cell::RefCell::new(String::new());
    let waiting = |error: &Error, wait: Duration| {
        // Once for all topics, and for all tries.
        let text = error.to_string();
        if *said.borrow() != text {
            printer.status(&is_waiting(error, wait));
            *said.borrow_mut() = text;
        }
    };
    let client = options.server.client(options.login.identity().await?, waiting).await?;
    let subscribed = options
        .topics
        .iter()
        .map(|topic| again_and_again(async || request(&client, topic, options).await, waiting));
    let subscriptions = try_join_all(subscribed).await?;
    Ok((client, subscriptions))
}

fn request(client: &Client, topic: &str, options: &Options) -> Subscribe {
    let mut request = match topic.split_once('/') {
        _ if options.raw => client.realtime().subscribe(topic),
        Some((collection, record)) => client.collection(collection).subscribe(record),
        None => client.collection(topic).subscribe("*"),
    };
    if let Some(filter) = &options.filter {
        request = request.filter(filter);
    }
    if let Some(expand) = &options.expand {
        request = request.expand(expand);
    }
    if let Some(fields) = &options.fields {
        request = request.fields(fields);
    }
    request
}

/// Until `--count`, or until the server has refused all subscriptions.
async fn follow(
    client: &Client,
    subscriptions: SelectAll<Subscription>,
    printer: &mut Printer,
    sinks: &mut Sinks,
) -> Result<u8, Failure> {
    // Many at once where many are there: one write for all.
    let mut events = subscriptions.ready_chunks(256);
    let mut states = client.states();
    loop {
        tokio::select! {
            biased;
            chunk = events.next() => {
                let Some(chunk) = chunk else { return Ok(REFUSED) };
                let wanted = printer.print(&chunk).await?;
                for event in &chunk[..wanted] {
                    sinks.take(event, printer).await;
                }
                if printer.left == Some(0) {
                    return Ok(0);
                }
            }
            Some(state) = states.next() => printer.state(&state),
        }
    }
}

struct Printer {
    out: Stdout,
    format: Format,
    is_terminal: bool,
    colours: bool,
    is_quiet: bool,
    /// How many changes are still wanted.
    left: Option<u64>,
    was_down: bool,
}

impl Printer {
    fn new(options: &Options) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            out: stdout(),
            format: options.output.clone(),
            is_terminal,
            colours,
            is_quiet: options.quiet,
            left: options.count,
            was_down: false,
        }
    }

    /// Says how many of them there were until `--count` was reached.
    async fn print(&mut self, events: &[Event]) -> Result<usize, Failure> {
        let (mut text, mut wanted) = (String::new(), 0);
        for event in events {
            if self.left == Some(0) {
                break;
            }
            wanted += 1;
            match line::notice(event) {
                Some(notice) => complain(&notice),
                None if matches!(event.action(), Action::Connect) => {}
                None => self.left = self.left.map(|left| left - 1),
            }
            if let Some(line) = line::line(event, &self.format, self.is_terminal, self.colours) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        self.out.write_all(text.as_bytes()).await?;
        self.out.flush().await?;
        Ok(wanted)
    }

    fn status(&self, text: &str) {
        if !self.is_quiet {
            complain(text);
        }
    }

    fn state(&mut self, state: &State) {
        match state {
            State::Live if self.was_down => self.status("live again"),
            State::Live | State::Idle | State::Connecting => return,
            state => self.status(&tame(&state.to_string())),
        }
        self.was_down = !state.is_live();
    }
}

fn complain(text: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("tidings: {text}\n"));
}

/// When nobody reads what is printed any more, also while there is nothing to print.
#[cfg(unix)]
async fn reader_left() {
    use std::os::fd::AsFd;
    use tokio::{io::Interest, net::unix::pipe::Sender};
    // A file has no such event, and a terminal whose other end is gone sends a signal.
    let watched = std::io::stdout().as_fd().try_clone_to_owned().and_then(Sender::from_owned_fd_unchecked);
    match watched {
        Ok(out) if out.ready(Interest::ERROR).await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn reader_left() {
    std::future::pending().await
}
