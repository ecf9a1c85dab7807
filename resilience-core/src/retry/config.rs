//! Building a retry policy.

use std::time::Duration;

use crate::event::{Listeners, Sink};
use crate::rng::SharedRng;
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

use super::backoff::Backoff;
use super::budget::RetryBudget;
use super::machine::{Hint, Rules};
use super::policy::Retry;

/// Builds a [`Retry`]. The defaults and their reasons are in the [module's table](super#defaults).
#[derive(Clone, Debug)]
#[must_use]
pub struct RetryBuilder {
    name: Name,
    rules: Rules,
    budget: Budget,
    seed: Option<u64>,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

#[derive(Clone, Debug)]
enum Budget {
    Own,
    Shared(RetryBudget),
    Unlimited,
}

impl RetryBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("retry"),
            rules: Rules {
                attempts: 3,
                backoff: Backoff::default(),
                throttled: None,
                hint: Hint::Clamped,
                max_elapsed: None,
            },
            budget: Budget::Own,
            seed: None,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in events and metrics.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// Attempts in all, the first included; at least 1, which switches retries off.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.rules.attempts = attempts;
        self
    }

    /// How long to wait before each retry.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.rules.backoff = backoff;
        self
    }

    /// Another backoff after an answer that says when to come back; the same one unless set.
    ///
    /// A server that asks for less needs more time than a connection that broke: the AWS SDKs start at 50 ms and at 1 s.
    pub fn throttled_backoff(mut self, backoff: Backoff) -> Self {
        self.rules.throttled = Some(backoff);
        self
    }

    /// What to make of the server's wish when to be called again.
    pub fn hint(mut self, hint: Hint) -> Self {
        self.rules.hint = hint;
        self
    }

    /// The longest a call may take here, execution included, for a retry still to be scheduled. No limit unless set:
    /// the request's deadline is the better one, since it holds for all layers together.
    ///
    /// It starts no timer and cuts nothing short; it reads the clock once more for each call.
    pub fn max_elapsed(mut self, longest: Duration) -> Self {
        self.rules.max_elapsed = Some(longest);
        self
    }

    /// The budget to draw on, shared with whoever else holds a clone. Unless set, the policy has one of its own.
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.budget = Budget::Shared(budget);
        self
    }

    /// No budget: a service that is down gets [`attempts`](Self::attempts) times its load. For tests, and for callers
    /// that are few and patient.
    pub fn unlimited(mut self) -> Self {
        self.budget = Budget::Unlimited;
        self
    }

    /// Fixes the sequence of the jitter, for tests and simulations. Drawn from the system's entropy unless set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The clock to wait by; tokio's unless set.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener to the policy's [events](super::Event).
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The policy.
    ///
    /// # Errors
    ///
    /// No attempts, no time, an exponential factor below 1, a first delay above the cap, an empty sequence, a spread
    /// outside of 0 to 1, or no timer in a build without the feature `tokio`.
    pub fn build(self) -> Result<Retry, ConfigError> {
        let Self { name, rules, budget, seed, timer, listeners } = self;
        if rules.attempts == 0 {
            return Err(ConfigError::new("attempts", "must be at least 1: the first attempt counts"));
        }
        if rules.max_elapsed.is_some_and(|longest| longest.is_zero()) {
            return Err(ConfigError::new("max_elapsed", "must be above zero"));
        }
        rules.backoff.check()?;
        rules.throttled.as_ref().map_or(Ok(()), Backoff::check)?;
        let timer = timer.ok_or(ConfigError::new("timer", "must be given without the feature `tokio`"))?;
        let budget = match budget {
            Budget::Own => Some(RetryBudget::builder().name(name.clone()).timer(timer.clone()).build()?),
            Budget::Shared(budget) => Some(budget),
            Budget::Unlimited => None,
        };
        let rng = seed.map_or_else(SharedRng::from_entropy, SharedRng::seeded);
        let listeners = listeners.bound("retry", &name);
        Ok(Retry::new(name, rules, budget, rng, timer, listeners))
    }
}
