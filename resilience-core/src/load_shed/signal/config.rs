//! What shedding by a signal can be told.

use std::time::Duration;

use super::{Signal, SignalShed};
use crate::event::{Listeners, Sink};
use crate::load_shed::order::{Cohort, Order};
use crate::rng::SharedRng;
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Sets up a [`SignalShed`]; made by [`SignalShed::builder`].
#[derive(Debug)]
#[must_use]
pub struct SignalShedBuilder {
    name: Name,
    signal: Signal,
    from: f64,
    most: f64,
    fresh_for: Duration,
    cohort: Cohort,
    dry_run: bool,
    seed: Option<u64>,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

/// A checked configuration.
pub(super) struct Config {
    pub(super) name: Name,
    pub(super) signal: Signal,
    pub(super) order: Order,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
}

/// The part of it that can be changed later.
pub(super) struct Rules {
    pub(super) from: f64,
    pub(super) most: f64,
    pub(super) fresh_for: Duration,
    pub(super) cohort: Cohort,
    pub(super) dry_run: bool,
}

impl SignalShedBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("load_shed"),
            signal: Signal::new(),
            from: 0.8,
            most: 1.0,
            fresh_for: Duration::from_secs(30),
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

    /// What it goes by. Default: a signal of its own, to be had from [`SignalShed::signal`].
    pub fn signal(mut self, signal: Signal) -> Self {
        self.signal = signal;
        self
    }

    /// The signal above which calls are refused, at least 0 and below 1; at 1, [`most`](Self::most) of them are. Default: 0.8,
    /// as kratos' aegis has it for processors. For a signal that is itself the share to refuse: 0.
    pub fn from(mut self, from: f64) -> Self {
        self.from = from;
        self
    }

    /// The highest share of all calls that is refused, at most 1. Default: 1.
    pub fn most(mut self, most: f64) -> Self {
        self.most = most;
        self
    }

    /// How long a signal is believed that is not set again. Default: 30 s, because whoever measures may die at the height of
    /// the overload, and nothing would be let in ever after. `Duration::MAX`: for ever.
    ///
    /// A signal has no clock: the time is counted from the first call that finds the new figure above [`from`](Self::from),
    /// and not from when it was set.
    pub fn fresh_for(mut self, fresh_for: Duration) -> Self {
        self.fresh_for = fresh_for;
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

    /// The clock. Default: tokio's, if the feature `tokio` is on. Read while the signal asks for refusals.
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
    /// If `from` is not at least 0 and below 1, `most` is not between 0 and 1, `fresh_for` is zero, or there is no `timer`.
    ///
    /// ```
    /// use resilience_core::load_shed::SignalShed;
    ///
    /// let error = SignalShed::builder().from(1.0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "from must be at least 0 and below 1");
    /// ```
    pub fn build(self) -> Result<SignalShed, ConfigError> {
        let rules = self.checked()?;
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("load_shed", &self.name);
        let order = Order::new(self.seed.map_or_else(SharedRng::from_entropy, SharedRng::seeded));
        Ok(SignalShed::new(Config { name: self.name, signal: self.signal, order, timer, listeners }, rules))
    }

    /// All that can be changed later.
    pub(super) fn checked(&self) -> Result<Rules, ConfigError> {
        // Written so that NaN is refused too.
        if !(0.0..1.0).contains(&self.from) {
            return Err(ConfigError::new("from", "must be at least 0 and below 1"));
        }
        if !(0.0..=1.0).contains(&self.most) {
            return Err(ConfigError::new("most", "must be between 0 and 1"));
        }
        if self.fresh_for == Duration::ZERO {
            return Err(ConfigError::new("fresh_for", "must be above zero"));
        }
        let Self { from, most, fresh_for, cohort, dry_run, .. } = *self;
        Ok(Rules { from, most, fresh_for, cohort, dry_run })
    }
}
