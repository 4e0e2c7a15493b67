//! What the hub answers when it refuses a request.

use serde_json::{Map, Value, json};

/// A status and the error body that the real server sends with it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    message: String,
    data: Map<String, Value>,
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), data: Map::new() }
    }

    /// The 400 that says nothing more.
    pub(super) fn vague() -> Self {
        Self::new(400, "Something went wrong while processing your request.")
    }

    pub(super) fn missing() -> Self {
        Self::new(404, "The requested resource wasn't found.")
    }

    pub(super) fn with_data(mut self, data: Map<String, Value>) -> Self {
        self.data = data;
        self
    }

    pub(super) fn body(&self) -> Value {
        json!({ "data": self.data, "message": self.message, "status": self.status })
    }

    /// What `data` says of a value that is missing.
    pub(super) fn blank() -> Value {
        json!({ "code": "validation_required", "message": "Cannot be blank." })
    }
}
