//! What a breaker shows of itself.

use super::policy::CircuitBreaker;
use super::state::State;
use super::word::Word;
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use crate::time::Timestamp;

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
    /// Failures in a row; counted by [`consecutive_failures`](super::CircuitBreakerBuilder::consecutive_failures) only.
    pub consecutive_failures: u32,
    /// Calls in the window; 0 without one.
    pub calls: u64,
    /// Failures in the window; 0 without one.
    pub failures: u64,
    /// Slow calls in the window, and those that run and are slow already; 0 without
    /// [`slow_calls`](super::CircuitBreakerBuilder::slow_calls).
    pub slow: u64,
    /// The share of calls that pass, in a stage of the [ramp](super::CircuitBreakerBuilder::ramp).
    pub share: Option<f64>,
    /// Calls refused since the breaker was built.
    pub rejected: u64,
    /// Calls that would have been refused, in a [dry run](super::CircuitBreakerBuilder::dry_run).
    pub would_reject: u64,
    /// Answers that came too late to count, since the breaker was built.
    pub stale: u64,
    /// How often the circuit has opened.
    pub opened: u64,
}

impl CircuitBreaker {
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
}
