//! Events

use std::{
    ffi::{CStr, CString, c_char, c_int},
    mem::MaybeUninit,
    ptr,
    sync::{Arc, OnceLock},
    time::{Instant, SystemTime},
};

use serde_json::value::RawValue;
use tidings_core::{Action as Told, GapReason as Made, blocking::Item};

use crate::{
    border::{free, name_of, put, value},
    failure::Error,
    state::StateInfo,
    strings::Strings,
    text::c_text,
};

/// What an event tells. From TIDINGS_ACTION_GAP on it is a notice of the client: without them, silence and loss would
/// look alike.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Something that this library's header did not know, or NULL.
    Unknown = 0,
    /// A record was created.
    Create = 1,
    /// A record was updated, or began to match the filter.
    Update = 2,
    /// A record was deleted.
    Delete = 3,
    /// A stream was (re)established and all topics are acknowledged on it: the topic PB_CONNECT.
    Connect = 4,
    /// A message without one of the three record actions, such as one that a server hook sent.
    Custom = 5,
    /// Changes may have been missed. The subscription is live again: list the records now, and what you show is right.
    Gap = 6,
    /// Events were dropped because the listener did not keep up: see tidings_event_lagged().
    Lagged = 7,
    /// The server refused the subscription or took it back: see tidings_event_error(). No other change comes. A call that
    /// waits for the server's answer returns the error itself, and no event tells of it.
    Refused = 8,
    /// Only in the queue: the last event of a subscription, with the error that ended it, if it was one.
    Ended = 9,
    /// Only in the queue, and if wanted: the state of the connection has changed, see tidings_event_state().
    State = 10,
    /// Only in the queue, and if wanted: an open stream is gone, see tidings_event_topics().
    Disconnected = 11,
}

/// A tidings_action as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawAction(c_int);

/// What made a gap.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// The event is no gap.
    None = 0,
    /// The connection was down.
    Disconnected = 1,
    /// The client became somebody else.
    IdentityChanged = 2,
    /// A message was larger than the limit and was dropped.
    TooLarge = 3,
    /// Something that this library's header did not know.
    Other = 4,
}

/// A tidings_gap_reason as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawGapReason(c_int);

/// One thing told to a listener: a change of a record, a custom message, or a notice. It never changes.
pub struct Event {
    subscription: u64,
    content: Content,
    /// As C wants them, made when first asked for.
    topic: OnceLock<CString>,
    name: OnceLock<CString>,
    record_id: OnceLock<Option<CString>>,
    record: OnceLock<Option<CString>>,
    json: OnceLock<Option<CString>>,
    error: OnceLock<Option<Box<Error>>>,
}

#[derive(Clone)]
enum Content {
    Told(tidings_core::Event),
    Ended(Option<tidings_core::Error>),
    State(Arc<StateInfo>),
    Disconnected(Arc<Strings>),
}

impl Event {
    pub(crate) fn new(subscription: u64, event: tidings_core::Event) -> Self {
        Self::with(subscription, Content::Told(event))
    }

    /// `None` for what this library never asked for.
    pub(crate) fn from_item(item: Item) -> Option<Self> {
        Some(match item {
            Item::Event { subscription, event } => Self::new(subscription, event),
            Item::Ended { subscription, why } => Self::with(subscription, Content::Ended(why)),
            Item::State(state) => Self::with(0, Content::State(Arc::new(StateInfo::new(&state)))),
            Item::Disconnected(topics) => {
                Self::with(0, Content::Disconnected(Arc::new(Strings::from_iter(topics))))
            }
            _ => return None,
        })
    }

    fn with(subscription: u64, content: Content) -> Self {
        Self {
            subscription,
            content,
            topic: OnceLock::new(),
            name: OnceLock::new(),
            record_id: OnceLock::new(),
            record: OnceLock::new(),
            json: OnceLock::new(),
            error: OnceLock::new(),
        }
    }

    fn told(&self) -> Option<&tidings_core::Event> {
        match &self.content {
            Content::Told(event) => Some(event),
            _ => None,
        }
    }

    fn record(&self) -> Option<&CStr> {
        let make = || {
            let record: Box<RawValue> = self.told()?.record().ok()?;
            Some(c_text(record.get()))
        };
        self.record.get_or_init(make).as_deref()
    }

    fn json(&self) -> Option<&CStr> {
        let make = || Some(c_text(&*self.told()?.json_text().ok()?));
        self.json.get_or_init(make).as_deref()
    }

    fn action(&self) -> Action {
        match &self.content {
            Content::Told(event) => match event.action() {
                Told::Create => Action::Create,
                Told::Update => Action::Update,
                Told::Delete => Action::Delete,
                Told::Connect => Action::Connect,
                Told::Custom => Action::Custom,
                Told::Gap => Action::Gap,
                Told::Lagged(_) => Action::Lagged,
                Told::Refused => Action::Refused,
                _ => Action::Unknown,
            },
            Content::Ended(_) => Action::Ended,
            Content::State(_) => Action::State,
            Content::Disconnected(_) => Action::Disconnected,
        }
    }
}

/// What the event tells.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_action(event: Option<&Event>) -> Action {
    value(Action::Unknown, || Some(event?.action()))
}

/// The name of an action in lower case, such as "create"; "unknown" for any other number. Never NULL.
///
/// Threads: any. The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_action_name(action: RawAction) -> *const c_char {
    const NAMES: [&CStr; 12] = [
        c"unknown",
        c"create",
        c"update",
        c"delete",
        c"connect",
        c"custom",
        c"gap",
        c"lagged",
        c"refused",
        c"ended",
        c"state",
        c"disconnected",
    ];
    name_of(action.0, &NAMES)
}

/// Whether the client speaks here (from TIDINGS_ACTION_GAP on), and not the server.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_is_notice(event: Option<&Event>) -> bool {
    value(false, || Some(event?.told().is_none_or(tidings_core::Event::is_notice)))
}

/// The id of the subscription that the event is for; 0 for TIDINGS_ACTION_STATE and TIDINGS_ACTION_DISCONNECTED. A callback
/// may learn its own id here before tidings_client_subscribe() has returned it.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_subscription(event: Option<&Event>) -> u64 {
    value(0, || Some(event?.subscription))
}

/// The topic as it stands on the wire, options included, such as "posts/*"; NULL from TIDINGS_ACTION_ENDED on.
///
/// Threads: any. The text belongs to the event.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_topic(event: Option<&Event>) -> *const c_char {
    value(ptr::null(), || {
        let (event, told) = (event?, event?.told()?);
        Some(event.topic.get_or_init(|| c_text(told.topic())).as_ptr())
    })
}

/// The name of the event as the server sent it: with PocketBase the topic, with RustBaaS "record_created" and the like, or
/// the type of a custom message. For notices the topic, and NULL where there is none.
///
/// Threads: any. The text belongs to the event.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_name(event: Option<&Event>) -> *const c_char {
    value(ptr::null(), || {
        let (event, told) = (event?, event?.told()?);
        Some(event.name.get_or_init(|| c_text(told.name())).as_ptr())
    })
}

/// The id of the record; NULL when the event is about no record, or its id was left out by `fields`.
///
/// Threads: any. The text belongs to the event.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_record_id(event: Option<&Event>) -> *const c_char {
    value(ptr::null(), || {
        let event = event?;
        let id = event.record_id.get_or_init(|| event.told()?.record_id().map(c_text));
        id.as_deref().map(CStr::as_ptr)
    })
}

/// The record as JSON text; NULL when there is none. With RustBaaS, its fields stand beside its id, as with PocketBase.
///
/// Threads: any. The text belongs to the event.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_record(event: Option<&Event>) -> *const c_char {
    value(ptr::null(), || Some(event?.record()?.as_ptr()))
}

/// The length of tidings_event_record() in bytes; 0 when that is NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_record_len(event: Option<&Event>) -> usize {
    value(0, || Some(event?.record()?.count_bytes()))
}

/// The whole payload as JSON text: for changes of records {"action": ..., "record": {...}}, whatever the backend. NULL for
/// notices, and when a server hook sent something else than JSON: see tidings_event_data().
///
/// Threads: any. The text belongs to the event.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_json(event: Option<&Event>) -> *const c_char {
    value(ptr::null(), || Some(event?.json()?.as_ptr()))
}

/// The length of tidings_event_json() in bytes; 0 when that is NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_json_len(event: Option<&Event>) -> usize {
    value(0, || Some(event?.json()?.count_bytes()))
}

/// The payload as received, without a copy, with a NUL after it, and in `*len`, which may be NULL, its length without that.
/// NULL and 0 for notices. It is UTF-8 that may hold any character, also a NUL.
///
/// Threads: any. The bytes belong to the event.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_data(
    event: Option<&Event>,
    len: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    let data = value(None, || Some(event?.told()?.raw_with_nul()));
    put(len, data.map_or(0, |data| data.len() - 1));
    data.map_or(ptr::null(), |data| data.as_ptr().cast())
}

/// With TIDINGS_ACTION_LAGGED, how many events were dropped; 0 otherwise.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_lagged(event: Option<&Event>) -> u64 {
    value(0, || match event?.told()?.action() {
        Told::Lagged(lost) => Some(lost),
        _ => None,
    })
}

/// With TIDINGS_ACTION_GAP, what made it.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_gap_reason(event: Option<&Event>) -> GapReason {
    value(GapReason::None, || {
        Some(match event?.told()?.gap()?.reason {
            Made::Disconnected => GapReason::Disconnected,
            Made::IdentityChanged => GapReason::IdentityChanged,
            Made::TooLarge => GapReason::TooLarge,
            _ => GapReason::Other,
        })
    })
}

/// The name of a gap's reason in lower case, such as "disconnected"; "unknown" for any other number. Never NULL.
///
/// Threads: any. The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_gap_reason_name(reason: RawGapReason) -> *const c_char {
    name_of(reason.0, &[c"none", c"disconnected", c"identity_changed", c"too_large", c"other"])
}

/// With TIDINGS_ACTION_GAP, since when changes may have been missed, in milliseconds of Unix time by the clock of this
/// machine, which may differ from the server's; -1 otherwise.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_gap_since_ms(event: Option<&Event>) -> i64 {
    value(-1, || unix_ms(event?.told()?.gap()?.since))
}

/// With TIDINGS_ACTION_GAP, when the server acknowledged the subscription again, in milliseconds of Unix time by the clock
/// of this machine; -1 otherwise.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_gap_until_ms(event: Option<&Event>) -> i64 {
    value(-1, || unix_ms(event?.told()?.gap()?.until))
}

fn unix_ms(at: Instant) -> Option<i64> {
    let at = SystemTime::now().checked_sub(at.elapsed())?;
    i64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// With TIDINGS_ACTION_GAP, how many milliseconds it lasted; -1 otherwise.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_gap_duration_ms(event: Option<&Event>) -> i64 {
    value(-1, || i64::try_from(event?.told()?.gap()?.duration().as_millis()).ok())
}

/// With TIDINGS_ACTION_REFUSED and TIDINGS_ACTION_ENDED, why; NULL otherwise, and when you have ended the subscription.
///
/// Threads: any. The error belongs to the event.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_error(event: Option<&Event>) -> Option<&Error> {
    value(None, || {
        let event = event?;
        let error = event.error.get_or_init(|| {
            let why = match &event.content {
                Content::Told(event) => event.error(),
                Content::Ended(why) => why.as_ref(),
                _ => None,
            };
            why.map(|why| Box::new(Error::from(why)))
        });
        Some(error.as_deref())
    })
}

/// With TIDINGS_ACTION_STATE, the state; NULL otherwise.
///
/// Threads: any. It belongs to the event.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_state(event: Option<&Event>) -> Option<&StateInfo> {
    value(None, || match &event?.content {
        Content::State(state) => Some(Some(&**state)),
        _ => None,
    })
}

/// With TIDINGS_ACTION_DISCONNECTED, the topics that are still wanted: with none the client has let go of the connection
/// itself, otherwise it is about to reconnect. NULL otherwise.
///
/// Threads: any. The list belongs to the event.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_topics(event: Option<&Event>) -> Option<&Strings> {
    value(None, || match &event?.content {
        Content::Disconnected(topics) => Some(Some(&**topics)),
        _ => None,
    })
}

/// The same event once more, for keeping it longer than the callback or the batch; NULL for NULL. The payload is shared
/// and not copied.
///
/// Threads: any. The clone is yours: free it with tidings_event_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_clone(event: Option<&Event>) -> Option<Box<Event>> {
    value(None, || {
        let event = event?;
        Some(Some(Box::new(Event::with(event.subscription, event.content.clone()))))
    })
}

/// Frees an event that tidings_event_clone() gave.
///
/// Threads: one at a time. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_free(event: Option<Box<Event>>) {
    free(event);
}
