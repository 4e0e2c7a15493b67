//! Errors

use std::{
    ffi::{c_char, c_int},
    mem::MaybeUninit,
    ptr,
};

use crate::{
    border::{free, milliseconds, put, value},
    failure::{Error, Status},
};

/// A tidings_status as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawStatus(c_int);

/// The name of a status, such as "TIDINGS_ERR_CLOSED"; "unknown" for any other number. Never NULL.
///
/// Threads: any. The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_status_name(status: RawStatus) -> *const c_char {
    let found = Status::NAMES.iter().find(|(known, _)| *known as c_int == status.0);
    found.map_or(c"unknown", |(_, name)| name).as_ptr()
}

/// What kind of error it is; TIDINGS_OK for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_status(error: Option<&Error>) -> Status {
    value(Status::Ok, || Some(error?.status))
}

/// The HTTP status with which the server refused, such as 403; 0 for every error but TIDINGS_ERR_REFUSED.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_http_status(error: Option<&Error>) -> u16 {
    value(0, || Some(error?.refusal.as_ref()?.status()))
}

/// One line for people that says what was wrong, with the server's own message if it sent one.
///
/// Threads: any. The text belongs to the error.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_message(error: Option<&Error>) -> *const c_char {
    value(ptr::null(), || Some(error?.message.as_ptr()))
}

/// The body of the server's answer as received, at most 64 KiB of it, with a NUL after it, and in `*len`, which may be
/// NULL, its length without that. NULL and 0 for every error but TIDINGS_ERR_REFUSED. It may be any bytes.
///
/// Threads: any. The bytes belong to the error.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_body(
    error: Option<&Error>,
    len: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    let body = value(None, || {
        let error = error?;
        let body = error.refusal.as_ref()?.body();
        Some(Some(error.body.get_or_init(|| [body, b"\0"].concat().into())))
    });
    put(len, body.map_or(0, |body| body.len() - 1));
    body.map_or(ptr::null(), |body| body.as_ptr().cast())
}

/// How many milliseconds the server asked to wait before the next try (Retry-After); -1 if it did not.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_retry_after_ms(error: Option<&Error>) -> i64 {
    value(-1, || Some(milliseconds(error?.refusal.as_ref()?.retry_after())))
}

/// Frees an error that was given to you.
///
/// Threads: one at a time. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_free(error: Option<Box<Error>>) {
    free(error);
}
