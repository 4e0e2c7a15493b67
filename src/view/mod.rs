//! The live view: a list of records that is right at any time, or marked as in doubt, and never wrong in silence.
//!
//! `machine.rs`, `tasks.rs` and `merge.rs` decide, without I/O, clock or lock; `books.rs` is what they remember of messages,
//! `question.rs` what they ask the server, `look.rs` what time will bring in, `rows.rs` and `tree.rs` the list itself, `fold.rs`
//! makes deltas of what has changed. `job.rs` carries their outputs to the
//! network, in the driver's future; this file is what a Rust program calls, and only reads what the job has left in a
//! `cell.rs`.

mod arrange;
mod books;
mod callback;
mod cell;
mod fold;
mod job;
mod look;
mod machine;
mod merge;
mod question;
mod rows;
#[cfg(test)]
mod simulation;
mod tasks;
mod tree;

use std::{
    fmt,
    future::{IntoFuture, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{Stream, future::BoxFuture};

pub use self::{
    fold::{Delta, Why},
    rows::{Row, Rows},
};

use self::{
    arrange::Order,
    callback::{Callback, Caller},
    cell::Cell,
    job::{Decides, Plan},
};
use crate::{Collection, Error, client::request::LONGEST, driver::shared::Handle};

/// Rows kept beyond a [`limit`](Watch::limit), unless said otherwise.
const SLACK: usize = 20;

/// How often a view compares itself with the server's list, unless said otherwise.
const AUDIT: Duration = Duration::from_secs(300);

impl Collection {
    /// Watches a list of records: the view is that list, kept up to date. See [`Watch`] for options and errors.
    pub fn watch(&self) -> Watch {
        Watch {
            collection: self.clone(),
            filter: String::new(),
            sort: String::new(),
            limit: None,
            slack: SLACK,
            expand: None,
            audit: Some(AUDIT),
            decides: Decides::Either,
            timeout: None,
            on_news: None,
            callback: None,
            is_held: false,
            error: None,
        }
    }
}

/// A builder for a live view. Returned by [`Collection::watch`]; `.await` resolves with the first proven list, or with the
/// server's refusal. [`start`](Self::start) returns at once.
///
/// Functions that take a future, such as `block_on`, `spawn` and `join`, need [`into_future`](IntoFuture::into_future).
///
/// ```no_run
/// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
/// use tidings::Delta;
///
/// let mut open = client.collection("tasks").watch()
///     .filter(client.filter("status = {:s}", serde_json::json!({"s": "open"}))?)
///     .sort("-priority,created")
///     .limit(50)
///     .await?;
/// println!("{} open tasks", open.rows().len());
/// while let Some(changes) = open.next().await {
///     for delta in changes.deltas() {
///         match delta {
///             Delta::Remove { row, why, .. } => println!("{} is gone: {}", row.id(), why.as_str()),
///             _ => println!("{} rows", changes.rows().len()),
///         }
///     }
/// }
/// # Ok(()) }
/// ```
///
/// # What it costs the server
/// - Where the client can evaluate the filter itself (comparisons of the record's own fields with values and times), the view
///   subscribes to the whole collection, without a filter. All such views of a collection share one topic, and the server
///   evaluates no filter. The client receives each change that the collection's list rule lets it see.
/// - Where only the server can (paths through relations, `@request`, `@collection`, back relations, modifiers), it takes two
///   topics: one with the filter, and one of all changes with `id` and `updated` alone, about 90 bytes an event. A row that
///   changed and does not come on the first is asked for by its id, up to 150 in a request.
/// - One list at first. After a gap, and every five minutes ([`audit`](Self::audit)): ids and versions of the view, by key, and
///   the bodies that differ. With a token also one `auth-refresh`, which proves that the list was not a guest's.
///
/// # Limits
/// - A record that a *rule* hides from now on is not reported by the server: the next audit, or [`View::prove`], finds it. One
///   that is created or enters the filter and is hidden within the same moment may be shown until the audit after it, where
///   its event arrives after the list of that proof.
/// - Where the client evaluates a filter such as `due < @now` itself, rows leave when their time comes, and others come one
///   request after it, and as much later as the two clocks differ (the server tells its own in seconds). For that, the next
///   200 records to come are listed after each list, with their ids and times alone. It holds for `<`, `<=`, `>` and `>=`
///   between a field of the record and `@now`, `@yesterday` or `@tomorrow`, up to three that become true. A moment that
///   changes once a minute, or less often (`@todayStart`, `@hour`), is waited for, and the list compared then. With all else
///   (`=`, `@second`, a filter that only the server evaluates) the list is compared every ten seconds, whatever
///   [`audit`](Self::audit) says, and a record may come as much later.
/// - A change of an [expanded](Self::expand) record is not reported on its parent: `expand` stays as it was when the parent was
///   read last. To follow the expanded records, watch their collection too.
/// - `view` collections send no events: only audits find what has changed.
/// - Without a [`limit`](Self::limit) all matching records are kept in memory.
#[must_use = "a view is made when it is awaited or started"]
pub struct Watch {
    collection: Collection,
    filter: String,
    sort: String,
    limit: Option<usize>,
    slack: usize,
    expand: Option<String>,
    audit: Option<Duration>,
    decides: Decides,
    timeout: Option<Duration>,
    on_news: Option<News>,
    callback: Option<Callback>,
    is_held: bool,
    error: Option<Error>,
}

/// Called when there is something to take.
type News = Arc<dyn Fn() + Send + Sync>;

impl Watch {
    /// Lists only records that match, at most 3,000 characters. Use [`Client::filter`](crate::Client::filter) to insert values
    /// from outside safely. A syntax error is [`Error::InvalidArgument`] with its column, before any network access.
    pub fn filter(mut self, expression: impl Into<String>) -> Self {
        self.filter = expression.into();
        self
    }

    /// The order: names of fields, separated by commas, `-` before those that fall. `id` is appended, so that the order is
    /// total. Default: by `id`.
    pub fn sort(mut self, fields: impl Into<String>) -> Self {
        self.sort = fields.into();
        self
    }

    /// Shows a window: the first `rows` of the list, at least one. Without it, everything.
    pub fn limit(mut self, rows: usize) -> Self {
        if rows == 0 {
            self.error = Some(Error::argument("limit", "a view shows at least one row"));
        }
        self.limit = Some(rows);
        self
    }

    /// How many rows beyond the [`limit`](Self::limit) are kept, so that the server is not asked for each row that leaves the
    /// window. Default: 20.
    pub fn slack(mut self, rows: usize) -> Self {
        self.slack = rows;
        self
    }

    /// Relations to include in `expand` of each row, separated by commas. A change of an expanded record is not reported by the
    /// server, and not followed: it is seen when the row itself changes, or is fetched again. To follow it, watch its collection
    /// too.
    pub fn expand(mut self, relations: impl Into<String>) -> Self {
        self.expand = Some(relations.into());
        self
    }

    /// How often the view is compared with the server's list, which alone finds records that a rule hides from now on. Default:
    /// five minutes; at least a second. `None`: never.
    pub fn audit(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.audit = interval.into().map(|interval| interval.clamp(Duration::from_secs(1), LONGEST));
        self
    }

    /// Leaves it to the server alone which records match: see [the costs](Self#what-it-costs-the-server). For BosBase, whose
    /// database compares texts in its own way, and for who must not receive what does not match.
    pub fn filter_on_server(mut self) -> Self {
        self.decides = Decides::Server;
        self
    }

    /// How long `.await` waits for the first list. Default: 30 seconds. It has no effect on [`start`](Self::start).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Calls this with each batch of [`Changes`], one at a time, on the thread that runs all callbacks of the client: it may
    /// block, and make any call. The last call has the error that ended the view; one that was closed or dropped is not
    /// told. While it is slow, changes fold into fewer deltas. Nobody else should take changes of this view.
    ///
    /// ```no_run
    /// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
    /// let tasks = client.collection("tasks").watch().on(|changes| match changes {
    ///     Ok(changes) => println!("{} tasks", changes.rows().len()),
    ///     Err(error) => println!("the view has ended: {error}"),
    /// });
    /// let tasks = tasks.await?; // as long as this is there
    /// # Ok(()) }
    /// ```
    pub fn on(mut self, callback: impl FnMut(Result<Changes, Error>) + Send + 'static) -> Self {
        self.callback = Some(Box::new(callback));
        self
    }

    /// For bindings: nothing is told before [`View::release`].
    #[doc(hidden)]
    pub fn held(mut self) -> Self {
        self.is_held = true;
        self
    }

    /// For bindings: `news` is called, on the thread that does the I/O and without a lock, when there is something for
    /// [`View::take`] that was not there before, and when the view has ended. It must not block.
    #[doc(hidden)]
    pub fn on_news(mut self, news: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_news = Some(Arc::new(news));
        self
    }

    /// Starts the view and returns at once, with or without a network. It shows nothing until there is a proven list: see
    /// [`View::ready`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::InvalidTopic`], [`Error::Unsupported`] and [`Error::Closed`].
    pub fn start(self) -> Result<View, Error> {
        self.begin(true)
    }

    fn begin(self, patient: bool) -> Result<View, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let order = Order::parse(&self.sort)?;
        let handle = self.collection.handle.clone();
        let caller = match self.callback {
            Some(callback) => {
                handle.callbacks.start().map_err(Error::no_thread)?;
                Some(Caller::new(handle.callbacks.clone(), callback))
            }
            None => None,
        };
        let news = match &caller {
            Some(caller) => {
                let caller = caller.clone();
                Some(Arc::new(move || caller.news()) as News)
            }
            None => self.on_news,
        };
        let cell = Cell::new(order.clone(), news, self.is_held);
        caller.inspect(|caller| caller.read(&cell));
        let plan = Plan::new(&self.collection, &self.filter, self.expand, order, self.decides)?;
        let plan = plan.window(self.limit, self.slack).audit(self.audit).patient(patient);
        job::start(&handle, plan, cell.clone())?;
        Ok(View { _handle: handle, cell })
    }
}

impl IntoFuture for Watch {
    type Output = Result<View, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    /// # Errors
    /// Those of [`start`](Watch::start), and:
    /// - [`Error::Refused`] with the server's status and message: 404 for a collection that does not exist, 403 for one that
    ///   only superusers may list, 400 for a filter with an unknown field, 401 when the server does not take the token;
    /// - [`Error::Network`] when the server cannot be reached;
    /// - [`Error::Timeout`].
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let after = self.timeout.unwrap_or(Duration::from_secs(30)).min(LONGEST);
            let view = self.begin(false)?;
            let mut timer = view._handle.runtime.new_timer(view._handle.now() + after);
            let alarm = poll_fn(|cx| timer.as_mut().poll(cx));
            let in_time = match futures::future::select(std::pin::pin!(view.ready()), alarm).await {
                futures::future::Either::Left((ready, _)) => Some(ready),
                futures::future::Either::Right(_) => None,
            };
            let Some(ready) = in_time else {
                let why = match view.status().freshness {
                    Freshness::InDoubt { why, .. } => why.error().cloned(),
                    Freshness::Proven { .. } => None,
                };
                return Err(why.unwrap_or(Error::Timeout { what: "the first list of a view".into(), after }));
            };
            ready?;
            Ok(view)
        })
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("collection", &self.collection.name).finish_non_exhaustive()
    }
}

/// A live view: a list of records that is kept up to date, whether anybody reads it or not. Made by
/// [`Collection::watch`].
///
/// [`rows`](Self::rows) may be called from any thread at any time. Dropping the view ends it. As a
/// [`Stream`] it brings batches of [`Changes`].
///
/// A slow reader loses nothing: what waits folds into fewer deltas, at last into one [`Delta::Reset`].
#[must_use = "dropping it ends the view"]
pub struct View {
    _handle: Arc<Handle>,
    cell: Arc<Cell>,
}

impl View {
    /// The rows as they are now: empty before the first proven list, and what was shown last after the end.
    pub fn rows(&self) -> Rows {
        self.cell.rows()
    }

    /// Whether the rows are what the server has.
    pub fn status(&self) -> Status {
        self.cell.status()
    }

    /// Waits for the next batch of changes: what has happened since the last one was taken, or since the view was made. The
    /// first is a [`Delta::Reset`]. A batch without deltas says that the status has changed. `None` when the view has ended:
    /// see [`error`](Self::error). Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Changes> {
        poll_fn(|cx| self.cell.poll_take(cx)).await
    }

    /// The next batch of changes, if something has happened; does not wait.
    pub fn take(&mut self) -> Option<Changes> {
        self.cell.take()
    }

    /// Waits for the first proven list. A view that was awaited is ready already; this is for one that was
    /// [started](Watch::start).
    ///
    /// # Errors
    /// The reason why the view has ended, if it has.
    pub async fn ready(&self) -> Result<(), Error> {
        self.cell.ready().await
    }

    /// Compares the view with the server's list. Afterwards the rows show every write that was committed before this call.
    /// While the link is down it waits; dropping the future is harmless.
    ///
    /// # Errors
    /// The reason why the view has ended, if it has.
    pub async fn prove(&self) -> Result<(), Error> {
        self.cell.prove().await
    }

    /// For bindings: [`prove`](Self::prove), of a view that may be gone by then.
    #[doc(hidden)]
    pub fn proving(&self) -> BoxFuture<'static, Result<(), Error>> {
        let cell = self.cell.clone();
        Box::pin(async move { cell.prove().await })
    }

    /// For bindings: as [`next`](Self::next), for one reader at a time.
    #[doc(hidden)]
    pub fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Changes>> {
        self.cell.poll_take(cx)
    }

    /// For bindings: what was [held](Watch::held) back is told.
    #[doc(hidden)]
    pub fn release(&self) {
        self.cell.release();
    }

    /// Ends the view, as dropping it does. [`rows`](Self::rows) stays what was shown last.
    pub fn close(&self) {
        self.cell.end(Error::Closed);
        self.cell.abandon();
    }

    /// Whether nothing more comes: the server refused the list, or the client is closed.
    pub fn has_ended(&self) -> bool {
        self.cell.has_ended()
    }

    /// Why it has ended, if it has: [`Error::Closed`], or the server's answer with its status.
    pub fn error(&self) -> Option<Error> {
        self.cell.error()
    }
}

impl Stream for View {
    type Item = Changes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Changes>> {
        self.cell.poll_take(cx)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.cell.abandon();
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("rows", &self.rows().len()).field("status", &self.status()).finish()
    }
}

/// One batch: what has happened to the list since the batch before, in one step.
#[derive(Clone, Debug)]
pub struct Changes {
    pub(super) deltas: Vec<Delta>,
    pub(super) rows: Rows,
    pub(super) status: Status,
}

impl Changes {
    /// The changes in order. Applied to the rows of the batch before, they give [`rows`](Self::rows).
    pub fn deltas(&self) -> &[Delta] {
        &self.deltas
    }

    /// The rows after these changes.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The status after these changes.
    pub fn status(&self) -> &Status {
        &self.status
    }
}

/// Whether a view's rows are what the server has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// How much they can be relied on.
    pub freshness: Freshness,
}

impl Status {
    /// Whether the rows are what the server has, but for what is under way.
    pub fn is_proven(&self) -> bool {
        matches!(self.freshness, Freshness::Proven { .. })
    }
}

/// How much the rows of a view can be relied on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Freshness {
    /// They are the server's list as it was at this time, with all changes since then.
    Proven {
        /// When they were last compared with the server's list.
        at: Instant,
    },
    /// They are what they were; changes may be missing. Rows do not vanish for that.
    InDoubt {
        /// Since when.
        since: Instant,
        /// Why.
        why: Doubt,
    },
}

/// Why the rows of a view are in doubt.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Doubt {
    /// The link to the server is down, or not up yet.
    Disconnected,
    /// Changes may have been missed, and the list is being compared with the server's.
    Comparing,
    /// The client is somebody else now, or the server does not take its token (then with its answer). The rows are those of
    /// the identity before.
    Identity(Option<Error>),
    /// The server did not answer a list; it is asked again, with back-off.
    ListFailed(Error),
}

impl Doubt {
    /// The name in lower case: `"disconnected"`, `"comparing"`, `"identity"`, `"list_failed"`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Comparing => "comparing",
            Self::Identity(_) => "identity",
            Self::ListFailed(_) => "list_failed",
        }
    }

    /// The error behind it, if there is one.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Identity(error) => error.as_ref(),
            Self::ListFailed(error) => Some(error),
            Self::Disconnected | Self::Comparing => None,
        }
    }
}
