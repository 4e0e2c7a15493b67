//! A descriptor for one who waits: for hosts whose threads are not the system's, such as gevent's.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    task::{Context, Wake, Waker},
};

/// Readable when what was polled with its [`context`](Self::context) can be polled again.
pub(crate) struct Bell {
    reader: UnixStream,
    waker: Waker,
}

struct Ringer(UnixStream);

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        // A full socket is readable already.
        let _ = (&self.0).write(&[1]);
    }
}

impl Bell {
    /// The one that is there, or a new one.
    pub(crate) fn of(bell: &mut Option<Self>) -> io::Result<&Self> {
        Ok(match bell {
            Some(bell) => bell,
            None => bell.insert(Self::new()?),
        })
    }

    fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self { reader, waker: Arc::new(Ringer(writer)).into() })
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    /// What to poll with. Whatever rang before is over.
    pub(crate) fn context(&self) -> Context<'_> {
        while matches!((&self.reader).read(&mut [0; 64]), Ok(64)) {}
        Context::from_waker(&self.waker)
    }
}
