//! What is known about a fleet at one moment, and how far it can be trusted.

use std::sync::Arc;

use resilience_core::time::Timestamp;

use crate::{Endpoint, EndpointId};

/// The endpoints of one service at one moment, with where the knowledge comes from. A cheap clone.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::time::Timestamp;
/// use resilience_discovery::{Address, Endpoint, EndpointSet, Rules, Update};
///
/// let start = Timestamp::ORIGIN;
/// let mut set = EndpointSet::new(Rules::default(), start);
/// set.apply(Update::Endpoints(vec![Endpoint::new("a", Address::try_from("10.0.0.7:80")?)]), start);
/// let before = set.snapshot().clone();
///
/// // A failing source changes what the endpoints are worth, not which there are.
/// set.fail(start + Duration::from_secs(5));
/// assert_eq!(set.snapshot().version(), before.version());
/// assert_eq!(set.snapshot().endpoints(), before.endpoints());
/// assert!(set.snapshot().freshness().is_stale() && !before.freshness().is_stale());
/// assert!(before.endpoint("a").is_some() && before.endpoint("b").is_none());
/// # Ok::<(), resilience_discovery::InvalidAddress>(())
/// ```
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
    ///
    /// ```
    /// use resilience_core::time::Timestamp;
    /// use resilience_discovery::{Address, Endpoint, EndpointSet, Rules, Update};
    ///
    /// let fleet = ["a:80", "b:80", "c:80", "d:80"].map(|at| Endpoint::at(Address::try_from(at).unwrap()));
    /// let mut set = EndpointSet::new(Rules::default(), Timestamp::ORIGIN);
    /// set.apply(Update::Endpoints(fleet.to_vec()), Timestamp::ORIGIN);
    ///
    /// // One of four is left: more likely a registry in trouble than three machines gone at once.
    /// set.apply(Update::Endpoints(fleet[..1].to_vec()), Timestamp::ORIGIN);
    /// assert_eq!(set.snapshot().endpoints().len(), 4);
    /// assert_eq!(set.snapshot().suspects().len(), 3);
    /// ```
    pub fn suspects(&self) -> &[EndpointId] {
        &self.suspects
    }
}

/// How far a snapshot can be trusted.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::time::Timestamp;
/// use resilience_discovery::{EndpointSet, Freshness, Rules, Update};
///
/// // "None" from the source and "nothing heard" from nobody are two things.
/// let mut set = EndpointSet::new(Rules::default(), Timestamp::ORIGIN);
/// assert_eq!(set.snapshot().freshness(), Freshness::Stale { since: Timestamp::ORIGIN });
/// set.apply(Update::Endpoints(vec![]), Timestamp::ORIGIN + Duration::from_secs(1));
/// assert_eq!(set.snapshot().freshness(), Freshness::Empty);
/// assert_eq!(set.snapshot().freshness().label(), "empty");
/// ```
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
