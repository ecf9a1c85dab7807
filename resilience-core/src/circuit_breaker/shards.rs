//! Which shard of a window a thread records in.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More shards than this cost more to sum than they save.
const MOST: usize = 16;

pub(crate) fn count() -> usize {
    if cfg!(loom) {
        return 2;
    }
    std::thread::available_parallelism().map_or(1, usize::from).next_power_of_two().min(MOST)
}

/// Threads are dealt out in turn; two on one shard are slower, not wrong.
pub(crate) fn mine() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let mine = MINE.get();
    if mine != usize::MAX {
        return mine;
    }
    // Relaxed: only the numbers must differ.
    let mine = NEXT.fetch_add(1, Ordering::Relaxed) % MOST;
    MINE.set(mine);
    mine
}
