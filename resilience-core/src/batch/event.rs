//! What happens to batches.

use std::time::Duration;

use crate::event::{Fact, Severity};

/// Something that happened in a [`Batch`](super::Batch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A batch was sent.
    Sent {
        /// With so many calls.
        calls: usize,
        /// After so long.
        waited: Duration,
    },
    /// A batch was answered, whatever the answers.
    Answered,
    /// A batch failed as a whole.
    Failed,
    /// A batch came back with fewer or more answers than it had calls: nobody got one.
    Miscounted {
        /// The calls.
        requests: usize,
        /// The answers.
        answers: usize,
    },
    /// A batch's call panicked: nobody got an answer.
    Panicked,
    /// A call was refused since too many wait.
    Rejected,
    /// A call would have been refused, in a dry run.
    WouldReject,
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "batch"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "sent",
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Miscounted { .. } => "miscounted",
            Self::Panicked => "panicked",
            Self::Rejected => "rejected",
            Self::WouldReject => "would_reject",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Sent { .. } | Self::Answered => Severity::Debug,
            Self::Miscounted { .. } | Self::Panicked => Severity::Error,
            _ => Severity::Warn,
        }
    }

    fn duration(&self) -> Option<(&'static str, Duration)> {
        match self {
            Self::Sent { waited, .. } => Some(("wait", *waited)),
            _ => None,
        }
    }
}
