//! The rules, without locks, clocks or I/O.
//!
//! There are two places state lives in, because one of them is on every call's path:
//!
//! - [`Word`], the closed circuit's state: one `u64` that the policy object reads for each admission and changes by
//!   compare-exchange. It carries the generation, so a permit can tell whether its answer still matters.
//! - [`Machine`], everything that happens rarely: opening, waiting, probing, closing. The policy object keeps it behind
//!   a short lock and writes a new [`Word`] whenever it changes.

use std::time::Duration;

use super::exact::Target;
use super::state::{Cause, Opening, State, Transition};
use super::wait::Waits;
use super::word::Word;
use crate::rng::Rng;
use crate::time::Timestamp;
use crate::{Class, Reason};

/// What the machine is configured with.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) waits: Waits,
    pub(crate) probes: u32,
    /// Failed probes that open the circuit again.
    pub(crate) failed_probes: u32,
    /// The share of failures that ends a stage of the ramp badly.
    pub(crate) failure_rate: f64,
    pub(crate) half_open_for: Duration,
    /// Where undecided probes lead.
    pub(crate) undecided: Target,
    pub(crate) ramp: Ramp,
}

/// How a circuit whose probes went well comes back to all of its traffic.
#[derive(Clone, Debug)]
pub(crate) struct Ramp {
    /// The share of calls that pass in each stage. Empty: all at once.
    pub(crate) shares: Box<[f64]>,
    pub(crate) stage: Duration,
}

impl Rules {
    /// Successful probes that close the circuit: as many as make `failed_probes` failures impossible.
    const fn successful_probes(&self) -> u32 {
        self.probes - self.failed_probes + 1
    }
}

/// What becomes of a call that asks for admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Pass,
    Probe,
    Refuse { reason: Reason, retry_after: Option<Duration> },
}

/// What the user's rule of waits is to be asked, with the number drawn for its jitter.
pub(crate) type Question = (Waits, Opening, f64);

/// The circuit, outside the hot path.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    rules: Rules,
    rng: Rng,
    state: State,
    generation: u32,
    /// When `Open`, `HalfOpen` or a stage of the ramp ends by itself.
    until: Timestamp,
    since: Timestamp,
    in_flight: u32,
    succeeded: u32,
    failed: u32,
    /// The stage of the ramp, and what its share has added up to: a whole one is a call.
    stage: Option<usize>,
    credit: f64,
    /// Openings since the circuit was last closed for good, and how long the last one was to wait.
    openings: u32,
    last_wait: Duration,
}

/// Transitions of one step; at most two, when a half-open state that ran out while nobody called is followed at once by
/// the next.
pub(crate) type Transitions = [Option<Transition>; 2];

pub(crate) const NONE: Transitions = [None, None];

impl Machine {
    pub(crate) fn new(rules: Rules, rng: Rng) -> Self {
        Self {
            rules,
            rng,
            state: State::Closed,
            generation: 0,
            until: Timestamp::NEVER,
            since: Timestamp::ORIGIN,
            in_flight: 0,
            succeeded: 0,
            failed: 0,
            stage: None,
            credit: 0.0,
            openings: 0,
            last_wait: Duration::ZERO,
        }
    }

    /// Whether a call may pass at `now`, and as what.
    pub(crate) fn try_acquire(&mut self, now: Timestamp) -> (Admission, Transitions) {
        let mut transitions = [self.run_out(now), None];
        // Open => HalfOpen: the wait is over.
        if self.state == State::Open && now >= self.until {
            let until = now + self.rules.half_open_for;
            let transition = self.enter(State::HalfOpen, Cause::Waited, now, until);
            let free = usize::from(transitions[0].is_some());
            transitions[free] = Some(transition);
        }
        (self.admit(now), transitions)
    }

    /// What the passing of time alone does to a half-open circuit.
    fn run_out(&mut self, now: Timestamp) -> Option<Transition> {
        if self.state != State::HalfOpen || now < self.until {
            return None;
        }
        if self.stage.is_some() {
            return self.end_stage(now);
        }
        // The circuit counts as open since then, not since now, so that how long a hung probe blocks it does not depend
        // on when somebody calls.
        Some(match self.rules.undecided {
            Target::Open => self.open(Cause::Undecided, self.until, None),
            Target::Closed => self.enter(State::Closed, Cause::Undecided, self.until, Timestamp::NEVER),
        })
    }

    fn admit(&mut self, now: Timestamp) -> Admission {
        match self.state {
            State::Closed | State::Disabled | State::MetricsOnly => Admission::Pass,
            State::Open => Admission::Refuse { reason: Reason::Open, retry_after: Some(self.until - now) },
            State::HalfOpen => {
                if !self.has_free_probe() {
                    return Admission::Refuse { reason: Reason::Probing, retry_after: None };
                }
                self.in_flight = self.in_flight.saturating_add(1);
                Admission::Probe
            }
            State::Isolated => Admission::Refuse { reason: Reason::Isolated, retry_after: None },
        }
    }

    /// Whether one more call may pass while half-open; in a stage of the ramp, an even share of them.
    fn has_free_probe(&mut self) -> bool {
        let Some(stage) = self.stage else { return self.has_free_slot() };
        self.credit += self.rules.ramp.shares.get(stage).copied().unwrap_or(1.0);
        let passes = self.credit >= 1.0;
        if passes {
            self.credit -= 1.0;
        }
        passes
    }

    /// Takes the answer of a probe admitted in `generation`; `None` if it came too late to matter.
    pub(crate) fn settle_probe(
        &mut self,
        generation: u32,
        class: Class,
        hint: Option<Duration>,
        now: Timestamp,
    ) -> Option<Transitions> {
        if self.state != State::HalfOpen || self.generation != generation {
            return None;
        }
        if self.stage.is_none()
            && let Some(transition) = self.run_out(now)
        {
            // The time was up before this answer came; nobody has called since to notice.
            return Some([Some(transition), None]);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        Some([self.take(class, hint, now), None])
    }

    /// Takes an answer from before the present state as one of its probes'.
    pub(crate) fn settle_late(&mut self, class: Class, hint: Option<Duration>, now: Timestamp) -> Transitions {
        if self.state == State::HalfOpen { [self.take(class, hint, now), None] } else { NONE }
    }

    fn take(&mut self, class: Class, hint: Option<Duration>, now: Timestamp) -> Option<Transition> {
        match class {
            Class::Success => self.succeeded = self.succeeded.saturating_add(1),
            Class::Failure | Class::Slow => self.failed = self.failed.saturating_add(1),
            // Says nothing about the service: the slot is free again.
            Class::Ignore => return None,
        }
        if self.stage.is_some() {
            let enough = self.succeeded.saturating_add(self.failed) >= self.rules.probes;
            return if enough && self.is_bad() { Some(self.fall_back(hint, now)) } else { self.run_out(now) };
        }
        let cause = Cause::Probes { succeeded: self.succeeded, failed: self.failed };
        if self.failed >= self.rules.failed_probes {
            // HalfOpen => Open: too many probes failed.
            Some(self.open(cause, now, hint))
        } else if self.succeeded >= self.rules.successful_probes() {
            // HalfOpen => Closed, or the first stage: the rest of the probes could not change the verdict.
            Some(self.advance(0, cause, now))
        } else {
            None
        }
    }

    fn is_bad(&self) -> bool {
        let answers = f64::from(self.succeeded) + f64::from(self.failed);
        self.failed > 0 && f64::from(self.failed) >= self.rules.failure_rate * answers
    }

    /// A stage of the ramp is over.
    fn end_stage(&mut self, now: Timestamp) -> Option<Transition> {
        if self.is_bad() {
            return Some(self.fall_back(None, now));
        }
        if self.succeeded == 0 && self.in_flight > 0 {
            // Calls were let through, and none came back; failures alone are bad. They get as long as probes would.
            return (now >= self.since + self.rules.half_open_for).then(|| self.fall_back(None, now));
        }
        let next = self.stage.map_or(0, |stage| stage + 1);
        let cause = Cause::Probes { succeeded: self.succeeded, failed: self.failed };
        Some(self.advance(next, cause, now))
    }

    /// Begins the stage `next`, or closes the circuit if there is none.
    fn advance(&mut self, next: usize, cause: Cause, now: Timestamp) -> Transition {
        match self.rules.ramp.shares.get(next) {
            Some(_) => self.enter_stage(next, now),
            None => self.enter(State::Closed, cause, now, Timestamp::NEVER),
        }
    }

    /// HalfOpen => the stage before, or Open from the first.
    fn fall_back(&mut self, hint: Option<Duration>, now: Timestamp) -> Transition {
        let cause = Cause::Probes { succeeded: self.succeeded, failed: self.failed };
        match self.stage.and_then(|stage| stage.checked_sub(1)) {
            Some(before) => self.enter_stage(before, now),
            None => self.open(cause, now, hint),
        }
    }

    fn enter_stage(&mut self, stage: usize, now: Timestamp) -> Transition {
        let share = self.rules.ramp.shares.get(stage).copied().unwrap_or(1.0);
        let cause = Cause::Stage { stage: stage as u32, percent: (share * 100.0).round() as u32 };
        let transition = self.enter(State::HalfOpen, cause, now, now + self.rules.ramp.stage);
        self.stage = Some(stage);
        // The first call of a stage passes.
        self.credit = 1.0 - share;
        transition
    }

    /// Closed => Open, for evidence gathered in `generation`; nothing if that is over.
    pub(crate) fn trip(
        &mut self,
        generation: u32,
        cause: Cause,
        hint: Option<Duration>,
        now: Timestamp,
    ) -> Option<Transition> {
        (self.state == State::Closed && self.generation == generation).then(|| self.open(cause, now, hint))
    }

    fn open(&mut self, cause: Cause, at: Timestamp, hint: Option<Duration>) -> Transition {
        // A recovery counts as one that has lasted as long as the wait before it.
        let lasted = self.state == State::Closed && at >= self.since + self.last_wait;
        if lasted {
            self.openings = 0;
        }
        let opening = Opening { attempt: self.openings, cause, hint };
        self.openings = self.openings.saturating_add(1);
        let wait = match self.rules.waits.generator {
            // Until the user's rule has been asked, which is not done under the lock.
            Some(_) => self.rules.waits.at_most,
            None => self.rules.waits.wait(&opening, self.rng.unit()),
        };
        self.last_wait = wait;
        self.enter(State::Open, cause, at, at + wait)
    }

    /// What the user's rule is to be asked after a transition, if there is one and it matters.
    pub(crate) fn question(&mut self, transition: &Transition, hint: Option<Duration>) -> Option<Question> {
        let asks =
            transition.to == State::Open && transition.cause != Cause::Manual && self.rules.waits.generator.is_some();
        asks.then(|| {
            let attempt = self.openings.saturating_sub(1);
            (self.rules.waits.clone(), Opening { attempt, cause: transition.cause, hint }, self.rng.unit())
        })
    }

    /// Takes the answer of the user's rule, if the circuit is still open for that reason.
    pub(crate) fn amend(&mut self, generation: u32, at: Timestamp, wait: Duration) {
        if self.state == State::Open && self.generation == generation {
            (self.until, self.last_wait) = (at + wait, wait);
        }
    }

    /// Goes to `state` by hand, whatever the present one.
    pub(crate) fn force(&mut self, state: State, now: Timestamp, until: Timestamp) -> Transition {
        self.enter(state, Cause::Manual, now, until)
    }

    /// Goes by other rules from now on, and hands back the old ones; a state that has begun ends when it was to end.
    pub(crate) fn set_rules(&mut self, rules: Rules) -> Rules {
        let was_staged = self.stage.is_some();
        if self.stage.is_some_and(|stage| stage >= rules.ramp.shares.len()) {
            self.stage = rules.ramp.shares.len().checked_sub(1);
        }
        let old = std::mem::replace(&mut self.rules, rules);
        let probes = self.state == State::HalfOpen && self.stage.is_none();
        if probes && (was_staged || self.succeeded.saturating_add(self.failed) >= self.rules.probes) {
            // Reckoned by these rules, what has been answered by the old ones leaves no place for a probe: nobody would
            // come in whose answer could move the circuit. So the verdict is for probes still to answer.
            (self.succeeded, self.failed) = (0, 0);
            if was_staged {
                // Calls of a stage: there may be any number of them, and the places are for probes.
                self.in_flight = 0;
            }
        }
        old
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) const fn until(&self) -> Timestamp {
        self.until
    }

    /// The share of calls that pass in the present stage of the ramp.
    pub(crate) fn share(&self) -> Option<f64> {
        self.stage.and_then(|stage| self.rules.ramp.shares.get(stage).copied())
    }

    /// The word that stands for this state; the closed circuit starts with no evidence.
    pub(crate) fn word(&self) -> Word {
        let is_full = self.state == State::HalfOpen && self.stage.is_none() && !self.has_free_slot();
        Word::new(self.state, self.generation).with_full(is_full)
    }

    const fn has_free_slot(&self) -> bool {
        self.in_flight.saturating_add(self.succeeded).saturating_add(self.failed) < self.rules.probes
    }

    fn enter(&mut self, to: State, cause: Cause, at: Timestamp, until: Timestamp) -> Transition {
        let from = self.state;
        self.state = to;
        self.generation = self.generation.wrapping_add(1);
        (self.since, self.until) = (at, until);
        (self.in_flight, self.succeeded, self.failed, self.stage) = (0, 0, 0, None);
        let ends = matches!(to, State::Open | State::HalfOpen);
        Transition { from, to, generation: self.generation, cause, at, until: ends.then_some(until) }
    }
}
