//! Live views

use std::{
    ffi::{CString, c_char, c_int, c_void},
    mem::MaybeUninit,
    ptr,
    sync::{Arc, Mutex, OnceLock},
    task::Poll,
    time::{Duration, Instant},
};

use tidings_core::{Delta, Doubt, Freshness as Stands, Row, Why, blocking};

use crate::{
    border::{
        DropCallback, ErrorOut, Text, UserData, answer, free, given, limit, milliseconds, name_of, put, value,
    },
    calls::{submit, tag},
    failure::{Error, Status},
    handle::Client,
    text::c_text,
    watch_options::{WatchOptions, configured},
};

/// A live view: a list of records that is kept up to date.
pub struct View {
    id: u64,
    view: Mutex<blocking::View>,
    /// For everything but the next changes.
    shared: blocking::View,
}

/// The rows of a view at one moment. They never change.
pub struct Rows {
    rows: tidings_core::Rows,
    /// As C wants them, made when first asked for.
    texts: OnceLock<Box<[OnceLock<RowText>]>>,
    array: OnceLock<Box<[u8]>>,
}

struct RowText {
    id: CString,
    json: CString,
}

impl RowText {
    fn new(row: &Row) -> Self {
        Self { id: c_text(row.id()), json: c_text(row.text()) }
    }
}

impl Rows {
    fn new(rows: tidings_core::Rows) -> Self {
        Self { rows, texts: OnceLock::new(), array: OnceLock::new() }
    }

    fn text(&self, index: usize) -> Option<&RowText> {
        let row = self.rows.get(index)?;
        let texts = self.texts.get_or_init(|| self.rows.iter().map(|_| OnceLock::new()).collect());
        Some(texts.get(index)?.get_or_init(|| RowText::new(row)))
    }
}

/// Whether the rows of a view are what the server has.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Something that this version of the header does not know; also for NULL and in a forked child.
    Unknown = 0,
    /// The rows are the server's list, with all changes since then.
    Proven = 1,
    /// In doubt: the link to the server is down, or not up yet. The rows stay what they were.
    Disconnected = 2,
    /// In doubt: changes may have been missed, and the list is being compared with the server's.
    Comparing = 3,
    /// In doubt: the client is somebody else now, or the server does not take its token. The rows are those of the identity
    /// before.
    Identity = 4,
    /// In doubt: the server did not answer a list. It is asked again, with back-off.
    ListFailed = 5,
    /// The view has ended: see tidings_view_error().
    Ended = 6,
}

/// A tidings_freshness as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawFreshness(c_int);

impl Freshness {
    fn of(status: &tidings_core::Status) -> Self {
        match &status.freshness {
            Stands::Proven { .. } => Self::Proven,
            Stands::InDoubt { why: Doubt::Disconnected, .. } => Self::Disconnected,
            Stands::InDoubt { why: Doubt::Comparing, .. } => Self::Comparing,
            Stands::InDoubt { why: Doubt::Identity(_), .. } => Self::Identity,
            Stands::InDoubt { why: Doubt::ListFailed(_), .. } => Self::ListFailed,
            _ => Self::Unknown,
        }
    }
}

/// What a delta does to the list.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DeltaKind {
    /// Something that this version of the header does not know; also for NULL and an index that is out of range.
    Unknown = 0,
    /// A row came: put it at tidings_changes_to().
    Insert = 1,
    /// A row changed: take it from tidings_changes_from(), then put it at tidings_changes_to(), counted without it. They
    /// are the same where it did not move.
    Update = 2,
    /// A row left: take it from tidings_changes_from().
    Remove = 3,
    /// The list is another one, tidings_changes_rows(): the first, or one that differs in so much that deltas would be
    /// more. It is the only delta of its batch.
    Reset = 4,
}

/// A tidings_delta_kind as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawDeltaKind(c_int);

/// Why a row left the list.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RemoveReason {
    /// The delta removes nothing.
    None = 0,
    /// It was deleted.
    Deleted = 1,
    /// It does not match the filter any more.
    LeftFilter = 2,
    /// Others came before it, and it is beyond the limit.
    Displaced = 3,
    /// The server does not list it any more, as was found by comparing: it was deleted, has left the filter, or a rule
    /// hides it now.
    Gone = 4,
    /// A reason that this version of the header does not know.
    Other = 5,
}

/// A tidings_remove_reason as a host passes it in: any number.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawRemoveReason(c_int);

/// What has happened to a view since the batch before, in one step. It never changes.
pub struct Changes {
    deltas: Vec<Told>,
    rows: Rows,
    freshness: Freshness,
    error: Option<Error>,
}

/// One delta, and its texts, made when first asked for.
struct Told {
    delta: Delta,
    row: OnceLock<RowText>,
    old: OnceLock<CString>,
}

impl Told {
    fn row(&self) -> Option<&RowText> {
        match &self.delta {
            Delta::Insert { row, .. } | Delta::Update { row, .. } | Delta::Remove { row, .. } => {
                Some(self.row.get_or_init(|| RowText::new(row)))
            }
            _ => None,
        }
    }

    fn old(&self) -> Option<&CString> {
        match &self.delta {
            Delta::Update { old, .. } => Some(self.old.get_or_init(|| c_text(old.text()))),
            _ => None,
        }
    }
}

impl Changes {
    fn new(changes: &tidings_core::Changes) -> Self {
        let told = |delta: &Delta| Told { delta: delta.clone(), row: OnceLock::new(), old: OnceLock::new() };
        let error = match &changes.status().freshness {
            Stands::InDoubt { why, .. } => why.error().map(Error::from),
            _ => None,
        };
        Self {
            deltas: changes.deltas().iter().map(told).collect(),
            rows: Rows::new(changes.rows().clone()),
            freshness: Freshness::of(changes.status()),
            error,
        }
    }

    fn ended(error: &tidings_core::Error) -> Self {
        Self {
            deltas: Vec::new(),
            rows: Rows::new(tidings_core::Rows::default()),
            freshness: Freshness::Ended,
            error: Some(error.into()),
        }
    }
}

/// Called with each batch of changes of a view. It belongs to the call.
pub type ChangesCallback = Option<extern "C" fn(changes: &Changes, user_data: *mut c_void)>;

/// What belongs to a callback. The function that took it drops it when it fails, and before it returns.
struct Lent(Mutex<Option<UserData>>);

impl Lent {
    fn pointer(&self) -> Option<*mut c_void> {
        self.0.lock().ok()?.as_ref().map(UserData::pointer)
    }

    fn end(&self) {
        let user_data = self.0.lock().ok().and_then(|mut lent| lent.take());
        drop(user_data);
    }
}

/// Makes a live view: a list of the collection's records, with filter, order and limit, that is kept up to date. After an
/// outage it is compared with the server's list; records that left the filter are gone, and it says while it is in doubt.
/// The call waits for the first list. `options` may be NULL.
///
/// tidings_view_rows() has the list at any time. Changes come in batches, of which a slow reader gets fewer and larger ones,
/// and never loses one:
/// - With a callback, each batch is passed to it, on the thread that runs all callbacks of the client. Its last call has
///   TIDINGS_FRESHNESS_ENDED and tidings_changes_error(), unless the view was closed or freed here. `drop` follows.
/// - Without one (NULL), each time that there is something to take that was not there before, and when the view has ended,
///   TIDINGS_ACTION_CHANGED comes into the client's queue, with tidings_view_id() as tidings_event_subscription() and with
///   `user_data`: call tidings_view_next() with a timeout of 0 then. One may still come after tidings_view_free(); `drop`
///   is called when the last one has been freed.
///
/// No news comes before `*view` is set. The first batch is one TIDINGS_DELTA_KIND_RESET with the first list. One without
/// deltas says that the freshness has changed.
///
/// Threads: any. `*view` is yours: free it with tidings_view_free(), which ends it. `options` are only read. Returns
/// TIDINGS_ERR_INVALID_ARGUMENT for a filter with a syntax error (with its column), an order or a limit that cannot be,
/// TIDINGS_ERR_UNSUPPORTED where the backend has no lists (RustBaaS), TIDINGS_ERR_REFUSED with the server's HTTP status
/// and message (404: no such collection, 403: only superusers may list it, 400: an unknown field in the filter, 401: the
/// server does not take the token), TIDINGS_ERR_NETWORK, TIDINGS_ERR_TIMEOUT, TIDINGS_ERR_CLOSED.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_watch(
    client: Option<&Client>,
    collection: Text<'_>,
    options: Option<&WatchOptions>,
    callback: ChangesCallback,
    user_data: *mut c_void,
    drop: DropCallback,
    view: Option<&mut MaybeUninit<Option<Box<View>>>>,
    error: ErrorOut<'_>,
) -> Status {
    let lent = Arc::new(Lent(Mutex::new(Some(UserData::new(user_data, drop)))));
    let status = answer(error, || {
        let out = given(view, "view")?;
        out.write(None);
        let client = given(client, "client")?.get();
        let watch = client.get()?.collection(collection.get("collection")?).watch();
        let (watch, at_once) = configured(watch, options);
        let (watch, tag): (_, Option<blocking::Tag>) = match callback {
            Some(callback) => {
                let lent = lent.clone();
                let call = move |news: Result<tidings_core::Changes, tidings_core::Error>| {
                    let changes = match news {
                        Ok(changes) => Changes::new(&changes),
                        Err(error) => Changes::ended(&error),
                    };
                    if let Some(user_data) = lent.pointer() {
                        callback(&changes, user_data);
                    }
                };
                (watch.on(call), None)
            }
            None => {
                let user_data = lent.0.lock().ok().and_then(|mut lent| lent.take());
                (watch, user_data.map(|user_data| Arc::new(user_data) as blocking::Tag))
            }
        };
        let (id, made) = if at_once {
            client.start_watch_queued(watch, tag)?
        } else {
            let (id, call) = client.watch_queued(watch, tag)?;
            (id, call.wait()?)
        };
        let shared = made.another();
        let view = View { id, view: Mutex::new(made), shared };
        out.write(Some(Box::new(view))).as_ref().map_or(Ok(()), |view| view.shared.release())?;
        Ok(())
    });
    if status != Status::Ok {
        lent.end();
    }
    status
}

/// The id of a view, which no other view or subscription of the client has: TIDINGS_ACTION_CHANGED names it. 0 for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_view_id(view: Option<&View>) -> u64 {
    value(0, || Some(view?.id))
}

/// Waits for the next batch of changes, but not longer than `timeout_ms` milliseconds: then it returns TIDINGS_OK, and
/// `*changes` is NULL. With 0 it does not wait, with a negative timeout it waits indefinitely. Not for a view with a
/// callback.
///
/// Threads: any; if several wait, one of them waits for the others. `*changes` is yours: free it with
/// tidings_changes_free(). When nothing more comes, it returns TIDINGS_ERR_CLOSED if the view or the client was closed
/// here, or the error that ended the view, such as TIDINGS_ERR_REFUSED.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_view_next(
    view: Option<&View>,
    timeout_ms: i64,
    changes: Option<&mut MaybeUninit<Option<Box<Changes>>>>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let out = given(changes, "changes")?;
        out.write(None);
        let view = given(view, "view")?;
        let mut reader = view.view.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match reader.next(limit(timeout_ms))? {
            Poll::Ready(Some(changes)) => drop(out.write(Some(Box::new(Changes::new(&changes))))),
            Poll::Ready(None) => return Err(reader.error()?.unwrap_or(tidings_core::Error::Closed).into()),
            Poll::Pending => {}
        }
        Ok(())
    })
}

/// The rows as they are now: none before the first list, and after the end what was shown last. It is cheap.
///
/// Threads: any. `*rows` is yours: free it with tidings_rows_free(). Returns TIDINGS_ERR_FORKED in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_view_rows(
    view: Option<&View>,
    rows: Option<&mut MaybeUninit<Option<Box<Rows>>>>,
    error: ErrorOut<'_>,
) -> Status {
    answer(error, || {
        let out = given(rows, "rows")?;
        out.write(None);
        let rows = given(view, "view")?.shared.rows()?;
        out.write(Some(Box::new(Rows::new(rows))));
        Ok(())
    })
}

/// Whether the rows are what the server has.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_view_freshness(view: Option<&View>) -> Freshness {
    value(Freshness::Unknown, || {
        let view = &view?.shared;
        if view.error().ok()?.is_some() {
            return Some(Freshness::Ended);
        }
        Some(Freshness::of(&view.status().ok()?))
    })
}

/// For how long the rows have been in doubt, in milliseconds; when they are proven, how long ago they were last compared with
/// the server's list. -1 for NULL and in a forked child.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_view_since_ms(view: Option<&View>) -> i64 {
    value(-1, || {
        let status = view?.shared.status().ok()?;
        let (Stands::Proven { at: since } | Stands::InDoubt { since, .. }) = status.freshness else {
            return None;
        };
        Some(milliseconds(Some(Instant::now().saturating_duration_since(since))))
    })
}

/// What ended the view, or the server's answer that has put it in doubt; NULL if there is none.
///
/// Threads: any. The error is yours: free it with tidings_error_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_view_error(view: Option<&View>) -> Option<Box<Error>> {
    value(None, || {
        let view = &view?.shared;
        let ended = view.error().ok()?;
        let doubt = match view.status().ok()?.freshness {
            Stands::InDoubt { why, .. } => why.error().cloned(),
            _ => None,
        };
        ended.or(doubt).map(|error| Some(Box::new(error.into())))
    })
}

/// Compares the view with the server's list, and waits for it: afterwards the rows show every write that was committed
/// before the call. While the link is down it waits. When `timeout_ms` milliseconds have passed, it returns
/// TIDINGS_ERR_TIMEOUT; with a negative timeout it waits indefinitely.
///
/// Threads: any. Returns the error that has ended the view, if one has.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_view_prove(view: Option<&View>, timeout_ms: i64, error: ErrorOut<'_>) -> Status {
    answer(error, || {
        let mut call = given(view, "view")?.shared.prove()?;
        match call.wait_for(limit(timeout_ms).unwrap_or(Duration::MAX)) {
            Some(answer) => Ok(answer?),
            None => Err(Error::new(Status::ErrTimeout, format!("the proof took more than {timeout_ms} ms"))),
        }
    })
}

/// tidings_view_prove() without waiting: the result comes as TIDINGS_ACTION_COMPLETED into the queue of the view's client;
/// see tidings_client_send_async().
///
/// Threads, ownership and errors: as tidings_client_send_async().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_client_prove_async(
    client: Option<&Client>,
    view: Option<&View>,
    user_data: *mut c_void,
    drop: DropCallback,
    id: Option<&mut MaybeUninit<u64>>,
    error: ErrorOut<'_>,
) -> Status {
    let user_data = UserData::new(user_data, drop);
    submit(id, error, || {
        let client = given(client, "client")?.get();
        Ok(client.submit(given(view, "view")?.shared.prove()?, tag(user_data))?)
    })
}

/// Ends a view, also for a thread that waits for its changes. Its rows can still be read. Closing again does nothing.
///
/// Threads: any, callbacks included. Returns TIDINGS_ERR_FORKED in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_view_close(view: Option<&View>, error: ErrorOut<'_>) -> Status {
    answer(error, || Ok(given(view, "view")?.shared.close()?))
}

/// Ends a view and frees it. Its callback is not called again; one that is running is not waited for. Rows and changes that
/// were taken from it stay.
///
/// Threads: one at a time, callbacks included. It may be freed after its client.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_view_free(view: Option<Box<View>>) {
    free(view);
}

/// The name of a freshness, such as "proven".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_freshness_name(freshness: RawFreshness) -> *const c_char {
    let names = [c"unknown", c"proven", c"disconnected", c"comparing", c"identity", c"list_failed", c"ended"];
    name_of(freshness.0, &names)
}

/// The number of rows.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_rows_len(rows: Option<&Rows>) -> usize {
    value(0, || Some(rows?.rows.len()))
}

/// The id of the record at `index`; NULL if `index` is out of range.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_rows_id(rows: Option<&Rows>, index: usize) -> *const c_char {
    value(ptr::null(), || Some(rows?.text(index)?.id.as_ptr()))
}

/// The record at `index` as JSON; NULL if `index` is out of range. `*len`, if `len` is not NULL, is set to its length.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_rows_record(
    rows: Option<&Rows>,
    index: usize,
    len: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    text(len, || Some(&rows?.text(index)?.json))
}

/// All records as one JSON array, for languages in which a call for each is dear. `*len`, if `len` is not NULL, is set to
/// its length. NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_rows_array(
    rows: Option<&Rows>,
    len: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    let array = value(None, || {
        let rows = rows?;
        Some(Some(rows.array.get_or_init(|| array(&rows.rows))))
    });
    put(len, array.map_or(0, |array| array.len() - 1));
    array.map_or(ptr::null(), |array| array.as_ptr().cast())
}

/// With a NUL behind it.
fn array(rows: &tidings_core::Rows) -> Box<[u8]> {
    let mut array = vec![b'['];
    for row in rows.iter() {
        if array.len() > 1 {
            array.push(b',');
        }
        array.extend_from_slice(row.text().as_bytes());
    }
    array.extend_from_slice(b"]\0");
    array.into_boxed_slice()
}

fn text<'a>(
    len: Option<&mut MaybeUninit<usize>>,
    find: impl FnOnce() -> Option<&'a CString>,
) -> *const c_char {
    let found = value(None, || Some(find()));
    put(len, found.map_or(0, |text| text.as_bytes().len()));
    found.map_or(ptr::null(), |text| text.as_ptr())
}

/// Frees rows.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_rows_free(rows: Option<Box<Rows>>) {
    free(rows);
}

/// The number of deltas in a batch; 0 if only the freshness has changed.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_changes_len(changes: Option<&Changes>) -> usize {
    value(0, || Some(changes?.deltas.len()))
}

/// What the delta at `index` does to the list. Done in their order to the rows of the batch before, the deltas give
/// tidings_changes_rows().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_changes_kind(changes: Option<&Changes>, index: usize) -> DeltaKind {
    value(DeltaKind::Unknown, || {
        Some(match changes?.deltas.get(index)?.delta {
            Delta::Insert { .. } => DeltaKind::Insert,
            Delta::Update { .. } => DeltaKind::Update,
            Delta::Remove { .. } => DeltaKind::Remove,
            Delta::Reset { .. } => DeltaKind::Reset,
            _ => DeltaKind::Unknown,
        })
    })
}

/// The place that a row is taken from, of an update or a removal; otherwise SIZE_MAX.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_changes_from(changes: Option<&Changes>, index: usize) -> usize {
    value(usize::MAX, || match changes?.deltas.get(index)?.delta {
        Delta::Update { from, .. } => Some(from),
        Delta::Remove { at, .. } => Some(at),
        _ => None,
    })
}

/// The place that a row is put at, of an insertion or an update; otherwise SIZE_MAX.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_changes_to(changes: Option<&Changes>, index: usize) -> usize {
    value(usize::MAX, || match changes?.deltas.get(index)?.delta {
        Delta::Insert { at, .. } => Some(at),
        Delta::Update { to, .. } => Some(to),
        _ => None,
    })
}

/// Why a row left, of a removal; otherwise TIDINGS_REMOVE_REASON_NONE.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_changes_why(changes: Option<&Changes>, index: usize) -> RemoveReason {
    value(RemoveReason::None, || match changes?.deltas.get(index)?.delta {
        Delta::Remove { why: Why::Deleted, .. } => Some(RemoveReason::Deleted),
        Delta::Remove { why: Why::LeftFilter, .. } => Some(RemoveReason::LeftFilter),
        Delta::Remove { why: Why::Displaced, .. } => Some(RemoveReason::Displaced),
        Delta::Remove { why: Why::Gone, .. } => Some(RemoveReason::Gone),
        Delta::Remove { .. } => Some(RemoveReason::Other),
        _ => None,
    })
}

/// The id of the record that came, changed or left; NULL for a reset.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_changes_id(changes: Option<&Changes>, index: usize) -> *const c_char {
    value(ptr::null(), || Some(changes?.deltas.get(index)?.row()?.id.as_ptr()))
}

/// The record that came, as it is now, or as it was when it left, as JSON; NULL for a reset. `*len`, if `len` is not NULL, is
/// set to its length.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_changes_record(
    changes: Option<&Changes>,
    index: usize,
    len: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    text(len, || Some(&changes?.deltas.get(index)?.row()?.json))
}

/// What an updated record was before, as JSON; NULL for other deltas. `*len`, if `len` is not NULL, is set to its length.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_changes_old(
    changes: Option<&Changes>,
    index: usize,
    len: Option<&mut MaybeUninit<usize>>,
) -> *const c_char {
    text(len, || changes?.deltas.get(index)?.old())
}

/// The rows after these changes; none when the view has ended. They belong to the changes.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_changes_rows(changes: Option<&Changes>) -> Option<&Rows> {
    value(None, || Some(Some(&changes?.rows)))
}

/// Whether the rows are what the server has, after these changes.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_changes_freshness(changes: Option<&Changes>) -> Freshness {
    value(Freshness::Unknown, || Some(changes?.freshness))
}

/// What ended the view, or the server's answer that has put it in doubt; NULL if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_changes_error(changes: Option<&Changes>) -> Option<&Error> {
    value(None, || Some(changes?.error.as_ref()))
}

/// Frees changes.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_changes_free(changes: Option<Box<Changes>>) {
    free(changes);
}

/// The name of the kind of a delta, such as "insert".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_delta_kind_name(kind: RawDeltaKind) -> *const c_char {
    name_of(kind.0, &[c"unknown", c"insert", c"update", c"remove", c"reset"])
}

/// The name of the reason why a row left, such as "left_filter".
#[unsafe(no_mangle)]
pub extern "C" fn tidings_remove_reason_name(reason: RawRemoveReason) -> *const c_char {
    name_of(reason.0, &[c"none", c"deleted", c"left_filter", c"displaced", c"gone", c"other"])
}
