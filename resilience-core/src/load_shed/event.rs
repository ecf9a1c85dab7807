//! What happens in a throttle.

use crate::event::{Fact, Severity};

/// Something that happened in a [`ClientThrottle`](super::ClientThrottle).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A call was refused and never sent.
    Rejected {
        /// How likely that was.
        probability: f64,
    },
    /// A call would have been refused, in a dry run.
    WouldReject {
        /// How likely that was.
        probability: f64,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "load_shed"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Rejected { .. } => "rejected",
            Self::WouldReject { .. } => "would_reject",
        }
    }

    fn severity(&self) -> Severity {
        Severity::Warn
    }

    fn reason(&self) -> Option<&'static str> {
        Some(crate::Reason::Throttled.label())
    }
}
