//! What people do to a breaker while it works: force its state, change its rules.

use std::time::Duration;

use super::config::{Change, CircuitBreakerBuilder};
use super::policy::CircuitBreaker;
use super::state::State;
use crate::ConfigError;
use crate::sync::atomic::Ordering;
use crate::time::Timestamp;

impl CircuitBreaker {
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
        let config = builder.timer(self.shared.timer.clone()).checked()?;
        self.take_over(config.into_change(&self.shared.fixed)?);
        Ok(())
    }

    pub(super) fn take_over(&self, change: Change) {
        let shared = &self.shared;
        let Change { trip, slow, rules, dry_run } = change;
        // All under one lock: of two that change it at once, one wins as a whole.
        let old = shared.change(None, |machine| {
            shared.limits.set(trip, slow);
            // Relaxed: see `refuse`.
            shared.dry_run.store(dry_run, Ordering::Relaxed);
            (machine.set_rules(rules), [None, None])
        });
        // The user's rule of waits may look at the breaker when it is dropped, so not under the lock either.
        drop(old);
    }
}
