//! What a call fails with

use std::{
    ffi::{CStr, CString},
    sync::OnceLock,
};

use tidings_core::{Cut, Error as Cause, Refusal};

use crate::text::{Texts, c_text};

/// The result of a call. The numbers never change.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The call succeeded.
    Ok = 0,
    /// An argument that must not be NULL is NULL.
    ErrNullArgument = 1,
    /// A text is not UTF-8.
    ErrInvalidUtf8 = 2,
    /// An option, header, token or other argument has an invalid value.
    ErrInvalidArgument = 3,
    /// The URL of the server is invalid.
    ErrInvalidUrl = 4,
    /// The topic is invalid: it is empty, too long, or has control characters.
    ErrInvalidTopic = 5,
    /// The backend does not support this.
    ErrUnsupported = 6,
    /// The server refused the request: see tidings_error_http_status().
    ErrRefused = 7,
    /// The token callback failed.
    ErrTokenProvider = 8,
    /// The server could not be reached, the connection broke, or the system ran out of threads or descriptors.
    ErrNetwork = 9,
    /// The timeout expired.
    ErrTimeout = 10,
    /// The answer is not in the expected protocol.
    ErrProtocol = 11,
    /// The client or event source is closed.
    ErrClosed = 12,
    /// The object belongs to the parent process: this process was forked from it.
    ErrForked = 13,
    /// The library has a bug.
    ErrPanic = 14,
    /// Any other error; the message says which.
    ErrOther = 15,
}

impl Status {
    fn of(cause: &Cause) -> Self {
        match cause.cut().map_or(cause, Cut::why) {
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
            // What gave up is of the kind of what made it so.
            Cause::GaveUp { why, .. } => Self::of(why),
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

/// Why a call failed, a subscription ended or a connection is down. Immutable.
pub struct Error {
    pub(crate) status: Status,
    pub(crate) message: CString,
    pub(crate) refusal: Option<Refusal>,
    /// The body of the refusal with a NUL after it, made when first asked for.
    pub(crate) body: OnceLock<Box<[u8]>>,
    /// Names and values of headers, made when first asked for.
    pub(crate) headers: Texts,
    /// Of an event source whose answer was cut.
    pub(crate) messages: Option<u64>,
}

impl Error {
    pub(crate) fn new(status: Status, message: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            message: c_text(message),
            refusal: None,
            body: OnceLock::new(),
            headers: Texts::default(),
            messages: None,
        }
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
        let messages = cause.cut().map(Cut::messages);
        Self { refusal, messages, ..Self::new(Status::of(cause), cause.to_string()) }
    }
}

impl From<Cause> for Error {
    fn from(cause: Cause) -> Self {
        Self::from(&cause)
    }
}
