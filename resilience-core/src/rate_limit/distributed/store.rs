//! Where permits are counted that several nodes share.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::super::machine::{self, Rule};
use crate::sync::{Arc, Mutex, lock};
use crate::time::{SharedTimer, Timestamp};
use crate::{ConfigError, Name};

/// How many permits there are in a time, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// So many permits
    pub permits: u32,
    /// in each such time.
    pub per: Duration,
    /// So many at once, for who took none for a while.
    pub burst: u32,
}

/// What a store gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Permits granted: as many as were wanted, or fewer, or none.
    pub granted: u32,
    /// If none: after how long there would be one, if that is known.
    pub retry_after: Option<Duration>,
}

/// Counts the permits of limits that several nodes share.
///
/// Implement it over what the nodes have in common: a row that is updated in one statement, a script in a cache. All that is
/// asked of it is that permits granted to all nodes together keep within the quota.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::Name;
/// use resilience_core::rate_limit::PermitStore;
/// use resilience_core::rate_limit::distributed::{LocalStore, Quota};
///
/// # futures::executor::block_on(async {
/// # let timer = resilience_core::time::ManualTimer::new();
/// let store = LocalStore::with_timer(timer.clone());
/// let (name, quota) = (Name::from_static("partner"), Quota { permits: 10, per: Duration::from_secs(1), burst: 10 });
/// assert_eq!(store.take(&name, 8, quota).await.unwrap().granted, 8);
/// assert_eq!(store.take(&name, 8, quota).await.unwrap().granted, 2); // what there is
/// let none = store.take(&name, 8, quota).await.unwrap();
/// assert_eq!((none.granted, none.retry_after), (0, Some(Duration::from_millis(100))));
/// # });
/// ```
pub trait PermitStore: Send + Sync + 'static {
    /// Why a store did not answer.
    type Error: Error + Send + Sync + 'static;

    /// Takes up to `wanted` permits of the limit `name`, at least one of them or none at all.
    ///
    /// Dropped before it is done, it may have taken permits that nobody spends. It is dropped when it takes longer than the
    /// limiter's [patience](super::DistributedRateLimiterBuilder::patience).
    fn take(&self, name: &Name, wanted: u32, quota: Quota) -> impl Future<Output = Result<Taken, Self::Error>> + Send;
}

/// The store of one process: limits by their names. Clones are one store.
///
/// The rule is that of [`RateLimiter`](crate::rate_limit::RateLimiter). It remembers each name it was ever asked for: limits
/// have names, and keys have a [`KeyedRateLimiter`](crate::rate_limit::KeyedRateLimiter).
#[derive(Clone)]
pub struct LocalStore {
    timer: Option<SharedTimer>,
    shared: Arc<Shared>,
}

struct Shared {
    /// By name: when the limit is full again, in ticks, and since when ticks are counted.
    limits: Mutex<HashMap<Name, (Timestamp, u64)>>,
}

impl LocalStore {
    /// An empty store on tokio's clock.
    pub fn new() -> Self {
        Self::on(SharedTimer::preset())
    }

    /// An empty store on `timer`'s clock.
    pub fn with_timer(timer: impl Into<SharedTimer>) -> Self {
        Self::on(Some(timer.into()))
    }

    fn on(timer: Option<SharedTimer>) -> Self {
        Self { timer, shared: Arc::new(Shared { limits: Mutex::new(HashMap::new()) }) }
    }

    fn take_now(&self, name: &Name, wanted: u32, quota: Quota) -> Result<Taken, ConfigError> {
        let timer = self.timer.as_ref().ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let rule = Rule::new(quota.permits, quota.per, quota.burst)?;
        let now = timer.now();
        let mut limits = lock(&self.shared.limits);
        let (epoch, full_at) = limits.entry(name.clone()).or_insert((now, 0));
        let ticks = machine::ticks(*epoch, now);
        let available = u32::try_from(rule.available(*full_at, ticks).max(0)).unwrap_or(u32::MAX);
        let granted = wanted.min(available);
        if let Some(place) = rule.place(*full_at, ticks, granted).filter(|_| granted > 0) {
            *full_at = place.end;
            return Ok(Taken { granted, retry_after: None });
        }
        let wait = rule.place(*full_at, ticks, 1).map(|place| machine::duration(place.due.saturating_sub(ticks)));
        Ok(Taken { granted: 0, retry_after: wait })
    }
}

impl PermitStore for LocalStore {
    type Error = Infallible;

    async fn take(&self, name: &Name, wanted: u32, quota: Quota) -> Result<Taken, Infallible> {
        // A quota that cannot work grants nothing; the limiter's builder has refused it before.
        Ok(self.take_now(name, wanted, quota).unwrap_or(Taken { granted: 0, retry_after: None }))
    }
}

impl Default for LocalStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStore").field("limits", &lock(&self.shared.limits).len()).finish_non_exhaustive()
    }
}
