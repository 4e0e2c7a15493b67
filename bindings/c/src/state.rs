//! The state of the connection

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    mem::MaybeUninit,
    ptr,
    time::Instant,
};

use crate::{
    border::{DropCallback, ErrorOut, UserData, answer, free, given, milliseconds, name_of, value},
    failure::{Error, Status},
    handle::Client,
    strings::Strings,
    text::c_text,
};

/// The state of a client's connection. A client with many topics has several streams; this is the worst state among
/// them.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A state that this version of the header does not know; also for NULL and in a forked child.
    Unknown = 0,
    /// There are no subscriptions, so there is no connection.
    Idle = 1,
    /// A stream is being opened, or its topics are being submitted.
    Connecting = 2,
    /// The stream is open, and the topics that it was opened for are acknowledged. A topic that was added since may
    /// still be pending or be refused: that is the state of its subscription, see tidings_client_subscription_state().
    Live = 3,
    /// The stream is open, but the server treats the client as a guest although it has a token.
    Unauthenticated = 4,
    /// The connection failed; the client will try again.
    Waiting = 5,
    /// There has been no connection for more than two minutes. The client keeps trying.
    Suspended = 6,
    /// Final: the client was closed, or the server gave an answer that trying again will not change, see
    /// tidings_state_info_error(). In the second case a new subscription connects again.
    Closed = 7,
}

/// A tidings_state as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawState(c_int);

/// Why a connection ended or could not be established.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is no reason to report.
    None = 0,
    /// The server ended the stream in an orderly way: an idle limit, a lifetime limit, or a shutdown.
    EndedByServer = 1,
    /// The network failed, or the answer was not an event stream.
    Lost = 2,
    /// Nothing was received for too long.
    Silence = 3,
    /// The server refused the connection or the topics.
    Refused = 4,
    /// The server no longer knows the stream, or attributes it to another client.
    StreamRejected = 5,
    /// The token was replaced by that of another user.
    IdentityChanged = 6,
    /// The network changed or the machine slept, so the connection may be dead.
    Suspected = 7,
    /// The token has expired.
    TokenExpired = 8,
    /// The server no longer accepts the token.
    TokenRevoked = 9,
    /// Any other reason; the text says which.
    Other = 10,
}

/// A tidings_reason as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawReason(c_int);

impl Reason {
    pub(crate) fn of(reason: &tidings_core::Reason) -> Self {
        match reason {
            tidings_core::Reason::EndedByServer => Self::EndedByServer,
            tidings_core::Reason::Lost(_) => Self::Lost,
            tidings_core::Reason::Silence(_) => Self::Silence,
            tidings_core::Reason::Refused(_) => Self::Refused,
            tidings_core::Reason::StreamRejected(_) => Self::StreamRejected,
            tidings_core::Reason::IdentityChanged => Self::IdentityChanged,
            tidings_core::Reason::Suspected => Self::Suspected,
            tidings_core::Reason::TokenExpired => Self::TokenExpired,
            tidings_core::Reason::TokenRevoked => Self::TokenRevoked,
            _ => Self::Other,
        }
    }
}

/// A state with its details. Immutable.
pub struct StateInfo {
    state: State,
    reason: Reason,
    text: CString,
    error: Option<Error>,
    retry_at: Option<Instant>,
    since: Option<Instant>,
}

impl StateInfo {
    pub(crate) fn new(state: &tidings_core::State) -> Self {
        use tidings_core::State as Core;

        let plain = |kind| Self {
            state: kind,
            reason: Reason::None,
            text: c_text(state.to_string()),
            error: None,
            retry_at: None,
            since: None,
        };
        let why = |state, why: &tidings_core::Reason| Self {
            reason: Reason::of(why),
            error: why.error().map(Error::from),
            ..plain(state)
        };
        match state {
            Core::Idle => plain(State::Idle),
            Core::Connecting => plain(State::Connecting),
            Core::Live => plain(State::Live),
            Core::Unauthenticated { why: reason } => why(State::Unauthenticated, reason),
            Core::Waiting { until, why: reason } => {
                Self { retry_at: Some(*until), ..why(State::Waiting, reason) }
            }
            Core::Suspended { since, why: reason } => {
                Self { since: Some(*since), ..why(State::Suspended, reason) }
            }
            Core::Closed { why: None } => plain(State::Closed),
            Core::Closed { why: Some(error) } => {
                Self { reason: Reason::Refused, error: Some(error.into()), ..plain(State::Closed) }
            }
            _ => plain(State::Unknown),
        }
    }
}

pub(crate) fn kind(state: &tidings_core::State) -> State {
    use tidings_core::State as Core;
    match state {
        Core::Idle => State::Idle,
        Core::Connecting => State::Connecting,
        Core::Live => State::Live,
        Core::Unauthenticated { .. } => State::Unauthenticated,
        Core::Waiting { .. } => State::Waiting,
        Core::Suspended { .. } => State::Suspended,
        Core::Closed { .. } => State::Closed,
        _ => State::Unknown,
    }
}

/// Called with each change of the state. The state belongs to the call.
pub type StateCallback = Option<extern "C" fn(state: &StateInfo, user_data: *mut c_void)>;

/// Called when an open stream is gone, with the topics that are still subscribed. If there are none, the client closed
/// the stream itself; otherwise it is about to reconnect. The list belongs to the call.
pub type DisconnectCallback = Option<extern "C" fn(topics: &Strings, user_data: *mut c_void)>;

/// The current state.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_state(client: Option<&Client>) -> State {
    value(State::Unknown, || Some(kind(&client?.get().get().ok()?.state())))
}

/// The current state with its details.
///
/// Threads: any. `*state` is yours: free it with tidings_state_info_free(). Returns TIDINGS_ERR_FORKED in a forked
/// child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_state_info(
    client: Option<&Client>,
    state: Option<&mut MaybeUninit<Option<Box<StateInfo>>>>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let state = given(state, "state")?;
        state.write(None);
        let now = given(client, "client")?.get().get()?.state();
        state.write(Some(Box::new(StateInfo::new(&now))));
        Ok(())
    })
}

/// Sets the callback for changes of the state, and replaces the previous one; NULL removes it. It runs on the callback
/// thread, so a callback that blocks delays it: it reports every state in order, and tidings_client_state() the current
/// one. It is not called for TIDINGS_STATE_CLOSED after a tidings_client_close() of your own. A topic that is refused
/// is no change of the state: see TIDINGS_ACTION_REFUSED.
///
/// Threads: any. The client owns `user_data`. Returns TIDINGS_ERR_CLOSED, and TIDINGS_ERR_NETWORK when a thread cannot
/// be started.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_on_state(
    client: Option<&Client>,
    callback: StateCallback,
    user_data: *mut c_void,
    drop: DropCallback,
    error: ErrorOut<'_>,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    answer(error, || {
        let client = given(client, "client")?;
        client.open()?;
        match callback {
            Some(callback) => {
                client.get().on_state(move |state| callback(&StateInfo::new(state), user_data.pointer()))?
            }
            None => client.get().on_state(|_| {})?,
        }
        Ok(())
    })
}

/// Sets the callback for lost and closed streams, and replaces the previous one; NULL removes it.
///
/// Threads, ownership and errors: as tidings_client_on_state().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_on_disconnect(
    client: Option<&Client>,
    callback: DisconnectCallback,
    user_data: *mut c_void,
    drop: DropCallback,
    error: ErrorOut<'_>,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    answer(error, || {
        let realtime = given(client, "client")?.open()?.realtime();
        match callback {
            Some(callback) => realtime.on_disconnect(move |topics| {
                let topics = topics.iter().map(String::as_str).collect::<Strings>();
                callback(&topics, user_data.pointer());
            })?,
            None => realtime.on_disconnect(|_| {})?,
        }
        Ok(())
    })
}

/// The state itself.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_state(state: Option<&StateInfo>) -> State {
    value(State::Unknown, || Some(state?.state))
}

/// Why the connection is down.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_reason(state: Option<&StateInfo>) -> Reason {
    value(Reason::None, || Some(state?.reason))
}

/// The state with its reason, as text for people, such as "live".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_text(state: Option<&StateInfo>) -> *const c_char {
    value(ptr::null(), || Some(state?.text.as_ptr()))
}

/// The error behind the reason; NULL if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_error(state: Option<&StateInfo>) -> Option<&Error> {
    value(None, || Some(state?.error.as_ref()))
}

/// With TIDINGS_STATE_WAITING, in how many milliseconds from now the next attempt starts; otherwise -1.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_retry_in_ms(state: Option<&StateInfo>) -> i64 {
    value(-1, || {
        let retry_at = state?.retry_at?;
        Some(milliseconds(Some(retry_at.saturating_duration_since(Instant::now()))))
    })
}

/// With TIDINGS_STATE_SUSPENDED, for how many milliseconds until now there has been no connection; otherwise -1.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_offline_ms(state: Option<&StateInfo>) -> i64 {
    value(-1, || Some(milliseconds(Some(state?.since?.elapsed()))))
}

/// Frees a state.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_free(state: Option<Box<StateInfo>>) {
    free(state);
}

/// The name of a state, such as "live".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_name(state: RawState) -> *const c_char {
    const NAMES: [&CStr; 8] = [
        c"unknown",
        c"idle",
        c"connecting",
        c"live",
        c"unauthenticated",
        c"waiting",
        c"suspended",
        c"closed",
    ];
    name_of(state.0, &NAMES)
}

/// The name of a reason, such as "ended_by_server".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_reason_name(reason: RawReason) -> *const c_char {
    const NAMES: [&CStr; 11] = [
        c"none",
        c"ended_by_server",
        c"lost",
        c"silence",
        c"refused",
        c"stream_rejected",
        c"identity_changed",
        c"suspected",
        c"token_expired",
        c"token_revoked",
        c"other",
    ];
    name_of(reason.0, &NAMES)
}
