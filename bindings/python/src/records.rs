//! Records, and lists of them.

use std::{
    future::IntoFuture,
    sync::{Arc, Mutex, PoisonError},
};

use pyo3::{prelude::*, types::PyDict};
use serde_json::Value;
use tidings::{Collection, List, RecordRequest};

use crate::{
    call::{Answer, Call},
    client::Client,
    error::raise,
    options,
};

/// A list that is read page by page.
#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct Pages {
    client: Py<Client>,
    /// As they are before the next page. A call that is withdrawn leaves them as they were.
    pages: Arc<Mutex<tidings::Pages>>,
}

#[pymethods]
impl Pages {
    fn next(&self) -> PyResult<Call> {
        let place = self.pages.clone();
        let mut pages = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.client.get().call(async move {
            let records = pages.next().await?;
            *place.lock().unwrap_or_else(PoisonError::into_inner) = pages;
            Ok(records.map_or(Answer::Nothing, |records| Answer::Json(records.into())))
        })
    }
}

/// The records of a collection.
#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct Records {
    client: Py<Client>,
    collection: String,
}

impl Records {
    fn collection(&self) -> PyResult<Collection> {
        Ok(self.client.get().get()?.collection(&self.collection))
    }

    fn listing(&self, options: &Bound<'_, PyDict>) -> PyResult<List> {
        options::list(self.collection()?.list(), options)
    }

    fn asking(&self, request: RecordRequest<Value>, options: &Bound<'_, PyDict>) -> PyResult<Call> {
        let request = options::record(request, options)?.into_future();
        self.client.get().call(async { request.await.map(Answer::Json) })
    }
}

#[pymethods]
impl Records {
    #[new]
    fn new(client: Py<Client>, collection: String) -> Self {
        Self { client, collection }
    }

    fn list(&self, py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<Pages> {
        let pages = self.listing(options)?.pages().map_err(raise)?;
        Ok(Pages { client: self.client.clone_ref(py), pages: Arc::new(Mutex::new(pages)) })
    }

    fn page(&self, number: usize, options: &Bound<'_, PyDict>) -> PyResult<Call> {
        let list = self.listing(options)?;
        self.client.get().call(async move {
            let page = list.page::<Value>(number).await?;
            let page = serde_json::to_value(page).expect("numbers and records always serialize");
            Ok(Answer::Json(page))
        })
    }

    fn get(&self, id: &str, options: &Bound<'_, PyDict>) -> PyResult<Call> {
        self.asking(self.collection()?.get(id), options)
    }

    fn create(&self, record: &str, options: &Bound<'_, PyDict>) -> PyResult<Call> {
        let record = options::json("record", record)?;
        self.asking(self.collection()?.create(&record), options)
    }

    fn update(&self, id: &str, changes: &str, options: &Bound<'_, PyDict>) -> PyResult<Call> {
        let changes = options::json("changes", changes)?;
        self.asking(self.collection()?.update(id, &changes), options)
    }

    fn delete(&self, id: String) -> PyResult<Call> {
        let collection = self.collection()?;
        self.client.get().call(async move { collection.delete(&id).await.map(|()| Answer::Nothing) })
    }
}
