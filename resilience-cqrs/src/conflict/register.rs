//! A register that keeps what nobody has decided between.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Dot, Dots, Merge, NodeId};

/// A value that is overwritten, where of writes that did not know of each other all are kept: a dotted version vector set
/// (Almeida, Baquero, Gonçalves, Preguiça, Fonte, "Scalable and Accurate Causality Tracking for Eventually Consistent
/// Stores", 2014).
///
/// Whoever reads several values decides between them, or joins them, and writes what comes of it: that overwrites all it
/// had read. It needs no clock.
///
/// ```
/// use resilience_cqrs::conflict::{Merge, MvRegister, NodeId};
///
/// let (mut a, mut b) = (MvRegister::new(), MvRegister::new());
/// a.set(NodeId::new(1), "Main Street 1");
/// b.set(NodeId::new(2), "Park Lane 2");
/// a.merge(b.clone());
/// assert_eq!(a.values().collect::<Vec<_>>(), [&"Main Street 1", &"Park Lane 2"]);
///
/// // Somebody has asked the customer.
/// b.merge(a.set(NodeId::new(1), "Park Lane 2"));
/// assert_eq!(b.values().collect::<Vec<_>>(), [&"Park Lane 2"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "V: Serialize", deserialize = "V: Deserialize<'de>"))]
pub struct MvRegister<V> {
    #[serde(with = "super::pairs")]
    values: BTreeMap<Dot, V>,
    seen: Dots,
}

impl<V> MvRegister<V> {
    /// One that nobody has written to.
    pub const fn new() -> Self {
        Self { values: BTreeMap::new(), seen: Dots::new() }
    }

    /// The values nobody has overwritten: none at first, one in peace, several after concurrent writes. Ordered by node.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.values.values()
    }

    /// All writes that have been seen here: what a client takes along from a read, for [`set_after`](Self::set_after).
    pub fn seen(&self) -> &Dots {
        &self.seen
    }
}

impl<V: Clone> MvRegister<V> {
    /// Writes a value over all that are here, and returns the write for the other replicas.
    pub fn set(&mut self, node: NodeId, value: V) -> Self {
        let read = self.seen.clone();
        self.set_after(node, &read, value)
    }

    /// Writes a value on behalf of a client that has read some time ago, and returns the write for the other replicas.
    ///
    /// It overwrites what the client had `read`, here or elsewhere, and nothing that was written since: of two clients that
    /// read the same and write through the same node neither is lost, and what was read on another node and has not arrived
    /// here yet is overwritten when it does.
    ///
    /// ```
    /// use resilience_cqrs::conflict::{MvRegister, NodeId};
    ///
    /// let node = NodeId::new(1);
    /// let mut title = MvRegister::new();
    /// title.set(node, "draft");
    /// let read = title.seen().clone();
    /// title.set_after(node, &read, "by Ann");
    /// title.set_after(node, &read, "by Bob");
    /// assert_eq!(title.values().collect::<Vec<_>>(), [&"by Ann", &"by Bob"]);
    /// ```
    pub fn set_after(&mut self, node: NodeId, read: &Dots, value: V) -> Self {
        // Of what was seen here, only what is left need be told as overwritten; the rest is overwritten already.
        let mut seen: Dots = self.values.keys().copied().filter(|dot| read.contains(*dot)).collect();
        if !self.seen.covers(read) {
            // Read elsewhere, and on its way: it must find that it was seen.
            self.seen.merge(read.clone());
            seen.merge(read.clone());
        }
        let dot = self.seen.advance(node);
        seen.insert(dot);
        let delta = Self { values: BTreeMap::from([(dot, value)]), seen };
        self.values.retain(|dot, _| !read.contains(*dot));
        self.values.extend(delta.values.clone());
        delta
    }
}

impl<V> Merge for MvRegister<V> {
    fn merge(&mut self, mut other: Self) {
        // A value one side has and the other has seen but not kept was overwritten.
        self.values.retain(|dot, _| other.values.contains_key(dot) || !other.seen.contains(*dot));
        other.values.retain(|dot, _| !self.seen.contains(*dot));
        self.values.append(&mut other.values);
        self.seen.merge(other.seen);
    }
}

impl<V> Default for MvRegister<V> {
    fn default() -> Self {
        Self::new()
    }
}
