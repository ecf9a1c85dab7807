//! A set that is added to and taken from everywhere.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Dot, Dots, Merge, NodeId};

/// A set whose elements are added and removed, where an addition that a removal did not know of stays: an observed-remove
/// set without tombstones (Bieniusa, Zawirski, Preguiça, Shapiro, Baquero, Balegas, Duarte, "An Optimized Conflict-free
/// Replicated Set", 2012), with deltas.
///
/// Each addition has a name of its own, a [`Dot`]; a removal takes away the additions that were seen. What is left of a
/// removed element is that its dots were [seen](Dots), which is one number a node once all earlier writes have arrived,
/// however many elements came and went. Memory is that of the elements, and one number for each node that ever wrote.
///
/// ```
/// use resilience_cqrs::conflict::{Merge, NodeId, OrSet};
///
/// let (here, there) = (NodeId::new(1), NodeId::new(2));
/// let mut cart = OrSet::new();
/// let mut elsewhere = OrSet::new();
/// elsewhere.merge(cart.add(here, "milk"));
///
/// // At the same time one takes it out and the other puts it in again.
/// let removed = cart.remove("milk");
/// let added = elsewhere.add(there, "milk");
/// cart.merge(added);
/// elsewhere.merge(removed);
/// assert!(cart.contains("milk") && elsewhere.contains("milk"));
/// assert_eq!(cart, elsewhere);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "T: Serialize", deserialize = "T: Ord + Deserialize<'de>"))]
pub struct OrSet<T> {
    /// The additions nobody has taken away; no element is without one.
    #[serde(with = "super::pairs")]
    additions: BTreeMap<T, BTreeSet<Dot>>,
    seen: Dots,
}

impl<T> OrSet<T> {
    /// An empty set.
    pub const fn new() -> Self {
        Self { additions: BTreeMap::new(), seen: Dots::new() }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.additions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.additions.is_empty()
    }

    /// The elements, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        self.additions.keys()
    }

    /// All additions that have been seen here, of elements that are still there and of those that are not.
    pub fn seen(&self) -> &Dots {
        &self.seen
    }
}

impl<T: Ord> OrSet<T> {
    /// Whether the element is there.
    pub fn contains<Q: Ord + ?Sized>(&self, element: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
    {
        self.additions.contains_key(element)
    }

    /// Removes an element as far as it was seen here, and returns the write for the other replicas.
    ///
    /// The write is empty if the element is not here: there is nothing to take away, and an addition elsewhere stays.
    pub fn remove<Q: Ord + ?Sized>(&mut self, element: &Q) -> Self
    where
        T: std::borrow::Borrow<Q>,
    {
        let dots = self.additions.remove(element).unwrap_or_default();
        Self { additions: BTreeMap::new(), seen: dots.into_iter().collect() }
    }

    /// Removes all elements that were seen here, and returns the write for the other replicas.
    ///
    /// ```
    /// use resilience_cqrs::conflict::{Merge, NodeId, OrSet};
    ///
    /// let (here, there) = (NodeId::new(1), NodeId::new(2));
    /// let mut cart = OrSet::new();
    /// cart.add(here, "milk");
    /// let mut elsewhere = cart.clone();
    /// elsewhere.add(there, "bread");
    /// elsewhere.merge(cart.clear());
    /// assert!(elsewhere.contains("bread") && !elsewhere.contains("milk"), "what was not seen is not cleared");
    /// ```
    pub fn clear(&mut self) -> Self {
        let dots = std::mem::take(&mut self.additions).into_values().flatten();
        Self { additions: BTreeMap::new(), seen: dots.collect() }
    }
}

impl<T: Ord + Clone> OrSet<T> {
    /// Adds an element on behalf of a node, and returns the write for the other replicas.
    ///
    /// An element that is already there is added anew, so that a removal elsewhere at this time does not take it away.
    pub fn add(&mut self, node: NodeId, element: T) -> Self {
        let dot = self.seen.advance(node);
        // The new addition stands for those before it, so that an element has at most one dot of each node.
        let before = self.additions.insert(element.clone(), BTreeSet::from([dot])).unwrap_or_default();
        let seen = before.into_iter().chain([dot]).collect();
        Self { additions: BTreeMap::from([(element, BTreeSet::from([dot]))]), seen }
    }
}

impl<T: Ord> Merge for OrSet<T> {
    fn merge(&mut self, mut other: Self) {
        // An addition one side has and the other has seen but not kept was taken away.
        self.additions.retain(|element, own| {
            let theirs = other.additions.get(element);
            own.retain(|dot| theirs.is_some_and(|theirs| theirs.contains(dot)) || !other.seen.contains(*dot));
            !own.is_empty()
        });
        for (element, mut theirs) in std::mem::take(&mut other.additions) {
            theirs.retain(|dot| !self.seen.contains(*dot));
            if !theirs.is_empty() {
                self.additions.entry(element).or_default().append(&mut theirs);
            }
        }
        self.seen.merge(other.seen);
    }
}

impl<T> Default for OrSet<T> {
    fn default() -> Self {
        Self::new()
    }
}
