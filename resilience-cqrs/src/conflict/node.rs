//! Who writes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names a replica that writes.
///
/// A node counts its own writes, and others believe that what they have seen of it they need not see again. So no two
/// nodes that write at the same time have the same id, and a node that has lost what it wrote, because its disk was lost
/// or an older backup restored, goes on under a new one. Numbers handed out by a lease, whose tokens only grow, do.
///
/// ```
/// use resilience_cqrs::conflict::NodeId;
///
/// let (a, b) = (NodeId::new(1), NodeId::new(2));
/// assert!(a < b, "of two writes at the same time that of b wins");
/// assert_eq!(a.to_string(), "n1");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(u64);

impl NodeId {
    /// The node with this number.
    pub const fn new(node: u64) -> Self {
        Self(node)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}
