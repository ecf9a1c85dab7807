//! What is still to be written.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::task::Waker;

/// Writes by key, in the order in which the keys came; a write of a key that waits takes the place of the older one.
///
/// Rules only: the lock, the store and the clock are [`WriteBehind`](super::WriteBehind)'s.
pub(in crate::cache) struct Queue<K, V> {
    keys: HashMap<K, Unsaved<V>>,
    /// Keys that nobody writes.
    ready: VecDeque<K>,
    /// The number of each unsaved write, the oldest first; one that took another's place has that one's number.
    numbers: BTreeSet<u64>,
    next: u64,
    limit: usize,
    pub(in crate::cache) is_closed: bool,
    /// Who waits for something to change.
    pub(in crate::cache) waiting: Vec<Waker>,
}

/// A key that is not written yet: `None` as a value is its removal.
struct Unsaved<V> {
    number: u64,
    value: Option<V>,
    /// Whether a writer has it in hand.
    is_taken: bool,
    /// The number of a newer write that came since.
    changed: Option<u64>,
}

/// Why a write is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache) struct Full {
    pub(in crate::cache) limit: usize,
    pub(in crate::cache) unsaved: usize,
}

/// What becomes of a write that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache) enum Ended {
    /// Written, or given up.
    Done,
    /// Dropped on the way: it is to be written again, before others.
    Left,
}

impl<K: Hash + Eq + Clone, V: Clone> Queue<K, V> {
    pub(in crate::cache) fn new(limit: usize) -> Self {
        Self {
            keys: HashMap::new(),
            ready: VecDeque::new(),
            numbers: BTreeSet::new(),
            next: 0,
            limit,
            is_closed: false,
            waiting: Vec::new(),
        }
    }

    /// Takes a write; whether it took another's place. With that one's value, or its own if it is not taken, for the caller
    /// to drop.
    pub(in crate::cache) fn push(&mut self, key: &K, value: Option<V>) -> Result<(bool, Option<V>), (Full, Option<V>)> {
        let unsaved = self.keys.len();
        if self.is_closed {
            return Err((Full { limit: 0, unsaved }, value));
        }
        if let Some(waits) = self.keys.get_mut(key) {
            if waits.is_taken && waits.changed.is_none() {
                // What is in hand does not write it: it has a number of its own.
                waits.changed = Some(self.next);
                self.numbers.insert(self.next);
                self.next += 1;
            }
            return Ok((true, std::mem::replace(&mut waits.value, value)));
        }
        if unsaved >= self.limit {
            return Err((Full { limit: self.limit, unsaved }, value));
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(number);
        self.keys.insert(key.clone(), Unsaved { number, value, is_taken: false, changed: None });
        self.ready.push_back(key.clone());
        Ok((false, None))
    }

    /// A write to be made, and made by nobody else until [`end`](Self::end).
    pub(in crate::cache) fn take(&mut self) -> Option<(K, Option<V>)> {
        let key = self.ready.pop_front()?;
        let value = self.take_again(&key)?;
        Some((key, value))
    }

    /// The newest value of a key in hand.
    pub(in crate::cache) fn take_again(&mut self, key: &K) -> Option<Option<V>> {
        let unsaved = self.keys.get_mut(key)?;
        unsaved.is_taken = true;
        if let Some(newer) = unsaved.changed.take() {
            // In hand now, under the number of the older one.
            self.numbers.remove(&newer);
        }
        Some(unsaved.value.clone())
    }

    /// Puts a key out of hand. What is gone of it is for the caller to drop.
    pub(in crate::cache) fn end(&mut self, key: &K, ended: Ended) -> Option<(K, Option<V>)> {
        let unsaved = self.keys.get_mut(key)?;
        unsaved.is_taken = false;
        match (ended, unsaved.changed.take()) {
            (Ended::Done, None) => {
                self.numbers.remove(&unsaved.number);
                self.keys.remove_entry(key).map(|(key, unsaved)| (key, unsaved.value))
            }
            (Ended::Done, Some(newer)) => {
                self.numbers.remove(&unsaved.number);
                unsaved.number = newer;
                self.ready.push_back(key.clone());
                None
            }
            (Ended::Left, newer) => {
                if let Some(newer) = newer {
                    self.numbers.remove(&newer);
                }
                self.ready.push_front(key.clone());
                None
            }
        }
    }

    /// What will be written under a key.
    pub(in crate::cache) fn unsaved(&self, key: &K) -> Option<Option<V>> {
        self.keys.get(key).map(|unsaved| unsaved.value.clone())
    }

    /// A mark that is reached when all that waits now is written or given up.
    pub(in crate::cache) fn mark(&self) -> u64 {
        self.next
    }

    pub(in crate::cache) fn is_reached(&self, mark: u64) -> bool {
        self.numbers.first().is_none_or(|oldest| *oldest >= mark)
    }

    pub(in crate::cache) fn len(&self) -> usize {
        self.keys.len()
    }
}
