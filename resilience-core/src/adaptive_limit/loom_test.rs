//! Every schedule of two threads around the machine and the gate.

use std::time::Duration;

use loom::thread;

use super::{Abandoned, AdaptiveLimit, AdaptiveLimitBuilder};
use crate::Class;
use crate::sync::model;
use crate::time::ManualTimer;

/// A limit whose windows are single calls.
fn limit() -> AdaptiveLimitBuilder {
    let builder = AdaptiveLimit::builder().aimd().min(1).window(Duration::ZERO, Duration::ZERO).samples(1);
    builder.seed(7).timer(ManualTimer::new())
}

#[test]
fn loom_the_gate_ends_where_the_machine_is() {
    // Two calls raise the limit, one after the other; whoever brings the first to the gate must not come last.
    model(|| {
        let limit = limit().initial(3).build().unwrap();
        let [_running, theirs, ours] = [(); 3].map(|()| limit.try_acquire().unwrap());
        let other = thread::spawn(move || theirs.settle(Class::Success));
        ours.settle(Class::Success);
        other.join().unwrap();
        let snapshot = limit.snapshot();
        assert_eq!((snapshot.windows, snapshot.limit, snapshot.in_flight), (2, 5, 1));
    });
}

#[test]
fn loom_calls_that_are_lost_together_lower_the_limit_once() {
    model(|| {
        let limit = limit().initial(10).build().unwrap();
        let theirs = limit.try_acquire().unwrap();
        let ours = limit.try_acquire().unwrap();
        let other = thread::spawn(move || theirs.settle(Class::Failure));
        ours.settle(Class::Failure);
        other.join().unwrap();
        assert_eq!(limit.snapshot().limit, 9);
    });
}

#[test]
fn loom_a_limit_that_is_changed_by_hand_and_by_a_call_ends_within_its_bounds() {
    model(|| {
        let limit = limit().initial(4).build().unwrap();
        let (permits, other) = ([limit.try_acquire().unwrap(), limit.try_acquire().unwrap()], limit.clone());
        let change = thread::spawn(move || other.reconfigure(self::limit().max(2)).unwrap());
        for permit in permits {
            permit.settle(Class::Success);
        }
        change.join().unwrap();
        assert_eq!((limit.snapshot().limit, limit.snapshot().in_flight), (2, 0));
    });
}

#[test]
fn loom_of_two_changes_at_once_one_is_what_all_read() {
    model(|| {
        let limit = limit().initial(4).build().unwrap();
        let other = limit.clone();
        let theirs = thread::spawn(move || other.reconfigure(self::limit().max(2)).unwrap());
        limit.reconfigure(self::limit().min(6).max(8).abandoned(Abandoned::Loss)).unwrap();
        theirs.join().unwrap();
        let seen = (limit.snapshot().limit, limit.shared.counts_abandoned());
        assert!([(2, false), (6, true)].contains(&seen), "{seen:?}");
    });
}
