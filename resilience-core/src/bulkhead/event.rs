//! What happens in a bulkhead.

use std::time::Duration;

use super::Discipline;
use crate::Reason;
use crate::event::{Fact, Severity};

/// Something that happened in a [`Bulkhead`](super::Bulkhead).
///
/// ```
/// use std::time::Duration;
/// use resilience_core::bulkhead::Event;
/// use resilience_core::event::Fact;
///
/// // A metrics sink makes histograms of these two: what overload costs, and what to divide the limit by.
/// let waited = Duration::from_millis(3);
/// assert_eq!(Event::Admitted { waited }.duration(), Some(("queue.wait", waited)));
/// let held = Duration::from_millis(12);
/// assert_eq!(Event::Released { held }.duration(), Some(("permit.held", held)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A call got its slot.
    Admitted {
        /// How long it waited for it; zero if it did not.
        waited: Duration,
    },
    /// A call waits for a slot.
    Queued {
        /// Calls that wait, this one among them.
        queued: u32,
        /// Who of them is next.
        discipline: Discipline,
    },
    /// A call was refused and never sent.
    Rejected {
        /// Why.
        reason: Reason,
    },
    /// A call would have waited for a slot, in a [dry run](super::BulkheadBuilder::dry_run).
    WouldQueue {
        /// Calls that would wait, this one among them.
        queued: u32,
    },
    /// A call would have been refused, in a dry run.
    WouldReject {
        /// Why.
        reason: Reason,
    },
    /// A permit was given back.
    Released {
        /// How long it was held.
        held: Duration,
    },
    /// The limit was changed.
    Resized {
        /// The limit from now on.
        limit: u32,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "bulkhead"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Admitted { .. } => "admitted",
            Self::Queued { .. } => "queued",
            Self::Rejected { .. } => "rejected",
            Self::WouldQueue { .. } => "would_queue",
            Self::WouldReject { .. } => "would_reject",
            Self::Released { .. } => "released",
            Self::Resized { .. } => "resized",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Rejected { .. } | Self::WouldReject { .. } => Severity::Warn,
            Self::Resized { .. } => Severity::Info,
            _ => Severity::Debug,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Rejected { reason } | Self::WouldReject { reason } => Some(reason.label()),
            _ => None,
        }
    }

    fn duration(&self) -> Option<(&'static str, Duration)> {
        match self {
            Self::Admitted { waited } => Some(("queue.wait", *waited)),
            Self::Released { held } => Some(("permit.held", *held)),
            _ => None,
        }
    }
}
