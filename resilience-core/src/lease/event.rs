//! What happens to an ownership, and at a fence.

use crate::Reason;
use crate::context::FencingToken;
use crate::event::{Fact, Severity};

/// Something that happened to an [`Ownership`](super::Ownership) or at a [`Fence`](super::Fence).
///
/// ```
/// use resilience_core::Reason;
/// use resilience_core::event::{Fact, Severity};
/// use resilience_core::lease::Event;
///
/// let zombie = Event::Rejected { reason: Reason::Fenced };
/// assert_eq!((zombie.name(), zombie.reason(), zombie.severity()), ("rejected", Some("fenced"), Severity::Warn));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// This process owns the resource now.
    Granted {
        /// The proof.
        token: FencingToken,
    },
    /// This process does not own the resource any more, and was told so.
    Lost {
        /// The proof that is void.
        token: FencingToken,
    },
    /// A fence has heard of a new owner.
    Advanced {
        /// The newest token from now on.
        token: FencingToken,
    },
    /// A call was refused.
    Rejected {
        /// Why.
        reason: Reason,
    },
    /// A call was let through that would have been refused, were this not a dry run.
    WouldReject {
        /// Why.
        reason: Reason,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "lease"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Granted { .. } => "granted",
            Self::Lost { .. } => "lost",
            Self::Advanced { .. } => "advanced",
            Self::Rejected { .. } => "rejected",
            Self::WouldReject { .. } => "would_reject",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Granted { .. } | Self::Advanced { .. } => Severity::Info,
            Self::Lost { .. } | Self::Rejected { .. } | Self::WouldReject { .. } => Severity::Warn,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Rejected { reason } | Self::WouldReject { reason } => Some(reason.label()),
            _ => None,
        }
    }
}
