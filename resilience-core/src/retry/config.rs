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
///
/// ```
/// use std::time::Duration;
/// use resilience_core::retry::{Backoff, Retry};
///
/// let preset = Retry::builder().build()?;
/// assert_eq!(preset.budget().unwrap().snapshot().available, 100.0); // bounded, though nobody asked
///
/// let error = Retry::builder().attempts(0).build().unwrap_err();
/// assert_eq!(error.to_string(), "attempts must be at least 1: the first attempt counts");
/// let inverted = Backoff::exponential(Duration::from_secs(9), Duration::from_secs(1));
/// assert_eq!(Retry::builder().backoff(inverted).build().unwrap_err().field(), "backoff.base");
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
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
                long_poll: false,
                dry_run: false,
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
    ///
    /// ```
    /// use resilience_core::Error;
    /// use resilience_core::retry::{Backoff, Retry};
    ///
    /// # futures::executor::block_on(async {
    /// let retry = Retry::builder().attempts(3).backoff(Backoff::none()).build()?;
    /// let mut sent = 0;
    /// let answer = retry.run(|_| { sent += 1; async { Err::<(), _>(Error::Service("down")) } }).await;
    /// assert_eq!((answer, sent), (Err(Error::Service("down")), 3)); // three in all, not three more
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
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
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::Error;
    /// use resilience_core::retry::{self, Backoff, Jitter, Reason, Retry};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), resilience_core::ConfigError> {
    /// let second = Backoff::constant(Duration::from_secs(1)).jitter(Jitter::None);
    /// let retry = Retry::builder().attempts(9).backoff(second).max_elapsed(Duration::from_millis(1500)).build()?;
    /// let (_, report) = retry::report(retry.run(async |_| Err::<(), _>(Error::Service("down")))).await;
    /// let report = report.unwrap();
    /// assert_eq!((report.attempts, report.gave_up), (2, Some(Reason::MaxElapsed))); // the next wait would end at 2 s
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_elapsed(mut self, longest: Duration) -> Self {
        self.rules.max_elapsed = Some(longest);
        self
    }

    /// Whether a call that the [budget](Self::budget) lets make no further attempt waits once more before it fails, for as
    /// long as it would have waited before the attempt. Default: no.
    ///
    /// For calls that are made over and over by a loop, such as a queue's long poll: without the wait, the loop would repeat
    /// at once what the budget has just forbidden to repeat. Of the AWS SDKs' standard mode since 2026.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::retry::{Backoff, Jitter, Retry, RetryBudget};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let second = Backoff::constant(Duration::from_secs(1)).jitter(Jitter::None);
    /// let spent = RetryBudget::builder().start(0).build()?;
    /// let retry = Retry::builder().attempts(3).backoff(second).budget(spent).long_poll(true).build()?;
    /// let start = tokio::time::Instant::now();
    /// let answer = retry.run(async |_| Err::<(), _>(resilience_core::Error::Service("down"))).await;
    /// assert!(answer.is_err());
    /// assert_eq!(start.elapsed(), Duration::from_secs(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn long_poll(mut self, waits: bool) -> Self {
        self.rules.long_poll = waits;
        self
    }

    /// The budget to draw on, shared with whoever else holds a clone. Unless set, the policy has one of its own.
    ///
    /// ```
    /// use resilience_core::Error;
    /// use resilience_core::retry::{self, Backoff, Reason, Retry, RetryBudget};
    ///
    /// # futures::executor::block_on(async {
    /// let budget = RetryBudget::builder().reserve(1).build()?;
    /// let policy = || Retry::builder().backoff(Backoff::none()).budget(budget.clone()).build();
    /// let (reads, writes) = (policy()?, policy()?);
    /// let down = async |_| Err::<(), _>(Error::Service("down"));
    /// let (_, report) = retry::report(reads.run(down)).await;
    /// assert_eq!(report.unwrap().attempts, 2); // of three: the second retry was not granted
    /// let (_, report) = retry::report(writes.run(down)).await;
    /// assert_eq!(report.unwrap().gave_up, Some(Reason::Budget)); // what one has used up, the other has not
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
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

    /// Decides, counts and tells, and sends nothing twice; off unless set. What a retry would have taken from the budget
    /// is given back at once.
    ///
    /// A failure for which another attempt is decided goes to the caller, and counts as one
    /// [that would be retried](super::Snapshot::would_retry): over the calls, it is the load that the first of the retries
    /// would add. Whether that would have helped, or others followed, only an attempt could tell.
    ///
    /// ```
    /// use resilience_core::Error;
    /// use resilience_core::retry::{self, Reason, Retry};
    ///
    /// # futures::executor::block_on(async {
    /// let retry = Retry::builder().dry_run(true).build()?;
    /// let mut sent = 0;
    /// let call = retry.run(|_| { sent += 1; async { Err::<(), _>(Error::Service("down")) } });
    /// let (answer, report) = retry::report(call).await;
    /// assert_eq!((answer, sent), (Err(Error::Service("down")), 1));
    /// assert_eq!((report.unwrap().gave_up, retry.snapshot().would_retry), (Some(Reason::DryRun), 1));
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.rules.dry_run = dry_run;
        self
    }

    /// Fixes the sequence of the jitter, for tests and simulations. Drawn from the system's entropy unless set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::retry::{Backoff, Jitter, Retry};
    /// use resilience_core::Error;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), resilience_core::ConfigError> {
    /// let mut waits = Vec::new();
    /// for _ in 0..2 {
    ///     let retry = Retry::builder().seed(7).build()?;
    ///     let start = tokio::time::Instant::now();
    ///     let _ = retry.run(async |_| Err::<(), _>(Error::Service("down"))).await;
    ///     waits.push(start.elapsed());
    /// }
    /// assert_eq!(waits[0], waits[1]);
    /// # Ok(())
    /// # }
    /// ```
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
        let rules = self.checked()?;
        let Self { name, budget, seed, timer, listeners, .. } = self;
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

    /// The rules, if they can work.
    pub(super) fn checked(&self) -> Result<Rules, ConfigError> {
        let rules = &self.rules;
        if rules.attempts == 0 {
            return Err(ConfigError::new("attempts", "must be at least 1: the first attempt counts"));
        }
        if rules.max_elapsed.is_some_and(|longest| longest.is_zero()) {
            return Err(ConfigError::new("max_elapsed", "must be above zero"));
        }
        rules.backoff.check()?;
        rules.throttled.as_ref().map_or(Ok(()), Backoff::check)?;
        Ok(rules.clone())
    }
}
