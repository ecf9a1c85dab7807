//! The machine against a plain model, and the word against itself.

use proptest::prelude::*;

use super::super::machine::{Admission, MOST_CONSECUTIVE, Machine, Rules, Word};
use super::*;
use crate::time::Timestamp;

const RULES: Rules =
    Rules { open_for: Duration::from_secs(5), probes: 4, failed_probes: 2, half_open_for: Duration::from_secs(10) };

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
        let mut machine = Machine::new(RULES);
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
                            prop_assert!(used_in_generation <= RULES.probes);
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
                        match machine.settle_probe(generation, class, now) {
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
                Step::Trip => changed[0] = machine.trip(machine.generation(), Cause::Manual, now),
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
        prop_assert_eq!(word.gave_up(), gave_up.min(MOST_CONSECUTIVE));
        prop_assert!(word.is_closed_in(generation) && word.is_watched() && !word.is_full());
        let after = word.after_success();
        prop_assert_eq!((after.failures(), after.gave_up(), after.generation()), (0, 0, generation));
        prop_assert!(after.is_watched() && !after.watched(false).is_watched());
    }
}

#[test]
fn a_half_open_state_that_ran_out_long_ago_goes_through_open_to_the_next() {
    let mut machine = Machine::new(RULES);
    let start = Timestamp::from_nanos(0);
    machine.trip(0, Cause::Manual, start);
    let (admission, _) = machine.try_acquire(start + Duration::from_secs(5));
    assert_eq!(admission, Admission::Probe);
    let (admission, transitions) = machine.try_acquire(start + Duration::from_secs(3600));
    assert_eq!(admission, Admission::Probe);
    let states: Vec<_> = transitions.iter().flatten().map(|t| (t.to, t.cause)).collect();
    assert_eq!(states, [(State::Open, Cause::Undecided), (State::HalfOpen, Cause::Waited)]);
}

#[test]
fn a_probe_answered_after_the_limit_finds_the_circuit_open_again() {
    let mut machine = Machine::new(RULES);
    let start = Timestamp::from_nanos(0);
    machine.trip(0, Cause::Manual, start);
    machine.try_acquire(start + Duration::from_secs(5));
    let generation = machine.generation();
    machine.settle_probe(generation, Class::Success, start + Duration::from_secs(15)).unwrap();
    assert_eq!(machine.state(), State::Open);
    assert_eq!(machine.until(), start + Duration::from_secs(20));
}
