//! What every TCP socket is set to, whichever runtime opened it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Requests are small and wait for an answer, so they must not wait for Nagle; and a host that
/// has vanished must be noticed though nothing is sent, which takes 15 s + 3 · 5 s here where the
/// system's default is two hours.
pub(super) fn prepare(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(15));
    #[cfg(any(
        target_os = "android",
        target_os = "freebsd",
        target_os = "ios",
        target_os = "linux",
        target_os = "macos",
        target_os = "netbsd",
        target_os = "windows",
    ))]
    let keepalive = keepalive.with_interval(Duration::from_secs(5)).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)
}
