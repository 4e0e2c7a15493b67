//! Errors

use std::{
    ffi::{c_char, c_int},
    mem::MaybeUninit,
    ptr,
};

use crate::{
    border::{Text, free, milliseconds, put, value},
    failure::{Error, Status},
};

/// A tidings_status as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawStatus(c_int);

/// The name of a status as it is spelled in C, such as "TIDINGS_ERR_CLOSED".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_status_name(status: RawStatus) -> *const c_char {
    let found = Status::NAMES.iter().find(|(known, _)| *known as c_int == status.0);
    found.map_or(c"unknown", |(_, name)| name).as_ptr()
}

/// The kind of error; TIDINGS_OK for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_status(error: Option<&Error>) -> Status {
    value(Status::Ok, || Some(error?.status))
}

/// With TIDINGS_ERR_REFUSED, the HTTP status of the server's answer, such as 403; 200 with TIDINGS_ERR_PROTOCOL if an event
/// source was not answered with an event stream; otherwise 0.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_http_status(error: Option<&Error>) -> u16 {
    value(0, || Some(error?.refusal.as_ref()?.status()))
}

/// One line for people that says what went wrong, with the server's own message if it sent one.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_message(error: Option<&Error>) -> *const c_char {
    value(ptr::null(), || Some(error?.message.as_ptr()))
}

/// The body of the server's answer as received, up to 64 KiB; NULL if tidings_error_http_status() is 0. `*len` is set
/// to its length, or to 0. A NUL that is not counted follows the body, which may contain any bytes.
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

/// A header of the server's answer; NULL if there is none or it is not text. Names are not case-sensitive.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_header(error: Option<&Error>, name: Text<'_>) -> *const c_char {
    value(ptr::null(), || {
        let error = error?;
        error.headers.keep(error.refusal.as_ref()?.header(name.optional("name").ok()??)?)
    })
}

/// The name, in lower case, of the header at `index` of the server's answer, for tidings_error_header(); NULL if `index` is
/// out of range.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_header_name(error: Option<&Error>, index: usize) -> *const c_char {
    value(ptr::null(), || {
        let error = error?;
        error.headers.keep(error.refusal.as_ref()?.headers().nth(index)?.0)
    })
}

/// How many messages an event source had delivered before the one answer that it takes was cut; -1 for any other error.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_messages(error: Option<&Error>) -> i64 {
    value(-1, || i64::try_from(error?.messages?).ok())
}

/// How long the server asked to wait before the next attempt (Retry-After), in milliseconds; -1 if it did not.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_retry_after_ms(error: Option<&Error>) -> i64 {
    value(-1, || Some(milliseconds(error?.refusal.as_ref()?.retry_after())))
}

/// Frees an error.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_error_free(error: Option<Box<Error>>) {
    free(error);
}
