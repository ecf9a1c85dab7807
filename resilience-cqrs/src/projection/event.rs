//! What happened in a projection.

use resilience_core::event::{Fact, Severity};

use crate::log::Position;

/// What happened in a projection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A batch was committed.
    Applied {
        /// Its events, those parked included.
        events: usize,
        /// Up to where the projection has seen the log.
        position: Position,
    },
    /// An event could not be taken in: its key waits from here on.
    Parked {
        /// The key.
        key: String,
        /// The event.
        position: Position,
        /// Why.
        error: String,
    },
    /// Events of a parked key were taken in.
    Replayed {
        /// The key.
        key: String,
        /// How many.
        events: u64,
    },
    /// The store could not be reached; the runner tries again.
    Retrying {
        /// Why.
        error: String,
    },
    /// Too many events are parked: the projection stands still until some are replayed.
    Blocked {
        /// How many are parked.
        parked: u64,
    },
    /// Another runner has taken the projection over; this one has ended.
    Fenced,
    /// The runner has ended.
    Stopped,
    /// A free partition is ours.
    Taken {
        /// Which.
        partition: u32,
    },
    /// A partition was given to others, who had too few.
    HandedOver {
        /// Which.
        partition: u32,
    },
    /// The lease of a partition was over before it was renewed.
    Lost {
        /// Which.
        partition: u32,
    },
    /// A rebuild has not come nearer to the head for half a minute, be it that as much is appended as it takes in. It goes
    /// on, but does not take over like this.
    Outpaced {
        /// How many events it is behind.
        behind: u64,
        /// Events of the log it gets past in a second, lately.
        rate: f64,
        /// Events appended in a second, lately.
        appended: f64,
    },
    /// Readers are served by this version from now on.
    Serving {
        /// The version that served them before.
        instead_of: Option<String>,
        /// What it has taken in.
        position: Position,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "projection"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Applied { .. } => "applied",
            Self::Parked { .. } => "parked",
            Self::Replayed { .. } => "replayed",
            Self::Retrying { .. } => "retrying",
            Self::Blocked { .. } => "blocked",
            Self::Fenced => "fenced",
            Self::Stopped => "stopped",
            Self::Taken { .. } => "taken",
            Self::HandedOver { .. } => "handed_over",
            Self::Lost { .. } => "lost",
            Self::Outpaced { .. } => "outpaced",
            Self::Serving { .. } => "serving",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Applied { .. } => Severity::Debug,
            Self::Replayed { .. }
            | Self::Stopped
            | Self::Taken { .. }
            | Self::HandedOver { .. }
            | Self::Serving { .. } => Severity::Info,
            Self::Retrying { .. } | Self::Fenced | Self::Lost { .. } | Self::Outpaced { .. } => Severity::Warn,
            Self::Parked { .. } | Self::Blocked { .. } => Severity::Error,
        }
    }
}
