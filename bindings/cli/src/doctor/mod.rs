//! `tidings doctor`: why no events come.
//!
//! `probe.rs` makes single requests, `examine.rs` notes what it sees (`evidence.rs`), and `judge.rs` says what is wrong.

mod evidence;
mod examine;
mod judge;
#[cfg(test)]
mod judge_tests;
mod probe;
mod rule;

use std::{
    io::Write,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};

use self::{evidence::Evidence, examine::Examination, judge::Finding, probe::Probe};
use crate::{
    failure::Failure,
    login::{Identity, Login, variable},
    text::{duration, tame},
};

/// Finds out why no events come
///
/// It asks a PocketBase or BosBase what a client would ask, and says what is wrong, how it knows and what to do. It takes
/// 10 seconds at most, unless more is asked for, and changes nothing without --write. It connects directly, whatever
/// HTTP_PROXY says. It ends with 0 when all is well, 1 when something is wrong, and 2 when it could not tell. With the
/// token of a superuser in TIDINGS_SUPERUSER_TOKEN it also reads the collection's rules.
#[derive(Args)]
pub(crate) struct Options {
    /// The server, e.g. http://127.0.0.1:8090
    #[arg(value_name = "URL")]
    url: String,
    /// The collection whose events do not come
    #[arg(value_name = "COLLECTION")]
    pub(super) collection: Option<String>,
    /// The filter of the subscription
    #[arg(short, long, value_name = "EXPR", requires = "collection")]
    pub(super) filter: Option<String>,
    /// The relations that the subscription expands
    #[arg(long, value_name = "FIELDS", requires = "collection")]
    pub(super) expand: Option<String>,
    /// The origin of the web page that subscribes, e.g. https://app.example.com
    #[arg(long, value_name = "ORIGIN")]
    pub(super) origin: Option<String>,
    /// Create, update and delete a record of this collection, and wait for the events
    #[arg(long, value_name = "COLLECTION")]
    pub(super) write: Option<String>,
    /// The fields of that record, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", requires = "write", value_parser = object)]
    pub(super) write_body: String,
    /// Watch a quiet stream for so long
    #[arg(long, value_name = "TIME", value_parser = duration, num_args = 0..=1, default_missing_value = "310s")]
    pub(super) idle: Option<Duration>,
    /// Open so many streams at once
    #[arg(long, value_name = "N")]
    pub(super) streams: Option<usize>,
    /// Look at the login by this provider
    #[arg(long, value_name = "PROVIDER")]
    pub(super) oauth2: Option<String>,
    /// Trust the certificates in this PEM file too
    #[arg(long, value_name = "FILE")]
    ca: Option<std::path::PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) login: Login,
}

fn object(text: &str) -> Result<String, String> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => Ok(text.to_owned()),
        _ => Err("it is not a JSON object".to_owned()),
    }
}

pub(crate) async fn run(options: Options) -> Result<u8, Failure> {
    let since = Instant::now();
    let ca = options.ca.as_ref().map(|path| {
        std::fs::read(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
    });
    let probe = Probe::new(&options.url, ca.transpose()?.as_deref())?;
    let identity = options.login.identity().await?;
    let superuser = variable("TIDINGS_SUPERUSER_TOKEN")?;
    let mut secrets: Vec<String> = superuser.iter().cloned().collect();
    match &identity {
        Identity::Guest => {}
        Identity::Token(token) => secrets.push(token.clone()),
        Identity::Password { password, .. } => secrets.push(password.clone()),
    }
    let seen = Evidence::default();
    let mut examination = Examination { probe: &probe, options: &options, token: None, superuser, seen };
    examination.run(identity).await?;
    secrets.extend(examination.token.clone());
    let mut findings = judge::judge(&examination.seen);
    for finding in &mut findings {
        finding.proof = redacted(&finding.proof, &secrets);
    }
    let code = judge::exit_code(&findings);
    let mut out = std::io::stdout();
    if options.json {
        let findings: Vec<Value> = findings.iter().map(as_json).collect();
        let seconds = since.elapsed().as_secs_f64();
        let report =
            json!({"url": probe.shown_url(), "code": code, "seconds": seconds, "findings": findings});
        writeln!(out, "{report}")?;
    } else {
        print(&mut out, &probe.shown_url(), &findings)?;
    }
    Ok(code)
}

fn as_json(finding: &Finding) -> Value {
    json!({
        "name": finding.name, "weight": finding.weight.as_str(), "proof": finding.proof, "fix": finding.fix,
    })
}

fn print(out: &mut impl Write, url: &str, findings: &[Finding]) -> std::io::Result<()> {
    if findings.is_empty() {
        return writeln!(out, "{url} is well: nothing stands in the way of events.");
    }
    for finding in findings {
        writeln!(out, "{}: {}", finding.weight.as_str(), finding.name)?;
        writeln!(out, "  seen: {}", tame(&finding.proof))?;
        writeln!(out, "  do:   {}", finding.fix)?;
    }
    Ok(())
}

/// A server may repeat what it was sent.
fn redacted(text: &str, secrets: &[String]) -> String {
    let secrets = secrets.iter().filter(|secret| !secret.is_empty());
    secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
}
