//! What happens in a hedge.

use crate::event::{Fact, Severity};

/// A fact about one call that had, or was denied, more than one attempt.
///
/// A call that is answered before its delay says nothing.
///
/// ```
/// use resilience_core::event::{Fact, Severity};
/// use resilience_core::hedge::{Cause, Event, Reason};
///
/// assert_eq!(Event::Launched { attempt: 2, cause: Cause::Delay }.reason(), Some("delay"));
/// assert_eq!(Event::Withheld { attempt: 2, reason: Reason::Budget }.severity(), Severity::Warn);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Another attempt was launched beside those that run.
    Launched {
        /// Its number; the primary is 1, so that the first hedge is 2.
        attempt: u32,
        /// Why it was launched.
        cause: Cause,
    },
    /// Another attempt would have been launched, in a dry run.
    WouldLaunch {
        /// Its number.
        attempt: u32,
        /// Why it would have been.
        cause: Cause,
    },
    /// Another attempt was due and could not be launched; the call goes on without.
    Withheld {
        /// Its number.
        attempt: u32,
        /// What forbade it.
        reason: Reason,
    },
    /// An attempt of several answered the call.
    Won {
        /// Its number; 1 if the primary did, after all.
        attempt: u32,
    },
    /// Attempts were still running when another won; they were dropped before the caller saw the answer.
    Cancelled {
        /// How many.
        attempts: u32,
    },
    /// Every attempt of several failed.
    Failed {
        /// How many there were.
        attempts: u32,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "hedge"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Launched { .. } => "launched",
            Self::WouldLaunch { .. } => "would_launch",
            Self::Withheld { .. } => "withheld",
            Self::Won { .. } => "won",
            Self::Cancelled { .. } => "cancelled",
            Self::Failed { .. } => "failed",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            // What a hedge is there for, some of every hundred calls.
            Self::Launched { .. } | Self::WouldLaunch { .. } | Self::Won { .. } | Self::Cancelled { .. } => {
                Severity::Debug
            }
            Self::Withheld { .. } | Self::Failed { .. } => Severity::Warn,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Launched { cause, .. } | Self::WouldLaunch { cause, .. } => Some(cause.label()),
            Self::Withheld { reason, .. } => Some(reason.label()),
            Self::Won { attempt } => Some(if *attempt == 1 { "primary" } else { "hedge" }),
            Self::Cancelled { .. } | Self::Failed { .. } => None,
        }
    }
}

/// Why another attempt is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// No answer came within the delay.
    Delay,
    /// An attempt failed in a way that may pass.
    Failure,
}

impl Cause {
    /// The cause as a label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Failure => "failure",
        }
    }
}

/// Why another attempt was not launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The budget had no attempt to give, now or when the call was sent.
    Budget,
    /// The request's deadline has passed.
    Deadline,
    /// The request cannot, or must not, be sent twice.
    NotReplayable,
}

impl Reason {
    /// The reason as a label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::NotReplayable => "not_replayable",
        }
    }
}
