//! Threads that this library starts in the process of a host.

use std::{
    io, process,
    sync::atomic::{AtomicU64, Ordering},
    thread::{Builder, JoinHandle},
};

/// Starts a thread that takes no signals. Those are for the threads of the host, which may wait for one in `sigwait` or have
/// to be interrupted by it.
///
/// For the bindings; the name is of at most 15 bytes where the system is to show it whole.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // A thread inherits the mask of the one that starts it. Blocked by itself only, it would take signals until then.
    #[cfg(unix)]
    let _restored_at_the_end = signals::Blocked::new();
    let counted = Counted::new();
    Builder::new().name(name.to_owned()).spawn(move || {
        let _counted = counted;
        run();
    })
}

/// How many threads of this library there are in the process. For the bindings.
pub fn count() -> usize {
    let (owner, count) = unpack(THREADS.load(Ordering::Relaxed));
    if owner == process::id() { count as usize } else { 0 }
}

/// The process, and how many threads it has: those of its parent are not in a forked child.
static THREADS: AtomicU64 = AtomicU64::new(0);

fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, packed as u32)
}

struct Counted;

impl Counted {
    fn new() -> Self {
        Self::change(|count| count + 1);
        Self
    }

    fn change(change: impl Fn(u32) -> u32) {
        let own = process::id();
        let changed = |packed| {
            let (owner, count) = unpack(packed);
            let count = change(if owner == own { count } else { 0 });
            Some(u64::from(own) << 32 | u64::from(count))
        };
        let _ = THREADS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        Self::change(|count| count.saturating_sub(1));
    }
}

#[cfg(unix)]
mod signals {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};

    /// All signals are blocked on this thread until this is dropped, but for those of a fault of the thread itself: blocked,
    /// they would end the process without a word of the host's crash handler.
    pub(super) struct Blocked {
        before: Option<SigSet>,
    }

    const FAULTS: [Signal; 6] =
        [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGTRAP, Signal::SIGABRT];

    impl Blocked {
        pub(super) fn new() -> Self {
            let mut all = SigSet::all();
            FAULTS.into_iter().for_each(|fault| all.remove(fault));
            Self { before: all.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok() }
        }
    }

    impl Drop for Blocked {
        fn drop(&mut self) {
            if let Some(before) = &self.before {
                let _ = before.thread_set_mask();
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::mpsc;

    use nix::sys::signal::{SigSet, Signal};

    use super::*;

    #[test]
    fn a_thread_blocks_signals_and_its_starter_does_not() {
        let (tell, told) = mpsc::channel();
        let before = SigSet::thread_get_mask().unwrap();
        let thread = spawn("tidings-test", move || {
            tell.send((SigSet::thread_get_mask().unwrap(), count())).unwrap();
        });
        let (inside, count) = told.recv().unwrap();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGUSR1, Signal::SIGALRM] {
            assert!(inside.contains(signal), "{signal}");
        }
        assert!(!inside.contains(Signal::SIGSEGV));
        assert!(count >= 1);
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
        thread.unwrap().join().unwrap();
    }
}
