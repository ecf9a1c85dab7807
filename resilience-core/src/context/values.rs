//! What a context is made of: a moment, a weight, a number.

use std::time::Duration;

use crate::time::Timestamp;

/// The moment after which an answer is of no use.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::context::Deadline;
/// use resilience_core::time::Timestamp;
///
/// let start = Timestamp::ORIGIN;
/// let deadline = Deadline::at(start + Duration::from_secs(2));
/// assert_eq!(deadline.remaining(start), Some(Duration::from_secs(2)));
/// assert_eq!(deadline.remaining(deadline.timestamp()), None); // on the dot is too late
/// assert_eq!(Deadline::at(Timestamp::NEVER).remaining(start), Some(Duration::from_nanos(u64::MAX)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Timestamp);

impl Deadline {
    /// The deadline at `at`.
    pub const fn at(at: Timestamp) -> Self {
        Self(at)
    }

    /// The moment itself.
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }

    /// What is left at `now`; `None` once it has passed.
    pub fn remaining(self, now: Timestamp) -> Option<Duration> {
        if now < self.0 { Some(self.0 - now) } else { None }
    }
}

impl From<Timestamp> for Deadline {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

/// How bad it is to refuse a request, after "Site Reliability Engineering", chapter 21.
///
/// ```
/// use resilience_core::context::Criticality;
///
/// assert_eq!(Criticality::default(), Criticality::Critical);
/// let shed_below = Criticality::Critical; // what a server under load may decide
/// assert!(Criticality::SheddablePlus < shed_below);
/// assert!(Criticality::CriticalPlus >= shed_below);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criticality {
    /// Partial unavailability is expected: crawlers, speculative work.
    Sheddable,
    /// Batch work that is retried minutes later.
    SheddablePlus,
    /// A user notices. The default.
    #[default]
    Critical,
    /// The few requests that must go through when everything else is shed.
    CriticalPlus,
}

/// Proof of the latest ownership: a number that grows with each owner, checked where the write happens.
///
/// ```
/// use resilience_core::context::FencingToken;
///
/// let mut newest = FencingToken::new(33); // kept beside the data, by the store that is written to
/// let mut write = |token: FencingToken| {
///     let may = token >= newest;
///     newest = newest.max(token);
///     may
/// };
/// assert!(write(FencingToken::new(34)));
/// assert!(!write(FencingToken::new(33))); // the owner before wakes up from a long pause, and is refused
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl FencingToken {
    /// The token with this number.
    pub const fn new(token: u64) -> Self {
        Self(token)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}
