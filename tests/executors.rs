//! One scenario, unchanged, on every executor and on none.
#![cfg(all(feature = "hub", feature = "async-io", feature = "tokio"))]

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use serde_json::json;
use tidings::{Action, Client, State, hub::Hub, rt};

/// What a program does: subscribe, change things, lose the connection, get it back, leave.
async fn scenario(client: Client, hub: Arc<Hub>) {
    let mut posts = client.collection("posts").subscribe("*").await.unwrap();
    let made = client.send("POST", "/api/collections/posts/records", json!({"title": "a"})).await.unwrap();
    let id = made.json::<serde_json::Value>().unwrap()["id"].as_str().unwrap().to_owned();
    let event = posts.next().await.unwrap();
    assert_eq!((event.action(), event.record_id()), (Action::Create, Some(&*id)));

    assert_eq!(hub.faults().reset_streams(), 1);
    let gap = posts.next().await.unwrap();
    assert_eq!(gap.action(), Action::Gap);
    hub.update("posts", &id, json!({"title": "b"}));
    assert_eq!(posts.next().await.unwrap().action(), Action::Update);

    let mut states = client.states();
    drop(posts);
    while !matches!(states.next().await.unwrap(), State::Idle) {}
    client.close().await;
    assert!(states.next().await.is_none_or(|state| state.is_closed()));
}

/// Runs a test on a thread of its own, so that a hang is a failure.
fn within_patience(test: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        done.send(()).unwrap();
    });
    match finished.recv_timeout(Duration::from_secs(60)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => thread.join().unwrap(),
    }
}

fn start() -> (Arc<Hub>, Client) {
    let hub = Arc::new(Hub::start().unwrap());
    let client = Client::new(&hub.url()).unwrap();
    (hub, client)
}

#[test]
fn on_smol() {
    within_patience(|| {
        let (hub, client) = start();
        smol::block_on(smol::spawn(scenario(client, hub)));
    });
}

#[test]
fn on_tokio_with_many_threads() {
    within_patience(|| {
        let (hub, client) = start();
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        runtime.block_on(runtime.spawn(scenario(client, hub))).unwrap();
    });
}

#[test]
fn on_tokio_with_one_thread() {
    within_patience(|| {
        let (hub, client) = start();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(scenario(client, hub));
    });
}

#[test]
fn on_the_executor_of_futures() {
    within_patience(|| {
        let (hub, client) = start();
        futures::executor::block_on(scenario(client, hub));
    });
}

#[test]
fn on_a_plain_thread() {
    within_patience(|| {
        let (hub, client) = start();
        thread::spawn(|| pollster(scenario(client, hub))).join().unwrap();
    });
}

/// The least that can be called an executor: it parks the thread until woken.
fn pollster<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => thread::park(),
        }
    }
}

/// The driver polled by the host's executor, with either runtime on any of them.
mod with_the_driver_on {
    use super::*;

    fn tokio_io() -> (tokio::runtime::Runtime, rt::Tokio) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tokio = rt::Tokio::new(runtime.handle().clone());
        (runtime, tokio)
    }

    fn connect(hub: &Hub, runtime: impl rt::Runtime) -> (Client, impl Future<Output = ()> + Send + 'static) {
        Client::builder(&hub.url()).connect_with(runtime).unwrap()
    }

    #[test]
    fn smol_with_async_io() {
        within_patience(|| {
            let hub = Arc::new(Hub::start().unwrap());
            let (client, driver) = connect(&hub, rt::AsyncIo);
            let driver = smol::spawn(driver);
            smol::block_on(async {
                scenario(client, hub).await;
                driver.await;
            });
        });
    }

    #[test]
    fn smol_with_tokio_io() {
        within_patience(|| {
            let hub = Arc::new(Hub::start().unwrap());
            let (_runtime, tokio) = tokio_io();
            let (client, driver) = connect(&hub, tokio);
            let driver = smol::spawn(driver);
            smol::block_on(async {
                scenario(client, hub).await;
                driver.await;
            });
        });
    }

    #[test]
    fn tokio_with_its_own_io() {
        within_patience(|| {
            let hub = Arc::new(Hub::start().unwrap());
            let (runtime, tokio) = tokio_io();
            let (client, driver) = connect(&hub, tokio);
            let driver = runtime.spawn(driver);
            runtime.block_on(async {
                scenario(client, hub).await;
                driver.await.unwrap();
            });
        });
    }

    #[test]
    fn tokio_with_one_thread_and_async_io() {
        within_patience(|| {
            let hub = Arc::new(Hub::start().unwrap());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (client, driver) = connect(&hub, rt::AsyncIo);
            runtime.block_on(async { futures::join!(scenario(client, hub), driver) });
        });
    }

    #[test]
    fn the_executor_of_futures_with_tokio_io() {
        within_patience(|| {
            let hub = Arc::new(Hub::start().unwrap());
            let (_runtime, tokio) = tokio_io();
            let (client, driver) = connect(&hub, tokio);
            futures::executor::block_on(async { futures::join!(scenario(client, hub), driver) });
        });
    }
}

#[test]
fn a_driver_that_is_dropped_closes_the_client() {
    within_patience(|| {
        let hub = Hub::start().unwrap();
        let (client, driver) = Client::builder(&hub.url()).connect_with(rt::AsyncIo).unwrap();
        let mut posts = client.collection("posts").subscribe("*").start().unwrap();
        drop(driver);
        smol::block_on(async {
            assert!(posts.next().await.is_none());
            assert!(matches!(posts.ready().await, Err(tidings::Error::Closed)));
            let error = client.send("GET", "/api/health", None).await.unwrap_err();
            assert!(matches!(error, tidings::Error::Closed), "{error:?}");
            client.close().await;
        });
    });
}

#[test]
fn a_client_with_a_wrong_setting_is_an_error_also_within_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        // It has a runtime of tokio's to itself, which is dropped here.
        let error = tidings::blocking::Client::new("ftp://example.com").unwrap_err();
        assert!(matches!(error, tidings::Error::InvalidUrl { .. }), "{error}");
    });
}
