//! A refusal: who, why, and when to come back.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::Name;
use crate::time::saturating_nanos;

/// The call was refused by a policy and never sent.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::{Reason, Rejected};
///
/// let refused = Rejected::new("payments", Reason::Open).with_retry_after(Duration::from_secs(3));
/// assert_eq!(refused.to_string(), "refused by payments: circuit is open, retry after 3s");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    policy: Name,
    reason: Reason,
    retry_after: Wait,
}

/// A wait, or none, in one word.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Wait(u64);

impl Wait {
    const NONE: Self = Self(u64::MAX);

    fn new(wait: Duration) -> Self {
        Self(saturating_nanos(wait).min(u64::MAX - 1))
    }

    fn known(self) -> Option<Duration> {
        (self != Self::NONE).then(|| Duration::from_nanos(self.0))
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.known().fmt(f)
    }
}

impl Rejected {
    /// A refusal by `policy`, without a hint when to come back.
    pub fn new(policy: impl Into<Name>, reason: Reason) -> Self {
        Self { policy: policy.into(), reason, retry_after: Wait::NONE }
    }

    /// Adds when a new call has a chance.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::{Error, Reason, Rejected};
    ///
    /// let refused = Rejected::new("quota", Reason::RateLimited);
    /// assert_eq!(refused.retry_after(), None);
    /// let error: Error<std::io::Error> = refused.with_retry_after(Duration::from_millis(200)).into();
    /// assert_eq!(error.retry_after(), Some(Duration::from_millis(200))); // for a `Retry-After` header
    /// ```
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Wait::new(wait);
        self
    }

    /// The policy that refused.
    pub fn policy(&self) -> &Name {
        &self.policy
    }

    /// Why it refused.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// How long to wait before a new call has a chance; `None` if the policy cannot know.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after.known()
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused by {}: {}", self.policy, self.reason)?;
        match self.retry_after() {
            Some(wait) => write!(f, ", retry after {wait:?}"),
            None => Ok(()),
        }
    }
}

impl StdError for Rejected {}

/// Why a policy refused a call.
///
/// ```
/// use resilience_core::Reason;
///
/// let full = Reason::Full { limit: 64, queued: 16 };
/// assert_eq!(full.to_string(), "all 64 slots taken and 16 calls waiting"); // for people: with the figures
/// assert_eq!(full.label(), "full"); // for metrics: without
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The circuit is open: recent calls failed.
    Open,
    /// The circuit is half-open and its probes are all in flight.
    Probing,
    /// The circuit was opened by hand and stays open until it is closed by hand.
    Isolated,
    /// Every slot and every place in the queue is taken.
    Full {
        /// Calls that may run at once.
        limit: u32,
        /// Calls that wait.
        queued: u32,
    },
    /// The call waited in a queue for as long as it may.
    QueueTimeout,
    /// The call waited in a queue in which everybody waits too long.
    QueueDelay,
    /// A more critical call took the place in the queue.
    Displaced,
    /// The rate limit has no permit for this call.
    RateLimited,
    /// The deadline of the request had passed before it was sent, or would pass before it could be.
    Deadline,
    /// The backend refuses so much that this call was not sent to it either.
    Throttled,
    /// This service has too much to do, and calls like this one are refused first.
    Overloaded,
    /// Nobody who could answer is known, or none of them is ready.
    NoEndpoint,
    /// The caller does not own the resource: its fencing token is missing, or older than one already seen.
    Fenced,
}

impl Reason {
    /// Whether a circuit refused: open, opened by hand, or half-open with all its probes under way.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Probing | Self::Isolated)
    }

    /// The reason as a label for metrics: few values, never data.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Probing => "probing",
            Self::Isolated => "isolated",
            Self::Full { .. } => "full",
            Self::QueueTimeout => "queue_timeout",
            Self::QueueDelay => "queue_delay",
            Self::Displaced => "displaced",
            Self::RateLimited => "rate_limited",
            Self::Deadline => "deadline",
            Self::Throttled => "throttled",
            Self::Overloaded => "overloaded",
            Self::NoEndpoint => "no_endpoint",
            Self::Fenced => "fenced",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("circuit is open"),
            Self::Probing => f.write_str("circuit is half-open and probing"),
            Self::Isolated => f.write_str("circuit is isolated"),
            Self::Full { limit, queued } => write!(f, "all {limit} slots taken and {queued} calls waiting"),
            Self::QueueTimeout => f.write_str("waited too long in the queue"),
            Self::QueueDelay => f.write_str("everybody waits too long in the queue"),
            Self::Displaced => f.write_str("a more critical call took the place in the queue"),
            Self::RateLimited => f.write_str("rate limit reached"),
            Self::Deadline => f.write_str("deadline passed before the call was sent"),
            Self::Throttled => f.write_str("the backend refuses too many calls"),
            Self::Overloaded => f.write_str("overloaded"),
            Self::NoEndpoint => f.write_str("no endpoint is ready"),
            Self::Fenced => f.write_str("not from the owner"),
        }
    }
}
