//! The machine against a model that keeps every answer in a list and is asked the same.

use proptest::prelude::*;

use super::super::machine::{Admission, Machine, Ramp, Rules};
use super::super::wait::Waits;
use super::*;
use crate::rng::Rng;
use crate::time::Timestamp;

const CAP: u64 = 15_000;
const BASE: u64 = 4_000;
const HALF_OPEN: u64 = 7_000;
const STAGE: u64 = 3_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Probing,
    Stage(usize),
    Other(State),
}

/// A circuit in milliseconds. The shares of the ramp are in quarters, so that they add up without rounding.
#[derive(Debug)]
struct Model {
    probes: usize,
    failed_probes: usize,
    closes_undecided: bool,
    quarters: Vec<u64>,
    phase: Phase,
    generation: u32,
    began: u64,
    ends: u64,
    out: usize,
    /// The answers since the phase began: whether each failed.
    answers: Vec<bool>,
    credit: u64,
    openings: u32,
    last_wait: u64,
    told: Vec<(State, Cause)>,
}

impl Model {
    fn state(&self) -> State {
        match self.phase {
            Phase::Probing | Phase::Stage(_) => State::HalfOpen,
            Phase::Other(state) => state,
        }
    }

    fn failed(&self) -> usize {
        self.answers.iter().filter(|failed| **failed).count()
    }

    fn verdict(&self) -> Cause {
        let failed = self.failed();
        Cause::Probes { succeeded: (self.answers.len() - failed) as u32, failed: failed as u32 }
    }

    fn is_bad(&self) -> bool {
        self.failed() > 0 && 2 * self.failed() >= self.answers.len()
    }

    fn go(&mut self, phase: Phase, cause: Cause, at: u64, ends: u64) {
        (self.phase, self.began, self.ends) = (phase, at, ends);
        (self.out, self.generation) = (0, self.generation + 1);
        self.answers.clear();
        self.told.push((self.state(), cause));
    }

    fn open(&mut self, cause: Cause, at: u64, hint: u64) {
        if self.phase == Phase::Other(State::Closed) && at >= self.began + self.last_wait {
            self.openings = 0;
        }
        let wait = (BASE << self.openings.min(9)).max(hint).min(CAP);
        (self.openings, self.last_wait) = (self.openings + 1, wait);
        self.go(Phase::Other(State::Open), cause, at, at + wait);
    }

    fn stage(&mut self, stage: usize, now: u64) {
        let percent = (self.quarters[stage] * 25) as u32;
        self.go(Phase::Stage(stage), Cause::Stage { stage: stage as u32, percent }, now, now + STAGE);
        self.credit = 4 - self.quarters[stage];
    }

    fn forward(&mut self, now: u64) {
        let next = if let Phase::Stage(stage) = self.phase { stage + 1 } else { 0 };
        if next < self.quarters.len() {
            self.stage(next, now);
        } else {
            let cause = self.verdict();
            self.go(Phase::Other(State::Closed), cause, now, u64::MAX);
        }
    }

    fn back(&mut self, now: u64, hint: u64) {
        match self.phase {
            Phase::Stage(stage) if stage > 0 => self.stage(stage - 1, now),
            _ => self.open(self.verdict(), now, hint),
        }
    }

    /// What time alone does.
    fn pass(&mut self, now: u64) {
        match self.phase {
            _ if now < self.ends => {}
            Phase::Probing if self.closes_undecided => {
                self.go(Phase::Other(State::Closed), Cause::Undecided, self.ends, u64::MAX);
            }
            Phase::Probing => self.open(Cause::Undecided, self.ends, 0),
            Phase::Stage(_) if self.is_bad() => self.back(now, 0),
            Phase::Stage(_) if self.answers.is_empty() && self.out > 0 => {
                if now >= self.began + HALF_OPEN {
                    self.back(now, 0);
                }
            }
            Phase::Stage(_) => self.forward(now),
            Phase::Other(_) => {}
        }
    }

    fn acquire(&mut self, now: u64) -> Admission {
        self.pass(now);
        if self.phase == Phase::Other(State::Open) && now >= self.ends {
            self.go(Phase::Probing, Cause::Waited, now, now + HALF_OPEN);
        }
        let refuse = |reason, retry_after| Admission::Refuse { reason, retry_after };
        let passes = match self.phase {
            Phase::Other(State::Open) => {
                return refuse(Reason::Open, Some(Duration::from_millis(self.ends - now)));
            }
            Phase::Other(State::Isolated) => return refuse(Reason::Isolated, None),
            Phase::Other(_) => return Admission::Pass,
            Phase::Probing => self.out + self.answers.len() < self.probes,
            Phase::Stage(stage) => {
                self.credit += self.quarters[stage];
                let passes = self.credit >= 4;
                self.credit -= if passes { 4 } else { 0 };
                passes
            }
        };
        self.out += usize::from(passes);
        if passes { Admission::Probe } else { refuse(Reason::Probing, None) }
    }

    /// Whether the answer still mattered.
    fn settle(&mut self, generation: u32, class: Class, hint: u64, now: u64) -> bool {
        if self.state() != State::HalfOpen || self.generation != generation {
            return false;
        }
        if self.phase == Phase::Probing && now >= self.ends {
            self.pass(now);
        } else {
            // Calls of a stage that was taken away are not among those out.
            self.out = self.out.saturating_sub(1);
            self.take(class, hint, now);
        }
        true
    }

    fn take(&mut self, class: Class, hint: u64, now: u64) {
        if class == Class::Ignore || self.state() != State::HalfOpen {
            return;
        }
        self.answers.push(class != Class::Success);
        match self.phase {
            Phase::Stage(_) if self.answers.len() >= self.probes && self.is_bad() => self.back(now, hint),
            Phase::Stage(_) => self.pass(now),
            _ if self.failed() >= self.failed_probes => self.open(self.verdict(), now, hint),
            // As many more as there may be would not be enough failures.
            _ if self.answers.len() - self.failed() + self.failed_probes > self.probes => self.forward(now),
            _ => {}
        }
    }

    /// Fewer stages and probes, or more, while it runs.
    fn set_rules(&mut self, quarters: Vec<u64>, probes: usize) {
        (self.probes, self.failed_probes) = (probes, self.failed_probes.min(probes));
        if let Phase::Stage(stage) = self.phase {
            self.phase = quarters.len().checked_sub(1).map_or(Phase::Probing, |last| Phase::Stage(stage.min(last)));
            if self.phase == Phase::Probing {
                self.out = 0;
                self.answers.clear();
            }
        } else if self.phase == Phase::Probing && self.answers.len() >= probes {
            self.answers.clear();
        }
        self.quarters = quarters;
    }
}

fn rules(model: &Model) -> Rules {
    let millis = Duration::from_millis;
    let waits =
        Waits { base: millis(BASE), factor: 2.0, at_most: millis(CAP), jitter: 0.0, hints: true, generator: None };
    Rules {
        waits,
        probes: model.probes as u32,
        failed_probes: model.failed_probes as u32,
        failure_rate: 0.5,
        half_open_for: millis(HALF_OPEN),
        undecided: if model.closes_undecided { Target::Closed } else { Target::Open },
        ramp: Ramp {
            shares: model.quarters.iter().map(|quarter| *quarter as f64 / 4.0).collect(),
            stage: millis(STAGE),
        },
    }
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Acquire,
    /// Which of the calls under way, how, and the server's hint.
    Settle(usize, Class, u64),
    Late(Class),
    /// Evidence from so many generations ago.
    Trip(u32),
    Force(State),
    Rules {
        stages: usize,
        probes: usize,
    },
    /// A whole recovery up to the ramp, which single steps find too rarely.
    Recover,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let class = || prop_oneof![4 => Just(Class::Success), 3 => Just(Class::Failure), 1 => Just(Class::Slow), 1 => Just(Class::Ignore)];
    let hint = prop_oneof![4 => Just(0), 1 => 0..20_000u64];
    let state = prop_oneof![Just(State::Isolated), Just(State::Disabled), Just(State::Closed), Just(State::Open)];
    let step = prop_oneof![
        12 => prop_oneof![0..4_000u64, Just(STAGE), Just(BASE), Just(HALF_OPEN), Just(1)].prop_map(Step::Advance),
        24 => Just(Step::Acquire),
        24 => (0..6usize, class(), hint).prop_map(|(which, class, hint)| Step::Settle(which, class, hint)),
        2 => class().prop_map(Step::Late),
        6 => prop_oneof![4 => Just(0), 1 => Just(1)].prop_map(Step::Trip),
        1 => state.prop_map(Step::Force),
        1 => (0..4usize, 1..6usize).prop_map(|(stages, probes)| Step::Rules { stages, probes }),
        6 => Just(Step::Recover),
    ];
    proptest::collection::vec(step, 1..150)
}

/// Shares that do not fall: quarters of the calls.
const QUARTERS: [u64; 3] = [1, 2, 3];

proptest! {
    #[test]
    fn the_machine_does_what_a_list_of_answers_says(
        (probes, failed_probes) in (1..6usize).prop_flat_map(|probes| (Just(probes), 1..=probes)),
        closes_undecided: bool,
        stages in 0..=3usize,
        steps in steps(),
    ) {
        let mut model = Model {
            probes,
            failed_probes,
            closes_undecided,
            quarters: QUARTERS[..stages].to_vec(),
            phase: Phase::Other(State::Closed),
            generation: 0,
            began: 0,
            ends: u64::MAX,
            out: 0,
            answers: Vec::new(),
            credit: 0,
            openings: 0,
            last_wait: 0,
            told: Vec::new(),
        };
        let mut machine = Machine::new(rules(&model), Rng::seeded(1));
        let (mut now, mut out) = (1, Vec::<u32>::new());
        let at = |millis: u64| Timestamp::from_nanos(millis.saturating_mul(1_000_000));
        for step in steps {
            let span = |hint: u64| (hint > 0).then_some(Duration::from_millis(hint));
            let mut transitions = Vec::new();
            match step {
                Step::Advance(millis) => now += millis,
                Step::Acquire => {
                    let (admission, seen) = machine.try_acquire(at(now));
                    transitions.extend(seen);
                    prop_assert_eq!(admission, model.acquire(now));
                    if admission == Admission::Probe {
                        out.push(machine.generation());
                    }
                }
                Step::Settle(which, class, hint) => if which < out.len() {
                    let generation = out.swap_remove(which);
                    let seen = machine.settle_probe(generation, class, span(hint), at(now));
                    prop_assert_eq!(seen.is_some(), model.settle(generation, class, hint, now));
                    transitions.extend(seen.into_iter().flatten());
                },
                Step::Late(class) => {
                    transitions.extend(machine.settle_late(class, None, at(now)));
                    model.take(class, 0, now);
                }
                Step::Trip(ago) => {
                    let generation = machine.generation().wrapping_sub(ago);
                    transitions.push(machine.trip(generation, Cause::Abandoned { calls: 1 }, None, at(now)));
                    if ago == 0 && model.state() == State::Closed {
                        model.open(Cause::Abandoned { calls: 1 }, now, 0);
                    }
                }
                Step::Force(state) => {
                    let ends = if state == State::Open { now + 2_000 } else { u64::MAX };
                    transitions.push(Some(machine.force(state, at(now), at(ends))));
                    model.go(Phase::Other(state), Cause::Manual, now, ends);
                }
                Step::Rules { stages, probes } => {
                    model.set_rules(QUARTERS[..stages].to_vec(), probes);
                    machine.set_rules(rules(&model));
                }
                Step::Recover => {
                    transitions.push(machine.trip(machine.generation(), Cause::Waited, None, at(now)));
                    if model.state() == State::Closed {
                        model.open(Cause::Waited, now, 0);
                    }
                    now += if model.state() == State::Open { model.ends.saturating_sub(now) } else { 0 };
                    for _ in 0..model.probes {
                        let (admission, seen) = machine.try_acquire(at(now));
                        transitions.extend(seen);
                        prop_assert_eq!(admission, model.acquire(now));
                        if admission == Admission::Probe {
                            let generation = machine.generation();
                            transitions.extend(machine.settle_probe(generation, Class::Success, None, at(now)).unwrap());
                            model.settle(generation, Class::Success, 0, now);
                        }
                    }
                }
            }
            let told: Vec<_> = transitions.iter().flatten().map(|transition| (transition.to, transition.cause)).collect();
            prop_assert_eq!(told, std::mem::take(&mut model.told));
            if let Some(transition) = transitions.iter().flatten().last() {
                let ends = [State::Open, State::HalfOpen].contains(&model.state());
                prop_assert_eq!(transition.until, ends.then_some(at(model.ends)));
            }
            prop_assert_eq!((machine.state(), machine.generation()), (model.state(), model.generation));
            let is_full = model.phase == Phase::Probing && model.out + model.answers.len() >= model.probes;
            prop_assert!(!is_full || model.out > 0, "nobody is in, and nobody comes in");
            prop_assert_eq!(machine.word().is_full(), is_full);
            let share = if let Phase::Stage(stage) = model.phase { Some(model.quarters[stage] as f64 / 4.0) } else { None };
            prop_assert_eq!(machine.share(), share);
        }
    }
}
