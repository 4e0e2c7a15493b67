//! Connections that are used again, and those that are not.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use futures::future::join_all;

use super::*;
use crate::rt::Runtime;

/// What a server has seen: the number of the connection, and the request or the end of the connection.
type Seen = Receiver<(usize, Option<Received>)>;

/// A server that does with the n-th request of its n-th connection what `script` says, until that says false.
fn counting(script: impl Fn(usize, usize, &mut TcpStream) -> bool + Send + Sync + 'static) -> (String, Seen) {
    let (seen, receiver) = mpsc::channel();
    let connections = AtomicUsize::new(0);
    let address = server(move |mut stream| {
        let number = connections.fetch_add(1, SeqCst);
        for request in 0.. {
            if stream.peek(&mut [0]).unwrap_or(0) == 0 {
                break;
            }
            let received = Received::from(&mut stream);
            _ = seen.send((number, Some(received)));
            if !script(number, request, &mut stream) {
                break;
            }
        }
        drop(stream);
        _ = seen.send((number, None));
    });
    (format!("http://{address}/"), receiver)
}

fn says(text: &str) -> impl Fn(usize, usize, &mut TcpStream) -> bool + use<> {
    let text = text.to_owned();
    move |_, _, stream| stream.write_all(text.as_bytes()).is_ok()
}

fn sharing(mut request: Request) -> Request {
    request.shares = true;
    request
}

fn body(client: &HttpClient, request: Request) -> Result<String, HttpError> {
    block_on(client.send(sharing(request))).map(text)
}

/// The connection that brought the next request.
fn connection(seen: &Seen) -> usize {
    loop {
        if let (number, Some(_)) = seen.recv_timeout(PATIENCE).unwrap() {
            return number;
        }
    }
}

/// The connection that ends next.
fn ended(seen: &Seen) -> usize {
    loop {
        if let (number, None) = seen.recv_timeout(PATIENCE).unwrap() {
            return number;
        }
    }
}

/// A clock that stands still until a test moves it on, by milliseconds.
#[derive(Debug)]
struct Later(AtomicU64, Instant);

impl Runtime for Later {
    fn connect(
        &self,
        address: SocketAddr,
    ) -> futures::future::BoxFuture<'static, std::io::Result<crate::rt::BoxIo>> {
        AsyncIo.connect(address)
    }

    fn new_timer(&self, at: Instant) -> std::pin::Pin<Box<dyn crate::rt::Timer>> {
        AsyncIo.new_timer(at)
    }

    fn now(&self) -> Instant {
        self.1 + Duration::from_millis(self.0.load(SeqCst))
    }
}

fn with_clock() -> (HttpClient, Arc<Later>) {
    let clock = Arc::new(Later(AtomicU64::new(0), Instant::now()));
    (HttpClient::new(clock.clone(), direct()).unwrap(), clock)
}

#[test]
fn requests_one_after_the_other_use_one_connection() {
    let (url, seen) = counting(says(&ok("news")));
    let (client, _clock) = with_clock();
    for _ in 0..5 {
        assert_eq!(body(&client, get(&url)).unwrap(), "news");
        assert_eq!(body(&client, post(&url, "{}")).unwrap(), "news");
    }
    // One that does not share, such as a stream, has its own.
    assert_eq!(text(block_on(client.send(get(&url))).unwrap()), "news");
    let used: Vec<_> = (0..11).map(|_| connection(&seen)).collect();
    // The first POST comes too soon to know whether the server keeps connections.
    assert_eq!(used, [[0].as_slice(), &[1; 9], &[2]].concat());
    assert_eq!(ended(&seen), 2);
    client.close_idle();
    assert_eq!(ended(&seen).max(ended(&seen)), 1);
}

#[test]
fn an_answer_without_a_body_leaves_its_connection_to_others() {
    let (url, seen) = counting(says("HTTP/1.1 204 No Content\r\n\r\n"));
    let client = client(direct());
    for _ in 0..3 {
        assert_eq!(body(&client, get(&url)).unwrap(), "");
        assert_eq!(connection(&seen), 0);
    }
}

#[test]
fn a_post_goes_over_a_connection_only_to_a_server_that_has_kept_one() {
    let (url, seen) = counting(says(&ok("news")));
    let (client, clock) = with_clock();
    let answer = |number| {
        assert_eq!(body(&client, post(&url, "{}")).unwrap(), "news");
        assert_eq!(connection(&seen), number);
    };
    // It may close after its answer, and not say so.
    answer(0);
    answer(1);
    clock.0.fetch_add(50, SeqCst);
    answer(1);
    // Now it has kept one.
    answer(1);
    answer(1);
}

#[test]
fn a_connection_that_is_not_in_order_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nkeep-alive: timeout=1\r\n\r\n",
        // The answer to a question that nobody has asked.
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfake",
    ] {
        let (url, seen) = counting(says(answer));
        let client = client(direct());
        for number in 0..2 {
            assert_eq!(body(&client, get(&url)).unwrap(), "", "{answer}");
            assert_eq!(connection(&seen), number, "{answer}");
        }
    }
}

#[test]
fn a_body_that_was_not_read_to_its_end_takes_its_connection_along() {
    let (url, seen) = counting(says(&ok("news")));
    let client = client(direct());
    drop(block_on(client.send(sharing(get(&url)))).unwrap());
    assert_eq!(ended(&seen), 0);
    assert_eq!(body(&client, get(&url)).unwrap(), "news");
    assert_eq!(connection(&seen), 1);
}

#[test]
fn a_server_that_closes_idle_connections_costs_no_request() {
    let (url, seen) = counting(|_, _, stream| {
        stream.write_all(ok("news").as_bytes()).unwrap();
        false
    });
    let client = client(direct());
    for number in 0..3 {
        assert_eq!(body(&client, post(&url, "{}")).unwrap(), "news");
        assert_eq!(connection(&seen), number);
        assert_eq!(ended(&seen), number);
    }
}

/// Reads the second request of the first connection, and closes or says `half` of an answer.
fn closing(half: &'static str) -> (String, Seen) {
    counting(move |connection, request, stream| {
        if (connection, request) == (0, 1) {
            stream.write_all(half.as_bytes()).unwrap();
            return false;
        }
        stream.write_all(ok("news").as_bytes()).is_ok()
    })
}

#[test]
fn a_request_that_may_be_repeated_is_when_the_server_closes_before_an_answer() {
    for is_submit in [false, true] {
        let (url, seen) = closing("");
        let client = client(direct());
        assert_eq!(body(&client, get(&url)).unwrap(), "news");
        let request = if is_submit { Request { repeats: true, ..post(&url, "{}") } } else { get(&url) };
        assert_eq!(body(&client, request).unwrap(), "news");
        assert_eq!([(); 3].map(|()| connection(&seen)), [0, 0, 1]);
    }
}

#[test]
fn a_post_is_not_sent_twice() {
    let (url, seen) = closing("");
    let (client, clock) = with_clock();
    assert_eq!(body(&client, get(&url)).unwrap(), "news");
    clock.0.fetch_add(50, SeqCst);
    let request = post(&url, "{}");
    let sent = request.sent.clone();
    let error = body(&client, request).unwrap_err();
    assert!(matches!(error, HttpError::UnexpectedEnd { .. } | HttpError::Reset { .. }), "{error:?}");
    assert!(sent.get(), "the server may have done it");
    assert_eq!([(); 2].map(|()| connection(&seen)), [0, 0]);
    // The next one is no longer in doubt.
    assert_eq!(body(&client, post(&url, "{}")).unwrap(), "news");
    assert_eq!(connection(&seen), 1);
}

#[test]
fn a_request_whose_answer_has_begun_is_not_repeated() {
    let (url, seen) = closing("HTTP/1.1 2");
    let client = client(direct());
    assert_eq!(body(&client, get(&url)).unwrap(), "news");
    let error = body(&client, get(&url)).unwrap_err();
    assert!(matches!(error, HttpError::UnexpectedEnd { .. }), "{error:?}");
    assert_eq!([(); 2].map(|()| connection(&seen)), [0, 0]);
}

#[test]
fn a_connection_to_another_address_is_not_the_one_that_was_meant() {
    let (url, _seen) = counting(says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    let client = client(direct());
    assert_eq!(body(&client, get(&url)).unwrap(), "");
    let mut request = get(&url);
    request.pin = Some("127.0.0.1:1".parse().unwrap());
    let error = body(&client, request).unwrap_err();
    assert!(matches!(error, HttpError::Connect { .. }), "another address is not meant: {error:?}");
}

#[test]
fn idle_connections_are_closed_after_their_time() {
    let (url, seen) = counting(says(&ok("news")));
    let (client, clock) = with_clock();
    assert_eq!(client.expire_idle(), None);
    let answer = |request, number| {
        assert_eq!(body(&client, request).unwrap(), "news");
        assert_eq!(connection(&seen), number);
    };
    answer(get(&url), 0);
    assert!(client.expire_idle().is_some());
    clock.0.fetch_add(10_000, SeqCst);
    answer(get(&url), 0);
    // It may be closed at any moment, which would leave it unknown what has become of a POST.
    clock.0.fetch_add(1_000, SeqCst);
    answer(post(&url, "{}"), 1);
    clock.0.fetch_add(14_500, SeqCst);
    let next = client.expire_idle().expect("the second one waits");
    assert!(next > clock.now());
    assert_eq!(ended(&seen), 0);
    clock.0.fetch_add(1_000, SeqCst);
    assert_eq!(client.expire_idle(), None);
    assert_eq!(ended(&seen), 1);
    answer(get(&url), 2);
    clock.0.fetch_add(15_000, SeqCst);
    // Also if nobody has looked meanwhile.
    answer(get(&url), 3);
}

#[test]
fn few_connections_wait_and_fewer_of_one_origin() {
    let servers: Vec<_> = (0..3).map(|_| counting(says(&ok("news")))).collect();
    let client = client(direct());
    for (url, seen) in &servers {
        let answers = block_on(join_all((0..6).map(|_| client.send(sharing(get(url)))))).into_iter();
        let answers: Vec<_> = answers.map(Result::unwrap).collect();
        answers.into_iter().for_each(|answer| assert_eq!(text(answer), "news"));
        assert_eq!([(); 2].map(|()| ended(seen)).len(), 2, "four stay");
    }
    // Those of the first server made room for the third.
    for _ in 0..4 {
        ended(&servers[0].1);
    }
    client.close_idle();
    for (_, seen) in &servers[1..] {
        for _ in 0..4 {
            ended(seen);
        }
    }
}
