//! Faults on demand: what the network and the server do to a client on a bad day.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::answer::Answer;
use super::rustbaas::frame;
use super::state::{Shared, State};
use super::storm::Storm;
use super::stream::{Order, Origin, Outlet};
use super::wire::Fate;

/// Breaks a [`Hub`](super::Hub) on purpose, from any thread, while clients are connected.
///
/// Every fault acts at once and on what is open then, unless it says "next" or
/// is a switch that stays as it is set. [`clear`](Self::clear) takes all
/// switches back and forgets planned answers. They act on streams of every kind.
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
    /// Everything under `/api/collections/NAME/records`, and `/api/batch`
    Records,
    /// Of that the lists alone, `GET /api/collections/NAME/records`, before what is planned for all of it
    Lists,
    /// `auth-with-password`, `auth-with-oauth2`, `auth-refresh`, `auth-methods`,
    /// `oauth2-redirect`, the provider's page, and the login of RustBaaS
    Auth,
    /// `GET /api/health`
    Health,
    /// Any other path
    Other,
}

/// The faults that are set now.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Where these are not set, each kind of stream has limits of its own.
    pub(super) life: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) heartbeats_lost: bool,
    /// Every token is taken for one that has expired.
    pub(super) tokens_lost: bool,
    /// How many messages of a stream are shuffled together; 0 and 1 keep order.
    pub(super) reorder: usize,
    /// How long a stream is without topics while they are replaced.
    pub(super) replacement: Duration,
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
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// assert_eq!(hub.faults().end_streams(), 0, "nobody is connected");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn end_streams(&self) -> usize {
        self.each_stream(Outlet::end)
    }

    /// Closes the connections of every open stream without the chunk that ends
    /// the body, as a killed server or a proxy at its timeout does. Returns
    /// how many streams that were.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// assert_eq!(hub.faults().cut_streams(), 0, "nobody is connected");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cut_streams(&self) -> usize {
        self.each_stream(|client| client.cut(Fate::Cut))
    }

    /// Resets the connections of every open stream (RST). Returns how many
    /// streams that were.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// assert_eq!(hub.faults().reset_streams(), 0, "nobody is connected");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reset_streams(&self) -> usize {
        self.each_stream(|client| client.cut(Fate::Reset))
    }

    /// Cuts every open stream in the middle of what is written to it next: the
    /// chunk announces more bytes than come. That message is lost. Returns how
    /// many streams that will be.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.faults().truncate_streams();
    /// hub.create("posts", serde_json::json!({ "title": "half of this is se" }));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn truncate_streams(&self) -> usize {
        self.each_stream(Outlet::truncate)
    }

    /// Makes every connection that is open now half-open, streams or not: the
    /// hub goes on as if it were well, and no byte comes or goes any more,
    /// whereas new connections work. A lost route, a NAT that forgot. Returns
    /// how many streams that were.
    ///
    /// They stay so until they reach a limit of their life; [`clear`](Self::clear)
    /// resets them. TCP keep-alive finds nothing: the kernel still answers it.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.faults().half_open();
    /// // Only a watchdog of the client's own finds this out.
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn half_open(&self) -> usize {
        self.shared.change(|state| {
            state.links.values().for_each(|link| link.dead.store(true, Ordering::SeqCst));
            state.outlets.len()
        })
    }

    /// A switch: a frozen hub still accepts connections, and reads and writes
    /// nothing on any, as a suspended host. Thawed, it answers what came in
    /// between and sends what was queued.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.faults().freeze(true);
    /// // A client that asks now waits.
    /// hub.faults().freeze(false);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidings::hub::Endpoint;
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.faults().delay(Endpoint::Submit, Duration::from_millis(300));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn delay(&self, endpoint: Endpoint, delay: Duration) {
        self.shared.change(|state| match delay.is_zero() {
            true => state.faults.delays.remove(&endpoint),
            false => state.faults.delays.insert(endpoint, delay),
        });
    }

    /// A switch: every byte of a stream is written by itself, so that readers
    /// meet every place where a message can be torn. That makes streams slow: a
    /// few kilobytes a second.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.faults().split_bytes(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn split_bytes(&self, on: bool) {
        self.shared.switches.split.store(on, Ordering::SeqCst);
    }

    /// A switch: each connection is sent so many bytes in a second at most.
    /// Zero takes it back.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.faults().throttle(1200); // a modem
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn throttle(&self, bytes_per_second: usize) {
        self.shared.switches.throttle.store(bytes_per_second, Ordering::SeqCst);
    }

    /// A switch: a submit leaves its stream without any topic for this long
    /// before it sets the new ones and is answered. What happens then is lost,
    /// also on topics that stay. The real server has such a window, a short
    /// one. Zero takes it back.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.faults().replacement_window(Duration::from_millis(200));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn replacement_window(&self, window: Duration) {
        self.shared.change(|state| state.faults.replacement = window);
    }

    /// Sends every stream a message whose data is no JSON, under one of its
    /// topics. Returns how many streams that were; those without topics get none.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// assert_eq!(hub.faults().bad_json(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bad_json(&self) -> usize {
        self.spoil(|_| br#"{"record":{"id":"#.to_vec())
    }

    /// Sends every stream a message with line ends in its data, a blank line
    /// among them, as a hook of the real server can. Returns how many streams
    /// that were; those without topics get none.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// assert_eq!(hub.faults().raw_newlines(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn raw_newlines(&self) -> usize {
        self.spoil(|_| b"{\"record\":\n{\"id\":\r\"x\"},\n\n\"action\": stray\r\n".to_vec())
    }

    /// Sends every stream an update of a record with so many bytes of data, well
    /// formed. Returns how many streams that were; those without topics get none.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// assert_eq!(hub.faults().huge_event(50 << 20), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn huge_event(&self, bytes: usize) -> usize {
        self.spoil(|origin| {
            let (head, tail) = match origin {
                Origin::Feed(_) => (r#"{"id":"huge","fields":{"pad":""#, r#""}}"#),
                _ => (r#"{"record":{"id":"huge","pad":""#, r#""},"action":"update"}"#),
            };
            let pad = bytes.saturating_sub(head.len() + tail.len());
            [head.as_bytes(), &vec![b'x'; pad], tail.as_bytes()].concat()
        })
    }

    /// Faults to be struck with one after the other, drawn from a seed: see [`Storm`].
    #[must_use]
    pub fn random(&self, seed: u64) -> Storm {
        Storm::new(self.clone(), seed)
    }

    /// A switch: messages of a stream are shuffled in groups of `window`, the
    /// order drawn from the hub's seed. A group that does not fill is sent
    /// after 100 ms. 0 and 1 keep the order. The real server promises none.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.faults().reorder(8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reorder(&self, window: usize) {
        self.shared.change(|state| state.faults.reorder = window);
    }

    /// A switch: streams end cleanly at this age, busy or not, and what was
    /// queued then is lost. Default: 30 minutes; streams of RustBaaS and
    /// [`Hub::sse`](super::Hub::sse) have no such limit.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.faults().life(Duration::from_secs(1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn life(&self, life: Duration) {
        self.limit(|plan| plan.life = Some(life));
    }

    /// A switch: streams end cleanly after this long without a message. Default:
    /// 5 minutes; streams of RustBaaS and [`Hub::sse`](super::Hub::sse) have no
    /// such limit.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.faults().idle(Duration::from_secs(1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// A switch: the hub takes every token for one that has expired, without a word: lists are those of a guest, often empty
    /// ones, and so are submits; `auth-refresh` is answered with 401. Streams that are open stay whose they are. A client that
    /// believes such a list empties what it shows.
    ///
    /// ```
    /// # let hub = tidings::hub::Hub::start()?;
    /// hub.list_rule("notes", |request, record| record["owner"] == request.auth_id());
    /// hub.faults().lose_tokens(true);
    /// // Ann's list of notes is empty now, and no error.
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn lose_tokens(&self, on: bool) {
        self.shared.change(|state| state.faults.tokens_lost = on);
    }

    /// Takes all switches back and forgets the answers planned for next requests.
    pub fn clear(&self) {
        self.freeze(false);
        self.split_bytes(false);
        self.throttle(0);
        self.limit(|plan| *plan = Plan::default());
        self.shared.change(|state| {
            let dead = state.links.values().filter(|link| link.dead.load(Ordering::SeqCst));
            dead.for_each(|link| {
                link.decide(Fate::Reset);
            });
        });
    }

    /// Forgets the answers planned for an endpoint.
    pub(super) fn forget_answers(&self, endpoint: Endpoint) {
        self.shared.change(|state| state.faults.answers.remove(&endpoint));
    }

    fn spoil(&self, payload: impl Fn(&Origin) -> Vec<u8>) -> usize {
        self.shared.change(|state| {
            let mut frames = Vec::new();
            for (serial, outlet) in &state.outlets {
                let data = || payload(&outlet.origin);
                let frame = match &outlet.origin {
                    Origin::Client(id) => state.clients.get(id).and_then(|client| {
                        let topic = client.topics().min()?;
                        Some(client.frame(topic, &data()))
                    }),
                    Origin::Feed(_) => Some(frame("record_updated", &data())),
                    Origin::Channel(_) => Some(frame("message", &data())),
                };
                frames.extend(frame.map(|frame| (*serial, frame)));
            }
            let count = frames.len();
            for (serial, frame) in frames {
                state.push(serial, frame, Order::Free);
            }
            count
        })
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

impl State {
    /// What the plan has for a request that just came.
    pub(super) fn planned(&mut self, endpoint: Endpoint) -> (Option<Duration>, Option<Answer>) {
        let plan = &mut self.faults;
        let delay = plan.delays.get(&endpoint).copied();
        let answer = plan.answers.get_mut(&endpoint).and_then(VecDeque::pop_front);
        if endpoint != Endpoint::Lists {
            return (delay, answer);
        }
        let delay = delay.or_else(|| plan.delays.get(&Endpoint::Records).copied());
        let general = || plan.answers.get_mut(&Endpoint::Records).and_then(VecDeque::pop_front);
        (delay, answer.or_else(general))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, switches) = (&self.shared.look().faults, &self.shared.switches);
        f.debug_tuple("Faults").field(plan).field(switches).finish()
    }
}
