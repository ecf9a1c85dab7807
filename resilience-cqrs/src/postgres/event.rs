//! What happened in the store's writer.

use std::time::Duration;

use resilience_core::event::{Fact, Severity};

use crate::log::Position;

/// What happened in the store's writer; told to listeners after the answers are out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A group of appends became durable in one commit.
    Committed {
        /// The appends acknowledged.
        appends: usize,
        /// The appends refused, by conflict or otherwise.
        refused: usize,
        /// The events added to the log.
        events: u64,
        /// From the beginning of the transaction to the end of its commit.
        took: Duration,
    },
    /// A group of appends was undone and refused, all of them.
    Undone {
        /// How many.
        appends: usize,
        /// Why.
        reason: String,
    },
    /// The server that answers now lacks what was acknowledged: a standby took over that had not received it. The store
    /// answers nothing until it is opened again.
    WentBack {
        /// The last position that was known to be durable.
        last: Position,
        /// Up to where the log is what it was.
        found: Position,
    },
    /// The connection is gone; the next append asks for another.
    Disconnected {
        /// Why.
        reason: String,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "event_store"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Committed { .. } => "committed",
            Self::Undone { .. } => "undone",
            Self::WentBack { .. } => "went_back",
            Self::Disconnected { .. } => "disconnected",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Committed { .. } => Severity::Debug,
            Self::Undone { .. } | Self::Disconnected { .. } => Severity::Warn,
            Self::WentBack { .. } => Severity::Error,
        }
    }

    fn duration(&self) -> Option<(&'static str, Duration)> {
        match self {
            Self::Committed { took, .. } => Some(("commit", *took)),
            _ => None,
        }
    }
}
