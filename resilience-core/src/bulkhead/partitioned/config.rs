//! What a partitioned bulkhead can be told.

use std::collections::HashMap;
use std::hash::Hash;

use super::PartitionedBulkhead;
use crate::bulkhead::config::checked_limit;
use crate::event::{Listeners, Sink};
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Sets up a [`PartitionedBulkhead`]; made by [`PartitionedBulkhead::builder`].
///
/// ```
/// use resilience_core::bulkhead::partitioned::PartitionedBulkhead;
///
/// let builder = PartitionedBulkhead::builder().limit(10).share("gold", 0.7).share("silver", 0.7);
/// assert_eq!(builder.build().unwrap_err().to_string(), "shares must add up to at most 1 with all others");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct PartitionedBulkheadBuilder<K> {
    name: Name,
    limit: Option<u32>,
    shares: Vec<(K, f64)>,
    others: f64,
    dry_run: bool,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

/// A checked configuration.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) name: Name,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
}

/// The part of it that may change while calls run. The first share is that of all keys that have none.
#[derive(Debug)]
pub(super) struct Checked<K> {
    pub(super) limit: u32,
    pub(super) keys: HashMap<K, usize>,
    pub(super) shares: Vec<f64>,
    pub(super) dry_run: bool,
}

/// What is left of 1 after ratios that add up to it.
const ROUNDING: f64 = 1e-9;

impl<K> PartitionedBulkheadBuilder<K> {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("bulkhead"),
            limit: None,
            shares: Vec::new(),
            others: 0.0,
            dry_run: false,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in refusals and events. Default: `bulkhead`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// Calls that may run at once, from 1 to 4,194,303; more only to keep what was promised. Has no default.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// A key, and the part of the limit it can always have: above 0 and at most 1, rounded up to whole slots.
    pub fn share(mut self, key: K, ratio: f64) -> Self {
        self.shares.push((key, ratio));
        self
    }

    /// The part of the limit that all other keys can always have together. Default: 0, they get what is free.
    pub fn others(mut self, ratio: f64) -> Self {
        self.others = ratio;
        self
    }

    /// Tries the limit out: decides, counts and tells whom it would refuse, and lets every call pass. Default: off.
    ///
    /// ```
    /// use resilience_core::bulkhead::partitioned::PartitionedBulkhead;
    ///
    /// let tenants = PartitionedBulkhead::builder().limit(1).share("gold", 1.0).dry_run(true).build()?;
    /// let running: Vec<_> = (0..3).map(|_| tenants.try_acquire("gold").unwrap()).collect();
    /// let seen = tenants.snapshot();
    /// assert_eq!((seen.in_flight, seen.would_reject, seen.full), (3, 2, 0));
    /// # drop(running);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// The clock. Default: tokio's, if the feature `tokio` is on. Read only for listeners.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener for [`Event`](crate::bulkhead::Event)s.
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }
}

impl<K: Hash + Eq> PartitionedBulkheadBuilder<K> {
    /// The bulkhead.
    ///
    /// # Errors
    ///
    /// If `limit` is missing, zero or too high, no `share` is given, one is not above 0 and at most 1 or given twice, all
    /// of them with `others` add up to more than 1, or there is no `timer`.
    pub fn build(self) -> Result<PartitionedBulkhead<K>, ConfigError> {
        let missing = ConfigError::new("timer", "must be set without the feature `tokio`");
        let timer = self.timer.clone().ok_or(missing);
        let listeners = self.listeners.clone();
        let name = self.name.clone();
        let checked = self.checked()?;
        let listeners = listeners.bound("bulkhead", &name);
        Ok(PartitionedBulkhead::new(checked, Config { name, timer: timer?, listeners }))
    }

    pub(super) fn checked(self) -> Result<Checked<K>, ConfigError> {
        let limit = checked_limit(self.limit.ok_or(ConfigError::new("limit", "must be set"))?)?;
        if !(0.0..=1.0).contains(&self.others) {
            return Err(ConfigError::new("others", "must be from 0 to 1"));
        }
        if self.shares.is_empty() {
            return Err(ConfigError::new("shares", "must be given for at least one key"));
        }
        let (mut keys, mut shares) = (HashMap::with_capacity(self.shares.len()), vec![self.others]);
        for (key, ratio) in self.shares {
            if !(ratio > 0.0 && ratio <= 1.0) {
                return Err(ConfigError::new("shares", "must be above 0 and at most 1"));
            }
            if keys.insert(key, shares.len()).is_some() {
                return Err(ConfigError::new("shares", "must be given once for each key"));
            }
            shares.push(ratio);
        }
        if shares.iter().sum::<f64>() > 1.0 + ROUNDING {
            return Err(ConfigError::new("shares", "must add up to at most 1 with all others"));
        }
        Ok(Checked { limit, keys, shares, dry_run: self.dry_run })
    }
}
