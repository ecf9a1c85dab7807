//! What happens in a rate limiter.

use std::time::Duration;

use crate::Reason;
use crate::event::{Fact, Severity};

/// Something that happened in a [`RateLimiter`](super::RateLimiter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A call got its permits.
    Admitted {
        /// How many.
        permits: u32,
        /// How long it had to wait for them; zero if it did not.
        waited: Duration,
    },
    /// A call waits for its permits.
    Queued {
        /// How many it wants.
        permits: u32,
        /// How long it is going to wait.
        wait: Duration,
    },
    /// A call was refused and never sent.
    Rejected {
        /// Why.
        reason: Reason,
        /// When it would have been admitted; `None` if never.
        retry_after: Option<Duration>,
    },
    /// A call would have waited for its permits, in a [dry run](super::RateLimiterBuilder::dry_run).
    WouldQueue {
        /// How many it wants.
        permits: u32,
        /// How long it would have waited.
        wait: Duration,
    },
    /// A call would have been refused, in a dry run.
    WouldReject {
        /// Why.
        reason: Reason,
        /// When it would have been admitted; `None` if never.
        retry_after: Option<Duration>,
    },
    /// A call left before it used its permits.
    Cancelled {
        /// How many it had reserved.
        permits: u32,
        /// Whether they were given back; not, if others have their places behind it.
        refunded: bool,
    },
    /// The quota was changed.
    QuotaChanged {
        /// Permits in each `per` from now on.
        permits: u32,
        /// The time for which they are.
        per: Duration,
        /// Permits that may be had at once from now on.
        burst: u32,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "rate_limit"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Admitted { .. } => "admitted",
            Self::Queued { .. } => "queued",
            Self::Rejected { .. } => "rejected",
            Self::WouldQueue { .. } => "would_queue",
            Self::WouldReject { .. } => "would_reject",
            Self::Cancelled { .. } => "cancelled",
            Self::QuotaChanged { .. } => "quota_changed",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Rejected { .. } | Self::WouldReject { .. } => Severity::Warn,
            Self::QuotaChanged { .. } => Severity::Info,
            _ => Severity::Debug,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Rejected { reason, .. } | Self::WouldReject { reason, .. } => Some(reason.label()),
            _ => None,
        }
    }

    fn duration(&self) -> Option<(&'static str, Duration)> {
        match self {
            Self::Admitted { waited, .. } => Some(("queue.wait", *waited)),
            _ => None,
        }
    }
}
