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

/// The state of a client's connection. With many topics a client keeps more than one stream; the state is that of the
/// one that is worst off.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Something that this library's header did not know; also for NULL and in a forked child.
    Unknown = 0,
    /// Nothing is subscribed, so nothing is connected.
    Idle = 1,
    /// A stream is being opened or its topics are being submitted.
    Connecting = 2,
    /// The stream is up and its topics are acknowledged.
    Live = 3,
    /// The stream is up, but the server takes the client for a guest although it has a token.
    Unauthenticated = 4,
    /// The connection failed and will be tried again.
    Waiting = 5,
    /// There has been no connection for more than two minutes. The client goes on trying.
    Suspended = 6,
    /// The end: the client was closed, or the server gave an answer that trying again will not change, see
    /// tidings_state_info_error(). After the latter a new subscription makes a new try.
    Closed = 7,
}

/// A tidings_state as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawState(c_int);

/// Why a connection ended or could not be made.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is none to tell.
    None = 0,
    /// The server ended the stream in an orderly way: its idle or life limit, or a shutdown.
    EndedByServer = 1,
    /// The network failed, or what answered is no event stream.
    Lost = 2,
    /// Nothing was heard for too long.
    Silence = 3,
    /// The server refused the connection or the topics.
    Refused = 4,
    /// The server does not know the stream any more, or knows it as another's.
    StreamRejected = 5,
    /// The token was replaced by that of another user.
    IdentityChanged = 6,
    /// The network changed or the machine slept: the connection may be dead.
    Suspected = 7,
    /// The token has expired.
    TokenExpired = 8,
    /// The server does not take the token any more.
    TokenRevoked = 9,
    /// Something else; the text says what.
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

/// A state with all that is to be said of it. It never changes.
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

/// Called with each change of the state.
pub type StateCallback = Option<extern "C" fn(state: &StateInfo, user_data: *mut c_void)>;

/// Called when an open stream is gone, with the topics that are still wanted: with none the client has let go of the
/// connection itself, otherwise it is about to reconnect.
pub type DisconnectCallback = Option<extern "C" fn(topics: &Strings, user_data: *mut c_void)>;

/// The state of now, for hosts that poll.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_state(client: Option<&Client>) -> State {
    value(State::Unknown, || Some(kind(&client?.get().get().ok()?.state())))
}

/// The state of now, with its reason.
///
/// Threads: any. `*state` is yours: free it with tidings_state_info_free(). Returns TIDINGS_ERR_FORKED in a forked child.
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

/// Sets what to call with each change of the state. It replaces the callback before it, and NULL takes that away. The
/// state given to it belongs to the call.
///
/// Threads: any. `user_data` passes to the client. Returns TIDINGS_ERR_CLOSED when it will never be called, and
/// TIDINGS_ERR_NETWORK when the system gives no thread.
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

/// Sets what to call when an open stream is gone. It replaces the callback before it, and NULL takes that away. The list
/// given to it belongs to the call.
///
/// Threads: any. `user_data` passes to the client. Failure: as tidings_client_on_state().
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

/// Which state it is.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_state(state: Option<&StateInfo>) -> State {
    value(State::Unknown, || Some(state?.state))
}

/// Why the connection is not there.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_reason(state: Option<&StateInfo>) -> Reason {
    value(Reason::None, || Some(state?.reason))
}

/// State and reason in one line for people.
///
/// Threads: any. The text belongs to the state.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_text(state: Option<&StateInfo>) -> *const c_char {
    value(ptr::null(), || Some(state?.text.as_ptr()))
}

/// The error behind the reason; NULL if there is none.
///
/// Threads: any. The error belongs to the state.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_error(state: Option<&StateInfo>) -> Option<&Error> {
    value(None, || Some(state?.error.as_ref()))
}

/// With TIDINGS_STATE_WAITING, in how many milliseconds from now the next try begins; -1 otherwise.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_retry_in_ms(state: Option<&StateInfo>) -> i64 {
    value(-1, || {
        let retry_at = state?.retry_at?;
        Some(milliseconds(Some(retry_at.saturating_duration_since(Instant::now()))))
    })
}

/// With TIDINGS_STATE_SUSPENDED, for how many milliseconds until now there has been no connection; -1 otherwise.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_offline_ms(state: Option<&StateInfo>) -> i64 {
    value(-1, || Some(milliseconds(Some(state?.since?.elapsed()))))
}

/// Frees what tidings_client_state_info() gave.
///
/// Threads: one at a time. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_state_info_free(state: Option<Box<StateInfo>>) {
    free(state);
}

/// The name of a state in lower case, such as "live"; "unknown" for any other number. Never NULL.
///
/// Threads: any. The text is static.
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

/// The name of a reason in lower case, such as "ended_by_server"; "unknown" for any other number. Never NULL.
///
/// Threads: any. The text is static.
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
