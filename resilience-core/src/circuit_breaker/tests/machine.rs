//! The machine against a plain model, and the word against itself.

use proptest::prelude::*;

use super::super::machine::{Admission, Machine, Ramp, Rules};
use super::super::wait::Waits;
use super::super::word::{MOST_CONSECUTIVE, Word};
use super::*;
use crate::rng::Rng;
use crate::time::Timestamp;

fn waits(base: Duration, factor: f64, at_most: Duration) -> Waits {
    Waits { base, factor, at_most, jitter: 0.0, hints: true, generator: None }
}

fn rules(shares: &[f64]) -> Rules {
    Rules {
        waits: waits(5 * SECOND, 1.0, 60 * SECOND),
        probes: 4,
        failed_probes: 2,
        failure_rate: 0.5,
        half_open_for: 10 * SECOND,
        undecided: Target::Open,
        ramp: Ramp { shares: shares.into(), stage: 10 * SECOND },
    }
}

fn machine(shares: &[f64]) -> Machine {
    Machine::new(rules(shares), Rng::seeded(1))
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Acquire,
    Settle(usize, Class),
    Trip,
    Isolate,
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let class = prop_oneof![Just(Class::Success), Just(Class::Failure), Just(Class::Slow), Just(Class::Ignore)];
    let step = prop_oneof![
        3 => (0u64..8_000).prop_map(Step::Advance),
        6 => Just(Step::Acquire),
        6 => (0usize..8, class).prop_map(|(which, class)| Step::Settle(which, class)),
        2 => Just(Step::Trip),
        1 => Just(Step::Isolate),
        1 => Just(Step::Close),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    /// Whatever happens: no more than the configured probes are out in one half-open state, an open circuit admits
    /// nobody before its time, each transition is the next generation, and stale answers change nothing.
    #[test]
    fn the_invariants_hold_on_any_history(steps in steps()) {
        let mut machine = machine(&[]);
        let mut now = Timestamp::from_nanos(1_000_000_000);
        let mut out: Vec<(u32, bool)> = Vec::new();
        let mut used_in_generation = 0;
        for step in steps {
            let before = machine.clone();
            let mut changed = [None, None];
            match step {
                Step::Advance(millis) => now = now + Duration::from_millis(millis),
                Step::Acquire => {
                    let (admission, transitions) = machine.try_acquire(now);
                    changed = transitions;
                    if changed.iter().any(Option::is_some) {
                        used_in_generation = 0;
                    }
                    match admission {
                        Admission::Pass => {
                            prop_assert_eq!(machine.state(), State::Closed);
                            out.push((machine.generation(), false));
                        }
                        Admission::Probe => {
                            prop_assert_eq!(machine.state(), State::HalfOpen);
                            used_in_generation += 1;
                            prop_assert!(used_in_generation <= 4);
                            out.push((machine.generation(), true));
                        }
                        Admission::Refuse { reason, retry_after } => {
                            prop_assert_ne!(machine.state(), State::Closed);
                            if reason == Reason::Open {
                                prop_assert_eq!(Some(machine.until() - now), retry_after);
                                prop_assert!(now < machine.until());
                            }
                        }
                    }
                }
                Step::Settle(which, class) if which < out.len() => {
                    let (generation, probe) = out.swap_remove(which);
                    if probe {
                        let current = machine.state() == State::HalfOpen && machine.generation() == generation;
                        match machine.settle_probe(generation, class, None, now) {
                            Some(transitions) => {
                                prop_assert!(current);
                                changed = transitions;
                                if class == Class::Ignore {
                                    used_in_generation -= 1;
                                }
                            }
                            None => prop_assert!(!current),
                        }
                    }
                }
                Step::Settle(..) => {}
                Step::Trip => changed[0] = machine.trip(machine.generation(), Cause::Waited, None, now),
                Step::Isolate => changed[0] = Some(machine.force(State::Isolated, now, Timestamp::NEVER)),
                Step::Close => changed[0] = Some(machine.force(State::Closed, now, Timestamp::NEVER)),
            }
            if changed.iter().any(Option::is_some) && machine.state() != State::HalfOpen {
                used_in_generation = 0;
            }
            let count = changed.iter().flatten().count() as u32;
            prop_assert_eq!(machine.generation(), before.generation() + count);
            for (number, transition) in changed.iter().flatten().enumerate() {
                prop_assert_eq!(transition.generation, before.generation() + 1 + number as u32);
            }
            prop_assert_eq!(machine.word().state(), machine.state());
            prop_assert_eq!(machine.word().generation(), machine.generation());
        }
    }

    #[test]
    fn a_word_keeps_its_parts_apart(generation: u32, failures in 0u32..20_000, gave_up in 0u32..20_000) {
        let mut word = Word::new(State::Closed, generation).watched(true);
        for _ in 0..failures {
            word = word.after_failure();
        }
        for _ in 0..gave_up {
            word = word.after_giving_up();
        }
        prop_assert_eq!(word.failures(), failures.min(MOST_CONSECUTIVE));
        prop_assert_eq!(word.gave_up(), gave_up.min(8_191));
        prop_assert!(word.is_closed() && word.counts_in(generation) && word.is_watched() && !word.is_full());
        let after = word.after_success();
        prop_assert_eq!((after.failures(), after.gave_up(), after.generation()), (0, 0, generation));
        prop_assert!(after.is_watched() && !after.watched(false).is_watched());
    }
}

#[test]
fn a_half_open_state_that_ran_out_long_ago_goes_through_open_to_the_next() {
    let mut machine = machine(&[]);
    let start = Timestamp::from_nanos(0);
    machine.trip(0, Cause::Waited, None, start);
    let (admission, _) = machine.try_acquire(start + Duration::from_secs(5));
    assert_eq!(admission, Admission::Probe);
    let (admission, transitions) = machine.try_acquire(start + Duration::from_secs(3600));
    assert_eq!(admission, Admission::Probe);
    let states: Vec<_> = transitions.iter().flatten().map(|t| (t.to, t.cause)).collect();
    assert_eq!(states, [(State::Open, Cause::Undecided), (State::HalfOpen, Cause::Waited)]);
}

#[test]
fn a_probe_answered_after_the_limit_finds_the_circuit_open_again() {
    let mut machine = machine(&[]);
    let start = Timestamp::from_nanos(0);
    machine.trip(0, Cause::Waited, None, start);
    machine.try_acquire(start + Duration::from_secs(5));
    let generation = machine.generation();
    machine.settle_probe(generation, Class::Success, None, start + Duration::from_secs(15)).unwrap();
    assert_eq!(machine.state(), State::Open);
    assert_eq!(machine.until(), start + Duration::from_secs(20));
}

proptest! {
    /// The ramp on any history: a stage never lets through more than its share and one call, a stage moves by one at a
    /// time, and the circuit closes from the last one only.
    #[test]
    fn a_ramp_goes_stage_by_stage_whatever_happens(steps in steps()) {
        let shares = [0.1, 0.25, 0.5];
        let mut machine = machine(&shares);
        let mut now = Timestamp::from_nanos(1_000_000_000);
        let mut out: Vec<u32> = Vec::new();
        let mut stage: Option<u32> = None;
        let (mut asked, mut passed) = (0u32, 0u32);
        for step in steps {
            let mut changed = [None, None];
            let mut admitted = None;
            match step {
                Step::Advance(millis) => now = now + Duration::from_millis(millis),
                Step::Acquire => {
                    let (admission, transitions) = machine.try_acquire(now);
                    (changed, admitted) = (transitions, Some(admission));
                }
                Step::Settle(which, class) if which < out.len() => {
                    let generation = out.swap_remove(which);
                    changed = machine.settle_probe(generation, class, None, now).unwrap_or([None, None]);
                }
                Step::Settle(..) | Step::Isolate | Step::Close => {}
                Step::Trip => changed[0] = machine.trip(machine.generation(), Cause::Waited, None, now),
            }
            for transition in changed.iter().flatten() {
                let next = match transition.cause {
                    Cause::Stage { stage, .. } => Some(stage),
                    _ => None,
                };
                match (stage, next) {
                    (Some(before), Some(after)) => prop_assert_eq!(before.abs_diff(after), 1),
                    (None, Some(first)) => prop_assert_eq!(first, 0),
                    (Some(2), None) => {}
                    (Some(before), None) => {
                        prop_assert_eq!(transition.to, State::Open);
                        prop_assert_eq!(before, 0);
                    }
                    (None, None) => prop_assert_ne!((transition.from, transition.to), (State::HalfOpen, State::Closed)),
                }
                stage = next;
                (asked, passed) = (0, 0);
            }
            if let (Some(admission), Some(stage)) = (admitted, stage) {
                asked += 1;
                if admission == Admission::Probe {
                    passed += 1;
                }
                prop_assert!(f64::from(passed) <= shares[stage as usize] * f64::from(asked) + 1.0);
                prop_assert!(f64::from(passed) >= shares[stage as usize] * f64::from(asked) - 1.0);
            }
            if admitted == Some(Admission::Probe) {
                out.push(machine.generation());
            }
            prop_assert_eq!(machine.share(), stage.map(|stage| shares[stage as usize]));
        }
    }

    /// CB21: `min(cap, base * 2^n)`, of which at most the jitter's share is taken off; no attempt overflows.
    #[test]
    fn a_wait_keeps_its_bounds_at_any_attempt(attempt: u32, unit in 0.0..1.0, jitter in 0.0..=1.0, hint in 0u64..200) {
        let mut waits = waits(SECOND, 2.0, 60 * SECOND);
        waits.jitter = jitter;
        let opening = |hint| Opening { attempt, cause: Cause::Waited, hint };
        let full = if attempt >= 6 { 60.0 } else { f64::from(1u32 << attempt) };
        let wait = waits.wait(&opening(None), unit).as_secs_f64();
        prop_assert!(wait <= full && wait >= full * (1.0 - jitter) - 1e-6, "{} of {}", wait, full);
        let hint = Duration::from_secs(hint);
        let asked = waits.wait(&opening(Some(hint)), unit);
        prop_assert!(asked >= hint.min(60 * SECOND) && asked <= 60 * SECOND);
        waits.hints = false;
        prop_assert_eq!(waits.wait(&opening(Some(hint)), unit), waits.wait(&opening(None), unit));
        waits.at_most = Duration::MAX;
        prop_assert!(waits.wait(&opening(None), unit) > Duration::ZERO);
    }
}

#[test]
fn a_lasting_recovery_ends_the_growth_and_a_short_one_does_not() {
    // CB21.
    let mut machine = Machine::new(Rules { waits: waits(SECOND, 2.0, 60 * SECOND), ..rules(&[]) }, Rng::seeded(1));
    let mut now = Timestamp::from_nanos(7);
    let open = |machine: &mut Machine, now: Timestamp| {
        let transition = machine.trip(machine.generation(), Cause::Waited, None, now).unwrap();
        transition.until.unwrap() - now
    };
    let recover = |machine: &mut Machine, now: Timestamp| {
        for _ in 0..3 {
            assert_eq!(machine.try_acquire(now).0, Admission::Probe);
            machine.settle_probe(machine.generation(), Class::Success, None, now).unwrap();
        }
        assert_eq!(machine.state(), State::Closed);
    };
    assert_eq!(open(&mut machine, now), SECOND);
    now = now + SECOND;
    recover(&mut machine, now);
    assert_eq!(open(&mut machine, now), 2 * SECOND, "down again at once");
    now = now + 2 * SECOND;
    recover(&mut machine, now);
    now = now + 2 * SECOND;
    assert_eq!(open(&mut machine, now), SECOND, "it had been closed for as long as it was open");
}

#[test]
fn a_stage_in_which_nothing_comes_back_falls_back() {
    let mut machine = machine(&[0.5]);
    let mut now = Timestamp::from_nanos(1);
    machine.trip(0, Cause::Waited, None, now);
    now = now + 5 * SECOND;
    for _ in 0..3 {
        machine.try_acquire(now);
        machine.settle_probe(machine.generation(), Class::Success, None, now);
    }
    assert_eq!(machine.share(), Some(0.5));
    assert_eq!(machine.try_acquire(now).0, Admission::Probe); // hangs
    now = now + 10 * SECOND;
    machine.try_acquire(now);
    assert_eq!((machine.state(), machine.share()), (State::Open, None));
}
