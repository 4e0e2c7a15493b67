//! The embedded server, for tests of people who use the package.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
};

use pyo3::{exceptions::PyValueError, prelude::*, types::PyDict};
use tidings::{
    Error,
    hub::{Endpoint, Message},
};

use crate::{
    error::raise,
    interpreter::let_go,
    options::{duration, json},
};

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct Hub {
    /// Always there, until it goes.
    hub: Option<tidings::hub::Hub>,
    process: u32,
}

impl Hub {
    fn is_forked(&self) -> bool {
        self.process != process::id()
    }

    fn get(&self) -> PyResult<&tidings::hub::Hub> {
        self.hub.as_ref().filter(|_| !self.is_forked()).ok_or_else(|| raise(Error::Forked))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if self.is_forked() {
            // Its threads are the parent's, and cannot be joined here.
            mem::forget(self.hub.take());
        }
    }
}

/// The hub panics where a test asks for something that cannot be.
fn told<T>(call: impl FnOnce() -> T) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        PyValueError::new_err(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("refused").to_owned())
    })
}

fn endpoint(name: &str) -> PyResult<Endpoint> {
    Ok(match name {
        "connect" => Endpoint::Connect,
        "submit" => Endpoint::Submit,
        "events" => Endpoint::Events,
        "sse" => Endpoint::Sse,
        "records" => Endpoint::Records,
        "lists" => Endpoint::Lists,
        "auth" => Endpoint::Auth,
        "health" => Endpoint::Health,
        "other" => Endpoint::Other,
        _ => return Err(PyValueError::new_err(format!("endpoint: there is no {name:?}"))),
    })
}

#[pymethods]
impl Hub {
    #[new]
    fn new(py: Python<'_>, port: u16, seed: Option<u64>) -> PyResult<Self> {
        let mut builder = tidings::hub::Hub::builder().port(port);
        if let Some(seed) = seed {
            builder = builder.seed(seed);
        }
        let hub = let_go(py, || builder.start())?;
        Ok(Self { hub: Some(hub), process: process::id() })
    }

    #[getter]
    fn url(&self) -> PyResult<String> {
        Ok(self.get()?.url())
    }

    fn collection(&self, name: &str, fields: &str) -> PyResult<String> {
        let fields = json("fields", fields)?;
        let hub = self.get()?;
        told(|| hub.collection(name, fields))
    }

    fn create(&self, collection: &str, record: &str) -> PyResult<String> {
        let record = json("record", record)?;
        let hub = self.get()?;
        told(|| hub.create(collection, record).to_string())
    }

    fn update(&self, collection: &str, id: &str, changes: &str) -> PyResult<String> {
        let changes = json("changes", changes)?;
        let hub = self.get()?;
        told(|| hub.update(collection, id, changes).to_string())
    }

    fn delete(&self, collection: &str, id: &str) -> PyResult<()> {
        let hub = self.get()?;
        told(|| hub.delete(collection, id))
    }

    fn records(&self, collection: &str) -> PyResult<String> {
        let hub = self.get()?;
        told(|| serde_json::Value::from(hub.records(collection)).to_string())
    }

    fn oauth2(&self, collection: &str, provider: &str, email: Option<&str>) -> PyResult<()> {
        let hub = self.get()?;
        told(|| hub.oauth2(collection, provider, email))
    }

    fn publish(&self, topic: &str, payload: Vec<u8>) -> PyResult<usize> {
        let hub = self.get()?;
        told(|| hub.publish(topic, payload))
    }

    fn add_user(&self, collection: &str, email: &str, password: &str) -> PyResult<String> {
        let hub = self.get()?;
        told(|| hub.add_user(collection, email, password))
    }

    fn token(&self, collection: &str, user: &str, lifetime: f64) -> PyResult<String> {
        let lifetime = duration("lifetime", lifetime)?;
        let hub = self.get()?;
        told(|| hub.token(collection, user, lifetime))
    }

    fn revoke(&self, user: &str) -> PyResult<bool> {
        Ok(self.get()?.revoke(user))
    }

    fn send(&self, path: &str, data: String, event: Option<String>, id: Option<String>) -> PyResult<usize> {
        let mut message = Message::data(data);
        if let Some(event) = event {
            message = message.event(event);
        }
        if let Some(id) = id {
            message = message.id(id);
        }
        Ok(self.get()?.sse(path).send(message))
    }

    fn send_raw(&self, path: &str, data: Vec<u8>) -> PyResult<usize> {
        Ok(self.get()?.sse(path).send_raw(data))
    }

    fn topics(&self) -> PyResult<Vec<String>> {
        Ok(self.get()?.topics().into_iter().collect())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.get()?.stats();
        let all = PyDict::new(py);
        for (name, count) in
            [("streams", stats.streams), ("topics", stats.topics), ("sockets", stats.sockets)]
        {
            all.set_item(name, count)?;
        }
        Ok(all)
    }

    fn refuse_next(&self, endpoint: &str, status: u16, times: usize) -> PyResult<()> {
        let endpoint = self::endpoint(endpoint)?;
        let hub = self.get()?;
        told(|| hub.faults().refuse_next(endpoint, status, times))
    }

    fn delay(&self, endpoint: &str, seconds: f64) -> PyResult<()> {
        self.get()?.faults().delay(self::endpoint(endpoint)?, duration("delay", seconds)?);
        Ok(())
    }

    fn break_streams(&self, fault: &str) -> PyResult<usize> {
        let faults = self.get()?.faults();
        Ok(match fault {
            "end_streams" => faults.end_streams(),
            "cut_streams" => faults.cut_streams(),
            "reset_streams" => faults.reset_streams(),
            "truncate_streams" => faults.truncate_streams(),
            "half_open" => faults.half_open(),
            _ => return Err(PyValueError::new_err(format!("fault: there is no {fault:?}"))),
        })
    }

    fn freeze(&self, on: bool) -> PyResult<()> {
        self.get()?.faults().freeze(on);
        Ok(())
    }

    fn lose_tokens(&self, on: bool) -> PyResult<()> {
        self.get()?.faults().lose_tokens(on);
        Ok(())
    }

    fn split_bytes(&self, on: bool) -> PyResult<()> {
        self.get()?.faults().split_bytes(on);
        Ok(())
    }

    fn clear_faults(&self) -> PyResult<()> {
        self.get()?.faults().clear();
        Ok(())
    }

    fn stop(&self, py: Python<'_>) {
        // In a forked child there is nothing to stop.
        if let Ok(hub) = self.get() {
            let_go(py, || hub.stop());
        }
    }

    fn restart(&self, py: Python<'_>) -> PyResult<()> {
        let hub = self.get()?;
        let_go(py, || hub.restart())?;
        Ok(())
    }
}
