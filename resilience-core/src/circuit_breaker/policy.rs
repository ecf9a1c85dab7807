//! The breaker users hold.

use std::fmt;
use std::time::Duration;

use super::config::{CircuitBreakerBuilder, Config};
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
