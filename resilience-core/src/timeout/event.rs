//! What happens in a timeout.

use std::time::Duration;

use crate::Reason;
use crate::event::{Fact, Severity};

/// Something that happened in a [`Timeout`](super::Timeout).
///
/// ```
/// use std::time::Duration;
/// use resilience_core::Reason;
/// use resilience_core::event::Fact;
/// use resilience_core::timeout::Event;
///
/// let elapsed = Event::Elapsed { limit: Duration::from_secs(2) };
/// assert_eq!((elapsed.name(), elapsed.reason()), ("elapsed", None));
/// let rejected = Event::Rejected { reason: Reason::Deadline };
/// assert_eq!((rejected.name(), rejected.reason()), ("rejected", Some("deadline")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// No answer came in time; the call was dropped.
    Elapsed {
        /// The timeout's own limit. An earlier deadline in the context may have ended the call before.
        limit: Duration,
    },
    /// The call would have been dropped, in a [dry run](super::TimeoutBuilder::dry_run).
    WouldElapse {
        /// The timeout's own limit.
        limit: Duration,
    },
    /// The call would have been refused, in a dry run.
    WouldReject {
        /// Why; always [`Reason::Deadline`].
        reason: Reason,
    },
    /// The call was refused and never sent.
    Rejected {
        /// Why; always [`Reason::Deadline`].
        reason: Reason,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "timeout"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Elapsed { .. } => "elapsed",
            Self::Rejected { .. } => "rejected",
            Self::WouldElapse { .. } => "would_elapse",
            Self::WouldReject { .. } => "would_reject",
        }
    }

    fn severity(&self) -> Severity {
        Severity::Warn
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Elapsed { .. } | Self::WouldElapse { .. } => None,
            Self::Rejected { reason } | Self::WouldReject { reason } => Some(reason.label()),
        }
    }
}
