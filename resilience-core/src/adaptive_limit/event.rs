//! What happens in an adaptive limit.

use crate::Reason;
use crate::event::{Fact, Severity};

/// Something that happened in an [`AdaptiveLimit`](super::AdaptiveLimit).
///
/// ```
/// use resilience_core::adaptive_limit::{Cause, Event};
/// use resilience_core::event::Fact;
///
/// let changed = Event::Changed { from: 50, to: 45, cause: Cause::Loss };
/// assert_eq!((changed.name(), changed.reason()), ("limit_changed", Some("loss")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The limit has changed.
    Changed {
        /// The limit before.
        from: u32,
        /// The limit from now on.
        to: u32,
        /// Why.
        cause: Cause,
    },
    /// A call was refused and never sent.
    Rejected {
        /// Why.
        reason: Reason,
    },
    /// A call would have been refused, in a [dry run](super::AdaptiveLimitBuilder::dry_run).
    WouldReject {
        /// Why.
        reason: Reason,
    },
}

/// Why a limit has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// It was used, and calls did not take longer for it.
    Room,
    /// Calls take longer than they would without a queue.
    Queue,
    /// Calls were lost: timed out, refused by the server.
    Loss,
    /// It is halved for about a round trip, to measure what a call takes without a queue.
    Probing,
    /// That is measured.
    Probed,
    /// Its bounds or its rule were changed.
    Reconfigured,
}

impl Cause {
    /// The cause as a label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Queue => "queue",
            Self::Loss => "loss",
            Self::Probing => "probing",
            Self::Probed => "probed",
            Self::Reconfigured => "reconfigured",
        }
    }
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "adaptive_limit"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Changed { .. } => "limit_changed",
            Self::Rejected { .. } => "rejected",
            Self::WouldReject { .. } => "would_reject",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Changed { cause: Cause::Loss | Cause::Reconfigured, .. } => Severity::Info,
            Self::Changed { .. } => Severity::Debug,
            Self::Rejected { .. } | Self::WouldReject { .. } => Severity::Warn,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Changed { cause, .. } => Some(cause.label()),
            Self::Rejected { reason } | Self::WouldReject { reason } => Some(reason.label()),
        }
    }
}
