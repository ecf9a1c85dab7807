//! Numbers that several nodes add to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Merge, NodeId};

/// A number that only grows, added to by many: each node has a count of its own, and the value is their sum.
///
/// ```
/// use resilience_cqrs::conflict::{GCounter, Merge, NodeId};
///
/// let (mut here, mut there) = (GCounter::new(), GCounter::new());
/// let delta = here.increment(NodeId::new(1), 2);
/// there.increment(NodeId::new(2), 3);
/// there.merge(delta.clone());
/// there.merge(delta);
/// assert_eq!(there.value(), 5, "what arrives twice counts once");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GCounter {
    counts: BTreeMap<NodeId, u64>,
}

impl GCounter {
    /// Zero.
    pub const fn new() -> Self {
        Self { counts: BTreeMap::new() }
    }

    /// Adds on behalf of a node, and returns its new count for the other replicas. A node's count ends at 2^64 - 1.
    ///
    /// Only one writer at a time counts for a node: of two that start from the same count, the lower is lost.
    ///
    /// ```
    /// use resilience_cqrs::conflict::{GCounter, Merge, NodeId};
    ///
    /// // Two threads under one id, from the same count: three of five are lost. Give each an id, or both one lock.
    /// let (node, start) = (NodeId::new(1), GCounter::new());
    /// let (mut one, mut other) = (start.clone(), start);
    /// one.increment(node, 3);
    /// other.increment(node, 2);
    /// assert_eq!(one.merged(other).value(), 3);
    /// ```
    pub fn increment(&mut self, node: NodeId, by: u64) -> Self {
        let count = self.of(node).saturating_add(by);
        if count == 0 {
            return Self::new();
        }
        self.counts.insert(node, count);
        Self { counts: BTreeMap::from([(node, count)]) }
    }

    /// The sum.
    pub fn value(&self) -> u128 {
        self.counts.values().map(|count| u128::from(*count)).sum()
    }

    /// What a node has added.
    pub fn of(&self, node: NodeId) -> u64 {
        self.counts.get(&node).copied().unwrap_or(0)
    }
}

impl Merge for GCounter {
    fn merge(&mut self, other: Self) {
        for (node, theirs) in other.counts {
            let own = self.counts.entry(node).or_insert(theirs);
            *own = theirs.max(*own);
        }
    }
}

/// A number that many add to and take from: a [`GCounter`] for each direction.
///
/// It cannot be kept from falling below zero: two nodes that each see the last one left may both take it. Such a rule
/// needs a decision in one place, as an [aggregate](crate::aggregate) makes it.
///
/// ```
/// use resilience_cqrs::conflict::{Merge, NodeId, PnCounter};
///
/// let mut stock = PnCounter::new();
/// let mut elsewhere = PnCounter::new();
/// elsewhere.merge(stock.increment(NodeId::new(1), 10));
/// stock.merge(elsewhere.decrement(NodeId::new(2), 4));
/// assert_eq!((stock.value(), elsewhere.value()), (6, 6));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PnCounter {
    added: GCounter,
    taken: GCounter,
}

impl PnCounter {
    /// Zero.
    pub const fn new() -> Self {
        Self { added: GCounter::new(), taken: GCounter::new() }
    }

    /// Adds on behalf of a node, and returns the write for the other replicas.
    pub fn increment(&mut self, node: NodeId, by: u64) -> Self {
        Self { added: self.added.increment(node, by), taken: GCounter::new() }
    }

    /// Takes on behalf of a node, and returns the write for the other replicas.
    pub fn decrement(&mut self, node: NodeId, by: u64) -> Self {
        Self { added: GCounter::new(), taken: self.taken.increment(node, by) }
    }

    /// What was added, less what was taken.
    ///
    /// ```
    /// use resilience_cqrs::conflict::{Merge, NodeId, PnCounter};
    ///
    /// let mut here = PnCounter::new();
    /// here.increment(NodeId::new(1), 1);
    /// let mut there = here.clone();
    /// here.decrement(NodeId::new(1), 1);
    /// there.decrement(NodeId::new(2), 1);
    /// assert_eq!(here.merged(there).value(), -1); // the last one, sold twice
    /// ```
    pub fn value(&self) -> i128 {
        // A sum of fewer than 2^63 counts below 2^64 is below 2^127.
        let signed = |sum: u128| i128::try_from(sum).unwrap_or(i128::MAX);
        signed(self.added.value()) - signed(self.taken.value())
    }
}

impl Merge for PnCounter {
    fn merge(&mut self, other: Self) {
        self.added.merge(other.added);
        self.taken.merge(other.taken);
    }
}
