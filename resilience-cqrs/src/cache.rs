//! A bounded map that forgets what was not asked for lately.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Two generations of entries: what is asked for moves to the young one, and when that is full the old one is forgotten.
///
/// At most `2 * generation` entries, at least the last `generation` distinct ones asked for, no list to relink at each
/// access. The idea is that of generational garbage collectors.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    generation: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new(generation: usize) -> Self {
        Self { generation: generation.max(1), young: HashMap::new(), old: HashMap::new() }
    }

    pub(crate) fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        // A stale copy in the old generation is never read: the young one is asked first, and replaces it when it ages.
        self.young.insert(key, value);
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))] // redb's writer does not go on after a transaction that was undone.
    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bound_and_keeps_what_is_in_use() {
        let mut cache = Cache::new(10);
        for n in 0..1000 {
            cache.insert(n, n);
            // Asked for all the time, so never forgotten.
            assert_eq!(cache.get(&0), Some(0), "after {n}");
            assert!(cache.young.len() + cache.old.len() <= 20);
        }
        assert_eq!(cache.get(&500), None);
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    #[test]
    fn nothing_is_left_of_what_was_cleared_however_old_it_is() {
        let mut cache = Cache::new(2);
        for n in 0..4 {
            cache.insert(n, n);
        }
        cache.clear();
        assert!((0..4).all(|n| cache.get(&n).is_none()));
    }

    #[test]
    fn a_newer_value_is_never_shadowed_by_an_older_one() {
        let mut cache = Cache::new(2);
        cache.insert("a", 1);
        cache.insert("b", 1);
        cache.insert("c", 1); // a and b are old now
        cache.insert("a", 2);
        cache.insert("d", 1); // c and a are old now, in place of a = 1
        assert_eq!(cache.get("a"), Some(2));
    }
}
