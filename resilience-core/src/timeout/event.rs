//! What happens in a timeout.

use std::time::Duration;

use crate::Reason;
use crate::event::{Fact, Severity};

/// Something that happened in a [`Timeout`](super::Timeout).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// No answer came in time; the call was dropped.
    Elapsed {
        /// The timeout's own limit. An earlier deadline in the context may have ended the call before.
        limit: Duration,
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
        }
    }

    fn severity(&self) -> Severity {
        Severity::Warn
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Elapsed { .. } => None,
            Self::Rejected { reason } => Some(reason.label()),
        }
    }
}
