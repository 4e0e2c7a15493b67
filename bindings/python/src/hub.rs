//! The embedded server, for tests of people who use the package.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::{exceptions::PyValueError, prelude::*, types::PyDict};
use tidings::hub::{Endpoint, Message};

use crate::{
    interpreter::let_go,
    options::{duration, json},
};

#[pyclass(frozen, module = "tidings._tidings")]
pub(crate) struct Hub(tidings::hub::Hub);

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
        Ok(Self(hub))
    }

    #[getter]
    fn url(&self) -> String {
        self.0.url()
    }

    fn collection(&self, name: &str, fields: &str) -> PyResult<String> {
        let fields = json("fields", fields)?;
        told(|| self.0.collection(name, fields))
    }

    fn create(&self, collection: &str, record: &str) -> PyResult<String> {
        let record = json("record", record)?;
        told(|| self.0.create(collection, record).to_string())
    }

    fn update(&self, collection: &str, id: &str, changes: &str) -> PyResult<String> {
        let changes = json("changes", changes)?;
        told(|| self.0.update(collection, id, changes).to_string())
    }

    fn delete(&self, collection: &str, id: &str) -> PyResult<()> {
        told(|| self.0.delete(collection, id))
    }

    fn records(&self, collection: &str) -> PyResult<String> {
        told(|| serde_json::Value::from(self.0.records(collection)).to_string())
    }

    fn oauth2(&self, collection: &str, provider: &str, email: Option<&str>) -> PyResult<()> {
        told(|| self.0.oauth2(collection, provider, email))
    }

    fn publish(&self, topic: &str, payload: Vec<u8>) -> PyResult<usize> {
        told(|| self.0.publish(topic, payload))
    }

    fn add_user(&self, collection: &str, email: &str, password: &str) -> PyResult<String> {
        told(|| self.0.add_user(collection, email, password))
    }

    fn token(&self, collection: &str, user: &str, lifetime: f64) -> PyResult<String> {
        let lifetime = duration("lifetime", lifetime)?;
        told(|| self.0.token(collection, user, lifetime))
    }

    fn revoke(&self, user: &str) -> bool {
        self.0.revoke(user)
    }

    fn send(&self, path: &str, data: String, event: Option<String>, id: Option<String>) -> usize {
        let mut message = Message::data(data);
        if let Some(event) = event {
            message = message.event(event);
        }
        if let Some(id) = id {
            message = message.id(id);
        }
        self.0.sse(path).send(message)
    }

    fn send_raw(&self, path: &str, data: Vec<u8>) -> usize {
        self.0.sse(path).send_raw(data)
    }

    fn topics(&self) -> Vec<String> {
        self.0.topics().into_iter().collect()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.0.stats();
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
        told(|| self.0.faults().refuse_next(endpoint, status, times))
    }

    fn delay(&self, endpoint: &str, seconds: f64) -> PyResult<()> {
        self.0.faults().delay(self::endpoint(endpoint)?, duration("delay", seconds)?);
        Ok(())
    }

    fn break_streams(&self, fault: &str) -> PyResult<usize> {
        let faults = self.0.faults();
        Ok(match fault {
            "end_streams" => faults.end_streams(),
            "cut_streams" => faults.cut_streams(),
            "reset_streams" => faults.reset_streams(),
            "truncate_streams" => faults.truncate_streams(),
            "half_open" => faults.half_open(),
            _ => return Err(PyValueError::new_err(format!("fault: there is no {fault:?}"))),
        })
    }

    fn freeze(&self, on: bool) {
        self.0.faults().freeze(on);
    }

    fn split_bytes(&self, on: bool) {
        self.0.faults().split_bytes(on);
    }

    fn clear_faults(&self) {
        self.0.faults().clear();
    }

    fn stop(&self, py: Python<'_>) {
        let_go(py, || self.0.stop());
    }

    fn restart(&self, py: Python<'_>) -> PyResult<()> {
        let_go(py, || self.0.restart())?;
        Ok(())
    }
}
