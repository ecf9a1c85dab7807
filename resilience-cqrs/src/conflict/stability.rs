//! What has reached everybody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HybridTime, NodeId};

/// Up to when all that was written has arrived here; what may be [pruned](super::LwwMap::prune).
///
/// Every member must be heard of: one that is silent holds the time back, as it must, for what it wrote may still come.
/// A member that is gone for good is [taken out](Self::leave) by whoever knows that it is.
///
/// ```
/// use resilience_cqrs::conflict::{HybridTime, NodeId, Stability};
///
/// let (a, b) = (NodeId::new(1), NodeId::new(2));
/// let mut arrived = Stability::new([a, b]);
/// arrived.hear(a, HybridTime::new(9, 0));
/// assert_eq!(arrived.time(), HybridTime::ZERO, "b may still have something old");
/// arrived.hear(b, HybridTime::new(4, 0));
/// assert_eq!(arrived.time(), HybridTime::new(4, 0));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stability {
    heard: BTreeMap<NodeId, HybridTime>,
}

impl Stability {
    /// Nothing was heard yet of these members. This node is one of them.
    pub fn new(members: impl IntoIterator<Item = NodeId>) -> Self {
        Self { heard: members.into_iter().map(|node| (node, HybridTime::ZERO)).collect() }
    }

    /// All that `node` has written up to `time` has been merged here.
    ///
    /// True of the last write read from the node's log, for a log is read in order and a clock's stamps only grow; and
    /// of the node's [clock](super::HybridClock::last) when there was nothing left to read. A node that writes nothing
    /// says the latter from time to time. Of whoever is no member nothing is noted.
    pub fn hear(&mut self, node: NodeId, time: HybridTime) {
        if let Some(heard) = self.heard.get_mut(&node) {
            *heard = time.max(*heard);
        }
    }

    /// Waits for this node too from now on. What it wrote before must have been merged by whoever has pruned.
    ///
    /// A node that is new is given the state of one that is not, and its clock
    /// [observes](super::HybridClock::observe) the [latest](super::LwwMap::latest) time in it before it writes: what it
    /// wrote at a time that others have pruned up to would be taken for removed.
    pub fn join(&mut self, node: NodeId) {
        self.heard.entry(node).or_insert(HybridTime::ZERO);
    }

    /// Does not wait for this node any more; whether it was a member. What it wrote and nobody has heard is lost.
    ///
    /// ```
    /// use resilience_cqrs::conflict::{HybridTime, NodeId, Stability};
    ///
    /// let (a, b) = (NodeId::new(1), NodeId::new(2));
    /// let mut arrived = Stability::new([a, b]);
    /// arrived.hear(a, HybridTime::new(9, 0));
    /// // b's disk is gone, and with it what nobody has heard.
    /// assert!(arrived.leave(b));
    /// assert_eq!(arrived.time(), HybridTime::new(9, 0));
    /// ```
    pub fn leave(&mut self, node: NodeId) -> bool {
        self.heard.remove(&node).is_some()
    }

    /// Up to when everything has arrived; [`ZERO`](HybridTime::ZERO) without members.
    pub fn time(&self) -> HybridTime {
        self.heard.values().copied().min().unwrap_or(HybridTime::ZERO)
    }
}
