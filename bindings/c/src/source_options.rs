//! Options of an event source

use std::{
    ffi::{c_int, c_void},
    sync::Arc,
    time::Duration,
};

use tidings_core::{EventSourceBuilder, Policy};

use crate::{
    border::{Data, DropCallback, Text, UserData, answer, free, given},
    failure::{Error, Status},
};

/// The options of event sources to be. What is not set is as it is without options.
#[derive(Default)]
pub struct SourceOptions {
    settings: Vec<Box<dyn Fn(EventSourceBuilder) -> EventSourceBuilder>>,
    on_status: Option<Arc<dyn Fn(u16) -> Policy + Send + Sync>>,
}

impl SourceOptions {
    pub(crate) fn apply(&self, builder: EventSourceBuilder) -> EventSourceBuilder {
        let builder = self.settings.iter().fold(builder, |builder, setting| setting(builder));
        match self.on_status.clone() {
            Some(on_status) => builder.on_status(move |status| on_status(status)),
            None => builder,
        }
    }
}

/// One more setting.
fn set<S>(options: Option<&mut SourceOptions>, setting: impl FnOnce() -> Result<S, Error>) -> Status
where
    S: Fn(EventSourceBuilder) -> EventSourceBuilder + 'static,
{
    answer(None, || {
        let options = given(options, "options")?;
        options.settings.push(Box::new(setting()?));
        Ok(())
    })
}

/// Options that are all as they are without. Never NULL. They can be used for any number of event sources.
///
/// Functions that set an option return TIDINGS_ERR_NULL_ARGUMENT or TIDINGS_ERR_INVALID_UTF8; whether a value can be used
/// is told by tidings_source_new().
///
/// Threads: any. The options are yours: free them with tidings_source_options_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_new() -> Box<SourceOptions> {
    Box::default()
}

/// Frees options. Sources made with them are not concerned.
///
/// Threads: one at a time. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_free(options: Option<Box<SourceOptions>>) {
    free(options);
}

/// The method, any but CONNECT and HEAD. Unless set it is GET, and POST where there is a body.
///
/// Threads: one at a time. The text is copied.
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

/// Adds a header for each request; the last of a name counts. Values are taken for secrets, except those of a few names
/// that never are one.
///
/// Threads: one at a time. The texts are copied.
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

/// A body of `len` bytes at `data`, sent again with each reconnect. Set its Content-Type as a header.
///
/// Threads: one at a time. The bytes are copied.
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
///
/// Threads: one at a time. The token is copied.
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

/// The id to begin after, as kept from tidings_source_last_event_id(). Empty is the same as none.
///
/// Threads: one at a time. The text is copied.
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

/// How long no byte may come before the stream is taken for lost and opened again; comments count. No limit unless set.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_read_timeout(
    options: Option<&mut SourceOptions>,
    timeout_ms: u64,
) -> Status {
    let timeout = Duration::from_millis(timeout_ms);
    set(options, || Ok(move |builder: EventSourceBuilder| builder.read_timeout(timeout)))
}

/// How long a connection may take until it can be written to: name, TCP, proxy and TLS. 10 seconds unless set.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_connect_timeout(
    options: Option<&mut SourceOptions>,
    timeout_ms: u64,
) -> Status {
    let timeout = Duration::from_millis(timeout_ms);
    set(options, || Ok(move |builder: EventSourceBuilder| builder.connect_timeout(timeout)))
}

/// The reconnection time to begin with, 1 second unless set. The server's "retry:" replaces it.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_retry(
    options: Option<&mut SourceOptions>,
    time_ms: u64,
) -> Status {
    let time = Duration::from_millis(time_ms);
    set(options, || Ok(move |builder: EventSourceBuilder| builder.retry(time)))
}

/// The bounds of the back-off after failures, 200 milliseconds and 20 seconds unless set.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_backoff(
    options: Option<&mut SourceOptions>,
    min_ms: u64,
    max_ms: u64,
) -> Status {
    let (min, max) = (Duration::from_millis(min_ms), Duration::from_millis(max_ms));
    set(options, || Ok(move |builder: EventSourceBuilder| builder.backoff(min, max)))
}

/// Never reconnects: when the stream ends, or cannot be opened, the source ends. For requests that must not be repeated,
/// such as a prompt to a language model.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_once(options: Option<&mut SourceOptions>) -> Status {
    set(options, || Ok(|builder: EventSourceBuilder| builder.once()))
}

/// Whether comments are told too. They are not unless set.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_comments(
    options: Option<&mut SourceOptions>,
    wanted: bool,
) -> Status {
    set(options, || Ok(move |builder: EventSourceBuilder| builder.comments(wanted)))
}

/// The largest message taken, in bytes, 16 MiB unless set. A larger one is told as TIDINGS_SOURCE_KIND_TOO_LARGE.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_options_set_message_limit(
    options: Option<&mut SourceOptions>,
    bytes: usize,
) -> Status {
    set(options, || Ok(move |builder: EventSourceBuilder| builder.message_limit(bytes)))
}

/// What to call itself to the server: "tidings/VERSION" unless set.
///
/// Threads: one at a time. The text is copied.
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

/// Certificates to trust besides those of the system, in PEM: `len` bytes at `pem`.
///
/// Threads: one at a time. The bytes are copied.
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
///
/// Threads: one at a time. The bytes are copied.
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

/// The proxy, as "http://user:password@host:port", instead of what the environment says. NULL stands for none at all.
///
/// Threads: one at a time. The text is copied.
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

/// Called with the HTTP status of an answer that is no event stream: 200 if the status was that and the content type
/// something else than text/event-stream. True to try again, false to end with the error.
pub type StatusCallback = Option<extern "C" fn(status: c_int, user_data: *mut c_void) -> bool>;

/// Sets what to ask about an answer that is no event stream. Unless set, 408, 425, 429 and 5xx are tried again, and
/// everything else ends the source. It replaces the callback before it, and NULL takes that away.
///
/// Threads: one at a time; the callback runs on the thread of the source, which waits for it, and may call anything.
/// `user_data` passes to the options, until the callback is replaced, and to the sources made with them meanwhile, and is
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
