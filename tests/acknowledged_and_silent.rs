//! A topic that the server acknowledges and on which nothing can ever come: the collection does not exist, its rule is for
//! superusers, or the filter is wrong. PocketBase answers 204 to all of them; whoever subscribes is refused all the same.
//!
//! `make test` runs this against a current PocketBase and against 0.22.
#![cfg(feature = "async-io")]

mod real;

use real::{PocketBase, create, soon};
use serde_json::json;
use tidings::{Client, Error, Subscribe, SubscriptionState};

async fn status_of(subscribe: Subscribe) -> Option<u16> {
    match soon("the answer to a subscription", subscribe.into_future()).await {
        Ok(_) => None,
        Err(error) => {
            assert!(matches!(&error, Error::Refused(refusal) if !refusal.message().is_empty()), "{error:?}");
            error.status()
        }
    }
}

#[test]
fn whoever_waits_for_a_topic_that_can_bring_nothing_is_refused_with_the_lists_status() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("posts", &["title"], &[], "").await;
        let client = server.client();
        let id = create(&client, "posts", json!({"title": "one"})).await;
        let posts = client.collection("posts");
        server.collection("secrets", &["title"], &[], None).await;

        assert_eq!(status_of(client.collection("no_such_collection").subscribe("*")).await, Some(404));
        assert_eq!(status_of(client.collection("no_such_collection").subscribe("r1")).await, Some(404));
        assert_eq!(status_of(posts.subscribe("*").filter("no_such_field = 1")).await, Some(400));
        let of_the_request = status_of(posts.subscribe("*").filter("@request.auth.id != ''")).await;
        assert!(matches!(of_the_request, Some(400 | 403)), "{of_the_request:?}");
        assert_eq!(status_of(client.collection("secrets").subscribe("*")).await, Some(403));

        // What can bring something is not refused, and what was refused left nothing behind.
        let mut good = posts.subscribe("*").filter("title ~ 'two'").await.unwrap();
        let by_id = posts.subscribe(&id).await.unwrap();
        let root = server.root().await;
        let filter = "@request.auth.id != ''";
        let _seen = root.collection("secrets").subscribe("*").filter(filter).await.unwrap();
        create(&client, "posts", json!({"title": "two"})).await;
        assert!(soon("an event", good.next()).await.is_some());
        assert_eq!((by_id.state(), client.stats().listeners), (SubscriptionState::Live, 2));
    });
}

#[test]
fn a_filter_that_no_server_can_read_is_refused_before_the_network() {
    // Nobody is there.
    let client = Client::new("http://127.0.0.1:9").unwrap();
    let posts = client.collection("posts");
    for (filter, column) in [("title = ", 9), ("title == 'a'", 7), ("title = 'a' & n = 1", 13), ("(n = 1", 1)]
    {
        let error = posts.subscribe("*").filter(filter).start().unwrap_err();
        assert!(
            matches!(&error, Error::InvalidArgument { argument, .. } if argument == "filter"),
            "{error:?}"
        );
        assert!(error.to_string().ends_with(&format!("at column {column}")), "{error}");
    }
    // Unknown fields are the server's to tell, and some servers read what others do not.
    for filter in ["", "nope.x:y = 1", r"title = 'a\\'", "strftime('%Y', created) = '2026'", "n (n = 1)"] {
        assert!(posts.subscribe("*").filter(filter).start().is_ok(), "{filter}");
    }
    // What is no topic of records is left alone.
    assert!(client.realtime().subscribe("jobs").filter("what a hook makes of it").start().is_ok());
}

#[test]
fn a_subscription_that_nobody_waits_for_is_denied_until_the_user_may_see_it() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("secrets", &["title"], &[], None).await;
        let client = server.client();
        let hidden = client.collection("secrets").subscribe("*").start().unwrap();
        soon("the acknowledgement", hidden.ready()).await.unwrap();
        soon("the denial", until_state(&client, &hidden, SubscriptionState::Denied)).await;
        assert_eq!(hidden.denial().unwrap().status(), Some(403));
        client.collection("_superusers").auth_with_password(real::EMAIL, real::PASSWORD).await.unwrap();
        soon("the end of it", until_state(&client, &hidden, SubscriptionState::Live)).await;
        assert!(hidden.denial().is_none());
    });
}

/// Nothing announces it, so it is looked at again after each request.
async fn until_state(client: &Client, subscription: &tidings::Subscription, wanted: SubscriptionState) {
    while subscription.state() != wanted {
        let _ = client.send("GET", "/api/health", None).await;
    }
}

#[test]
fn a_host_may_do_without() {
    smol::block_on(async {
        let server = PocketBase::start("");
        let client = Client::builder(&server.url()).verify_topics(false).build().unwrap();
        let silent = client.collection("no_such_collection").subscribe("*").await.unwrap();
        assert_eq!(silent.state(), SubscriptionState::Live);
    });
}
