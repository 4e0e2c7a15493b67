//! Events of many listeners, and notices of a client, for a host that takes them in batches on a thread of its own.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Wake, Waker},
    time::Instant,
};

use futures::channel::oneshot;

use crate::{
    Error, Event, State,
    delivery::inbox::{Contents, Inbox},
    delivery::mailbox::Mailbox,
};

/// What a host passed with a subscription or a call, and gets back with each of its items.
pub type Tag = Arc<dyn Any + Send + Sync>;

/// An item of the queue of a [`blocking::Client`](crate::blocking::Client).
#[derive(Debug)]
#[non_exhaustive]
pub enum Item {
    /// An event of a subscription that was [queued](crate::blocking::Client::subscribe_queued).
    Event {
        /// The id of the subscription.
        subscription: u64,
        /// The event.
        event: Event,
        /// What the subscription was [tagged](crate::Subscribe::tagged) with.
        tag: Option<Tag>,
    },
    /// The server has acknowledged the topic. Only for a subscription that was
    /// [submitted](crate::blocking::Client::submit_subscribe) or that [asks for it](crate::Subscribe::acknowledged).
    Acknowledged {
        /// The id of the subscription.
        subscription: u64,
        /// What the subscription was tagged with.
        tag: Option<Tag>,
    },
    /// The last item of a subscription.
    Ended {
        /// The id of the subscription.
        subscription: u64,
        /// Why it ended; `None` when the host unsubscribed.
        why: Option<Error>,
        /// What the subscription was tagged with.
        tag: Option<Tag>,
    },
    /// A [submitted](crate::blocking::Client::submit) call has ended.
    Completed {
        /// The id of the call.
        call: u64,
        /// Its result.
        answer: Result<Answer, Error>,
        /// What the call was submitted with.
        tag: Option<Tag>,
    },
    /// The state has changed. Only with [`notices`](crate::blocking::Builder::notices).
    State(State),
    /// An open stream has ended; these topics are still subscribed. Only with [`notices`](crate::blocking::Builder::notices).
    Disconnected(Vec<String>),
    /// A topic that was subscribed to without waiting is acknowledged, and no event can come: see
    /// [`SubscriptionState::Denied`](crate::SubscriptionState::Denied). Or the server has refused it for now, with 429 or
    /// 5xx, for the second time; it is asked again. Only with [`notices`](crate::blocking::Builder::notices).
    Denied {
        /// The topic as it stands on the wire.
        topic: String,
        /// What the server answers: to a list with the same options, or to the topic.
        error: Error,
        /// It is asked again.
        for_now: bool,
    },
    /// A token is needed. Only with [`token_requests`](crate::blocking::Builder::token_requests).
    TokenWanted(TokenRequest),
    /// A live view that was [queued](crate::blocking::Client::watch_queued) has changes to take, or has ended. Each is told once,
    /// until it is taken from the view.
    Changed {
        /// The id of the view.
        view: u64,
        /// What the view was tagged with.
        tag: Option<Tag>,
    },
    /// What was polled with this number can be polled again. For the Python bindings: see `Call::poll_queued`.
    Woken(u64),
}

/// The result of a [submitted](crate::blocking::Client::submit) call, of the type that the call has.
pub type Answer = Box<dyn Any + Send>;

/// A request for a token; dropping it unanswered counts as a failure of the provider.
#[derive(Debug)]
pub struct TokenRequest {
    answer: oneshot::Sender<Result<Option<String>, String>>,
}

impl TokenRequest {
    /// A request, and a future that resolves with its answer.
    pub(crate) fn new() -> (Self, impl Future<Output = Result<Option<String>, String>> + Send) {
        let (answer, answered) = oneshot::channel();
        let answered = async { answered.await.unwrap_or_else(|_| Err("it returned no answer".into())) };
        (Self { answer }, answered)
    }

    /// Answers with a token, with `None` for a guest, or with an error text. The answer may come at any time; one that is no
    /// longer wanted is ignored.
    pub fn answer(self, token: Result<Option<String>, String>) {
        let _ = self.answer.send(token);
    }
}

/// Notices queued for a host that does not take them; the oldest are dropped.
const NOTICES: usize = 64;

/// How many events one listener may put into a batch before the others get their turn.
const TURN: usize = 64;

/// The queue of one client. Bounded: a mailbox is in it at most once, and has its own limits.
#[derive(Debug)]
pub(crate) struct Batches {
    inbox: Inbox<Waiting>,
    /// Whether changes of the connection are wanted here.
    notices: bool,
    /// How many times waiting events were discarded, because another user's token was set.
    forgotten: AtomicU64,
    /// Beside the inbox, whose lock is taken before that of a mailbox: a mailbox asks this under its own.
    is_closed: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    /// Mailboxes with something in them.
    ready: VecDeque<Arc<Mailbox>>,
    /// Items that belong to no listener. At most `NOTICES`.
    notices: VecDeque<Item>,
    /// Calls that can make progress, each at most once.
    woken: VecDeque<Arc<Sleeper>>,
}

impl Contents for Waiting {
    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.notices.is_empty() && self.woken.is_empty()
    }
}

impl Batches {
    pub(crate) fn new(notices: bool) -> Arc<Self> {
        Arc::new(Self {
            inbox: Inbox::new(),
            notices,
            forgotten: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn enqueue(&self, mailbox: Arc<Mailbox>) {
        self.inbox.put(|waiting| waiting.ready.push_back(mailbox));
    }

    pub(crate) fn report_state(&self, state: &State) {
        if self.notices {
            self.notice(Item::State(state.clone()));
        }
    }

    pub(crate) fn report_disconnected(&self, topics: &[Arc<str>]) {
        if self.notices {
            self.notice(Item::Disconnected(topics.iter().map(|topic| topic.to_string()).collect()));
        }
    }

    pub(crate) fn report_denied(&self, topic: &str, error: &Error, for_now: bool) {
        if self.notices {
            self.notice(Item::Denied { topic: topic.to_owned(), error: error.clone(), for_now });
        }
    }

    /// Asks the host for a token.
    pub(crate) async fn ask_token(self: Arc<Self>) -> Result<Option<String>, String> {
        let (request, answered) = TokenRequest::new();
        self.notice(Item::TokenWanted(request));
        answered.await
    }

    fn notice(&self, notice: Item) {
        let mut dropped = None;
        self.inbox.put(|waiting| {
            if waiting.notices.len() >= NOTICES {
                dropped = waiting.notices.pop_front();
            }
            waiting.notices.push_back(notice);
        });
        // Outside the lock: dropping a request for a token wakes whoever waits for its answer.
        drop(dropped);
    }

    /// Waits for items and moves at most `most` of them into `batch`. Returns their number, which is 0 only when the deadline
    /// has passed.
    pub(crate) fn take(
        &self,
        batch: &mut Vec<Item>,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<usize, Error> {
        let before = batch.len();
        let full = before + most;
        let found = self.inbox.take(deadline, |waiting| {
            while batch.len() < full
                && let Some(sleeper) = waiting.woken.pop_front()
            {
                batch.push(sleeper.wake_up());
            }
            let notices = waiting.notices.len().min(full - batch.len());
            batch.extend(waiting.notices.drain(..notices));
            while batch.len() < full
                && let Some(mailbox) = waiting.ready.pop_front()
            {
                if mailbox.hand_over(batch, TURN.min(full - batch.len())) {
                    waiting.ready.push_back(mailbox);
                }
            }
            (batch.len() > before).then_some(batch.len() - before)
        })?;
        Ok(found.unwrap_or(0))
    }

    /// The ids of at most `most` subscriptions that have something to take, in the order of their turns.
    pub(crate) fn ready(&self, most: usize) -> Vec<u64> {
        self.inbox.look(|waiting| waiting.ready.iter().take(most).map(|mailbox| mailbox.id()).collect())
    }

    /// Moves at most `most` items of one subscription into `batch`, without waiting, and returns their number.
    pub(crate) fn take_of(&self, id: u64, batch: &mut Vec<Item>, most: usize) -> Result<usize, Error> {
        let before = batch.len();
        self.inbox.take(Some(Instant::now()), |waiting| {
            let at = waiting.ready.iter().position(|mailbox| mailbox.id() == id)?;
            if !waiting.ready[at].hand_over(batch, most) {
                waiting.ready.remove(at);
            }
            Some(())
        })?;
        Ok(batch.len() - before)
    }

    /// A mailbox that was paused has no turn.
    pub(crate) fn remove(&self, mailbox: &Arc<Mailbox>) {
        self.inbox.look(|waiting| waiting.ready.retain(|ready| !Arc::ptr_eq(ready, mailbox)));
    }

    /// A waker that puts `number` into the queue.
    pub(crate) fn waker(self: &Arc<Self>, number: u64) -> Waker {
        self.sleeper(number, None)
    }

    /// A waker that says of a view that it has changed.
    pub(crate) fn view_waker(self: &Arc<Self>, view: u64, tag: Option<Tag>) -> Waker {
        self.sleeper(view, Some(tag))
    }

    fn sleeper(self: &Arc<Self>, number: u64, view: Option<Option<Tag>>) -> Waker {
        Waker::from(Arc::new(Sleeper {
            batches: self.clone(),
            number,
            view,
            is_woken: AtomicBool::new(false),
        }))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.inbox.close();
    }

    /// What was taken before this call was intended for the previous user.
    pub(crate) fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::SeqCst)
    }

    #[cfg(unix)]
    pub(crate) fn descriptor(&self) -> std::io::Result<crate::delivery::inbox::Descriptor> {
        self.inbox.descriptor()
    }
}

/// The waker that puts one number into the queue.
struct Sleeper {
    batches: Arc<Batches>,
    number: u64,
    /// The number is a view's, with what the host has given for it.
    view: Option<Option<Tag>>,
    /// It is in the queue.
    is_woken: AtomicBool,
}

impl Sleeper {
    fn wake_up(&self) -> Item {
        self.is_woken.store(false, Ordering::Release);
        match &self.view {
            Some(tag) => Item::Changed { view: self.number, tag: tag.clone() },
            None => Item::Woken(self.number),
        }
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            let batches = self.batches.clone();
            batches.inbox.put(|waiting| waiting.woken.push_back(self));
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;
    use crate::{
        delivery::mailbox::Queued,
        engine::{Limits, Outlet},
    };

    /// The I/O thread may be about to queue a listener while the host pauses it.
    #[cfg(unix)]
    #[test]
    fn a_listener_that_is_queued_too_late_leaves_no_descriptor_readable() {
        use crate::delivery::bell::is_readable;

        let batches = Batches::new(false);
        let mailbox =
            Mailbox::for_batches("posts/*".into(), Limits::default(), batches.clone(), Queued::default());
        let descriptor = batches.descriptor().unwrap();
        mailbox.ready();
        mailbox.pause(true);
        batches.enqueue(mailbox.clone());
        assert!(is_readable(&descriptor));
        let mut batch = Vec::new();
        assert_eq!(batches.take(&mut batch, 10, Some(Instant::now())).unwrap(), 0);
        assert!(!is_readable(&descriptor), "there is nothing to take");
        mailbox.end(None);
        mailbox.wake();
        assert!(is_readable(&descriptor), "and it tells of what comes next");
    }

    /// Taking locks the queue and then a mailbox in it, so waking a mailbox must not lock them the other way round: the two
    /// would wait for each other for ever.
    #[test]
    fn a_listener_that_ends_waits_for_nobody_who_takes() {
        let batches = Batches::new(false);
        let limits = Limits::default();
        let mailbox = Mailbox::for_batches("posts/*".into(), limits, batches.clone(), Queued::default());
        mailbox.ready();
        mailbox.end(None);
        // It is in the queue now, and the next wake-up needs nothing of it.
        mailbox.wake();
        let (done, finished) = mpsc::channel();
        batches.inbox.look(|_| {
            thread::spawn(move || {
                mailbox.wake();
                done.send(()).unwrap();
            });
            finished.recv_timeout(Duration::from_secs(20)).expect("it waits for the lock of the queue");
        });
        let mut batch = Vec::new();
        assert_eq!(batches.take(&mut batch, 10, None).unwrap(), 1);
        assert!(matches!(batch[..], [Item::Ended { why: None, .. }]));
    }
}
