//! All that was ever seen, in little space.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Dot, Merge, NodeId, VersionVector};

/// The writes a replica has seen, in whatever order they came: a causal context.
///
/// What came in order is one number for each node. What came early is remembered one by one, and no longer than until
/// the gap before it is filled: this is the causal pruning that leaves nothing of a removed element.
///
/// ```
/// use resilience_cqrs::conflict::{Dot, Dots, NodeId};
///
/// let node = NodeId::new(1);
/// let mut seen = Dots::new();
/// seen.insert(Dot::new(node, 1));
/// seen.insert(Dot::new(node, 3));
/// assert_eq!((seen.early(), seen.contains(Dot::new(node, 2))), (1, false));
/// seen.insert(Dot::new(node, 2));
/// assert_eq!((seen.early(), seen.vector().of(node)), (0, 3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Dots {
    vector: VersionVector,
    /// Never what the vector has, and never what would extend it: so equal sets are equal values.
    early: BTreeSet<Dot>,
}

impl Dots {
    /// Nothing has been seen.
    pub const fn new() -> Self {
        Self { vector: VersionVector::new(), early: BTreeSet::new() }
    }

    /// Whether this write was seen.
    pub fn contains(&self, dot: Dot) -> bool {
        self.vector.contains(dot) || self.early.contains(&dot)
    }

    /// Takes note of a write.
    pub fn insert(&mut self, dot: Dot) {
        if self.vector.extend(dot) {
            self.close_gaps(dot.node);
        } else {
            self.early.insert(dot);
        }
    }

    /// Names the next write of a node, and takes note of it.
    ///
    /// A node that has lost some of its own writes but hears of later ones goes on after those.
    ///
    /// ```
    /// use resilience_cqrs::conflict::{Dot, Dots, NodeId};
    ///
    /// let node = NodeId::new(1);
    /// // Restored from a backup that has two of its writes; another node has shown it the fifth.
    /// let mut seen: Dots = [1, 2, 5].map(|count| Dot::new(node, count)).into_iter().collect();
    /// assert_eq!(seen.advance(node), Dot::new(node, 6), "three and four were somebody's already");
    /// ```
    pub fn advance(&mut self, node: NodeId) -> Dot {
        let last = self.early.range(Dot::new(node, 0)..=Dot::new(node, u64::MAX)).next_back();
        let next = last.map_or_else(|| self.vector.of(node), |dot| dot.count).saturating_add(1);
        let dot = Dot::new(node, next);
        self.insert(dot);
        dot
    }

    /// What was seen without a hole.
    pub fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// Whether all of the other is sure to be in it. It may be, and still not be found so, where it came early.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.vector.covers(&other.vector) && other.early.iter().all(|dot| self.contains(*dot))
    }

    /// How many writes came before an earlier one of their node has.
    pub fn early(&self) -> usize {
        self.early.len()
    }

    /// Moves what follows the vector into it.
    fn close_gaps(&mut self, node: NodeId) {
        while let Some(next) = self.early.range(Dot::new(node, 0)..=Dot::new(node, u64::MAX)).next().copied() {
            if !self.vector.extend(next) {
                return;
            }
            self.early.remove(&next);
        }
    }
}

/// As it is stored: by whomever, so it is brought into its one form.
#[derive(Deserialize)]
#[serde(rename = "Dots")]
struct Stored {
    vector: VersionVector,
    early: BTreeSet<Dot>,
}

impl From<Stored> for Dots {
    fn from(stored: Stored) -> Self {
        let mut dots = Self::from(stored.vector);
        stored.early.into_iter().for_each(|dot| dots.insert(dot));
        dots
    }
}

impl FromIterator<Dot> for Dots {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut all = Self::new();
        dots.into_iter().for_each(|dot| all.insert(dot));
        all
    }
}

impl From<VersionVector> for Dots {
    fn from(vector: VersionVector) -> Self {
        Self { vector, early: BTreeSet::new() }
    }
}

impl Merge for Dots {
    fn merge(&mut self, other: Self) {
        let raised: Vec<NodeId> = other.vector.iter().map(|(node, _)| node).collect();
        self.vector.merge(other.vector);
        raised.into_iter().for_each(|node| self.close_gaps(node));
        other.early.into_iter().for_each(|dot| self.insert(dot));
    }
}
