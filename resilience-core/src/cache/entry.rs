//! What is kept under a key.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::{Lifecycle, Weighter};

use super::machine::{Age, Lifetime};
use crate::time::{SharedTimer, Timestamp};

/// An answer with its life.
pub(super) struct Entry<V, E> {
    pub(super) answer: Result<V, E>,
    pub(super) lifetime: Lifetime,
    weight: u64,
    /// When a call for a new one may be made again after one has failed.
    calm_until: AtomicU64,
}

/// What a call does about what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Serves it.
    Fresh,
    /// Serves it, and begins to fetch a new one unless somebody does.
    Revalidate,
    /// Serves it, since a call for a new one failed a moment ago.
    Calm,
    /// Fetches a new one.
    Nothing,
}

impl<V, E> Entry<V, E> {
    pub(super) fn new(answer: Result<V, E>, lifetime: Lifetime, weight: u64) -> Self {
        Self { answer, lifetime, weight, calm_until: AtomicU64::new(0) }
    }

    /// What to do about it. The clock is read only if it matters.
    #[inline]
    pub(super) fn find(&self, timer: &SharedTimer) -> Found {
        if self.lifetime.is_forever() { Found::Fresh } else { self.find_at(timer.now()) }
    }

    #[inline]
    pub(super) fn find_at(&self, now: Timestamp) -> Found {
        match self.lifetime.age(now) {
            Age::Fresh => Found::Fresh,
            // Relaxed: a time and nothing else. Seen late, it costs one call more.
            Age::Revalidate | Age::OnError if now.as_nanos() < self.calm_until.load(Ordering::Relaxed) => Found::Calm,
            Age::Revalidate => Found::Revalidate,
            Age::OnError | Age::Gone => Found::Nothing,
        }
    }

    /// A call for a new one has failed: none is made before `until`.
    pub(super) fn calm(&self, until: Timestamp) {
        // Relaxed: read in `find_at`, which says why.
        self.calm_until.fetch_max(until.as_nanos(), Ordering::Relaxed);
    }
}

/// The kept map. Values are shared, so that what runs under its locks is a count and none of the user's code but that
/// of keys.
pub(super) type Kept<K, V, E> = quick_cache::sync::Cache<K, Arc<Entry<V, E>>, ByWeight, RandomState, Handed>;

/// Weighs an entry by what was noted when it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByWeight;

impl<K, V, E> Weighter<K, Arc<Entry<V, E>>> for ByWeight {
    fn weight(&self, _: &K, entry: &Arc<Entry<V, E>>) -> u64 {
        entry.weight
    }
}

/// Hands out what is evicted, to be counted and dropped outside of all locks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handed;

impl<K, V, E> Lifecycle<K, Arc<Entry<V, E>>> for Handed {
    type RequestState = Vec<(K, Arc<Entry<V, E>>)>;

    fn on_evict(&self, evicted: &mut Self::RequestState, key: K, entry: Arc<Entry<V, E>>) {
        evicted.push((key, entry));
    }
}
