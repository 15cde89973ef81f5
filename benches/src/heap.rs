//! The heap, counted: how much of it is live, and how often it was asked for more.
//!
//! A thread counts what it does itself, so that counting costs an addition and not a shared cache
//! line. A bench that asks is single-threaded between its questions.
#![expect(unsafe_code, reason = "an allocator can only be stood in for by an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which this thread's use of is counted.
pub struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// What this thread has asked of the heap so far.
#[derive(Clone, Copy, Debug)]
pub struct Heap {
    live: isize,
    allocations: u64,
}

impl Heap {
    /// As it is.
    pub fn now() -> Self {
        Self { live: LIVE.get(), allocations: ALLOCATIONS.get() }
    }

    /// Megabytes (10⁶ bytes) that came to be live since then, as they were asked for: what the
    /// allocator adds to each is not in it.
    pub fn megabytes_since(self) -> f64 {
        (LIVE.get() - self.live) as f64 / 1e6
    }

    /// Allocations since then; one that grows counts again.
    pub fn allocations_since(self) -> u64 {
        ALLOCATIONS.get() - self.allocations
    }
}

fn count(bytes: isize, allocations: u64) {
    LIVE.set(LIVE.get().wrapping_add(bytes));
    ALLOCATIONS.set(ALLOCATIONS.get() + allocations);
}

// SAFETY: every call is the system allocator's own; counting neither allocates nor panics, as the
// counters are constant-initialised thread-locals without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize, 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize, 1);
        // SAFETY: likewise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize), 0);
        // SAFETY: likewise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize, 1);
        // SAFETY: likewise.
        unsafe { System.realloc(at, layout, size) }
    }
}
