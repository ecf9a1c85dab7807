//! Random histories: nodes that write, and news that comes late, twice, in any order, or as a whole state.

use std::collections::BTreeSet;
use std::fmt::Debug;

use proptest::prelude::*;

use super::*;

pub(super) const NODES: usize = 3;

/// What a node does to a state. What a type has no use for it leaves aside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    pub node: usize,
    pub key: u8,
    pub value: u8,
    pub remove: bool,
    /// Small, so that stamps of several nodes are often of the same time.
    pub millis: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Act(Act),
    /// An earlier delta arrives at a node: again, or not for the first time, or before older ones.
    Deliver {
        delta: usize,
        to: usize,
    },
    /// The whole state of a node arrives at another.
    Exchange {
        from: usize,
        to: usize,
    },
}

/// As many steps as make partitions, late news and repetitions likely.
pub(super) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let act = (0..NODES, 0..3_u8, 0..4_u8, prop::bool::weighted(0.4), 1..6_u64)
        .prop_map(|(node, key, value, remove, millis)| Step::Act(Act { node, key, value, remove, millis }));
    let deliver = (0..most, 0..NODES).prop_map(|(delta, to)| Step::Deliver { delta, to });
    let exchange = (0..NODES, 0..NODES).prop_map(|(from, to)| Step::Exchange { from, to });
    prop::collection::vec(prop_oneof![3 => act, 3 => deliver, 1 => exchange], 0..most)
}

/// A type on trial.
pub(super) trait Subject: Merge + Clone + PartialEq + Debug + Default {
    /// Does it here, and returns the delta.
    fn act(&mut self, act: Act) -> Self;
}

/// What came of a history: the nodes' states and all deltas.
#[derive(Debug)]
pub(super) struct History<S> {
    pub nodes: [S; NODES],
    pub deltas: Vec<S>,
}

impl<S: Subject> History<S> {
    pub(super) fn new() -> Self {
        Self { nodes: Default::default(), deltas: Vec::new() }
    }

    pub(super) fn of(steps: &[Step]) -> Self {
        let mut history = Self::new();
        steps.iter().for_each(|step| history.step(*step));
        history
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Act(act) => self.deltas.push(self.nodes[act.node].act(act)),
            Step::Deliver { delta, to } => {
                if let Some(delta) = self.deltas.get(delta) {
                    self.nodes[to].merge(delta.clone());
                }
            }
            Step::Exchange { from, to } => {
                let state = self.nodes[from].clone();
                self.nodes[to].merge(state);
            }
        }
    }

    /// All deltas from the last to the first, and every other one twice, for somebody who knew nothing.
    pub(super) fn all_deltas(&self) -> S {
        let backwards = self.deltas.iter().rev().chain(self.deltas.iter().step_by(2));
        backwards.fold(S::default(), |state, delta| state.merged(delta.clone()))
    }

    /// All nodes' states, put together.
    pub(super) fn healed(&self) -> S {
        self.nodes.iter().fold(S::default(), |state, node| state.merged(node.clone()))
    }
}

impl Subject for LwwRegister<u8> {
    fn act(&mut self, act: Act) -> Self {
        self.set(at(act.millis, act.node), act.value)
    }
}

impl Subject for LwwMap<u8, u8> {
    fn act(&mut self, act: Act) -> Self {
        match act.remove {
            true => self.remove(act.key, at(act.millis, act.node)),
            false => self.insert(act.key, at(act.millis, act.node), act.value),
        }
    }
}

impl Subject for GCounter {
    fn act(&mut self, act: Act) -> Self {
        self.increment(node(act.node), act.value.into())
    }
}

impl Subject for PnCounter {
    fn act(&mut self, act: Act) -> Self {
        match act.remove {
            true => self.decrement(node(act.node), act.value.into()),
            false => self.increment(node(act.node), act.value.into()),
        }
    }
}

impl Subject for MvRegister<u8> {
    fn act(&mut self, act: Act) -> Self {
        self.set(node(act.node), act.value)
    }
}

impl Subject for OrSet<u8> {
    fn act(&mut self, act: Act) -> Self {
        match (act.remove, act.value) {
            (true, 0) => self.clear(),
            (true, _) => self.remove(&act.key),
            (false, _) => self.add(node(act.node), act.key),
        }
    }
}

/// Two of them side by side, and some that only grow.
type Mixed = ((OrSet<u8>, LwwRegister<u8>), Option<BTreeSet<u8>>);

impl Subject for Mixed {
    fn act(&mut self, act: Act) -> Self {
        let grown = self.1.get_or_insert_default();
        grown.insert(act.value);
        ((self.0.0.act(act), self.0.1.act(act)), Some(BTreeSet::from([act.value])))
    }
}

/// The set as it was first described, with a tombstone for every addition that was removed: plain, and never small.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WithTombstones {
    pub additions: BTreeSet<(u8, usize, usize)>,
    pub removed: BTreeSet<(u8, usize, usize)>,
    /// Counts this node's additions; not part of what is merged.
    pub count: usize,
}

impl WithTombstones {
    pub(super) fn elements(&self) -> BTreeSet<u8> {
        self.additions.difference(&self.removed).map(|(element, ..)| *element).collect()
    }
}

impl Merge for WithTombstones {
    fn merge(&mut self, other: Self) {
        self.additions.merge(other.additions);
        self.removed.merge(other.removed);
    }
}

impl Subject for WithTombstones {
    fn act(&mut self, act: Act) -> Self {
        let all = act.remove && act.value == 0;
        let live = self.additions.difference(&self.removed).filter(|(element, ..)| all || *element == act.key);
        let removed: BTreeSet<_> = live.copied().collect();
        let mut additions = BTreeSet::new();
        if !act.remove {
            self.count += 1;
            additions.insert((act.key, act.node, self.count));
        }
        let delta = Self { additions, removed, count: 0 };
        self.merge(delta.clone());
        delta
    }
}
