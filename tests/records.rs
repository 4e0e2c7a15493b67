//! Records read and written, on a real server: lists that are walked while others write, and what is refused.
#![cfg(feature = "async-io")]

mod real;

use std::{collections::HashSet, future::IntoFuture};

use futures::future::join_all;
use real::PocketBase;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidings::{Client, Collection, Error};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Post {
    #[serde(default, skip_serializing)]
    id: String,
    title: String,
}

fn title(n: usize) -> String {
    // Ties, and texts that older and newer servers read differently.
    format!("{:02} it's \\n \"{}\"", n % 7, n % 3)
}

async fn fill(posts: &Collection, count: usize) {
    for chunk in (0..count).collect::<Vec<_>>().chunks(24) {
        let made = chunk.iter().map(|n| {
            let post = Post { id: String::new(), title: title(*n) };
            posts.create::<Post>(&post).into_future()
        });
        for post in join_all(made).await {
            post.unwrap();
        }
    }
}

#[test]
fn a_walk_misses_and_repeats_nothing_while_others_write() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("posts", &["title"], &[], "").await;
        let posts = server.client().collection("posts");
        fill(&posts, 300).await;
        for sort in ["", "-title", "title,-id"] {
            let before: HashSet<String> =
                posts.list().all::<Post>().await.unwrap().into_iter().map(|post| post.id).collect();
            let mut walk =
                posts.list().sort(sort).filter("title != 'x' || id = 'y'").page_size(40).stream::<Post>();
            let (mut seen, mut deleted): (Vec<String>, Vec<String>) = Default::default();
            while let Some(post) = walk.next().await {
                seen.push(post.unwrap().id);
                // Before the place of the walk, where pages by number would be shifted.
                if seen.len() % 40 == 20 {
                    let first = seen.iter().find(|id| !deleted.contains(id)).unwrap().clone();
                    posts.delete(&first).await.unwrap();
                    deleted.push(first);
                }
            }
            let unique: HashSet<String> = seen.iter().cloned().collect();
            assert_eq!(unique.len(), seen.len(), "{sort}: some came twice");
            assert_eq!(unique, before, "{sort}: some did not come");
            assert!(deleted.len() > 4);
        }
    });
}

#[test]
fn records_are_written_and_read_with_types() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("posts", &["title"], &[], "").await;
        let posts = server.client().collection("posts");
        let made: Post = posts.create(&Post { id: String::new(), title: "a".into() }).await.unwrap();
        let changed: Post = posts.update(&made.id, &json!({"title": "b"})).await.unwrap();
        assert_eq!(changed, Post { id: made.id.clone(), title: "b".into() });
        assert_eq!(posts.get::<Post>(&made.id).await.unwrap(), changed);
        let thin: Value = posts.get(&made.id).fields("title").await.unwrap();
        assert_eq!(thin, json!({"title": "b"}));
        posts.delete(&made.id).await.unwrap();
        let gone = posts.get::<Post>(&made.id).await.unwrap_err();
        assert_eq!(gone.status(), Some(404), "{gone}");
        assert_eq!(posts.delete(&made.id).await.unwrap_err().status(), Some(404));
    });
}

#[test]
fn a_list_has_the_fields_that_were_asked_for() {
    smol::block_on(async {
        let server = PocketBase::start("");
        let authors = server.collection("authors", &["name"], &[], "").await;
        server.collection("posts", &["title"], &[("author_of", &authors)], "").await;
        let client = server.client();
        let (authors, posts) = (client.collection("authors"), client.collection("posts"));
        for name in ["b", "a"] {
            let author: Value = authors.create(&json!({"name": name})).await.unwrap();
            for n in 0..3 {
                let post = json!({"title": format!("{name}{n}"), "author_of": author["id"]});
                posts.create::<Value>(&post).await.unwrap();
            }
        }
        let thin: Vec<Value> =
            posts.list().sort("-title").fields("author_of").page_size(2).all().await.unwrap();
        assert_eq!(thin.len(), 6);
        assert!(thin.iter().all(|post| post.as_object().unwrap().keys().eq(["author_of"])), "{thin:?}");
        // The place of a record in this order is not known here: pages by number.
        let sorted = posts.list().sort("author_of.name,title").expand("author_of").page_size(4);
        let sorted: Vec<Value> = sorted.all().await.unwrap();
        let titles: Vec<_> = sorted.iter().map(|post| post["title"].as_str().unwrap()).collect();
        assert_eq!(titles, ["a0", "a1", "a2", "b0", "b1", "b2"]);
        assert_eq!(sorted[0]["expand"]["author_of"]["name"], "a");
        let page =
            posts.list().sort("@random").filter("title ~ 'a'").page_size(2).page::<Post>(2).await.unwrap();
        assert_eq!((page.page, page.per_page, page.total_items, page.total_pages), (2, 2, 3, 2));
        assert_eq!(page.items.len(), 1);
    });
}

/// What nothing listens at: a call that got there has another error.
fn nowhere() -> Client {
    Client::new("http://127.0.0.1:1").unwrap()
}

#[test]
fn what_cannot_be_right_is_refused_before_the_network() {
    smol::block_on(async {
        let posts = nowhere().collection("posts");
        for list in [
            posts.list().filter("title = "),
            posts.list().sort("title,-@random"),
            posts.list().sort("title;drop"),
            posts.list().page_size(0),
            posts.list().page_size(1_001),
            posts.list().query("x", f64::NAN).page_size(0),
        ] {
            let error = list.clone().all::<Value>().await.unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
            let mut stream = list.stream::<Value>();
            assert!(stream.next().await.unwrap().is_err() && stream.next().await.is_none());
        }
        let error = posts.list().sort("a,-@rowid").all::<Value>().await.unwrap_err().to_string();
        assert!(error.contains("`@rowid`") && error.contains("column 3"), "{error}");
        for id in ["", "*", "..", "a/b", "a?b"] {
            let error = posts.get::<Value>(id).await.unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{id:?}: {error}");
            assert!(matches!(posts.delete(id).await.unwrap_err(), Error::InvalidArgument { .. }), "{id:?}");
        }
        let error = posts.create::<Value>(&[1]).await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        assert!(matches!(posts.list().page::<Value>(0).await.unwrap_err(), Error::InvalidArgument { .. }));
        let error = nowhere().collection("a/b").list().all::<Value>().await.unwrap_err();
        assert!(matches!(error, Error::InvalidTopic { .. }), "{error}");
        let rustbaas = Client::rustbaas("http://127.0.0.1:1", "acme", "web").unwrap().collection("posts");
        for error in [
            rustbaas.list().all::<Value>().await.unwrap_err(),
            rustbaas.get::<Value>("a").await.unwrap_err(),
            rustbaas.create::<Value>(&json!({})).await.unwrap_err(),
            rustbaas.delete("a").await.unwrap_err(),
        ] {
            assert!(
                matches!(error, Error::Unsupported { .. }) && error.to_string().contains("send"),
                "{error}"
            );
        }
    });
}

#[test]
fn what_the_server_refuses_has_its_status() {
    smol::block_on(async {
        let server = PocketBase::start("");
        server.collection("posts", &["title"], &[], "").await;
        server.collection("secrets", &["title"], &[], None).await;
        let client = server.client();
        let status = async |name: &str, filter: &str| {
            client.collection(name).list().filter(filter).all::<Value>().await.unwrap_err().status()
        };
        assert_eq!(status("nothing", "").await, Some(404));
        assert_eq!(status("secrets", "").await, Some(403));
        assert_eq!(status("posts", "nope = 1").await, Some(400));
    });
}
