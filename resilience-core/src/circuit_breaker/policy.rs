//! The breaker users hold.

use std::fmt;
use std::time::Duration;

use super::config::{CircuitBreakerBuilder, Config, Trip};
use super::event::Event;
use super::machine::Admission;
use super::permit::{Kind, Pass, Permit};
use super::shards;
use super::shared::Shared;
use super::state::State;
use super::word::Word;
use crate::held::Held;
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, lock};
use crate::time::Timestamp;
use crate::{ConfigError, Name, Reason, Rejected};

/// A circuit breaker: refuses calls to a dependency that is taken to be down, and finds out when it is back.
///
/// Cloning is cheap, and clones are one breaker: the same state seen from everywhere. See the
/// [module documentation](super) for the rules.
///
/// ```
/// use resilience_core::Class;
/// use resilience_core::circuit_breaker::{CircuitBreaker, State};
///
/// let reads = CircuitBreaker::builder().name("stock").consecutive_failures(1).build()?;
/// let writes = reads.clone();
/// writes.try_acquire().unwrap().settle(Class::Failure);
/// assert_eq!(reads.state(), State::Open); // what one of them learns, both know
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct CircuitBreaker {
    pub(super) shared: Arc<Shared>,
}

/// A breaker's state at one moment, for people and tests.
///
/// ```
/// use resilience_core::Class;
/// use resilience_core::circuit_breaker::CircuitBreaker;
///
/// let breaker = CircuitBreaker::builder().failure_rate(0.9).build()?;
/// breaker.try_acquire().unwrap().settle(Class::Success);
/// breaker.try_acquire().unwrap().settle(Class::Failure);
/// breaker.try_acquire().unwrap().settle(Class::Ignore); // is in neither count
/// let seen = breaker.snapshot();
/// assert_eq!((seen.calls, seen.failures, seen.opened), (2, 1, 0));
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Where the circuit stands.
    pub state: State,
    /// How often the state has changed.
    pub generation: u32,
    /// When the state ends by itself, if it does.
    pub until: Option<Timestamp>,
    /// Failures in a row; counted by [`consecutive_failures`](CircuitBreakerBuilder::consecutive_failures) only.
    pub consecutive_failures: u32,
    /// Calls in the window; 0 without one.
    pub calls: u64,
    /// Failures in the window; 0 without one.
    pub failures: u64,
    /// Slow calls in the window, and those that run and are slow already; 0 without
    /// [`slow_calls`](CircuitBreakerBuilder::slow_calls).
    pub slow: u64,
    /// The share of calls that pass, in a stage of the [ramp](CircuitBreakerBuilder::ramp).
    pub share: Option<f64>,
    /// Calls refused since the breaker was built.
    pub rejected: u64,
    /// Calls that would have been refused, in a [dry run](CircuitBreakerBuilder::dry_run).
    pub would_reject: u64,
    /// Answers that came too late to count, since the breaker was built.
    pub stale: u64,
    /// How often the circuit has opened.
    pub opened: u64,
}

impl CircuitBreaker {
    /// Starts a configuration; see the [defaults](super#defaults).
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new()
    }

    pub(super) fn new(config: &Config) -> Self {
        Self { shared: Arc::new(Shared::new(config)) }
    }

    /// Asks to make one call.
    ///
    /// The permit is void once the circuit changes its state, so an answer that arrives late never speaks for a newer
    /// probe. Dropping it unsettled gives a probe's place back; see [`Abandoned`](super::Abandoned) for what it counts as.
    ///
    /// # Errors
    ///
    /// [`Rejected`] when the circuit is open, isolated, or half-open with all its probes taken.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::circuit_breaker::CircuitBreaker;
    /// use resilience_core::time::ManualTimer;
    /// use resilience_core::{Class, Reason};
    ///
    /// let timer = ManualTimer::new();
    /// let breaker = CircuitBreaker::builder().consecutive_failures(1).timer(timer.clone()).build()?;
    /// breaker.try_acquire().unwrap().settle(Class::Failure);
    /// timer.advance(Duration::from_secs(2));
    /// let refused = breaker.try_acquire().unwrap_err();
    /// assert_eq!(refused.reason(), Reason::Open);
    /// assert_eq!(refused.retry_after(), Some(Duration::from_secs(3))); // what is left of the five
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    #[inline(always)]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        // Acquire pairs with the Release in `change`: a call admitted by a closed circuit sees all that closed it.
        let word = Word(self.shared.word.load(Ordering::Acquire));
        let pass = if word.is_closed() && self.shared.slow.is_none() {
            Pass::call(word.generation())
        } else {
            self.acquire_cold(word)?
        };
        Ok(Permit::new(Held::of(&self.shared), pass))
    }

    /// The same for a permit that holds a plain share.
    pub(super) fn into_permit(self) -> Result<Permit, Rejected> {
        let word = Word(self.shared.word.load(Ordering::Acquire));
        let pass = if word.is_closed() && self.shared.slow.is_none() {
            Pass::call(word.generation())
        } else {
            self.acquire_cold(word)?
        };
        Ok(Permit::new(Held::from(self.shared), pass))
    }

    #[cold]
    fn acquire_cold(&self, word: Word) -> Result<Pass, Rejected> {
        let shared = &*self.shared;
        if word.is_elsewhere() {
            let now = shared.timer.now();
            return shared.acquire_exact(now).or_else(|(reason, wait)| self.refuse(word, self.rejection(reason, wait)));
        }
        if let Some(pass) = shared.pass(word) {
            return Ok(pass);
        }
        if let Some(rejected) = self.refusal(word) {
            return self.refuse(word, rejected);
        }
        let now = shared.timer.now();
        let (admission, word) = shared.change(None, |machine| {
            let (admission, transitions) = machine.try_acquire(now);
            ((admission, machine.word()), transitions)
        });
        match admission {
            // Closed a moment ago. What opens it again meanwhile was not known when this call came.
            Admission::Pass => Ok(shared.pass(word).unwrap_or(Pass { started: now, ..Pass::call(word.generation()) })),
            Admission::Probe => Ok(Pass { started: now, generation: word.generation(), kind: Kind::Probe, shard: 0 }),
            Admission::Refuse { reason, retry_after } => self.refuse(word, self.rejection(reason, retry_after)),
        }
    }

    /// Refuses a call, or in a dry run says that it would.
    fn refuse(&self, word: Word, rejected: Rejected) -> Result<Pass, Rejected> {
        // Relaxed, both: whoever changes the setting waits for nobody, and a count.
        if !self.shared.dry_run.load(Ordering::Relaxed) {
            return Err(self.reject(rejected));
        }
        let shared = &self.shared;
        shared.would_reject.fetch_add(1, Ordering::Relaxed);
        let reason = rejected.reason();
        shared.listeners.emit(&shared.name, || shared.timer.now(), || Event::WouldReject { reason });
        Ok(Pass { kind: Kind::Void, ..Pass::call(word.generation()) })
    }

    /// The refusal a call would get now, if that can be told without taking a probe's place; counts nothing.
    #[cfg(feature = "tower")]
    #[inline]
    pub(crate) fn would_refuse(&self) -> Option<Rejected> {
        // Acquire: as in `try_acquire`.
        let word = Word(self.shared.word.load(Ordering::Acquire));
        if word.is_closed() { None } else { self.would_refuse_cold(word) }
    }

    #[cfg(feature = "tower")]
    #[cold]
    fn would_refuse_cold(&self, word: Word) -> Option<Rejected> {
        if self.shared.dry_run.load(Ordering::Relaxed) {
            return None;
        }
        if word.is_elsewhere() {
            let denied = self.shared.would_deny_exact(self.shared.timer.now());
            return denied.map(|(reason, wait)| self.rejection(reason, wait));
        }
        self.refusal(word)
    }

    fn refusal(&self, word: Word) -> Option<Rejected> {
        let shared = &self.shared;
        let remaining = || {
            // Relaxed: `until` was written before the word that was read with Acquire. A later state's `until` may be
            // read instead; it is then the more recent truth about when to come back.
            let until = Timestamp::from_nanos(shared.until.load(Ordering::Relaxed));
            let now = shared.timer.now();
            (now < until).then(|| until - now)
        };
        match word.state() {
            State::Open => remaining().map(|wait| self.rejection(Reason::Open, Some(wait))),
            State::HalfOpen if word.is_full() => remaining().map(|_| self.rejection(Reason::Probing, None)),
            State::Isolated => Some(self.rejection(Reason::Isolated, None)),
            State::Closed | State::HalfOpen | State::Disabled | State::MetricsOnly => None,
        }
    }

    fn rejection(&self, reason: Reason, retry_after: Option<Duration>) -> Rejected {
        let rejected = Rejected::by(&self.shared.name, reason);
        match retry_after {
            Some(wait) => rejected.with_retry_after(wait),
            None => rejected,
        }
    }

    /// Counts and reports a refusal.
    #[cold]
    #[inline(never)]
    pub(crate) fn reject(&self, rejected: Rejected) -> Rejected {
        let shared = &self.shared;
        // Relaxed: a statistic.
        shared.rejected.fetch_add(1, Ordering::Relaxed);
        let reason = rejected.reason();
        shared.listeners.emit(&shared.name, || shared.timer.now(), || Event::Rejected { reason });
        rejected
    }

    /// The way a control has to this breaker: one that does not keep it alive.
    #[cfg(not(loom))]
    pub(super) fn follower(&self) -> super::control::Follower {
        let weak = Arc::downgrade(&self.shared);
        std::sync::Arc::new(move || weak.upgrade().map(|shared| Self { shared }))
    }

    /// loom has no weak shares: under it, a control keeps its breakers.
    #[cfg(loom)]
    pub(super) fn follower(&self) -> super::control::Follower {
        let breaker = self.clone();
        std::sync::Arc::new(move || Some(breaker.clone()))
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> Result<impl Fn() -> Option<Self> + Send + Sync + 'static, crate::ConfigError> {
        let weak = Arc::downgrade(&self.shared);
        Ok(move || weak.upgrade().map(|shared| Self { shared }))
    }

    /// Where the circuit stands. An open circuit whose wait is over stays open until a call asks.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State};
    /// use resilience_core::time::ManualTimer;
    ///
    /// let timer = ManualTimer::new();
    /// let breaker = CircuitBreaker::builder().timer(timer.clone()).build()?;
    /// breaker.open_for(Duration::from_secs(1));
    /// timer.advance(Duration::from_secs(60));
    /// assert_eq!(breaker.state(), State::Open);
    /// let probe = breaker.try_acquire();
    /// assert_eq!(breaker.state(), State::HalfOpen);
    /// # drop(probe);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn state(&self) -> State {
        match &self.shared.exact {
            Some(breaker) => State::of_exact(lock(breaker).place().0),
            None => Word(self.shared.word.load(Ordering::Acquire)).state(),
        }
    }

    /// The breaker's name.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// Everything there is to see, at one moment; the counts are exact when no call is being settled.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &self.shared;
        let now = shared.timer.now();
        if let Some(breaker) = &shared.exact {
            let mut breaker = lock(breaker);
            let (state, generation, until) = breaker.place();
            // A closed window that is thrown away has an end too, which is nobody's business.
            let until = until.filter(|_| state != super::exact::State::Closed);
            let sums = breaker.sums(now);
            let failures = breaker.failures_in_a_row();
            drop(breaker);
            return Snapshot {
                consecutive_failures: u32::try_from(failures).unwrap_or(u32::MAX),
                calls: sums.total(),
                failures: sums.failed,
                slow: sums.slow(),
                ..self.figures(State::of_exact(state), generation, until.map(|until| Timestamp::ORIGIN + until))
            };
        }
        let cold = lock(&shared.cold);
        let word = Word(shared.word.load(Ordering::Acquire));
        let machine = &cold.machine;
        let (state, generation, until, share) =
            (machine.state(), machine.generation(), machine.until(), machine.share());
        drop(cold);
        let counts = shared.window.as_ref().map(|window| window.counts(generation, now)).unwrap_or_default();
        let slow = shared
            .slow
            .as_ref()
            .map_or(0, |slow| slow.window.counts(generation, now).failures + slow.overdue(generation, now));
        let ends = matches!(state, State::Open | State::HalfOpen) && until != Timestamp::NEVER;
        Snapshot {
            consecutive_failures: word.failures(),
            calls: counts.calls,
            failures: counts.failures,
            slow,
            share,
            ..self.figures(state, generation, ends.then_some(until))
        }
    }

    fn figures(&self, state: State, generation: u32, until: Option<Timestamp>) -> Snapshot {
        let shared = &self.shared;
        Snapshot {
            state,
            generation,
            until,
            consecutive_failures: 0,
            calls: 0,
            failures: 0,
            slow: 0,
            share: None,
            rejected: shared.rejected.load(Ordering::Relaxed),
            would_reject: shared.would_reject.load(Ordering::Relaxed),
            stale: shared.stale.load(Ordering::Relaxed),
            opened: lock(&shared.cold).opened,
        }
    }

    /// Opens the circuit until [`close`](Self::close) is called.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::Reason;
    /// use resilience_core::circuit_breaker::CircuitBreaker;
    /// use resilience_core::time::ManualTimer;
    ///
    /// let timer = ManualTimer::new();
    /// let breaker = CircuitBreaker::builder().name("reports").timer(timer.clone()).build()?;
    /// breaker.isolate(); // somebody works on the report server
    /// timer.advance(Duration::from_secs(86_400));
    /// assert_eq!(breaker.try_acquire().unwrap_err().reason(), Reason::Isolated); // and no wait ends it
    /// breaker.close();
    /// assert!(breaker.try_acquire().is_ok());
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn isolate(&self) {
        self.force(State::Isolated, |_| Timestamp::NEVER);
    }

    /// Opens the circuit for `wait`, then probes.
    pub fn open_for(&self, wait: Duration) {
        self.force(State::Open, |now| now + wait);
    }

    /// Opens the circuit until `when`, then probes.
    ///
    /// For a maintenance that is announced. A time that has passed makes the next call a probe.
    pub fn open_until(&self, when: Timestamp) {
        self.force(State::Open, |_| when);
    }

    /// Lets every call pass until [`close`](Self::close) is called: answers are reported, and not evidence.
    pub fn disable(&self) {
        self.force(State::Disabled, |_| Timestamp::NEVER);
    }

    /// Lets every call pass until [`close`](Self::close) is called, and goes on counting: what would have opened the
    /// circuit is reported once, as [`Event::WouldOpen`](super::Event::WouldOpen).
    ///
    /// To find out which thresholds fit, before they do anything. A [dry run](CircuitBreakerBuilder::dry_run) plays the
    /// whole of it through instead.
    ///
    /// ```
    /// use resilience_core::Class::Failure;
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State};
    ///
    /// let breaker = CircuitBreaker::builder().consecutive_failures(2).build()?;
    /// breaker.metrics_only();
    /// (0..3).for_each(|_| breaker.try_acquire().unwrap().settle(Failure));
    /// assert_eq!(breaker.state(), State::MetricsOnly);
    /// assert_eq!(breaker.snapshot().consecutive_failures, 3);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn metrics_only(&self) {
        self.force(State::MetricsOnly, |_| Timestamp::NEVER);
    }

    /// Closes the circuit, with no evidence gathered yet.
    pub fn close(&self) {
        self.force(State::Closed, |_| Timestamp::NEVER);
    }

    fn force(&self, state: State, until: impl FnOnce(Timestamp) -> Timestamp) {
        let now = self.shared.timer.now();
        let until = until(now);
        if self.shared.exact.is_some() {
            self.shared.force_exact(state, now, (state == State::Open).then(|| until - now));
        } else {
            self.shared.change(None, |machine| ((), [Some(machine.force(state, now, until)), None]));
        }
    }

    /// Takes over thresholds, waits, probes, ramp and dry run of `builder` while calls come and go; what is counted stays
    /// counted, and a state that has begun ends when it was to end. The rest of the builder is not looked at.
    ///
    /// # Errors
    ///
    /// As the builder's, and if it counts failures in a row where this breaker goes by a rate, or the other way round;
    /// if [slow calls](CircuitBreakerBuilder::slow_calls) come or go; if a
    /// [rule of one's own](CircuitBreakerBuilder::open_for_each) comes to a breaker that was built without; and for
    /// [exact](CircuitBreakerBuilder::exact) rules.
    /// Nothing has changed then.
    ///
    /// ```
    /// use resilience_core::Class::Failure;
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State};
    ///
    /// let breaker = CircuitBreaker::builder().consecutive_failures(10).build()?;
    /// (0..3).for_each(|_| breaker.try_acquire().unwrap().settle(Failure));
    /// breaker.reconfigure(CircuitBreaker::builder().consecutive_failures(4))?;
    /// breaker.try_acquire().unwrap().settle(Failure); // the fourth, and not the first
    /// assert_eq!(breaker.state(), State::Open);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, builder: CircuitBreakerBuilder) -> Result<(), ConfigError> {
        let shared = &self.shared;
        let config = builder.timer(shared.timer.clone()).checked()?;
        let counts_in_a_row = matches!(config.trip, Trip::Consecutive(_));
        if shared.exact.is_some() || config.exact.is_some() {
            return Err(ConfigError::new("exact", "cannot change while running"));
        }
        if counts_in_a_row != shared.window.is_none() {
            return Err(ConfigError::new("failure_rate", "cannot come or go while running, only change"));
        }
        if config.slow.is_some() != shared.slow.is_some() {
            return Err(ConfigError::new("slow_calls", "cannot come or go while running, only change its rate"));
        }
        if config.rules.waits.generator.is_some() && !shared.asks_user {
            // Threads may keep a share in a breaker that owns nothing of the user's, and with it what came later.
            return Err(ConfigError::new("open_for_each", "cannot come while running, only change"));
        }
        // The rest of it stays outside of the lock, and is dropped there: listeners are the user's.
        let Config { trip, slow, rules, dry_run, .. } = config;
        // All under one lock: of two that change it at once, one wins as a whole.
        let old = shared.change(None, |machine| {
            shared.limits.set(trip, slow);
            // Relaxed: see `refuse`.
            shared.dry_run.store(dry_run, Ordering::Relaxed);
            (machine.set_rules(rules), [None, None])
        });
        // The user's rule of waits may look at the breaker when it is dropped, so not under the lock either.
        drop(old);
        Ok(())
    }
}

impl Shared {
    /// Leave for a call in a state that admits all of them, with its beginning noted if that matters.
    fn pass(&self, word: Word) -> Option<Pass> {
        match (&self.slow, word.counts()) {
            (_, false) if word.state() != State::Disabled => None,
            // Nothing is counted here; but its answer may be, where late ones are, and then it matters how long it took.
            (Some(_), false) => Some(Pass { started: self.timer.now(), ..Pass::call(word.generation()) }),
            (None, false) => Some(Pass::call(word.generation())),
            (None, true) => Some(Pass::call(word.generation())),
            (Some(slow), true) => {
                let (now, shard, generation) = (self.timer.now(), shards::mine(), word.generation());
                let (started, found) = slow.begin(shard, generation, now);
                let pass = Pass { started, generation, kind: Kind::Call, shard: shard as u8 };
                if found {
                    self.judge_slow(slow, generation, None, now);
                    // Acquire: as in `try_acquire`.
                    if !Word(self.word.load(Ordering::Acquire)).counts_in(generation) {
                        slow.end(shard, generation, started);
                        return None;
                    }
                }
                Some(pass)
            }
        }
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("name", self.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
