//! Options of a client

use std::{
    ffi::{c_int, c_void},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tidings_core::{
    ClientBuilder,
    blocking::{self, Builder},
};

use crate::{
    border::{Data, DropCallback, Text, UserData, answer, free, given, one_of, parsed},
    failure::{Error, Status},
    settings::{Options, Settings, set},
    token_request::{TokenCallback, TokenRequest},
};

/// What happens when a listener does not keep up and its queue is full.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest event is dropped. TIDINGS_ACTION_LAGGED comes before the remaining events.
    DropOldest = 0,
    /// The new event is dropped. TIDINGS_ACTION_LAGGED comes after the queued events.
    DropNewest = 1,
    /// A newer event of the same record replaces the queued one; that does not count as a loss. When more records are
    /// queued than the queue holds, the oldest is dropped.
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

/// Options for creating clients. Unset options keep their defaults.
#[derive(Default)]
pub struct ClientOptions {
    settings: Settings<ClientBuilder>,
    /// The record of the token, which the builder does not take.
    record: Option<(String, Value)>,
    notices: bool,
    on_token: Option<Arc<dyn Fn(TokenRequest) + Send + Sync>>,
}

impl ClientOptions {
    pub(crate) fn build(&self, url: &str) -> Result<blocking::Client, Error> {
        let client = self.builder(url).build()?;
        if let Some((token, record)) = &self.record {
            client.get()?.auth().set(token, record.clone())?;
        }
        Ok(client)
    }

    fn builder(&self, url: &str) -> Builder {
        let builder = tidings_core::Client::builder(url);
        let builder = self.settings.apply(builder);
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

impl Options for ClientOptions {
    type Builder = ClientBuilder;

    fn settings(&mut self) -> &mut Settings<ClientBuilder> {
        &mut self.settings
    }
}

/// Creates an options object with all defaults, for any number of clients. Never NULL. A value that cannot be used is
/// reported by tidings_client_new().
///
/// Threads: any. The options are yours: free them with tidings_client_options_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_new() -> Box<ClientOptions> {
    Box::default()
}

/// Frees options. Clients created with them are not affected.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_free(options: Option<Box<ClientOptions>>) {
    free(options);
}

/// The initial token, with or without "Bearer ".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_token(
    options: Option<&mut ClientOptions>,
    token: Text<'_>,
) -> Status {
    tidings_client_options_set_token_record(options, token, Text::NULL)
}

/// The initial token, and the record that it belongs to as JSON text, or NULL: tidings_client_auth_record() returns it.
/// Replaces tidings_client_options_set_token(). Also returns TIDINGS_ERR_INVALID_ARGUMENT when the record is not JSON.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_token_record(
    options: Option<&mut ClientOptions>,
    token: Text<'_>,
    record: Text<'_>,
) -> Status {
    answer(None, || {
        let options = given(options, "options")?;
        let (token, record) = (token.get("token")?.to_owned(), parsed(record, "record")?);
        options.record = record.map(|record| (token.clone(), record));
        options.settings.add(move |builder: ClientBuilder| builder.token(&*token));
        Ok(())
    })
}

/// Sets the callback for token requests, and replaces the previous one; NULL removes it. A token is requested before
/// the first stream is opened, a minute before a token expires, and when the server no longer accepts it.
///
/// The callback gets a request, which it answers with one of the tidings_token_request_... functions, immediately or
/// later and from any thread. After a failure it is called again, with growing delays. It runs on a thread of its own
/// for each request, and may block and call anything. The options own `user_data` until the callback is replaced, and
/// so do the clients created with them; `drop` is called with the last of these.
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

/// Adds a header to every request. Its value is treated as a secret: it is never logged, and never sent to another
/// origin.
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

/// The User-Agent header. Default: "tidings/VERSION".
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

/// The client's name in log lines. Default: host and port of its URL.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_name(
    options: Option<&mut ClientOptions>,
    name: Text<'_>,
) -> Status {
    set(options, || {
        let name = name.get("name")?.to_owned();
        Ok(move |builder: ClientBuilder| builder.name(&*name))
    })
}

/// Selects RustBaaS as the backend, with the realm and the app of the collections. It supports neither filters nor
/// `expand`: tidings_client_subscribe() reports them as TIDINGS_ERR_UNSUPPORTED.
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

/// Selects a newer RustBaaS as the backend, whose apps are below /api/workspaces/, with the workspace and the app of the
/// collections. A `filter` of tidings_client_subscribe() goes to the server; `expand` is TIDINGS_ERR_UNSUPPORTED. Of this
/// and tidings_client_options_set_rustbaas() the last one called counts.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_rustbaas_workspace(
    options: Option<&mut ClientOptions>,
    workspace: Text<'_>,
    app: Text<'_>,
) -> Status {
    set(options, || {
        let (workspace, app) = (workspace.get("workspace")?.to_owned(), app.get("app")?.to_owned());
        Ok(move |builder: ClientBuilder| builder.rustbaas_workspace(&*workspace, &*app))
    })
}

/// RustBaaS only: the interval of the server's heartbeats. Default: 15 seconds. A stream that misses three is
/// considered dead and replaced.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_heartbeat(
    options: Option<&mut ClientOptions>,
    interval_ms: u64,
) -> Status {
    let interval = Duration::from_millis(interval_ms);
    set(options, || Ok(move |builder: ClientBuilder| builder.heartbeat(interval)))
}

/// The silence after which a stream is considered dead and replaced. Default: three heartbeats of a RustBaaS server; for
/// PocketBase, which sends nothing while nothing changes, a little more than the 5 minutes after which it ends an idle
/// stream itself. More than 0.
///
/// A shorter one notices a dead connection sooner, at the price of a reconnection, and of a TIDINGS_ACTION_GAP, whenever
/// nothing changes for that long.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_silence_timeout(
    options: Option<&mut ClientOptions>,
    timeout_ms: u64,
) -> Status {
    let timeout = Duration::from_millis(timeout_ms);
    set(options, || Ok(move |builder: ClientBuilder| builder.silence_timeout(timeout)))
}

/// RustBaaS only: sends the token of a stream as "?access_token=" instead of in a header. The token then appears in
/// access logs; use it only where a proxy strips headers.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_token_in_query(options: Option<&mut ClientOptions>) -> Status {
    set(options, || Ok(|builder: ClientBuilder| builder.token_in_query()))
}

/// Certificates to trust in addition to those of the system, in PEM: `len` bytes at `pem`.
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

/// The client certificate for servers that request one: its chain and its private key, in PEM.
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

/// The proxy for all requests, as "http://user:password@host:port", instead of the environment variables HTTP_PROXY,
/// HTTPS_PROXY and NO_PROXY. NULL disables proxies.
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

/// The timeout for connecting: DNS, TCP, proxy and TLS together. Default: 10 seconds.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_connect_timeout(
    options: Option<&mut ClientOptions>,
    timeout_ms: u64,
) -> Status {
    let timeout = Duration::from_millis(timeout_ms);
    set(options, || Ok(move |builder: ClientBuilder| builder.connect_timeout(timeout)))
}

/// How long a subscription that is waited for waits for the server's answer. Default: 30 seconds. It fails sooner with what
/// is known: where the server cannot be reached, with the first try to connect that fails, whether or not the client was
/// connected before; where it answers 429 or 5xx to the topic or to the connection, with the second such answer in a
/// row.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_subscribe_timeout(
    options: Option<&mut ClientOptions>,
    timeout_ms: u64,
) -> Status {
    let timeout = Duration::from_millis(timeout_ms);
    set(options, || Ok(move |builder: ClientBuilder| builder.subscribe_timeout(timeout)))
}

/// Whether the server is asked, with one small list request beside the first submit of a topic, if the topic of a collection
/// can deliver anything. Default: true. PocketBase acknowledges every topic, also that of a collection that does not exist,
/// that only superusers may list, or with a filter that it cannot evaluate, and then sends nothing.
/// tidings_client_subscribe() then fails with TIDINGS_ERR_REFUSED and the status of the list (404, 403, 400); a subscription
/// that is not waited for gets the state TIDINGS_SUBSCRIPTION_DENIED. An answer that may pass (429, 5xx, a timeout) fails
/// nothing. Not asked for tidings_client_subscribe_topic() and for topics with headers.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_verify_topics(
    options: Option<&mut ClientOptions>,
    wanted: bool,
) -> Status {
    set(options, || Ok(move |builder: ClientBuilder| builder.verify_topics(wanted)))
}

/// How long events may gather before the socket is read again, in microseconds. Default: 250; at most 10,000, and 0 always
/// reads at once. They gather only while more than about 4,000 come in a second: one wake-up then serves many.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_gather(
    options: Option<&mut ClientOptions>,
    longest_us: u64,
) -> Status {
    let longest = Duration::from_micros(longest_us);
    set(options, || Ok(move |builder: ClientBuilder| builder.gather(longest)))
}

/// The shortest and the longest delay before a lost connection is tried again. Default: 200 milliseconds and 20 seconds.
/// Each delay is drawn at random between the shortest and a ceiling that doubles with every failure, and after some seconds
/// is a third of the outage so far. A stream that was live for a second resets the ceiling.
///
/// Unless these are set, a stream that was live is replaced sooner, within 50 to 250 milliseconds; for ten times, and once
/// more for each three seconds that a stream is live. Once set, the shortest delay holds for these attempts too, but not
/// for the new stream after another user has signed in. A server's `retry:` raises the shortest delay, up to 5 minutes,
/// and its Retry-After a single one, up to an hour.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_backoff(
    options: Option<&mut ClientOptions>,
    min_ms: u64,
    max_ms: u64,
) -> Status {
    let (min, max) = (Duration::from_millis(min_ms), Duration::from_millis(max_ms));
    set(options, || Ok(move |builder: ClientBuilder| builder.backoff(min, max)))
}

/// The capacity of each listener's queue, in events, and what happens when it is full; a subscription may have its own.
/// Default: 8,192 and TIDINGS_OVERFLOW_DROP_OLDEST. A queue also never holds more than 64 MiB. Also returns
/// TIDINGS_ERR_INVALID_ARGUMENT for an unknown policy; with a capacity of 0, tidings_client_new() does.
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

/// The largest accepted message, in bytes. Default: 16 MiB; at least 1,024 bytes. A larger one is dropped and reported
/// as TIDINGS_ACTION_GAP.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_message_limit(
    options: Option<&mut ClientOptions>,
    bytes: usize,
) -> Status {
    set(options, || Ok(move |builder: ClientBuilder| builder.message_limit(bytes)))
}

/// How often the client asks the server whether it still accepts the client's identity. Default: 5 minutes. PocketBase
/// drops an identity without a message, for example when the password changes.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_options_set_identity_check(
    options: Option<&mut ClientOptions>,
    interval_ms: u64,
) -> Status {
    let interval = Duration::from_millis(interval_ms);
    set(options, || Ok(move |builder: ClientBuilder| builder.identity_check(interval)))
}

/// Whether changes of the connection also go into the queue, as TIDINGS_ACTION_STATE and TIDINGS_ACTION_DISCONNECTED,
/// for hosts that prefer the queue to callbacks. Default: no. Up to 64 of them are queued; then the oldest are dropped.
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
