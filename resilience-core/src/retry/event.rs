//! What happens in a retry.

use std::time::Duration;

use crate::event::{Fact, Severity};

/// A fact about one call that did not end with its first attempt, or failed for good.
///
/// A call that is answered at its first attempt says nothing, so a healthy service costs no event.
///
/// ```
/// use resilience_core::event::{Fact, Severity};
/// use resilience_core::retry::{Event, Reason};
///
/// let severity = |reason| Event::GaveUp { attempts: 1, reason }.severity();
/// assert_eq!(severity(Reason::Permanent), Severity::Debug); // a caller's own mistake is ordinary traffic
/// assert_eq!(severity(Reason::Budget), Severity::Warn);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Another attempt was scheduled.
    Retrying {
        /// The number of the attempt to come; the first retry is attempt 2.
        attempt: u32,
        /// How long it waits.
        delay: Duration,
    },
    /// Another attempt would have been scheduled, in a dry run; the answer went to the caller as it is.
    WouldRetry {
        /// The number of the attempt there would have been.
        attempt: u32,
        /// How long it would have waited.
        delay: Duration,
    },
    /// The last answer went to the caller as it is.
    GaveUp {
        /// Attempts made.
        attempts: u32,
        /// Why there is no other.
        reason: Reason,
    },
    /// An attempt after the first was answered.
    Recovered {
        /// Attempts made, the successful one included.
        attempts: u32,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "retry"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Retrying { .. } => "retrying",
            Self::WouldRetry { .. } => "would_retry",
            Self::GaveUp { .. } => "gave_up",
            Self::Recovered { .. } => "recovered",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Retrying { .. } | Self::WouldRetry { .. } => Severity::Warn,
            // The caller's own mistakes are ordinary traffic.
            Self::GaveUp { reason: Reason::Permanent | Reason::NotReplayable, .. } => Severity::Debug,
            Self::GaveUp { .. } => Severity::Warn,
            Self::Recovered { .. } => Severity::Info,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::GaveUp { reason, .. } => Some(reason.label()),
            Self::Retrying { .. } | Self::WouldRetry { .. } | Self::Recovered { .. } => None,
        }
    }

    fn duration(&self) -> Option<(&'static str, Duration)> {
        match self {
            Self::Retrying { delay, .. } | Self::WouldRetry { delay, .. } => Some(("delay", *delay)),
            Self::GaveUp { .. } | Self::Recovered { .. } => None,
        }
    }
}

/// Why a failed call was not tried again.
///
/// ```
/// use resilience_core::retry::{self, Backoff, Retry};
/// use resilience_core::{Error, Rejected};
///
/// # futures::executor::block_on(async {
/// let retry = Retry::builder().backoff(Backoff::none()).build()?;
/// let opens_meanwhile = async |attempt| match attempt {
///     1 => Err(Error::Service("no answer")),
///     _ => Err::<(), _>(Rejected::new("stock", resilience_core::Reason::Open).into()),
/// };
/// let (answer, report) = retry::report(retry.run(opens_meanwhile)).await;
/// assert_eq!(report.unwrap().gave_up, Some(retry::Reason::Refused));
/// assert_eq!(answer, Err(Error::Service("no answer"))); // "never sent" would be a lie: the first attempt was
/// # Ok::<(), resilience_core::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Every permitted attempt was made.
    Attempts,
    /// The budget had no retry to give.
    Budget,
    /// The wait would have ended past the request's deadline.
    Deadline,
    /// The wait would have ended past the longest time a call may take here.
    MaxElapsed,
    /// The request cannot, or must not, be sent twice.
    NotReplayable,
    /// Another attempt would fare no better.
    Permanent,
    /// An attempt after the first was refused by the own stack and never sent: the circuit opened meanwhile, say. The
    /// caller gets the answer of the last attempt that was sent.
    Refused,
    /// The service failed to get ready for another attempt.
    NotReady,
    /// Nothing but the [dry run](super::RetryBuilder::dry_run). Told by a [`report`](super::report());
    /// the event is [`WouldRetry`](Event::WouldRetry).
    DryRun,
}

impl Reason {
    /// The reason as a label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::MaxElapsed => "max_elapsed",
            Self::NotReplayable => "not_replayable",
            Self::Permanent => "permanent",
            Self::Refused => "refused",
            Self::NotReady => "not_ready",
            Self::DryRun => "dry_run",
        }
    }
}
