//! Options of a client

use std::{
    ffi::{c_int, c_void},
    sync::Arc,
    time::Duration,
};

use tidings_core::{ClientBuilder, blocking::Builder};

use crate::{
    border::{Data, DropCallback, Text, UserData, answer, free, given, one_of},
    error::{Error, Status},
    token_request::{TokenCallback, TokenRequest},
};

/// What happens when a listener does not keep up and its queue is full.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest event makes room, and TIDINGS_ACTION_LAGGED comes before the events that are left.
    DropOldest = 0,
    /// The new event is dropped, and TIDINGS_ACTION_LAGGED comes after the events that were there.
    DropNewest = 1,
    /// A newer event of the same record replaces the one that waits; that counts as no loss. When more records wait than
    /// the queue holds, the oldest makes room.
    Conflate = 2,
}

/// A tidings_overflow as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawOverflow(c_int);

impl RawOverflow {
    pub(crate) fn get(self) -> Result<tidings_core::Overflow, Error> {
        one_of(self.0, POLICIES.map(|(policy, number)| (policy, number as c_int)), "overflow")
    }
}

/// Each policy of the core with its number here: one that the core has and this has not does not compile.
const POLICIES: [(tidings_core::Overflow, Overflow); tidings_core::Overflow::ALL.len()] = [
    (tidings_core::Overflow::DropOldest, Overflow::DropOldest),
    (tidings_core::Overflow::DropNewest, Overflow::DropNewest),
    (tidings_core::Overflow::Conflate, Overflow::Conflate),
];

/// The options of clients to be. What is not set is as it is without options.
#[derive(Default)]
pub struct ClientOptions {
    settings: Vec<Box<dyn Fn(ClientBuilder) -> ClientBuilder>>,
    notices: bool,
    on_token: Option<Arc<dyn Fn(TokenRequest) + Send + Sync>>,
}

impl ClientOptions {
    pub(crate) fn builder(&self, url: &str) -> Builder {
        let builder = tidings_core::Client::builder(url);
        let builder = self.settings.iter().fold(builder, |builder, setting| setting(builder));
        let mut builder = Builder::from(builder);
        if self.notices {
            builder = builder.notices();
        }
        if let Some(on_token) = self.on_token.clone() {
            builder = builder.on_token_request(move |request| on_token(TokenRequest::new(request)));
        }
        builder
    }
}

/// One more setting.
fn set<S>(options: Option<&mut ClientOptions>, setting: impl FnOnce() -> Result<S, Error>) -> Status
where
    S: Fn(ClientBuilder) -> ClientBuilder + 'static,
{
    answer(None, || {
        let options = given(options, "options")?;
        options.settings.push(Box::new(setting()?));
        Ok(())
    })
}

/// Options that are all as they are without. Never NULL. They can be used for any number of clients.
///
/// Functions that set an option return TIDINGS_ERR_NULL_ARGUMENT or TIDINGS_ERR_INVALID_UTF8; whether a value can be used
/// is told by tidings_client_new().
///
/// Threads: any. The options are yours: free them with tidings_client_options_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_new() -> Box<ClientOptions> {
    Box::default()
}

/// Frees options. Clients made with them are not concerned.
///
/// Threads: one at a time. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_free(options: Option<Box<ClientOptions>>) {
    free(options);
}

/// The token to begin with, with or without "Bearer ".
///
/// Threads: one at a time. The token is copied.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_token(
    options: Option<&mut ClientOptions>,
    token: Text<'_>,
) -> Status {
    set(options, || {
        let token = token.get("token")?.to_owned();
        Ok(move |builder: ClientBuilder| builder.token(&*token))
    })
}

/// Sets what to call when a token is needed: before the first stream, a minute before a token expires, and when the server
/// does not take it any more. It replaces the callback before it, and NULL takes that away.
///
/// It gets a request, which it answers with one of the tidings_token_request_... functions, then or later and from any
/// thread. One that fails is asked again, less and less often.
///
/// Threads: one at a time; the callback runs on a thread of its own for each question, and may block and call anything.
/// `user_data` passes to the options, until the callback is replaced, and to the clients made with them meanwhile, and is
/// dropped with the last of them.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_on_token(
    options: Option<&mut ClientOptions>,
    callback: TokenCallback,
    user_data: *mut c_void,
    drop: DropCallback,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    answer(None, || {
        let options = given(options, "options")?;
        options.on_token = match callback {
            Some(callback) => Some(Arc::new(move |request: TokenRequest| {
                callback(Box::new(request), user_data.pointer());
            })),
            None => None,
        };
        Ok(())
    })
}

/// Adds a header for every request. Its value is taken for a secret: never shown, and never sent to another origin.
///
/// Threads: one at a time. The texts are copied.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_add_header(
    options: Option<&mut ClientOptions>,
    name: Text<'_>,
    header_value: Text<'_>,
) -> Status {
    set(options, || {
        let (name, text) = (name.get("name")?.to_owned(), header_value.get("value")?.to_owned());
        Ok(move |builder: ClientBuilder| builder.header(&*name, &*text))
    })
}

/// What to call itself to the server: "tidings/VERSION" unless set.
///
/// Threads: one at a time. The text is copied.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_user_agent(
    options: Option<&mut ClientOptions>,
    name: Text<'_>,
) -> Status {
    set(options, || {
        let name = name.get("name")?.to_owned();
        Ok(move |builder: ClientBuilder| builder.user_agent(&*name))
    })
}

/// The server is a RustBaaS, and the collections belong to this app of this realm. It has no filters and no `expand`, and
/// tidings_client_subscribe() says so.
///
/// Threads: one at a time. The texts are copied.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_rustbaas(
    options: Option<&mut ClientOptions>,
    realm: Text<'_>,
    app: Text<'_>,
) -> Status {
    set(options, || {
        let (realm, app) = (realm.get("realm")?.to_owned(), app.get("app")?.to_owned());
        Ok(move |builder: ClientBuilder| builder.rustbaas(&*realm, &*app))
    })
}

/// The interval of a RustBaaS server's heartbeats, 15 seconds unless set. A stream that misses three is given up.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_heartbeat(
    options: Option<&mut ClientOptions>,
    interval_ms: u64,
) -> Status {
    let interval = Duration::from_millis(interval_ms);
    set(options, || Ok(move |builder: ClientBuilder| builder.heartbeat(interval)))
}

/// Sends the token of a RustBaaS stream as "?access_token=" instead of a header. It then ends in access logs: only for
/// where headers are taken away.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_token_in_query(options: Option<&mut ClientOptions>) -> Status {
    set(options, || Ok(|builder: ClientBuilder| builder.token_in_query()))
}

/// Certificates to trust besides those of the system, in PEM: `len` bytes at `pem`.
///
/// Threads: one at a time. The bytes are copied.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_ca_pem(
    options: Option<&mut ClientOptions>,
    pem: Data<'_>,
    len: usize,
) -> Status {
    set(options, || {
        let pem = pem.with_len(len).get("pem")?.to_owned();
        Ok(move |builder: ClientBuilder| builder.ca_pem(&*pem))
    })
}

/// The certificate to show to servers that ask for one: its chain and its key, in PEM.
///
/// Threads: one at a time. The bytes are copied.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_client_certificate(
    options: Option<&mut ClientOptions>,
    chain_pem: Data<'_>,
    chain_len: usize,
    key_pem: Data<'_>,
    key_len: usize,
) -> Status {
    set(options, || {
        let chain = chain_pem.with_len(chain_len).get("chain_pem")?.to_owned();
        let key = key_pem.with_len(key_len).get("key_pem")?.to_owned();
        Ok(move |builder: ClientBuilder| builder.client_certificate(&*chain, &*key))
    })
}

/// The proxy for all requests, as "http://user:password@host:port", instead of what the environment says in HTTP_PROXY,
/// HTTPS_PROXY and NO_PROXY. NULL stands for no proxy at all.
///
/// Threads: one at a time. The text is copied.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_proxy(
    options: Option<&mut ClientOptions>,
    url: Text<'_>,
) -> Status {
    set(options, || {
        let url = url.optional("url")?.map(str::to_owned);
        Ok(move |builder: ClientBuilder| match &url {
            Some(url) => builder.proxy(&**url),
            None => builder.no_proxy(),
        })
    })
}

/// How long a connection may take until it can be written to: name, TCP, proxy and TLS. 10 seconds unless set.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_connect_timeout(
    options: Option<&mut ClientOptions>,
    timeout_ms: u64,
) -> Status {
    let timeout = Duration::from_millis(timeout_ms);
    set(options, || Ok(move |builder: ClientBuilder| builder.connect_timeout(timeout)))
}

/// How long a subscription that is waited for waits for the server's answer, 30 seconds unless set. It fails sooner with what
/// is known: where the server cannot be reached, with the first try to connect that fails, whether or not the client was
/// connected before; where it answers 429 or 5xx to the topic, with the second such answer. Where it answers so to the
/// connection, that is tried again until the time is up.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_subscribe_timeout(
    options: Option<&mut ClientOptions>,
    timeout_ms: u64,
) -> Status {
    let timeout = Duration::from_millis(timeout_ms);
    set(options, || Ok(move |builder: ClientBuilder| builder.subscribe_timeout(timeout)))
}

/// The least and the longest delay before a lost connection is tried again, 200 milliseconds and 20 seconds unless set.
/// Each delay is drawn at random between the least and a ceiling that doubles with every failure, and after some seconds
/// is a third of the outage so far.
///
/// Unless set, a stream that was live is tried again within 100 milliseconds (250 where it had lived for less than a
/// second), ten times and once more for each three seconds of a live stream. Once set, every reconnect keeps the least
/// delay, but for one: after a change of the user a new stream is opened at once.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_backoff(
    options: Option<&mut ClientOptions>,
    min_ms: u64,
    max_ms: u64,
) -> Status {
    let (min, max) = (Duration::from_millis(min_ms), Duration::from_millis(max_ms));
    set(options, || Ok(move |builder: ClientBuilder| builder.backoff(min, max)))
}

/// How many events may wait for each listener, unless it has a limit of its own, and what happens to the one too many.
/// 8,192 and TIDINGS_OVERFLOW_DROP_OLDEST unless set; at most 64 MiB in any case.
///
/// Threads: one at a time. Returns TIDINGS_ERR_INVALID_ARGUMENT too.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_queue(
    options: Option<&mut ClientOptions>,
    events: usize,
    overflow: RawOverflow,
) -> Status {
    set(options, || {
        let overflow = overflow.get()?;
        Ok(move |builder: ClientBuilder| builder.queue(events, overflow))
    })
}

/// The largest message taken, in bytes, 16 MiB unless set. A larger one is dropped and told as TIDINGS_ACTION_GAP.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_message_limit(
    options: Option<&mut ClientOptions>,
    bytes: usize,
) -> Status {
    set(options, || Ok(move |builder: ClientBuilder| builder.message_limit(bytes)))
}

/// How often the server is asked whether it still takes the client for who it is, 5 minutes unless set. PocketBase drops
/// an identity in silence, when the password changes for example.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_identity_check(
    options: Option<&mut ClientOptions>,
    interval_ms: u64,
) -> Status {
    let interval = Duration::from_millis(interval_ms);
    set(options, || Ok(move |builder: ClientBuilder| builder.identity_check(interval)))
}

/// Whether changes of the connection come into the queue too, as TIDINGS_ACTION_STATE and TIDINGS_ACTION_DISCONNECTED: for
/// hosts that want them there and not in callbacks. They do not unless set.
///
/// Threads: one at a time.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_notices(
    options: Option<&mut ClientOptions>,
    wanted: bool,
) -> Status {
    answer(None, || {
        given(options, "options")?.notices = wanted;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_overflow_policy_has_a_number_of_its_own() {
        for (number, policy) in tidings_core::Overflow::ALL.into_iter().enumerate() {
            assert_eq!(RawOverflow(number as c_int).get().ok(), Some(policy), "{}", policy.as_str());
        }
        assert!(RawOverflow(tidings_core::Overflow::ALL.len() as c_int).get().is_err());
    }
}
