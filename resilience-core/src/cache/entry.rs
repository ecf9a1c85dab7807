//! What is kept under a key.

use std::sync::Arc;

use quick_cache::DefaultHashBuilder;
use quick_cache::{Lifecycle, Weighter};

use super::machine::{Age, Lifetime};
use crate::time::{SharedTimer, Timestamp};

/// An answer with its life.
pub(super) struct Entry<V, E> {
    /// An error lies elsewhere: few are kept, and each hit moves an entry about that has room for one.
    answer: Result<V, Arc<E>>,
    pub(super) lifetime: Lifetime,
    /// When a call for a new one may be made again after one has failed.
    calm_until: Timestamp,
    pub(super) weight: u32,
}

// Not derived: an error need not be one that can be cloned for an entry to be.
impl<V: Clone, E> Clone for Entry<V, E> {
    #[inline]
    fn clone(&self) -> Self {
        let Self { answer, lifetime, calm_until, weight } = self;
        Self { answer: answer.clone(), lifetime: *lifetime, calm_until: *calm_until, weight: *weight }
    }
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
    pub(super) fn new(answer: Result<V, E>, lifetime: Lifetime, weight: u32) -> Self {
        Self { answer: answer.map_err(Arc::new), lifetime, calm_until: Timestamp::ORIGIN, weight }
    }

    /// The same, to be served without a call for a new one until then.
    pub(super) fn calm(&self, until: Timestamp) -> Self
    where
        V: Clone,
    {
        Self { calm_until: until, ..self.clone() }
    }

    #[inline]
    pub(super) fn into_answer(self) -> Result<V, E>
    where
        E: Clone,
    {
        self.answer.map_err(Arc::unwrap_or_clone)
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
            Age::Revalidate | Age::OnError if now < self.calm_until => Found::Calm,
            Age::Revalidate => Found::Revalidate,
            Age::OnError | Age::Gone => Found::Nothing,
        }
    }
}

/// The kept map. It clones answers under its locks: behind one more count they would not be, and each hit would write to a
/// line that all who hit the same key write to.
pub(super) type Kept<K, V, E> = quick_cache::sync::Cache<K, Entry<V, E>, ByWeight, DefaultHashBuilder, Handed>;

/// Weighs an entry by what was noted when it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByWeight;

impl<K, V, E> Weighter<K, Entry<V, E>> for ByWeight {
    fn weight(&self, _: &K, entry: &Entry<V, E>) -> u64 {
        // The map never evicts what weighs nothing.
        u64::from(entry.weight.max(1))
    }
}

/// Hands out what is evicted, to be counted and dropped outside of all locks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handed;

impl<K, V, E> Lifecycle<K, Entry<V, E>> for Handed {
    type RequestState = Vec<(K, Entry<V, E>)>;

    fn on_evict(&self, evicted: &mut Self::RequestState, key: K, entry: Entry<V, E>) {
        evicted.push((key, entry));
    }
}
