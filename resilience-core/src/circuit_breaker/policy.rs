//! The breaker users hold: the machine behind a short lock, the closed circuit in one atomic word.

use std::collections::VecDeque;
use std::fmt;

use super::config::{Abandoned, CircuitBreakerBuilder, Trip};
use super::event::Event;
use super::machine::{Admission, Cause, Machine, Rules, State, Transition, Word};
use super::permit::Permit;
use super::shards;
use super::window::TimeWindow;
use crate::event::Listeners;
use crate::held::{Held, keep};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::time::{SharedTimer, Timestamp};
use crate::{Name, Reason, Rejected};

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

pub(super) struct Shared {
    /// The state as every call sees it; see [`Word`].
    pub(super) word: AtomicU64,
    /// When an open or half-open state ends by itself, in nanoseconds. Written under the lock before `word`.
    until: AtomicU64,
    pub(super) window: Option<TimeWindow>,
    pub(super) trip: Trip,
    pub(super) abandoned: Abandoned,
    pub(super) name: Name,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
    cold: Mutex<Cold>,
    rejected: AtomicU64,
    pub(super) stale: AtomicU64,
    /// See [`Keep`](crate::held::Keep).
    is_own: bool,
}

keep!(Shared);

struct Cold {
    machine: Machine,
    opened: u64,
    /// Transitions not yet reported, and whether somebody is at it: they are reported one at a time and in order, by
    /// whoever comes first, outside the lock.
    unreported: VecDeque<Transition>,
    reporting: bool,
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
    /// Calls refused since the breaker was built.
    pub rejected: u64,
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

    pub(super) fn new(
        name: Name,
        trip: Trip,
        rules: Rules,
        abandoned: Abandoned,
        timer: SharedTimer,
        listeners: Listeners,
    ) -> Self {
        let window = match trip {
            Trip::Consecutive(_) => None,
            Trip::Rate { window, .. } => Some(TimeWindow::new(window, shards::count())),
        };
        let machine = Machine::new(rules);
        let shared = Shared {
            word: AtomicU64::new(machine.word().0),
            until: AtomicU64::new(Timestamp::NEVER.as_nanos()),
            window,
            trip,
            abandoned,
            is_own: listeners.is_empty() && timer.is_own(),
            name,
            timer,
            listeners,
            cold: Mutex::new(Cold { machine, opened: 0, unreported: VecDeque::new(), reporting: false }),
            rejected: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Asks to make one call.
    ///
    /// The permit is void once the circuit changes its state, so an answer that arrives late never speaks for a newer
    /// probe. Dropping it unsettled gives a probe's place back; see [`Abandoned`] for what it counts as.
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
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        // Acquire pairs with the Release in `change`: a call admitted by a closed circuit sees all that closed it.
        let word = Word(self.shared.word.load(Ordering::Acquire));
        let (generation, probe) = if word.is_closed() { (word.generation(), false) } else { self.acquire_cold(word)? };
        Ok(Permit::new(Held::of(&self.shared), generation, probe))
    }

    #[cold]
    fn acquire_cold(&self, word: Word) -> Result<(u32, bool), Rejected> {
        if let Some(rejected) = self.refusal(word) {
            return Err(self.reject(rejected));
        }
        let now = self.shared.timer.now();
        let (admission, generation) = self.shared.change(|machine| {
            let (admission, transitions) = machine.try_acquire(now);
            ((admission, machine.generation()), transitions)
        });
        match admission {
            Admission::Pass => Ok((generation, false)),
            Admission::Probe => Ok((generation, true)),
            Admission::Refuse { reason, retry_after } => Err(self.reject(self.rejection(reason, retry_after))),
        }
    }

    /// The refusal a call would get now, if that can be told without the lock; counts nothing.
    #[cfg(feature = "tower")]
    #[inline]
    pub(crate) fn would_refuse(&self) -> Option<Rejected> {
        // Acquire: as in `try_acquire`.
        let word = Word(self.shared.word.load(Ordering::Acquire));
        if word.is_closed() { None } else { self.refusal(word) }
    }

    #[cold]
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
            State::Closed => None,
            State::Open => remaining().map(|wait| self.rejection(Reason::Open, Some(wait))),
            State::HalfOpen if word.is_full() => remaining().map(|_| self.rejection(Reason::Probing, None)),
            State::HalfOpen => None,
            State::Isolated => Some(self.rejection(Reason::Isolated, None)),
        }
    }

    fn rejection(&self, reason: Reason, retry_after: Option<std::time::Duration>) -> Rejected {
        let rejected = Rejected::new(self.shared.name.clone(), reason);
        match retry_after {
            Some(wait) => rejected.with_retry_after(wait),
            None => rejected,
        }
    }

    /// Counts and reports a refusal.
    pub(crate) fn reject(&self, rejected: Rejected) -> Rejected {
        let shared = &self.shared;
        // Relaxed: a statistic.
        shared.rejected.fetch_add(1, Ordering::Relaxed);
        let reason = rejected.reason();
        shared.listeners.emit(&shared.name, || shared.timer.now(), || Event::Rejected { reason });
        rejected
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
        Word(self.shared.word.load(Ordering::Acquire)).state()
    }

    /// The breaker's name.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// Everything there is to see, at one moment; the counts are exact when no call is being settled.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &self.shared;
        let now = shared.timer.now();
        let cold = lock(&shared.cold);
        let word = Word(shared.word.load(Ordering::Acquire));
        let machine = &cold.machine;
        let counts = shared.window.as_ref().map(|window| window.counts(machine.generation(), now)).unwrap_or_default();
        let ends = matches!(machine.state(), State::Open | State::HalfOpen) && machine.until() != Timestamp::NEVER;
        Snapshot {
            state: machine.state(),
            generation: machine.generation(),
            until: ends.then(|| machine.until()),
            consecutive_failures: word.failures(),
            calls: counts.calls,
            failures: counts.failures,
            rejected: shared.rejected.load(Ordering::Relaxed),
            stale: shared.stale.load(Ordering::Relaxed),
            opened: cold.opened,
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
    pub fn open_for(&self, wait: std::time::Duration) {
        self.force(State::Open, |now| now + wait);
    }

    /// Closes the circuit, with no evidence gathered yet.
    pub fn close(&self) {
        self.force(State::Closed, |_| Timestamp::NEVER);
    }

    fn force(&self, state: State, until: impl FnOnce(Timestamp) -> Timestamp) {
        let now = self.shared.timer.now();
        self.shared.change(|machine| ((), [Some(machine.force(state, now, until(now))), None]));
    }
}

impl Shared {
    pub(super) fn open(&self, generation: u32, cause: Cause, now: Timestamp) {
        self.change(|machine| ((), [machine.trip(generation, cause, now), None]));
    }

    /// Applies one step of the machine, publishes its word, and reports what happened.
    pub(super) fn change<R>(&self, step: impl FnOnce(&mut Machine) -> (R, [Option<Transition>; 2])) -> R {
        let mut cold = lock(&self.cold);
        let (result, transitions) = step(&mut cold.machine);
        let before = Word(self.word.load(Ordering::Relaxed));
        let after = cold.machine.word();
        let same_closed = after.is_closed() && before.is_closed_in(after.generation());
        if before != after && !same_closed {
            self.until.store(cold.machine.until().as_nanos(), Ordering::Relaxed);
            // Release pairs with the Acquire loads of the word: who sees the new state sees its `until`. Counts that
            // were added to an older word meanwhile belong to the generation that ends here. A swap and not a store,
            // so that every change of the word is a read-modify-write and none can slip in behind it.
            self.word.swap(after.0, Ordering::AcqRel);
        }
        for transition in transitions.into_iter().flatten() {
            cold.opened += u64::from(transition.to == State::Open);
            if !self.listeners.is_empty() {
                cold.unreported.push_back(transition);
            }
        }
        if cold.unreported.is_empty() || cold.reporting {
            return result;
        }
        cold.reporting = true;
        while let Some(transition) = cold.unreported.pop_front() {
            drop(cold);
            self.listeners.emit(&self.name, || transition.at, || Event::Changed(transition));
            cold = lock(&self.cold);
        }
        cold.reporting = false;
        result
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
