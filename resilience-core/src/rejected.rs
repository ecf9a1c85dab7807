//! A refusal: who, why, and when to come back.

use std::cell::Cell;
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
///
/// It is one word long, because whatever may be refused has room for it in its answer and in its future, and both are
/// moved at every layer. What it says lies behind that word, in memory that the thread uses again for the next refusal:
/// once there have been as many at once, a refusal allocates nothing.
pub struct Rejected(
    /// Always there until the drop.
    Option<Box<Refusal>>,
);

#[derive(Debug)]
struct Refusal {
    policy: Name,
    reason: Reason,
    retry_after: Wait,
    /// While it is spare: the rest of the thread's spare ones, and how many they are with this one.
    next: Option<Box<Refusal>>,
    spare: u32,
}

/// Pieces of memory a thread keeps beside the last: 5 KiB at most.
const SPARE: u32 = 64;

thread_local! {
    static SPARES: Spares = const { Spares { last: Cell::new(None), more: Cell::new(None) } };
}

/// The memory that came back last, where it is found in one look, and the rest behind it.
struct Spares {
    last: Cell<Option<Box<Refusal>>>,
    more: Cell<Option<Box<Refusal>>>,
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
        Self::make(policy.into(), reason, Wait::NONE)
    }

    /// The same for a name that stays where it is.
    #[inline(always)]
    pub(crate) fn by(policy: &Name, reason: Reason) -> Self {
        Self::copy(policy, reason, Wait::NONE)
    }

    /// Where the name may be moved in: it would be read in one piece a moment after it was written in two.
    #[cold]
    #[inline(never)]
    fn make(policy: Name, reason: Reason, retry_after: Wait) -> Self {
        let mut spare = spare();
        (spare.policy, spare.reason, spare.retry_after) = (policy, reason, retry_after);
        Self(Some(spare))
    }

    /// Always inlined, and with one way through: each part is written once, where it stays. A reason handed over in memory
    /// would be written in three pieces and read in two, for which a processor waits.
    #[inline(always)]
    fn copy(policy: &Name, reason: Reason, retry_after: Wait) -> Self {
        let mut spare = spare();
        spare.policy.clone_from(policy);
        (spare.reason, spare.retry_after) = (reason, retry_after);
        Self(Some(spare))
    }

    /// The refusal out of a future that ends with it.
    #[inline(always)]
    pub(crate) fn taken(&mut self) -> Self {
        assert!(self.0.is_some(), "a future is not polled after it is done");
        Self(self.0.take())
    }

    fn refusal(&self) -> &Refusal {
        match &self.0 {
            Some(refusal) => refusal,
            None => unreachable!("a refusal is taken once, by what hands it on or by its drop"),
        }
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
        if let Some(refusal) = &mut self.0 {
            refusal.retry_after = Wait::new(wait);
        }
        self
    }

    /// The policy that refused.
    pub fn policy(&self) -> &Name {
        &self.refusal().policy
    }

    /// Why it refused.
    pub fn reason(&self) -> Reason {
        self.refusal().reason
    }

    /// How long to wait before a new call has a chance; `None` if the policy cannot know.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal().retry_after.known()
    }
}

impl Drop for Rejected {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(refusal) = self.0.take() {
            keep(refusal);
        }
    }
}

/// Memory for a refusal that is to be written: what was kept, if there is some.
#[inline(always)]
fn spare() -> Box<Refusal> {
    match SPARES.try_with(|spares| spares.last.take()) {
        Ok(Some(spare)) => spare,
        _ => another(),
    }
}

/// Allocates where nothing is kept, and while the thread is being torn down.
#[cold]
#[inline(never)]
fn another() -> Box<Refusal> {
    let more = SPARES.try_with(|spares| {
        let mut first = spares.more.take()?;
        spares.more.set(first.next.take());
        Some(first)
    });
    more.ok().flatten().unwrap_or_else(|| {
        let policy = Name::from_static("");
        Box::new(Refusal { policy, reason: Reason::Open, retry_after: Wait::NONE, next: None, spare: 0 })
    })
}

/// Keeps a refusal's memory for the thread's next one. What it holds of the user's, a name, is dropped first.
#[inline(always)]
fn keep(mut refusal: Box<Refusal>) {
    refusal.policy.forget();
    // While the thread is being torn down there is no such place, and the memory is freed.
    let _torn_down = SPARES.try_with(|spares| {
        if let Some(before) = spares.last.replace(Some(refusal)) {
            spares.put_by(before);
        }
    });
}

impl Spares {
    #[cold]
    #[inline(never)]
    fn put_by(&self, mut refusal: Box<Refusal>) {
        let next = self.more.take();
        let more = next.as_ref().map_or(0, |next| next.spare);
        if more < SPARE {
            (refusal.spare, refusal.next) = (more + 1, next);
            self.more.set(Some(refusal));
        } else {
            self.more.set(next);
        }
    }
}

impl Clone for Rejected {
    fn clone(&self) -> Self {
        let Refusal { policy, reason, retry_after, .. } = self.refusal();
        Self::copy(policy, *reason, *retry_after)
    }
}

impl PartialEq for Rejected {
    fn eq(&self, other: &Self) -> bool {
        let told = |rejected: &Self| (rejected.reason(), rejected.retry_after());
        told(self) == told(other) && self.policy() == other.policy()
    }
}

impl Eq for Rejected {}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { policy, reason, retry_after, .. } = self.refusal();
        f.debug_struct("Rejected")
            .field("policy", policy)
            .field("reason", reason)
            .field("retry_after", retry_after)
            .finish()
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused by {}: {}", self.policy(), self.reason())?;
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
