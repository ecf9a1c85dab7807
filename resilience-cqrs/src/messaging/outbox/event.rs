//! What happened in a relay.

use resilience_core::event::{Fact, Severity};

use crate::log::Position;

/// What happened in a relay.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Messages were sent, and the checkpoint is past them.
    Relayed {
        /// How many, those parked not included.
        messages: usize,
        /// Up to where the log was relayed.
        position: Position,
    },
    /// A message cannot be made or sent: its key waits from here on.
    Parked {
        /// The key.
        key: String,
        /// The event.
        position: Position,
        /// Why.
        error: String,
    },
    /// Messages of a parked key were sent.
    Replayed {
        /// The key.
        key: String,
        /// How many.
        messages: u64,
    },
    /// Messages of a parked key were given up.
    Discarded {
        /// The key.
        key: String,
        /// How many.
        messages: u64,
    },
    /// The bus or the store could not be reached; the relay tries again.
    Retrying {
        /// Why.
        error: String,
    },
    /// Too many messages are parked: the relay stands still until some are replayed or discarded.
    Blocked {
        /// How many are parked.
        parked: u64,
    },
    /// Another relay has taken the outbox over; this one has ended.
    Fenced,
    /// The relay has ended.
    Stopped,
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "outbox"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Relayed { .. } => "relayed",
            Self::Parked { .. } => "parked",
            Self::Replayed { .. } => "replayed",
            Self::Discarded { .. } => "discarded",
            Self::Retrying { .. } => "retrying",
            Self::Blocked { .. } => "blocked",
            Self::Fenced => "fenced",
            Self::Stopped => "stopped",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Relayed { .. } => Severity::Debug,
            Self::Replayed { .. } | Self::Stopped => Severity::Info,
            Self::Retrying { .. } | Self::Fenced | Self::Discarded { .. } => Severity::Warn,
            Self::Parked { .. } | Self::Blocked { .. } => Severity::Error,
        }
    }
}
