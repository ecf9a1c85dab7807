//! Building a hedge.

use crate::event::{Listeners, Sink};
use crate::retry::RetryBudget;
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

use super::delay::Delay;
use super::policy::Hedge;

/// The most attempts a call may have: each is one more beside all the others.
const MOST_ATTEMPTS: u32 = 10;

/// Builds a [`Hedge`]. The defaults and their reasons are in the [module's table](super#defaults).
///
/// ```
/// use std::time::Duration;
/// use resilience_core::hedge::{Hedge, Quantile};
///
/// let preset = Hedge::builder().build()?;
/// assert_eq!((preset.attempts(), preset.snapshot().delay), (2, None)); // it has yet to learn when to hedge
///
/// let error = Hedge::builder().attempts(0).build().unwrap_err();
/// assert_eq!(error.to_string(), "attempts must be between 1 and 10: the primary counts");
/// let error = Hedge::builder().delay(Quantile::new(f64::NAN)).build().unwrap_err();
/// assert_eq!(error.field(), "delay.quantile");
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct HedgeBuilder {
    name: Name,
    attempts: Option<u32>,
    delay: Delay,
    budget: Budget,
    dry_run: bool,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

#[derive(Clone, Debug)]
enum Budget {
    Own,
    Shared(RetryBudget),
    Unlimited,
}

/// What a policy is configured with, as far as decisions need it.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) attempts: u32,
    pub(super) delay: Delay,
    pub(super) dry_run: bool,
}

impl HedgeBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("hedge"),
            attempts: None,
            delay: Delay::default(),
            budget: Budget::Own,
            dry_run: false,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in events and metrics.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// Attempts in all, the primary included, from 1, which switches hedging off, to 10. Unless set, 2, or what a
    /// [schedule](Delay::Schedule) has delays for.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// How long an attempt may take before the next one joins it: a `Duration`, a list of them, or a
    /// [`Quantile`](super::Quantile).
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::{Error, hedge::Hedge};
    /// use tokio::time::{Instant, sleep};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # #[allow(clippy::disallowed_methods)] // A service that takes its time.
    /// # async fn main() -> Result<(), resilience_core::ConfigError> {
    /// let hedge = Hedge::builder().delay(Duration::from_millis(50)).build()?;
    /// let start = Instant::now();
    /// let answer = hedge.run(async |attempt| {
    ///     sleep(Duration::from_millis(if attempt == 1 { 900 } else { 20 })).await;
    ///     Ok::<_, Error<()>>(attempt)
    /// });
    /// assert_eq!(answer.await, Ok(2));
    /// assert_eq!(start.elapsed().as_millis(), 70);
    /// # Ok(())
    /// # }
    /// ```
    pub fn delay(mut self, delay: impl Into<Delay>) -> Self {
        self.delay = delay.into();
        self
    }

    /// The budget to draw on, shared with whoever else holds a clone: a retry of the same calls, above all. Unless set,
    /// the policy has one of its own: a hedge for ten calls, ten saved up.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::hedge::Hedge;
    /// use resilience_core::retry::{Retry, RetryBudget};
    ///
    /// let budget = RetryBudget::builder().ratio(0.1).reserve(10).build()?;
    /// let hedge = Hedge::builder().budget(budget.clone()).build()?;
    /// let retry = Retry::builder().budget(budget).build()?; // one call in ten is repeated, for whichever reason
    /// # let _ = (hedge, retry);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.budget = Budget::Shared(budget);
        self
    }

    /// No budget: a service that is slow as a whole gets [`attempts`](Self::attempts) times its load. For tests, and
    /// for callers that are few.
    pub fn unlimited(mut self) -> Self {
        self.budget = Budget::Unlimited;
        self
    }

    /// Decides, counts and tells, and launches nothing; off unless set. What a hedge would have taken from the budget
    /// is given back at once.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// The clock to measure and wait by; tokio's unless set.
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
    /// Attempts outside of 1 to 10, a schedule that is empty or longer than the attempts, figures of a quantile that
    /// cannot work, or no timer in a build without the feature `tokio`.
    pub fn build(self) -> Result<Hedge, ConfigError> {
        let rules = self.checked()?;
        let Self { name, budget, timer, listeners, .. } = self;
        let timer = timer.ok_or(ConfigError::new("timer", "must be given without the feature `tokio`"))?;
        let budget = match budget {
            Budget::Own => {
                // Twice what a hedge at the 95th percentile needs while all is well, and no more when nothing is.
                let own = RetryBudget::builder().ratio(0.1).reserve(10);
                Some(own.name(name.clone()).timer(timer.clone()).build()?)
            }
            Budget::Shared(budget) => Some(budget),
            Budget::Unlimited => None,
        };
        let listeners = listeners.bound("hedge", &name);
        Ok(Hedge::new(name, rules, budget, timer, listeners))
    }

    /// The attempts that were set, or those there are unless they are set.
    pub(crate) fn attempts_in_all(&self) -> u32 {
        self.attempts.or(self.delay.attempts()).unwrap_or(2)
    }

    /// The rules, if they can work.
    pub(super) fn checked(&self) -> Result<Rules, ConfigError> {
        let attempts = self.attempts_in_all();
        if !(1..=MOST_ATTEMPTS).contains(&attempts) {
            return Err(ConfigError::new("attempts", "must be between 1 and 10: the primary counts"));
        }
        self.delay.check(attempts)?;
        Ok(Rules { attempts, delay: self.delay.clone(), dry_run: self.dry_run })
    }
}
