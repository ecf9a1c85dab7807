//! What happened to a sealer.

use resilience_core::event::{Fact, Severity};

use super::Seal;

/// What happened to a [`Sealer`](super::Sealer).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Events were sealed.
    Sealed {
        /// Up to where; worth keeping elsewhere now and then.
        seal: Seal,
        /// How many.
        events: u64,
    },
    /// The store could not be reached; the sealer tries again.
    Retrying {
        /// Why.
        error: String,
    },
    /// The sealer has ended.
    Stopped,
}

impl Event {
    /// With the causes of the error, which is where the store says what is wrong.
    pub(super) fn retrying(error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        Self::Retrying { error: causes.map(ToString::to_string).collect::<Vec<_>>().join(": ") }
    }
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "audit"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Sealed { .. } => "sealed",
            Self::Retrying { .. } => "retrying",
            Self::Stopped => "stopped",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Sealed { .. } => Severity::Debug,
            Self::Stopped => Severity::Info,
            Self::Retrying { .. } => Severity::Warn,
        }
    }
}
