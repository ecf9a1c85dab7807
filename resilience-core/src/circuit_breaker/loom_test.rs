//! Every schedule of a few threads on one breaker.

use std::time::Duration;

use loom::thread;

use super::*;
use crate::Class;
use crate::sync::model;
use crate::time::{ManualTimer, Timer};

fn breaker(failures: u32, probes: u32) -> (CircuitBreaker, ManualTimer) {
    let timer = ManualTimer::new();
    let builder = CircuitBreaker::builder().consecutive_failures(failures).probes(probes).timer(timer.clone());
    (builder.build().expect("the configuration is valid"), timer)
}

#[test]
fn loom_two_failures_make_one_trip_and_none_is_lost() {
    model(|| {
        let (breaker, _) = breaker(2, 1);
        let permits = [breaker.try_acquire().expect("closed"), breaker.try_acquire().expect("closed")];
        let threads = permits.map(|permit| thread::spawn(move || permit.settle(Class::Failure)));
        for thread in threads {
            thread.join().expect("no panic");
        }
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.state, snapshot.generation, snapshot.opened), (State::Open, 1, 1));
    });
}

#[test]
fn loom_a_late_answer_never_touches_the_next_closed_period() {
    model(|| {
        let (breaker, _) = breaker(1, 1);
        let late = breaker.try_acquire().expect("closed");
        let settles = thread::spawn(move || late.settle(Class::Failure));
        // Two transitions, by hand: whatever the late failure hits, the last state is closed unless it came after.
        breaker.isolate();
        breaker.close();
        let after = breaker.snapshot();
        settles.join().expect("no panic");
        // The permit is of generation 0; the closed circuit is a later one.
        assert_eq!((breaker.state(), after.consecutive_failures), (State::Closed, 0));
    });
}

#[test]
fn loom_one_probe_is_one_probe_and_its_place_comes_back() {
    model(|| {
        let (breaker, timer) = breaker(1, 1);
        breaker.try_acquire().expect("closed").settle(Class::Failure);
        timer.advance(Duration::from_secs(5));
        let other = breaker.clone();
        let probe = thread::spawn(move || other.try_acquire());
        let mine = breaker.try_acquire();
        let theirs = probe.join().expect("no panic");
        assert!(mine.is_ok() != theirs.is_ok(), "exactly one is the probe");
        drop((mine, theirs));
        assert!(breaker.try_acquire().is_ok_and(|permit| permit.is_probe()));
    });
}

#[test]
fn loom_a_record_made_while_the_window_moves_on_is_not_voided() {
    use super::window::{Record, TimeWindow};
    use crate::time::Timestamp;
    model(|| {
        let width = 1_000_000;
        let window = loom::sync::Arc::new(TimeWindow::new(Duration::from_nanos(2 * width), 1));
        let (old, new) = (Timestamp::from_nanos(20 * width), Timestamp::from_nanos(40 * width));
        window.record(0, 0, old, Record::Failure);
        let other = window.clone();
        let thread = thread::spawn(move || other.record(0, 0, new, Record::Failure));
        window.record(0, 0, new, Record::Success);
        thread.join().expect("no panic");
        let counts = window.counts(0, new);
        assert_eq!((counts.calls, counts.failures), (2, 1));
    });
}

#[test]
fn loom_a_control_turned_both_ways_at_once_leaves_its_breakers_as_it_says() {
    model(|| {
        let control = ManualControl::new();
        let timer = ManualTimer::new();
        let builder = CircuitBreaker::builder().consecutive_failures(1).timer(timer).control(&control);
        let breaker = builder.build().expect("the configuration is valid");
        let other = control.clone();
        let isolates = thread::spawn(move || other.isolate());
        control.close();
        isolates.join().expect("no panic");
        assert_eq!(breaker.state() == State::Isolated, control.is_isolated());
    });
}

#[test]
fn loom_a_key_with_a_call_in_flight_is_not_forgotten() {
    model(|| {
        let builder = CircuitBreaker::builder().consecutive_failures(1).timer(ManualTimer::new()).max_keys(1);
        let keyed = builder.build_keyed::<u8>().expect("the configuration is valid");
        let permit = keyed.try_acquire(&1).expect("closed");
        let other = keyed.clone();
        // A newcomer looks for room while the call fails: it must not throw away the circuit that is about to open.
        let comes = thread::spawn(move || drop(other.try_acquire(&2)));
        permit.settle(Class::Failure);
        comes.join().expect("no panic");
        assert_eq!(keyed.get(&1).map(|breaker| breaker.state()), Some(State::Open));
    });
}

fn keyed(max_keys: usize) -> KeyedCircuitBreaker<u8> {
    let builder = CircuitBreaker::builder().consecutive_failures(1).timer(ManualTimer::new()).max_keys(max_keys);
    builder.build_keyed().expect("the configuration is valid")
}

fn set(keyed: &KeyedCircuitBreaker<u8>, failures: u32, max_keys: usize) {
    let builder = CircuitBreaker::builder().consecutive_failures(failures).max_keys(max_keys);
    keyed.reconfigure(builder.timer(ManualTimer::new())).expect("the configuration is valid");
}

#[test]
fn loom_a_key_that_comes_while_the_rules_change_goes_by_the_new_ones() {
    model(|| {
        let keyed = keyed(1);
        let other = keyed.clone();
        let comes = thread::spawn(move || drop(other.try_acquire(&1)));
        set(&keyed, 2, 1);
        comes.join().expect("no panic");
        keyed.close();
        keyed.try_acquire(&1).expect("closed").settle(Class::Failure);
        assert!(keyed.try_acquire(&1).is_ok(), "two failures open it, and not one");
    });
}

#[test]
fn loom_of_two_changes_at_once_one_is_that_of_every_key() {
    model(|| {
        let keyed = keyed(8);
        keyed.try_acquire(&1).expect("closed").settle(Class::Success);
        let other = keyed.clone();
        let changes = thread::spawn(move || set(&other, 3, 8));
        set(&keyed, 2, 8);
        changes.join().expect("no panic");
        let opened_by =
            |key: u8| (1..9).find(|_| keyed.try_acquire(&key).map(|permit| permit.settle(Class::Failure)).is_err());
        assert_eq!(opened_by(1), opened_by(2));
    });
}

#[test]
fn loom_a_key_that_moves_to_another_part_is_found() {
    // Some of these have their place in the second part.
    for key in 1..=4 {
        model(move || {
            // One part, and then two: whoever has chosen a part by the old number must not make a second circuit there.
            let keyed = keyed(1);
            keyed.try_acquire(&key).expect("closed").settle(Class::Failure);
            let other = keyed.clone();
            let calls = thread::spawn(move || other.try_acquire(&key).is_err());
            set(&keyed, 1, 2);
            assert!(calls.join().expect("no panic"), "the circuit is open");
            assert_eq!(keyed.snapshot().keys, 1);
        });
    }
}

#[test]
fn loom_a_call_found_slow_while_it_ends_counts_once() {
    model(|| {
        let timer = ManualTimer::new();
        let builder = CircuitBreaker::builder().slow_calls(Duration::from_millis(8), 1.0).minimum_calls(2);
        let breaker = builder.timer(timer.clone()).build().expect("the configuration is valid");
        let slow = breaker.try_acquire().expect("closed");
        timer.advance(Duration::from_millis(16));
        let ends = thread::spawn(move || slow.settle(Class::Success));
        let next = breaker.try_acquire();
        ends.join().expect("no panic");
        // One slow call is not the two it takes, whichever way it was found.
        assert!(next.is_ok());
        assert_eq!(breaker.snapshot().slow, 1);
    });
}

#[test]
fn loom_of_two_changes_at_once_one_wins_as_a_whole() {
    model(|| {
        let (breaker, timer) = breaker(1, 1);
        let set = |breaker: &CircuitBreaker, failures: u32, dry_run: bool| {
            let builder = CircuitBreaker::builder().consecutive_failures(failures).dry_run(dry_run);
            let builder = builder.open_for(Duration::from_secs(failures.into()));
            breaker.reconfigure(builder.timer(ManualTimer::new())).expect("the configuration is valid");
        };
        let other = breaker.clone();
        let thread = thread::spawn(move || set(&other, 2, true));
        set(&breaker, 3, false);
        thread.join().expect("no panic");
        let mut failures = 0;
        while breaker.state() == State::Closed {
            breaker.try_acquire().expect("closed").settle(Class::Failure);
            failures += 1;
        }
        assert_eq!(breaker.snapshot().until, Some(timer.now() + Duration::from_secs(failures)));
        assert_eq!(breaker.try_acquire().is_ok(), failures == 2, "a dry run refuses nobody");
    });
}
