//! What shedding by queueing time can be told.

use std::time::Duration;

use super::QueueShed;
use crate::context::Criticality;
use crate::event::{Listeners, Sink};
use crate::load_shed::class;
use crate::load_shed::order::{CLASSES, Cohort, Order};
use crate::rng::SharedRng;
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Sets up a [`QueueShed`]; made by [`QueueShed::builder`].
#[derive(Debug)]
#[must_use]
pub struct QueueShedBuilder {
    name: Name,
    target: Duration,
    interval: Duration,
    patience: [f64; CLASSES],
    cohort: Cohort,
    dry_run: bool,
    seed: Option<u64>,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

/// A checked configuration.
pub(super) struct Config {
    pub(super) name: Name,
    pub(super) order: Order,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
}

/// The part of it that can be changed later.
pub(super) struct Rules {
    pub(super) target: Duration,
    pub(super) interval: Duration,
    /// How long a call of each criticality may have waited while the queue stands.
    pub(super) longest: [Duration; CLASSES],
    pub(super) cohort: Cohort,
    pub(super) dry_run: bool,
}

impl QueueShedBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("load_shed"),
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
            patience: [2.0, 4.0, 40.0, 40.0],
            cohort: Cohort::default(),
            dry_run: false,
            seed: None,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in refusals and events. Default: `load_shed`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// What even the luckiest call may wait: longer for a whole interval is overload. Default: 5 ms, CoDel's.
    pub fn target(mut self, target: Duration) -> Self {
        self.target = target;
        self
    }

    /// How long a burst may take to pass, at most an hour. Default: 100 ms, CoDel's; longer than most round trips.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How many times the target a call of a criticality may have waited while the queue stands, from 1 to 1,000. Default: 2
    /// for `Sheddable`, as folly has for all, 4 for `SheddablePlus`, and 40 for what is critical.
    ///
    /// It bounds what is served at all: a call that has waited for longer is refused, however few are.
    pub fn patience(mut self, criticality: Criticality, times: f64) -> Self {
        self.patience[class(criticality)] = times;
        self
    }

    /// By what calls of one criticality are told apart. Default: by chance.
    pub fn cohort(mut self, cohort: Cohort) -> Self {
        self.cohort = cohort;
        self
    }

    /// Makes the same draws in each run. Default: drawn itself.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Decides, counts and tells, and refuses nothing. Default: off.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// The clock. Default: tokio's, if the feature `tokio` is on.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener for [`Event`](crate::load_shed::Event)s.
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The policy.
    ///
    /// # Errors
    ///
    /// If the target is zero or not below the interval, the interval is above an hour, a patience is not from 1 to 1,000 or
    /// below that of less critical calls, or there is no `timer`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::load_shed::QueueShed;
    ///
    /// let error = QueueShed::builder().target(Duration::from_secs(1)).build().unwrap_err();
    /// assert_eq!(error.to_string(), "target must be below interval");
    /// ```
    pub fn build(self) -> Result<QueueShed, ConfigError> {
        let rules = self.checked()?;
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("load_shed", &self.name);
        let order = Order::new(self.seed.map_or_else(SharedRng::from_entropy, SharedRng::seeded));
        Ok(QueueShed::new(Config { name: self.name, order, timer, listeners }, rules))
    }

    /// All that can be changed later.
    pub(super) fn checked(&self) -> Result<Rules, ConfigError> {
        if self.target == Duration::ZERO {
            return Err(ConfigError::new("target", "must be above zero"));
        }
        if self.interval > Duration::from_secs(3_600) {
            return Err(ConfigError::new("interval", "must be at most an hour"));
        }
        if self.target >= self.interval {
            return Err(ConfigError::new("target", "must be below interval"));
        }
        // Written so that NaN is refused too.
        if !self.patience.iter().all(|times| (1.0..=1_000.0).contains(times)) {
            return Err(ConfigError::new("patience", "must be from 1 to 1000"));
        }
        if !self.patience.is_sorted() {
            return Err(ConfigError::new("patience", "must not be below that of less critical calls"));
        }
        let Self { target, interval, patience, cohort, dry_run, .. } = *self;
        Ok(Rules { target, interval, longest: patience.map(|times| target.mul_f64(times)), cohort, dry_run })
    }
}
