//! How many calls were refused, and how many would have been.

use crate::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Refusals {
    rejected: AtomicU64,
    would_reject: AtomicU64,
}

impl Refusals {
    pub(super) fn add_one(&self, dry_run: bool) {
        let counter = if dry_run { &self.would_reject } else { &self.rejected };
        // Relaxed here and below: statistics.
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    pub(super) fn would_reject(&self) -> u64 {
        self.would_reject.load(Ordering::Relaxed)
    }
}
