//! What an answer does to the circuit.

use std::time::Duration;

use super::config::Abandoned;
use super::event::Event;
use super::exact::{Evaluate, Ignored, Late};
use super::permit::{Kind, Pass};
use super::shards;
use super::shared::{Routine, Shared, Slow, Window};
use super::state::{Cause, State};
use super::window::Record;
use super::word::Word;
use crate::Class;
use crate::sync::atomic::Ordering;
use crate::time::Timestamp;

/// How a call ended: with an answer, or given up by its caller.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) class: Option<Class>,
    pub(super) hint: Option<Duration>,
}

/// What an answer is evidence of.
struct Evidence {
    record: Option<Record>,
    /// Whether the call was slow, if that can be said.
    slow: Option<bool>,
    hint: Option<Duration>,
}

impl Shared {
    /// The pass is only looked at: to copy it is to read in one piece what was written in several.
    #[inline(always)]
    pub(super) fn settle(&self, pass: &Pass, answer: Answer) {
        // The common case: a success, and a word that says nothing but that the circuit is closed, as it was.
        if answer.class == Some(Class::Success)
            && pass.kind == Kind::Call
            && self.word.load(Ordering::Acquire) == Word::new(State::Closed, pass.generation).0
        {
            match (self.routine, &self.window) {
                (Routine::Nothing, _) => return,
                (Routine::Record, Some(window)) => {
                    return window.record(shards::mine(), pass.generation, self.timer.now(), Record::Success);
                }
                _ => {}
            }
        }
        self.settle_and_tell(pass, answer);
    }

    #[inline(never)]
    pub(super) fn settle_and_tell(&self, pass: &Pass, mut answer: Answer) {
        let pass = *pass;
        if answer.class == Some(Class::Ignore) && self.ignored == Ignored::Success {
            answer.class = Some(Class::Success);
        }
        let counted = match pass.kind {
            // A dry run let it pass: in earnest there would be no answer.
            Kind::Void => true,
            _ if self.exact.is_some() => self.settle_exact(pass, answer),
            _ => self.settle_own(pass, answer),
        };
        if !counted {
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
        let fact = || match answer.class {
            _ if !counted => Event::Stale,
            Some(class) => Event::Settled { class },
            None => Event::Abandoned,
        };
        self.listeners.emit(&self.name, || self.timer.now(), fact);
    }

    fn settle_own(&self, pass: Pass, answer: Answer) -> bool {
        let slow = self.slow.as_ref().map(|slow| self.was_slow(slow, pass, answer));
        let is_slow = slow.is_some_and(|(is_slow, _)| is_slow);
        let now = || slow.map_or_else(|| self.timer.now(), |(_, now)| now);
        // A probe that was given up says nothing, its place is free for the next; unless it had long been too slow.
        let as_probe = match answer.class {
            Some(Class::Success) | None if is_slow => Class::Slow,
            Some(class) => class,
            None => Class::Ignore,
        };
        let counted = match pass.kind {
            Kind::Probe => {
                let now = now();
                self.change(answer.hint, |machine| {
                    match machine.settle_probe(pass.generation, as_probe, answer.hint, now) {
                        Some(transitions) => (true, transitions),
                        None => (false, [None, None]),
                    }
                })
            }
            Kind::Call | Kind::Void => {
                self.settle_closed(pass.generation, &self.evidence(answer, slow.map(|(is_slow, _)| is_slow)), now)
            }
        };
        if counted || self.late == Late::Dropped {
            return counted;
        }
        let word = Word(self.word.load(Ordering::Acquire));
        if word.counts() {
            let evidence = self.evidence(answer, slow.map(|(is_slow, _)| is_slow));
            return self.settle_closed(word.generation(), &evidence, now);
        }
        let now = now();
        self.change(answer.hint, |machine| ((), machine.settle_late(as_probe, answer.hint, now)));
        true
    }

    /// Whether the call counts as slow, and when that was found; it runs no more.
    fn was_slow(&self, slow: &Slow, pass: Pass, answer: Answer) -> (bool, Timestamp) {
        let now = self.timer.now();
        if pass.kind == Kind::Call {
            slow.end(pass.shard.into(), pass.generation, pass.started);
        }
        (now - pass.started >= slow.threshold || answer.class == Some(Class::Slow), now)
    }

    fn evidence(&self, answer: Answer, is_slow: Option<bool>) -> Evidence {
        let record = match (answer.class, self.abandoned) {
            (Some(Class::Success), _) => Some(Record::Success),
            // Where slow calls have a rate of their own, they do not count as failures too.
            (Some(Class::Slow), _) if is_slow.is_some() => Some(Record::Success),
            (Some(Class::Failure | Class::Slow), _) | (None, Abandoned::Failure) => Some(Record::Failure),
            (None, Abandoned::WhenNothingElse) => Some(Record::GaveUp),
            (Some(Class::Ignore), _) | (None, Abandoned::Ignore) => None,
        };
        let slow = match answer.class {
            Some(Class::Ignore) => None,
            Some(_) => is_slow,
            // Given up early, it says nothing; late, that it was slow.
            None => is_slow.filter(|is_slow| *is_slow),
        };
        Evidence { record, slow, hint: answer.hint }
    }

    /// Whether the answer of a call admitted in the counting state of `generation` still counted.
    fn settle_closed(&self, generation: u32, evidence: &Evidence, now: impl Fn() -> Timestamp) -> bool {
        let seen = Word(self.word.load(Ordering::Acquire));
        if !seen.counts_in(generation) {
            return seen.state() == State::Disabled && seen.generation() == generation;
        }
        let counted = match (evidence.record, &self.window) {
            (None, _) => true,
            (Some(record), None) => self.settle_consecutive(generation, record, evidence.hint, &now),
            (Some(record), Some(window)) => self.settle_rate(generation, record, evidence.hint, window, &now),
        };
        if let (Some(slow), Some(was_slow)) = (&self.slow, evidence.slow) {
            let now = now();
            let record = if was_slow { Record::Failure } else { Record::Success };
            slow.window.record(shards::mine(), generation, now, record);
            // Relaxed: a hint; a slow call that it hides is seen by the next.
            if was_slow {
                slow.any.store(true, Ordering::Relaxed);
            }
            if was_slow || (self.evaluate == Evaluate::Everything && slow.any.load(Ordering::Relaxed)) {
                self.judge_slow(slow, generation, evidence.hint, now);
            }
        }
        counted
    }

    /// Opens the circuit if too many calls were slow, or are slow while they run.
    pub(super) fn judge_slow(&self, slow: &Slow, generation: u32, hint: Option<Duration>, now: Timestamp) {
        let (counts, overdue) = (slow.window.counts(generation, now), slow.overdue(generation, now));
        let (bad, calls) = (counts.failures + overdue, counts.calls + overdue);
        if bad == 0 {
            slow.any.store(false, Ordering::Relaxed);
            return;
        }
        let (ratio, minimum) = self.limits.slow();
        if calls >= minimum && bad as f64 / calls as f64 >= ratio {
            self.open(generation, Cause::Slow { slow: bad, calls }, hint, now);
        }
    }

    fn settle_consecutive(
        &self,
        generation: u32,
        record: Record,
        hint: Option<Duration>,
        now: &impl Fn() -> Timestamp,
    ) -> bool {
        let word = &self.word;
        // Acquire, here and below: pairs with the Release in `change`, as in `try_acquire`.
        let mut seen = Word(word.load(Ordering::Acquire));
        loop {
            if !seen.counts_in(generation) {
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
        // Relaxed: see `Limits::set`.
        let limit = self.limits.consecutive.load(Ordering::Relaxed);
        let cause = if record == Record::Failure && seen.failures() >= limit {
            Cause::Consecutive { failures: seen.failures() }
        } else if record == Record::GaveUp && seen.failures() == 0 && seen.gave_up() >= limit {
            Cause::Abandoned { calls: seen.gave_up().into() }
        } else {
            return true;
        };
        self.open(generation, cause, hint, now());
        true
    }

    fn settle_rate(
        &self,
        generation: u32,
        record: Record,
        hint: Option<Duration>,
        window: &Window,
        now: &impl Fn() -> Timestamp,
    ) -> bool {
        let seen = Word(self.word.load(Ordering::Acquire));
        if !seen.counts_in(generation) {
            return false;
        }
        let now = now();
        window.record(shards::mine(), generation, now, record);
        // A success can open the circuit only when failures wait for the window to fill, and then `watch` says so.
        if record == Record::Success && (!seen.is_watched() || self.evaluate == Evaluate::Failures) {
            return true;
        }
        let counts = window.counts(generation, now);
        let (ratio, minimum) = self.limits.rate();
        let high = counts.failure_rate() >= ratio && counts.failures > 0;
        if high && counts.calls >= minimum {
            let cause = Cause::Rate { failures: counts.failures, calls: counts.calls };
            self.open(generation, cause, hint, now);
        } else if counts.calls == 0 && counts.gave_up >= minimum {
            self.open(generation, Cause::Abandoned { calls: counts.gave_up }, hint, now);
        } else if seen.is_watched() != high {
            // Relaxed: `watch` is a hint about the window, and lost races are made good by the next failure.
            let next = seen.watched(high).0;
            let _ = self.word.compare_exchange(seen.0, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        true
    }
}
