//! What is printed of an event. No I/O.

use std::borrow::Cow;

use serde_json::{Map, Value, json, value::RawValue};
use tidings::{Action, Event, GapReason};

use super::template::Template;
use crate::text::{plain_topic, tame};

/// `pretty`, `json`, or a template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Format {
    Pretty,
    Json,
    Template(Template),
}

impl Format {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            text if text.contains('{') => Template::parse(text).map(Self::Template),
            _ => Err("it is pretty, json, or a template such as '{action} {id} {record.title}'".to_owned()),
        }
    }
}

/// What a notice says to a person; `None` for a change.
pub(crate) fn notice(event: &Event) -> Option<String> {
    let topic = tame(plain_topic(event.topic())).into_owned();
    let said = match event.action() {
        Action::Gap => match event.gap() {
            Some(gap) => {
                format!(
                    "{:.1} s: {}: changes may have been missed",
                    gap.duration().as_secs_f64(),
                    reason(gap.reason)
                )
            }
            None => "changes may have been missed".to_owned(),
        },
        Action::Lagged(lost) => format!("{lost} events were dropped, since they were not taken in time"),
        Action::Refused => {
            event.error().map_or_else(String::new, |error| tame(&error.to_string()).into_owned())
        }
        _ => return None,
    };
    Some(format!("{} {topic} {said}", event.action()))
}

/// A line for a person or a program, without its end. `None` for a notice where it would be taken for a change.
pub(crate) fn line(event: &Event, format: &Format, is_terminal: bool, colours: bool) -> Option<String> {
    let is_notice = notice(event).is_some();
    match format {
        Format::Json => Some(json_line(event)),
        _ if is_notice => None,
        Format::Pretty => Some(pretty(event, colours)),
        Format::Template(template) => {
            let show: fn(&str) -> Cow<'_, str> = if is_terminal { tame } else { |text| Cow::Borrowed(text) };
            Some(template.fill(&fields(event), show))
        }
    }
}

fn pretty(event: &Event, colours: bool) -> String {
    let action = event.action();
    let colour = match action {
        Action::Create => "32",
        Action::Update => "33",
        Action::Delete => "31",
        _ => "36",
    };
    let action = if colours { format!("\x1b[{colour}m{action}\x1b[0m") } else { action.to_string() };
    let topic = tame(plain_topic(event.topic()));
    let content = match content(event) {
        Content::Record(record) => tame(record.get()).into_owned(),
        Content::Data(data) => tame(data.get()).into_owned(),
        Content::Text(text) => tame(&text).into_owned(),
    };
    match event.record_id() {
        Some(id) => format!("{action} {topic} {} {content}", tame(id)),
        None => format!("{action} {topic} {content}"),
    }
}

/// One JSON object on one line, with the record as the server wrote it.
pub(crate) fn json_line(event: &Event) -> String {
    let mut told = vec![
        ("topic", json!(plain_topic(event.topic())).to_string()),
        ("action", json!(event.action().as_str()).to_string()),
    ];
    match event.action() {
        Action::Gap => {
            if let Some(gap) = event.gap() {
                told.push(("seconds", json!(gap.duration().as_secs_f64()).to_string()));
                told.push(("reason", json!(reason(gap.reason)).to_string()));
            }
        }
        Action::Lagged(lost) => told.push(("lost", lost.to_string())),
        Action::Refused => {
            let error = event.error();
            told.push(("error", json!(error.map(ToString::to_string)).to_string()));
            told.push(("status", json!(error.and_then(tidings::Error::status)).to_string()));
        }
        _ => {
            if let Some(id) = event.record_id() {
                told.push(("id", json!(id).to_string()));
            }
            told.push(match content(event) {
                Content::Record(record) => ("record", one_line(record.get()).into_owned()),
                Content::Data(data) => ("data", one_line(data.get()).into_owned()),
                Content::Text(text) => ("data", json!(text).to_string()),
            });
        }
    }
    let fields: Vec<String> = told.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// Line ends between the values of a JSON text become blanks; within its strings there are none.
fn one_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\r', '\n']) { json.replace(['\r', '\n'], " ").into() } else { json.into() }
}

enum Content {
    Record(Box<RawValue>),
    /// JSON that is no record.
    Data(Box<RawValue>),
    Text(String),
}

fn content(event: &Event) -> Content {
    let is_change = matches!(event.action(), Action::Create | Action::Update | Action::Delete);
    if let Ok(text) = event.json_text() {
        if is_change && let Ok(Some(record)) = record_in(&text) {
            return Content::Record(record);
        }
        if let Ok(data) = RawValue::from_string(text.into_owned()) {
            return Content::Data(data);
        }
    }
    Content::Text(String::from_utf8_lossy(event.raw()).into_owned())
}

fn record_in(text: &str) -> Result<Option<Box<RawValue>>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Payload {
        record: Option<Box<RawValue>>,
    }
    Ok(serde_json::from_str::<Payload>(text)?.record)
}

/// What placeholders name.
fn fields(event: &Event) -> Value {
    let mut fields = Map::new();
    fields.insert("topic".to_owned(), plain_topic(event.topic()).into());
    fields.insert("action".to_owned(), event.action().as_str().into());
    fields.insert("id".to_owned(), event.record_id().into());
    fields.insert("record".to_owned(), event.record().unwrap_or_default());
    let data = event.json().unwrap_or_else(|_| String::from_utf8_lossy(event.raw()).into());
    fields.insert("data".to_owned(), data);
    fields.into()
}

fn reason(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Disconnected => "disconnected",
        GapReason::IdentityChanged => "identity_changed",
        GapReason::TooLarge => "too_large",
        _ => "unknown",
    }
}
