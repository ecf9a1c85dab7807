//! How often what happened.

use crate::circuit_breaker::shards;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts, one line of memory for each thread: a hit writes no line that another thread's hit writes.
pub(super) struct Counts(Box<[Line]>);

#[repr(align(128))]
#[derive(Default)]
struct Line([AtomicU64; Count::COUNT]);

#[derive(Clone, Copy)]
pub(super) enum Count {
    Hit,
    WouldHit,
    Missed,
    Coalesced,
    ServedStale,
    ServedOnError,
    Loaded,
    LoadFailed,
    Evicted,
    Invalidated,
}

impl Count {
    const COUNT: usize = 10;
}

impl Counts {
    pub(super) fn new() -> Self {
        Self((0..shards::count()).map(|_| Line::default()).collect())
    }

    #[inline]
    pub(super) fn add(&self, count: Count, by: u64) {
        // The number of lines is a power of two. Relaxed: statistics.
        let line = &self.0[shards::mine() & (self.0.len() - 1)];
        line.0[count as usize].fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn sum(&self, count: Count) -> u64 {
        self.0.iter().map(|line| line.0[count as usize].load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}
