//! What happens where load is shed.

use crate::Reason;
use crate::event::{Fact, Severity};

/// Something that happened in a policy of this module.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A call was refused and never sent.
    Rejected {
        /// Why.
        reason: Reason,
        /// How likely that was.
        probability: f64,
    },
    /// A call would have been refused, in a dry run.
    WouldReject {
        /// Why.
        reason: Reason,
        /// How likely that was.
        probability: f64,
    },
}

impl Event {
    pub(super) const fn new(dry_run: bool, reason: Reason, probability: f64) -> Self {
        match dry_run {
            true => Self::WouldReject { reason, probability },
            false => Self::Rejected { reason, probability },
        }
    }
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
        match self {
            Self::Rejected { reason, .. } | Self::WouldReject { reason, .. } => Some(reason.label()),
        }
    }
}
