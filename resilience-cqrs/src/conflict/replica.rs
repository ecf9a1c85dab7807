//! Merged state as an aggregate: the log is what is sent, a position what has arrived.

use std::convert::Infallible;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Merge;
use crate::aggregate::Decider;
use crate::log::EventType;

/// State that nodes keep a [`Replica`] of each.
pub trait Replicated:
    Merge + Clone + PartialEq + Default + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// What its streams' names begin with; see [`Decider::STREAM`].
    const STREAM: &'static str;
}

/// This node's copy of a state, as an [aggregate](crate::aggregate) whose events are deltas.
///
/// A local change is made on the state as it is, and appended as the delta that came of it. A delta from elsewhere is
/// appended if it says anything new. So the log of a node has all it knows of, once; another node that reads it from
/// start to end, in whatever pieces and however often, knows as much. How far it has read is all there is to remember
/// of it. The node's own ids stay unique, for the change is made again if another was faster.
///
/// Each change costs a copy of the state and a comparison, so let a state be one document, not the database.
///
/// ```
/// use resilience_cqrs::aggregate::Repository;
/// use resilience_cqrs::conflict::{Change, NodeId, OrSet, Replica, Replicated};
/// use resilience_cqrs::MemoryStore;
/// # use resilience_cqrs::conflict::Merge;
///
/// # #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
/// struct Cart(OrSet<String>);
/// # impl Merge for Cart { fn merge(&mut self, other: Self) { self.0.merge(other.0) } }
///
/// impl Replicated for Cart {
///     const STREAM: &'static str = "cart";
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let here: Repository<Replica<Cart>, _> = Repository::new(MemoryStore::new());
/// let there: Repository<Replica<Cart>, _> = Repository::new(MemoryStore::new());
///
/// let milk = Change::local(|cart: &mut Cart| Cart(cart.0.add(NodeId::new(1), "milk".into())));
/// for delta in here.execute("ann", &milk).await?.events {
///     let arrived = Change::remote(delta);
///     assert_eq!(there.execute("ann", &arrived).await?.events.len(), 1);
///     assert_eq!(there.execute("ann", &arrived).await?.events, [], "it was known already");
/// }
/// assert!(there.load("ann").await?.state.state().0.contains("milk"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replica<S> {
    state: S,
}

impl<S> Replica<S> {
    /// What this node knows.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// What this node knows, as a value.
    pub fn into_state(self) -> S {
        self.state
    }
}

/// What a [`Replica`]'s log is made of: a delta was merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Merged")]
pub struct Merged<S>(pub S);

impl<S> Merged<S> {
    /// The type of these events in the log, for [queries](crate::Query).
    pub const KIND: EventType = EventType::from_static("Merged");
}

/// What can be asked of a [`Replica`].
pub struct Change<S> {
    kind: Kind<S>,
}

enum Kind<S> {
    Local(Box<dyn Fn(&mut S) -> S + Send + Sync>),
    Remote(S),
}

impl<S: Merge> Change<S> {
    /// Changes the state and returns the delta, as the mutators of this module do.
    ///
    /// Called again on a newer state if another change was faster, so it has no other effect.
    pub fn local(change: impl Fn(&mut S) -> S + Send + Sync + 'static) -> Self {
        Self { kind: Kind::Local(Box::new(change)) }
    }

    /// Takes in what another replica merged.
    pub fn remote(delta: Merged<S>) -> Self {
        Self { kind: Kind::Remote(delta.0) }
    }
}

impl<S> fmt::Debug for Change<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Local(_) => "local",
            Kind::Remote(_) => "remote",
        };
        f.debug_tuple("Change").field(&kind).finish()
    }
}

impl<S: Replicated> Decider for Replica<S> {
    const STREAM: &'static str = S::STREAM;
    type Command = Change<S>;
    type Event = Merged<S>;
    type Error = Infallible;

    fn evolve(&mut self, Merged(delta): &Merged<S>) {
        self.state.merge(delta.clone());
    }

    fn decide(&self, change: &Change<S>) -> Result<Vec<Merged<S>>, Infallible> {
        let mut next = self.state.clone();
        let delta = match &change.kind {
            Kind::Local(change) => change(&mut next),
            Kind::Remote(delta) => {
                next.merge(delta.clone());
                delta.clone()
            }
        };
        Ok(if next == self.state { Vec::new() } else { vec![Merged(delta)] })
    }
}
