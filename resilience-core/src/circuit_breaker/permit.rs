//! Leave to make a call, and what its answer does to the circuit.

use std::fmt;

use super::config::{Abandoned, Trip};
use super::event::Event;
use super::machine::{Cause, State, Word};
use super::policy::Shared;
use super::shards;
use super::window::Record;
use crate::Class;
use crate::held::Held;
use crate::sync::atomic::Ordering;

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
    generation: u32,
    probe: bool,
    settled: bool,
}

impl Permit {
    #[inline]
    pub(super) const fn new(breaker: Held<Shared>, generation: u32, probe: bool) -> Self {
        Self { breaker, generation, probe, settled: false }
    }

    /// Reports what the answer meant.
    #[inline]
    pub fn settle(mut self, class: Class) {
        self.settled = true;
        self.breaker.settle(self.generation, self.probe, Answer::Class(class));
    }

    /// Whether the call is one of a half-open circuit's probes.
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if !self.settled {
            self.give_up();
        }
    }
}

impl Permit {
    #[cold]
    fn give_up(&self) {
        let answer = if std::thread::panicking() { Answer::Class(Class::Failure) } else { Answer::GaveUp };
        self.breaker.settle_and_tell(self.generation, self.probe, answer);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("breaker", &self.breaker.name)
            .field("generation", &self.generation)
            .field("probe", &self.probe)
            .finish_non_exhaustive()
    }
}

/// How a call ended.
#[derive(Clone, Copy)]
enum Answer {
    Class(Class),
    GaveUp,
}

impl Answer {
    /// A probe that was given up says nothing: its place is free for the next.
    const fn as_probe(self) -> Class {
        match self {
            Self::Class(class) => class,
            Self::GaveUp => Class::Ignore,
        }
    }
}

impl Shared {
    #[inline]
    fn settle(&self, generation: u32, probe: bool, answer: Answer) {
        // The common case writes nothing: a success, nothing in a row to forget, nobody listening.
        if let (Answer::Class(Class::Success), Trip::Consecutive(_)) = (answer, self.trip)
            && self.listeners.is_empty()
            && self.word.load(Ordering::Acquire) == Word::new(State::Closed, generation).0
            && !probe
        {
            return;
        }
        self.settle_and_tell(generation, probe, answer);
    }

    fn settle_and_tell(&self, generation: u32, probe: bool, answer: Answer) {
        let counted = if probe {
            let now = self.timer.now();
            self.change(|machine| match machine.settle_probe(generation, answer.as_probe(), now) {
                Some(transitions) => (true, transitions),
                None => (false, [None, None]),
            })
        } else {
            self.settle_closed(generation, answer)
        };
        if !counted {
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
        let fact = || match answer {
            _ if !counted => Event::Stale,
            Answer::Class(class) => Event::Settled { class },
            Answer::GaveUp => Event::Abandoned,
        };
        self.listeners.emit(&self.name, || self.timer.now(), fact);
    }

    /// Whether the answer of a call admitted by the closed circuit of `generation` still counted.
    fn settle_closed(&self, generation: u32, answer: Answer) -> bool {
        let record = match (answer, self.abandoned) {
            (Answer::Class(Class::Success), _) => Record::Success,
            (Answer::Class(Class::Failure | Class::Slow), _) | (Answer::GaveUp, Abandoned::Failure) => Record::Failure,
            (Answer::GaveUp, Abandoned::WhenNothingElse) => Record::GaveUp,
            (Answer::Class(Class::Ignore), _) | (Answer::GaveUp, Abandoned::Ignore) => {
                return Word(self.word.load(Ordering::Acquire)).is_closed_in(generation);
            }
        };
        match self.trip {
            Trip::Consecutive(limit) => self.settle_consecutive(generation, record, limit),
            Trip::Rate { ratio, minimum, .. } => self.settle_rate(generation, record, ratio, minimum),
        }
    }

    fn settle_consecutive(&self, generation: u32, record: Record, limit: u32) -> bool {
        let word = &self.word;
        // Acquire, here and below: pairs with the Release in `change`, as in `try_acquire`.
        let mut seen = Word(word.load(Ordering::Acquire));
        loop {
            if !seen.is_closed_in(generation) {
                return false;
            }
            let next = match record {
                Record::Success => seen.after_success(),
                Record::Failure => seen.after_failure(),
                Record::GaveUp => seen.after_giving_up(),
            };
            // The common case, a success with nothing to forget, writes nothing.
            if next == seen {
                break;
            }
            // Relaxed on success: the counts in the word order nothing else; a trip takes the lock.
            match word.compare_exchange_weak(seen.0, next.0, Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => {
                    seen = next;
                    break;
                }
                Err(now) => seen = Word(now),
            }
        }
        let cause = if record == Record::Failure && seen.failures() >= limit {
            Cause::Consecutive { failures: seen.failures() }
        } else if record == Record::GaveUp && seen.failures() == 0 && seen.gave_up() >= limit {
            Cause::Abandoned { calls: seen.gave_up().into() }
        } else {
            return true;
        };
        self.open(generation, cause, self.timer.now());
        true
    }

    fn settle_rate(&self, generation: u32, record: Record, ratio: f64, minimum: u64) -> bool {
        let seen = Word(self.word.load(Ordering::Acquire));
        if !seen.is_closed_in(generation) {
            return false;
        }
        let Some(window) = &self.window else { return true };
        let now = self.timer.now();
        window.record(shards::mine(), generation, now, record);
        // A success can open the circuit only when failures wait for the window to fill, and then `watch` says so.
        if record == Record::Success && !seen.is_watched() {
            return true;
        }
        let counts = window.counts(generation, now);
        let high = counts.failure_rate() >= ratio && counts.failures > 0;
        if high && counts.calls >= minimum {
            self.open(generation, Cause::Rate { failures: counts.failures, calls: counts.calls }, now);
        } else if counts.calls == 0 && counts.gave_up >= minimum {
            self.open(generation, Cause::Abandoned { calls: counts.gave_up }, now);
        } else if seen.is_watched() != high {
            // Relaxed: `watch` is a hint about the window, and lost races are made good by the next failure.
            let next = seen.watched(high).0;
            let _ = self.word.compare_exchange(seen.0, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        true
    }
}
