//! A chat answer as Anthropic's API streams it: the event type says what each message is, and there are pings.

use serde_json::{Value, json};
use tidings::EventSource;

pub async fn chat(url: &str, key: &str, text: &str) -> Result<String, Box<dyn std::error::Error>> {
    let messages = json!([{"role": "user", "content": text}]);
    let body =
        json!({"model": "claude-sonnet-4-5", "max_tokens": 1024, "stream": true, "messages": messages});
    let request = EventSource::builder(url).header("x-api-key", key).json(&body);
    let mut stream = request.header("anthropic-version", "2023-06-01").build()?;
    let mut answer = String::new();
    while let Some(message) = stream.next_message().await? {
        let data: Value = message.json()?;
        match message.event() {
            "content_block_delta" => answer.push_str(data["delta"]["text"].as_str().unwrap_or_default()),
            "message_stop" => return Ok(answer),
            "error" => return Err(data["error"]["message"].as_str().unwrap_or("unknown error").into()),
            _ => {}
        }
    }
    Err("the answer ended before message_stop".into())
}
