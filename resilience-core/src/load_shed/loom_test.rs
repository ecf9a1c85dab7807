//! Every schedule of two calls around a signal, a queue and the mix of those who came.

use std::time::Duration;

use loom::thread;

use super::{QueueShed, Signal, SignalShed};
use crate::context::{Context, Criticality};
use crate::sync::model;
use crate::time::ManualTimer;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn loom_a_call_that_saw_an_older_signal_does_not_make_the_last_one_new_again() {
    // Whoever measures has died. What it said last is to be forgotten after its time, not after that of a straggler.
    model(|| {
        let (timer, signal) = (ManualTimer::new(), Signal::new());
        let builder = SignalShed::builder().signal(signal.clone()).from(0.0).fresh_for(10 * SECOND);
        let shed = builder.timer(timer.clone()).seed(1).build().unwrap();
        signal.set(0.5);
        assert!(shed.snapshot().ratio > 0.0);
        signal.set(0.7);
        let other = shed.clone();
        let straggler = thread::spawn(move || drop(other.try_admit()));
        signal.set(0.9);
        let _ = shed.try_admit();
        straggler.join().unwrap();
        timer.advance(11 * SECOND);
        assert_eq!(shed.snapshot().ratio, 0.0);
    });
}

#[test]
fn loom_of_two_calls_at_once_both_are_in_the_mix() {
    // A mix that loses calls of one criticality takes too many of the others.
    model(|| {
        let signal = Signal::new();
        let shed = SignalShed::builder().signal(signal.clone()).from(0.0).most(1.0).timer(ManualTimer::new()).seed(1);
        let shed = shed.build().unwrap();
        let other = shed.clone();
        let critical = |shed: &SignalShed| {
            Context::new().with_criticality(Criticality::Critical).run(|| drop(shed.try_admit()));
        };
        let theirs = thread::spawn(move || critical(&other));
        critical(&shed);
        theirs.join().unwrap();
        signal.set(0.5);
        // With two critical calls and one that is not, half of the three is that one and a quarter of the others.
        let _ = Context::new().with_criticality(Criticality::Sheddable).run(|| shed.try_admit());
        let refused = shed.refusal(Criticality::Critical);
        assert!((refused - 1.0 / 3.0).abs() < 1e-9, "{refused}");
    });
}

#[test]
fn loom_two_calls_that_end_an_interval_at_once_end_it_once_and_are_both_in_the_next() {
    // Ended twice, the second end finds an interval without calls and takes the queue for empty; with the luckier of the
    // two lost, it is taken for longer than it is.
    model(|| {
        let timer = ManualTimer::new();
        let builder = QueueShed::builder().target(Duration::from_millis(5)).interval(Duration::from_millis(100));
        let shed = builder.timer(timer.clone()).seed(1).build().unwrap();
        let _ = shed.try_admit(Duration::from_millis(20));
        timer.advance(Duration::from_millis(100));
        let other = shed.clone();
        let theirs = thread::spawn(move || drop(other.try_admit(Duration::from_millis(10))));
        let _ = shed.try_admit(Duration::from_millis(30));
        theirs.join().unwrap();
        assert_eq!(shed.snapshot().wait, Duration::from_millis(20));
        timer.advance(Duration::from_millis(100));
        let _ = shed.try_admit(Duration::from_millis(40));
        assert_eq!(shed.snapshot().wait, Duration::from_millis(10));
    });
}

#[test]
fn loom_of_two_changes_at_once_the_queue_goes_by_one() {
    // The bounds of a wait and the hint lie beside the machine. With the interval of one change and the target of the
    // other, nobody's rules hold.
    model(|| {
        let timer = ManualTimer::new();
        let settings = |target: u64, interval: u64| {
            let builder = QueueShed::builder().target(Duration::from_millis(target)).timer(ManualTimer::new());
            builder.interval(Duration::from_millis(interval))
        };
        let shed = settings(5, 100).timer(timer).build().unwrap();
        let other = shed.clone();
        let theirs = thread::spawn(move || other.reconfigure(settings(10, 200)).unwrap());
        shed.reconfigure(settings(20, 400)).unwrap();
        theirs.join().unwrap();
        let [ruled, machine] = shed.goes_by();
        assert_eq!(ruled, machine);
    });
}
