//! What a breaker is built from.

use std::time::Duration;

use super::control::ManualControl;
use super::exact::{self, Evaluate, Ignored, Late, Target};
use super::policy::CircuitBreaker;
use super::wait::Generator;
use crate::event::{Listeners, Sink};
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

mod change;
mod checked;
mod evidence;
mod recovery;

pub(crate) use self::change::{Change, Fixed};
pub(crate) use self::checked::{Config, Trip, WindowKind};

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
    window: WindowKind,
    minimum: u32,
    slow: Option<(Duration, f64)>,
    abandoned: Abandoned,
    evaluate: Evaluate,
    late: Late,
    ignored: Ignored,
    open_for: Duration,
    open_factor: f64,
    open_at_most: Option<Duration>,
    open_jitter: f64,
    hints: bool,
    generator: Option<Generator>,
    probes: u32,
    probe_failure_rate: f64,
    probe_successes: Option<u32>,
    half_open_for: Duration,
    undecided: Target,
    ramp: Box<[f64]>,
    ramp_stage: Duration,
    exact: Option<exact::Options>,
    dry_run: bool,
    controls: Vec<ManualControl>,
    max_keys: usize,
    seed: Option<u64>,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

/// Keys a keyed breaker remembers unless told otherwise: some tens of megabytes, and more dependencies than most services
/// have.
const MAX_KEYS: usize = 1 << 16;

impl CircuitBreakerBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Name::from_static("circuit_breaker"),
            consecutive: None,
            rate: 0.5,
            window: WindowKind::Time(Duration::from_secs(30)),
            minimum: 20,
            slow: None,
            abandoned: Abandoned::default(),
            evaluate: Evaluate::Everything,
            late: Late::Dropped,
            ignored: Ignored::Neutral,
            open_for: Duration::from_secs(5),
            open_factor: 1.0,
            open_at_most: None,
            open_jitter: 0.0,
            hints: true,
            generator: None,
            probes: 3,
            probe_failure_rate: 0.5,
            probe_successes: None,
            half_open_for: Duration::from_secs(10),
            undecided: Target::Open,
            ramp: Box::default(),
            ramp_stage: Duration::from_secs(10),
            exact: None,
            dry_run: false,
            controls: Vec::new(),
            max_keys: MAX_KEYS,
            seed: None,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in rejections, events and metrics. Default: `circuit_breaker`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// Takes a [`ManualControl`] that isolates and closes this breaker together with others.
    ///
    /// May be called more than once; whoever speaks last is heard.
    pub fn control(mut self, control: &ManualControl) -> Self {
        self.controls.push(control.clone());
        self
    }

    /// Tries the breaker out: it opens, probes and closes as it would, and lets every call pass. Default: off.
    ///
    /// What would have been refused is counted ([`Snapshot::would_reject`](super::Snapshot::would_reject)) and reported;
    /// the answers of such calls are not evidence, since in earnest there would be none.
    ///
    /// ```
    /// use resilience_core::Class;
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State};
    ///
    /// let breaker = CircuitBreaker::builder().consecutive_failures(1).dry_run(true).build()?;
    /// breaker.try_acquire().unwrap().settle(Class::Failure);
    /// assert_eq!(breaker.state(), State::Open);
    /// assert!(breaker.try_acquire().is_ok());
    /// assert_eq!(breaker.snapshot().would_reject, 1);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Goes by the rules of another project's breaker, to the boundary, instead of those of this builder.
    ///
    /// Of the other settings, name, clock, listeners, seed, dry run, controls and [`abandoned`](Self::abandoned) still
    /// hold; the rest is in the [options](exact::Options). Each call takes two short locks to be
    /// admitted and two to settle, and a layer as many to see whether it is ready.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::Class;
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State, exact};
    /// use resilience_core::time::ManualTimer;
    ///
    /// let timer = ManualTimer::new();
    /// let breaker = CircuitBreaker::builder().exact(exact::Options::gobreaker()).timer(timer.clone()).build()?;
    /// for _ in 0..6 {
    ///     breaker.try_acquire().unwrap().settle(Class::Failure); // more than five in a row
    /// }
    /// assert_eq!(breaker.state(), State::Open);
    /// timer.advance(Duration::from_secs(60));
    /// assert!(breaker.try_acquire().is_err()); // gobreaker waits until after the minute
    /// timer.advance(Duration::from_nanos(1));
    /// assert!(breaker.try_acquire().unwrap().is_probe());
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn exact(mut self, options: exact::Options) -> Self {
        self.exact = Some(options);
        self
    }

    /// For [`build_keyed`](Self::build_keyed): breakers that may be kept at once. Default: 65,536.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// Makes the randomness of waits repeatable. Default: from the system.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
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
    /// 1 ms, a wait of zero, a factor below 1, or no timer (without the feature `tokio`).
    pub fn build(self) -> Result<CircuitBreaker, ConfigError> {
        let controls = self.controls.clone();
        let breaker = CircuitBreaker::new(&self.checked()?);
        for control in &controls {
            control.attach(&breaker);
        }
        Ok(breaker)
    }

    /// A breaker for each key; see [`KeyedCircuitBreaker`](super::KeyedCircuitBreaker).
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build), and for [`max_keys`](Self::max_keys) of zero.
    pub fn build_keyed<K>(self) -> Result<super::KeyedCircuitBreaker<K>, ConfigError> {
        let (max_keys, controls) = (self.checked_max_keys()?, self.controls.clone());
        Ok(super::KeyedCircuitBreaker::new(self.checked()?, controls, max_keys))
    }

    pub(super) fn checked_max_keys(&self) -> Result<usize, ConfigError> {
        match self.max_keys {
            0 => Err(ConfigError::new("max_keys", "must be above zero")),
            keys => Ok(keys),
        }
    }
}
