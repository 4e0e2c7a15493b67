//! Requests

use std::{
    ffi::{CString, c_char},
    mem::MaybeUninit,
    ptr,
    time::Duration,
};

use serde_json::value::RawValue;
use tidings_core::Request;

use crate::{
    border::{Data, ErrorOut, Text, answer, free, given, put, value},
    failure::{Error, Status},
    handle::Client,
};

/// The options of requests to be. What is not set is as it is without options.
#[derive(Default)]
pub struct RequestOptions {
    settings: Vec<Box<dyn Fn(Request) -> Request>>,
}

/// One more setting.
fn set<S>(options: Option<&mut RequestOptions>, setting: impl FnOnce() -> Result<S, Error>) -> Status
where
    S: Fn(Request) -> Request + 'static,
{
    answer(None, || {
        let options = given(options, "options")?;
        options.settings.push(Box::new(setting()?));
        Ok(())
    })
}

/// Options that are all as they are without. Never NULL. They can be used for any number of requests.
///
/// Functions that set an option return TIDINGS_ERR_NULL_ARGUMENT or TIDINGS_ERR_INVALID_UTF8; whether a value can be used
/// is told by tidings_client_send().
///
/// Threads: any. The options are yours: free them with tidings_request_options_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_request_options_new() -> Box<RequestOptions> {
    Box::default()
}

/// Frees options.
///
/// Threads: one at a time. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_request_options_free(options: Option<Box<RequestOptions>>) {
    free(options);
}

/// Adds a parameter to the query of the URL; it is encoded as needed.
///
/// Threads: one at a time. The texts are copied.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_request_options_add_query(
    options: Option<&mut RequestOptions>,
    name: Text<'_>,
    query_value: Text<'_>,
) -> Status {
    set(options, || {
        let (name, text) = (name.get("name")?.to_owned(), query_value.get("value")?.to_owned());
        Ok(move |request: Request| request.query(&*name, &*text))
    })
}

/// Adds a header.
///
/// Threads: one at a time. The texts are copied.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_request_options_add_header(
    options: Option<&mut RequestOptions>,
    name: Text<'_>,
    header_value: Text<'_>,
) -> Status {
    set(options, || {
        let (name, text) = (name.get("name")?.to_owned(), header_value.get("value")?.to_owned());
        Ok(move |request: Request| request.header(&*name, &*text))
    })
}

/// Sets a body of any bytes: `len` at `data`, with their type for the header Content-Type, such as "multipart/form-data;
/// boundary=x". It comes before the body that tidings_client_send() is given.
///
/// Threads: one at a time. The bytes are copied.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_request_options_set_body(
    options: Option<&mut RequestOptions>,
    data: Data<'_>,
    len: usize,
    content_type: Text<'_>,
) -> Status {
    set(options, || {
        let data = data.with_len(len).get("data")?.to_owned();
        let content_type = content_type.get("content_type")?.to_owned();
        Ok(move |request: Request| request.body(&*data, &*content_type))
    })
}

/// Sets how long the whole exchange may take, 30 seconds unless set.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_request_options_set_timeout(
    options: Option<&mut RequestOptions>,
    timeout_ms: u64,
) -> Status {
    let timeout = Duration::from_millis(timeout_ms);
    set(options, || Ok(move |request: Request| request.timeout(timeout)))
}

/// The answer to a request. It never changes.
pub struct Response {
    response: tidings_core::Response,
    /// With a NUL at its end, since it mostly is text.
    body: Box<[u8]>,
    headers: std::sync::Mutex<Vec<CString>>,
}

/// Sends one request with the client's token, if it has one, and waits for the answer. `path` is below the server's URL and
/// may have a query; `body` is JSON text, or NULL. `options` may be NULL. An answer of more than 64 MiB is refused, with
/// TIDINGS_ERR_NETWORK.
///
/// Threads: any. `options` are only read and stay yours. `*response`, if `response` is not NULL, is yours: free it with
/// tidings_response_free(). Returns TIDINGS_ERR_REFUSED for every HTTP status but 200 to 299, TIDINGS_ERR_NETWORK,
/// TIDINGS_ERR_TIMEOUT, TIDINGS_ERR_PROTOCOL, TIDINGS_ERR_INVALID_ARGUMENT, or TIDINGS_ERR_CLOSED.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_send(
    client: Option<&Client>,
    method: Text<'_>,
    path: Text<'_>,
    body: Text<'_>,
    options: Option<&RequestOptions>,
    response: Option<&mut MaybeUninit<Option<Box<Response>>>>,
    error: ErrorOut<'_>,
) -> Status {
    let mut answered = None;
    let status = answer(error, || {
        let client = given(client, "client")?.get();
        let mut request = client.get()?.send(method.get("method")?, path.get("path")?, None);
        if let Some(json) = body.optional("body")? {
            let _: &RawValue =
                serde_json::from_str(json).map_err(|error| Error::argument("body", &error.to_string()))?;
            request = request.body(json, "application/json");
        }
        for setting in options.iter().flat_map(|options| &options.settings) {
            request = setting(request);
        }
        let response = client.call(request)?.wait()?;
        let body = [response.body(), b"\0"].concat().into_boxed_slice();
        answered = Some(Box::new(Response { response, body, headers: std::sync::Mutex::default() }));
        Ok(())
    });
    put(response, answered);
    status
}

/// The HTTP status, from 200 to 299; 0 for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_response_status(response: Option<&Response>) -> u16 {
    value(0, || Some(response?.response.status()))
}

/// A header's value; NULL when there is none or it is not text. Names are not case-sensitive.
///
/// Threads: any. The text belongs to the response.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_response_header(response: Option<&Response>, name: Text<'_>) -> *const c_char {
    value(ptr::null(), || {
        let response = response?;
        let text = CString::new(response.response.header(name.optional("name").ok()??)?).ok()?;
        let mut headers = response.headers.lock().ok()?;
        let at = headers.iter().position(|known| *known == text).unwrap_or_else(|| {
            headers.push(text);
            headers.len() - 1
        });
        // What the list holds stays where it is in memory when the list grows.
        Some(headers[at].as_ptr())
    })
}

/// The body as received, with a NUL after it, and in `*len`, which may be NULL, its length without that. NULL and 0 for
/// NULL.
///
/// Threads: any. The bytes belong to the response.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_response_body(
    response: Option<&Response>,
    len: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    let body = response.map(|response| &response.body);
    put(len, body.map_or(0, |body| body.len() - 1));
    body.map_or(ptr::null(), |body| body.as_ptr().cast())
}

/// Frees a response.
///
/// Threads: one at a time. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_response_free(response: Option<Box<Response>>) {
    free(response);
}
