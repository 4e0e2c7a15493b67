//! Records, read and written: thin layers over requests.

use std::{
    fmt,
    future::IntoFuture,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    Stream, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    collection::Collection,
    request::{Request, query_text},
    walk::Walk,
};
use crate::{Error, error::unexpected, order::Sort};

/// How many records a page has unless said otherwise: what servers of any age give at once.
const PAGE_SIZE: usize = 500;

/// How many records servers give at once.
const MAX_PAGE_SIZE: usize = 1_000;

/// What may stand in a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl Collection {
    /// Lists records: see [`List`] for options and errors. Nothing is sent before a result is asked for.
    ///
    /// ```no_run
    /// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
    /// let mut posts = client.collection("posts").list().filter("likes > 3").sort("-created").stream();
    /// while let Some(post) = posts.next().await {
    ///     let post: serde_json::Value = post?;
    ///     println!("{}", post["title"]);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn list(&self) -> List {
        List {
            collection: self.clone(),
            filter: String::new(),
            sort: String::new(),
            fields: None,
            page_size: PAGE_SIZE,
            query: Vec::new(),
            timeout: None,
            error: None,
        }
    }

    /// Reads one record by its id. `.await` sends the request: see [`RecordRequest`].
    ///
    /// ```no_run
    /// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
    /// let post: serde_json::Value = client.collection("posts").get("a1b2c3d4e5f6g7h").expand("author").await?;
    /// # Ok(()) }
    /// ```
    pub fn get<T: DeserializeOwned>(&self, id: &str) -> RecordRequest<T> {
        RecordRequest::new(self.record_path(id).map(|path| self.request("GET", &path, None)))
    }

    /// Creates a record and returns it as the server made it. `.await` sends the request: see [`RecordRequest`]. For files,
    /// send a form with [`Client::send`](crate::Client::send).
    ///
    /// ```no_run
    /// # async fn example(client: tidings::Client) -> Result<(), tidings::Error> {
    /// use serde_json::{Value, json};
    /// let posts = client.collection("posts");
    /// let post: Value = posts.create(&json!({"title": "Hello"})).await?;
    /// let id = post["id"].as_str().unwrap_or_default();
    /// let _: Value = posts.update(id, &json!({"title": "Hello again"})).await?;
    /// posts.delete(id).await?;
    /// # Ok(()) }
    /// ```
    pub fn create<T: DeserializeOwned>(&self, record: &(impl Serialize + ?Sized)) -> RecordRequest<T> {
        let request = || {
            let (path, body) = (self.records_path()?, body(record)?);
            Ok(self.request("POST", &path, Some(body)))
        };
        RecordRequest::new(request())
    }

    /// Changes fields of a record and returns it as it is then. The others stay what they are. `.await` sends the request:
    /// see [`RecordRequest`].
    pub fn update<T: DeserializeOwned>(
        &self,
        id: &str,
        changes: &(impl Serialize + ?Sized),
    ) -> RecordRequest<T> {
        let request = || {
            let (path, body) = (self.record_path(id)?, body(changes)?);
            Ok(self.request("PATCH", &path, Some(body)))
        };
        RecordRequest::new(request())
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// As [`RecordRequest`].
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        let path = self.record_path(id)?;
        self.request("DELETE", &path, None).await.map(drop)
    }

    fn request(&self, method: &str, path: &str, body: Option<Value>) -> Request {
        Request::new(self.handle.clone(), method, path, body)
    }

    fn records_path(&self) -> Result<String, Error> {
        self.check_topic("*")?;
        self.handle.dialect.records_path(&self.name)
    }

    fn record_path(&self, id: &str) -> Result<String, Error> {
        if id == "*" || self.check_topic(id).is_err() {
            self.check_topic("*")?;
            return Err(Error::argument("id", format!("{id:?} is not the id of a record")));
        }
        Ok(format!("{}/{}", self.records_path()?, utf8_percent_encode(id, SEGMENT)))
    }
}

/// A record to send.
fn body(record: &(impl Serialize + ?Sized)) -> Result<Value, Error> {
    let body = serde_json::to_value(record).map_err(|error| Error::argument("record", error.to_string()))?;
    match body.is_object() {
        true => Ok(body),
        false => Err(Error::argument("record", "it is not a map of fields")),
    }
}

/// A builder for a request about one record; `.await` sends it, and gives the record. Returned by [`Collection::get`],
/// [`Collection::create`] and [`Collection::update`].
///
/// # Errors
/// When awaited: [`Error::InvalidArgument`] for an id or a record that cannot be one, [`Error::InvalidTopic`] for such a
/// collection, and [`Error::Unsupported`] with RustBaaS, before any network access; [`Error::Refused`] with the server's
/// status: 404 when there is no such record or a rule hides it, 400 when a field or a rule refuses what is written, 403 for
/// superusers only; [`Error::Protocol`] when the record does not fit `T`, and the others of
/// [`Client::send`](crate::Client::send).
#[must_use = "a request is sent when it is awaited"]
pub struct RecordRequest<T> {
    request: Result<Request, Error>,
    record: PhantomData<fn() -> T>,
}

impl<T> RecordRequest<T> {
    fn new(request: Result<Request, Error>) -> Self {
        Self { request, record: PhantomData }
    }

    /// Relations to include in `expand`, separated by commas.
    pub fn expand(self, relations: impl Into<String>) -> Self {
        self.query("expand", relations.into())
    }

    /// The only fields to return, separated by commas.
    pub fn fields(self, fields: impl Into<String>) -> Self {
        self.query("fields", fields.into())
    }

    /// Adds a parameter to the query: see [`Request::query`].
    pub fn query(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.request = self.request.map(|request| request.query(name, value));
        self
    }

    /// Sets the timeout for the whole exchange. Default: 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request = self.request.map(|request| request.timeout(timeout));
        self
    }
}

impl<T: DeserializeOwned + 'static> IntoFuture for RecordRequest<T> {
    type Output = Result<T, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.request?.await?.json() })
    }
}

impl<T> fmt::Debug for RecordRequest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordRequest").field("request", &self.request).finish()
    }
}

/// A builder for a list of records. Returned by [`Collection::list`]; read it with [`stream`](Self::stream),
/// [`all`](Self::all) or [`page`](Self::page).
///
/// # How a list is walked
/// `stream` and `all` walk by key: `id` is added to the [sort](List::sort) as its last column, and each page begins after the
/// last record that was got. So records that come and go meanwhile neither hide others nor make them come twice; a record
/// whose place in the order changes meanwhile may. The list is no snapshot of one moment.
///
/// Where the place of a record cannot be named in a filter, pages are asked for by number: with a sort by a path through a
/// relation (`author.name`), a field with several values, or a modifier; where the value is a JSON object or list, a text
/// that older servers cannot read or a very long one; and with `fields` that shorten a column of the sort. Then a record
/// that is created or deleted before the place of the walk makes another come twice, or not at all.
///
/// In a `view` collection whose columns may be empty (SQL's NULL), sort by one that is not: there an empty text and
/// nothing look alike, and the walk may miss records that are equal in such a column.
///
/// # Errors
/// Of all three: [`Error::InvalidArgument`] (a syntax error in filter or sort, with its column), [`Error::InvalidTopic`] and
/// [`Error::Unsupported`] before any network access; [`Error::Refused`] with the server's status (404: no such collection,
/// 403: for superusers only, 400: an unknown field), and the others of [`Client::send`](crate::Client::send). A rule that
/// hides every record is no error to the server: the list is empty.
#[must_use = "a list is asked for with `stream`, `all` or `page`"]
#[derive(Clone)]
pub struct List {
    collection: Collection,
    filter: String,
    sort: String,
    fields: Option<String>,
    page_size: usize,
    query: Vec<(String, String)>,
    timeout: Option<Duration>,
    error: Option<Error>,
}

impl List {
    /// Lists only records that match. Use [`Client::filter`](crate::Client::filter) to insert values from outside safely.
    pub fn filter(mut self, expression: impl Into<String>) -> Self {
        self.filter = expression.into();
        self
    }

    /// The order: names of fields, separated by commas, with `-` before those that descend. Default: by `id`.
    ///
    /// `@random` and `@rowid` give no order in which a list could be continued: only [`page`](Self::page) takes them.
    pub fn sort(mut self, fields: impl Into<String>) -> Self {
        self.sort = fields.into();
        self
    }

    /// Relations to include in `expand` of each record, separated by commas.
    pub fn expand(self, relations: impl Into<String>) -> Self {
        self.query("expand", relations.into())
    }

    /// The only fields to return, separated by commas. What the walk itself needs is requested too, and removed again.
    pub fn fields(mut self, fields: impl Into<String>) -> Self {
        self.fields = Some(fields.into());
        self
    }

    /// How many records are requested at once, from 1 to 1,000. Default: 500, which is the most that servers before 0.23
    /// return; there more are no error and have no effect.
    pub fn page_size(mut self, records: usize) -> Self {
        if !(1..=MAX_PAGE_SIZE).contains(&records) {
            self.error =
                Some(Error::argument("page_size", format!("{records} is not from 1 to {MAX_PAGE_SIZE}")));
        }
        self.page_size = records;
        self
    }

    /// Adds a parameter to the query of each request: see [`Request::query`].
    pub fn query(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        match query_text(&name, &value) {
            Ok(text) => self.query.push((name, text)),
            Err(error) => self.error = Some(error),
        }
        self
    }

    /// Sets the timeout of each request. Default: 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// All records, as a stream that asks for a page when the one before has been read. After an error it ends.
    pub fn stream<T: DeserializeOwned + Send + 'static>(self) -> Records<T> {
        let pages = stream::try_unfold(None, move |pages: Option<Pages>| {
            // The checks of the first page are those of the list.
            let pages = pages.map_or_else(|| self.clone().pages(), Ok);
            async move {
                let mut pages = pages?;
                Ok::<_, Error>(pages.next().await?.map(|records| (records, Some(pages))))
            }
        });
        let typed = |record| serde_json::from_value(record).map_err(|error| unexpected("a record", &error));
        let records = pages.map_ok(move |page| stream::iter(page.into_iter().map(typed))).try_flatten();
        // One error ends it.
        let records = records.scan(false, |has_failed, record| {
            let is_over = std::mem::replace(has_failed, *has_failed || record.is_err());
            std::future::ready((!is_over).then_some(record))
        });
        Records { records: records.boxed() }
    }

    /// All records, in memory.
    pub async fn all<T: DeserializeOwned + Send + 'static>(self) -> Result<Vec<T>, Error> {
        self.stream().try_collect().await
    }

    /// One page by its number, from 1 on, with the number of all records: for who shows pages. The sort is sent as it is.
    pub async fn page<T: DeserializeOwned>(self, number: usize) -> Result<Page<T>, Error> {
        let path = self.checked()?;
        if number == 0 {
            return Err(Error::argument("page", "pages are counted from 1"));
        }
        let mut query = self.query;
        query.extend(self.fields.map(|fields| ("fields".to_owned(), fields)));
        for (name, value) in [("filter", self.filter), ("sort", self.sort)] {
            query.extend((!value.is_empty()).then(|| (name.to_owned(), value)));
        }
        query.extend([
            ("page".to_owned(), number.to_string()),
            ("perPage".to_owned(), self.page_size.to_string()),
        ]);
        let mut request = self.collection.request("GET", &path, None).queries(query);
        request.timeout = self.timeout.unwrap_or(request.timeout);
        request.await?.json()
    }

    /// The pages one by one, for bindings.
    #[doc(hidden)]
    pub fn pages(self) -> Result<Pages, Error> {
        let path = self.checked()?;
        let sort = Sort::parse(&self.sort).map_err(|error| Error::argument("sort", error.to_string()))?;
        let walk = Walk::new(&self.filter, sort, self.fields.as_deref(), self.page_size, self.query);
        Ok(Pages { collection: self.collection, path, timeout: self.timeout, walk })
    }

    /// The path, if all is well so far.
    fn checked(&self) -> Result<String, Error> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        crate::filter::check(&self.filter)
            .or_else(|error| if self.filter.trim().is_empty() { Ok(()) } else { Err(error) })
            .map_err(|error| Error::argument("filter", error.to_string()))?;
        self.collection.records_path()
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("collection", &self.collection.name).finish_non_exhaustive()
    }
}

/// One page of a list. Returned by [`List::page`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Page<T> {
    /// Its number, from 1 on.
    pub page: usize,
    /// How many records a page has, as the server has it.
    pub per_page: usize,
    /// How many records the list has; -1 where the query says `skipTotal`.
    pub total_items: i64,
    /// How many pages; -1 likewise.
    pub total_pages: i64,
    /// The records.
    pub items: Vec<T>,
}

/// The pages of a list.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Pages {
    collection: Collection,
    path: String,
    timeout: Option<Duration>,
    walk: Walk,
}

impl Pages {
    /// The records of the next page; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>, Error> {
        let Some(query) = self.walk.query() else { return Ok(None) };
        let mut request = self.collection.request("GET", &self.path, None).queries(query);
        request.timeout = self.timeout.unwrap_or(request.timeout);
        let response = request.await.map_err(|error| match error {
            Error::Refused(refusal) => Error::Refused(self.collection.handle.dialect.explain_list(refusal)),
            other => other,
        })?;
        self.walk.received(response.body()).map(Some)
    }
}

/// The records of a list, as a stream. Returned by [`List::stream`].
#[must_use = "a stream does nothing until it is read"]
pub struct Records<T> {
    records: BoxStream<'static, Result<T, Error>>,
}

impl<T> Records<T> {
    /// The next record; `None` at the end of the list, and after an error.
    #[expect(clippy::should_implement_trait, reason = "it is what streams call it")]
    pub fn next(&mut self) -> futures::stream::Next<'_, Self> {
        StreamExt::next(self)
    }
}

impl<T> Stream for Records<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.records.poll_next_unpin(cx)
    }
}

impl<T> fmt::Debug for Records<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}
