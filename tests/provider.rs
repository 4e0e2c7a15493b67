//! What is told of tokens that a provider gives.
#![cfg(all(feature = "hub", feature = "async-io"))]

use serde_json::json;
use tidings::{Client, hub::Hub};

#[test]
fn an_answer_that_is_not_wanted_any_more_is_told_to_nobody() {
    smol::block_on(async {
        let hub = Hub::start().unwrap();
        let (ask, asked) = async_channel::bounded(8);
        let (give, given) = async_channel::bounded::<()>(8);
        let client = Client::builder(&hub.url())
            .token_provider(move || {
                let (ask, given) = (ask.clone(), given.clone());
                async move {
                    let _ = ask.send(()).await;
                    let _ = given.recv().await;
                    Ok::<_, std::io::Error>(Some("provider".to_owned()))
                }
            })
            .build()
            .unwrap();
        let _posts = client.collection("posts").subscribe("*").start().unwrap();
        asked.recv().await.unwrap();
        client.auth().set("host", json!({"id": "ada"})).unwrap();
        let mut changes = client.auth().changes();
        assert_eq!(changes.next().await.unwrap().as_deref(), Some("host"));
        give.send(()).await.unwrap();
        // With the server's answer the provider's has been dealt with.
        let _kept = client.collection("posts").subscribe("*").await.unwrap();
        client.auth().set_token("last").unwrap();
        assert_eq!(changes.next().await.unwrap().as_deref(), Some("last"));
    });
}
