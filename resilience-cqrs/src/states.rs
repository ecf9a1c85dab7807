//! States kept between commands.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::Arc;

use quick_cache::sync::Cache;

/// The latest states this program has seen, each with how far it has seen. What is kept may be old, never wrong: it is
/// the fold of a prefix.
pub(crate) struct States<K, T> {
    kept: Cache<K, Arc<(T, u64)>>,
    /// Here, so that states nobody keeps need not be `Clone`.
    clone: fn(&T) -> T,
}

impl<K: Clone + Eq + Hash, T> States<K, T> {
    pub(crate) fn new(most: NonZeroUsize, clone: fn(&T) -> T) -> Self {
        Self { kept: Cache::new(most.get()), clone }
    }

    pub(crate) fn get(&self, key: &K) -> Option<T> {
        Some((self.clone)(&self.kept.get(key)?.0))
    }

    /// Keeps a state that has seen up to `seen`, unless a newer one is kept. Two that finish at the same time may leave
    /// the older: it is brought up to date when it is used.
    pub(crate) fn put(&self, key: &K, state: &T, seen: u64) {
        self.put_with(key, state, seen, |_| ());
    }

    /// As [`put`](Self::put), with a last change to the copy that is kept.
    pub(crate) fn put_with(&self, key: &K, state: &T, seen: u64, change: impl FnOnce(&mut T)) {
        if self.kept.peek(key).is_none_or(|kept| kept.1 < seen) {
            let mut state = (self.clone)(state);
            change(&mut state);
            self.kept.insert(key.clone(), Arc::new((state, seen)));
        }
    }

    pub(crate) fn forget(&self, key: &K) {
        self.kept.remove(key);
    }
}

impl<K, T> fmt::Debug for States<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").finish_non_exhaustive()
    }
}
