//! When something was written, agreed on by machines whose clocks do not agree.

use std::fmt;
use std::time::Duration;

use resilience_core::time::WallTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::NodeId;

/// Bits of the counter; the other 48 hold milliseconds since 1970, enough until the year 10889.
const COUNTER_BITS: u32 = 16;
const MAX_MILLIS: u64 = u64::MAX >> COUNTER_BITS;

/// A reading of a [`HybridClock`]: wall time in milliseconds, and a counter that orders what happens within one.
///
/// One `u64`, so that it is compared, stored and indexed as a number. The counter is the low part: one write too many
/// for a millisecond carries into the next.
///
/// ```
/// use resilience_cqrs::conflict::HybridTime;
///
/// let time = HybridTime::new(1_700_000_000_000, 7);
/// assert_eq!((time.millis(), time.counter()), (1_700_000_000_000, 7));
/// assert!(time < HybridTime::new(1_700_000_000_001, 0));
/// assert_eq!(HybridTime::from_bits(time.to_bits()), time);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HybridTime(u64);

impl HybridTime {
    /// Before every write.
    pub const ZERO: Self = Self(0);

    /// After every write.
    pub const MAX: Self = Self(u64::MAX);

    /// The time of these milliseconds since 1970 and this counter. Milliseconds beyond 48 bits are the last that fit.
    pub const fn new(millis: u64, counter: u16) -> Self {
        let millis = if millis > MAX_MILLIS { MAX_MILLIS } else { millis };
        Self(millis << COUNTER_BITS | counter as u64)
    }

    /// The time of this number.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The number: 48 bits of milliseconds, then 16 of the counter.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The place within the millisecond.
    pub const fn counter(self) -> u16 {
        self.0 as u16
    }
}

impl fmt::Debug for HybridTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for HybridTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.counter())
    }
}

/// When and by whom: no two writes have the same, so all replicas agree on which is the later.
///
/// Ordered by time, then by node. Time alone is not enough: two nodes can read the same, and replicas that keep their
/// own value in that case stay apart for ever.
///
/// ```
/// use resilience_cqrs::conflict::{HybridTime, NodeId, Stamp};
///
/// let at = |millis, node| Stamp::new(HybridTime::new(millis, 0), NodeId::new(node));
/// assert!(at(5, 1) < at(5, 2) && at(5, 2) < at(6, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// When.
    pub time: HybridTime,
    /// By whom.
    pub node: NodeId,
}

impl Stamp {
    /// This time on this node.
    pub const fn new(time: HybridTime, node: NodeId) -> Self {
        Self { time, node }
    }
}

/// A hybrid logical clock (Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical Physical Clocks and Consistent Snapshots
/// in Globally Distributed Databases", 2014).
///
/// Its stamps never go back, are later than all this node has [observed](Self::observe), and lie near wall time. Near
/// means at most `max_drift` ahead, in both directions: a stamp from further ahead is refused, since taking it in would
/// carry one broken clock to every node, and a stamp that others would refuse is not given out.
///
/// It reads no clock: `now` is wall time, as a [timer](resilience_core::time::SharedTimer::wall) tells it, and may jump.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::time::WallTime;
/// use resilience_cqrs::conflict::{HybridClock, HybridTime, NodeId};
///
/// let at = WallTime::from_unix_millis;
/// let mut clock = HybridClock::new(NodeId::new(1), Duration::from_secs(60));
/// let first = clock.tick(at(1_000))?;
/// assert!(clock.tick(at(990))? > first, "wall time went back, the clock does not");
///
/// // A write of somebody whose clock is ten seconds ahead; ours is later all the same.
/// let theirs = HybridTime::new(11_000, 0);
/// clock.observe(theirs, at(1_010))?;
/// assert!(clock.tick(at(1_020))?.time > theirs);
/// # Ok::<_, resilience_cqrs::conflict::ClockError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HybridClock {
    node: NodeId,
    last: HybridTime,
    max_drift: Duration,
}

impl HybridClock {
    /// The clock of a node that has never written.
    ///
    /// `max_drift` bounds how far clocks may differ. CockroachDB demands half a second of its nodes; a minute forgives a
    /// machine whose time was set by hand.
    pub const fn new(node: NodeId, max_drift: Duration) -> Self {
        Self::resume(node, max_drift, HybridTime::ZERO)
    }

    /// The clock of a node that has written before, up to `last`.
    ///
    /// After a restart wall time may be earlier than it was. The latest stamp found in what the node has stored keeps
    /// its stamps from being given out twice.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::time::WallTime;
    /// use resilience_cqrs::conflict::{HybridClock, NodeId};
    ///
    /// let (node, minute) = (NodeId::new(1), Duration::from_secs(60));
    /// let last = HybridClock::new(node, minute).tick(WallTime::from_unix_millis(5_000))?.time;
    /// // The program starts again, on a machine whose clock was set back by a second.
    /// let mut clock = HybridClock::resume(node, minute, last);
    /// assert!(clock.tick(WallTime::from_unix_millis(4_000))?.time > last);
    /// # Ok::<_, resilience_cqrs::conflict::ClockError>(())
    /// ```
    pub const fn resume(node: NodeId, max_drift: Duration, last: HybridTime) -> Self {
        Self { node, last, max_drift }
    }

    /// The stamp of a write, later than all before.
    ///
    /// # Errors
    /// [`FellBack`](ClockError::FellBack) if wall time went back by so much that other nodes would refuse the stamp;
    /// [`Exhausted`](ClockError::Exhausted) in the year 10889. The clock is unchanged.
    pub fn tick(&mut self, now: WallTime) -> Result<Stamp, ClockError> {
        // The counter's overflow is the carry of this addition.
        let after_last = self.last.0.checked_add(1).map(HybridTime).ok_or(ClockError::Exhausted)?;
        let next = after_last.max(HybridTime::new(now.as_unix_millis(), 0));
        if let Some(ahead) = self.too_far_ahead(next, now) {
            return Err(ClockError::FellBack { behind: ahead, max_drift: self.max_drift });
        }
        self.last = next;
        Ok(Stamp::new(next, self.node))
    }

    /// Takes notice of a write elsewhere, before it is merged: what is written here from now on is later.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::time::WallTime;
    /// use resilience_cqrs::conflict::{ClockError, HybridClock, HybridTime, NodeId};
    ///
    /// let now = WallTime::from_unix_millis(1_000);
    /// let mut clock = HybridClock::new(NodeId::new(1), Duration::from_secs(60));
    /// // A phone that takes this for the year 2100 would win every write until then.
    /// let refused = clock.observe(HybridTime::new(4_102_444_800_000, 0), now);
    /// assert!(matches!(refused, Err(ClockError::RemoteAhead { .. })));
    /// assert_eq!(clock.last(), HybridTime::ZERO);
    /// ```
    ///
    /// # Errors
    /// [`RemoteAhead`](ClockError::RemoteAhead) if it comes from too far in the future. The write is not to be merged
    /// yet, and the clock is unchanged.
    pub fn observe(&mut self, remote: HybridTime, now: WallTime) -> Result<(), ClockError> {
        if let Some(ahead) = self.too_far_ahead(remote, now) {
            return Err(ClockError::RemoteAhead { ahead, max_drift: self.max_drift });
        }
        // The paper gives a stamp to the arrival as well. Nothing here is stored under it, so the next tick does.
        self.last = self.last.max(remote);
        Ok(())
    }

    /// The node whose clock it is.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The latest time given out or observed: everything stamped here from now on is later.
    pub const fn last(&self) -> HybridTime {
        self.last
    }

    /// How far ahead of wall time a stamp may be.
    pub const fn max_drift(&self) -> Duration {
        self.max_drift
    }

    /// By how much, if it is more than the bound.
    fn too_far_ahead(&self, time: HybridTime, now: WallTime) -> Option<Duration> {
        let ahead = Duration::from_millis(time.millis().saturating_sub(now.as_unix_millis()));
        (ahead > self.max_drift).then_some(ahead)
    }
}

/// A clock is too far off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClockError {
    /// A write elsewhere is stamped too far in the future.
    #[error("the remote clock is {ahead:?} ahead, at most {max_drift:?} is allowed")]
    RemoteAhead {
        /// How far it is ahead of wall time here.
        ahead: Duration,
        /// How far it may be.
        max_drift: Duration,
    },
    /// Wall time here is earlier than it was.
    #[error("wall time is {behind:?} behind this clock, at most {max_drift:?} is allowed")]
    FellBack {
        /// How far it is behind what was given out or observed.
        behind: Duration,
        /// How far it may be.
        max_drift: Duration,
    },
    /// There is no later time.
    #[error("the clock has reached its end")]
    Exhausted,
}

impl ClockError {
    /// After how long the same would pass, if wall time goes on as it should.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::time::WallTime;
    /// use resilience_cqrs::conflict::{HybridClock, HybridTime, NodeId};
    ///
    /// let mut clock = HybridClock::new(NodeId::new(1), Duration::from_secs(60));
    /// let refused = clock.observe(HybridTime::new(61_000, 0), WallTime::from_unix_millis(0)).unwrap_err();
    /// assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
    /// ```
    pub fn retry_after(&self) -> Option<Duration> {
        match *self {
            Self::RemoteAhead { ahead: by, max_drift } | Self::FellBack { behind: by, max_drift } => {
                Some(by.saturating_sub(max_drift))
            }
            Self::Exhausted => None,
        }
    }
}
