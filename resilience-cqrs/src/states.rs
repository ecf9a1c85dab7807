//! States kept between commands.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::forgetting::{Epoch, Forgetting};

/// The latest states this program has seen, each with how far it has seen. What is kept may be old, never wrong: it is
/// the fold of a prefix. What the store says is to be forgotten is not kept.
pub(crate) struct States<K, T> {
    kept: Arc<Cache<K, Kept<T>>>,
    /// Here, so that states nobody keeps need not be `Clone`.
    clone: fn(&T) -> T,
    forgetting: Forgetting,
}

struct Kept<T> {
    state: Arc<T>,
    seen: u64,
    /// When its first events were read.
    epoch: Epoch,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), ..*self }
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static, T: Send + Sync + 'static> States<K, T> {
    pub(crate) fn new(most: NonZeroUsize, clone: fn(&T) -> T, forgetting: Forgetting) -> Self {
        let kept = Arc::new(Cache::new(most.get()));
        forgetting.empties(&kept);
        Self { kept, clone, forgetting }
    }

    /// The epoch of a state whose events are read from now on.
    pub(crate) fn epoch(&self) -> Epoch {
        self.forgetting.epoch()
    }

    /// A state with its epoch.
    pub(crate) fn get(&self, key: &K) -> Option<(T, Epoch)> {
        let kept = self.kept.get(key)?;
        if kept.epoch != self.epoch() {
            self.kept.remove(key);
            return None;
        }
        Some(((self.clone)(&kept.state), kept.epoch))
    }

    /// Keeps a state that has seen up to `seen`, unless a newer one is kept. Two that finish at the same time may leave
    /// the older: it is brought up to date when it is used.
    pub(crate) fn put(&self, key: &K, state: &T, at: (u64, Epoch)) {
        self.put_with(key, state, at, |_| ());
    }

    /// As [`put`](Self::put), with a last change to the copy that is kept.
    pub(crate) fn put_with(&self, key: &K, state: &T, (seen, epoch): (u64, Epoch), change: impl FnOnce(&mut T)) {
        let is_newer = self.kept.peek(key).is_none_or(|kept| kept.seen < seen || kept.epoch != epoch);
        if !is_newer || epoch != self.epoch() {
            return;
        }
        let mut state = (self.clone)(state);
        change(&mut state);
        self.kept.insert(key.clone(), Kept { state: Arc::new(state), seen, epoch });
        // Emptied in between, it would lie there until somebody asks.
        if epoch != self.epoch() {
            self.kept.remove(key);
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
