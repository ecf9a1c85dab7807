//! Where a rule ends: the first and the last of a range, and what comes after the state it was meant for.

use super::super::machine::{Machine, Ramp, Rules};
use super::super::ring::Ring;
use super::super::slow::InFlight;
use super::super::wait::{Generator, Waits};
use super::super::window::Record;
use super::super::word::Word;
use super::*;
use crate::rng::Rng;
use crate::time::Timestamp;

fn waits(base: Duration, factor: f64) -> Waits {
    Waits { base, factor, at_most: Duration::MAX, jitter: 0.0, hints: true, generator: None }
}

fn rules(waits: Waits) -> Rules {
    Rules {
        waits,
        probes: 1,
        failed_probes: 1,
        failure_rate: 0.5,
        half_open_for: 10 * SECOND,
        undecided: Target::Open,
        ramp: Ramp { shares: [].into(), stage: SECOND },
    }
}

/// A circuit whose user has a rule for how long it stays open.
fn asking() -> Machine {
    let mut waits = waits(5 * SECOND, 1.0);
    waits.at_most = 60 * SECOND;
    waits.generator = Some(Generator(Arc::new(|_| 7 * SECOND)));
    Machine::new(rules(waits), Rng::seeded(1))
}

const CAUSE: Cause = Cause::Consecutive { failures: 1 };

/// Generations wrap after four thousand million transitions: half of that is after, half before.
const HALF: u32 = u32::MAX / 2;

#[test]
fn an_answer_of_a_generation_before_the_wrap_does_not_empty_the_ring_after_it() {
    for (ring_is_at, answer_is_of, is_newer) in
        [(5, 6, true), (5, 4, false), (u32::MAX, 0, true), (0, u32::MAX, false), (0, HALF, true), (0, HALF + 1, false)]
    {
        let mut ring = Ring::new(8);
        if ring_is_at > 0 {
            // Half a round at a time, as no one step leads further.
            for way in [HALF, 2 * HALF] {
                ring.record(ring_is_at.min(way), Record::Failure);
            }
        }
        ring.record(ring_is_at, Record::Failure);
        let before = ring.counts(ring_is_at).calls;
        ring.record(answer_is_of, Record::Success);
        let expected = if is_newer { (0, 1) } else { (before, 0) };
        let seen = (ring.counts(ring_is_at).calls, ring.counts(answer_is_of).calls);
        assert_eq!(seen, expected, "{answer_is_of} after {ring_is_at}");
    }
}

#[test]
fn a_call_of_a_generation_before_the_wrap_does_not_clear_the_calls_that_run() {
    let at = |millis: u64| Timestamp::from_nanos(millis * 1_000_000);
    for (is_at, call_is_of, is_newer) in [
        (5, 6, true),
        (5, 4, false),
        (HALF, HALF + 1, true),
        (0, u32::MAX, false),
        (0, HALF, true),
        (0, HALF + 1, false),
    ] {
        let mut calls = InFlight::new(Duration::from_millis(80));
        calls.begin(is_at, at(0));
        calls.begin(call_is_of, at(1));
        assert_eq!(calls.overdue(is_at, at(1_000)), u32::from(!is_newer), "{call_is_of} after {is_at}");
        assert_eq!(calls.overdue(call_is_of, at(1_000)), u32::from(is_newer), "{call_is_of} after {is_at}");
    }
}

#[test]
fn calls_that_hang_are_told_of_once_and_again_when_more_do() {
    let at = |millis: u64| Timestamp::from_nanos(millis * 1_000_000);
    let mut calls = InFlight::new(Duration::from_millis(80));
    let (first, found) = calls.begin(0, at(0));
    assert!(!found);
    assert!(calls.begin(0, at(100)).1, "the first hangs");
    assert!(!calls.begin(0, at(101)).1, "and was told of");
    calls.end(0, first);
    assert_eq!(calls.overdue(0, at(101)), 0);
    assert!(calls.begin(0, at(200)).1, "others hang");
    assert_eq!(calls.overdue(0, at(200)), 2);
}

#[test]
fn a_word_told_twice_that_it_is_full_or_watched_still_is() {
    let word = Word::new(State::HalfOpen, 7);
    assert!(word.with_full(true).with_full(true).is_full() && !word.with_full(false).is_full());
    assert!(word.watched(true).watched(true).is_watched());
}

#[test]
fn what_callers_gave_up_before_an_answer_counts_no_more_after_it() {
    // An answer is conclusive: with what was given up before it, a healthy service would look like a hanging one.
    let word = Word::new(State::Closed, 7).after_giving_up().after_giving_up();
    assert_eq!((word.gave_up(), word.after_failure().gave_up(), word.after_success().gave_up()), (2, 0, 0));
    assert_eq!(word.after_failure().after_giving_up().failures(), 1);
}

#[test]
fn a_call_is_overdue_when_the_last_that_began_with_it_is_and_not_a_moment_later() {
    let at = |nanos: i64| Timestamp::from_nanos((90_000_000 + nanos) as u64);
    let mut calls = InFlight::new(Duration::from_millis(80));
    calls.begin(0, Timestamp::from_nanos(0));
    // Its part is ten milliseconds long.
    assert_eq!((calls.overdue(0, at(-1)), calls.overdue(0, at(0))), (0, 1));
}

#[test]
fn a_wait_of_years_keeps_its_nanosecond_where_nothing_grows() {
    // A float has no room for it, so it must not go through one.
    let base = Duration::new(40_000_000, 1);
    let opening = |attempt| Opening { attempt, cause: CAUSE, hint: None };
    assert_eq!(waits(base, 1.0).wait(&opening(9), 0.5), base);
    assert_eq!(waits(base, 2.0).wait(&opening(0), 0.5), base);
    assert_eq!(waits(SECOND, 2.0).wait(&opening(3), 0.5), 8 * SECOND);
    assert_eq!(waits(Duration::ZERO, 1.0).wait(&opening(0), 0.5), Duration::from_nanos(1));
}

#[test]
fn a_circuit_opened_by_hand_asks_no_rule_how_long() {
    let mut machine = asking();
    let now = Timestamp::from_nanos(1);
    let by_hand = machine.force(State::Open, now, now + SECOND);
    assert!(machine.question(&by_hand, None).is_none());
    let closed = machine.force(State::Closed, now, Timestamp::NEVER);
    assert!(machine.question(&closed, None).is_none());
    let tripped = machine.trip(machine.generation(), CAUSE, None, now).unwrap();
    let (asked, opening, unit) = machine.question(&tripped, Some(SECOND)).unwrap();
    assert_eq!((opening.attempt, opening.cause, opening.hint), (0, CAUSE, Some(SECOND)));
    assert!((0.0..1.0).contains(&unit));
    assert_eq!(format!("{:?}", asked.generator), "Some(Generator)", "a rule that is a closure can be shown");
    machine.set_rules(rules(waits(SECOND, 1.0)));
    assert!(machine.question(&tripped, None).is_none(), "there is no rule to ask");
}

#[test]
fn the_answer_of_a_slow_rule_does_not_move_the_next_state() {
    // The rule is asked without the lock: meanwhile the circuit may have been closed, or have opened once more.
    let mut machine = asking();
    let start = Timestamp::from_nanos(1);
    machine.trip(0, CAUSE, None, start).unwrap();
    let asked_in = machine.generation();
    assert_eq!(machine.until(), start + 60 * SECOND, "until it is answered");
    machine.amend(asked_in, start, 7 * SECOND);
    assert_eq!(machine.until(), start + 7 * SECOND);
    machine.force(State::Closed, start, Timestamp::NEVER);
    machine.amend(machine.generation(), start, 9 * SECOND);
    assert_eq!(machine.until(), Timestamp::NEVER, "closed");
    machine.trip(machine.generation(), CAUSE, None, start).unwrap();
    machine.amend(asked_in, start, 9 * SECOND);
    assert_eq!(machine.until(), start + 60 * SECOND, "open for another reason");
}

#[test]
fn a_dashboard_finds_each_state_and_cause_under_its_own_label() {
    let states = [
        (State::Closed, "closed", false),
        (State::Open, "open", true),
        (State::HalfOpen, "half_open", true),
        (State::Isolated, "isolated", true),
        (State::Disabled, "disabled", false),
        (State::MetricsOnly, "metrics_only", false),
    ];
    for (state, label, refuses) in states {
        assert_eq!((state.label(), state.refuses()), (label, refuses));
    }
    let causes = [
        (Cause::Consecutive { failures: 3 }, "consecutive", Some(1.0)),
        (Cause::Rate { failures: 3, calls: 4 }, "rate", Some(0.75)),
        (Cause::Rate { failures: 0, calls: 0 }, "rate", None),
        (Cause::Slow { slow: 1, calls: 4 }, "slow", Some(0.25)),
        (Cause::Abandoned { calls: 3 }, "abandoned", Some(1.0)),
        (Cause::Waited, "waited", None),
        (Cause::Probes { succeeded: 1, failed: 3 }, "probes", Some(0.75)),
        (Cause::Stage { stage: 0, percent: 10 }, "stage", None),
        (Cause::Undecided, "undecided", None),
        (Cause::Manual, "manual", None),
    ];
    for (cause, label, share) in causes {
        assert_eq!((cause.label(), cause.share()), (label, share));
    }
}
