//! What every TCP socket is set to, whichever runtime opened it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// How a dead host is noticed: after this long without a byte, and then as many probes at intervals.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new().with_time(Duration::from_secs(15));
const INTERVAL: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// Requests are small and wait for an answer, so they must not wait for Nagle; and a host that has vanished must be
/// noticed though nothing is sent, which takes 15 s + 3 · 5 s here where the system's default is two hours.
///
/// A connection without one of these options is worth more than none: Windows before 1703 and wine know no
/// `TCP_KEEPCNT`, and a sandbox may refuse any of them. So a refusal is logged, and the next option is set.
pub(super) fn prepare(socket: SockRef<'_>) {
    set("TCP_NODELAY", socket.set_tcp_nodelay(true));
    // Each call sets what the one before it set and one option more: where that is refused, the others stay.
    set("SO_KEEPALIVE", socket.set_tcp_keepalive(&KEEPALIVE));
    #[cfg(any(
        target_os = "android",
        target_os = "freebsd",
        target_os = "ios",
        target_os = "linux",
        target_os = "macos",
        target_os = "netbsd",
        target_os = "windows",
    ))]
    {
        let probing = KEEPALIVE.with_interval(INTERVAL);
        set("TCP_KEEPINTVL", socket.set_tcp_keepalive(&probing));
        set("TCP_KEEPCNT", socket.set_tcp_keepalive(&probing.with_retries(PROBES)));
    }
}

fn set(option: &'static str, done: io::Result<()>) {
    if let Err(error) = done {
        #[cfg(feature = "tracing")]
        tracing::debug!(option, %error, "a socket option cannot be set; the connection goes on without it");
        #[cfg(not(feature = "tracing"))]
        let _ = (option, error);
    }
}
