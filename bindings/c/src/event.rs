//! Events

use std::{
    borrow::Cow,
    ffi::{CStr, CString, c_char, c_int, c_void},
    mem::MaybeUninit,
    ptr,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use serde_json::value::RawValue;
use tidings_core::{
    Action as CoreAction, GapReason as CoreReason,
    blocking::{Answer, Item, Tag},
};

use crate::{
    border::{UserData, free, name_of, put, value},
    failure::Error,
    request::Response,
    state::StateInfo,
    strings::Strings,
    text::c_text,
};

/// What an event reports. From TIDINGS_ACTION_GAP on, it is a notice of the client: without notices, silence and loss
/// would look alike.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// An action that this version of the header does not know; also for NULL.
    Unknown = 0,
    /// A record was created.
    Create = 1,
    /// A record was updated, or began to match the filter.
    Update = 2,
    /// A record was deleted.
    Delete = 3,
    /// A stream was (re)established and all topics are acknowledged on it. Only for the topic PB_CONNECT.
    Connect = 4,
    /// A message without one of the three record actions, such as one sent by a server hook.
    Custom = 5,
    /// Changes may have been missed. The subscription is live again: list the records now to be up to date.
    Gap = 6,
    /// Events were dropped because the listener did not keep up: see tidings_event_lagged().
    Lagged = 7,
    /// The server refused the subscription or revoked it: see tidings_event_error(). This is its last event for a
    /// callback. A call that waits for the server's answer returns the error instead, without this event.
    Refused = 8,
    /// Queue only: the last event of a subscription, with the error that ended it, if any.
    Ended = 9,
    /// Queue only, if enabled: the state of the connection changed, see tidings_event_state().
    State = 10,
    /// Queue only, if enabled: an open stream is gone, see tidings_event_topics().
    Disconnected = 11,
    /// Queue only: a call that did not wait has ended, see tidings_event_call(). Then tidings_event_error() is NULL, or
    /// says why it failed.
    Completed = 12,
    /// Queue only: the server has acknowledged the topic. For tidings_client_subscribe_async(), and for a subscription
    /// with tidings_subscribe_options_set_wait(false); the first event of its subscription.
    Acknowledged = 13,
    /// Queue only: a view has changes to take, or has ended; tidings_event_subscription() is its id. See
    /// tidings_client_watch().
    Changed = 14,
}

/// A tidings_action as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawAction(c_int);

/// Why changes may have been missed.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// The event is not a gap.
    None = 0,
    /// The connection was down.
    Disconnected = 1,
    /// The client signed in as another user, or became a guest.
    IdentityChanged = 2,
    /// A message exceeded the size limit and was dropped.
    TooLarge = 3,
    /// A reason that this version of the header does not know.
    Other = 4,
}

/// A tidings_gap_reason as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawGapReason(c_int);

/// One event of a subscription: a change of a record, a custom message, or a notice. Immutable.
pub struct Event {
    subscription: u64,
    call: u64,
    tag: Option<Tag>,
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
    Event(tidings_core::Event),
    Ended(Option<tidings_core::Error>),
    State(Arc<StateInfo>),
    Disconnected(Arc<Strings>),
    Acknowledged,
    Changed,
    Completed(Result<Done, tidings_core::Error>),
}

/// What a call resulted in.
#[derive(Clone)]
enum Done {
    Response(Arc<Response>),
    LoggedIn(Arc<CString>),
    Other,
}

impl From<Answer> for Done {
    fn from(answer: Answer) -> Self {
        match answer.downcast::<tidings_core::Response>() {
            Ok(response) => Self::Response(Arc::new(Response::new(*response))),
            Err(answer) => match answer.downcast::<tidings_core::AuthResponse>() {
                Ok(login) => Self::LoggedIn(Arc::new(c_text(login.record.to_string()))),
                Err(_) => Self::Other,
            },
        }
    }
}

impl Event {
    pub(crate) fn new(subscription: u64, event: tidings_core::Event) -> Self {
        Self::with(subscription, Content::Event(event))
    }

    /// `None` for what this library never asked for.
    pub(crate) fn from_item(item: Item) -> Option<Self> {
        Some(match item {
            Item::Event { subscription, event, tag } => Self { tag, ..Self::new(subscription, event) },
            Item::Ended { subscription, why, tag } => {
                Self { tag, ..Self::with(subscription, Content::Ended(why)) }
            }
            Item::Acknowledged { subscription, tag } => {
                Self { tag, ..Self::with(subscription, Content::Acknowledged) }
            }
            Item::Completed { call, answer, tag } => {
                Self { call, tag, ..Self::with(0, Content::Completed(answer.map(Done::from))) }
            }
            Item::Changed { view, tag } => Self { tag, ..Self::with(view, Content::Changed) },
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
            call: 0,
            tag: None,
            content,
            topic: OnceLock::new(),
            name: OnceLock::new(),
            record_id: OnceLock::new(),
            record: OnceLock::new(),
            json: OnceLock::new(),
            error: OnceLock::new(),
        }
    }

    fn event(&self) -> Option<&tidings_core::Event> {
        match &self.content {
            Content::Event(event) => Some(event),
            _ => None,
        }
    }

    pub(crate) fn subscription(&self) -> u64 {
        self.subscription
    }

    pub(crate) fn call(&self) -> u64 {
        self.call
    }

    pub(crate) fn user_data(&self) -> *mut c_void {
        let user_data = self.tag.as_ref().and_then(|tag| tag.downcast_ref::<UserData>());
        user_data.map_or(ptr::null_mut(), UserData::pointer)
    }

    pub(crate) fn is_notice(&self) -> bool {
        self.event().is_none_or(tidings_core::Event::is_notice)
    }

    pub(crate) fn topic_text(&self) -> Option<&[u8]> {
        Some(self.event()?.topic().as_bytes())
    }

    pub(crate) fn id_text(&self) -> Option<&[u8]> {
        Some(self.event()?.record_id()?.as_bytes())
    }

    pub(crate) fn data(&self) -> Option<&[u8]> {
        self.event()?.raw_with_nul().and_then(|data| data.split_last()).map(|(_, data)| data)
    }

    pub(crate) fn record_text(&self) -> Option<Cow<'_, str>> {
        match &self.content {
            Content::Event(event) if !event.is_notice() => event.record_text().ok(),
            Content::Completed(Ok(Done::LoggedIn(record))) => record.to_str().ok().map(Cow::Borrowed),
            _ => None,
        }
    }

    fn record(&self) -> Option<&CStr> {
        if let Content::Completed(Ok(Done::LoggedIn(record))) = &self.content {
            return Some(record);
        }
        let make = || {
            let record: Box<RawValue> = self.event()?.record().ok()?;
            Some(c_text(record.get()))
        };
        self.record.get_or_init(make).as_deref()
    }

    fn json(&self) -> Option<&CStr> {
        let make = || Some(c_text(&*self.event()?.json_text().ok()?));
        self.json.get_or_init(make).as_deref()
    }

    pub(crate) fn action(&self) -> Action {
        match &self.content {
            Content::Event(event) => match event.action() {
                CoreAction::Create => Action::Create,
                CoreAction::Update => Action::Update,
                CoreAction::Delete => Action::Delete,
                CoreAction::Connect => Action::Connect,
                CoreAction::Custom => Action::Custom,
                CoreAction::Gap => Action::Gap,
                CoreAction::Lagged(_) => Action::Lagged,
                CoreAction::Refused => Action::Refused,
                _ => Action::Unknown,
            },
            Content::Ended(_) => Action::Ended,
            Content::State(_) => Action::State,
            Content::Disconnected(_) => Action::Disconnected,
            Content::Acknowledged => Action::Acknowledged,
            Content::Changed => Action::Changed,
            Content::Completed(_) => Action::Completed,
        }
    }
}

/// What the event reports.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_action(event: Option<&Event>) -> Action {
    value(Action::Unknown, || Some(event?.action()))
}

/// The name of an action, such as "create".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_action_name(action: RawAction) -> *const c_char {
    const NAMES: [&CStr; 15] = [
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
        c"completed",
        c"acknowledged",
        c"changed",
    ];
    name_of(action.0, &NAMES)
}

/// Whether the client generated this event (from TIDINGS_ACTION_GAP on), and not the server.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_is_notice(event: Option<&Event>) -> bool {
    value(false, || Some(event?.is_notice()))
}

/// The id of the subscription; 0 for TIDINGS_ACTION_STATE and TIDINGS_ACTION_DISCONNECTED. A callback may be called
/// with its id before tidings_client_subscribe() has returned it.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_subscription(event: Option<&Event>) -> u64 {
    value(0, || Some(event?.subscription))
}

/// With TIDINGS_ACTION_COMPLETED, the id of the call; otherwise 0.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_call(event: Option<&Event>) -> u64 {
    value(0, || Some(event?.call))
}

/// The `user_data` of the subscription or call whose event it is, as the queue delivers it. NULL for events of
/// a callback, which has it as its argument, and for notices of the client.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_user_data(event: Option<&Event>) -> *mut c_void {
    value(ptr::null_mut(), || Some(event?.user_data()))
}

/// With TIDINGS_ACTION_COMPLETED of tidings_client_send_async(), the response; otherwise NULL.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_response(event: Option<&Event>) -> Option<&Response> {
    value(None, || match &event?.content {
        Content::Completed(Ok(Done::Response(response))) => Some(Some(&**response)),
        _ => None,
    })
}

/// The topic as it is sent to the server, options included, such as "posts/*"; NULL from TIDINGS_ACTION_ENDED on.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_topic(event: Option<&Event>) -> *const c_char {
    value(ptr::null(), || {
        let (event, core) = (event?, event?.event()?);
        Some(event.topic.get_or_init(|| c_text(core.topic())).as_ptr())
    })
}

/// The event name that the server sent: with PocketBase the topic, with RustBaaS "record_created" and the like, or the
/// type of a custom message. For notices the topic, if there is one; otherwise NULL.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_name(event: Option<&Event>) -> *const c_char {
    value(ptr::null(), || {
        let (event, core) = (event?, event?.event()?);
        Some(event.name.get_or_init(|| c_text(core.name())).as_ptr())
    })
}

/// The id of the record; NULL if the event has no record, or `fields` left out the id.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_record_id(event: Option<&Event>) -> *const c_char {
    value(ptr::null(), || {
        let event = event?;
        let id = event.record_id.get_or_init(|| event.event()?.record_id().map(c_text));
        id.as_deref().map(CStr::as_ptr)
    })
}

/// The record as JSON text; NULL if there is none. With TIDINGS_ACTION_COMPLETED of a login, that of the user. With RustBaaS, its fields are beside its id, as with PocketBase.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_record(event: Option<&Event>) -> *const c_char {
    value(ptr::null(), || Some(event?.record()?.as_ptr()))
}

/// The length of tidings_event_record() in bytes; 0 when that is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_record_len(event: Option<&Event>) -> usize {
    value(0, || Some(event?.record()?.count_bytes()))
}

/// The whole payload as JSON text: for changes of records {"action": ..., "record": {...}}, with every backend. NULL
/// for notices, and for a payload that is not JSON, which a server hook can send: see tidings_event_data().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_json(event: Option<&Event>) -> *const c_char {
    value(ptr::null(), || Some(event?.json()?.as_ptr()))
}

/// The length of tidings_event_json() in bytes; 0 when that is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_json_len(event: Option<&Event>) -> usize {
    value(0, || Some(event?.json()?.count_bytes()))
}

/// The payload as received, without a copy; NULL for notices. `*len` is set to its length, or to 0; `len` may be NULL.
/// The payload is UTF-8 and may contain any character. A NUL that is not counted follows it.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_data(
    event: Option<&Event>,
    len: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    let data = value(None, || Some(event?.event()?.raw_with_nul()));
    put(len, data.map_or(0, |data| data.len() - 1));
    data.map_or(ptr::null(), |data| data.as_ptr().cast())
}

/// With TIDINGS_ACTION_LAGGED, the number of dropped events; otherwise 0.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_lagged(event: Option<&Event>) -> u64 {
    value(0, || match event?.event()?.action() {
        CoreAction::Lagged(lost) => Some(lost),
        _ => None,
    })
}

/// With TIDINGS_ACTION_GAP, why changes may have been missed.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_gap_reason(event: Option<&Event>) -> GapReason {
    value(GapReason::None, || {
        Some(match event?.event()?.gap()?.reason {
            CoreReason::Disconnected => GapReason::Disconnected,
            CoreReason::IdentityChanged => GapReason::IdentityChanged,
            CoreReason::TooLarge => GapReason::TooLarge,
            _ => GapReason::Other,
        })
    })
}

/// The name of a gap's reason, such as "disconnected".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_gap_reason_name(reason: RawGapReason) -> *const c_char {
    name_of(reason.0, &[c"none", c"disconnected", c"identity_changed", c"too_large", c"other"])
}

/// With TIDINGS_ACTION_GAP, the start of the time in which changes may have been missed, as Unix time in milliseconds;
/// otherwise -1. It is when the last complete message arrived, which on a quiet topic may be long before the loss. The
/// clock is that of this machine, which may differ from the server's.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_gap_since_ms(event: Option<&Event>) -> i64 {
    value(-1, || unix_ms(event?.event()?.gap()?.since_system_time()))
}

/// With TIDINGS_ACTION_GAP, the end of that time: when the server acknowledged the subscription again, as Unix time in
/// milliseconds; otherwise -1.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_gap_until_ms(event: Option<&Event>) -> i64 {
    value(-1, || {
        let gap = event?.event()?.gap()?;
        unix_ms(gap.since_system_time() + gap.duration())
    })
}

fn unix_ms(at: SystemTime) -> Option<i64> {
    i64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// With TIDINGS_ACTION_GAP, how long that time is, in milliseconds; otherwise -1.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_gap_duration_ms(event: Option<&Event>) -> i64 {
    value(-1, || i64::try_from(event?.event()?.gap()?.duration().as_millis()).ok())
}

/// With TIDINGS_ACTION_REFUSED and TIDINGS_ACTION_ENDED, why the subscription ended, and NULL if you ended it. With
/// TIDINGS_ACTION_COMPLETED, why the call failed, and NULL if it succeeded. NULL for other actions.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_error(event: Option<&Event>) -> Option<&Error> {
    value(None, || {
        let event = event?;
        let error = event.error.get_or_init(|| {
            let why = match &event.content {
                Content::Event(event) => event.error(),
                Content::Ended(why) => why.as_ref(),
                Content::Completed(answer) => answer.as_ref().err(),
                _ => None,
            };
            why.map(|why| Box::new(Error::from(why)))
        });
        Some(error.as_deref())
    })
}

/// With TIDINGS_ACTION_STATE, the new state; otherwise NULL.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_state(event: Option<&Event>) -> Option<&StateInfo> {
    value(None, || match &event?.content {
        Content::State(state) => Some(Some(&**state)),
        _ => None,
    })
}

/// With TIDINGS_ACTION_DISCONNECTED, the topics that are still subscribed: if there are none, the client closed the
/// stream itself; otherwise it is about to reconnect. NULL for other actions.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_topics(event: Option<&Event>) -> Option<&Strings> {
    value(None, || match &event?.content {
        Content::Disconnected(topics) => Some(Some(&**topics)),
        _ => None,
    })
}

/// Another reference to the same event, to keep it longer than the callback or the batch; NULL for NULL. The payload is
/// shared, not copied. The clone is yours: free it with tidings_event_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_clone(event: Option<&Event>) -> Option<Box<Event>> {
    value(None, || {
        let event = event?;
        let clone = Event::with(event.subscription, event.content.clone());
        Some(Some(Box::new(Event { call: event.call, tag: event.tag.clone(), ..clone })))
    })
}

/// Frees an event that tidings_event_clone() returned.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_event_free(event: Option<Box<Event>>) {
    free(event);
}
