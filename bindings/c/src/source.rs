//! Event sources

use std::{
    ffi::{CStr, CString, c_char, c_int},
    mem::MaybeUninit,
    ptr,
    task::Poll,
    time::Instant,
};

use tidings_core::{Opened, SourceEvent as Told, SourceMessage, blocking};

#[cfg(unix)]
use crate::handle::Watched;
use crate::{
    border::{ErrorOut, Text, answer, free, given, limit, milliseconds, put, value},
    failure::{Error, Status},
    source_options::SourceOptions,
    state::{Reason, State, kind},
    strings::OwnedText,
    text::{Texts, c_text},
};

/// A client for any stream of server-sent events: the EventSource of the WHATWG HTML standard, for programs.
pub struct Source {
    source: blocking::EventSource,
    #[cfg(unix)]
    watched: Watched,
}

impl Source {
    #[cfg(unix)]
    fn fd(&self) -> Option<i32> {
        Some(self.watched.keep(self.source.descriptor().ok()?))
    }

    #[cfg(not(unix))]
    fn fd(&self) -> Option<i32> {
        None
    }
}

/// The kind of an event of an event source.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Something that this library's header did not know, or NULL.
    Unknown = 0,
    /// A stream is open. After the first one, each means that the source has reconnected.
    Open = 1,
    /// A message.
    Message = 2,
    /// A comment; only if wanted.
    Comment = 3,
    /// A message was larger than the limit and was dropped. Its id counts.
    TooLarge = 4,
    /// There is no stream: it ended, broke, fell silent, or could not be opened. The source tries again.
    Disconnected = 5,
    /// The last one: the source will not try again. See tidings_source_event_error(); without an error the stream ended in
    /// an orderly way, and the source takes one answer.
    Closed = 6,
    /// The stream ended within this message, and the source ends with it. No blank line came after it, so by the standard
    /// it is dropped, and it may be cut anywhere. Some servers leave out the blank line after their last message.
    Unfinished = 7,
}

/// A tidings_source_kind as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawSourceKind(c_int);

/// One event of an event source. It never changes.
pub struct SourceEvent {
    kind: SourceKind,
    /// With a NUL at its end, since it mostly is text.
    data: Option<Box<[u8]>>,
    name: Option<CString>,
    id: Option<CString>,
    reason: Reason,
    error: Option<Error>,
    retry_at: Option<Instant>,
    opened: Option<Opened>,
    url: Option<CString>,
    headers: Texts,
}

impl SourceEvent {
    fn new(told: Told) -> Self {
        let event = |kind| Self {
            kind,
            data: None,
            name: None,
            id: None,
            reason: Reason::None,
            error: None,
            retry_at: None,
            opened: None,
            url: None,
            headers: Texts::default(),
        };
        let message = |kind, message: SourceMessage| Self {
            name: Some(c_text(message.event())),
            id: Some(c_text(message.id())),
            data: Some(terminated(message.into_data())),
            ..event(kind)
        };
        match told {
            Told::Open(opened) => {
                let url = Some(c_text(opened.url()));
                Self { opened: Some(opened), url, ..event(SourceKind::Open) }
            }
            Told::Message(text) => message(SourceKind::Message, text),
            Told::Unfinished(text) => message(SourceKind::Unfinished, text),
            Told::Comment(text) => Self { data: Some(terminated(text)), ..event(SourceKind::Comment) },
            Told::TooLarge { .. } => event(SourceKind::TooLarge),
            Told::Disconnected { why, retry_at } => Self {
                reason: Reason::of(&why),
                error: Some(match why.error() {
                    Some(error) => error.into(),
                    None => Error::new(Status::ErrNetwork, why.to_string()),
                }),
                retry_at: Some(retry_at),
                ..event(SourceKind::Disconnected)
            },
            Told::Closed { why } => Self { error: why.map(Error::from), ..event(SourceKind::Closed) },
            _ => event(SourceKind::Unknown),
        }
    }
}

fn terminated(text: String) -> Box<[u8]> {
    let mut bytes = text.into_bytes();
    bytes.push(0);
    bytes.into_boxed_slice()
}

/// Creates an event source, which connects at once. All event sources of a process share one thread for their I/O. Each
/// reads ahead up to 64 events, or 1 MiB and one event; then its server has to wait. `options` may be NULL.
///
/// The method decides what the end of a stream means. GET reconnects until the source is closed. Every other method takes
/// one answer, since its request may have effects: see tidings_source_options_set_reconnect().
///
/// The query of the URL is sent, and a fragment ignored. "user:password@" before the host is sent as Basic authorization,
/// unless there is a token or a header Authorization.
///
/// Threads: any. `*source` is yours: free it with tidings_source_free(). `options` are only read and stay yours. Returns
/// TIDINGS_ERR_INVALID_URL, TIDINGS_ERR_INVALID_ARGUMENT for an option that cannot be used, and an error if no thread can be
/// created.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_new(
    url: Text<'_>,
    options: Option<&SourceOptions>,
    source: Option<&mut MaybeUninit<Option<Box<Source>>>>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let out = given(source, "source")?;
        out.write(None);
        let mut builder = tidings_core::EventSource::builder(url.get("url")?);
        if let Some(options) = options {
            builder = options.apply(builder);
        }
        out.write(Some(Box::new(Source {
            source: blocking::EventSource::build(builder)?,
            #[cfg(unix)]
            watched: Watched::default(),
        })));
        Ok(())
    })
}

/// Waits for the next event, but not longer than `timeout_ms` milliseconds: then it returns TIDINGS_OK, and `*event` is
/// NULL. With 0 it does not wait, with a negative timeout it waits indefinitely.
///
/// Threads: any; when several wait, each event goes to one of them. `*event` is yours: free it with
/// tidings_source_event_free(). Returns TIDINGS_ERR_CLOSED, at once, when there is nothing more: after
/// TIDINGS_SOURCE_KIND_CLOSED was given, and when the source was closed here.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_next(
    source: Option<&Source>,
    timeout_ms: i64,
    event: Option<&mut MaybeUninit<Option<Box<SourceEvent>>>>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let out = given(event, "event")?;
        out.write(None);
        match given(source, "source")?.source.next(limit(timeout_ms))? {
            Poll::Ready(Some(told)) => drop(out.write(Some(Box::new(SourceEvent::new(told))))),
            Poll::Ready(None) => {
                return Err(Error::new(Status::ErrClosed, "the event source is closed"));
            }
            Poll::Pending => {}
        }
        Ok(())
    })
}

/// A descriptor that is readable exactly while tidings_source_next() would not wait. See tidings_client_fd().
///
/// Threads: any. The descriptor belongs to the source.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_fd(source: Option<&Source>) -> i32 {
    value(-1, || source?.fd())
}

/// The state of the connection: TIDINGS_STATE_CONNECTING, _LIVE, _WAITING or _CLOSED.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_state(source: Option<&Source>) -> State {
    value(State::Unknown, || Some(kind(&source?.source.state().ok()?)))
}

/// The id that is in force after the last event that was taken. Save it, and pass it to
/// tidings_source_options_set_last_event_id() when the program starts again. Empty if there is none.
///
/// Threads: any. `*id` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_FORKED in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_last_event_id(
    source: Option<&Source>,
    id: Option<&mut MaybeUninit<OwnedText>>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let out = given(id, "id")?;
        out.write(OwnedText::NONE);
        out.write(OwnedText::new(given(source, "source")?.source.last_event_id()?));
        Ok(())
    })
}

/// Drops the connection, if there is one, and makes the request again at once, with the id of the last message and whatever
/// the method. What has been read already is still delivered. After the end it does nothing.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_restart(source: Option<&Source>, error: ErrorOut<'_>) -> Status {
    answer(error, || Ok(given(source, "source")?.source.restart()?))
}

/// Closes the source: what was not taken is dropped, and waiting calls return TIDINGS_ERR_CLOSED. It returns when its socket
/// is gone, and the thread with the last source. The source still has to be freed. Closing once more does nothing.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child, and does nothing there.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_close(source: Option<&Source>, error: ErrorOut<'_>) -> Status {
    answer(error, || {
        let source = given(source, "source")?;
        source.source.state()?;
        source.source.close();
        Ok(())
    })
}

/// Closes the source, if that has not been done, and frees it.
///
/// Threads: one at a time: no other thread may be in a call of this source, or make one later. NULL is allowed. In a
/// forked child it leaves the parent's source alone.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_free(source: Option<Box<Source>>) {
    value((), || {
        source.as_ref()?.source.close();
        Some(())
    });
    free(source);
}

/// The kind of the event.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_event_kind(event: Option<&SourceEvent>) -> SourceKind {
    value(SourceKind::Unknown, || Some(event?.kind))
}

/// The name of a kind, such as "message".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_kind_name(kind: RawSourceKind) -> *const c_char {
    const NAMES: [&CStr; 8] = [
        c"unknown",
        c"open",
        c"message",
        c"comment",
        c"too_large",
        c"disconnected",
        c"closed",
        c"unfinished",
    ];
    let name = usize::try_from(kind.0).ok().and_then(|kind| NAMES.get(kind));
    name.unwrap_or(&NAMES[0]).as_ptr()
}

/// The event type of a message, "message" unless the server named another; NULL for other kinds.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_event_name(event: Option<&SourceEvent>) -> *const c_char {
    value(ptr::null(), || Some(event?.name.as_ref()?.as_ptr()))
}

/// The data of a message, or the text of a comment, with a NUL after it, and in `*len`, which may be NULL, its length
/// without that: the text may hold a NUL itself. Empty data is "". NULL and 0 for other kinds.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_event_data(
    event: Option<&SourceEvent>,
    len: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    let data = event.and_then(|event| event.data.as_ref());
    put(len, data.map_or(0, |data| data.len() - 1));
    data.map_or(ptr::null(), |data| data.as_ptr().cast())
}

/// The last event id in force with a message, or "" if there is none; NULL for other kinds.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_event_id(event: Option<&SourceEvent>) -> *const c_char {
    value(ptr::null(), || Some(event?.id.as_ref()?.as_ptr()))
}

/// With TIDINGS_SOURCE_KIND_DISCONNECTED, why.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_event_reason(event: Option<&SourceEvent>) -> Reason {
    value(Reason::None, || Some(event?.reason))
}

/// With TIDINGS_SOURCE_KIND_DISCONNECTED what happened, and with TIDINGS_SOURCE_KIND_CLOSED what ended the source, with HTTP
/// status 204 if the server asked it to stop; NULL otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_event_error(event: Option<&SourceEvent>) -> Option<&Error> {
    value(None, || Some(event?.error.as_ref()))
}

/// With TIDINGS_SOURCE_KIND_DISCONNECTED, in how many milliseconds from now the source tries again; -1 otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_event_retry_in_ms(event: Option<&SourceEvent>) -> i64 {
    value(-1, || {
        let retry_at = event?.retry_at?;
        Some(milliseconds(Some(retry_at.saturating_duration_since(Instant::now()))))
    })
}

/// With TIDINGS_SOURCE_KIND_OPEN, a header of the answer; NULL when there is none or it is not text. Names are not
/// case-sensitive.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_event_header(event: Option<&SourceEvent>, name: Text<'_>) -> *const c_char {
    value(ptr::null(), || {
        let event = event?;
        event.headers.keep(event.opened.as_ref()?.header(name.optional("name").ok()??)?)
    })
}

/// With TIDINGS_SOURCE_KIND_OPEN, the HTTP status, which is 200; 0 otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_event_http_status(event: Option<&SourceEvent>) -> u16 {
    value(0, || Some(event?.opened.as_ref()?.status()))
}

/// With TIDINGS_SOURCE_KIND_OPEN, the URL of the stream, after redirects; its query may hold secrets. NULL otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_event_url(event: Option<&SourceEvent>) -> *const c_char {
    value(ptr::null(), || Some(event?.url.as_ref()?.as_ptr()))
}

/// Frees an event of an event source.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_source_event_free(event: Option<Box<SourceEvent>>) {
    free(event);
}
