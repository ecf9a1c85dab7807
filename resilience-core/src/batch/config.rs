//! What a batch can be told.

use std::time::Duration;

use super::Batch;
use super::machine::Limits;
use crate::event::{Listeners, Sink};
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Sets up a [`Batch`]; made by [`Batch::builder`].
#[derive(Debug)]
#[must_use]
pub struct BatchBuilder {
    name: Name,
    size: usize,
    weight: u64,
    delay: Duration,
    keys: usize,
    limit: u32,
    dry_run: bool,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

/// What can change while a batch is in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) delay: Duration,
    pub(super) keys: usize,
    pub(super) limit: u32,
    pub(super) dry_run: bool,
}

/// A checked configuration.
pub(super) struct Config {
    pub(super) name: Name,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
}

impl BatchBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("batch"),
            size: 100,
            weight: u64::MAX,
            delay: Duration::from_millis(2),
            keys: 1_000,
            limit: 10_000,
            dry_run: false,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in refusals and events. Default: `batch`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// How many calls make a batch: with these it is sent at once. Default: 100.
    pub fn size(mut self, size: usize) -> Self {
        self.size = size;
        self
    }

    /// How much the requests of a batch may weigh together; what they weigh each says `weigh`. A heavier request has a
    /// batch to itself. Default: any weight.
    pub fn weight(mut self, weight: u64) -> Self {
        self.weight = weight;
        self
    }

    /// How long a batch waits for others after its first call. Default: 2 ms.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Of how many keys batches may be open at once, where calls are grouped; one more sends the oldest on its way before
    /// its time. Default: 1,000.
    pub fn keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }

    /// How many calls may wait at once, for their batch to be sent or to be answered; one more is refused. Default: 10,000.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Counts and tells what the limit would refuse, and refuses nothing. Default: off.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// The clock. Default: tokio's, if the feature `tokio` is on.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener for [`Event`](super::Event)s.
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The batch.
    ///
    /// # Errors
    ///
    /// If `size`, `weight`, `delay`, `keys` or `limit` is zero, or there is no `timer`.
    ///
    /// ```
    /// use resilience_core::batch::Batch;
    ///
    /// let error = Batch::builder().size(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "size must be at least 1");
    /// ```
    pub fn build(self) -> Result<Batch, ConfigError> {
        let settings = self.check()?;
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("batch", &self.name);
        Ok(Batch::new(Config { name: self.name, timer, listeners }, settings))
    }

    /// What can change, if it can work.
    pub(super) fn check(&self) -> Result<Settings, ConfigError> {
        let Self { size, weight, delay, keys, limit, dry_run, .. } = *self;
        let counts = [("size", size == 0), ("weight", weight == 0), ("keys", keys == 0), ("limit", limit == 0)];
        for (field, is_zero) in counts {
            if is_zero {
                return Err(ConfigError::new(field, "must be at least 1"));
            }
        }
        if delay.is_zero() {
            return Err(ConfigError::new("delay", "must be above zero"));
        }
        Ok(Settings { limits: Limits { size, weight }, delay, keys, limit, dry_run })
    }
}
