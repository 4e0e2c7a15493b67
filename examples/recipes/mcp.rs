//! One call over MCP's streamable HTTP, answered with a stream or, as the server likes, with JSON.

use futures::StreamExt;
use serde_json::Value;
use tidings::{Error, EventSource, SourceEvent};

/// Returns the reply to a JSON-RPC request. `initialize` sets the session, which all later calls need.
pub async fn call(url: &str, session: &mut Option<String>, call: &Value) -> Result<Value, Error> {
    let request =
        EventSource::builder(url).header("Accept", "application/json, text/event-stream").json(call);
    let id = session.iter();
    let mut stream = id.fold(request, |request, id| request.header("Mcp-Session-Id", id)).build()?;
    while let Some(event) = stream.next().await {
        let (id, reply) = match &event {
            SourceEvent::Open(head) => (head.header("Mcp-Session-Id"), Value::Null),
            SourceEvent::Message(message) => (None, message.json()?),
            SourceEvent::Closed { why: Some(why) } => {
                let answer = why.refusal().filter(|answer| answer.status() == 200).ok_or(why.clone())?;
                (answer.header("Mcp-Session-Id"), answer.json().unwrap_or_default())
            }
            _ => continue,
        };
        *session = id.map(str::to_owned).or(session.take());
        if reply["id"] == call["id"] {
            return Ok(reply);
        }
    }
    Err(Error::Protocol("there was no reply".into()))
}
