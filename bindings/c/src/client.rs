//! Clients

use std::mem::MaybeUninit;

use tidings_core::blocking;

use crate::{
    border::{ErrorOut, Text, answer, free, given, value},
    client_options::ClientOptions,
    failure::Status,
    handle::Client,
    strings::{OwnedText, Strings},
};

/// Creates a client. It connects with the first subscription. `url` is the URL of the server without "/api", such as
/// "http://127.0.0.1:8090". `options` may be NULL.
///
/// The query and the fragment of the URL are ignored. "user:password@" before the host is sent as Basic authorization
/// with requests that have neither a token nor a header Authorization.
///
/// Threads: any. `*client` is yours: free it with tidings_client_free(). `options` are only read and stay yours.
/// Returns TIDINGS_ERR_INVALID_URL, TIDINGS_ERR_INVALID_ARGUMENT for an option with an invalid value,
/// TIDINGS_ERR_UNSUPPORTED for an option that the backend does not support, and TIDINGS_ERR_NETWORK when a thread
/// cannot be started.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_new(
    url: Text<'_>,
    options: Option<&ClientOptions>,
    client: Option<&mut MaybeUninit<Option<Box<Client>>>>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let out = given(client, "client")?;
        out.write(None);
        let url = url.get("url")?;
        let client = match options {
            Some(options) => options.build(url)?,
            None => blocking::Client::new(url)?,
        };
        out.write(Some(Box::new(Client::new(client))));
        Ok(())
    })
}

/// Closes the client: all subscriptions end, and calls that wait in other threads return TIDINGS_ERR_CLOSED. It returns
/// within a second, when the socket and the threads of the client are gone. The exception is the callback thread while
/// a callback is running: it ends with that callback, which is not waited for. The client still has to be freed.
/// Closing again does nothing.
///
/// Threads: any, callbacks of this client included. Returns TIDINGS_ERR_FORKED in a forked child, and does nothing
/// there.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_close(client: Option<&Client>, error: ErrorOut<'_>) -> Status {
    answer(error, || {
        let client = given(client, "client")?;
        client.client.get()?;
        client.client.close();
        Ok(())
    })
}

/// Closes the client unless it is closed, and frees it. No callback starts after that; one that is running continues,
/// and the `drop` of its user data is called when it returns.
///
/// Threads: one at a time, callbacks of this client included: no other thread may be in a call of this client, or start
/// one later. If one may be, call tidings_client_close() first and wait for that thread. In a forked child it leaves
/// the parent's client alone.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_free(client: Option<Box<Client>>) {
    value((), || {
        client.as_ref()?.client.close();
        Some(())
    });
    free(client);
}

/// Tells the client that the network has changed, for hosts that the system informs: waiting reconnects start at once,
/// and live connections are checked.
///
/// Threads: any. Returns TIDINGS_ERR_CLOSED.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_network_changed(client: Option<&Client>, error: ErrorOut<'_>) -> Status {
    answer(error, || {
        given(client, "client")?.open()?.network_changed();
        Ok(())
    })
}

/// The id that the server gave the stream, or NULL while there is no stream. RustBaaS has no such ids.
///
/// Threads: any. `*id` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_FORKED in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_id(
    client: Option<&Client>,
    id: Option<&mut MaybeUninit<OwnedText>>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let out = given(id, "id")?;
        out.write(OwnedText::NONE);
        let client = given(client, "client")?.client.get()?;
        out.write(OwnedText::or_null(client.realtime().client_id()));
        Ok(())
    })
}

/// The subscribed topics as they are sent to the server, sorted.
///
/// Threads: any. `*topics` is yours: free it with tidings_strings_free(). Returns TIDINGS_ERR_FORKED in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_active_subscriptions(
    client: Option<&Client>,
    topics: Option<&mut MaybeUninit<Option<Box<Strings>>>>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let out = given(topics, "topics")?;
        out.write(None);
        let client = given(client, "client")?.client.get()?;
        let topics = client.realtime().active_subscriptions().into_iter().collect();
        out.write(Some(Box::new(topics)));
        Ok(())
    })
}
