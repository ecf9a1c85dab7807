//! What a discipline decides: which end of the line is next, who is given up when its turn comes, how long one may wait.

use std::time::Duration;

use crate::bulkhead::Discipline;
use crate::control::{self, CoDel};
use crate::time::Timestamp;
use crate::{Reason, context};

/// A discipline at work.
#[derive(Debug)]
pub(in crate::bulkhead) enum Rule {
    Fifo,
    AdaptiveLifo {
        interval: Duration,
        timeout: Duration,
        /// When the queue was last empty.
        empty_at: Timestamp,
    },
    CoDel {
        target: Duration,
        interval: Duration,
        codel: CoDel,
        /// When the first interval ends; the origin of the machine's time. It takes the first two waits that it sees for an
        /// interval, however short, and must not see time pass before.
        since: Timestamp,
    },
    DeadlineFirst,
    Priority,
}

/// What must be asked before the lock is taken: a few bits that callers read without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bulkhead) struct Needs(u8);

impl Needs {
    const CLOCK: u8 = 1;
    const DEADLINE: u8 = 2;
    const CRITICALITY: u8 = 4;

    pub(in crate::bulkhead) const fn of(discipline: Discipline) -> Self {
        Self(match discipline {
            Discipline::Fifo => 0,
            Discipline::AdaptiveLifo { .. } | Discipline::CoDel { .. } => Self::CLOCK,
            Discipline::DeadlineFirst => Self::CLOCK | Self::DEADLINE,
            Discipline::Priority => Self::CRITICALITY,
        })
    }

    pub(in crate::bulkhead) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(in crate::bulkhead) const fn bits(self) -> u8 {
        self.0
    }

    pub(in crate::bulkhead) const fn clock(self) -> bool {
        self.0 & Self::CLOCK != 0
    }

    pub(in crate::bulkhead) const fn deadline(self) -> bool {
        self.0 & Self::DEADLINE != 0
    }

    #[inline]
    pub(in crate::bulkhead) const fn criticality(self) -> bool {
        self.0 & Self::CRITICALITY != 0
    }
}

/// The single call may wait for so many times the target while the queue stands, as in folly.
const SLOUGH: u32 = 2;

impl Rule {
    pub(in crate::bulkhead) fn new(discipline: Discipline) -> Self {
        match discipline {
            Discipline::Fifo => Self::Fifo,
            Discipline::AdaptiveLifo { interval, timeout } => {
                Self::AdaptiveLifo { interval, timeout, empty_at: Timestamp::ORIGIN }
            }
            Discipline::CoDel { target, interval } => {
                let codel = CoDel::new(interval, target, SLOUGH);
                Self::CoDel { target, interval, codel, since: Timestamp::ORIGIN }
            }
            Discipline::DeadlineFirst => Self::DeadlineFirst,
            Discipline::Priority => Self::Priority,
        }
    }

    pub(in crate::bulkhead) fn discipline(&self) -> Discipline {
        match *self {
            Self::Fifo => Discipline::Fifo,
            Self::AdaptiveLifo { interval, timeout, .. } => Discipline::AdaptiveLifo { interval, timeout },
            Self::CoDel { target, interval, .. } => Discipline::CoDel { target, interval },
            Self::DeadlineFirst => Discipline::DeadlineFirst,
            Self::Priority => Discipline::Priority,
        }
    }

    /// Somebody takes a place, in a queue that was empty or not: how long it may wait at most.
    pub(super) fn arrived(&mut self, was_empty: bool, now: Timestamp) -> Option<Duration> {
        match self {
            Self::AdaptiveLifo { interval, timeout, empty_at } => {
                if was_empty {
                    *empty_at = now;
                }
                Some(control::queue_timeout(now.since(*empty_at), *interval, *timeout))
            }
            Self::CoDel { target, interval, codel, since } => {
                if was_empty {
                    // Nobody waited a moment ago => whatever stood is gone, and the interval begins anew.
                    *codel = CoDel::new(*interval, *target, SLOUGH);
                    *since = now + *interval;
                }
                None
            }
            _ => None,
        }
    }

    /// Whether who came last is next.
    pub(super) fn serves_last(&self, now: Timestamp) -> bool {
        match self {
            Self::AdaptiveLifo { interval, empty_at, .. } => now.since(*empty_at) > *interval,
            _ => false,
        }
    }

    /// The turn of somebody has come that waits since `arrived`: why it is given up instead.
    pub(super) fn verdict(&mut self, arrived: Timestamp, deadline: Timestamp, now: Timestamp) -> Option<Reason> {
        match self {
            Self::CoDel { codel, since, .. } => {
                codel.is_overloaded(now.since(arrived), now.since(*since)).then_some(Reason::QueueDelay)
            }
            Self::DeadlineFirst => (deadline <= now).then_some(Reason::Deadline),
            _ => None,
        }
    }

    /// Whether waiters are ordered by deadline, and not in lanes.
    pub(super) fn is_by_deadline(&self) -> bool {
        matches!(self, Self::DeadlineFirst)
    }

    /// The lane for calls so critical: one for all where that does not matter.
    pub(super) fn lane(&self, criticality: context::Criticality) -> u8 {
        if matches!(self, Self::Priority) { criticality as u8 } else { 0 }
    }
}
