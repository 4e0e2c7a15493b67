//! Asks the server, and notes what it sees. It decides only what is worth asking next.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::{StreamExt, future::join_all, join, stream::FuturesUnordered};
use serde_json::{Value, json};

use super::{
    Options,
    evidence::{Canary, Evidence, Got, Hello, Idle, IdleEnd, Many, OAuth2, Step, Superuser, Token},
    probe::{Open, Probe, Question},
    rule,
};
use crate::{failure::Failure, login::Identity};

const REALTIME: &str = "api/realtime";
/// How many connections the topics are sent over.
const POSTS: usize = 10;
/// How long an event of a canary may take.
const CANARY: Duration = Duration::from_secs(5);

pub(super) struct Examination<'a> {
    pub(super) probe: &'a Probe,
    pub(super) options: &'a Options,
    pub(super) token: Option<String>,
    pub(super) superuser: Option<String>,
    pub(super) seen: Evidence,
}

impl Examination<'_> {
    pub(super) async fn run(&mut self, identity: Identity) -> Result<(), Failure> {
        let options = self.options;
        self.seen.is_https = self.probe.is_https();
        self.seen.origin.clone_from(&options.origin);
        self.seen.collection.clone_from(&options.collection);
        self.seen.filter.clone_from(&options.filter);
        self.seen.expand.clone_from(&options.expand);
        if let Some(filter) = &options.filter
            && let Err(error) = tidings::explain_filter(filter, "any", &[])
        {
            self.seen.filter_error = Some(error);
        }
        self.seen.now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let health = Question::get("api/health").header("origin", self.origin());
        let (health, http2) = join!(self.probe.ask(&health), self.probe.offers_http2());
        let is_well = health.status() == Some(200);
        self.seen.cors.push(("GET /api/health", health.clone()));
        (self.seen.health, self.seen.http2) = (Some(health), http2);
        if is_well {
            self.log_in(identity).await;
            self.examine().await;
        }
        Ok(())
    }

    /// A page's, or one that no page has: a doubled header is doubled for it too.
    fn origin(&self) -> String {
        self.options.origin.clone().unwrap_or_else(|| "https://tidings.invalid".to_owned())
    }

    fn authorization(&self) -> Option<String> {
        self.token.clone()
    }

    async fn log_in(&mut self, identity: Identity) {
        match identity {
            Identity::Guest => {}
            Identity::Token(token) => self.token = Some(token),
            Identity::Password { collection, user, password } => {
                let path = format!("api/collections/{collection}/auth-with-password");
                let body = json!({"identity": user, "password": password});
                let mut answer = self.probe.ask(&Question::post(&path, body)).await;
                if let Got::Answer(answer) = &mut answer {
                    let json = answer.json().unwrap_or_default();
                    self.token = json["token"].as_str().map(str::to_owned);
                    // It is in nobody's way here.
                    answer.body = String::new();
                }
                self.seen.login = Some(answer);
            }
        }
        if let Some(token) = &self.token {
            self.seen.token = Some(Token { expires: claims(token)["exp"].as_u64() });
        }
    }

    async fn examine(&mut self) {
        let stream = |coding: &str| {
            let question = Question::get(REALTIME).header("accept", "text/event-stream".to_owned());
            question.header("accept-encoding", coding.to_owned())
        };
        let (plain, gzip) = (stream("identity"), stream("gzip"));
        let missing = Question::get("api/tidings-doctor");
        let origin = self.origin();
        let preflight = Question { method: "OPTIONS", path: REALTIME, ..Question::default() }
            .header("origin", origin)
            .header("access-control-request-method", "POST".to_owned())
            .header("access-control-request-headers", "authorization,content-type".to_owned());
        let ((stream, open), (gzip, _), error, preflight, records) = join!(
            self.probe.open(&plain),
            self.probe.open(&gzip),
            self.probe.ask(&missing),
            self.probe.ask(&preflight),
            self.records(),
        );
        let id = match &stream.hello {
            Hello::Client(id) => Some(id.clone()),
            Hello::Coded | Hello::Nothing => None,
        };
        let cookies = stream.head.answer().map(cookies).unwrap_or_default();
        self.seen.stream = Some(stream);
        self.seen.gzip = Some(gzip);
        self.seen.error = Some(error);
        self.seen.cors.push(("OPTIONS /api/realtime", preflight));
        records(&mut self.seen);
        if let (Some(id), Some(open)) = (id, open) {
            self.topics(&id, cookies).await;
            self.further(&id, open).await;
        }
        if let Some(wanted) = self.options.streams {
            self.probe.take_time();
            self.seen.many = Some(self.many(wanted).await);
        }
    }

    /// What the topics of the stream are.
    fn topic(&self) -> String {
        let Some(collection) = self.options.write.as_ref().or(self.options.collection.as_ref()) else {
            return "tidings-doctor".to_owned();
        };
        let mut query = serde_json::Map::new();
        for (name, value) in [("filter", &self.options.filter), ("expand", &self.options.expand)] {
            if let Some(value) = value.as_ref().filter(|_| self.options.write.is_none()) {
                query.insert(name.to_owned(), value.clone().into());
            }
        }
        if query.is_empty() {
            return format!("{collection}/*");
        }
        let options = json!({"query": query}).to_string();
        let encoded: String = url::form_urlencoded::byte_serialize(options.as_bytes()).collect();
        format!("{collection}/*?options={}", encoded.replace('+', "%20"))
    }

    fn submit(&self, id: &str, topic: &str, token: Option<String>) -> Question<'static> {
        Question::post(REALTIME, json!({"clientId": id, "subscriptions": [topic]}))
            .header("authorization", token)
    }

    async fn topics(&mut self, id: &str, cookies: String) {
        let topic = self.topic();
        let question = self.submit(id, &topic, self.authorization());
        // The first alone: it says whose the stream is.
        let first = self.probe.ask(&question).await;
        let others = join_all((1..POSTS).map(|_| self.probe.ask(&question))).await;
        self.seen.posts = std::iter::once(first).chain(others).collect();
        let is = |status| self.seen.posts.iter().any(|got| got.status() == Some(status));
        if is(404) && !cookies.is_empty() {
            let question = question.clone().header("cookie", cookies);
            self.seen.posts_with_cookie = join_all((0..POSTS).map(|_| self.probe.ask(&question))).await;
        }
        if self.seen.posts.iter().all(|got| got.status() == Some(204))
            && let Some(other) = self.probe.over_the_other_family().await
        {
            self.seen.post_over_other_family = Some(other.ask(&question).await);
        }
        if self.token.is_some() && self.seen.posts.iter().all(|got| got.status() == Some(204)) {
            self.seen.post_as_guest = Some(self.probe.ask(&self.submit(id, &topic, None)).await);
        }
    }

    /// What takes time, and is asked for.
    async fn further(&mut self, id: &str, mut open: Open) {
        self.probe.take_time();
        if let Some(provider) = &self.options.oauth2 {
            let collection = self.options.login.collection();
            let methods = format!("api/collections/{collection}/auth-methods");
            let (methods, redirect) = (Question::get(&methods), Question::get("api/oauth2-redirect"));
            let (methods, redirect) = join!(self.probe.ask(&methods), self.probe.ask(&redirect));
            let topic = self.probe.ask(&self.submit(id, "@oauth2", self.authorization())).await;
            self.seen.oauth2 =
                Some(OAuth2 { provider: provider.clone(), methods, redirect, topic: Some(topic) });
        }
        if let Some(collection) = &self.options.write {
            // Again: a login elsewhere replaced the topics.
            let question = self.submit(id, &self.topic(), self.authorization());
            if self.probe.ask(&question).await.status() == Some(204) {
                self.seen.canary = Some(self.canary(collection, &mut open).await);
            }
        }
        if let Some(limit) = self.options.idle {
            self.seen.idle = Some(idle(open, limit).await);
        }
    }

    async fn canary(&self, collection: &str, open: &mut Open) -> Canary {
        let mut steps = Vec::new();
        let records = format!("api/collections/{collection}/records");
        let body: Value = serde_json::from_str(&self.options.write_body).unwrap_or_default();
        let mut record = records.clone();
        for (action, method) in [("create", "POST"), ("update", "PATCH"), ("delete", "DELETE")] {
            let path = if action == "create" { &records } else { &record };
            let json = (action != "delete").then(|| body.clone());
            let question = Question { method, path, json, ..Question::default() };
            let answer = self.probe.ask(&question.header("authorization", self.authorization())).await;
            let json = answer.answer().and_then(super::evidence::Answer::json).unwrap_or_default();
            let is_done = answer.status().is_some_and(|status| status < 300);
            if action == "create" {
                record = format!("{records}/{}", json["id"].as_str().unwrap_or_default());
            }
            let since = Instant::now();
            let id = record.rsplit('/').next().unwrap_or_default().to_owned();
            // One loss is enough. What follows is to clean up.
            let is_awaited = is_done && steps.iter().all(|step: &Step| step.delay.is_some());
            let delay = match is_awaited {
                true => tokio::time::timeout(CANARY, event_of(open, action, &id)).await.ok().flatten(),
                false => None,
            };
            let delay = delay.map(|()| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
            steps.push(Step { action, answer, delay });
            if !is_done && action == "create" {
                break;
            }
        }
        Canary { steps }
    }

    async fn many(&self, wanted: usize) -> Many {
        let question = Question::get(REALTIME).header("accept", "text/event-stream".to_owned());
        let mut opened = Vec::new();
        let mut opening = FuturesUnordered::new();
        let mut asked = 0;
        loop {
            while asked < wanted && opening.len() < 20 {
                opening.push(self.probe.open_head(&question));
                asked += 1;
            }
            match opening.next().await {
                None => return Many { wanted, opened: opened.len(), failure: None },
                Some((_, Some(open))) => opened.push(open),
                Some((got, None)) => return Many { wanted, opened: opened.len(), failure: Some(got) },
            }
        }
    }

    /// What lists say of the collection, to be noted when all is known.
    async fn records(&self) -> impl FnOnce(&mut Evidence) + use<> {
        let name = self.options.collection.clone();
        let name = name.unwrap_or_default();
        let (filter, expand) = (self.options.filter.as_deref(), self.options.expand.as_deref());
        let none = name.is_empty();
        let list = async |filter: Option<&str>, expand: Option<&str>, token: Option<String>| {
            if none {
                return None;
            }
            let path = list_path(&name, filter, expand);
            Some(self.probe.ask(&Question::get(&path).header("authorization", token)).await)
        };
        let filter = filter.filter(|_| self.seen.filter_error.is_none());
        let (plain, filtered, expanded, superuser) = join!(
            list(None, None, self.authorization()),
            async { if filter.is_some() { list(filter, None, self.authorization()).await } else { None } },
            async { if expand.is_some() { list(None, expand, self.authorization()).await } else { None } },
            self.superuser(&name),
        );
        move |seen: &mut Evidence| {
            (seen.list, seen.filtered, seen.expanded, seen.superuser) =
                (plain, filtered, expanded, superuser);
        }
    }

    async fn superuser(&self, name: &str) -> Option<Superuser> {
        let token = self.superuser.clone().filter(|_| !name.is_empty())?;
        let ask = async |path: &str| {
            self.probe.ask(&Question::get(path).header("authorization", token.clone())).await
        };
        let expand = self.options.expand.as_deref();
        let (about, plain) = (format!("api/collections/{name}"), list_path(name, None, None));
        let (collection, list) = join!(ask(&about), ask(&plain));
        let expanded = match expand {
            Some(_) => Some(ask(&list_path(name, None, expand)).await),
            None => None,
        };
        let json = collection.answer().and_then(super::evidence::Answer::json).unwrap_or_default();
        let user = self.token.as_deref().map(claims).unwrap_or_default();
        let mut failing = Vec::new();
        for (clause, filled) in rule::clauses(
            json["listRule"].as_str().unwrap_or_default(),
            user["id"].as_str().unwrap_or_default(),
        ) {
            let answer = ask(&list_path(name, Some(&filled), None)).await;
            if answer.answer().is_some_and(|answer| answer.status == 200 && answer.items().is_empty()) {
                failing.push(clause);
            }
        }
        Some(Superuser { collection, list, expanded, failing })
    }
}

fn list_path(name: &str, filter: Option<&str>, expand: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("perPage", "20");
    for (name, value) in [("filter", filter), ("expand", expand)] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    format!("api/collections/{name}/records?{}", query.finish())
}

/// What a client would send back.
fn cookies(head: &super::evidence::Answer) -> String {
    let pairs = head.all("set-cookie").filter_map(|cookie| cookie.split(';').next());
    pairs.collect::<Vec<_>>().join("; ")
}

/// What a token says, unchecked.
fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Waits for the event of this change; `None` if the stream ends before.
async fn event_of(open: &mut Open, action: &str, id: &str) -> Option<()> {
    while let Ok(Some((_, data))) = open.message().await {
        let event: Value = serde_json::from_str(&data).unwrap_or_default();
        if event["action"] == action && event["record"]["id"] == id {
            return Some(());
        }
    }
    None
}

async fn idle(mut open: Open, limit: Duration) -> Idle {
    let since = Instant::now();
    let waited = async {
        loop {
            match open.message().await {
                // Somebody else's change: it is not quiet, which is as good.
                Ok(Some(_)) => {}
                Ok(None) => return IdleEnd::Clean,
                Err(_) => return IdleEnd::Cut,
            }
        }
    };
    let end = tokio::time::timeout(limit, waited).await.unwrap_or(IdleEnd::Open);
    Idle { seconds: since.elapsed().as_secs_f64(), end }
}
