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

#[cfg(all(test, feature = "privacy"))]
mod tests {
    use std::time::Duration;

    use resilience_core::time::ManualTimer;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn states(forgetting: &Forgetting) -> States<&'static str, u32> {
        States::new(NonZeroUsize::MIN.saturating_add(9), |state| *state, forgetting.clone())
    }

    fn forgetting() -> (Forgetting, ManualTimer) {
        let timer = ManualTimer::new();
        (Forgetting::each(HOUR, timer.clone().into()), timer)
    }

    #[test]
    fn an_older_state_never_replaces_a_newer_one() {
        let states = states(&Forgetting::default());
        for (state, seen) in [(2, 2), (1, 1), (20, 2)] {
            states.put(&"a", &state, (seen, states.epoch()));
            assert_eq!(states.get(&"a").map(|(state, _)| state), Some(2));
        }
        states.put(&"a", &3, (3, states.epoch()));
        assert_eq!(states.get(&"a").map(|(state, _)| state), Some(3));
    }

    /// Whoever has begun to read before somebody was forgotten goes on with what he has, and keeps none of it.
    #[test]
    fn what_was_read_before_somebody_was_forgotten_is_not_kept() {
        let (forgetting, _) = forgetting();
        let states = states(&forgetting);
        let before = states.epoch();
        states.put(&"a", &1, (1, before));
        assert!(states.get(&"a").is_some());
        forgetting.forget();
        states.put(&"a", &2, (2, before));
        assert_eq!((states.get(&"a"), states.kept.len()), (None, 0));
        states.put(&"a", &1, (1, states.epoch()));
        assert_eq!(states.get(&"a").map(|(state, _)| state), Some(1), "what is read from then on is");
    }

    /// What is kept is looked at no more after the moment it is to be forgotten, and does not lie there until somebody asks.
    #[test]
    fn what_is_to_be_forgotten_does_not_lie_there_until_it_is_asked_for() {
        let (forgetting, _) = forgetting();
        let states = states(&forgetting);
        states.put(&"a", &1, (1, states.epoch()));
        forgetting.forget();
        assert_eq!(states.kept.len(), 0);
        // Forgotten in the middle of being kept: the cache was emptied before this got there.
        states.put_with(&"b", &1, (1, states.epoch()), |_| forgetting.forget());
        assert_eq!(states.kept.len(), 0);
    }

    /// Another program may have forgotten somebody without this one being told.
    #[test]
    fn nothing_is_used_for_longer_than_the_age_it_may_have() {
        let (forgetting, timer) = forgetting();
        let states = states(&forgetting);
        let before = states.epoch();
        states.put(&"a", &5, (5, before));
        states.put(&"b", &5, (5, before));
        timer.advance(HOUR);
        assert_eq!(states.get(&"a"), None);
        // Read anew, and not as far: what is there is older all the same.
        states.put(&"b", &4, (4, states.epoch()));
        assert_eq!(states.get(&"b").map(|(state, _)| state), Some(4));
        states.put(&"b", &6, (6, before));
        assert_eq!(states.get(&"b").map(|(state, _)| state), Some(4));
    }

    #[test]
    fn what_may_not_be_kept_at_all_is_not() {
        let states = states(&Forgetting::each(Duration::ZERO, ManualTimer::new().into()));
        let epoch = states.epoch();
        states.put(&"a", &1, (1, epoch));
        assert_eq!((states.get(&"a"), states.kept.len()), (None, 0));
    }
}
