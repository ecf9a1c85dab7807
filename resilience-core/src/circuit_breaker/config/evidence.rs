//! What a closed circuit goes by.

use std::time::Duration;

use super::{Abandoned, CircuitBreakerBuilder, WindowKind};
use crate::circuit_breaker::exact::{Evaluate, Ignored, Late};

impl CircuitBreakerBuilder {
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

    /// How far back the rate looks. Default: 30 s. At least 1 ms. Replaces [`count_window`](Self::count_window).
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
        self.window = WindowKind::Time(window);
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

    /// Looks at the last so many calls, exactly, instead of at a time. At most 1,048,576.
    ///
    /// Where traffic is even, and where two calls a minute should be judged as two a millisecond are. Costs each answer a
    /// short lock; the [time window](Self::window) costs no two threads the same cache line. A window smaller than
    /// [`minimum_calls`](Self::minimum_calls) is judged once it is full.
    ///
    /// ```
    /// use resilience_core::Class::{Failure, Success};
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State};
    ///
    /// let breaker = CircuitBreaker::builder().count_window(10).failure_rate(0.5).build()?;
    /// (0..1000).for_each(|_| breaker.try_acquire().unwrap().settle(Success));
    /// (0..4).for_each(|_| breaker.try_acquire().unwrap().settle(Failure));
    /// assert_eq!(breaker.state(), State::Closed);
    /// breaker.try_acquire().unwrap().settle(Failure); // five of the last ten
    /// assert_eq!(breaker.state(), State::Open);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn count_window(mut self, calls: u32) -> Self {
        self.window = WindowKind::Count(calls);
        self
    }

    /// Opens too when at least `rate` of the calls took `threshold` or longer. Default: off.
    ///
    /// A call counts as slow as soon as it has taken that long, while it still runs (found out at most an eighth of
    /// `threshold` late, by the next call), and counts by its answer once it ends: never twice. So a dependency that hangs
    /// opens the circuit before the first timeout. What a classifier calls [`Slow`](crate::Class::Slow) counts too,
    /// whatever it took, and no longer as a failure. Judged over the same window and
    /// [minimum](Self::minimum_calls) as failures; a slow probe is a failed one. Costs each call two readings of the clock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State};
    /// use resilience_core::time::ManualTimer;
    ///
    /// let timer = ManualTimer::new();
    /// let breaker = CircuitBreaker::builder()
    ///     .slow_calls(Duration::from_millis(800), 0.5)
    ///     .minimum_calls(3)
    ///     .timer(timer.clone())
    ///     .build()?;
    /// let hang: Vec<_> = (0..3).map(|_| breaker.try_acquire().unwrap()).collect();
    /// timer.advance(Duration::from_millis(900));
    /// assert!(breaker.try_acquire().is_err()); // nothing was answered, and that is the answer
    /// # drop(hang);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn slow_calls(mut self, threshold: Duration, rate: f64) -> Self {
        self.slow = Some((threshold, rate));
        self
    }

    /// After which answers the circuit is judged. Default: [`Evaluate::Everything`].
    ///
    /// With [`Evaluate::Failures`], no success is ever what opens it.
    pub fn evaluate(mut self, after: Evaluate) -> Self {
        self.evaluate = after;
        self
    }

    /// What becomes of answers to calls from before the last change of state. Default: [`Late::Dropped`].
    ///
    /// [`Late::Count`] is what Polly, Resilience4j and failsafe do: they count in the state there is now, as a probe's if
    /// it is half-open.
    pub fn late(mut self, late: Late) -> Self {
        self.late = late;
        self
    }

    /// What an answer counts as that says nothing about the service. Default: [`Ignored::Neutral`].
    pub fn ignored(mut self, ignored: Ignored) -> Self {
        self.ignored = ignored;
        self
    }

    /// What a call counts as whose caller gave it up. Default: [`Abandoned::WhenNothingElse`].
    pub fn abandoned(mut self, counts_as: Abandoned) -> Self {
        self.abandoned = counts_as;
        self
    }
}
