//! What happens in a limiter of several nodes.

use crate::Reason;
use crate::event::{Fact, Severity};

/// Something that happened in a [`DistributedRateLimiter`](super::DistributedRateLimiter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The store was asked for permits.
    Taken {
        /// What it granted.
        granted: u32,
    },
    /// A call was refused and never sent.
    Rejected {
        /// Why.
        reason: Reason,
    },
    /// A call would have been refused, in a dry run.
    WouldReject {
        /// Why.
        reason: Reason,
    },
    /// The store did not answer, or too late.
    Unavailable {
        /// Whether the call was admitted all the same.
        admitted: bool,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "rate_limit"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "taken",
            Self::Rejected { .. } => "rejected",
            Self::WouldReject { .. } => "would_reject",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Taken { .. } => Severity::Debug,
            Self::Rejected { .. } | Self::WouldReject { .. } => Severity::Warn,
            Self::Unavailable { .. } => Severity::Error,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Rejected { reason } | Self::WouldReject { reason } => Some(reason.label()),
            _ => None,
        }
    }
}
