//! The batches others may join.

use std::collections::{BTreeMap, HashMap};

use super::dispatch::{Dispatch, GroupBy};
use super::group::Group;
use crate::sync::Arc;

/// Open batches by key. What it gives back is for the caller to drop, outside of its lock.
pub(super) struct Open<G: GroupBy<Req>, Req, D: Dispatch<Req>> {
    groups: HashMap<G::Key, Entry<Req, D>>,
    /// Their keys, the oldest first.
    order: BTreeMap<u64, G::Key>,
    opened: u64,
}

struct Entry<Req, D: Dispatch<Req>> {
    number: u64,
    group: Arc<Group<Req, D>>,
}

/// A batch nobody can join any more.
pub(super) struct Closed<G: GroupBy<Req>, Req, D: Dispatch<Req>> {
    pub(super) group: Arc<Group<Req, D>>,
    _keys: (G::Key, Option<G::Key>),
}

impl<G: GroupBy<Req>, Req, D: Dispatch<Req>> Open<G, Req, D> {
    pub(super) fn new() -> Self {
        Self { groups: HashMap::new(), order: BTreeMap::new(), opened: 0 }
    }

    pub(super) fn get(&self, key: &G::Key) -> Option<&Arc<Group<Req, D>>> {
        self.groups.get(key).map(|entry| &entry.group)
    }

    /// Under a key that has none.
    pub(super) fn insert(&mut self, key: G::Key, group: Arc<Group<Req, D>>) {
        let number = self.opened;
        self.opened += 1;
        self.order.insert(number, key.clone());
        self.groups.insert(key, Entry { number, group });
    }

    pub(super) fn remove(&mut self, key: &G::Key) -> Option<Closed<G, Req, D>> {
        let (key, Entry { number, group }) = self.groups.remove_entry(key)?;
        Some(Closed { group, _keys: (key, self.order.remove(&number)) })
    }

    /// Takes a batch out, unless another has its key by now.
    pub(super) fn remove_exactly(&mut self, key: &G::Key, group: &Arc<Group<Req, D>>) -> Option<Closed<G, Req, D>> {
        let is_current = self.get(key).is_some_and(|current| Arc::ptr_eq(current, group));
        if is_current { self.remove(key) } else { None }
    }

    pub(super) fn remove_oldest(&mut self) -> Option<Closed<G, Req, D>> {
        let (_, ordered) = self.order.pop_first()?;
        let (key, Entry { group, .. }) = self.groups.remove_entry(&ordered)?;
        Some(Closed { group, _keys: (key, Some(ordered)) })
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }
}
