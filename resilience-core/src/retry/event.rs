//! What happens in a retry.

use std::time::Duration;

use crate::event::{Fact, Severity};

/// A fact about one call that did not end with its first attempt, or failed for good.
///
/// A call that is answered at its first attempt says nothing, so a healthy service costs no event.
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
            Self::GaveUp { .. } => "gave_up",
            Self::Recovered { .. } => "recovered",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Retrying { .. } => Severity::Warn,
            // The caller's own mistakes are ordinary traffic.
            Self::GaveUp { reason: Reason::Permanent | Reason::NotReplayable, .. } => Severity::Debug,
            Self::GaveUp { .. } => Severity::Warn,
            Self::Recovered { .. } => Severity::Info,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::GaveUp { reason, .. } => Some(reason.label()),
            Self::Retrying { .. } | Self::Recovered { .. } => None,
        }
    }

    fn duration(&self) -> Option<(&'static str, Duration)> {
        match self {
            Self::Retrying { delay, .. } => Some(("delay", *delay)),
            Self::GaveUp { .. } | Self::Recovered { .. } => None,
        }
    }
}

/// Why a failed call was not tried again.
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
        }
    }
}
