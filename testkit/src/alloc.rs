//! Allocations of one thread, counted: "no allocation on this path" as an assertion.
//!
//! A test binary installs the allocator and asks what a piece of work allocated:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: testkit::alloc::Counting = testkit::alloc::Counting;
//!
//! let (allocated, sum) = testkit::alloc::allocations(|| 1 + 1);
//! assert_eq!((allocated.count, sum), (0, 2));
//! let (allocated, _) = testkit::alloc::allocations(|| vec![0_u8; 100]);
//! assert_eq!((allocated.count, allocated.bytes), (1, 100));
//! ```
#![allow(unsafe_code)] // `GlobalAlloc` is an unsafe trait; this file is the only one that implements it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

thread_local! {
    // Constant and without a destructor, so that touching them allocates nothing and works until the thread is gone.
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting for each thread what that thread asks of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

/// What a piece of work asked of the allocator. Growing in place counts as one more allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// How often memory was asked for.
    pub count: u64,
    /// How many bytes were asked for.
    pub bytes: u64,
}

/// Runs `work` and says what this thread allocated meanwhile.
///
/// # Panics
///
/// When [`Counting`] is not the global allocator of this program: nothing would ever be counted.
pub fn allocations<R>(work: impl FnOnce() -> R) -> (Allocated, R) {
    let installed = so_far();
    drop(black_box(Box::new(1_u8)));
    assert!(so_far().count > installed.count, "`testkit::alloc::Counting` is not the global allocator of this test");
    let before = so_far();
    let output = work();
    let after = so_far();
    (Allocated { count: after.count - before.count, bytes: after.bytes - before.bytes }, output)
}

fn so_far() -> Allocated {
    Allocated { count: COUNT.get(), bytes: BYTES.get() }
}

fn note(bytes: usize) {
    // A thread that is being torn down may still allocate; those allocations are nobody's.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
    let _ = BYTES.try_with(|sum| sum.set(sum.get() + bytes as u64));
}

// SAFETY: each method hands its arguments to `System` unchanged and returns what `System` returned, so `System`'s own
// guarantees hold; the counting beside it neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the pointer came from `System` through the methods above, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as for `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "is not the global allocator")]
    fn counting_nothing_is_not_taken_for_allocating_nothing() {
        // This binary installs no allocator, so "0 allocations" would be a lie.
        let _ = allocations(|| ());
    }
}
