//! Calls that do not wait

use std::{ffi::c_void, mem::MaybeUninit, sync::Arc};

use tidings_core::blocking::Tag;

use crate::{
    border::{DropCallback, ErrorOut, Text, UserData, answer, given, put},
    failure::{Error, Status},
    handle::Client,
    request::{RequestOptions, request},
    subscription::{SubscribeOptions, configured},
};

/// What items of the queue carry.
pub(crate) fn tag(user_data: UserData) -> Option<Tag> {
    Some(Arc::new(user_data))
}

/// tidings_client_send() without waiting: the result comes as TIDINGS_ACTION_COMPLETED into the queue, with `*id` as
/// tidings_event_call(), `user_data`, and tidings_event_response() or tidings_event_error(). The call makes progress
/// while the queue is taken with tidings_client_next() or tidings_client_next_packed(), whenever tidings_client_fd() is
/// readable. At most 10,000 run at once.
///
/// Threads: any. `options` are only read. `drop` is called when the completion has been freed, or the call is cancelled.
/// `id` may be NULL. Returns TIDINGS_ERR_INVALID_ARGUMENT and TIDINGS_ERR_CLOSED; the completion has the other errors of
/// tidings_client_send().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_send_async(
    client: Option<&Client>,
    method: Text<'_>,
    path: Text<'_>,
    body: Text<'_>,
    options: Option<&RequestOptions>,
    user_data: *mut c_void,
    drop: DropCallback,
    id: Option<&mut MaybeUninit<u64>>,
    error: ErrorOut<'_>,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    submit(id, error, || {
        let client = given(client, "client")?.get();
        let request = request(client.get()?, method, path, body, options)?;
        Ok(client.submit(client.call(request)?, tag(user_data))?)
    })
}

/// tidings_client_auth_with_password() without waiting. The completion in the queue has the user's record as
/// tidings_event_record(); see tidings_client_send_async().
///
/// Threads, ownership and errors: as tidings_client_send_async().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_auth_with_password_async(
    client: Option<&Client>,
    collection: Text<'_>,
    identity: Text<'_>,
    password: Text<'_>,
    user_data: *mut c_void,
    drop: DropCallback,
    id: Option<&mut MaybeUninit<u64>>,
    error: ErrorOut<'_>,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    submit(id, error, || {
        let client = given(client, "client")?.get();
        let users = client.get()?.collection(collection.get("collection")?);
        let (identity, password) =
            (identity.get("identity")?.to_owned(), password.get("password")?.to_owned());
        let call = client.call(async move { users.auth_with_password(&identity, &password).await })?;
        Ok(client.submit(call, tag(user_data))?)
    })
}

/// tidings_client_auth_refresh() without waiting. As tidings_client_auth_with_password_async().
///
/// Threads, ownership and errors: as tidings_client_send_async().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_auth_refresh_async(
    client: Option<&Client>,
    collection: Text<'_>,
    user_data: *mut c_void,
    drop: DropCallback,
    id: Option<&mut MaybeUninit<u64>>,
    error: ErrorOut<'_>,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    submit(id, error, || {
        let client = given(client, "client")?.get();
        let users = client.get()?.collection(collection.get("collection")?);
        let call = client.call(async move { users.auth_refresh().await })?;
        Ok(client.submit(call, tag(user_data))?)
    })
}

/// tidings_client_subscribe() without waiting and without a callback: `*id` is the id of the subscription. Its first event is
/// TIDINGS_ACTION_ACKNOWLEDGED, or TIDINGS_ACTION_ENDED with the error that tidings_client_subscribe() would return, and
/// each has `user_data`. `topic` is one of the collection; if `collection` is NULL, it is any topic, as with
/// tidings_client_subscribe_topic(). tidings_client_unsubscribe() cancels it. With
/// tidings_subscribe_options_set_wait(false), it goes on connecting after a failure instead.
///
/// Threads: any. It makes progress as tidings_client_send_async() does. `drop` is called when the subscription has ended
/// and its last event has been freed. `id` may be NULL. Returns TIDINGS_ERR_INVALID_TOPIC, TIDINGS_ERR_INVALID_ARGUMENT,
/// TIDINGS_ERR_UNSUPPORTED and TIDINGS_ERR_CLOSED.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_subscribe_async(
    client: Option<&Client>,
    collection: Text<'_>,
    topic: Text<'_>,
    options: Option<&SubscribeOptions>,
    user_data: *mut c_void,
    drop: DropCallback,
    id: Option<&mut MaybeUninit<u64>>,
    error: ErrorOut<'_>,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    let mut held = None;
    let status = submit(id, error, || {
        let client = given(client, "client")?.get();
        let topic = topic.get("topic")?;
        let subscribe = match collection.optional("collection")? {
            Some(collection) => client.get()?.collection(collection).subscribe(topic),
            None => client.get()?.realtime().subscribe(topic),
        };
        let (subscribe, at_once) = configured(subscribe, options);
        if at_once {
            let tag: Tag = Arc::new(user_data);
            let (id, until_known) = client.start_held(subscribe.tagged(tag).acknowledged())?;
            held = Some(until_known);
            return Ok(id);
        }
        Ok(client.submit_subscribe(subscribe, tag(user_data))?)
    });
    // `*id` is written.
    std::mem::drop(held);
    status
}

pub(crate) fn submit(
    id: Option<&mut MaybeUninit<u64>>,
    error: ErrorOut<'_>,
    begin: impl FnOnce() -> Result<u64, Error>,
) -> Status {
    let mut made = 0;
    let status = answer(error, || {
        made = begin()?;
        Ok(())
    });
    put(id, made);
    status
}

/// Cancels a call. `*cancelled`, which may be NULL, says whether it was running: then nothing of it comes into the
/// queue, and its `drop` has been called. A request that was sent may still take effect at the server. The id of a
/// subscription, an expired id and 0 do nothing.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_cancel(
    client: Option<&Client>,
    id: u64,
    cancelled: Option<&mut MaybeUninit<bool>>,
    error: ErrorOut<'_>,
) -> Status {
    let mut was_running = false;
    let status = answer(error, || {
        was_running = given(client, "client")?.get().cancel(id)?;
        Ok(())
    });
    put(cancelled, was_running);
    status
}
