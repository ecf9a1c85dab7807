//! What happens in a fallback.

use crate::event::{Fact, Severity};

/// A fact about one call whose answer was, or would have been, replaced.
///
/// ```
/// use resilience_core::event::{Fact, Severity};
/// use resilience_core::fallback::{Event, Reason};
///
/// let fell_back = Event::FellBack { reason: Reason::Refused };
/// assert_eq!((fell_back.reason(), fell_back.severity()), (Some("refused"), Severity::Info));
/// assert_eq!(Event::FailedToo { reason: Reason::Failed }.severity(), Severity::Error);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The fallback was asked in place of the service.
    FellBack {
        /// What the service's answer was.
        reason: Reason,
    },
    /// The fallback would have been asked, in a dry run.
    WouldFallBack {
        /// What the service's answer was.
        reason: Reason,
    },
    /// The fallback failed as well.
    FailedToo {
        /// What the service's answer was.
        reason: Reason,
    },
    /// There was no copy of the request for the fallback; the service's answer went to the caller.
    Withheld {
        /// What the service's answer was.
        reason: Reason,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "fallback"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::FellBack { .. } => "fell_back",
            Self::WouldFallBack { .. } => "would_fall_back",
            Self::FailedToo { .. } => "failed_too",
            Self::Withheld { .. } => "withheld",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            // One of thousands while a circuit is open, and the caller was served.
            Self::FellBack { .. } | Self::WouldFallBack { .. } => Severity::Info,
            Self::Withheld { .. } => Severity::Warn,
            // Nobody is left who could answer.
            Self::FailedToo { .. } => Severity::Error,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        let (Self::FellBack { reason }
        | Self::WouldFallBack { reason }
        | Self::FailedToo { reason }
        | Self::Withheld { reason }) = self;
        Some(reason.label())
    }
}

/// Why an answer is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The own stack refused the call, which was never sent.
    Refused,
    /// No answer came in time; the effect is unknown.
    TimedOut,
    /// The service failed, or gave an answer that counts as a failure.
    Failed,
}

impl Reason {
    /// The reason as a label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
        }
    }
}
