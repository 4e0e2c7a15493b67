//! `POST /api/batch`: several changes, all or none.
//!
//! The real server refuses batches until its settings allow them; the hub
//! takes them at once, with the limit that those settings come with.

use std::collections::BTreeMap;

use hyper::Method;
use serde_json::{Map, Value, json};

use super::records::Requester;
use super::refusal::Refusal;
use super::server::Route;
use super::state::State;

const MAX_REQUESTS: usize = 50;
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

impl State {
    /// Makes the changes of a batch, tells of them, and answers each.
    pub(super) fn batch(&mut self, body: &[u8], requester: &Requester) -> Result<Value, Refusal> {
        let requests = read(body)?;
        let before = (self.collections.clone(), self.accounts.clone());
        let bound: Vec<_> =
            self.clients.iter().map(|(id, client)| (id.clone(), client.identity.clone())).collect();
        self.deferred = Some(Vec::new());
        let mut answers = Vec::new();
        let mut failed = None;
        for (at, request) in requests.iter().enumerate() {
            match self.one_of_batch(request, requester) {
                Ok(answer) => answers.push(answer),
                Err(refusal) => {
                    failed = Some((at, refusal));
                    break;
                }
            }
        }
        let changes = self.deferred.take().unwrap_or_default();
        if let Some((at, refusal)) = failed {
            (self.collections, self.accounts) = before;
            for (id, identity) in bound {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.identity = identity;
                }
            }
            let fault = json!({
                "code": "batch_request_failed",
                "message": "Batch request failed.",
                "response": refusal.body(),
            });
            return Err(invalid("Batch transaction failed.", json!({ at.to_string(): fault })));
        }
        // Nobody hears of a change before it is certain.
        for (action, collection, record) in changes {
            self.announce(action, &collection, &record);
        }
        Ok(Value::Array(answers))
    }

    fn one_of_batch(&mut self, request: &Request, requester: &Requester) -> Result<Value, Refusal> {
        let (path, query) = request.url.split_once('?').unwrap_or((&request.url, ""));
        let query: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let requester = Requester { query, ..requester.clone() };
        let body = request.body.clone();
        let upserts = request.method == Method::PUT;
        let method = if upserts { Method::POST } else { request.method.clone() };
        let route = Route::of(&method, path);
        if let Route::Create(name) | Route::Update(name, _) | Route::Delete(name, _) = &route
            && self.settings.strict
            && self.collection(name).is_none()
        {
            return Err(Refusal::new(404, "Missing collection context."));
        }
        let record = match route {
            Route::Create(name) => {
                let id = body.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
                let there = self.collection(&name).is_some_and(|found| found.record(&id).is_some());
                if upserts && there {
                    self.update(&name, &id, body, &requester)?
                } else {
                    self.create(&name, body, &requester)?
                }
            }
            Route::Update(name, id) => self.update(&name, &id, body, &requester)?,
            Route::Delete(name, id) => {
                self.delete(&name, &id, &requester)?;
                return Ok(json!({ "body": null, "status": 204 }));
            }
            _ => return Err(Refusal::vague()),
        };
        Ok(json!({ "body": record, "status": 200 }))
    }
}

/// One request of a batch.
struct Request {
    method: Method,
    url: String,
    body: Map<String, Value>,
}

fn read(body: &[u8]) -> Result<Vec<Request>, Refusal> {
    let unread = || Refusal::new(400, "Failed to read the submitted batch data.");
    let body: Value = match body {
        [] => Value::Null,
        body => serde_json::from_slice(body).map_err(|_| unread())?,
    };
    let requests = match &body["requests"] {
        Value::Array(requests) => requests.as_slice(),
        Value::Null => &[],
        _ => return Err(unread()),
    };
    if requests.is_empty() {
        return Err(invalid("Invalid batch request data.", Refusal::blank()));
    }
    if requests.len() > MAX_REQUESTS {
        let fault = json!({
            "code": "validation_length_too_long",
            "message": format!("The length must be no more than {MAX_REQUESTS}."),
            "params": { "max": MAX_REQUESTS, "min": 0 },
        });
        return Err(invalid("Invalid batch request data.", fault));
    }
    let mut faults = Map::new();
    let mut read = Vec::new();
    for (at, request) in requests.iter().enumerate() {
        let text = |name: &str| request[name].as_str().unwrap_or_default();
        let (method, url) = (text("method"), text("url"));
        let mut wrong = Map::new();
        if method.is_empty() {
            wrong.insert("method".into(), Refusal::blank());
        } else if !METHODS.contains(&method) {
            let fault = json!({ "code": "validation_in_invalid", "message": "Must be a valid value." });
            wrong.insert("method".into(), fault);
        }
        if url.is_empty() {
            wrong.insert("url".into(), Refusal::blank());
        }
        if !wrong.is_empty() {
            faults.insert(at.to_string(), Value::Object(wrong));
        }
        read.push(Request {
            method: method.parse().unwrap_or_default(),
            url: url.to_owned(),
            body: request["body"].as_object().cloned().unwrap_or_default(),
        });
    }
    if faults.is_empty() { Ok(read) } else { Err(invalid("Invalid batch request data.", faults.into())) }
}

fn invalid(message: &str, fault: Value) -> Refusal {
    Refusal::new(400, message).with_data(Map::from_iter([("requests".to_owned(), fault)]))
}
