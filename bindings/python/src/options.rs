//! Settings by name.

use std::time::Duration;

use pyo3::{
    exceptions::{PyOverflowError, PyTypeError},
    prelude::*,
    types::PyDict,
};
use serde_json::Value;
use tidings::{
    ClientBuilder, EventSourceBuilder, List, Overflow, RecordRequest, Subscribe, Watch,
    blocking::{Builder, Questions},
};

use crate::error::argument;

type Pairs = Vec<(String, String)>;

pub(crate) fn client(url: &str, options: &Bound<'_, PyDict>) -> PyResult<Builder> {
    let mut builder: ClientBuilder = tidings::Client::builder(url);
    let (mut queue, mut overflow) = (None, None);
    let mut token_requests = false;
    for (name, value) in options {
        let name: String = name.extract()?;
        builder = match name.as_str() {
            "name" => builder.name(value.extract::<String>()?),
            "token" => builder.token(value.extract::<String>()?),
            "headers" => {
                let headers: Pairs = value.extract()?;
                headers.into_iter().fold(builder, |builder, (name, value)| builder.header(name, value))
            }
            "user_agent" => builder.user_agent(value.extract::<String>()?),
            "ca_pem" => builder.ca_pem(value.extract::<Vec<u8>>()?),
            "client_certificate" => {
                let (chain, key): (Vec<u8>, Vec<u8>) = value.extract()?;
                builder.client_certificate(chain, key)
            }
            "proxy" => match proxy(&value)? {
                Some(url) => builder.proxy(url),
                None => builder.no_proxy(),
            },
            "connect_timeout" => builder.connect_timeout(seconds(&name, &value)?),
            "subscribe_timeout" => builder.subscribe_timeout(seconds(&name, &value)?),
            "identity_check" => builder.identity_check(seconds(&name, &value)?),
            "verify_topics" => builder.verify_topics(value.extract()?),
            "gather" => builder.gather(seconds(&name, &value)?),
            "heartbeat" => builder.heartbeat(seconds(&name, &value)?),
            "backoff" => {
                let (min, max) = bounds(&name, &value)?;
                builder.backoff(min, max)
            }
            "silence_timeout" => builder.silence_timeout(seconds(&name, &value)?),
            "message_limit" => builder.message_limit(count(&name, &value)?),
            "rustbaas" => {
                let (realm, app): (String, String) = value.extract()?;
                builder.rustbaas(realm, app)
            }
            "rustbaas_workspace" => {
                let (workspace, app): (String, String) = value.extract()?;
                builder.rustbaas_workspace(workspace, app)
            }
            "token_in_query" => match value.extract()? {
                true => builder.token_in_query(),
                false => builder,
            },
            "queue" => {
                queue = Some(count(&name, &value)?);
                builder
            }
            "overflow" => {
                overflow = Some(self::overflow(&value)?);
                builder
            }
            "token_requests" => {
                token_requests = value.extract()?;
                builder
            }
            _ => return Err(unknown(&name)),
        };
    }
    if let (Some(queue), Some(overflow)) = (queue, overflow) {
        builder = builder.queue(queue, overflow);
    }
    let builder = Builder::from(builder).notices();
    Ok(if token_requests { builder.token_requests() } else { builder })
}

pub(crate) fn subscribe(mut subscribe: Subscribe, options: &Bound<'_, PyDict>) -> PyResult<Subscribe> {
    let (mut queue, mut overflow) = (None, None);
    for (name, value) in options {
        let name: String = name.extract()?;
        subscribe = match name.as_str() {
            "filter" => subscribe.filter(value.extract::<String>()?),
            "expand" => subscribe.expand(value.extract::<String>()?),
            "fields" => subscribe.fields(value.extract::<String>()?),
            "timeout" => subscribe.timeout(seconds(&name, &value)?),
            "query" => {
                let query: Pairs = value.cast::<PyDict>()?.items().extract()?;
                query.into_iter().fold(subscribe, |subscribe, (name, value)| subscribe.query(name, value))
            }
            "headers" => {
                let headers: Pairs = value.cast::<PyDict>()?.items().extract()?;
                headers.into_iter().fold(subscribe, |subscribe, (name, value)| subscribe.header(name, value))
            }
            "queue" => {
                queue = Some(count(&name, &value)?);
                subscribe
            }
            "overflow" => {
                overflow = Some(self::overflow(&value)?);
                subscribe
            }
            _ => return Err(unknown(&name)),
        };
    }
    Ok(match (queue, overflow) {
        (Some(queue), Some(overflow)) => subscribe.queue(queue, overflow),
        _ => subscribe,
    })
}

pub(crate) fn list(mut list: List, options: &Bound<'_, PyDict>) -> PyResult<List> {
    for (name, value) in options {
        let name: String = name.extract()?;
        list = match name.as_str() {
            "filter" => list.filter(value.extract::<String>()?),
            "sort" => list.sort(value.extract::<String>()?),
            "expand" => list.expand(value.extract::<String>()?),
            "fields" => list.fields(value.extract::<String>()?),
            "page_size" => list.page_size(count(&name, &value)?),
            "timeout" => list.timeout(seconds(&name, &value)?),
            "query" => {
                let query: Pairs = value.cast::<PyDict>()?.items().extract()?;
                query.into_iter().fold(list, |list, (name, value)| list.query(name, value))
            }
            _ => return Err(unknown(&name)),
        };
    }
    Ok(list)
}

pub(crate) fn watch(mut watch: Watch, options: &Bound<'_, PyDict>) -> PyResult<Watch> {
    for (name, value) in options {
        let name: String = name.extract()?;
        watch = match name.as_str() {
            "filter" => watch.filter(value.extract::<String>()?),
            "sort" => watch.sort(value.extract::<String>()?),
            "expand" => watch.expand(value.extract::<String>()?),
            "limit" => watch.limit(count(&name, &value)?),
            "slack" => watch.slack(count(&name, &value)?),
            "audit" if value.is_none() => watch.audit(None),
            "audit" => watch.audit(seconds(&name, &value)?),
            "filter_on_server" if value.extract()? => watch.filter_on_server(),
            "filter_on_server" => watch,
            "timeout" => watch.timeout(seconds(&name, &value)?),
            _ => return Err(unknown(&name)),
        };
    }
    Ok(watch)
}

pub(crate) fn record<T>(
    mut request: RecordRequest<T>,
    options: &Bound<'_, PyDict>,
) -> PyResult<RecordRequest<T>> {
    for (name, value) in options {
        let name: String = name.extract()?;
        request = match name.as_str() {
            "expand" => request.expand(value.extract::<String>()?),
            "fields" => request.fields(value.extract::<String>()?),
            "timeout" => request.timeout(seconds(&name, &value)?),
            "query" => {
                let query: Pairs = value.cast::<PyDict>()?.items().extract()?;
                query.into_iter().fold(request, |request, (name, value)| request.query(name, value))
            }
            _ => return Err(unknown(&name)),
        };
    }
    Ok(request)
}

pub(crate) fn event_source(
    url: &str,
    options: &Bound<'_, PyDict>,
) -> PyResult<(EventSourceBuilder, Questions)> {
    let mut builder = tidings::EventSource::builder(url);
    let mut questions = Questions::default();
    for (name, value) in options {
        let name: String = name.extract()?;
        builder = match name.as_str() {
            "method" => builder.method(value.extract::<String>()?),
            "headers" => {
                let headers: Pairs = value.extract()?;
                headers.into_iter().fold(builder, |builder, (name, value)| builder.header(name, value))
            }
            "body" => builder.body(value.extract::<Vec<u8>>()?),
            "token" => builder.token(value.extract::<String>()?),
            "last_event_id" => builder.last_event_id(value.extract::<String>()?),
            "read_timeout" => builder.read_timeout(seconds(&name, &value)?),
            "connect_timeout" => builder.connect_timeout(seconds(&name, &value)?),
            "retry" => builder.retry(seconds(&name, &value)?),
            "backoff" => {
                let (min, max) = bounds(&name, &value)?;
                builder.backoff(min, max)
            }
            "once" => match value.extract()? {
                true => builder.once(),
                false => builder,
            },
            "reconnect" => builder.reconnect(value.extract()?),
            "max_tries" => {
                let tries = count(&name, &value)?;
                builder.max_tries(u32::try_from(tries).unwrap_or(u32::MAX))
            }
            "retry_for" => builder.retry_for(seconds(&name, &value)?),
            "retry_forever" => match value.extract()? {
                true => builder.retry_forever(),
                false => builder,
            },
            "accept_type" => {
                let types: Vec<String> = value.extract()?;
                types.into_iter().fold(builder, EventSourceBuilder::accept_type)
            }
            "ask_connect" => {
                questions.connect = value.extract()?;
                builder
            }
            "ask_status" => {
                questions.status = value.extract()?;
                builder
            }
            "strict" => match value.extract()? {
                true => builder.strict(),
                false => builder,
            },
            "comments" => builder.comments(value.extract()?),
            "message_limit" => builder.message_limit(count(&name, &value)?),
            "user_agent" => builder.user_agent(value.extract::<String>()?),
            "ca_pem" => builder.ca_pem(value.extract::<Vec<u8>>()?),
            "client_certificate" => {
                let (chain, key): (Vec<u8>, Vec<u8>) = value.extract()?;
                builder.client_certificate(chain, key)
            }
            "proxy" => match proxy(&value)? {
                Some(url) => builder.proxy(url),
                None => builder.no_proxy(),
            },
            _ => return Err(unknown(&name)),
        };
    }
    Ok((builder, questions))
}

pub(crate) fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| argument(name, format!("{seconds} is not a duration; give seconds, 0 or more")))
}

pub(crate) fn json(name: &str, text: &str) -> PyResult<Value> {
    serde_json::from_str(text).map_err(|error| argument(name, error.to_string()))
}

fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    duration(name, value.extract()?)
}

fn bounds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<(Duration, Duration)> {
    let (min, max): (f64, f64) = value.extract()?;
    Ok((duration(name, min)?, duration(name, max)?))
}

fn count(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    value.extract().map_err(|error: PyErr| match error.is_instance_of::<PyOverflowError>(value.py()) {
        true => argument(name, format!("{value} is not a size; give a whole number, 1 or more")),
        false => error,
    })
}

/// The URL of a proxy, or `False` for none.
fn proxy(value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    match value.extract::<bool>() {
        Ok(false) => Ok(None),
        _ => value.extract().map(Some),
    }
}

fn overflow(value: &Bound<'_, PyAny>) -> PyResult<Overflow> {
    let name = value.extract::<&str>()?;
    let found = POLICIES.iter().find(|(known, _)| *known == name).map(|(_, policy)| *policy);
    found.ok_or_else(|| {
        let known = POLICIES.map(|(known, _)| format!("{known:?}"));
        let (last, others) = known.split_last().expect("there are some");
        argument("overflow", format!("{name:?} is none of {} and {last}", others.join(", ")))
    })
}

/// Each policy of the core with its name here, which is also in `_arguments.Overflow`: one that the core has and this has
/// not does not compile.
const POLICIES: [(&str, Overflow); Overflow::ALL.len()] = [
    ("drop_oldest", Overflow::DropOldest),
    ("drop_newest", Overflow::DropNewest),
    ("conflate", Overflow::Conflate),
];

fn unknown(name: &str) -> PyErr {
    PyTypeError::new_err(format!("there is no option {name:?}"))
}
