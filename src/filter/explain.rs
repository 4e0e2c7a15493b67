//! What is made of a filter, for people who ask: the command `tidings filter`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Answer, Dialect, Filter, Plan};

/// The fields that a filter names, who decides it (`plan`: `exact`, `clock`, `partly` with `ask`, `server` with `why`), and
/// the answer for each record (`in`, `out`, `unknown`). The server is `0.22`, `0.23`, `0.39`, and any other text any version.
///
/// # Errors
/// The column of what cannot be read, counted from 1 in characters, and why.
#[doc(hidden)]
pub fn explain_filter(expression: &str, server: &str, records: &[Value]) -> Result<Value, (usize, String)> {
    let dialect = match server {
        "0.22" => Dialect::Old,
        "0.23" => Dialect::Between,
        "0.39" => Dialect::New,
        _ => Dialect::Any,
    };
    let filter = Filter::parse(expression, dialect).map_err(|error| (error.column, error.reason))?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let answers = records.iter().map(|record| match filter.evaluate(record, now) {
        Answer::In => "in",
        Answer::Out => "out",
        Answer::Unknown => "unknown",
    });
    let mut report = json!({"fields": filter.names(), "answers": answers.collect::<Vec<_>>()});
    match filter.plan(now) {
        Plan::Exact => report["plan"] = "exact".into(),
        Plan::ExactWithClock { .. } => report["plan"] = "clock".into(),
        Plan::Partly { ask } => (report["plan"], report["ask"]) = ("partly".into(), ask.into()),
        Plan::ServerOnly { why } => (report["plan"], report["why"]) = ("server".into(), why.into()),
    }
    Ok(report)
}
