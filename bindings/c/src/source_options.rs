//! Options of an event source

use std::{
    ffi::{c_int, c_void},
    sync::Arc,
    time::Duration,
};

use tidings_core::{EventSourceBuilder, Policy, SourceRequest as Core, blocking};

use crate::{
    border::{Data, DropCallback, Text, UserData, answer, free, given},
    failure::{Error, Status},
    settings::{Options, Settings, set},
};

/// Options for creating event sources. Unset options keep their defaults.
#[derive(Default)]
pub struct SourceOptions {
    settings: Settings<EventSourceBuilder>,
    on_status: Option<Arc<dyn Fn(u16) -> Policy + Send + Sync>>,
    on_connect: Option<Arc<dyn Fn() -> Result<Core, String> + Send + Sync>>,
}

impl SourceOptions {
    pub(crate) fn apply(&self, builder: EventSourceBuilder) -> EventSourceBuilder {
        let builder = self.settings.apply(builder);
        let builder = match self.on_status.clone() {
            Some(on_status) => {
                blocking::EventSource::ask_status_on_thread(builder, move |status| on_status(status))
            }
            None => builder,
        };
        match self.on_connect.clone() {
            Some(on_connect) => blocking::EventSource::ask_on_thread(builder, move || on_connect()),
            None => builder,
        }
    }
}

impl Options for SourceOptions {
    type Builder = EventSourceBuilder;

    fn settings(&mut self) -> &mut Settings<EventSourceBuilder> {
        &mut self.settings
    }
}

/// Creates an options object with all defaults, for any number of event sources. Never NULL. A value that cannot be used is
/// reported by tidings_source_new().
///
/// Threads: any. The options are yours: free them with tidings_source_options_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_new() -> Box<SourceOptions> {
    Box::default()
}

/// Frees options. Sources created with them are not affected.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_free(options: Option<Box<SourceOptions>>) {
    free(options);
}

/// The method: any but CONNECT and HEAD. The default is GET, and POST if there is a body. It also decides what happens when
/// the stream ends: see tidings_source_options_set_reconnect().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_method(
    options: Option<&mut SourceOptions>,
    method: Text<'_>,
) -> Status {
    set(options, || {
        let method = method.get("method")?.to_owned();
        Ok(move |builder: EventSourceBuilder| builder.method(&*method))
    })
}

/// Adds a header to each request; a later one replaces an earlier one of the same name. Values are treated as secrets,
/// except those of a few names that never hold one.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_add_header(
    options: Option<&mut SourceOptions>,
    name: Text<'_>,
    header_value: Text<'_>,
) -> Status {
    set(options, || {
        let (name, text) = (name.get("name")?.to_owned(), header_value.get("value")?.to_owned());
        Ok(move |builder: EventSourceBuilder| builder.header(&*name, &*text))
    })
}

/// The body of each request: `len` bytes at `data`. It makes POST the default method. Set its Content-Type as a header.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_body(
    options: Option<&mut SourceOptions>,
    data: Data<'_>,
    len: usize,
) -> Status {
    set(options, || {
        let data = data.with_len(len).get("data")?.to_owned();
        Ok(move |builder: EventSourceBuilder| builder.body(&*data))
    })
}

/// A token, sent as "Authorization: Bearer ..." to the origin of the URL and to no other.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_token(
    options: Option<&mut SourceOptions>,
    token: Text<'_>,
) -> Status {
    set(options, || {
        let token = token.get("token")?.to_owned();
        Ok(move |builder: EventSourceBuilder| builder.token(&*token))
    })
}

/// The id to continue after, as saved from tidings_source_last_event_id(). Empty means none.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_last_event_id(
    options: Option<&mut SourceOptions>,
    id: Text<'_>,
) -> Status {
    set(options, || {
        let id = id.get("id")?.to_owned();
        Ok(move |builder: EventSourceBuilder| builder.last_event_id(&*id))
    })
}

/// How long a stream may be silent before it counts as lost; comments count as activity. No limit by default.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_read_timeout(
    options: Option<&mut SourceOptions>,
    timeout_ms: u64,
) -> Status {
    let timeout = Duration::from_millis(timeout_ms);
    set(options, || Ok(move |builder: EventSourceBuilder| builder.read_timeout(timeout)))
}

/// The timeout for connecting: DNS, TCP, proxy and TLS. The default is 10 seconds.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_connect_timeout(
    options: Option<&mut SourceOptions>,
    timeout_ms: u64,
) -> Status {
    let timeout = Duration::from_millis(timeout_ms);
    set(options, || Ok(move |builder: EventSourceBuilder| builder.connect_timeout(timeout)))
}

/// The reconnection time to begin with; the default is 1 second. The server's "retry:" replaces it.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_retry(
    options: Option<&mut SourceOptions>,
    time_ms: u64,
) -> Status {
    let time = Duration::from_millis(time_ms);
    set(options, || Ok(move |builder: EventSourceBuilder| builder.retry(time)))
}

/// The shortest and the longest delay of the backoff after failures. Default: 200 milliseconds and 20 seconds.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_backoff(
    options: Option<&mut SourceOptions>,
    min_ms: u64,
    max_ms: u64,
) -> Status {
    let (min, max) = (Duration::from_millis(min_ms), Duration::from_millis(max_ms));
    set(options, || Ok(move |builder: EventSourceBuilder| builder.backoff(min, max)))
}

/// Whether the source makes its request again when the stream has ended.
///
/// By default the method decides. GET reconnects, as the standard says: that is how feeds of changes are read. Every other
/// method takes one answer, since the request may have effects: a prompt sent twice is answered and paid for twice, and its
/// answers run into each other. A client must not repeat such a request on its own (RFC 9110, section 9.2.2). So with one
/// answer
///
/// - the request is repeated only until the answer has begun, and only if the server cannot have acted on it: there was no
///   connection, or the status was 429, 503 or 529, with or without Retry-After;
/// - at most 3 tries are made within 60 seconds;
/// - once bytes of a 200 have arrived, an end is the end: TIDINGS_SOURCE_KIND_CLOSED, without an error after an orderly one,
///   or with an error and the number of messages before the cut, see tidings_error_messages().
///
/// True reconnects with any method, false takes one answer with GET too.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_reconnect(
    options: Option<&mut SourceOptions>,
    wanted: bool,
) -> Status {
    set(options, || Ok(move |builder: EventSourceBuilder| builder.reconnect(wanted)))
}

/// How many connections in a row may fail before the source ends with the last error; at least 1. A stream that delivers a
/// message, or lasts for a minute, begins a new count. By default a source that reconnects never gives up. Setting this or
/// tidings_source_options_set_retry_for() replaces both defaults.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_max_tries(
    options: Option<&mut SourceOptions>,
    tries: u32,
) -> Status {
    set(options, || Ok(move |builder: EventSourceBuilder| builder.max_tries(tries)))
}

/// For how long failed connections are repeated, counted from the first failing one. It ends early if the next try would be
/// later than that, for example because of a long Retry-After.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_retry_for(
    options: Option<&mut SourceOptions>,
    time_ms: u64,
) -> Status {
    let time = Duration::from_millis(time_ms);
    set(options, || Ok(move |builder: EventSourceBuilder| builder.retry_for(time)))
}

/// Sets no limit of tries or of time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_retry_forever(options: Option<&mut SourceOptions>) -> Status {
    set(options, || Ok(|builder: EventSourceBuilder| builder.retry_forever()))
}

/// A content type to accept besides text/event-stream, for servers that label their streams wrongly, such as "text/plain".
/// May be called more than once. Empty accepts an answer without a content type.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_add_accept_type(
    options: Option<&mut SourceOptions>,
    content_type: Text<'_>,
) -> Status {
    set(options, || {
        let content_type = content_type.get("content_type")?.to_owned();
        Ok(move |builder: EventSourceBuilder| builder.accept_type(&*content_type))
    })
}

/// Makes the request once: when the stream ends, or cannot be opened, the source ends. Unlike
/// tidings_source_options_set_reconnect() with false it is not repeated before the answer either.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_once(options: Option<&mut SourceOptions>) -> Status {
    set(options, || Ok(|builder: EventSourceBuilder| builder.once()))
}

/// Whether comments are delivered too. The default is no.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_comments(
    options: Option<&mut SourceOptions>,
    wanted: bool,
) -> Status {
    set(options, || Ok(move |builder: EventSourceBuilder| builder.comments(wanted)))
}

/// The largest message accepted, in bytes; the default is 16 MiB. A larger one is dropped and reported as
/// TIDINGS_SOURCE_KIND_TOO_LARGE.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_message_limit(
    options: Option<&mut SourceOptions>,
    bytes: usize,
) -> Status {
    set(options, || Ok(move |builder: EventSourceBuilder| builder.message_limit(bytes)))
}

/// The User-Agent; the default is "tidings/VERSION".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_user_agent(
    options: Option<&mut SourceOptions>,
    name: Text<'_>,
) -> Status {
    set(options, || {
        let name = name.get("name")?.to_owned();
        Ok(move |builder: EventSourceBuilder| builder.user_agent(&*name))
    })
}

/// Certificates to trust in addition to those of the system, in PEM: `len` bytes at `pem`.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_ca_pem(
    options: Option<&mut SourceOptions>,
    pem: Data<'_>,
    len: usize,
) -> Status {
    set(options, || {
        let pem = pem.with_len(len).get("pem")?.to_owned();
        Ok(move |builder: EventSourceBuilder| builder.ca_pem(&*pem))
    })
}

/// The certificate to show to servers that ask for one: its chain and its key, in PEM.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_client_certificate(
    options: Option<&mut SourceOptions>,
    chain_pem: Data<'_>,
    chain_len: usize,
    key_pem: Data<'_>,
    key_len: usize,
) -> Status {
    set(options, || {
        let chain = chain_pem.with_len(chain_len).get("chain_pem")?.to_owned();
        let key = key_pem.with_len(key_len).get("key_pem")?.to_owned();
        Ok(move |builder: EventSourceBuilder| builder.client_certificate(&*chain, &*key))
    })
}

/// The proxy, as "http://user:password@host:port", instead of what the environment says. NULL means none.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_proxy(
    options: Option<&mut SourceOptions>,
    url: Text<'_>,
) -> Status {
    set(options, || {
        let url = url.optional("url")?.map(str::to_owned);
        Ok(move |builder: EventSourceBuilder| match &url {
            Some(url) => builder.proxy(&**url),
            None => builder.no_proxy(),
        })
    })
}

/// Called with the HTTP status of an answer that is not an event stream: 200 if its content type is not accepted. True to
/// try again, false to end with the error.
pub type StatusCallback = Option<extern "C" fn(status: c_int, user_data: *mut c_void) -> bool>;

/// Sets the callback that decides about answers that are not an event stream. By default a source that reconnects tries
/// again after 408, 425, 429 and 5xx, one that takes one answer after 429, 503 and 529, and everything else ends the
/// source. It is not called for 204, which ends the source for good, nor, with one answer, for any 2xx. It replaces an
/// earlier callback; NULL removes it.
///
/// Threads: one at a time; the callback runs on a thread of its own, may block and may call anything, and
/// tidings_source_close() does not wait for it. `user_data` passes to the options, until the callback is replaced, and to the sources made with them meanwhile, and is
/// dropped with the last of them.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_on_status(
    options: Option<&mut SourceOptions>,
    callback: StatusCallback,
    user_data: *mut c_void,
    drop: DropCallback,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    answer(None, || {
        let options = given(options, "options")?;
        options.on_status = match callback {
            Some(callback) => {
                Some(Arc::new(move |status: u16| match callback(status.into(), user_data.pointer()) {
                    true => Policy::Retry,
                    false => Policy::Fail,
                }))
            }
            None => None,
        };
        Ok(())
    })
}

/// What one connection of an event source is made with. Only the callback that is given one may use it, until it returns.
/// Texts are copied.
pub struct SourceRequest(Result<Core, String>);

impl SourceRequest {
    fn change(&mut self, change: impl FnOnce(Core) -> Core) {
        if let Ok(request) = &mut self.0 {
            *request = change(std::mem::take(request));
        }
    }
}

/// Called before each connection of an event source, to set what it is made with.
pub type ConnectCallback = Option<extern "C" fn(request: &mut SourceRequest, user_data: *mut c_void)>;

/// Sets the callback that gives the token, the headers and the URL of each connection, so that a stream that is open for
/// days survives the expiry of its token. It replaces an earlier callback; NULL removes it.
///
/// Threads: one at a time; the callback runs on a thread of its own, may block and may call anything, and
/// tidings_source_close() does not wait for it. `user_data` passes to the options, until the callback is replaced, and to
/// the sources created with them meanwhile, and is dropped with the last of them, and not while the callback runs.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_on_connect(
    options: Option<&mut SourceOptions>,
    callback: ConnectCallback,
    user_data: *mut c_void,
    drop: DropCallback,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    answer(None, || {
        let options = given(options, "options")?;
        options.on_connect = match callback {
            Some(callback) => Some(Arc::new(move || {
                let mut request = SourceRequest(Ok(Core::new()));
                callback(&mut request, user_data.pointer());
                request.0
            })),
            None => None,
        };
        Ok(())
    })
}

fn change<S>(request: Option<&mut SourceRequest>, change: impl FnOnce() -> Result<S, Error>) -> Status
where
    S: FnOnce(Core) -> Core,
{
    answer(None, || {
        let request = given(request, "request")?;
        request.change(change()?);
        Ok(())
    })
}

/// Sets another URL for this connection. The headers, the token and the body of the options are sent to it, whatever its
/// origin.
///
/// Threads: that of the callback.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_request_set_url(
    request: Option<&mut SourceRequest>,
    url: Text<'_>,
) -> Status {
    change(request, || {
        let url = url.get("url")?.to_owned();
        Ok(move |request: Core| request.url(url))
    })
}

/// Sets the token of this connection, sent as "Authorization: Bearer ...".
///
/// Threads: that of the callback.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_request_set_token(
    request: Option<&mut SourceRequest>,
    token: Text<'_>,
) -> Status {
    change(request, || {
        let token = token.get("token")?.to_owned();
        Ok(move |request: Core| request.token(token))
    })
}

/// Adds a header to this connection; it replaces one of the options with the same name. Its value is treated as a secret.
///
/// Threads: that of the callback.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_request_add_header(
    request: Option<&mut SourceRequest>,
    name: Text<'_>,
    header_value: Text<'_>,
) -> Status {
    change(request, || {
        let (name, text) = (name.get("name")?.to_owned(), header_value.get("value")?.to_owned());
        Ok(move |request: Core| request.header(name, text))
    })
}

/// There is nothing to connect with, and why, in a text for people. It counts as a failed connection, with
/// TIDINGS_ERR_TOKEN_PROVIDER, and is tried again after a delay.
///
/// Threads: that of the callback.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_request_fail(
    request: Option<&mut SourceRequest>,
    message: Text<'_>,
) -> Status {
    answer(None, || {
        given(request, "request")?.0 = Err(message.get("message")?.to_owned());
        Ok(())
    })
}
