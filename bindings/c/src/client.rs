//! Clients

use std::mem::MaybeUninit;

use tidings_core::blocking;

use crate::{
    border::{ErrorOut, Text, answer, free, given, value},
    client_options::ClientOptions,
    failure::Status,
    handle::{Client, Watched},
    strings::{OwnedText, Strings},
};

/// Makes a client. Nothing is connected before the first subscription. `url` is that of the server, such as
/// "http://127.0.0.1:8090", without "/api". `options` may be NULL.
///
/// A query and a fragment of the URL are ignored. "user:password@" before the host is sent as Basic authorization with
/// requests that have no token and no header Authorization: a token takes its place.
///
/// Threads: any. `*client` is yours: free it with tidings_client_free(). `options` are only read and stay yours. Returns
/// TIDINGS_ERR_INVALID_URL, TIDINGS_ERR_INVALID_ARGUMENT for an option that cannot be used, TIDINGS_ERR_UNSUPPORTED for
/// one that the backend does not have, and TIDINGS_ERR_NETWORK when the system gives no thread.
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
        out.write(Some(Box::new(Client { client, watched: Watched::default() })));
        Ok(())
    })
}

/// Closes the client: all subscriptions end, and whoever waits in another call gets TIDINGS_ERR_CLOSED. It returns when no
/// socket and no thread of the client is left, within a second, and does not wait for a callback that is running. The
/// client still has to be freed. Closing once more does nothing.
///
/// Threads: any, callbacks of this client included. Returns TIDINGS_ERR_FORKED in a forked child, and does nothing there.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_close(client: Option<&Client>, error: ErrorOut<'_>) -> Status {
    answer(error, || {
        let client = given(client, "client")?;
        client.client.get()?;
        client.client.close();
        Ok(())
    })
}

/// Closes the client, if that has not been done, and frees it. After that no callback begins any more; one that runs at
/// the moment goes on, and the `drop` of its user data comes when it is done.
///
/// Threads: one at a time, callbacks of this client included: no other thread may be in a call of this client, or make one
/// later. To end calls of other threads, tidings_client_close() first and wait for these threads. NULL is allowed. In a
/// forked child it leaves the parent's client alone.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_free(client: Option<Box<Client>>) {
    value((), || {
        client.as_ref()?.client.close();
        Some(())
    });
    free(client);
}

/// Tells the client that the network has changed, as a mobile host learns from its system: waiting connections are tried
/// at once, and live ones are checked.
///
/// Threads: any. Returns TIDINGS_ERR_CLOSED.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_network_changed(client: Option<&Client>, error: ErrorOut<'_>) -> Status {
    answer(error, || {
        given(client, "client")?.open()?.network_changed();
        Ok(())
    })
}

/// The server's id of the stream, or NULL while there is none. RustBaaS gives its streams no id.
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

/// The topics subscribed to, as they stand on the wire, sorted.
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
