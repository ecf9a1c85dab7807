//! Every schedule of a few threads on one breaker.

use std::time::Duration;

use loom::thread;

use super::*;
use crate::Class;
use crate::sync::model;
use crate::time::ManualTimer;

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
