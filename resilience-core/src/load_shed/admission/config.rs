//! What admission control can be told.

use std::time::Duration;

use super::AdmissionControl;
use crate::control::Throttle;
use crate::event::{Listeners, Sink};
use crate::load_shed::order::{Cohort, Order};
use crate::rng::SharedRng;
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Sets up an [`AdmissionControl`]; made by [`AdmissionControl::builder`].
#[derive(Debug)]
#[must_use]
pub struct AdmissionControlBuilder {
    name: Name,
    success_rate: f64,
    aggression: f64,
    min_rate: f64,
    most: f64,
    window: Duration,
    cohort: Cohort,
    dry_run: bool,
    seed: Option<u64>,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

/// A checked configuration.
pub(super) struct Config {
    pub(super) name: Name,
    pub(super) window: Duration,
    pub(super) order: Order,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
}

/// The part of it that can be changed later.
pub(super) struct Rules {
    pub(super) rule: Throttle,
    /// Calls that are the least rate over the window.
    pub(super) min_calls: f64,
    pub(super) cohort: Cohort,
    pub(super) dry_run: bool,
}

impl AdmissionControlBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("load_shed"),
            success_rate: 0.95,
            aggression: 1.0,
            min_rate: 5.0,
            most: 0.8,
            window: Duration::from_secs(30),
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

    /// The share of successes that is fine, above 0 and at most 1: below, calls are refused. Default: 0.95.
    pub fn success_rate(mut self, success_rate: f64) -> Self {
        self.success_rate = success_rate;
        self
    }

    /// Above 1, refusal sets in earlier and rises more gently: the probability is taken to the power of `1 / aggression`.
    /// Default: 1.
    pub fn aggression(mut self, aggression: f64) -> Self {
        self.aggression = aggression;
        self
    }

    /// Calls a second below which nothing is refused. Default: 5, as two failures of three calls are chance.
    pub fn min_rate(mut self, min_rate: f64) -> Self {
        self.min_rate = min_rate;
        self
    }

    /// The highest share of all calls that is refused, at most 1. Default: 0.8; what still goes through shows when the
    /// service is well again.
    pub fn most(mut self, most: f64) -> Self {
        self.most = most;
        self
    }

    /// How long calls count. Default: 30 s.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// By what calls of one criticality are told apart. Default: by chance.
    pub fn cohort(mut self, cohort: Cohort) -> Self {
        self.cohort = cohort;
        self
    }

    /// Decides, counts and tells, and refuses nothing. Default: off.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Makes the same draws in each run. Default: drawn itself.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
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
    /// If a share is not within its bounds, `aggression` or `min_rate` is not a number above or at least zero, the window
    /// is below 1 ms, or there is no `timer`.
    ///
    /// ```
    /// use resilience_core::load_shed::AdmissionControl;
    ///
    /// let error = AdmissionControl::builder().success_rate(95.0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "success_rate must be above 0 and at most 1");
    /// ```
    pub fn build(self) -> Result<AdmissionControl, ConfigError> {
        let (window, rules) = self.checked()?;
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("load_shed", &self.name);
        let order = Order::new(self.seed.map_or_else(SharedRng::from_entropy, SharedRng::seeded));
        Ok(AdmissionControl::new(Config { name: self.name, window, order, timer, listeners }, rules))
    }

    /// The window, and all that can be changed later.
    pub(super) fn checked(&self) -> Result<(Duration, Rules), ConfigError> {
        // Written so that NaN is refused too.
        if !(self.success_rate > 0.0 && self.success_rate <= 1.0) {
            return Err(ConfigError::new("success_rate", "must be above 0 and at most 1"));
        }
        if !(self.aggression > 0.0 && self.aggression.is_finite()) {
            return Err(ConfigError::new("aggression", "must be a number above zero"));
        }
        if !(self.min_rate >= 0.0 && self.min_rate.is_finite()) {
            return Err(ConfigError::new("min_rate", "must be a number at least zero"));
        }
        if !(0.0..=1.0).contains(&self.most) {
            return Err(ConfigError::new("most", "must be between 0 and 1"));
        }
        if self.window < Duration::from_millis(1) {
            return Err(ConfigError::new("window", "must be at least 1 ms"));
        }
        let Self { aggression, most, window, cohort, dry_run, .. } = *self;
        let rule = Throttle { k: 1.0 / self.success_rate, aggression, most, ..Throttle::ENVOY };
        Ok((window, Rules { rule, min_calls: self.min_rate * window.as_secs_f64(), cohort, dry_run }))
    }
}
