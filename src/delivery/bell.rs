//! A descriptor that is readable while it rings, to wake those who poll. Where there is an `eventfd` it takes one
//! descriptor, elsewhere a pair of sockets.

use std::os::fd::{AsFd, BorrowedFd};

#[cfg(any(target_os = "linux", target_os = "android"))]
use nix::sys::eventfd::{EfdFlags, EventFd};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

pub(crate) struct Bell {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    event: EventFd,
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pair: (UnixStream, UnixStream),
}

/// Neither waits: a host that reads from the descriptor, which it should not, must not make the client wait.
#[cfg(any(target_os = "linux", target_os = "android"))]
impl Bell {
    pub(crate) fn new() -> std::io::Result<Self> {
        let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self { event })
    }

    pub(crate) fn set(&self, rings: bool) {
        let _ = if rings { self.event.write(1).map(drop) } else { self.event.read().map(drop) };
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Bell {
    pub(crate) fn new() -> std::io::Result<Self> {
        let pair = UnixStream::pair()?;
        pair.0.set_nonblocking(true)?;
        pair.1.set_nonblocking(true)?;
        Ok(Self { pair })
    }

    pub(crate) fn set(&self, rings: bool) {
        let (reader, writer) = &self.pair;
        let _ = if rings { (&*writer).write(&[1]) } else { (&*reader).read(&mut [0; 8]) };
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.event.as_fd();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        return self.pair.0.as_fd();
    }
}

#[cfg(test)]
pub(crate) fn is_readable(descriptor: &impl AsFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut asked = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::ZERO).unwrap() == 1
}
