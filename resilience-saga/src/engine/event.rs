//! What happens in the engine, as facts for logs and metrics.

use std::time::Duration;

use resilience_core::event::{Fact, Severity};

use crate::SagaId;
use crate::kernel::StepKey;

/// Something that happened to a saga. The policy's name of these facts is the engine's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A saga was created.
    Started {
        /// The saga.
        saga: SagaId,
    },
    /// A saga of an earlier owner was taken over.
    Adopted {
        /// The saga.
        saga: SagaId,
    },
    /// An attempt of a step, or of its undo, did not succeed.
    AttemptFailed {
        /// The saga.
        saga: SagaId,
        /// The step.
        step: StepKey,
        /// `rejected`, `failed`, `unknown`, `undo_failed` or `probe_failed`, as in the log.
        outcome: &'static str,
        /// What was seen.
        error: String,
    },
    /// A step needs an operator.
    Stuck {
        /// The saga.
        saga: SagaId,
        /// The step.
        step: StepKey,
        /// Why, as a label.
        cause: &'static str,
    },
    /// A saga is over.
    Finished {
        /// The saga.
        saga: SagaId,
        /// `completed`, `compensated` or `abandoned`.
        outcome: &'static str,
        /// How long it took in this process.
        after: Duration,
    },
    /// A saga cannot be continued by this engine, and is left alone.
    Parked {
        /// The saga.
        saga: SagaId,
        /// Why.
        why: String,
    },
    /// The store did not take a record. It will be offered again.
    StoreUnavailable {
        /// The saga.
        saga: SagaId,
        /// Why.
        why: String,
    },
    /// Another process has taken the sagas over.
    Fenced,
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "saga"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Adopted { .. } => "adopted",
            Self::AttemptFailed { .. } => "attempt_failed",
            Self::Stuck { .. } => "stuck",
            Self::Finished { .. } => "finished",
            Self::Parked { .. } => "parked",
            Self::StoreUnavailable { .. } => "store_unavailable",
            Self::Fenced => "fenced",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Started { .. } | Self::Finished { .. } => Severity::Debug,
            Self::Adopted { .. } => Severity::Info,
            Self::AttemptFailed { .. } => Severity::Warn,
            Self::Stuck { .. } | Self::Parked { .. } | Self::StoreUnavailable { .. } | Self::Fenced => Severity::Error,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Stuck { cause, .. } => Some(cause),
            _ => None,
        }
    }

    fn outcome(&self) -> Option<&'static str> {
        match self {
            Self::AttemptFailed { outcome, .. } | Self::Finished { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    fn duration(&self) -> Option<(&'static str, Duration)> {
        match self {
            Self::Finished { after, .. } => Some(("duration", *after)),
            _ => None,
        }
    }
}
