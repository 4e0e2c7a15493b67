//! What a call fails with

use std::{
    ffi::{CStr, CString},
    sync::OnceLock,
};

use tidings_core::{Error as Cause, Refusal};

use crate::text::c_text;

/// What became of a call. The numbers never change.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It succeeded.
    Ok = 0,
    /// An argument is NULL that may not be.
    ErrNullArgument = 1,
    /// A text is not UTF-8.
    ErrInvalidUtf8 = 2,
    /// An option, header, token or other argument cannot be used.
    ErrInvalidArgument = 3,
    /// The URL of the server cannot be used.
    ErrInvalidUrl = 4,
    /// The topic cannot be subscribed to.
    ErrInvalidTopic = 5,
    /// The backend cannot do this.
    ErrUnsupported = 6,
    /// The server answered, and its answer was no: see tidings_error_http_status().
    ErrRefused = 7,
    /// The token callback failed.
    ErrTokenProvider = 8,
    /// The server could not be reached, or the connection broke.
    ErrNetwork = 9,
    /// It took longer than it may.
    ErrTimeout = 10,
    /// What answered does not speak the expected protocol.
    ErrProtocol = 11,
    /// The client or source is closed.
    ErrClosed = 12,
    /// The object was made by the process that this one was forked from.
    ErrForked = 13,
    /// The library has a bug.
    ErrPanic = 14,
    /// Something else; the message says what.
    ErrOther = 15,
}

impl Status {
    fn of(cause: &Cause) -> Self {
        match cause {
            Cause::InvalidUrl { .. } => Self::ErrInvalidUrl,
            Cause::InvalidTopic { .. } => Self::ErrInvalidTopic,
            Cause::InvalidArgument { .. } => Self::ErrInvalidArgument,
            Cause::Unsupported { .. } => Self::ErrUnsupported,
            Cause::Refused(_) => Self::ErrRefused,
            Cause::TokenProvider(_) => Self::ErrTokenProvider,
            Cause::Network(_) => Self::ErrNetwork,
            Cause::Timeout { .. } => Self::ErrTimeout,
            Cause::Protocol(_) => Self::ErrProtocol,
            Cause::Closed => Self::ErrClosed,
            Cause::Forked => Self::ErrForked,
            _ => Self::ErrOther,
        }
    }

    pub(crate) const NAMES: [(Self, &CStr); 16] = [
        (Self::Ok, c"TIDINGS_OK"),
        (Self::ErrNullArgument, c"TIDINGS_ERR_NULL_ARGUMENT"),
        (Self::ErrInvalidUtf8, c"TIDINGS_ERR_INVALID_UTF8"),
        (Self::ErrInvalidArgument, c"TIDINGS_ERR_INVALID_ARGUMENT"),
        (Self::ErrInvalidUrl, c"TIDINGS_ERR_INVALID_URL"),
        (Self::ErrInvalidTopic, c"TIDINGS_ERR_INVALID_TOPIC"),
        (Self::ErrUnsupported, c"TIDINGS_ERR_UNSUPPORTED"),
        (Self::ErrRefused, c"TIDINGS_ERR_REFUSED"),
        (Self::ErrTokenProvider, c"TIDINGS_ERR_TOKEN_PROVIDER"),
        (Self::ErrNetwork, c"TIDINGS_ERR_NETWORK"),
        (Self::ErrTimeout, c"TIDINGS_ERR_TIMEOUT"),
        (Self::ErrProtocol, c"TIDINGS_ERR_PROTOCOL"),
        (Self::ErrClosed, c"TIDINGS_ERR_CLOSED"),
        (Self::ErrForked, c"TIDINGS_ERR_FORKED"),
        (Self::ErrPanic, c"TIDINGS_ERR_PANIC"),
        (Self::ErrOther, c"TIDINGS_ERR_OTHER"),
    ];
}

/// Why a call failed, a subscription ended or a connection is not there. It never changes.
pub struct Error {
    pub(crate) status: Status,
    pub(crate) message: CString,
    pub(crate) refusal: Option<Refusal>,
    /// The body of the refusal with a NUL after it, made when first asked for.
    pub(crate) body: OnceLock<Box<[u8]>>,
}

impl Error {
    pub(crate) fn new(status: Status, message: impl Into<Vec<u8>>) -> Self {
        Self { status, message: c_text(message), refusal: None, body: OnceLock::new() }
    }

    pub(crate) fn null(argument: &str) -> Self {
        Self::new(Status::ErrNullArgument, format!("{argument} is NULL"))
    }

    pub(crate) fn not_utf8(argument: &str) -> Self {
        Self::new(Status::ErrInvalidUtf8, format!("{argument} is not UTF-8"))
    }

    pub(crate) fn argument(argument: &str, reason: &str) -> Self {
        Self::new(Status::ErrInvalidArgument, format!("invalid {argument}: {reason}"))
    }
}

impl From<&Cause> for Error {
    fn from(cause: &Cause) -> Self {
        let refusal = cause.refusal().cloned();
        Self { refusal, ..Self::new(Status::of(cause), cause.to_string()) }
    }
}

impl From<Cause> for Error {
    fn from(cause: Cause) -> Self {
        Self::from(&cause)
    }
}
