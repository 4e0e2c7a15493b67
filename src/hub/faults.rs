//! Faults on demand: what the network and the server do to a client on a bad day.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::state::{Shared, State};
use super::stream::Outlet;
use super::wire::Fate;

/// Breaks a [`Hub`](super::Hub) on purpose, from any thread, while clients are connected.
///
/// Every fault acts at once and on what is open then, unless it says "next" or
/// is a switch that stays as it is set. [`clear`](Self::clear) takes all
/// switches back and forgets planned answers.
///
/// ```
/// # use tidings::hub::{Endpoint, Hub};
/// let hub = Hub::start()?;
/// let faults = hub.faults();
/// faults.refuse_next(Endpoint::Connect, 503, 2);
/// faults.split_bytes(true);
/// faults.clear();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

/// The part of the hub that a planned answer or a delay is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `GET /api/realtime`
    Connect,
    /// `POST /api/realtime`
    Submit,
    /// The stream of a collection, RustBaaS
    Events,
    /// Any path made with [`Hub::sse`](super::Hub::sse)
    Sse,
    /// Everything under `/api/collections/NAME/records`
    Records,
    /// `auth-with-password`, `auth-refresh`, `auth-methods`
    Auth,
    /// `GET /api/health`
    Health,
    /// Any other path
    Other,
}

/// What a request gets instead of its proper answer.
///
/// ```
/// # use std::time::Duration;
/// # use tidings::hub::{Answer, Endpoint, Hub};
/// let hub = Hub::start()?;
/// let busy = Answer::status(429).retry_after(Duration::from_secs(2));
/// hub.faults().answer_next(Endpoint::Submit, busy, 3);
/// hub.faults().answer_next(Endpoint::Connect, Answer::html("<h1>Sign in to the Wi-Fi</h1>"), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Answer(pub(super) Reaction);

#[derive(Debug, Clone)]
pub(super) enum Reaction {
    Respond {
        status: StatusCode,
        headers: HeaderMap,
        body: Vec<u8>,
    },
    /// The proper answer, under another content type.
    Mislabel(HeaderValue),
    Silence,
    End(Fate),
}

/// The faults that are set now.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Where these are not set, each kind of stream has limits of its own.
    pub(super) life: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) heartbeats_lost: bool,
    /// How many messages of a stream are shuffled together; 0 and 1 keep order.
    pub(super) reorder: usize,
    delays: HashMap<Endpoint, Duration>,
    answers: HashMap<Endpoint, VecDeque<Answer>>,
}

/// The real server's limits since 0.38.2.
pub(super) const LIFE: Duration = Duration::from_secs(30 * 60);
pub(super) const IDLE: Duration = Duration::from_secs(5 * 60);

impl Faults {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Ends every open stream as the real server does at its limits: what is
    /// queued is sent, the chunked body ends cleanly, and the TCP connection
    /// stays open for another request. Returns how many streams that were.
    pub fn end_streams(&self) -> usize {
        self.each_stream(Outlet::end)
    }

    /// Closes the connections of every open stream without the chunk that ends
    /// the body, as a killed server or a proxy at its time-out does. Returns
    /// how many streams that were.
    pub fn cut_streams(&self) -> usize {
        self.each_stream(|client| client.cut(Fate::Cut))
    }

    /// Resets the connections of every open stream (RST). Returns how many
    /// streams that were.
    pub fn reset_streams(&self) -> usize {
        self.each_stream(|client| client.cut(Fate::Reset))
    }

    /// A switch: a frozen hub still accepts connections, and reads and writes
    /// nothing on any, as a suspended host. Thawed, it answers what came in
    /// between and sends what was queued.
    pub fn freeze(&self, on: bool) {
        self.shared.switches.frozen.store(on, Ordering::SeqCst);
        self.shared.change(|state| state.links.values().for_each(|link| link.thawed.wake()));
    }

    /// The next `times` requests to `endpoint` get `status` and the error body
    /// that goes with it.
    ///
    /// # Panics
    /// If `status` is not between 100 and 999.
    pub fn refuse_next(&self, endpoint: Endpoint, status: u16, times: usize) {
        self.answer_next(endpoint, Answer::status(status), times);
    }

    /// The next `times` requests to `endpoint` get `answer`, after what was
    /// planned for it before.
    pub fn answer_next(&self, endpoint: Endpoint, answer: Answer, times: usize) {
        self.shared.change(|state| {
            let planned = state.faults.answers.entry(endpoint).or_default();
            planned.extend(std::iter::repeat_n(answer, times));
        });
    }

    /// A switch: every request to `endpoint` waits this long before it is
    /// looked at. Zero takes it back.
    pub fn delay(&self, endpoint: Endpoint, delay: Duration) {
        self.shared.change(|state| state.faults.delays.insert(endpoint, delay));
    }

    /// A switch: every byte of a stream is written by itself, so that readers
    /// meet every place where a message can be torn. That makes streams slow: a
    /// few kilobytes a second.
    pub fn split_bytes(&self, on: bool) {
        self.shared.switches.split.store(on, Ordering::SeqCst);
    }

    /// A switch: messages of a stream are shuffled in groups of `window`, the
    /// order drawn from the hub's seed. A group that does not fill is sent
    /// after 100 ms. 0 and 1 keep the order. The real server promises none.
    pub fn reorder(&self, window: usize) {
        self.shared.change(|state| state.faults.reorder = window);
    }

    /// A switch: streams end cleanly at this age, busy or not, and what was
    /// queued then is lost. 30 minutes unless set.
    pub fn life(&self, life: Duration) {
        self.limit(|plan| plan.life = Some(life));
    }

    /// A switch: streams end cleanly after this long without a message. 5
    /// minutes unless set.
    pub fn idle(&self, idle: Duration) {
        self.limit(|plan| plan.idle = Some(idle));
    }

    /// A switch: RustBaaS streams get no more `:keepalive` comments; events go
    /// on. A client that waits for heartbeats takes the link for dead.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidings::hub::Hub;
    /// let hub = Hub::builder().heartbeat(Duration::from_millis(100)).start()?;
    /// hub.faults().lose_heartbeats(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn lose_heartbeats(&self, on: bool) {
        self.limit(|plan| plan.heartbeats_lost = on);
    }

    /// Takes all switches back and forgets the answers planned for next requests.
    pub fn clear(&self) {
        self.freeze(false);
        self.split_bytes(false);
        self.limit(|plan| *plan = Plan::default());
    }

    fn limit(&self, set: impl FnOnce(&mut Plan)) {
        self.shared.change(|state| {
            set(&mut state.faults);
            // Their timers run to the old limit.
            state.outlets.values_mut().for_each(Outlet::wake);
        });
    }

    fn each_stream(&self, act: impl FnMut(&mut Outlet)) -> usize {
        self.shared.change(|state| {
            state.outlets.values_mut().for_each(act);
            state.outlets.len()
        })
    }
}

impl Answer {
    /// A status with the error body that the real server would send.
    ///
    /// # Panics
    /// If `status` is not between 100 and 999.
    #[must_use]
    pub fn status(status: u16) -> Self {
        #[expect(clippy::expect_used, reason = "documented")]
        let status = StatusCode::from_u16(status).expect("a status is between 100 and 999");
        let answer = Self(Reaction::Respond { status, headers: HeaderMap::new(), body: Vec::new() });
        if status.as_u16() < 400 {
            return answer;
        }
        let reason = status.canonical_reason().unwrap_or("Error");
        let error = json!({ "data": {}, "message": format!("{reason}."), "status": status.as_u16() });
        answer.content_type("application/json").body(error.to_string())
    }

    /// 200 with a web page: a captive portal, or a proxy's error page.
    #[must_use]
    pub fn html(page: impl Into<Vec<u8>>) -> Self {
        Self::status(200).content_type("text/html; charset=utf-8").body(page)
    }

    /// 307 to another address.
    ///
    /// # Panics
    /// If `url` cannot be a header's value.
    #[must_use]
    pub fn redirect(url: &str) -> Self {
        Self::status(307).header("location", url)
    }

    /// The proper answer under another content type, a stream included.
    ///
    /// # Panics
    /// If `content_type` cannot be a header's value.
    #[must_use]
    pub fn mislabelled(content_type: &str) -> Self {
        Self(Reaction::Mislabel(value(content_type)))
    }

    /// Nothing at all, not even headers, on a connection that stays open: a
    /// proxy that buffers, or a server that hangs.
    #[must_use]
    pub fn silence() -> Self {
        Self(Reaction::Silence)
    }

    /// The connection is closed without an answer.
    #[must_use]
    pub fn hang_up() -> Self {
        Self(Reaction::End(Fate::Cut))
    }

    /// The connection is reset without an answer.
    #[must_use]
    pub fn reset() -> Self {
        Self(Reaction::End(Fate::Reset))
    }

    /// Sets the body. Without effect on an answer that has none.
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        if let Reaction::Respond { body, .. } = &mut self.0 {
            *body = bytes.into();
        }
        self
    }

    /// Sets `Content-Type`.
    ///
    /// # Panics
    /// If it cannot be a header's value.
    #[must_use]
    pub fn content_type(self, content_type: &str) -> Self {
        self.header(header::CONTENT_TYPE.as_str(), content_type)
    }

    /// Sets `Retry-After`, rounded up to whole seconds.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER.as_str(), &seconds.to_string())
    }

    /// Sets a header. Without effect on an answer that has none.
    ///
    /// # Panics
    /// If the name or the value is not one of a header.
    #[must_use]
    pub fn header(mut self, name: &str, text: &str) -> Self {
        if let Reaction::Respond { headers, .. } = &mut self.0 {
            #[expect(clippy::expect_used, reason = "documented")]
            let name: HeaderName = name.parse().expect("the name of a header");
            headers.insert(name, value(text));
        }
        self
    }
}

#[expect(clippy::expect_used, reason = "documented where it is called")]
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("the value of a header")
}

impl State {
    /// What the plan has for a request that just came.
    pub(super) fn planned(&mut self, endpoint: Endpoint) -> (Option<Duration>, Option<Answer>) {
        let delay = self.faults.delays.get(&endpoint).copied().filter(|delay| !delay.is_zero());
        let answer = self.faults.answers.get_mut(&endpoint).and_then(VecDeque::pop_front);
        (delay, answer)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.shared.look().faults).finish()
    }
}
