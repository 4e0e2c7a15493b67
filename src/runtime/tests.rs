//! Both runtimes, under whatever polls them.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use futures::future::join_all;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use socket2::SockRef;

use super::*;

/// Runs `check` with each runtime; tokio's is alive elsewhere.
fn with_each_runtime(check: impl Fn(&dyn Runtime)) {
    check(&AsyncIo);
    let tokio = ::tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    check(&Tokio::new(tokio.handle().clone()));
}

fn wait(timer: &mut Pin<Box<dyn Timer>>) {
    block_on(poll_fn(|cx| timer.as_mut().poll(cx)));
}

const SOON: Duration = Duration::from_millis(30);
/// Not so late that a test that fails would not end.
const MUCH_LATER: Duration = Duration::from_secs(15);

#[test]
fn timers_fire_once_their_time_has_come_and_stay_fired() {
    with_each_runtime(|runtime| {
        let start = runtime.now();
        let mut timer = runtime.new_timer(start + SOON);
        assert!(timer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        wait(&mut timer);
        assert!(start.elapsed() >= SOON);
        wait(&mut timer);

        let mut past = runtime.new_timer(start);
        assert!(past.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    });
}

#[test]
fn timers_can_be_moved_to_earlier() {
    with_each_runtime(|runtime| {
        let start = runtime.now();
        let mut timer = runtime.new_timer(start + MUCH_LATER);
        timer.as_mut().reset(start + SOON);
        wait(&mut timer);
        assert!((SOON..MUCH_LATER).contains(&start.elapsed()));
    });
}

#[test]
fn timers_can_be_moved_to_later() {
    with_each_runtime(|runtime| {
        let start = runtime.now();
        let mut timer = runtime.new_timer(start + SOON);
        timer.as_mut().reset(start + 3 * SOON);
        wait(&mut timer);
        assert!(start.elapsed() >= 3 * SOON);

        // One that has fired, too.
        let start = runtime.now();
        timer.as_mut().reset(start + SOON);
        assert!(timer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        wait(&mut timer);
        assert!(start.elapsed() >= SOON);

        // And one that went later and earlier again.
        timer.as_mut().reset(start + MUCH_LATER);
        timer.as_mut().reset(runtime.now() + SOON);
        wait(&mut timer);
        assert!(start.elapsed() < MUCH_LATER);
    });
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// As tokio's `block_on` may do, this executor polls with a waker that is equal to no other; a
/// reactor that wakes the waker it replaces would have it poll without end.
#[test]
fn an_idle_connection_is_not_polled_in_vain() {
    with_each_runtime(|runtime| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = block_on(runtime.connect(listener.local_addr().unwrap())).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut timer = runtime.new_timer(runtime.now() + MUCH_LATER);
        let speaks_up = thread::spawn(move || {
            thread::sleep(10 * SOON);
            server.write_all(b"x").unwrap();
            server
        });

        let mut polls = 0;
        let mut buffer = [0; 8];
        loop {
            polls += 1;
            let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
            let mut cx = Context::from_waker(&waker);
            assert!(timer.as_mut().poll(&mut cx).is_pending());
            if let Poll::Ready(read) = Pin::new(&mut stream).poll_read(&mut cx, &mut buffer) {
                assert_eq!(read.unwrap(), 1);
                break;
            }
            // The first time for no reason, as when something else in the task is ready.
            if polls > 1 {
                std::thread::park();
            }
        }
        assert!(polls <= 4, "{polls} polls for one byte");
        drop(speaks_up.join().unwrap());
    });
}

#[test]
fn a_reset_wakes_the_task_that_waits() {
    with_each_runtime(|runtime| {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut timer = runtime.new_timer(runtime.now() + MUCH_LATER);
        assert!(timer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let start = runtime.now();
        timer.as_mut().reset(start + SOON);
        // No poll: the wake-up has to come by itself.
        while start.elapsed() < SOON {
            std::thread::park_timeout(MUCH_LATER);
        }
        assert!(start.elapsed() < MUCH_LATER);
        assert!(timer.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    });
}

#[test]
fn pushing_a_deadline_back_wakes_nobody() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    with_each_runtime(|runtime| {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let start = runtime.now();
        let mut timer = runtime.new_timer(start + MUCH_LATER);
        for step in 0..10_000 {
            timer.as_mut().reset(start + MUCH_LATER + step * SOON);
            assert!(timer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn many_timers_fire() {
    with_each_runtime(|runtime| {
        let start = runtime.now();
        block_on(join_all((0..2_000_u32).rev().map(|index| {
            let at = start + Duration::from_micros(u64::from(index) * 50);
            let mut timer = runtime.new_timer(at);
            async move {
                poll_fn(|cx| timer.as_mut().poll(cx)).await;
                assert!(Instant::now() >= at);
            }
        })));
        assert!(start.elapsed() >= Duration::from_micros(1_999 * 50));
    });
}

#[test]
fn connections_carry_bytes_both_ways_and_end() {
    with_each_runtime(|runtime| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let size = 4_000_000;
        let echo = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::new();
            // The client closes its side, and goes on listening.
            stream.read_to_end(&mut received).unwrap();
            stream.write_all(&received).unwrap();
        });
        block_on(async {
            let mut stream = runtime.connect(address).await.unwrap();
            // More than the buffers of the kernel hold, so that writing has to wait.
            stream.write_all(&vec![7; size]).await.unwrap();
            stream.flush().await.unwrap();
            stream.close().await.unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await.unwrap();
            assert_eq!(received.len(), size);
        });
        echo.join().unwrap();
    });
}

#[test]
fn names_and_addresses_are_resolved() {
    with_each_runtime(|runtime| {
        let resolve = |host: &str| block_on(runtime.resolve(host, 80));
        assert_eq!(resolve("127.0.0.1").unwrap(), ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(resolve("::1").unwrap(), ["[::1]:80".parse().unwrap()]);
        assert_eq!(resolve("[::1]").unwrap(), ["[::1]:80".parse().unwrap()]);
        assert!(resolve("localhost").unwrap().iter().all(|address| address.ip().is_loopback()));
        assert!(resolve(&"x".repeat(70)).is_err());
        // An answer that nobody waits for any more does no harm.
        drop(runtime.resolve("localhost", 80));
    });
}

#[test]
fn sockets_are_prompt_and_notice_a_dead_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    socket::prepare(SockRef::from(&stream));
    let socket = SockRef::from(&stream);
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    #[cfg(target_os = "linux")]
    {
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(15));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    }
}

/// A socket of another family knows none of TCP's options. It must not be given up for that.
#[cfg(all(unix, feature = "tracing"))]
#[test]
fn an_option_that_cannot_be_set_is_a_line_in_the_log_and_not_a_failed_connection() {
    let (stream, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let refused = logged(|| socket::prepare(SockRef::from(&stream)));
    assert_eq!(refused.first().map(String::as_str), Some("TCP_NODELAY"), "{refused:?}");
    assert!(refused.contains(&"TCP_KEEPCNT".to_owned()), "the first refusal ended it: {refused:?}");
    std::io::Write::write_all(&mut &stream, b"still good").unwrap();
    let mut received = [0; 10];
    std::io::Read::read_exact(&mut peer, &mut received).unwrap();
    assert_eq!(&received, b"still good");
}

/// What `work` reports as an `option` in the log.
#[cfg(all(unix, feature = "tracing"))]
fn logged(work: impl FnOnce()) -> Vec<String> {
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::span;

    #[derive(Clone, Default)]
    struct Options(Arc<Mutex<Vec<String>>>);

    impl Visit for Options {
        fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == "option" {
                self.0.lock().unwrap().push(value.to_owned());
            }
        }
    }

    impl tracing::Subscriber for Options {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            event.record(&mut self.clone());
        }

        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    let options = Options::default();
    tracing::subscriber::with_default(options.clone(), work);
    options.0.lock().unwrap().clone()
}
