//! Who the client is

use std::{
    ffi::{c_char, c_void},
    mem::MaybeUninit,
};

use tidings_core::AuthResponse;

use crate::{
    border::{DropCallback, ErrorOut, Text, UserData, answer, given, parsed, value},
    failure::{Error, Status},
    handle::Client,
    strings::OwnedText,
    text::c_text,
};

/// Logs in with a user name or e-mail address and a password. The client then acts as that user: live subscriptions
/// move to the new identity, no event of the old one arrives after that, and each subscription gets a
/// TIDINGS_ACTION_GAP. For superusers, the collection is "_superusers", also with servers before 0.23.
///
/// Threads: any. `*record`, if `record` is not NULL, is set to the user's record as JSON text, which is yours: free it
/// with tidings_string_free(). Returns TIDINGS_ERR_REFUSED, with HTTP status 400, for wrong credentials, and the errors
/// of tidings_client_send().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_auth_with_password(
    client: Option<&Client>,
    collection: Text<'_>,
    identity: Text<'_>,
    password: Text<'_>,
    record: Option<&mut MaybeUninit<OwnedText>>,
    error: ErrorOut<'_>,
) -> Status {
    log_in(record, error, || {
        let client = given(client, "client")?.get();
        let users = client.get()?.collection(collection.get("collection")?);
        let (identity, password) =
            (identity.get("identity")?.to_owned(), password.get("password")?.to_owned());
        Ok(client.call(async move { users.auth_with_password(&identity, &password).await })?.wait()?)
    })
}

/// Exchanges the client's token for a new one.
///
/// Threads: any. `*record` as with tidings_client_auth_with_password(). Returns TIDINGS_ERR_REFUSED, with HTTP status
/// 401, when the token has expired or was revoked, and the errors of tidings_client_send().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_auth_refresh(
    client: Option<&Client>,
    collection: Text<'_>,
    record: Option<&mut MaybeUninit<OwnedText>>,
    error: ErrorOut<'_>,
) -> Status {
    log_in(record, error, || {
        let client = given(client, "client")?.get();
        let users = client.get()?.collection(collection.get("collection")?);
        Ok(client.call(async move { users.auth_refresh().await })?.wait()?)
    })
}

/// Called with the URL that the user has to visit. The text belongs to the call.
pub type OpenCallback = Option<extern "C" fn(url: *const c_char, user_data: *mut c_void)>;

/// Logs in through an OAuth2 provider, such as "github", that is configured for the collection. `open` is called once,
/// on the callback thread, with the URL that the user has to visit. The call returns when the login has succeeded or
/// failed, or after 5 minutes.
///
/// Threads: any. The call owns `user_data`. `*record` as with tidings_client_auth_with_password(). Returns
/// TIDINGS_ERR_INVALID_ARGUMENT when the server does not know the provider, TIDINGS_ERR_PROTOCOL when the user or the
/// provider declined, TIDINGS_ERR_TIMEOUT, and the errors of tidings_client_send().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_auth_with_oauth2(
    client: Option<&Client>,
    collection: Text<'_>,
    provider: Text<'_>,
    open: OpenCallback,
    user_data: *mut c_void,
    drop: DropCallback,
    record: Option<&mut MaybeUninit<OwnedText>>,
    error: ErrorOut<'_>,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    log_in(record, error, || {
        let client = given(client, "client")?.get();
        let users = client.get()?.collection(collection.get("collection")?);
        let open = given(open, "open")?;
        let visit = move |url: &str| open(c_text(url).as_ptr(), user_data.pointer());
        Ok(client.call(users.auth_with_oauth2(provider.get("provider")?, visit))?.wait()?)
    })
}

fn log_in(
    record: Option<&mut MaybeUninit<OwnedText>>,
    error: ErrorOut<'_>,
    ask: impl FnOnce() -> Result<AuthResponse, Error>,
) -> Status {
    let mut answered = None;
    let status = answer(error, || {
        answered = Some(ask()?);
        Ok(())
    });
    if let Some(record) = record {
        record.write(OwnedText::or_null(answered.map(|answer| answer.record.to_string())));
    }
    status
}

/// Sets the token, with or without "Bearer ", and the record that it belongs to as JSON text, or NULL. It takes effect
/// on its own, as with tidings_client_auth_with_password(). To become a guest, pass NULL for both.
///
/// Threads: any. The texts are copied. Returns TIDINGS_ERR_INVALID_ARGUMENT when the token is empty or has characters
/// that a header cannot carry, or the record is not JSON or comes without a token, and TIDINGS_ERR_CLOSED.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_set_token(
    client: Option<&Client>,
    token: Text<'_>,
    record: Text<'_>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let auth = given(client, "client")?.open()?.auth();
        match (token.optional("token")?, parsed(record, "record")?) {
            (Some(token), Some(record)) => auth.set(token, record)?,
            (Some(token), None) => auth.set_token(token)?,
            (None, None) => auth.clear(),
            (None, Some(_)) => {
                return Err(Error::argument("record", "it comes without a token"));
            }
        }
        Ok(())
    })
}

/// The token without "Bearer ", or NULL for a guest.
///
/// Threads: any. `*token` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_FORKED in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_token(
    client: Option<&Client>,
    token: Option<&mut MaybeUninit<OwnedText>>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let out = given(token, "token")?;
        out.write(OwnedText::NONE);
        let client = given(client, "client")?.get().get()?;
        out.write(OwnedText::or_null(client.auth().token()));
        Ok(())
    })
}

/// The record of the user as JSON text, or NULL when there was no login and none was set.
///
/// Threads: any. `*record` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_FORKED in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_auth_record(
    client: Option<&Client>,
    record: Option<&mut MaybeUninit<OwnedText>>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let out = given(record, "record")?;
        out.write(OwnedText::NONE);
        let client = given(client, "client")?.get().get()?;
        out.write(OwnedText::or_null(client.auth().record().map(|record| record.to_string())));
        Ok(())
    })
}

/// Whether there is a token that has not expired according to its `exp` claim. The server is not asked.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_auth_is_valid(client: Option<&Client>) -> bool {
    value(false, || Some(client?.get().get().ok()?.auth().is_valid()))
}
