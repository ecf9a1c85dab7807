//! Who owns what, as engines keep it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::context::FencingToken;
use crate::time::Timestamp;

/// An engine that says who owns what. Its laws are in [`conformance`](super::conformance).
///
/// All time is the engine's own: no clock of an owner is asked whether a lease is over. Futures may be dropped at any
/// point; what was asked may then have happened, and a lease acquired so runs out by itself.
pub trait Leases: Send + Sync {
    /// What can go wrong on the way; a lease that is not to be had is no error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Takes `resource` for `ttl`, if nobody else has it.
    ///
    /// The token is higher than all this resource has had. An owner that already has it gets a new lease with a new
    /// token, for it may have been restarted, and its former self may still run: the lease before is void.
    fn acquire(
        &self,
        resource: &str,
        owner: &str,
        ttl: Duration,
    ) -> impl Future<Output = Result<Acquired, Self::Error>> + Send;

    /// Makes `lease` last for `ttl` from now, with the same token. `None` if it was over, or has a successor: it is
    /// lost.
    fn renew(&self, lease: &Lease, ttl: Duration) -> impl Future<Output = Result<Option<Lease>, Self::Error>> + Send;

    /// Gives `lease` up before its time; whether it still was one. Never takes a successor's.
    fn release(&self, lease: &Lease) -> impl Future<Output = Result<bool, Self::Error>> + Send;
}

/// Ownership of a resource, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    resource: Arc<str>,
    owner: Arc<str>,
    token: FencingToken,
    until: Timestamp,
}

impl Lease {
    /// A lease, as an engine grants it.
    ///
    /// `until` is on the owner's timer and counts from before the engine was asked, so that the owner never believes in
    /// it for longer than the engine does.
    pub fn new(
        resource: impl Into<Arc<str>>,
        owner: impl Into<Arc<str>>,
        token: FencingToken,
        until: Timestamp,
    ) -> Self {
        Self { resource: resource.into(), owner: owner.into(), token, until }
    }

    /// What is owned.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// By whom.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The proof, to be sent along with everything done on the strength of it.
    pub const fn token(&self) -> FencingToken {
        self.token
    }

    /// When it is over, unless it is renewed before.
    pub const fn until(&self) -> Timestamp {
        self.until
    }
}

/// What came of asking for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The resource is ours.
    Granted(Lease),
    /// Somebody else has it.
    Held {
        /// Who, if the engine tells.
        owner: Option<Arc<str>>,
        /// When it is worth asking again, if the engine knows.
        retry_after: Option<Duration>,
    },
}

impl Acquired {
    /// The lease, if it was granted.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::lease::{Acquired, Leases, MemoryLeases};
    /// use resilience_core::time::ManualTimer;
    ///
    /// # futures::executor::block_on(async {
    /// let leases = MemoryLeases::new(ManualTimer::new());
    /// let ttl = Duration::from_secs(10);
    /// let lease = leases.acquire("relay", "node-1", ttl).await?.granted().unwrap();
    /// assert_eq!(lease.owner(), "node-1");
    /// let held = leases.acquire("relay", "node-2", ttl).await?;
    /// assert_eq!(held, Acquired::Held { owner: Some("node-1".into()), retry_after: Some(ttl) });
    /// # Ok::<(), std::convert::Infallible>(())
    /// # }).unwrap();
    /// ```
    pub fn granted(self) -> Option<Lease> {
        match self {
            Self::Granted(lease) => Some(lease),
            Self::Held { .. } => None,
        }
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} owned by {} with token {}", self.resource, self.owner, self.token.get())
    }
}
