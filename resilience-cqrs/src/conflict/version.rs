//! Which write knew of which.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Merge, NodeId};

/// One write of one node: its name, and no other write's.
///
/// ```
/// use resilience_cqrs::conflict::{Dot, NodeId};
///
/// let third = Dot::new(NodeId::new(1), 3);
/// assert_eq!(third.to_string(), "n1:3");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "(NodeId, u64)", from = "(NodeId, u64)")]
pub struct Dot {
    /// Who wrote.
    pub node: NodeId,
    /// Its how manieth write it was, from 1.
    pub count: u64,
}

impl Dot {
    /// This write of this node.
    pub const fn new(node: NodeId, count: u64) -> Self {
        Self { node, count }
    }
}

impl From<(NodeId, u64)> for Dot {
    fn from((node, count): (NodeId, u64)) -> Self {
        Self { node, count }
    }
}

impl From<Dot> for (NodeId, u64) {
    fn from(dot: Dot) -> Self {
        (dot.node, dot.count)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.count)
    }
}

/// How two histories stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Causality {
    /// They are the same.
    Equal,
    /// The other one has all of this one, and more.
    Before,
    /// This one has all of the other one, and more.
    After,
    /// Each has something the other one has not: nobody knew of both.
    Concurrent,
}

/// A history without holes: of each node its first so many writes.
///
/// Bounded by the number of nodes that have ever written, not by that of their writes.
///
/// ```
/// use resilience_cqrs::conflict::{Causality, Dot, Merge, NodeId, VersionVector};
///
/// let (a, b) = (NodeId::new(1), NodeId::new(2));
/// let mut here = VersionVector::new();
/// assert_eq!(here.advance(a), Dot::new(a, 1));
/// let mut there = here.clone();
/// here.advance(a);
/// assert_eq!(here.causality(&there), Causality::After);
/// there.advance(b);
/// assert_eq!(here.causality(&there), Causality::Concurrent);
/// there.merge(here.clone());
/// assert_eq!(here.causality(&there), Causality::Before);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionVector {
    /// None is zero, so equal histories are equal values.
    #[serde(deserialize_with = "without_zeros")]
    counts: BTreeMap<NodeId, u64>,
}

impl VersionVector {
    /// Nothing has been written.
    pub const fn new() -> Self {
        Self { counts: BTreeMap::new() }
    }

    /// Adds the next write of a node, and names it.
    pub fn advance(&mut self, node: NodeId) -> Dot {
        let count = self.counts.entry(node).or_insert(0);
        // At one write a nanosecond it takes 584 years to come to the end, so it need not be an error.
        *count = count.saturating_add(1);
        Dot::new(node, *count)
    }

    /// How many writes of a node are in it.
    pub fn of(&self, node: NodeId) -> u64 {
        self.counts.get(&node).copied().unwrap_or(0)
    }

    /// Whether this write is in it.
    pub fn contains(&self, dot: Dot) -> bool {
        dot.count <= self.of(dot.node)
    }

    /// How this history stands to the other.
    pub fn causality(&self, other: &Self) -> Causality {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Causality::Equal,
            (false, true) => Causality::Before,
            (true, false) => Causality::After,
            (false, false) => Causality::Concurrent,
        }
    }

    /// Whether all of the other is in it.
    pub fn covers(&self, other: &Self) -> bool {
        other.counts.iter().all(|(node, count)| self.of(*node) >= *count)
    }

    /// The part both have.
    ///
    /// ```
    /// use resilience_cqrs::conflict::{NodeId, VersionVector};
    ///
    /// let (a, b) = (NodeId::new(1), NodeId::new(2));
    /// let here: VersionVector = [(a, 5), (b, 1)].into_iter().collect();
    /// let there: VersionVector = [(a, 3), (b, 2)].into_iter().collect();
    /// // What both have, and so what neither need send.
    /// assert_eq!(here.common(&there), [(a, 3), (b, 1)].into_iter().collect());
    /// ```
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let both = self.counts.iter().map(|(node, count)| (*node, other.of(*node).min(*count)));
        Self { counts: both.filter(|(_, count)| *count > 0).collect() }
    }

    /// The nodes that have written, with how much.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.counts.iter().map(|(node, count)| (*node, *count))
    }

    /// How many nodes have written.
    pub fn nodes(&self) -> usize {
        self.counts.len()
    }

    /// Adds a write, if it is the next of its node; whether it is in it now.
    pub(super) fn extend(&mut self, dot: Dot) -> bool {
        match self.counts.entry(dot.node) {
            Entry::Occupied(count) if dot.count <= *count.get() => true,
            Entry::Occupied(mut count) if dot.count == *count.get() + 1 => {
                count.insert(dot.count);
                true
            }
            Entry::Vacant(vacant) if dot.count == 1 => {
                vacant.insert(1);
                true
            }
            _ => dot.count == 0,
        }
    }
}

impl FromIterator<(NodeId, u64)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (NodeId, u64)>>(counts: I) -> Self {
        Self { counts: counts.into_iter().filter(|(_, count)| *count > 0).collect() }
    }
}

fn without_zeros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<NodeId, u64>, D::Error> {
    let mut counts = BTreeMap::<NodeId, u64>::deserialize(deserializer)?;
    counts.retain(|_, count| *count > 0);
    Ok(counts)
}

impl Merge for VersionVector {
    fn merge(&mut self, other: Self) {
        for (node, theirs) in other.counts {
            let own = self.counts.entry(node).or_insert(theirs);
            *own = theirs.max(*own);
        }
    }
}

/// One write, and what its author knew of: a dotted version vector (Preguiça, Baquero, Almeida, Fonte, Gonçalves, "Brief
/// Announcement: Efficient Causality Tracking in Distributed Storage Systems with Dotted Version Vectors", 2012).
///
/// A version vector alone cannot tell two writes apart that came through the same node with the same knowledge, so a
/// store that uses it either loses one or needs an entry for each client. The dot names the write; the vector has an
/// entry for each node only.
///
/// ```
/// use resilience_cqrs::conflict::{Causality, DottedVersion, Merge, NodeId, VersionVector};
///
/// // Two clients read nothing, and write through one node.
/// let (node, mut all) = (NodeId::new(1), VersionVector::new());
/// let first = DottedVersion::new(all.advance(node), VersionVector::new());
/// let second = DottedVersion::new(all.advance(node), VersionVector::new());
/// assert_eq!(first.causality(&second), Causality::Concurrent);
///
/// // A third has read both.
/// let third = DottedVersion::new(all.advance(node), first.history().merged(second.history()));
/// assert_eq!(first.causality(&third), Causality::Before);
/// assert_eq!(third.causality(&second), Causality::After);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DottedVersion {
    dot: Dot,
    past: VersionVector,
}

impl DottedVersion {
    /// This write, made in knowledge of `past`.
    pub const fn new(dot: Dot, past: VersionVector) -> Self {
        Self { dot, past }
    }

    /// The write.
    pub const fn dot(&self) -> Dot {
        self.dot
    }

    /// What its author knew of.
    pub const fn past(&self) -> &VersionVector {
        &self.past
    }

    /// How this write stands to the other: one look-up each way, however many nodes there are.
    pub fn causality(&self, other: &Self) -> Causality {
        match (other.past.contains(self.dot), self.past.contains(other.dot)) {
            _ if self.dot == other.dot => Causality::Equal,
            (true, _) => Causality::Before,
            (_, true) => Causality::After,
            (false, false) => Causality::Concurrent,
        }
    }

    /// The history of whoever has seen this write: what its author knew of, and the write itself.
    ///
    /// Earlier writes of the same node are taken as seen; a replica that gets a node's writes in order, as from a log,
    /// has.
    #[must_use]
    pub fn history(&self) -> VersionVector {
        let mut history = self.past.clone();
        let count = history.counts.entry(self.dot.node).or_insert(0);
        *count = self.dot.count.max(*count);
        history
    }
}
