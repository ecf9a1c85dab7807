//! What is known about a fleet at one moment, and how far it can be trusted.

use std::sync::Arc;

use resilience_core::time::Timestamp;

use crate::{Endpoint, EndpointId};

/// The endpoints of one service at one moment, with where the knowledge comes from. A cheap clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) version: u64,
    pub(crate) endpoints: Arc<[Endpoint]>,
    pub(crate) freshness: Freshness,
    pub(crate) suspects: Arc<[EndpointId]>,
}

impl Snapshot {
    /// What is known before a source has said anything at `now`: nothing, and that is stale.
    pub(crate) fn unheard(now: Timestamp) -> Self {
        Self { version: 0, endpoints: Arc::new([]), freshness: Freshness::Stale { since: now }, suspects: Arc::new([]) }
    }

    /// Grows with each change of the endpoints; a change of freshness alone keeps it. 0 before the first statement.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The endpoints, ordered by identity.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The endpoint with this identity.
    pub fn endpoint(&self, id: &str) -> Option<&Endpoint> {
        let found = self.endpoints.binary_search_by(|endpoint| endpoint.id().as_str().cmp(id));
        found.ok().map(|index| &self.endpoints[index])
    }

    /// How far the endpoints can be trusted.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Those the source no longer names, but in a way that is not believed yet; ordered by identity.
    ///
    /// They are among [`endpoints`](Self::endpoints) until the source has confirmed itself.
    pub fn suspects(&self) -> &[EndpointId] {
        &self.suspects
    }
}

/// How far a snapshot can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// The source stands by these endpoints.
    Live,
    /// The last good endpoints: the source failed, was never heard, or makes a claim that is not believed yet.
    Stale {
        /// When it failed, was first waited for, or first made that claim.
        since: Timestamp,
    },
    /// The source says, with authority, that there are none.
    Empty,
}

impl Freshness {
    /// Whether these endpoints outlived the source's word for them.
    pub fn is_stale(self) -> bool {
        matches!(self, Self::Stale { .. })
    }

    /// The freshness as a label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale { .. } => "stale",
            Self::Empty => "empty",
        }
    }
}
