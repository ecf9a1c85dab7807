//! Until when what was read may be kept in memory.

use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use quick_cache::sync::Cache;
use resilience_core::time::{SharedTimer, Timestamp};

/// Says when what was read from a store must not be kept in memory any longer, for those who keep some of it between
/// calls. Of most stores that is never, which is the default.
///
/// It comes from [`EventStore::forgetting`](crate::EventStore::forgetting). A store in front of another hands on what that
/// one says.
#[derive(Clone, Default)]
pub struct Forgetting(Option<Arc<Forgotten>>);

/// When something was read: what is kept from one epoch is not to be used in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epoch {
    forgotten: u64,
    /// The number of the period of `max_age`, for what another program makes this one forget.
    period: u64,
}

struct Forgotten {
    count: AtomicU64,
    max_age: Duration,
    timer: SharedTimer,
    caches: Mutex<Vec<Weak<dyn Clear>>>,
}

/// What can be emptied.
trait Clear: Send + Sync {
    #[cfg_attr(not(feature = "privacy"), expect(dead_code, reason = "what is not private is never to be forgotten"))]
    fn clear(&self);
}

impl<K: Eq + Hash + Send + Sync, V: Clone + Send + Sync> Clear for Cache<K, V> {
    fn clear(&self) {
        Self::clear(self);
    }
}

impl Forgetting {
    /// At any moment it is told of, and each `max_age` for what it is not told of.
    #[cfg(feature = "privacy")]
    pub(crate) fn each(max_age: Duration, timer: SharedTimer) -> Self {
        let (count, caches) = (AtomicU64::new(0), Mutex::default());
        Self(Some(Arc::new(Forgotten { count, max_age, timer, caches })))
    }

    /// From here on nothing that was read before is to be kept. Whoever asks for it must be given the new answer already.
    #[cfg(feature = "privacy")]
    pub(crate) fn forget(&self) {
        let Some(forgotten) = &self.0 else { return };
        // Release pairs with the Acquire of `epoch`: who reads in the new epoch reads what is left.
        forgotten.count.fetch_add(1, Ordering::Release);
        let mut caches = forgotten.caches.lock().unwrap_or_else(PoisonError::into_inner);
        caches.retain(|cache| cache.upgrade().inspect(|cache| cache.clear()).is_some());
    }

    /// The epoch of what is read from now on.
    pub(crate) fn epoch(&self) -> Epoch {
        let Some(forgotten) = &self.0 else { return Epoch::default() };
        if forgotten.max_age.is_zero() {
            // Each reading is an epoch of its own: nothing is kept.
            return Epoch { forgotten: forgotten.count.fetch_add(1, Ordering::AcqRel), period: 0 };
        }
        let now = forgotten.timer.now().since(Timestamp::default());
        let period = now.as_nanos() / forgotten.max_age.as_nanos().max(1);
        let period = u64::try_from(period).unwrap_or(u64::MAX);
        Epoch { forgotten: forgotten.count.load(Ordering::Acquire), period } // Pairs with the Release of `forget`.
    }

    /// Has a cache emptied when something is to be forgotten, so that it does not lie there until it is asked.
    pub(crate) fn empties<K, V>(&self, cache: &Arc<Cache<K, V>>)
    where
        K: Eq + Hash + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let Some(forgotten) = &self.0 else { return };
        let cache: Arc<dyn Clear> = cache.clone();
        let mut caches = forgotten.caches.lock().unwrap_or_else(PoisonError::into_inner);
        caches.retain(|cache| cache.strong_count() > 0);
        caches.push(Arc::downgrade(&cache));
    }
}

impl fmt::Debug for Forgetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Forgetting").field(&self.0.as_ref().map(|forgotten| forgotten.max_age)).finish()
    }
}
