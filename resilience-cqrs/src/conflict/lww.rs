//! The last writer wins.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

use super::{HybridTime, Merge, Stamp};

/// A value that is overwritten: of all writes the one with the greatest [`Stamp`] is kept, and the others are lost.
///
/// Right for what has one truth at a time, as a display name. Where a lost write is a lost order, see
/// [`MvRegister`](super::MvRegister), which keeps both.
///
/// ```
/// use resilience_cqrs::conflict::{HybridTime, LwwRegister, Merge, NodeId, Stamp};
///
/// // The same time on two nodes that do not know of each other.
/// let at = HybridTime::new(5, 0);
/// let (mut a, mut b) = (LwwRegister::new(), LwwRegister::new());
/// let from_a = a.set(Stamp::new(at, NodeId::new(1)), "red");
/// let from_b = b.set(Stamp::new(at, NodeId::new(2)), "blue");
/// a.merge(from_b);
/// b.merge(from_a);
/// assert_eq!((a.get(), b.get()), (Some(&"blue"), Some(&"blue")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LwwRegister<V> {
    written: Option<(Stamp, V)>,
}

impl<V> LwwRegister<V> {
    /// One that nobody has written to.
    pub const fn new() -> Self {
        Self { written: None }
    }

    /// The value, if there is one.
    pub fn get(&self) -> Option<&V> {
        self.written.as_ref().map(|(_, value)| value)
    }

    /// When the value was written.
    pub fn stamp(&self) -> Option<Stamp> {
        self.written.as_ref().map(|(stamp, _)| *stamp)
    }
}

impl<V: Ord + Clone> LwwRegister<V> {
    /// Writes a value, and returns the write for the other replicas.
    ///
    /// A stamp from a [`HybridClock`](super::HybridClock) that has observed what is here wins.
    ///
    /// ```
    /// use resilience_cqrs::conflict::{HybridTime, LwwRegister, NodeId, Stamp};
    ///
    /// let at = |millis| Stamp::new(HybridTime::new(millis, 0), NodeId::new(1));
    /// let mut colour = LwwRegister::new();
    /// colour.set(at(5), "red");
    /// colour.set(at(4), "blue"); // by a clock that has not observed what is here: lost
    /// assert_eq!(colour.get(), Some(&"red"));
    /// ```
    pub fn set(&mut self, stamp: Stamp, value: V) -> Self {
        let delta = Self { written: Some((stamp, value)) };
        self.merge(delta.clone());
        delta
    }
}

/// Values are compared only where the stamps are the same, which a node without memory of its own writes can cause. The
/// greater one then wins, so that even so the replicas agree.
impl<V: Ord> Merge for LwwRegister<V> {
    fn merge(&mut self, other: Self) {
        if other.written > self.written {
            *self = other;
        }
    }
}

impl<V> Default for LwwRegister<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// A map whose entries are overwritten and removed, the last writer winning for each key by itself.
///
/// A removal is a write, and leaves a tombstone so that older writes still under way do not bring the entry back.
/// [`prune`](Self::prune) takes tombstones away and leaves one time in their place: what was written up to then and is
/// not there was removed.
///
/// ```
/// use resilience_cqrs::conflict::{HybridTime, LwwMap, Merge, NodeId, Stamp};
///
/// let at = |millis| Stamp::new(HybridTime::new(millis, 0), NodeId::new(1));
/// let mut map = LwwMap::new();
/// let old = map.insert("colour", at(1), "red");
/// map.remove("colour", at(2));
///
/// // Everything up to 3 has arrived here.
/// assert_eq!((map.tombstones(), map.prune(at(3).time), map.tombstones()), (1, 1, 0));
/// map.merge(old);
/// assert_eq!(map.get(&"colour"), None, "removed, although nothing is left of it");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Serialize, V: Serialize",
    deserialize = "K: Ord + Deserialize<'de>, V: Deserialize<'de>"
))]
pub struct LwwMap<K, V> {
    #[serde(with = "super::pairs")]
    entries: BTreeMap<K, Write<V>>,
    floor: HybridTime,
}

/// The latest write to a key; a removal has no value.
type Write<V> = (Stamp, Option<V>);

impl<K, V> LwwMap<K, V> {
    /// An empty map.
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new(), floor: HybridTime::ZERO }
    }

    /// How many keys have a value.
    pub fn len(&self) -> usize {
        self.entries.values().filter(|(_, value)| value.is_some()).count()
    }

    /// Whether no key has a value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many removals are remembered one by one.
    pub fn tombstones(&self) -> usize {
        self.entries.len() - self.len()
    }

    /// The time of the latest write in it, removals included, and not before the [floor](Self::floor): what a
    /// [clock](super::HybridClock::observe) takes notice of before this is merged, and before a node that was given it
    /// writes for the first time. [`ZERO`](HybridTime::ZERO) if there is none.
    ///
    /// ```
    /// use resilience_cqrs::conflict::{HybridTime, LwwMap, NodeId, Stamp};
    ///
    /// let mut map = LwwMap::<_, &str>::new();
    /// let removal = map.remove("colour", Stamp::new(HybridTime::new(2, 0), NodeId::new(1)));
    /// assert_eq!(removal.latest(), HybridTime::new(2, 0));
    /// ```
    pub fn latest(&self) -> HybridTime {
        self.entries.values().map(|(stamp, _)| stamp.time).fold(self.floor, HybridTime::max)
    }

    /// Up to when removals are no longer remembered one by one.
    pub fn floor(&self) -> HybridTime {
        self.floor
    }

    /// The keys that have a value, in order, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().filter_map(|(key, (_, value))| Some((key, value.as_ref()?)))
    }
}

impl<K: Ord, V> LwwMap<K, V> {
    /// Forgets removals up to `stable`, and returns how many.
    ///
    /// `stable` is a time up to which every write of every node has been merged here; [`Stability`](super::Stability)
    /// tells it. The other replicas need not be as far: merging takes the removed entries from them. Said too early, a
    /// write that is still under way to this replica is taken for removed.
    ///
    /// ```
    /// use resilience_cqrs::conflict::{HybridTime, LwwMap, Merge, NodeId, Stability, Stamp};
    ///
    /// let (a, b) = (NodeId::new(1), NodeId::new(2));
    /// let at = |millis, node| Stamp::new(HybridTime::new(millis, 0), node);
    /// let (mut map, mut arrived) = (LwwMap::new(), Stability::new([a, b]));
    /// map.insert("colour", at(1, a), "red");
    /// map.remove("colour", at(2, a));
    /// arrived.hear(a, HybridTime::new(2, 0));
    /// assert_eq!(map.prune(arrived.time()), 0, "b may have written something at 1 that is still to come");
    /// arrived.hear(b, HybridTime::new(3, 0));
    /// assert_eq!(map.prune(arrived.time()), 1);
    /// ```
    pub fn prune(&mut self, stable: HybridTime) -> usize {
        self.floor = self.floor.max(stable);
        let before = self.entries.len();
        self.entries.retain(|_, (stamp, value)| value.is_some() || stamp.time > stable);
        before - self.entries.len()
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)?.1.as_ref()
    }

    /// When the key was last written or removed, as far as it is remembered.
    pub fn stamp(&self, key: &K) -> Option<Stamp> {
        self.entries.get(key).map(|(stamp, _)| *stamp)
    }
}

impl<K: Ord + Clone, V: Ord + Clone> LwwMap<K, V> {
    /// Writes the value of a key, and returns the write for the other replicas.
    pub fn insert(&mut self, key: K, stamp: Stamp, value: V) -> Self {
        self.write(key, (stamp, Some(value)))
    }

    /// Removes a key, whether it is known here or not, and returns the write for the other replicas.
    pub fn remove(&mut self, key: K, stamp: Stamp) -> Self {
        self.write(key, (stamp, None))
    }

    fn write(&mut self, key: K, write: Write<V>) -> Self {
        let delta = Self { entries: BTreeMap::from([(key, write)]), floor: HybridTime::ZERO };
        self.merge(delta.clone());
        delta
    }
}

impl<K: Ord, V: Ord> Merge for LwwMap<K, V> {
    fn merge(&mut self, other: Self) {
        // Who has seen all up to its floor, and has no entry, has seen it removed. A single write has no floor, so taking
        // it in does not look at the whole map.
        if other.floor > HybridTime::ZERO {
            self.entries.retain(|key, (stamp, _)| stamp.time > other.floor || other.entries.contains_key(key));
        }
        for (key, theirs) in other.entries {
            match self.entries.entry(key) {
                Entry::Occupied(own) if theirs <= *own.get() => {}
                // A tombstone below the floor says what the floor says.
                Entry::Occupied(own) if theirs.1.is_none() && theirs.0.time <= self.floor => {
                    own.remove();
                }
                Entry::Occupied(mut own) => {
                    own.insert(theirs);
                }
                Entry::Vacant(vacant) if theirs.0.time > self.floor => {
                    vacant.insert(theirs);
                }
                Entry::Vacant(_) => {}
            }
        }
        if other.floor > self.floor {
            self.prune(other.floor);
        }
    }
}

impl<K, V> Default for LwwMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}
