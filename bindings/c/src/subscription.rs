//! Subscriptions

use std::{
    ffi::{c_char, c_int, c_void},
    mem::MaybeUninit,
    time::Duration,
};

use tidings_core::{Subscribe, SubscriptionState as Stands};

use crate::{
    border::{DropCallback, ErrorOut, Text, UserData, answer, free, given, name_of, put, value},
    client_options::RawOverflow,
    event::Event,
    failure::{Error, Status},
    handle::Client,
};

/// How a subscription stands.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Something that this library's header did not know; also for NULL and in a forked child.
    Unknown = 0,
    /// The server has not acknowledged the topic yet.
    Pending = 1,
    /// The server has acknowledged the topic, and the stream is up.
    Live = 2,
    /// The stream was lost, or is being replaced; the client is at it.
    Interrupted = 3,
    /// Nothing more comes; also for a spent id.
    Ended = 4,
}

/// A tidings_subscription_state as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawSubscriptionState(c_int);

/// The options of subscriptions to be. What is not set is as it is without options.
#[derive(Default)]
pub struct SubscribeOptions {
    settings: Vec<Box<dyn Fn(Subscribe) -> Subscribe>>,
    at_once: bool,
}

/// One more setting.
fn set<S>(options: Option<&mut SubscribeOptions>, setting: impl FnOnce() -> Result<S, Error>) -> Status
where
    S: Fn(Subscribe) -> Subscribe + 'static,
{
    answer(None, || {
        let options = given(options, "options")?;
        options.settings.push(Box::new(setting()?));
        Ok(())
    })
}

/// Options that are all as they are without. Never NULL. They can be used for any number of subscriptions.
///
/// Functions that set an option return TIDINGS_ERR_NULL_ARGUMENT or TIDINGS_ERR_INVALID_UTF8; whether a value can be used
/// is told by tidings_client_subscribe().
///
/// Threads: any. The options are yours: free them with tidings_subscribe_options_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscribe_options_new() -> Box<SubscribeOptions> {
    Box::default()
}

/// Frees options. Subscriptions made with them are not concerned.
///
/// Threads: one at a time. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscribe_options_free(options: Option<Box<SubscribeOptions>>) {
    free(options);
}

/// Only changes of records that match come. Build it with tidings_filter() when it has values from elsewhere. PocketBase
/// sends nothing when a record leaves the filter, and nothing at all when the expression has an unknown field.
///
/// Threads: one at a time. The text is copied.
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
///
/// Threads: one at a time. The text is copied.
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

/// The only fields that records shall have, separated by commas. Without "id" among them, tidings_event_record_id() is
/// NULL.
///
/// Threads: one at a time. The text is copied.
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

/// Any other query parameter, which the server's rules see as @request.query. A second of the same name replaces the
/// first.
///
/// Threads: one at a time. The texts are copied.
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

/// A header for this topic, which the server's rules see as @request.headers: "X-Token" as x_token.
///
/// Threads: one at a time. The texts are copied.
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

/// How many events may wait for this listener, and what happens to the one too many. See
/// tidings_client_options_set_queue().
///
/// Threads: one at a time. Returns TIDINGS_ERR_INVALID_ARGUMENT too.
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

/// Whether tidings_client_subscribe() waits until the server has acknowledged or refused the topic. Unless set it does.
/// Without, it returns at once, whether there is a network or not, and the connection is tried until there is one; a
/// refusal then comes as TIDINGS_ACTION_REFUSED.
///
/// Threads: one at a time.
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

/// How long tidings_client_subscribe() may wait for this topic, instead of as long as
/// tidings_client_options_set_subscribe_timeout() says. When the time is up, it withdraws the subscription and returns what
/// went wrong last, such as TIDINGS_ERR_REFUSED, or TIDINGS_ERR_TIMEOUT.
///
/// Threads: one at a time.
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

/// Called with each event of a subscription. The event belongs to the call: to keep it, see tidings_event_clone().
pub type EventCallback = Option<extern "C" fn(event: &Event, user_data: *mut c_void)>;

/// Subscribes to changes of all records of a collection (topic "*", by the collection's list rule) or of one record by its
/// id (by the view rule), and waits until the server has acknowledged or refused it. Each change that the server sends
/// from then on reaches the listener, or it is told what may be missing: TIDINGS_ACTION_GAP, TIDINGS_ACTION_LAGGED.
///
/// With a callback, events are given to it, one at a time and in order; without (NULL), they go into the client's queue:
/// see tidings_client_next(). Subscriptions to the same topic share it on the wire. A collection that does not exist, or
/// whose rule hides everything, is acknowledged like any other: then there are no events.
///
/// Threads: any. `options`, which may be NULL, are only read and stay yours. `user_data` passes to the subscription, and is
/// dropped when that has ended. `*id`, if `id` is not NULL, is the subscription's id, never 0; there is nothing to free.
/// Returns TIDINGS_ERR_INVALID_TOPIC, TIDINGS_ERR_REFUSED with the server's HTTP status and message, TIDINGS_ERR_NETWORK
/// when a client that was never connected cannot reach the server, TIDINGS_ERR_TIMEOUT, TIDINGS_ERR_UNSUPPORTED for an
/// option that the backend does not have, TIDINGS_ERR_TOKEN_PROVIDER, or TIDINGS_ERR_CLOSED.
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

/// Subscribes to any topic, such as one that a server hook publishes on, or "posts/*" as a whole. "PB_CONNECT" is told each
/// time a stream has been (re)established, after the server has acknowledged all other topics on it.
///
/// Threads, ownership and failure: as tidings_client_subscribe().
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
    let status = answer(error, || {
        let client = given(client, "client")?.get();
        let mut subscribe = begin(client.get()?)?;
        let defaults = SubscribeOptions::default();
        let options = options.unwrap_or(&defaults);
        for setting in &options.settings {
            subscribe = setting(subscribe);
        }
        if let Some(callback) = callback {
            subscribe =
                subscribe.on_with_id(move |id, event| callback(&Event::new(id, event), user_data.pointer()));
        }
        if options.at_once {
            made = client.start_queued(subscribe)?;
            return Ok(());
        }
        let (id, call) = client.subscribe_queued(subscribe)?;
        call.wait()?;
        made = id;
        Ok(())
    });
    put(id, made);
    status
}

/// Ends a subscription. Its callback is not called again, but for a call that runs at the moment, unless it is this one
/// that unsubscribes. A spent id, or 0, is harmless.
///
/// Threads: any. `user_data` of the callback is dropped soon, on a thread of the client. Returns TIDINGS_ERR_FORKED in a
/// forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_unsubscribe(
    client: Option<&Client>,
    id: u64,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || Ok(given(client, "client")?.get().unsubscribe(id)?))
}

/// Ends the subscriptions to a collection's `topic`, whatever their options, or with NULL all of the collection.
///
/// Threads: any. `*count`, if `count` is not NULL, is how many there were. Otherwise as tidings_client_unsubscribe().
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

/// Ends the subscriptions to a topic as it is given to tidings_client_subscribe_topic(), whatever their options.
///
/// Threads: any. `*count`, if `count` is not NULL, is how many there were. Otherwise as tidings_client_unsubscribe().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_unsubscribe_topic(
    client: Option<&Client>,
    topic: Text<'_>,
    count: Option<&mut MaybeUninit<usize>>,
    error: ErrorOut<'_>,
) -> Status {
    unsubscribe(client, count, error, |client| Ok(client.realtime().unsubscribe(Some(topic.get("topic")?))))
}

/// Ends the subscriptions to all topics that begin with `prefix`.
///
/// Threads: any. `*count`, if `count` is not NULL, is how many there were. Otherwise as tidings_client_unsubscribe().
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
/// Threads: any. `*count`, if `count` is not NULL, is how many there were. Otherwise as tidings_client_unsubscribe().
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

/// How a subscription stands.
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
            _ => SubscriptionState::Unknown,
        })
    })
}

/// The name of a subscription's state in lower case, such as "live"; "unknown" for any other number. Never NULL.
///
/// Threads: any. The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_subscription_state_name(state: RawSubscriptionState) -> *const c_char {
    name_of(state.0, &[c"unknown", c"pending", c"live", c"interrupted", c"ended"])
}

/// How many events a subscription has lost because they were not taken in time; 0 for a spent id.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_subscription_lost(client: Option<&Client>, id: u64) -> u64 {
    value(0, || client?.get().lost(id).ok())
}
