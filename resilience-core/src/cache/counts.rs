//! How often what happened.

use crate::circuit_breaker::shards;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A cache's figures at about one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Answers kept, those that may no longer be served included.
    pub entries: usize,
    /// What they weigh together.
    pub weight: u64,
    /// What may be kept.
    pub capacity: u64,
    /// Keys for which a call is under way.
    pub loading: usize,
    /// Calls served fresh.
    pub hits: u64,
    /// Calls that would have been, in a dry run.
    pub would_hit: u64,
    /// Calls for which another was made.
    pub misses: u64,
    /// Calls that waited for another's.
    pub coalesced: u64,
    /// Calls served stale while a new answer is fetched, or after one has failed a moment ago.
    pub stale: u64,
    /// Calls served stale since theirs failed.
    pub stale_on_error: u64,
    /// Answers that came.
    pub loads: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Answers that had to make room.
    pub evictions: u64,
    /// Answers that were declared wrong.
    pub invalidations: u64,
}

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
