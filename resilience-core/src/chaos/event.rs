//! What is injected.

use std::time::Duration;

use crate::event::{Fact, Severity};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The call comes late.
    Delay,
    /// An error instead of the call.
    Error,
    /// An answer instead of the call.
    Response,
    /// Something happens before the call.
    Behaviour,
}

impl Kind {
    /// The kind as a label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Error => "error",
            Self::Response => "response",
            Self::Behaviour => "behaviour",
        }
    }
}

/// Something that happened in a [`Chaos`](super::Chaos).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A fault was injected.
    Injected {
        /// Which.
        kind: Kind,
        /// The number of the call, counted from zero: with the seed, it brings the fault back.
        call: u64,
        /// How long the call is delayed, if that is the fault.
        delay: Duration,
    },
    /// A fault would have been injected, in a dry run.
    WouldInject {
        /// Which.
        kind: Kind,
        /// The number of the call.
        call: u64,
        /// How long the call would have been delayed.
        delay: Duration,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "chaos"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Injected { .. } => "injected",
            Self::WouldInject { .. } => "would_inject",
        }
    }

    fn severity(&self) -> Severity {
        Severity::Warn
    }

    fn reason(&self) -> Option<&'static str> {
        let (Self::Injected { kind, .. } | Self::WouldInject { kind, .. }) = self;
        Some(kind.label())
    }
}
