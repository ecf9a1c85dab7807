//! Settings of a [`Discovery`], checked once.

use std::time::Duration;

use resilience_core::event::{Listeners, Sink};
use resilience_core::rng::Rng;
use resilience_core::time::SharedTimer;
use resilience_core::{ConfigError, Name};

use super::Rules;
use super::driver::Backoff;
use super::policy::Discovery;
use crate::Source;

/// Settings of a [`Discovery`]; the defaults are in the [module's table](super#defaults).
#[derive(Debug)]
pub struct DiscoveryBuilder {
    name: Name,
    timer: SharedTimer,
    listeners: Listeners,
    rules: Rules,
    backoff: (Duration, Duration),
    seed: Option<u64>,
}

impl DiscoveryBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("discovery"),
            timer: SharedTimer::default(),
            listeners: Listeners::default(),
            rules: Rules::default(),
            backoff: (Duration::from_secs(1), Duration::from_secs(30)),
            seed: None,
        }
    }

    /// The name it goes by in events and metrics: the service that is looked up.
    #[must_use]
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// The clock; tokio's by default.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// Adds a listener for [`Event`](super::Event)s.
    #[must_use]
    pub fn listener(mut self, listener: impl Sink) -> Self {
        self.listeners.add(listener);
        self
    }

    /// Sets all the rules at once.
    ///
    /// ```
    /// use resilience_discovery::{Discovery, Rules, StaticSource};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// // A registry with a quorum of its own: believe it at its first word, however drastic.
    /// let mut rules = Rules::default();
    /// (rules.empty_confirmations, rules.max_shrink) = (1, 1.0);
    /// assert!(Discovery::builder().rules(rules.clone()).build(StaticSource::new([])).is_ok());
    ///
    /// // Checked as a whole where it is used.
    /// rules.empty_confirmations = 0;
    /// assert!(Discovery::builder().rules(rules).build(StaticSource::new([])).is_err());
    /// # }
    /// ```
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// How many statements, over how long, it takes to believe that there are no endpoints; 2 over 30 s by default.
    #[must_use]
    pub fn confirm_empty(mut self, statements: u32, span: Duration) -> Self {
        self.rules.empty_confirmations = statements;
        self.rules.empty_span = span;
        self
    }

    /// The largest share of the endpoints one statement may take away, and how long one that takes away more must be
    /// repeated; 0.5 and 30 s by default. A share of 1.0 switches the guard off.
    #[must_use]
    pub fn max_shrink(mut self, share: f64, span: Duration) -> Self {
        self.rules.max_shrink = share;
        self.rules.shrink_span = span;
        self
    }

    /// How long an endpoint stays after the source stopped naming it; 0 by default.
    #[must_use]
    pub fn removal_grace(mut self, grace: Duration) -> Self {
        self.rules.removal_grace = grace;
        self
    }

    /// How long changes are gathered before they are published together; 100 ms by default.
    #[must_use]
    pub fn debounce(mut self, window: Duration) -> Self {
        self.rules.debounce = window;
        self
    }

    /// How long to wait after a failure of the source: about `first`, doubled with each failure in a row up to `cap`,
    /// less up to half of it at random; 1 s and 30 s by default.
    #[must_use]
    pub fn backoff(mut self, first: Duration, cap: Duration) -> Self {
        self.backoff = (first, cap);
        self
    }

    /// Fixes the randomness of the backoff, for tests; from the operating system by default.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Starts following `source`, in a task of the current tokio runtime that ends with the last handle.
    ///
    /// ```
    /// use resilience_discovery::{Discovery, StaticSource};
    ///
    /// // The task needs a runtime to live in: said now, not found out when the first call has no endpoints.
    /// let error = Discovery::builder().build(StaticSource::new([])).unwrap_err();
    /// assert!(error.to_string().contains("runtime"));
    /// ```
    ///
    /// # Errors
    ///
    /// When a rule cannot work, the first backoff is zero or above its cap, or there is no current tokio runtime.
    pub fn build(self, source: impl Source) -> Result<Discovery, ConfigError> {
        self.rules.validate()?;
        let (first, cap) = self.backoff;
        if first.is_zero() || first > cap {
            return Err(ConfigError::new("backoff", "must be above zero and not above its cap"));
        }
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| ConfigError::new("runtime", "must be a tokio runtime: build inside of one"))?;
        let rng = self.seed.map_or_else(Rng::from_entropy, Rng::seeded);
        let listeners = self.listeners.bound("discovery", &self.name);
        let backoff = Backoff::new(first, cap, rng);
        Ok(Discovery::start(&runtime, self.name, self.timer, listeners, self.rules, backoff, source))
    }
}
