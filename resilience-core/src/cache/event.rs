//! What happens in a cache.

use std::time::Duration;

use crate::event::{Fact, Severity};

/// Something that happened in a [`Cache`](super::Cache), or in the [store](super::write) behind it. Keys are not told:
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
    /// A write to the store behind the cache failed, and is tried again.
    WriteRetried {
        /// The attempts so far.
        attempts: u32,
    },
    /// A write to the store behind the cache failed and is given up: the store is not what callers were told.
    WriteFailed {
        /// The attempts made.
        attempts: u32,
    },
    /// A write was refused because too many wait to be written.
    WriteRejected,
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
            Self::WriteRetried { .. } => "write_retried",
            Self::WriteFailed { .. } => "write_failed",
            Self::WriteRejected => "write_rejected",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::ServedOnError | Self::LoadFailed { .. } | Self::WriteRetried { .. } | Self::WriteRejected => {
                Severity::Warn
            }
            Self::WriteFailed { .. } => Severity::Error,
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
