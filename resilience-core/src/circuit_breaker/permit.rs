//! Leave to make a call.

use std::fmt;

use super::settle::Answer;
use super::shared::Shared;
use crate::held::Held;
use crate::time::Timestamp;
use crate::{Class, Classification};

/// As what a call was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Probe,
    /// In a dry run, in spite of a refusal.
    Void,
}

/// What a permit knows of its call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// When it began; only where that matters.
    pub(super) started: Timestamp,
    pub(super) generation: u32,
    pub(super) kind: Kind,
    /// Which table of running calls it is in.
    pub(super) shard: u8,
}

impl Pass {
    #[inline]
    pub(super) const fn call(generation: u32) -> Self {
        Self { started: Timestamp::ORIGIN, generation, kind: Kind::Call, shard: 0 }
    }
}

/// Leave to make one call; made by [`CircuitBreaker::try_acquire`](super::CircuitBreaker::try_acquire).
///
/// Settle it with what the answer meant. Dropped unsettled, the call counts as given up by its caller, and as failed if
/// the thread is panicking.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::Class;
/// use resilience_core::circuit_breaker::{CircuitBreaker, State};
/// use resilience_core::time::ManualTimer;
///
/// let timer = ManualTimer::new();
/// let breaker = CircuitBreaker::builder().consecutive_failures(1).probes(1).timer(timer.clone()).build()?;
/// let straggler = breaker.try_acquire().unwrap();
/// breaker.try_acquire().unwrap().settle(Class::Failure);
/// timer.advance(Duration::from_secs(5));
/// let probe = breaker.try_acquire().unwrap();
/// straggler.settle(Class::Success); // from before the outage: does not speak for the probe
/// assert_eq!((breaker.state(), breaker.snapshot().stale), (State::HalfOpen, 1));
/// probe.settle(Class::Success);
/// assert_eq!(breaker.state(), State::Closed);
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[must_use = "dropping a permit counts the call as given up"]
pub struct Permit {
    breaker: Held<Shared>,
    pass: Pass,
    /// Apart from `pass`, though there is room in it: written there, it would keep the next reading of it waiting.
    settled: bool,
}

impl Permit {
    #[inline(always)]
    pub(super) const fn new(breaker: Held<Shared>, pass: Pass) -> Self {
        Self { breaker, pass, settled: false }
    }

    /// Reports what the answer meant.
    #[inline(always)] // To hand it over as an argument is to move it; see `settle_here`.
    pub fn settle(mut self, class: Class) {
        self.settled = true;
        self.breaker.settle(&self.pass, Answer { class: Some(class), hint: None });
    }

    /// Reports what the answer meant, with the server's wish when to be called again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::Classification;
    /// use resilience_core::circuit_breaker::CircuitBreaker;
    ///
    /// let breaker = CircuitBreaker::builder().consecutive_failures(1).open_for(Duration::from_secs(5)).build()?;
    /// let overloaded = Classification::FAILURE.after(Duration::from_secs(30)); // a 503 with `Retry-After: 30`
    /// breaker.try_acquire().unwrap().settle_as(overloaded);
    /// assert!(breaker.try_acquire().unwrap_err().retry_after() > Some(Duration::from_secs(29)));
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    #[inline(always)] // As above.
    pub fn settle_as(mut self, answer: Classification) {
        self.settle_here(answer);
    }

    /// Settles where it lies, the first time. To move it out of a future first would be to read in one piece what was
    /// written in several a moment before, for which a processor waits longer than all the rest takes.
    #[inline(always)]
    pub(super) fn settle_here(&mut self, answer: Classification) {
        if !self.settled {
            self.settled = true;
            self.breaker.settle(&self.pass, Answer { class: Some(answer.class()), hint: answer.retry_after() });
        }
    }

    /// Whether the call is one of a half-open circuit's probes.
    pub fn is_probe(&self) -> bool {
        self.pass.kind == Kind::Probe
    }
}

impl Drop for Permit {
    #[inline(always)]
    fn drop(&mut self) {
        self.end();
    }
}

impl Permit {
    /// The call is given up, unless it was settled.
    #[inline(always)]
    pub(super) fn end(&mut self) {
        if !self.settled {
            self.settled = true;
            self.give_up();
        }
    }

    #[cold]
    #[inline(never)]
    fn give_up(&self) {
        let class = std::thread::panicking().then_some(Class::Failure);
        self.breaker.settle_and_tell(&self.pass, Answer { class, hint: None });
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("breaker", &self.breaker.name)
            .field("generation", &self.pass.generation)
            .field("probe", &self.is_probe())
            .finish_non_exhaustive()
    }
}
