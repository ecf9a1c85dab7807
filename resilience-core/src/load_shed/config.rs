//! What a throttle can be told.

use std::time::Duration;

use super::ClientThrottle;
use crate::control::Throttle;
use crate::event::{Listeners, Sink};
use crate::rng::SharedRng;
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// Sets up a [`ClientThrottle`]; made by [`ClientThrottle::builder`].
#[derive(Debug)]
#[must_use]
pub struct ClientThrottleBuilder {
    name: Name,
    rule: Throttle,
    window: Duration,
    dry_run: bool,
    rng: Option<SharedRng>,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

/// A checked configuration.
pub(super) struct Config {
    pub(super) name: Name,
    pub(super) window: Duration,
    pub(super) rng: SharedRng,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
}

/// The part of it that can be changed later.
pub(super) struct Rules {
    pub(super) rule: Throttle,
    pub(super) dry_run: bool,
}

impl ClientThrottleBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("load_shed"),
            rule: Throttle::SRE,
            window: Duration::from_secs(120),
            dry_run: false,
            rng: None,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in refusals and events. Default: `load_shed`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// How refusals follow from what is accepted. Default: [`Throttle::SRE`].
    pub fn rule(mut self, rule: Throttle) -> Self {
        self.rule = rule;
        self
    }

    /// How long calls count. Default: 2 min.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Decides, counts and tells, and refuses nothing. Default: off.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Makes the same draws in each run. Default: drawn itself.
    pub fn seed(mut self, seed: u64) -> Self {
        self.rng = Some(SharedRng::seeded(seed));
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

    /// The throttle.
    ///
    /// # Errors
    ///
    /// If the window is below 1 ms, a figure of the rule is not a number at least zero, its `k` or `aggression` is zero,
    /// its `most` is above 1, or there is no `timer`.
    ///
    /// ```
    /// use resilience_core::control::Throttle;
    /// use resilience_core::load_shed::ClientThrottle;
    ///
    /// let error = ClientThrottle::builder().rule(Throttle { k: f64::NAN, ..Throttle::SRE }).build().unwrap_err();
    /// assert_eq!(error.to_string(), "rule.k must be a number above zero");
    /// ```
    pub fn build(self) -> Result<ClientThrottle, ConfigError> {
        let (window, rules) = self.checked()?;
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("load_shed", &self.name);
        let rng = self.rng.unwrap_or_else(SharedRng::from_entropy);
        Ok(ClientThrottle::new(Config { name: self.name, window, rng, timer, listeners }, rules))
    }

    /// The window, and all that can be changed later.
    pub(super) fn checked(&self) -> Result<(Duration, Rules), ConfigError> {
        // Written so that NaN is refused too.
        let above_zero = |figure: f64| figure > 0.0 && figure.is_finite();
        if !above_zero(self.rule.k) {
            return Err(ConfigError::new("rule.k", "must be a number above zero"));
        }
        if !above_zero(self.rule.aggression) {
            return Err(ConfigError::new("rule.aggression", "must be a number above zero"));
        }
        if !(self.rule.pad >= 0.0 && self.rule.pad.is_finite()) {
            return Err(ConfigError::new("rule.pad", "must be a number at least zero"));
        }
        if !(0.0..=1.0).contains(&self.rule.most) {
            return Err(ConfigError::new("rule.most", "must be between 0 and 1"));
        }
        if self.window < Duration::from_millis(1) {
            return Err(ConfigError::new("window", "must be at least 1 ms"));
        }
        Ok((self.window, Rules { rule: self.rule, dry_run: self.dry_run }))
    }
}
