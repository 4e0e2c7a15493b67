//! Feature flags: all of them first, then each change, with a token that expires and a program that restarts.

use std::{io, time::Duration};

use serde_json::{Map, Value};
use tidings::{Error, EventSource};

/// Calls `changed(flag, value, id)`. Begins after `id`, if the program saved one.
pub async fn follow<F: Future<Output = io::Result<Option<String>>> + Send + 'static>(
    url: &str,
    id: &str,
    token: impl Fn() -> F + Send + Sync + 'static,
    mut changed: impl FnMut(&str, &Value, &str),
) -> Result<(), Error> {
    let flags = EventSource::builder(url).last_event_id(id).token_provider(token);
    let mut flags = flags.read_timeout(Duration::from_secs(300)).build()?;
    while let Some(message) = flags.next_message().await? {
        // `put` brings all flags, `patch` those that have changed.
        for (flag, value) in message.json::<Map<String, Value>>()? {
            changed(&flag, &value, message.id());
        }
    }
    Ok(())
}
