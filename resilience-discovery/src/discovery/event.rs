//! What happens to the knowledge about a fleet.

use std::sync::Arc;
use std::time::Duration;

use resilience_core::event::{Fact, Severity};

use crate::{Changes, SourceError};

/// A fact of discovery.
///
/// ```
/// use std::sync::mpsc::{Sender, channel};
/// use resilience_core::event::{self, Sink};
/// use resilience_discovery::{Address, Discovery, Endpoint, StaticSource, discovery::Event};
///
/// struct Sizes(Sender<usize>);
///
/// impl Sink for Sizes {
///     fn on_event(&self, event: &event::Event<'_>) {
///         if let Some(Event::Updated { endpoints, .. }) = event.fact::<Event>() {
///             let _ = self.0.send(*endpoints);
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (sizes, heard) = channel();
/// let fleet = StaticSource::new([Endpoint::at(Address::try_from("10.0.0.7:80")?)]);
/// let discovery = Discovery::builder().listener(Sizes(sizes)).build(fleet)?;
/// discovery.first().await;
/// assert_eq!(heard.try_recv()?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Endpoints were added, removed or changed.
    Updated {
        /// The snapshot's version from now on.
        version: u64,
        /// How many endpoints are in use now.
        endpoints: usize,
        /// What changed.
        changes: Changes,
    },
    /// The source failed; it is tried again, and what is known stays in use.
    SourceFailed {
        /// Why.
        error: Arc<SourceError>,
        /// How many times in a row.
        failures: u32,
        /// How long until it is tried again.
        retry_in: Duration,
    },
    /// The endpoints in use are not backed by the source any more.
    Stale {
        /// How many are in use all the same.
        endpoints: usize,
    },
    /// The source backs the endpoints in use again.
    Recovered {
        /// How long it did not.
        stale_for: Duration,
    },
    /// The source takes away so much that it must confirm it first.
    Withheld {
        /// How many endpoints are kept against its word.
        kept: usize,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "discovery"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Updated { .. } => "updated",
            Self::SourceFailed { .. } => "source_failed",
            Self::Stale { .. } => "stale",
            Self::Recovered { .. } => "recovered",
            Self::Withheld { .. } => "withheld",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Updated { .. } | Self::Recovered { .. } => Severity::Info,
            Self::SourceFailed { .. } | Self::Stale { .. } | Self::Withheld { .. } => Severity::Warn,
        }
    }

    fn duration(&self) -> Option<(&'static str, Duration)> {
        match self {
            Self::Recovered { stale_for } => Some(("stale", *stale_for)),
            _ => None,
        }
    }

    fn state(&self) -> Option<(&'static str, &'static [&'static str])> {
        const STATES: &[&str] = &["live", "stale"];
        match self {
            Self::Stale { .. } => Some(("stale", STATES)),
            Self::Recovered { .. } => Some(("live", STATES)),
            _ => None,
        }
    }
}
