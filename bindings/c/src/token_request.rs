//! Questions for a token

use std::ffi::c_void;

use tidings_core::blocking;

use crate::{
    border::{Text, answer, free, given},
    failure::Status,
};

/// A request for a token.
pub struct TokenRequest(blocking::TokenRequest);

impl TokenRequest {
    pub(crate) fn new(request: blocking::TokenRequest) -> Self {
        Self(request)
    }
}

/// Called when a token is needed. The request is yours: answer it with tidings_token_request_answer() or
/// tidings_token_request_fail().
pub type TokenCallback = Option<extern "C" fn(request: Box<TokenRequest>, user_data: *mut c_void)>;

/// Answers a request with a token, or with NULL for a guest.
///
/// Threads: one at a time. The request is freed in any case. Returns TIDINGS_ERR_NULL_ARGUMENT when it is NULL, and
/// TIDINGS_ERR_INVALID_UTF8 when the token is not UTF-8, which counts as a failure. A late answer does no harm.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_token_request_answer(
    request: Option<Box<TokenRequest>>,
    token: Text<'_>,
) -> Status {
    answer(None, || {
        let TokenRequest(request) = *given(request, "request")?;
        let token = token.optional("token")?.map(str::to_owned);
        request.answer(Ok(token));
        Ok(())
    })
}

/// Answers a request with a failure, and its reason as text for people. A call that waits for the first token returns
/// it as TIDINGS_ERR_TOKEN_PROVIDER.
///
/// Threads: one at a time. The request is freed in any case, as by tidings_token_request_answer().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_token_request_fail(
    request: Option<Box<TokenRequest>>,
    message: Text<'_>,
) -> Status {
    answer(None, || {
        let TokenRequest(request) = *given(request, "request")?;
        request.answer(Err(message.get("message")?.to_owned()));
        Ok(())
    })
}

/// Frees a request without an answer, which counts as a failure.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_token_request_free(request: Option<Box<TokenRequest>>) {
    free(request);
}
