//! A view's part of the driver: it carries the machine's outputs to the network and the answers back. It decides nothing.
//!
//! It is polled with the client's other I/O, so that a view is right whether anybody reads it or not, and holds no handle:
//! a view that was forgotten here would keep no client open.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Either, select},
};
use hyper::{
    Method,
    header::{DATE, HeaderMap},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Doubt, Freshness,
    arrange::Order,
    cell::Cell,
    machine::{self, Failure, Judge, Machine, Message, Now, Output, Role, Settings},
    question::{Question, Wanted},
};
use crate::{
    Action, Collection, Error, Event, State,
    client::seed,
    delivery::mailbox::{Mailbox, Status},
    driver::{
        alarm::Alarm,
        refusal,
        shared::{Handle, Shared},
    },
    engine::{
        Backoff, Bounds, Limits, ListenerId, Overflow,
        identity::{Identity, Token},
    },
    error::unexpected,
    filter::{self, Ahead, Dialect, Filter, Plan as FilterPlan},
    topic::Topic,
};

/// Messages that may wait while the driver is busy elsewhere; more than that are a gap, which a list closes.
const QUEUE: usize = 4_096;

/// Messages taken in one go, and rounds made, before others get their turn.
const TURN: usize = 256;
const ROUNDS: usize = 16;

/// The largest page taken, in bytes.
const BODY_LIMIT: usize = 64 << 20;

/// How long the server has for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What a view is to be.
#[derive(Debug)]
pub(super) struct Plan {
    settings: Settings,
    topics: Vec<(Role, Topic)>,
    /// Of the list.
    path: String,
}

impl Plan {
    pub(super) fn new(
        collection: &Collection,
        filter: &str,
        expand: Option<String>,
        order: Order,
        decides: Decides,
    ) -> Result<Self, Error> {
        let Collection { handle, name } = collection;
        if handle.dialect.submits().is_none() {
            return Err(Error::unsupported(
                "watch",
                "this backend has no lists that are known; subscribe to the collection instead",
            ));
        }
        collection.check_topic("*")?;
        let filter = filter.trim();
        let (judge, comparisons) = judge(filter, decides)?;
        let question = Question::new(filter, comparisons, expand.clone())?;
        let topic = |query: &[(&str, &str)]| {
            let mut topic = Topic::new(format!("{name}/*"));
            topic.query.extend(query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            topic
        };
        let expand = expand.as_deref().map(|expand| ("expand", expand));
        let topics = match judge {
            Judge::Nobody | Judge::Here { .. } => vec![(Role::All, topic(expand.as_slice()))],
            Judge::Server { .. } => {
                let query: Vec<_> = [("filter", filter)].into_iter().chain(expand).collect();
                vec![(Role::Filtered, topic(&query)), (Role::Thin, topic(&[("fields", "id,updated")]))]
            }
        };
        for (_, topic) in &topics {
            handle.dialect.key(topic)?;
        }
        let path = handle.dialect.auth_path(name, "records")?;
        let is_final_untaken = !handle.engine().has_provider();
        let settings = Settings {
            order,
            judge,
            question,
            limit: None,
            slack: 0,
            audit: None,
            is_final_untaken,
            is_patient: true,
        };
        Ok(Self { settings, topics, path })
    }

    pub(super) fn window(mut self, limit: Option<usize>, slack: usize) -> Self {
        (self.settings.limit, self.settings.slack) = (limit, slack);
        self
    }

    pub(super) fn audit(mut self, interval: Option<Duration>) -> Self {
        self.settings.audit = interval;
        self
    }

    pub(super) fn patient(mut self, patient: bool) -> Self {
        self.settings.is_patient = patient;
        self
    }
}

/// Who may decide whether a record matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decides {
    /// The client where it can.
    Either,
    Server,
}

/// Who decides whether a record matches, and how many comparisons that takes.
fn judge(text: &str, decides: Decides) -> Result<(Judge, usize), Error> {
    if text.is_empty() {
        return Ok((Judge::Nobody, 0));
    }
    filter::check(text).map_err(|error| Error::argument("filter", error.to_string()))?;
    let filter =
        Filter::parse(text, Dialect::Any).map_err(|error| Error::argument("filter", error.to_string()))?;
    if filter.is_refused() {
        let reason = "no server takes it: a function, macro or modifier in it is unknown";
        return Err(Error::argument("filter", reason));
    }
    let is_beyond = |name: &String| name.contains('.') || name.contains("_via_") || is_of_request(name);
    let has_clock = filter.names().iter().any(|name| name.starts_with('@') && !is_of_request(name));
    let comparisons = filter.comparisons();
    let is_ours = decides == Decides::Either
        && match filter.plan(wall()) {
            FilterPlan::Exact | FilterPlan::ExactWithClock { .. } => true,
            // Fields whose kind is not known here are clear in most records.
            FilterPlan::Partly { .. } => !filter.names().iter().any(is_beyond),
            FilterPlan::ServerOnly { .. } => false,
        };
    let judge = match is_ours {
        true => {
            let ahead = if has_clock { Ahead::of(text) } else { None };
            Judge::Here { filter: Box::new(filter), has_clock, ahead }
        }
        false => Judge::Server { has_clock },
    };
    Ok((judge, comparisons))
}

fn is_of_request(name: &str) -> bool {
    name.starts_with("@request") || name.starts_with("@collection")
}

/// Milliseconds since 1970 by the clock of this machine.
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

/// Subscribes, and hands the rest to the driver.
pub(super) fn start(handle: &Arc<Handle>, plan: Plan, cell: Arc<Cell>) -> Result<(), Error> {
    let shared = Arc::clone(&handle.0);
    let Plan { settings, topics, path } = plan;
    let topics = Topics::subscribe(shared.clone(), topics, settings.is_patient)?;
    let job = Job {
        states: Box::pin(shared.notices.states.watch(|| State::Idle)),
        tokens: Box::pin(shared.account.tokens.watch(|| None)),
        machine: Machine::new(settings),
        who: None,
        topics,
        request: None,
        backoff: Backoff::new(),
        rng: fastrand::Rng::with_seed(seed()),
        alarm: Alarm::default(),
        clock: Clock::default(),
        path,
        shared: shared.clone(),
        cell: Ending(cell),
    };
    shared.begin(Box::pin(job))
}

struct Job {
    shared: Arc<Shared>,
    machine: Machine,
    topics: Topics,
    path: String,
    /// Whose the list is, and with which token.
    who: Option<(Identity, Option<Token>)>,
    request: Option<(u64, BoxFuture<'static, Answer>)>,
    backoff: Backoff,
    rng: fastrand::Rng,
    alarm: Alarm,
    clock: Clock,
    /// These say only that it is worth to look.
    states: Pin<Box<async_channel::Receiver<State>>>,
    tokens: Pin<Box<async_channel::Receiver<Option<String>>>>,
    cell: Ending,
}

/// Ends the view when the job goes, whatever the reason.
struct Ending(Arc<Cell>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Error::Closed);
    }
}

/// What came of a request.
enum Answer {
    Page(Vec<Value>, Clock),
    Proven,
    /// The server does not take the token.
    Untaken(Error),
    Failed(Error),
}

impl Future for Job {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.cell.0.waker.register(cx.waker());
        for _ in 0..ROUNDS {
            let Some(ticket) = this.cell.0.wishes() else { return Poll::Ready(()) };
            this.machine.prove(ticket);
            this.look_who();
            let mut progress = match this.take_messages(cx) {
                Ok(progress) => progress,
                Err(error) => {
                    this.cell.0.end(error);
                    return Poll::Ready(());
                }
            };
            progress |= this.states.as_mut().poll_next_state(cx) | this.tokens.as_mut().poll_next_state(cx);
            this.machine.link(this.topics.are_live());
            progress |= this.poll_request(cx) | this.poll_time(cx);
            let now = this.now();
            while let Some(output) = this.machine.poll(now) {
                progress = true;
                if let Some(error) = this.obey(output) {
                    this.cell.0.end(error);
                    return Poll::Ready(());
                }
            }
            if !progress {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A receiver of which only matters that something came.
trait Bell {
    fn poll_next_state(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool;
}

impl<T> Bell for async_channel::Receiver<T> {
    fn poll_next_state(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        matches!(futures::Stream::poll_next(self, cx), Poll::Ready(Some(_)))
    }
}

impl Job {
    fn now(&self) -> Now {
        Now { mono: self.shared.now(), wall: self.clock.server(wall()) }
    }

    /// Notices a change of the identity before anything that comes after it.
    fn look_who(&mut self) {
        let token = self.shared.engine_for_driver().token().cloned();
        if self.who.as_ref().is_some_and(|(_, known)| *known == token) {
            return;
        }
        let identity = Identity::of(token.as_ref());
        match &self.who {
            Some((known, _)) if *known == identity => self.machine.new_token(),
            _ => {
                self.request = None;
                self.machine.identity(token.is_some());
            }
        }
        self.backoff.reset();
        self.who = Some((identity, token));
    }

    /// Whether there were any.
    fn take_messages(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let now = self.now();
        let mut any = false;
        for place in 0..self.topics.entries.len() {
            for _ in 0..TURN {
                let Entry { role, mailbox, .. } = &self.topics.entries[place];
                let (role, next) = (*role, mailbox.poll_next(cx));
                match next {
                    Poll::Pending => break,
                    Poll::Ready(Some(event)) => self.take_event(now, role, &event)?,
                    Poll::Ready(None) => {
                        if let Status::Ended(Some(error)) = mailbox.status() {
                            return Err(*error);
                        }
                        // The host unsubscribed from all of the collection; the view is not for that.
                        self.topics.renew(place)?;
                        self.machine.gap();
                    }
                }
                any = true;
            }
        }
        Ok(any)
    }

    fn take_event(&mut self, now: Now, role: Role, event: &Event) -> Result<(), Error> {
        let action = event.action();
        match action {
            Action::Create | Action::Update | Action::Delete => {
                match event.json() {
                    Ok(mut payload) => {
                        let record = payload["record"].take();
                        self.machine
                            .message(now, Message { role, is_delete: action == Action::Delete, record });
                    }
                    // It says that something changed, and not what.
                    Err(_) => self.machine.gap(),
                }
            }
            Action::Gap | Action::Lagged(_) => self.machine.gap(),
            Action::Refused => return Err(event.error().cloned().unwrap_or(Error::Closed)),
            Action::Connect | Action::Custom => {}
        }
        Ok(())
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((number, request)) = &mut self.request else { return false };
        let number = *number;
        let Poll::Ready(answer) = request.poll_unpin(cx) else { return false };
        self.request = None;
        if !matches!(answer, Answer::Failed(_) | Answer::Untaken(_)) {
            self.backoff.reset();
        }
        match answer {
            Answer::Page(items, clock) => {
                self.clock.learn(clock);
                self.machine.page(self.now(), number, &items);
            }
            Answer::Proven => self.machine.proof(self.now(), number, None, Duration::ZERO),
            Answer::Untaken(error) => {
                let pause = self.backoff.next(Bounds::default(), &mut self.rng);
                self.machine.proof(self.now(), number, Some(error), pause);
            }
            Answer::Failed(error) => {
                let least = error.refusal().and_then(crate::Refusal::retry_after).unwrap_or_default();
                let pause = self.backoff.next(Bounds::default(), &mut self.rng).max(least);
                let is_denied = error.refusal().is_some_and(|refusal| self.shared.dialect.denies(refusal));
                self.machine.failure(self.now(), number, Failure { error, is_denied, pause });
            }
        }
        true
    }

    fn poll_time(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.now();
        let Some(deadline) = self.machine.deadline(now) else { return false };
        let is_due = now.mono >= deadline || self.alarm.poll(&*self.shared.runtime, deadline, cx);
        if is_due {
            self.machine.timeout(self.now());
        }
        is_due
    }

    /// The error that ends the view, if one does.
    fn obey(&mut self, output: Output) -> Option<Error> {
        match output {
            Output::Ask { number, wanted } => {
                let (identity, token) = self.who.clone().unwrap_or((Identity::Guest, None));
                let request = exchange(self.shared.clone(), self.path.clone(), wanted, identity, token);
                self.request = Some((number, request.boxed()));
            }
            Output::Show { rows, changes, is_first, standing } => {
                self.cell.0.show(rows, changes, is_first, standing.map(freshness));
            }
            Output::Standing(standing) => self.cell.0.set_status(freshness(standing)),
            Output::Proved(ticket) => self.cell.0.proved(ticket),
            Output::End(error) => return Some(error),
        }
        None
    }
}

fn freshness(machine::Standing { doubt, since }: machine::Standing) -> Freshness {
    let why = match doubt {
        None => return Freshness::Proven { at: since },
        Some(machine::Doubt::Link) => Doubt::Disconnected,
        Some(machine::Doubt::Gap) => Doubt::Comparing,
        Some(machine::Doubt::Identity(error)) => Doubt::Identity(error),
        Some(machine::Doubt::List(error)) => Doubt::ListFailed(error),
    };
    Freshness::InDoubt { since, why }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("path", &self.path).finish_non_exhaustive()
    }
}

// ---- Topics ----

/// The view's own listeners.
struct Topics {
    shared: Arc<Shared>,
    entries: Vec<Entry>,
    wanted: Vec<Topic>,
}

struct Entry {
    role: Role,
    id: ListenerId,
    mailbox: Arc<Mailbox>,
}

impl Topics {
    fn subscribe(shared: Arc<Shared>, topics: Vec<(Role, Topic)>, patient: bool) -> Result<Self, Error> {
        let mut own = Self { shared, entries: Vec::new(), wanted: Vec::new() };
        for (role, topic) in topics {
            let entry = own.entry(role, &topic, patient)?;
            own.entries.push(entry);
            own.wanted.push(topic);
        }
        Ok(own)
    }

    fn entry(&self, role: Role, topic: &Topic, patient: bool) -> Result<Entry, Error> {
        let shared = &self.shared;
        let key = shared.dialect.key(topic)?;
        let limits = Limits { events: QUEUE, overflow: Overflow::DropOldest, ..Limits::default() };
        let mailbox = Mailbox::for_stream(key.clone(), limits);
        let now = shared.now();
        // Whether it can deliver anything, the list says.
        let id = shared.engine().subscribe(now, &key, mailbox.clone(), patient, None)?;
        Ok(Entry { role, id, mailbox })
    }

    fn renew(&mut self, place: usize) -> Result<(), Error> {
        let entry = self.entry(self.entries[place].role, &self.wanted[place], true)?;
        self.entries[place] = entry;
        Ok(())
    }

    fn are_live(&self) -> bool {
        let engine = self.shared.engine_for_driver();
        self.entries.iter().all(|entry| engine.is_live(entry.id))
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        let now = self.shared.now();
        for entry in &self.entries {
            self.shared.engine().unsubscribe(now, entry.id);
        }
    }
}

// ---- Requests ----

async fn exchange(
    shared: Arc<Shared>,
    path: String,
    wanted: Wanted,
    identity: Identity,
    token: Option<Token>,
) -> Answer {
    let mut timer = shared.runtime.new_timer(shared.now() + TIMEOUT);
    let alarm = poll_fn(|cx| timer.as_mut().poll(cx));
    let exchange = async {
        match wanted {
            Wanted::List { query } => list(&shared, &path, &query, token.as_ref()).await,
            Wanted::Proof => prove(&shared, &identity, token.as_ref()).await,
        }
    };
    match select(pin!(exchange), alarm).await {
        Either::Left((answer, _)) => answer.unwrap_or_else(Answer::Failed),
        Either::Right(_) => {
            Answer::Failed(Error::Timeout { what: "the list of a view".into(), after: TIMEOUT })
        }
    }
}

async fn list(
    shared: &Shared,
    path: &str,
    query: &[(&'static str, String)],
    token: Option<&Token>,
) -> Result<Answer, Error> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<Value>,
    }
    let mut url = shared.url(path)?;
    url.query_pairs_mut().extend_pairs(query);
    let sent = wall();
    let response = shared.http.send(shared.request(Method::GET, url, token, None)).await?;
    let clock = Clock::of(&response.headers, sent, wall());
    if !response.status.is_success() {
        let refusal = refusal(&*shared.runtime, response).await;
        return Err(Error::Refused(shared.dialect.explain_list(refusal)));
    }
    let body = response.body.collect(BODY_LIMIT).await?;
    let page: Page =
        serde_json::from_slice(&body).map_err(|error| unexpected("a list of records", &error))?;
    Ok(Answer::Page(page.items, clock))
}

/// Whether the server takes the token. A list does not tell: with one that has expired it is a guest's.
async fn prove(shared: &Shared, identity: &Identity, token: Option<&Token>) -> Result<Answer, Error> {
    let path = match identity {
        Identity::Guest => return Ok(Answer::Proven),
        // The admins of servers before 0.23.
        Identity::User { collection, .. } if collection.is_empty() => "/api/admins/auth-refresh".to_owned(),
        Identity::User { collection, .. } => shared.dialect.auth_path(collection, "auth-refresh")?,
        Identity::Opaque(_) => shared.dialect.auth_path("users", "auth-refresh")?,
    };
    let request = shared.request(Method::POST, shared.url(&path)?, token, Some(b"{}".to_vec()));
    let response = shared.http.send(request).await?;
    if response.status.is_success() {
        return Ok(Answer::Proven);
    }
    let refusal = refusal(&*shared.runtime, response).await;
    Ok(match refusal.status() {
        // Who the user is, is clear by then; a rule says that there is no new token.
        403 if shared.dialect.denies(&refusal) => Answer::Proven,
        400..=404 => Answer::Untaken(Error::Refused(refusal)),
        _ => Answer::Failed(Error::Refused(refusal)),
    })
}

/// The difference between the server's clock and ours, in milliseconds, within bounds: a `Date` tells seconds alone.
#[derive(Clone, Copy, Debug)]
struct Clock {
    least: i64,
    most: i64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { least: i64::MIN, most: i64::MAX }
    }
}

impl Clock {
    fn of(headers: &HeaderMap, sent: u64, received: u64) -> Self {
        let date = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let date = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        let Some(date) = date.and_then(|date| i64::try_from(date.as_millis()).ok()) else {
            return Self::default();
        };
        let [sent, received] = [sent, received].map(|at| i64::try_from(at).unwrap_or_default());
        Self { least: date - received, most: date + 999 - sent }
    }

    fn learn(&mut self, other: Self) {
        let both = Self { least: self.least.max(other.least), most: self.most.min(other.most) };
        // Where they exclude each other, a clock was set.
        *self = if both.least > both.most { other } else { both };
    }

    /// No difference, unless there must be one.
    fn server(self, ours: u64) -> u64 {
        if self.least > self.most {
            return ours;
        }
        ours.saturating_add_signed(0.clamp(self.least, self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_corrected_only_where_it_must_be_wrong() {
        let date = "Thu, 01 Jan 1970 00:01:00 GMT";
        let headers = HeaderMap::from_iter([(DATE, date.parse().unwrap())]);
        let right = Clock::of(&headers, 60_100, 60_200);
        assert_eq!(right.server(60_500), 60_500);
        let mut clock = Clock::of(&headers, 30_000, 30_100);
        assert_eq!(clock.server(30_100), 60_000, "at least");
        clock.learn(Clock::of(&headers, 29_200, 29_300));
        assert_eq!((clock.least, clock.most), (30_700, 30_999));
        clock.learn(right);
        assert_eq!(clock.server(5), 5, "the clock was set right");
        assert_eq!(Clock::default().server(7), 7);
    }

    #[test]
    fn who_decides_a_filter() {
        let of = |filter| judge(filter, Decides::Either).unwrap().0;
        assert!(matches!(of(""), Judge::Nobody));
        assert!(matches!(of("status = 'open' && n > 3"), Judge::Here { has_clock: false, .. }));
        assert!(matches!(of("due < @now"), Judge::Here { has_clock: true, .. }));
        assert!(matches!(of("author.name = 'a'"), Judge::Server { has_clock: false }));
        assert!(matches!(of("n > 3 && author.name = 'a'"), Judge::Server { .. }));
        assert!(matches!(of("@request.auth.id != ''"), Judge::Server { has_clock: false }));
        assert!(matches!(judge("n > 3", Decides::Server).unwrap().0, Judge::Server { .. }));
        assert!(judge("n >", Decides::Either).is_err());
    }
}
