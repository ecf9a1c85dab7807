//! What it takes to converge.

use std::collections::{BTreeMap, BTreeSet};

/// Values that can be joined in any order, any number of times, with the same result.
///
/// The laws, for all states `a`, `b` and `c` that replicas can come to have:
///
/// | law | says | without it |
/// |---|---|---|
/// | associative | `(a + b) + c = a + (b + c)` | what arrives in batches differs from what arrives singly |
/// | commutative | `a + b = b + a` | who sends first decides |
/// | idempotent | `a + a = a` | a message that arrives twice counts twice |
/// | growing | `(a + b) + a = a + b` | an old state undoes a newer one |
///
/// They make the states a join semilattice (Shapiro, Preguiça, Baquero, Zawirski, "Conflict-free Replicated Data Types",
/// 2011): replicas that have heard of the same writes are equal, however they heard of them.
/// [`merge_laws`](super::merge_laws) tries them on a type of yours.
///
/// What a mutator of this module returns is the write alone, as a small state to be merged elsewhere: a delta (Almeida,
/// Shoker, Baquero, "Delta State Replicated Data Types", 2018). There is no second type for it.
///
/// ```
/// use resilience_cqrs::conflict::{GCounter, LwwRegister, Merge, NodeId, Stamp};
///
/// /// A document whose title is overwritten and whose views are added up.
/// #[derive(Clone, Debug, Default, PartialEq)]
/// struct Page {
///     title: LwwRegister<String>,
///     views: GCounter,
/// }
///
/// impl Merge for Page {
///     fn merge(&mut self, other: Self) {
///         self.title.merge(other.title);
///         self.views.merge(other.views);
///     }
/// }
///
/// let (mut here, mut there) = (Page::default(), Page::default());
/// here.views.increment(NodeId::new(1), 2);
/// there.views.increment(NodeId::new(2), 3);
/// here.merge(there);
/// assert_eq!(here.views.value(), 5);
/// ```
pub trait Merge {
    /// Takes in what the other replica knows.
    fn merge(&mut self, other: Self);

    /// Both, as a value.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use resilience_cqrs::conflict::{GCounter, Merge, NodeId};
    ///
    /// let views = |page: &'static str, node, by| {
    ///     let mut counter = GCounter::new();
    ///     counter.increment(NodeId::new(node), by);
    ///     BTreeMap::from([(page, counter)])
    /// };
    /// let all = [views("home", 1, 2), views("help", 1, 1), views("home", 2, 3)].into_iter().reduce(Merge::merged);
    /// assert_eq!(all.map(|all| all["home"].value()), Some(5));
    /// ```
    #[must_use]
    fn merged(mut self, other: Self) -> Self
    where
        Self: Sized,
    {
        self.merge(other);
        self
    }
}

impl Merge for () {
    fn merge(&mut self, (): Self) {}
}

/// Nothing, until there is something.
impl<M: Merge> Merge for Option<M> {
    fn merge(&mut self, other: Self) {
        match (self.as_mut(), other) {
            (Some(own), Some(other)) => own.merge(other),
            (None, other) => *self = other,
            (Some(_), None) => {}
        }
    }
}

/// Side by side.
impl<A: Merge, B: Merge> Merge for (A, B) {
    fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
        self.1.merge(other.1);
    }
}

/// A set that only grows. For one that shrinks as well, see [`OrSet`](super::OrSet).
impl<T: Ord> Merge for BTreeSet<T> {
    fn merge(&mut self, mut other: Self) {
        self.append(&mut other);
    }
}

/// A map that only gains keys, whose values are merged. One that loses them as well is an [`OrSet`](super::OrSet) of its
/// keys beside it, or an [`LwwMap`](super::LwwMap).
impl<K: Ord, M: Merge> Merge for BTreeMap<K, M> {
    fn merge(&mut self, other: Self) {
        for (key, theirs) in other {
            match self.get_mut(&key) {
                Some(own) => own.merge(theirs),
                None => {
                    self.insert(key, theirs);
                }
            }
        }
    }
}
