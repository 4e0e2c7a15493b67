//! Counts what the contenders allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// What has been allocated while a closure ran.
#[derive(Clone, Copy, Debug)]
pub struct Allocations {
    pub count: usize,
    /// The most bytes that were in use at a time, more than before.
    pub peak: usize,
}

/// Runs `run` and counts. One thread at a time.
pub fn counted<T>(run: impl FnOnce() -> T) -> (T, Allocations) {
    for counter in [&COUNT, &LIVE, &PEAK] {
        counter.store(0, Relaxed);
    }
    ON.store(true, Relaxed);
    let value = run();
    ON.store(false, Relaxed);
    (value, Allocations { count: COUNT.load(Relaxed), peak: PEAK.load(Relaxed) })
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Off while time is taken, since counting would cost those who allocate.
static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Wraps around below zero where something is freed that is older than the count.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    #[inline]
    fn note(&self, allocated: usize, freed: usize) {
        if ON.load(Relaxed) {
            COUNT.fetch_add(usize::from(allocated > 0), Relaxed);
            let live = LIVE.load(Relaxed).wrapping_add(allocated).wrapping_sub(freed);
            LIVE.store(live, Relaxed);
            PEAK.fetch_max(if live > isize::MAX as usize { 0 } else { live }, Relaxed);
        }
    }
}

// SAFETY: each call goes on to the system's allocator as it came.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.note(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.note(layout.size(), 0);
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.note(0, layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.note(size, layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}
