//! First the store, then the cache.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use super::Store;
use crate::cache::Cache;
use crate::cache::policy::Verdict;
use crate::sync::{Mutex, lock};

/// A store with a cache in front, written through; the [module](super) explains it. Clones share both.
pub struct WriteThrough<K, V, S: Store<K, V>> {
    cache: Cache<K, Option<V>, S::Error>,
    store: Arc<S>,
    writers: Arc<Mutex<HashMap<K, Writers>>>,
}

/// Who writes a key just now.
struct Writers {
    active: u32,
    /// Whether there were two at once since there was none. What the store has then nobody knows.
    disputed: bool,
}

impl<K, V, S> WriteThrough<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: Store<K, V>,
    S::Error: Clone,
{
    /// A store with this cache in front.
    pub fn new(cache: Cache<K, Option<V>, S::Error>, store: S) -> Self {
        Self { cache, store: Arc::new(store), writers: Arc::new(Mutex::new(HashMap::new())) }
    }

    /// What the cache has, or else the store; asked once for all who ask.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn get(&self, key: &K) -> Result<Option<V>, S::Error> {
        self.cache.get_or_load(key.clone(), || self.store.get(key)).await
    }

    /// Writes to the store, and then to the cache.
    ///
    /// # Errors
    ///
    /// The store's. Whether the write took effect is then unknown, and the cache forgets the key. Dropped before its end,
    /// likewise.
    pub async fn put(&self, key: K, value: V) -> Result<(), S::Error> {
        let writing = Writing::begin(self, key);
        self.store.put(&writing.key, &value).await?;
        writing.wrote(Some(value));
        Ok(())
    }

    /// Removes from the store; the cache remembers that there is none.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn remove(&self, key: K) -> Result<(), S::Error> {
        let writing = Writing::begin(self, key);
        self.store.remove(&writing.key).await?;
        writing.wrote(None);
        Ok(())
    }

    /// The cache in front: to invalidate, to inspect.
    pub fn cache(&self) -> &Cache<K, Option<V>, S::Error> {
        &self.cache
    }

    /// The store behind.
    pub fn store(&self) -> &S {
        &self.store
    }
}

/// A write under way.
struct Writing<'a, K: Hash + Eq + Clone, V: Clone, S: Store<K, V>>
where
    S::Error: Clone,
{
    through: &'a WriteThrough<K, V, S>,
    key: K,
    is_over: bool,
}

impl<'a, K: Hash + Eq + Clone, V: Clone, S: Store<K, V>> Writing<'a, K, V, S>
where
    S::Error: Clone,
{
    fn begin(through: &'a WriteThrough<K, V, S>, key: K) -> Self {
        let mut writers = lock(&through.writers);
        let writing = writers.entry(key.clone()).or_insert(Writers { active: 0, disputed: false });
        writing.active += 1;
        writing.disputed |= writing.active > 1;
        drop(writers);
        Self { through, key, is_over: false }
    }

    fn wrote(mut self, value: Option<V>) {
        let cache = &self.through.cache;
        let ttl = cache.ttl_of(&value);
        let (through, key, is_over) = (self.through, &self.key, &mut self.is_over);
        // Under the cache's lock: a writer that begins after this one ends also reaches the cache after it.
        cache.replace(key, value, ttl, || {
            // Not before: what is asked of the user until here may panic, and it has to be taken out all the same.
            *is_over = true;
            match Self::end(through, key) {
                true => Verdict::Forget,
                false => Verdict::Keep,
            }
        });
    }

    /// Takes it out; whether there was another at any time.
    fn end(through: &WriteThrough<K, V, S>, key: &K) -> bool {
        let (gone, disputed);
        {
            let mut writers = lock(&through.writers);
            let Some(writing) = writers.get_mut(key) else { return true };
            writing.active -= 1;
            disputed = writing.disputed;
            gone = if writing.active == 0 { writers.remove_entry(key) } else { None };
        }
        drop(gone);
        disputed
    }
}

impl<K: Hash + Eq + Clone, V: Clone, S: Store<K, V>> Drop for Writing<'_, K, V, S>
where
    S::Error: Clone,
{
    fn drop(&mut self) {
        if !self.is_over {
            // In this order: who reads the old value in between is overtaken.
            Self::end(self.through, &self.key);
            self.through.cache.invalidate(&self.key);
        }
    }
}

impl<K, V, S: Store<K, V>> Clone for WriteThrough<K, V, S> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), store: self.store.clone(), writers: self.writers.clone() }
    }
}

impl<K, V, S: Store<K, V>> fmt::Debug for WriteThrough<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writing = lock(&self.writers).len();
        f.debug_struct("WriteThrough").field("cache", &self.cache).field("writing", &writing).finish_non_exhaustive()
    }
}
