//! What happened in the store's writer.

use std::time::Duration;

use resilience_core::event::{Fact, Severity};

/// What happened in the store's writer; told to listeners on the writer's thread, after the answers are out.
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
    /// The medium or the file failed: the store takes no more appends until it is opened again.
    Failed {
        /// Why.
        reason: String,
    },
    /// The write-ahead log was brought into the database file.
    Checkpointed {
        /// Pages brought over since the write-ahead log began.
        pages: u64,
        /// Pages a reader still holds back.
        left: u64,
    },
    /// The writer has ended and given up the file.
    Closed,
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "event_store"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Committed { .. } => "committed",
            Self::Undone { .. } => "undone",
            Self::Failed { .. } => "failed",
            Self::Checkpointed { .. } => "checkpointed",
            Self::Closed => "closed",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Committed { .. } | Self::Checkpointed { .. } | Self::Closed => Severity::Debug,
            Self::Undone { .. } => Severity::Warn,
            Self::Failed { .. } => Severity::Error,
        }
    }

    fn duration(&self) -> Option<(&'static str, Duration)> {
        match self {
            Self::Committed { took, .. } => Some(("commit", *took)),
            _ => None,
        }
    }
}
