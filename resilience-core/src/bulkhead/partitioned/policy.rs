//! The partitioned bulkhead users hold.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use super::PartitionedBulkheadBuilder;
use super::config::{Checked, Config};
use super::shared::{OTHERS, Shared};
use crate::bulkhead::config::checked_limit;
use crate::held::Held;
use crate::sync::Arc;
use crate::time::Timestamp;
use crate::{ConfigError, Name, Rejected};

/// A limit on the calls that run at once, of which each key has a share it can always have. Clones share it.
///
/// ```
/// use resilience_core::bulkhead::partitioned::PartitionedBulkhead;
///
/// let routes = PartitionedBulkhead::builder().limit(4).share("/pay", 0.5).share("/search", 0.5).build()?;
/// let searches: Vec<_> = (0..4).map(|_| routes.try_acquire("/search").unwrap()).collect(); // nobody else is there
/// assert!(routes.try_acquire("/search").is_err());
/// let payment = routes.try_acquire("/pay").unwrap(); // promised is promised
/// assert_eq!((routes.snapshot().in_flight, routes.partition("/pay").in_flight), (5, 1));
/// # drop((searches, payment));
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
pub struct PartitionedBulkhead<K> {
    /// Which partition is whose. Never changes.
    keys: Arc<HashMap<K, usize>>,
    pub(super) shared: Arc<Shared>,
}

/// What a partitioned bulkhead looks like at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionedSnapshot {
    /// Calls that may run at once; more only to keep what was promised.
    pub limit: u32,
    /// Permits that are held.
    pub in_flight: u32,
    /// Refusals since it was built.
    pub full: u64,
    /// Calls that would have been refused, in a [dry run](PartitionedBulkheadBuilder::dry_run).
    pub would_reject: u64,
}

/// What the partition of a key looks like at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Calls that can always run at once.
    pub guaranteed: u32,
    /// Permits that are held; more than guaranteed while others leave room.
    pub in_flight: u32,
    /// Refusals since the bulkhead was built.
    pub full: u64,
}

impl<K> PartitionedBulkhead<K> {
    /// Starts to set up a partitioned bulkhead.
    pub fn builder() -> PartitionedBulkheadBuilder<K> {
        PartitionedBulkheadBuilder::new()
    }

    pub(super) fn new(checked: Checked<K>, config: Config) -> Self {
        let Checked { limit, keys, shares, dry_run } = checked;
        Self { keys: Arc::new(keys), shared: Arc::new(Shared::new(limit, &shares, dry_run, config)) }
    }

    /// Changes the limit while calls run, and with it what each key can always have.
    ///
    /// Lowered, it takes nothing from calls that run.
    ///
    /// # Errors
    ///
    /// If `limit` is zero or above 4,194,303, as in the builder.
    pub fn resize(&self, limit: u32) -> Result<(), ConfigError> {
        self.shared.resize(checked_limit(limit)?);
        Ok(())
    }

    /// How it looks now.
    pub fn snapshot(&self) -> PartitionedSnapshot {
        let (limit, in_flight) = self.shared.look(|shares| (shares.limit(), shares.in_flight()));
        let (full, would_reject) = (self.shared.refused(None), self.shared.would_reject());
        PartitionedSnapshot { limit, in_flight, full, would_reject }
    }

    /// How the partition of all keys without a share looks now.
    pub fn others(&self) -> Partition {
        self.at(OTHERS)
    }

    /// The keys that have a share, with how their partitions look now, in no order.
    ///
    /// ```
    /// use resilience_core::bulkhead::partitioned::PartitionedBulkhead;
    ///
    /// let tenants = PartitionedBulkhead::builder().limit(10).share("gold", 0.5).share("silver", 0.25).build()?;
    /// let mut guaranteed: Vec<_> = tenants.partitions().map(|(key, seen)| (*key, seen.guaranteed)).collect();
    /// guaranteed.sort();
    /// assert_eq!(guaranteed, [("gold", 5), ("silver", 3)]);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn partitions(&self) -> impl Iterator<Item = (&K, Partition)> {
        self.keys.iter().map(|(key, at)| (key, self.at(*at)))
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.config().name
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> impl Fn() -> Option<Self> + use<K> {
        let (keys, shared) = (Arc::downgrade(&self.keys), Arc::downgrade(&self.shared));
        move || Some(Self { keys: keys.upgrade()?, shared: shared.upgrade()? })
    }

    fn at(&self, partition: usize) -> Partition {
        let look = |shares: &crate::control::Shares<usize>| {
            (shares.guaranteed(&partition).unwrap_or(0), shares.part_in_flight(&partition))
        };
        let (guaranteed, in_flight) = self.shared.look(look);
        Partition { guaranteed, in_flight, full: self.shared.refused(Some(partition)) }
    }
}

impl<K: Hash + Eq> PartitionedBulkhead<K> {
    /// Takes a slot for a call of `key`'s, if there is one. Never waits.
    ///
    /// # Errors
    ///
    /// [`Reason::Full`](crate::Reason::Full) if the whole is full and `key` has its share.
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<Permit, Rejected>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let partition = self.find(key);
        let since = self.shared.acquire(partition)?;
        Ok(Permit { shared: Held::of(&self.shared), partition, since })
    }

    /// Runs `future` with a permit of `key`'s, without tower, or refuses at once.
    ///
    /// The permit is taken now; it is given back when the answer is there, or when what is returned is dropped.
    ///
    /// ```
    /// use resilience_core::bulkhead::partitioned::PartitionedBulkhead;
    /// use resilience_core::Error;
    ///
    /// # futures::executor::block_on(async {
    /// let tenants = PartitionedBulkhead::builder().limit(1).share(7, 1.0).build()?;
    /// let answer = tenants.call(&7, async { Ok::<_, Error<()>>(tenants.partition(&7).in_flight) }).await;
    /// assert_eq!(answer.unwrap(), 1);
    /// # Ok::<_, resilience_core::ConfigError>(()) }).unwrap();
    /// ```
    #[cfg(feature = "tower")]
    pub fn call<Q, F>(&self, key: &Q, future: F) -> super::ResponseFuture<F>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match self.try_acquire(key) {
            Ok(permit) => super::ResponseFuture::admitted(future, permit),
            Err(rejected) => super::ResponseFuture::refused(rejected),
        }
    }

    /// The bulkhead as a layer; `key` says whose a request is. All services it makes share this bulkhead.
    #[cfg(feature = "tower")]
    pub fn layer<F>(&self, key: F) -> super::PartitionedBulkheadLayer<K, F> {
        super::PartitionedBulkheadLayer::new(self.clone(), key)
    }

    /// Takes over limit, shares and dry run of `builder` while calls run; the rest of it is not looked at.
    ///
    /// # Errors
    ///
    /// As the builder's, and if its keys are not those that have a share now. Nothing has changed then.
    ///
    /// ```
    /// use resilience_core::bulkhead::partitioned::PartitionedBulkhead;
    ///
    /// let tenants = PartitionedBulkhead::builder().limit(10).share("gold", 0.5).build()?;
    /// tenants.reconfigure(PartitionedBulkhead::builder().limit(20).share("gold", 0.75).others(0.25))?;
    /// assert_eq!((tenants.partition("gold").guaranteed, tenants.others().guaranteed), (15, 5));
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, builder: PartitionedBulkheadBuilder<K>) -> Result<(), ConfigError> {
        let Checked { limit, keys, shares, dry_run } = builder.checked()?;
        if keys.len() != self.keys.len() || keys.keys().any(|key| !self.keys.contains_key(key)) {
            return Err(ConfigError::new("shares", "cannot come or go while running, only change"));
        }
        // The same keys, maybe in another order.
        let mut ratios = shares.clone();
        for (key, from) in &keys {
            if let (Some(to), Some(ratio)) = (self.keys.get(key), shares.get(*from)) {
                ratios[*to] = *ratio;
            }
        }
        self.shared.set(limit, &ratios, dry_run);
        Ok(())
    }

    /// How the partition of `key` looks now; that of all [`others`](Self::others) if it has no share.
    pub fn partition<Q>(&self, key: &Q) -> Partition
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.at(self.find(key))
    }

    /// The refusal of a call that came when nobody got in.
    #[cfg(feature = "tower")]
    pub(super) fn refuse(&self, key: &K) -> Rejected {
        let limit = self.shared.look(crate::control::Shares::limit);
        self.shared.refuse(self.find(key), limit)
    }

    fn find<Q>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.keys.get(key).copied().unwrap_or(OTHERS)
    }
}

impl<K> Clone for PartitionedBulkhead<K> {
    fn clone(&self) -> Self {
        Self { keys: self.keys.clone(), shared: self.shared.clone() }
    }
}

impl<K> fmt::Debug for PartitionedBulkhead<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, snapshot) = (self.name(), self.snapshot());
        f.debug_struct("PartitionedBulkhead").field("name", name).field("snapshot", &snapshot).finish()
    }
}

/// A slot in a [`PartitionedBulkhead`]. Dropping it gives the slot back.
#[must_use = "a permit that is dropped at once limits nothing"]
pub struct Permit {
    shared: Held<Shared>,
    partition: usize,
    /// When it was given; the origin if nobody listens.
    since: Timestamp,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.release(self.partition, self.since);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("bulkhead", &self.shared.config().name).finish_non_exhaustive()
    }
}
