//! A chat answer as OpenAI's API and many others stream it.

use serde_json::{Value, json};
use tidings::EventSource;

pub async fn chat(url: &str, key: &str, text: &str) -> Result<String, Box<dyn std::error::Error>> {
    let messages = json!([{"role": "user", "content": text}]);
    let body = json!({"model": "gpt-4o-mini", "stream": true, "messages": messages});
    let mut stream = EventSource::builder(url).token(key).json(&body).build()?;
    let mut answer = String::new();
    while let Some(message) = stream.next_message().await? {
        if message.data() == "[DONE]" {
            return Ok(answer);
        }
        let chunk: Value = message.json()?;
        if let Some(error) = chunk["error"]["message"].as_str() {
            return Err(error.into());
        }
        answer.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
    }
    Err("the answer ended before [DONE]".into())
}
