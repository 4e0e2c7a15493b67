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
    settings::{Options, Settings, set},
};

/// Options for requests. Unset options keep their defaults.
#[derive(Default)]
pub struct RequestOptions {
    settings: Settings<Request>,
}

impl Options for RequestOptions {
    type Builder = Request;

    fn settings(&mut self) -> &mut Settings<Request> {
        &mut self.settings
    }
}

/// Creates an options object with all defaults, for any number of requests. Never NULL. A value that cannot be used is
/// reported by tidings_client_send().
///
/// Threads: any. The options are yours: free them with tidings_request_options_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_request_options_new() -> Box<RequestOptions> {
    Box::default()
}

/// Frees options.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_request_options_free(options: Option<Box<RequestOptions>>) {
    free(options);
}

/// Adds a parameter to the query of the URL, and encodes it.
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

/// Sets a body of any bytes: `len` bytes at `data`, and their type for the header Content-Type, such as
/// "multipart/form-data; boundary=x". It replaces the body passed to tidings_client_send().
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

/// The timeout for the whole exchange. Default: 30 seconds.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_request_options_set_timeout(
    options: Option<&mut RequestOptions>,
    timeout_ms: u64,
) -> Status {
    let timeout = Duration::from_millis(timeout_ms);
    set(options, || Ok(move |request: Request| request.timeout(timeout)))
}

/// The response to a request. Immutable.
pub struct Response {
    response: tidings_core::Response,
    /// With a NUL at its end, since it mostly is text.
    body: Box<[u8]>,
    headers: std::sync::Mutex<Vec<CString>>,
}

impl Response {
    pub(crate) fn new(response: tidings_core::Response) -> Self {
        let body = [response.body(), b"\0"].concat().into_boxed_slice();
        Self { response, body, headers: std::sync::Mutex::default() }
    }
}

/// The request that the arguments ask for.
pub(crate) fn request(
    client: &tidings_core::Client,
    method: Text<'_>,
    path: Text<'_>,
    body: Text<'_>,
    options: Option<&RequestOptions>,
) -> Result<Request, Error> {
    let mut request = client.send(method.get("method")?, path.get("path")?, None);
    if let Some(json) = body.optional("body")? {
        let _: &RawValue =
            serde_json::from_str(json).map_err(|error| Error::argument("body", &error.to_string()))?;
        request = request.body(json, "application/json");
    }
    Ok(match options {
        Some(options) => options.settings.apply(request),
        None => request,
    })
}

/// Sends one request with the client's token, if it has one, and waits for the response. `path` is relative to the
/// server's URL and may have a query; `body` is JSON text, or NULL. `options` may be NULL. A response of more than 64
/// MiB is refused, with TIDINGS_ERR_NETWORK.
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
        let request = request(client.get()?, method, path, body, options)?;
        answered = Some(Box::new(Response::new(client.call(request)?.wait()?)));
        Ok(())
    });
    put(response, answered);
    status
}

/// The HTTP status, from 200 to 299; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_response_status(response: Option<&Response>) -> u16 {
    value(0, || Some(response?.response.status()))
}

/// The value of a header; NULL if it is missing or not text. Names are case-insensitive.
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

/// The body as received, or NULL for NULL. `*len` is set to its length, or to 0; `len` may be NULL. A NUL that is not
/// counted follows the body, which may contain any bytes.
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
#[unsafe(no_mangle)]
pub extern "C" fn tidings_response_free(response: Option<Box<Response>>) {
    free(response);
}
