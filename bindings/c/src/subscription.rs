//! Subscriptions

use std::{
    ffi::{c_char, c_int, c_void},
    mem::MaybeUninit,
    sync::Arc,
    time::Duration,
};

use tidings_core::{Subscribe, SubscriptionState as Stands};

use crate::{
    border::{DropCallback, ErrorOut, Text, UserData, answer, free, given, name_of, put, value},
    client_options::RawOverflow,
    event::Event,
    failure::{Error, Status},
    handle::Client,
    settings::{Options, Settings, set},
};

/// The state of a subscription.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionState {
    /// A state that this version of the header does not know; also for NULL and in a forked child.
    Unknown = 0,
    /// The server has not acknowledged the topic yet.
    Pending = 1,
    /// The server has acknowledged the topic, and the stream is open.
    Live = 2,
    /// The stream was lost or is being replaced; the client is reconnecting.
    Interrupted = 3,
    /// The subscription has ended; also for an expired or unknown id.
    Ended = 4,
    /// The server has acknowledged the topic, but no event can come: it refuses a list with the same options. Only for a
    /// subscription that was not waited for; see tidings_client_options_set_verify_topics().
    Denied = 5,
}

/// A tidings_subscription_state as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawSubscriptionState(c_int);

/// Options for subscribing. Unset options keep their defaults.
#[derive(Default)]
pub struct SubscribeOptions {
    settings: Settings<Subscribe>,
    at_once: bool,
}

impl Options for SubscribeOptions {
    type Builder = Subscribe;

    fn settings(&mut self) -> &mut Settings<Subscribe> {
        &mut self.settings
    }
}

/// Creates an options object with all defaults, for any number of subscriptions. Never NULL. A value that cannot be
/// used is reported by tidings_client_subscribe().
///
/// Threads: any. The options are yours: free them with tidings_subscribe_options_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscribe_options_new() -> Box<SubscribeOptions> {
    Box::default()
}

/// Frees options. Subscriptions created with them are not affected.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscribe_options_free(options: Option<Box<SubscribeOptions>>) {
    free(options);
}

/// Delivers only changes of records that match this filter. Build it with tidings_filter() if it contains values from
/// outside. PocketBase sends nothing when a record stops matching, and nothing at all if the filter has an unknown
/// field.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscribe_options_set_filter(
    options: Option<&mut SubscribeOptions>,
    expression: Text<'_>,
) -> Status {
    set(options, || {
        let expression = expression.get("expression")?.to_owned();
        Ok(move |subscribe: Subscribe| subscribe.filter(&*expression))
    })
}

/// Relations to put into the record's "expand", separated by commas.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscribe_options_set_expand(
    options: Option<&mut SubscribeOptions>,
    relations: Text<'_>,
) -> Status {
    set(options, || {
        let relations = relations.get("relations")?.to_owned();
        Ok(move |subscribe: Subscribe| subscribe.expand(&*relations))
    })
}

/// The fields that records shall have, separated by commas. Without "id" among them, tidings_event_record_id() is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscribe_options_set_fields(
    options: Option<&mut SubscribeOptions>,
    fields: Text<'_>,
) -> Status {
    set(options, || {
        let fields = fields.get("fields")?.to_owned();
        Ok(move |subscribe: Subscribe| subscribe.fields(&*fields))
    })
}

/// Adds any other query parameter, which the server's rules see as @request.query. It replaces one with the same name.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscribe_options_add_query(
    options: Option<&mut SubscribeOptions>,
    name: Text<'_>,
    query_value: Text<'_>,
) -> Status {
    set(options, || {
        let (name, text) = (name.get("name")?.to_owned(), query_value.get("value")?.to_owned());
        Ok(move |subscribe: Subscribe| subscribe.query(&*name, &*text))
    })
}

/// Adds a header for this topic, which the server's rules see as @request.headers: "X-Token" as x_token.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscribe_options_add_header(
    options: Option<&mut SubscribeOptions>,
    name: Text<'_>,
    header_value: Text<'_>,
) -> Status {
    set(options, || {
        let (name, text) = (name.get("name")?.to_owned(), header_value.get("value")?.to_owned());
        Ok(move |subscribe: Subscribe| subscribe.header(&*name, &*text))
    })
}

/// The capacity of this listener's queue, in events, and what happens when it is full: see
/// tidings_client_options_set_queue(). Also returns TIDINGS_ERR_INVALID_ARGUMENT for an unknown policy; with a capacity
/// of 0, tidings_client_subscribe() does.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscribe_options_set_queue(
    options: Option<&mut SubscribeOptions>,
    events: usize,
    overflow: RawOverflow,
) -> Status {
    set(options, || {
        let overflow = overflow.get()?;
        Ok(move |subscribe: Subscribe| subscribe.queue(events, overflow))
    })
}

/// Whether tidings_client_subscribe() waits until the server has acknowledged or refused the topic. Default: yes. If
/// not, it returns immediately, with or without a network, and the client keeps connecting in the background; a refusal
/// is then reported as TIDINGS_ACTION_REFUSED.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscribe_options_set_wait(
    options: Option<&mut SubscribeOptions>,
    wanted: bool,
) -> Status {
    answer(None, || {
        given(options, "options")?.at_once = !wanted;
        Ok(())
    })
}

/// How long tidings_client_subscribe() waits for this topic. Default: tidings_client_options_set_subscribe_timeout().
/// When the timeout expires, the subscription is withdrawn, and the call returns the last error, such as
/// TIDINGS_ERR_REFUSED, or TIDINGS_ERR_TIMEOUT.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscribe_options_set_timeout(
    options: Option<&mut SubscribeOptions>,
    timeout_ms: u64,
) -> Status {
    set(options, || {
        let timeout = Duration::from_millis(timeout_ms);
        Ok(move |subscribe: Subscribe| subscribe.timeout(timeout))
    })
}

/// With its options, and whether the caller does not wait.
pub(crate) fn configured(subscribe: Subscribe, options: Option<&SubscribeOptions>) -> (Subscribe, bool) {
    let Some(SubscribeOptions { settings, at_once }) = options else { return (subscribe, false) };
    (settings.apply(subscribe), *at_once)
}

/// Called with each event of a subscription. The event belongs to the call: to keep it, see tidings_event_clone().
pub type EventCallback = Option<extern "C" fn(event: &Event, user_data: *mut c_void)>;

/// Subscribes to changes of all records of a collection (topic "*", by the collection's list rule) or of one record by
/// its id (by the view rule), and waits until the server has acknowledged or refused the topic. Each change that the
/// server sends from then on reaches the listener, or a notice says what may be missing: TIDINGS_ACTION_GAP,
/// TIDINGS_ACTION_LAGGED.
///
/// With a callback, each event is passed to it, one at a time and in order. Without one (NULL), events go into the
/// client's queue: see tidings_client_next(). Subscriptions to the same topic share it on the wire.
///
/// Without a callback, each event in the queue carries `user_data`, see tidings_event_user_data(), and `drop` is called
/// when the subscription has ended and the last of its events has been freed.
///
/// A callback is called for the last time with TIDINGS_ACTION_REFUSED, which has the reason, if the server or the token
/// callback ended the subscription. If you unsubscribe or close the client, it is not called again. In both cases
/// `drop` follows.
///
/// Threads: any. `options` may be NULL, are only read and stay yours. The subscription owns `user_data`, until it has
/// ended. `*id`, if `id` is not NULL, is set to the subscription's id, which is never 0 and needs no free. Returns
/// TIDINGS_ERR_INVALID_TOPIC, TIDINGS_ERR_INVALID_ARGUMENT for an option with an invalid value, TIDINGS_ERR_UNSUPPORTED
/// for an option that the backend does not support, TIDINGS_ERR_REFUSED with the server's HTTP status and message,
/// TIDINGS_ERR_NETWORK when a client that was never connected cannot reach the server, TIDINGS_ERR_TIMEOUT,
/// TIDINGS_ERR_TOKEN_PROVIDER, or TIDINGS_ERR_CLOSED.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_subscribe(
    client: Option<&Client>,
    collection: Text<'_>,
    topic: Text<'_>,
    options: Option<&SubscribeOptions>,
    callback: EventCallback,
    user_data: *mut c_void,
    drop: DropCallback,
    id: Option<&mut MaybeUninit<u64>>,
    error: ErrorOut<'_>,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    subscribe(client, options, callback, user_data, id, error, |client| {
        Ok(client.collection(collection.get("collection")?).subscribe(topic.get("topic")?))
    })
}

/// Subscribes to any topic, such as one that a server hook publishes to, or "posts/*" as a whole. "PB_CONNECT" delivers
/// an event each time a stream has been (re)established, after the server has acknowledged all other topics on it.
///
/// Threads, ownership and errors: as tidings_client_subscribe().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_subscribe_topic(
    client: Option<&Client>,
    topic: Text<'_>,
    options: Option<&SubscribeOptions>,
    callback: EventCallback,
    user_data: *mut c_void,
    drop: DropCallback,
    id: Option<&mut MaybeUninit<u64>>,
    error: ErrorOut<'_>,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    subscribe(client, options, callback, user_data, id, error, |client| {
        Ok(client.realtime().subscribe(topic.get("topic")?))
    })
}

fn subscribe(
    client: Option<&Client>,
    options: Option<&SubscribeOptions>,
    callback: EventCallback,
    user_data: UserData,
    id: Option<&mut MaybeUninit<u64>>,
    error: ErrorOut<'_>,
    begin: impl FnOnce(&tidings_core::Client) -> Result<Subscribe, Error>,
) -> Status {
    let mut made = 0;
    let mut held = None;
    let status = answer(error, || {
        let client = given(client, "client")?.get();
        let (subscribe, at_once) = configured(begin(client.get()?)?, options);
        let subscribe = match callback {
            Some(callback) => {
                subscribe.on_with_id(move |id, event| callback(&Event::new(id, event), user_data.pointer()))
            }
            None if at_once => subscribe.tagged(Arc::new(user_data)).acknowledged(),
            None => subscribe.tagged(Arc::new(user_data)),
        };
        let (id, until_known) = if at_once {
            client.start_held(subscribe)?
        } else {
            let (id, call) = client.subscribe_held(subscribe)?;
            (id, call.wait()?)
        };
        made = id;
        held = Some(until_known);
        Ok(())
    });
    put(id, made);
    // `*id` is written, so events of it may come.
    drop(held);
    status
}

/// Ends a subscription. Its callback is not called again. A call that is running on another thread is not waited for: free
/// what the callback uses in `drop`. An expired id, or 0, does nothing.
///
/// Threads: any. `drop` is called soon after, on a thread of the client. Returns TIDINGS_ERR_FORKED in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_unsubscribe(
    client: Option<&Client>,
    id: u64,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || Ok(given(client, "client")?.get().unsubscribe(id)?))
}

/// Ends all subscriptions to the collection's `topic`, whatever their options, or with NULL all of the collection.
///
/// Threads: any. `*count`, if `count` is not NULL, is set to their number. Otherwise as tidings_client_unsubscribe().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_unsubscribe_collection(
    client: Option<&Client>,
    collection: Text<'_>,
    topic: Text<'_>,
    count: Option<&mut MaybeUninit<usize>>,
    error: ErrorOut<'_>,
) -> Status {
    unsubscribe(client, count, error, |client| {
        let topic = topic.optional("topic")?;
        Ok(client.collection(collection.get("collection")?).unsubscribe(topic))
    })
}

/// Ends all subscriptions to a topic as passed to tidings_client_subscribe_topic(), whatever their options.
///
/// Threads: any. `*count`, if `count` is not NULL, is set to their number. Otherwise as tidings_client_unsubscribe().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_unsubscribe_topic(
    client: Option<&Client>,
    topic: Text<'_>,
    count: Option<&mut MaybeUninit<usize>>,
    error: ErrorOut<'_>,
) -> Status {
    unsubscribe(client, count, error, |client| Ok(client.realtime().unsubscribe(Some(topic.get("topic")?))))
}

/// Ends all subscriptions to topics that begin with `prefix`.
///
/// Threads: any. `*count`, if `count` is not NULL, is set to their number. Otherwise as tidings_client_unsubscribe().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_unsubscribe_prefix(
    client: Option<&Client>,
    prefix: Text<'_>,
    count: Option<&mut MaybeUninit<usize>>,
    error: ErrorOut<'_>,
) -> Status {
    unsubscribe(client, count, error, |client| {
        Ok(client.realtime().unsubscribe_by_prefix(prefix.get("prefix")?))
    })
}

/// Ends all subscriptions of the client.
///
/// Threads: any. `*count`, if `count` is not NULL, is set to their number. Otherwise as tidings_client_unsubscribe().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_unsubscribe_all(
    client: Option<&Client>,
    count: Option<&mut MaybeUninit<usize>>,
    error: ErrorOut<'_>,
) -> Status {
    unsubscribe(client, count, error, |client| Ok(client.realtime().unsubscribe(None)))
}

fn unsubscribe(
    client: Option<&Client>,
    count: Option<&mut MaybeUninit<usize>>,
    error: ErrorOut<'_>,
    end: impl FnOnce(&tidings_core::Client) -> Result<usize, Error>,
) -> Status {
    let mut ended = 0;
    let status = answer(error, || {
        ended = end(given(client, "client")?.get().get()?)?;
        Ok(())
    });
    put(count, ended);
    status
}

/// The state of a subscription.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_subscription_state(client: Option<&Client>, id: u64) -> SubscriptionState {
    value(SubscriptionState::Unknown, || {
        Some(match client?.get().subscription_state(id).ok()? {
            Stands::Pending => SubscriptionState::Pending,
            Stands::Live => SubscriptionState::Live,
            Stands::Interrupted => SubscriptionState::Interrupted,
            Stands::Ended => SubscriptionState::Ended,
            Stands::Denied => SubscriptionState::Denied,
            _ => SubscriptionState::Unknown,
        })
    })
}

/// Why no event can come to a subscription; NULL otherwise. While the state is TIDINGS_SUBSCRIPTION_DENIED, what the server
/// answers to a list with the same options. While it is TIDINGS_SUBSCRIPTION_PENDING or _INTERRUPTED, the last refusal of
/// the topic, with 429 or 5xx, which the client submits again.
///
/// Threads: any. The error is yours: free it with tidings_error_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_subscription_denial(client: Option<&Client>, id: u64) -> Option<Box<Error>> {
    value(None, || client?.get().denial(id).ok()?.map(|error| Some(Box::new(error.into()))))
}

/// The name of a subscription's state, such as "live".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscription_state_name(state: RawSubscriptionState) -> *const c_char {
    name_of(state.0, &[c"unknown", c"pending", c"live", c"interrupted", c"ended", c"denied"])
}

/// The number of events that a subscription has dropped because its queue was full; 0 for an expired id.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_subscription_lost(client: Option<&Client>, id: u64) -> u64 {
    value(0, || client?.get().lost(id).ok())
}
