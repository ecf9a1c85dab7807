//! What happens in a client's rate limiter.

use std::time::Duration;

use crate::Reason;
use crate::event::{Fact, Severity};

/// Something that happened in a [`ClientRateLimiter`](super::ClientRateLimiter).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The server throttled an answer.
    Throttled {
        /// Calls a second from now on.
        rate: f64,
    },
    /// A call waits for its token.
    Queued {
        /// How long there is none, as things stand.
        wait: Duration,
    },
    /// A call was refused and never sent.
    Rejected {
        /// Why.
        reason: Reason,
    },
    /// A call would have waited for its token, in a dry run.
    WouldQueue {
        /// How long there is none, as things stand.
        wait: Duration,
    },
    /// A call would have been refused, in a dry run.
    WouldReject {
        /// Why.
        reason: Reason,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "rate_limit"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::Queued { .. } => "queued",
            Self::Rejected { .. } => "rejected",
            Self::WouldQueue { .. } => "would_queue",
            Self::WouldReject { .. } => "would_reject",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Queued { .. } | Self::WouldQueue { .. } => Severity::Debug,
            Self::Throttled { .. } | Self::Rejected { .. } | Self::WouldReject { .. } => Severity::Warn,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Rejected { reason } | Self::WouldReject { reason } => Some(reason.label()),
            _ => None,
        }
    }
}
