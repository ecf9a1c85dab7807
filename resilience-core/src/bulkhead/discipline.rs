//! Who of those who wait is next.

use std::time::Duration;

use crate::ConfigError;

/// In which order the calls in the queue of a [`Bulkhead`](super::Bulkhead) get their slots, and whom it gives up.
///
/// It matters only while the queue is in use: a call that finds a free slot takes it under any discipline.
///
/// | discipline | who is next | who is given up, besides those whose wait is over |
/// |---|---|---|
/// | [`fifo`](Self::fifo) | who came first | nobody |
/// | [`adaptive_lifo`](Self::adaptive_lifo) | who came first; who came last while the queue stands | nobody, but the wait is short while the queue stands |
/// | [`codel`](Self::codel) | who came first | who waited too long, while everybody does |
/// | [`deadline_first`](Self::deadline_first) | whose deadline is next | whose deadline has passed |
/// | [`priority`](Self::priority) | the most critical, among equals who came first | the least critical, for a more critical call |
///
/// ```
/// use futures::FutureExt;
/// use resilience_core::Reason;
/// use resilience_core::bulkhead::{Bulkhead, Discipline};
/// use resilience_core::context::{Context, Criticality};
///
/// let bulkhead = Bulkhead::builder().limit(1).queue(1).discipline(Discipline::priority()).build()?;
/// let _running = bulkhead.try_acquire();
/// let crawler = Context::new().with_criticality(Criticality::Sheddable);
/// let mut waiting = Box::pin(crawler.scope(bulkhead.acquire()));
/// assert!(waiting.as_mut().now_or_never().is_none());
/// assert!(bulkhead.acquire().now_or_never().is_none()); // a user's call takes its place
/// assert_eq!(waiting.now_or_never().unwrap().unwrap_err().reason(), Reason::Displaced);
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discipline {
    /// See [`fifo`](Self::fifo).
    #[default]
    Fifo,
    /// See [`adaptive_lifo`](Self::adaptive_lifo).
    AdaptiveLifo {
        /// A queue that has not been empty for so long stands; before, it may be a burst. Also the longest wait of those
        /// who came before.
        interval: Duration,
        /// The longest wait of those who came while it stands; at most `interval`.
        timeout: Duration,
    },
    /// See [`codel`](Self::codel).
    CoDel {
        /// The shortest wait of an interval should be at most so long.
        target: Duration,
        /// For how long the shortest wait is looked for.
        interval: Duration,
    },
    /// See [`deadline_first`](Self::deadline_first).
    DeadlineFirst,
    /// See [`priority`](Self::priority).
    Priority,
}

impl Discipline {
    /// First come, first served: the default. Fair, and right for bursts; under lasting overload everybody is served just
    /// before giving up.
    pub const fn fifo() -> Self {
        Self::Fifo
    }

    /// First come, first served while the queue is empty now and then; last come, first served when it has not been for
    /// 100 ms, and then nobody waits longer than 5 ms.
    ///
    /// In overload somebody must fail. Served in order, all wait for so long that most have been given up by whoever
    /// asked; served in reverse, the newest are still wanted. "Fail at Scale" (ACM Queue 2015), with its constants; for
    /// others name the [variant](Self::AdaptiveLifo).
    pub const fn adaptive_lifo() -> Self {
        Self::AdaptiveLifo { interval: Duration::from_millis(100), timeout: Duration::from_millis(5) }
    }

    /// First come, first served; but when even the shortest wait of an `interval` was above `target`, a call whose turn
    /// comes after more than twice `target` is refused with [`Reason::QueueDelay`](crate::Reason::QueueDelay).
    ///
    /// A full queue that drains is a burst, and nobody is refused for it; a queue that stands delays everybody and helps
    /// nobody. The rule is [`control::CoDel`](crate::control::CoDel); 5 ms and 100 ms are what folly and Facebook's
    /// servers use. The interval begins with the first call that waits: a queue that was empty starts anew.
    pub const fn codel(target: Duration, interval: Duration) -> Self {
        Self::CoDel { target, interval }
    }

    /// The earliest deadline in the [context](crate::context) first, calls without one last; among equals who came first.
    ///
    /// A call whose deadline has passed is refused with [`Reason::Deadline`](crate::Reason::Deadline) when its turn comes,
    /// where other disciplines would let it use a slot that is given to it in that moment. Best while most deadlines can
    /// be met; under lasting overload it serves those that are nearly lost.
    pub const fn deadline_first() -> Self {
        Self::DeadlineFirst
    }

    /// The highest [criticality](crate::context::Criticality) in the context first; among equals who came first.
    ///
    /// When the queue is full, a call takes the place of the newest of the least critical ones below its own level, which
    /// is refused with [`Reason::Displaced`](crate::Reason::Displaced).
    ///
    /// There is no ageing: for as long as more critical calls wait, a less critical one is not served, which is what the
    /// levels mean. What bounds its wait is `max_wait` and its deadline.
    pub const fn priority() -> Self {
        Self::Priority
    }

    /// The discipline as a label for logs and metrics.
    ///
    /// ```
    /// use resilience_core::bulkhead::Discipline;
    ///
    /// assert_eq!(Discipline::default().label(), "fifo");
    /// assert_eq!(Discipline::adaptive_lifo().label(), "adaptive_lifo");
    /// ```
    pub const fn label(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::AdaptiveLifo { .. } => "adaptive_lifo",
            Self::CoDel { .. } => "codel",
            Self::DeadlineFirst => "deadline_first",
            Self::Priority => "priority",
        }
    }

    /// Itself, if it can work with a queue of so many.
    pub(super) fn checked(self, queue: u32) -> Result<Self, ConfigError> {
        let rule = match self {
            Self::Fifo => return Ok(self),
            _ if queue == 0 => "needs a queue to order",
            Self::AdaptiveLifo { interval, timeout } if interval.is_zero() || timeout.is_zero() => {
                "must have an interval and a timeout above zero"
            }
            Self::AdaptiveLifo { interval, timeout } if timeout > interval => {
                "must have a timeout no longer than its interval"
            }
            Self::CoDel { target, interval } if target.is_zero() || interval.is_zero() => {
                "must have a target and an interval above zero"
            }
            Self::CoDel { target, interval } if target > interval => "must have a target no longer than its interval",
            _ => return Ok(self),
        };
        Err(ConfigError::new("discipline", rule))
    }
}
