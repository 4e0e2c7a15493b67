//! What works: on every runtime, under every executor.

use std::future::Future;
use std::sync::mpsc;

use futures::channel::oneshot;
use futures::future::{self, Either};
use tokio::runtime::Builder;

use super::*;
use crate::rt::{Runtime, Tokio};

async fn get_and_post(runtime: Arc<dyn Runtime>) {
    let client = HttpClient::new(runtime, direct()).unwrap();

    let (address, requests) = answering(ok("news"));
    let response = client.send(get(format!("http://{address}/a/b?c=%20d#e"))).await.unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.peer, Some(address));
    assert_eq!(response.url.as_str(), format!("http://{address}/a/b?c=%20d"));
    assert_eq!(response.body.collect(10).await.unwrap(), "news");
    let request = requests.recv().unwrap();
    assert_eq!(request.line, "GET /a/b?c=%20d HTTP/1.1");
    assert_eq!(request.header("host"), Some(address.to_string().as_str()));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.header("user-agent"), Some(concat!("tidings/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(request.header("content-length"), None);

    let (address, requests) = answering("HTTP/1.1 204 No Content\r\n\r\n");
    let mut response = client.send(post(format!("http://{address}/"), r#"{"a":1}"#)).await.unwrap();
    assert_eq!(response.status, 204);
    assert_eq!(response.body.chunk().await.unwrap(), None);
    let request = requests.recv().unwrap();
    assert_eq!(request.line, "POST / HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.body, r#"{"a":1}"#);
}

#[test]
fn async_io_works_on_a_plain_thread() {
    block_on(get_and_post(Arc::new(AsyncIo)));
    smol::block_on(get_and_post(Arc::new(AsyncIo)));
}

#[test]
fn async_io_works_inside_tokio() {
    let tokio = Builder::new_current_thread().build().unwrap();
    tokio.block_on(get_and_post(Arc::new(AsyncIo)));
}

#[test]
fn tokio_works_on_many_threads() {
    let tokio = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let runtime = Tokio::new(tokio.handle().clone());
    tokio.block_on(tokio.spawn(get_and_post(Arc::new(runtime)))).unwrap();
}

#[test]
fn tokio_works_on_one_thread() {
    let tokio = Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async { get_and_post(Arc::new(Tokio::current().unwrap())).await });
}

#[test]
fn tokio_works_when_polled_elsewhere() {
    let tokio = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let runtime = Arc::new(Tokio::new(tokio.handle().clone()));
    block_on(get_and_post(runtime.clone()));
    smol::block_on(get_and_post(runtime.clone()));
    // A runtime that has no drivers at all.
    Builder::new_current_thread().build().unwrap().block_on(get_and_post(runtime));
}

/// Nanoseconds on a processor: of this thread and of async-io's.
#[cfg(target_os = "linux")]
fn processor_time() -> u64 {
    let mut threads = vec![std::path::PathBuf::from("/proc/thread-self")];
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        if std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "async-io\n") {
            threads.push(task);
        }
    }
    let spent = |thread: std::path::PathBuf| {
        let schedstat = std::fs::read_to_string(thread.join("schedstat")).unwrap();
        schedstat.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    threads.into_iter().map(spent).sum()
}

#[test]
#[cfg(target_os = "linux")]
fn waiting_takes_no_processor_time() {
    use std::{future::poll_fn, time::Instant};

    let (address, _) = {
        let (seen, requests) = mpsc::channel();
        let address = server(move |mut stream| {
            _ = seen.send(Received::from(&mut stream));
            // A second for the head, in which nothing should happen here.
            thread::sleep(Duration::from_secs(1));
            stream.write_all(ok("slow").as_bytes()).unwrap();
            wait_for_end(&mut stream);
        });
        (address, requests)
    };
    let spent_waiting = |waiting: &dyn Fn()| {
        let before = processor_time();
        let start = Instant::now();
        waiting();
        assert!(start.elapsed() >= Duration::from_secs(1));
        Duration::from_nanos(processor_time() - before)
    };
    let url = format!("http://{address}/");

    let tokio = Builder::new_current_thread().enable_all().build().unwrap();
    // With a timer beside the socket (the request's time limit), and with the socket alone.
    for timeout in [Some(PATIENCE), None] {
        let fetch = |runtime: Arc<dyn Runtime>| {
            let client = HttpClient::new(runtime.clone(), direct()).unwrap();
            let request = Request { timeout, ..get(&url) };
            // What looks at an idle socket once more may set off a chain of wake-ups.
            let mut nudge = runtime.new_timer(runtime.now() + Duration::from_millis(50));
            let nudge = poll_fn(move |cx| nudge.as_mut().poll(cx));
            let answer = client.send(request);
            async move { assert_eq!(future::join(answer, nudge).await.0.unwrap().status, 200) }
        };
        for spent in [
            spent_waiting(&|| tokio.block_on(fetch(Arc::new(AsyncIo)))),
            spent_waiting(&|| block_on(fetch(Arc::new(AsyncIo)))),
            spent_waiting(&|| tokio.block_on(fetch(Arc::new(Tokio::new(tokio.handle().clone()))))),
        ] {
            assert!(spent < Duration::from_millis(200), "{spent:?} of processor time in 1 s of waiting");
        }
    }
}

#[test]
fn pieces_arrive_as_they_are_sent() {
    let (go_on, signal) = mpsc::channel::<()>();
    let signal = std::sync::Mutex::new(signal);
    let address = server(move |mut stream| {
        Received::from(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        for chunk in ["3\r\none\r\n", "3\r\ntwo\r\n", "0\r\n\r\n"] {
            // Not before the client has what came before.
            signal.lock().unwrap().recv().unwrap();
            stream.write_all(chunk.as_bytes()).unwrap();
        }
        // No FIN: the end is that of the chunked body.
        wait_for_end(&mut stream);
    });
    let mut body = send(get(format!("http://{address}/"))).unwrap().body;
    for expected in [Some("one"), Some("two"), None, None] {
        _ = go_on.send(());
        assert_eq!(block_on(body.chunk()).unwrap().as_deref(), expected.map(str::as_bytes));
    }
}

#[test]
fn large_bodies_arrive_whole() {
    let size = 3_000_000;
    let (address, _requests) = answering(ok(&"x".repeat(size)));
    let response = send(get(format!("http://{address}/"))).unwrap();
    let whole = block_on(response.body.collect(size)).unwrap();
    assert_eq!(whole.len(), size);
    assert!(whole.iter().all(|byte| *byte == b'x'));
}

#[test]
fn large_bodies_are_sent_whole() {
    let (address, requests) = answering(ok(""));
    let mut request = post(format!("http://{address}/"), "");
    request.body = "y".repeat(3_000_000).into();
    assert_eq!(send(request).unwrap().status, 200);
    assert_eq!(requests.recv().unwrap().body.len(), 3_000_000);
}

#[test]
fn answers_without_a_body_end_at_once() {
    for (method, head) in [
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        (Method::GET, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ] {
        let (address, _requests) = answering(head);
        let mut response = send(Request { method, ..get(format!("http://{address}/")) }).unwrap();
        assert_eq!(block_on(response.body.chunk()).unwrap(), None);
    }
}

#[test]
fn a_request_says_how_long_its_body_is_also_when_there_is_none() {
    for (method, body, length) in [
        (Method::POST, "", Some("0")),
        (Method::PUT, "", Some("0")),
        (Method::PATCH, "", Some("0")),
        (Method::POST, "{}", Some("2")),
        (Method::DELETE, "{}", Some("2")),
        (Method::DELETE, "", None),
        (Method::GET, "", None),
    ] {
        let (address, requests) = answering(ok(""));
        let request = Request { method, body: body.into(), ..get(format!("http://{address}/")) };
        send(request).unwrap();
        let request = requests.recv().unwrap();
        assert_eq!(request.header("content-length"), length, "{}", request.line);
        assert_eq!(request.header("transfer-encoding"), None);
    }
}

#[test]
fn callers_headers_win_over_defaults() {
    let (address, requests) = answering(ok(""));
    let mut config = direct();
    for (name, value) in [("x-a", "default"), ("x-b", "default"), ("transfer-encoding", "chunked")] {
        config.default_headers.insert(name, value.parse().unwrap());
    }
    config.default_headers.insert("proxy-authorization", "Basic c2VjcmV0".parse().unwrap());
    config.user_agent = "mine/1".parse().unwrap();
    let mut request = post(format!("http://{address}/"), "{}");
    request.headers.insert("x-b", "own".parse().unwrap());
    request.headers.insert("accept-encoding", "gzip".parse().unwrap());
    assert_eq!(block_on(client(config).send(request)).unwrap().status, 200);

    let request = requests.recv().unwrap();
    assert_eq!(request.header("x-a"), Some("default"));
    assert_eq!(request.header("x-b"), Some("own"));
    assert_eq!(request.header("user-agent"), Some("mine/1"));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.header("proxy-authorization"), None);
    assert_eq!(request.header("transfer-encoding"), None);
    assert_eq!(request.body, "{}");
}

#[test]
fn credentials_in_the_url_are_sent_as_basic() {
    let (address, requests) = answering(ok(""));
    let response = send(get(format!("http://user:p%40ss@{address}/"))).unwrap();
    assert_eq!(response.url.as_str(), format!("http://{address}/"));
    // user:p@ss
    assert_eq!(requests.recv().unwrap().header("authorization"), Some("Basic dXNlcjpwQHNz"));

    let mut request = get(format!("http://user:p%40ss@{address}/"));
    request.headers.insert("authorization", "token".parse().unwrap());
    send(request).unwrap();
    assert_eq!(requests.recv().unwrap().header("authorization"), Some("token"));
}

#[test]
fn a_pin_replaces_the_resolver() {
    let (address, requests) = answering(ok("pinned"));
    let request = Request { pin: Some(address), ..get("http://nowhere.invalid:1/") };
    let response = send(request).unwrap();
    assert_eq!(response.peer, Some(address));
    assert_eq!(requests.recv().unwrap().header("host"), Some("nowhere.invalid:1"));
}

/// Polls `work` until the server has reported, then drops it.
fn drop_when<T>(work: impl Future<Output = T> + Unpin, reported: oneshot::Receiver<()>) {
    match block_on(future::select(work, reported)) {
        Either::Left(_) => panic!("the work was done before it could be dropped"),
        Either::Right((report, work)) => {
            report.unwrap();
            drop(work);
        }
    }
}

/// A server that reports when it has done `script`, and again when the client is gone.
fn watching(
    script: impl Fn(&mut TcpStream) + Send + Sync + 'static,
) -> (SocketAddr, oneshot::Receiver<()>, Receiver<()>) {
    let (report, reported) = oneshot::channel();
    let report = std::sync::Mutex::new(Some(report));
    let (gone, left) = mpsc::channel();
    let address = server(move |mut stream| {
        script(&mut stream);
        report.lock().unwrap().take().unwrap().send(()).unwrap();
        wait_for_end(&mut stream);
        gone.send(()).unwrap();
    });
    (address, reported, left)
}

#[test]
fn dropping_a_pending_send_closes_the_socket() {
    let tokio = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for runtime in [Arc::new(AsyncIo) as Arc<dyn Runtime>, Arc::new(Tokio::new(tokio.handle().clone()))] {
        let client = HttpClient::new(runtime, direct()).unwrap();
        let (address, reported, left) = watching(|stream| {
            Received::from(stream);
        });
        drop_when(client.send(get(format!("http://{address}/"))), reported);
        left.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn dropping_a_pending_handshake_closes_the_socket() {
    let (address, reported, left) = watching(|stream| {
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    });
    drop_when(client(direct()).send(get(format!("https://{address}/"))), reported);
    left.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_body_closes_the_socket_when_it_is_dropped_or_has_ended() {
    let open = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (address, _reported, left) = watching(move |stream| {
        Received::from(stream);
        stream.write_all(open.as_bytes()).unwrap();
    });
    let response = send(get(format!("http://{address}/"))).unwrap();
    drop(response);
    left.recv_timeout(PATIENCE).unwrap();

    let (address, _reported, left) = watching(|stream| {
        Received::from(stream);
        stream.write_all(ok("all").as_bytes()).unwrap();
    });
    let mut response = send(get(format!("http://{address}/"))).unwrap();
    while block_on(response.body.chunk()).unwrap().is_some() {}
    left.recv_timeout(PATIENCE).unwrap();
}
