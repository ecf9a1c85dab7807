//! How long a circuit stays open, and how it comes back.

use std::sync::Arc;
use std::time::Duration;

use super::CircuitBreakerBuilder;
use crate::circuit_breaker::exact::Target;
use crate::circuit_breaker::state::Opening;
use crate::circuit_breaker::wait::Generator;

impl CircuitBreakerBuilder {
    /// How long the circuit stays open before it probes. Default: 5 s.
    pub fn open_for(mut self, wait: Duration) -> Self {
        self.open_for = wait;
        self
    }

    /// By how much each wait is longer than the one before, without a lasting recovery between. Default: 1, not at all.
    ///
    /// A recovery lasts if the circuit then stays closed for as long as it was open before. No wait is longer than
    /// [`open_at_most`](Self::open_at_most).
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::Class::Failure;
    /// use resilience_core::circuit_breaker::CircuitBreaker;
    /// use resilience_core::time::ManualTimer;
    ///
    /// let timer = ManualTimer::new();
    /// let breaker = CircuitBreaker::builder()
    ///     .consecutive_failures(1).probes(1)
    ///     .open_for(Duration::from_secs(5)).open_factor(2.0)
    ///     .timer(timer.clone()).build()?;
    /// for expected in [5, 10, 20] {
    ///     breaker.try_acquire().unwrap().settle(Failure);
    ///     assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(Duration::from_secs(expected)));
    ///     timer.advance(Duration::from_secs(expected));
    /// }
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn open_factor(mut self, factor: f64) -> Self {
        self.open_factor = factor;
        self
    }

    /// The longest wait, whoever asks for it: factor, rule or server. Default: a minute, or
    /// [`open_for`](Self::open_for) if that is longer.
    pub fn open_at_most(mut self, wait: Duration) -> Self {
        self.open_at_most = Some(wait);
        self
    }

    /// The share of each wait that is drawn at random: 0.5 waits between half of it and all of it. Default: 0.
    ///
    /// Where many processes watch one dependency, so that they do not all probe it in the same moment.
    pub fn open_jitter(mut self, share: f64) -> Self {
        self.open_jitter = share;
        self
    }

    /// Whether a server that says when to come back is believed: the circuit its answer opens stays open at least as
    /// long, up to [`open_at_most`](Self::open_at_most). Default: yes.
    pub fn honour_hints(mut self, honour: bool) -> Self {
        self.hints = honour;
        self
    }

    /// Asks `wait` how long, each time the circuit opens, instead of [`open_for`](Self::open_for).
    ///
    /// Bounded and drawn as the built-in waits are. It is asked outside of every lock, right after the circuit has opened;
    /// should it panic, the built-in rule stands in.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::Class::Failure;
    /// use resilience_core::circuit_breaker::CircuitBreaker;
    ///
    /// let breaker = CircuitBreaker::builder()
    ///     .consecutive_failures(1)
    ///     .open_for_each(|opening| Duration::from_secs(1 + u64::from(opening.attempt)))
    ///     .build()?;
    /// breaker.try_acquire().unwrap().settle(Failure);
    /// assert!(breaker.try_acquire().unwrap_err().retry_after() <= Some(Duration::from_secs(1)));
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn open_for_each(mut self, wait: impl Fn(&Opening) -> Duration + Send + Sync + 'static) -> Self {
        self.generator = Some(Generator(Arc::new(wait)));
        self
    }

    /// How many calls a half-open circuit lets pass, all in all, to reach its verdict. Default: 3.
    ///
    /// More than one, so that one lucky or unlucky answer does not decide.
    pub fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// The share of probes whose failure opens the circuit again. Default: 0.5.
    ///
    /// The verdict falls as soon as the remaining probes cannot change it.
    pub fn probe_failure_rate(mut self, ratio: f64) -> Self {
        self.probe_failure_rate = ratio;
        self.probe_successes = None;
        self
    }

    /// How many of the [probes](Self::probes) must succeed, instead of a share that may fail.
    ///
    /// As many as there are probes: one failure opens the circuit again. The verdict falls as soon as the rest cannot
    /// change it.
    pub fn probe_successes(mut self, successes: u32) -> Self {
        self.probe_successes = Some(successes);
        self
    }

    /// Lets the traffic come back by stages after the probes went well: first this share of the calls for `stage`, then
    /// the next. Default: all at once.
    ///
    /// What has just come back is cold, and all of the traffic at once may bring it down again. The circuit stays
    /// half-open meanwhile and refuses the rest. A stage that goes badly (as many answers as there are
    /// [probes](Self::probes), and [too many](Self::probe_failure_rate) of them failures) falls back by one, and the first
    /// one opens the circuit. Which calls pass is not drawn: a share of 0.25 is every fourth.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::Class::Success;
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State};
    /// use resilience_core::time::ManualTimer;
    ///
    /// let timer = ManualTimer::new();
    /// let breaker = CircuitBreaker::builder()
    ///     .probes(1)
    ///     .ramp([0.25, 0.5], Duration::from_secs(10))
    ///     .timer(timer.clone())
    ///     .build()?;
    /// breaker.open_for(Duration::from_secs(1));
    /// timer.advance(Duration::from_secs(1));
    /// breaker.try_acquire().unwrap().settle(Success); // the probe
    /// let passed = |calls| (0..calls).filter_map(|_| breaker.try_acquire().ok()).map(|it| it.settle(Success)).count();
    /// assert_eq!(passed(40), 10);
    /// timer.advance(Duration::from_secs(10));
    /// assert_eq!(passed(40), 20);
    /// timer.advance(Duration::from_secs(10));
    /// assert_eq!(passed(40), 40);
    /// assert_eq!(breaker.state(), State::Closed);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn ramp(mut self, shares: impl IntoIterator<Item = f64>, stage: Duration) -> Self {
        self.ramp = shares.into_iter().collect();
        self.ramp_stage = stage;
        self
    }

    /// How long probes may take to decide before the circuit opens again. Default: 10 s.
    ///
    /// Always finite in effect: without it one hung probe would keep the circuit half-open for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State};
    /// use resilience_core::time::ManualTimer;
    ///
    /// let timer = ManualTimer::new();
    /// let breaker = CircuitBreaker::builder().half_open_for(Duration::from_secs(10)).timer(timer.clone()).build()?;
    /// breaker.open_for(Duration::from_secs(5));
    /// timer.advance(Duration::from_secs(5));
    /// let hangs = breaker.try_acquire().unwrap();
    /// assert!(hangs.is_probe());
    /// timer.advance(Duration::from_secs(10));
    /// assert!(breaker.try_acquire().is_err());
    /// assert_eq!(breaker.state(), State::Open);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn half_open_for(mut self, limit: Duration) -> Self {
        self.half_open_for = limit;
        self
    }

    /// Where the circuit goes when its probes have not decided [in time](Self::half_open_for). Default:
    /// [`Target::Open`].
    pub fn undecided(mut self, target: Target) -> Self {
        self.undecided = target;
        self
    }
}
