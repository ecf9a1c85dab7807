//! What happens in a cache.

use std::time::Duration;

use crate::event::{Fact, Severity};

/// Something that happened in a [`Cache`](super::Cache). Keys are not told:
/// they may be somebody's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An answer was served fresh.
    Hit,
    /// An answer would have been served, in a dry run.
    WouldHit,
    /// There was none to serve, and a call was made.
    Missed,
    /// There was none to serve, and somebody else's call was waited for.
    Coalesced,
    /// A stale answer was served while a new one is fetched.
    ServedStale,
    /// A stale answer was served because no new one could be had.
    ServedOnError,
    /// A new answer came.
    Loaded {
        /// After so long.
        took: Duration,
    },
    /// A call for a new answer failed.
    LoadFailed {
        /// After so long.
        took: Duration,
    },
    /// Answers had to go to make room.
    Evicted {
        /// So many.
        entries: usize,
    },
    /// Answers were declared wrong.
    Invalidated {
        /// So many.
        entries: usize,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "cache"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::WouldHit => "would_hit",
            Self::Missed => "missed",
            Self::Coalesced => "coalesced",
            Self::ServedStale => "served_stale",
            Self::ServedOnError => "served_on_error",
            Self::Loaded { .. } => "loaded",
            Self::LoadFailed { .. } => "load_failed",
            Self::Evicted { .. } => "evicted",
            Self::Invalidated { .. } => "invalidated",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::ServedOnError | Self::LoadFailed { .. } => Severity::Warn,
            _ => Severity::Debug,
        }
    }

    fn duration(&self) -> Option<(&'static str, Duration)> {
        match self {
            Self::Loaded { took } | Self::LoadFailed { took } => Some(("load", *took)),
            _ => None,
        }
    }
}
