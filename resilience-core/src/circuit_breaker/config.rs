//! What a breaker is built from.

use std::num::NonZeroU32;
use std::time::Duration;

use super::machine::{MOST_CONSECUTIVE, Rules};
use super::policy::CircuitBreaker;
use crate::event::{Listeners, Sink};
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// What opens the circuit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trip {
    Consecutive(u32),
    Rate { ratio: f64, window: Duration, minimum: u64 },
}

/// What a call counts as whose caller gave it up before the answer came: a dropped future, an outer timeout.
///
/// ```
/// use resilience_core::circuit_breaker::{Abandoned, CircuitBreaker, State};
/// use resilience_core::Class;
///
/// let breaker = || CircuitBreaker::builder().consecutive_failures(2);
/// let hung = breaker().build()?;
/// (0..2).for_each(|_| drop(hung.try_acquire())); // nobody waits for the answers, and none comes
/// assert_eq!(hung.state(), State::Open);
///
/// let alive = breaker().build()?;
/// alive.try_acquire().unwrap().settle(Class::Failure); // an answer, if a bad one
/// (0..2).for_each(|_| drop(alive.try_acquire()));
/// assert_eq!(alive.state(), State::Closed);
///
/// let strict = breaker().abandoned(Abandoned::Failure).build()?;
/// strict.try_acquire().unwrap().settle(Class::Failure);
/// drop(strict.try_acquire());
/// assert_eq!(strict.state(), State::Open);
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Abandoned {
    /// As nothing.
    Ignore,
    /// As a failure, when nothing better is known: if calls are given up and none is answered at all, the circuit opens
    /// by them. One answer, good or bad, and they stop counting. A caller that hangs up now and then does not open the
    /// circuit, and a dependency that hangs does.
    #[default]
    WhenNothingElse,
    /// As a failure.
    Failure,
}

/// Builds a [`CircuitBreaker`].
///
/// ```
/// use std::time::Duration;
/// use resilience_core::circuit_breaker::CircuitBreaker;
///
/// let breaker = CircuitBreaker::builder()
///     .name("payments")
///     .failure_rate(0.5)
///     .window(Duration::from_secs(10))
///     .minimum_calls(20)
///     .open_for(Duration::from_secs(5))
///     .build()?;
/// # let _ = breaker;
///
/// let wrong = CircuitBreaker::builder().failure_rate(1.5).build().unwrap_err();
/// assert_eq!(wrong.to_string(), "failure_rate must be above 0 and at most 1");
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct CircuitBreakerBuilder {
    name: Name,
    consecutive: Option<u32>,
    rate: f64,
    window: Duration,
    minimum: u32,
    open_for: Duration,
    probes: u32,
    probe_failure_rate: f64,
    half_open_for: Duration,
    abandoned: Abandoned,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

impl CircuitBreakerBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("circuit_breaker"),
            consecutive: None,
            rate: 0.5,
            window: Duration::from_secs(30),
            minimum: 20,
            open_for: Duration::from_secs(5),
            probes: 3,
            probe_failure_rate: 0.5,
            half_open_for: Duration::from_secs(10),
            abandoned: Abandoned::default(),
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in rejections, events and metrics. Default: `circuit_breaker`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// Opens after so many failures in a row, instead of by rate. At most 16,383.
    ///
    /// The cheapest rule (no clock is read while the circuit is closed), and the right one where traffic is low or a
    /// dependency is either up or down.
    ///
    /// ```
    /// use resilience_core::Class::{Failure, Ignore};
    /// use resilience_core::circuit_breaker::CircuitBreaker;
    ///
    /// let breaker = CircuitBreaker::builder().consecutive_failures(3).build()?;
    /// for class in [Failure, Failure, Ignore, Failure] {
    ///     breaker.try_acquire().unwrap().settle(class); // what says nothing does not end the row; a success would
    /// }
    /// assert!(breaker.try_acquire().is_err());
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive = Some(failures);
        self
    }

    /// Opens when at least this share of the calls in the window failed. Default: 0.5.
    ///
    /// Half: low enough to notice a dependency of which one of two replicas is gone, high enough that retries have had
    /// their chance.
    pub fn failure_rate(mut self, ratio: f64) -> Self {
        self.rate = ratio;
        self.consecutive = None;
        self
    }

    /// How far back the rate looks. Default: 30 s. At least 1 ms.
    ///
    /// Kept in 16 buckets, so it really looks back between 15/16 of this and all of it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::Class;
    /// use resilience_core::circuit_breaker::CircuitBreaker;
    /// use resilience_core::time::ManualTimer;
    ///
    /// let timer = ManualTimer::new();
    /// let breaker = CircuitBreaker::builder().window(Duration::from_secs(10)).timer(timer.clone()).build()?;
    /// breaker.try_acquire().unwrap().settle(Class::Failure);
    /// assert_eq!(breaker.snapshot().failures, 1);
    /// timer.advance(Duration::from_secs(10));
    /// assert_eq!(breaker.snapshot().failures, 0);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Calls the window must hold before the rate means anything. Default: 20.
    ///
    /// ```
    /// use resilience_core::Class::{Failure, Success};
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State};
    ///
    /// let breaker = CircuitBreaker::builder().failure_rate(0.5).minimum_calls(4).build()?;
    /// for class in [Failure, Failure, Success] {
    ///     breaker.try_acquire().unwrap().settle(class);
    /// }
    /// assert_eq!(breaker.state(), State::Closed); // two of three failed, but three calls prove nothing
    /// breaker.try_acquire().unwrap().settle(Success);
    /// assert_eq!(breaker.state(), State::Open); // a success made them enough
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.minimum = calls;
        self
    }

    /// How long the circuit stays open before it probes. Default: 5 s.
    pub fn open_for(mut self, wait: Duration) -> Self {
        self.open_for = wait;
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

    /// What a call counts as whose caller gave it up. Default: [`Abandoned::WhenNothingElse`].
    pub fn abandoned(mut self, counts_as: Abandoned) -> Self {
        self.abandoned = counts_as;
        self
    }

    /// The clock to live by. Default: tokio's.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener; see [`Event`](super::Event).
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The breaker, closed.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a count of zero or out of range, a rate that is not above 0 and at most 1, a window below
    /// 1 ms, a wait of zero, or no timer (without the feature `tokio`).
    pub fn build(self) -> Result<CircuitBreaker, ConfigError> {
        let trip = self.trip()?;
        let rules = self.rules()?;
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("circuit_breaker", &self.name);
        Ok(CircuitBreaker::new(self.name, trip, rules, self.abandoned, timer, listeners))
    }

    fn trip(&self) -> Result<Trip, ConfigError> {
        match self.consecutive {
            Some(0) => Err(ConfigError::new("consecutive_failures", "must be above zero")),
            Some(failures) if failures > MOST_CONSECUTIVE => {
                Err(ConfigError::new("consecutive_failures", "must be at most 16,383"))
            }
            Some(failures) => Ok(Trip::Consecutive(failures)),
            None => {
                ratio("failure_rate", self.rate)?;
                if self.window < Duration::from_millis(1) {
                    return Err(ConfigError::new("window", "must be at least 1 ms"));
                }
                let minimum = NonZeroU32::new(self.minimum);
                let minimum = minimum.ok_or(ConfigError::new("minimum_calls", "must be above zero"))?;
                Ok(Trip::Rate { ratio: self.rate, window: self.window, minimum: minimum.get().into() })
            }
        }
    }

    fn rules(&self) -> Result<Rules, ConfigError> {
        ratio("probe_failure_rate", self.probe_failure_rate)?;
        if self.probes == 0 {
            return Err(ConfigError::new("probes", "must be above zero"));
        }
        if self.probes > u32::MAX / 4 {
            return Err(ConfigError::new("probes", "must be at most 1,073,741,823"));
        }
        if self.open_for.is_zero() {
            return Err(ConfigError::new("open_for", "must be above zero"));
        }
        if self.half_open_for.is_zero() {
            return Err(ConfigError::new("half_open_for", "must be above zero"));
        }
        // At least one: a rate so low that a fraction of a probe would do means the first failure.
        let failed_probes = (f64::from(self.probes) * self.probe_failure_rate).ceil().max(1.0) as u32;
        Ok(Rules { open_for: self.open_for, probes: self.probes, failed_probes, half_open_for: self.half_open_for })
    }
}

fn ratio(field: &'static str, ratio: f64) -> Result<(), ConfigError> {
    // Written so that NaN is refused too.
    if ratio > 0.0 && ratio <= 1.0 { Ok(()) } else { Err(ConfigError::new(field, "must be above 0 and at most 1")) }
}
