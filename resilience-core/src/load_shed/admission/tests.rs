use std::time::Duration;

use super::*;
use crate::Class;
use crate::context::{Context, Criticality};
use crate::load_shed::Event;
use crate::time::ManualTimer;

fn control(timer: &ManualTimer) -> AdmissionControlBuilder {
    AdmissionControl::builder().name("search").timer(timer.clone()).seed(7)
}

fn in_class<R>(criticality: Criticality, act: impl FnOnce() -> R) -> R {
    Context::new().with_criticality(criticality).run(act)
}

/// Sends so many, of which these succeed; how many were sent.
fn send(control: &AdmissionControl, calls: u32, succeeds: impl Fn(u32) -> bool) -> u32 {
    let mut sent = 0;
    for call in 0..calls {
        if let Ok(permit) = control.try_acquire() {
            permit.settle(if succeeds(call) { Class::Success } else { Class::Failure });
            sent += 1;
        }
    }
    sent
}

#[test]
fn as_many_are_refused_as_envoy_refuses() {
    // 2.4: P = min(0.8, max(0, (n - s / 0.95) / (n + 1))^(1 / aggression)), and refused calls are not of the n.
    let control = control(&ManualTimer::new()).min_rate(0.0).build().unwrap();
    for _ in 0..50 {
        control.permit().settle(Class::Success);
        control.permit().settle(Class::Failure);
    }
    let expected = (100.0 - 50.0 / 0.95) / 101.0;
    assert!((control.snapshot().ratio - expected).abs() < 1e-12);
    let refused = (0..10_000).filter(|_| control.decide().is_err()).count();
    assert!((refused as f64 / 10_000.0 - expected).abs() < 0.02, "{refused}");
    let seen = control.snapshot();
    assert_eq!((seen.calls, seen.successes, seen.rejected), (100, 50, refused as u64));
}

#[test]
fn a_service_that_keeps_its_promise_is_left_alone() {
    let control = control(&ManualTimer::new()).build().unwrap();
    assert_eq!(send(&control, 10_000, |call| call % 25 != 0), 10_000);
}

#[test]
fn a_service_that_is_down_still_hears_of_a_fifth() {
    let control = control(&ManualTimer::new()).build().unwrap();
    let sent = send(&control, 10_000, |_| false);
    assert!((1_900..2_400).contains(&sent), "{sent}");
}

#[test]
fn a_few_calls_decide_nothing() {
    // Two failures of three calls are chance: below five a second, over 30 s, nothing is refused.
    let control = control(&ManualTimer::new()).build().unwrap();
    assert_eq!(send(&control, 150, |_| false), 150);
    assert!(control.snapshot().ratio > 0.7);
}

#[test]
fn the_least_critical_make_room_for_the_others() {
    let control = control(&ManualTimer::new()).build().unwrap();
    let (batch, live) = (Criticality::Sheddable, Criticality::Critical);
    let (mut batches, mut lives) = (0, 0);
    for call in 0..10_000 {
        batches += in_class(batch, || send(&control, 1, |_| call % 4 != 0));
        lives += in_class(live, || send(&control, 1, |_| call % 4 != 0));
    }
    // A quarter fails, so about a fifth of all is refused: two fifths of the one half, and none of the other.
    assert_eq!(lives, 10_000);
    assert!((5_300..6_500).contains(&batches), "{batches}");
    assert!(control.refusal(live) < 1e-9 && control.refusal(batch) > 0.3);
}

#[test]
fn calls_that_are_given_up_count_as_failed_and_calls_never_sent_do_not() {
    // A service that hangs answers nothing: without this, its figures would be those of before.
    let timer = ManualTimer::new();
    let control = control(&timer).build().unwrap();
    drop(control.try_acquire());
    assert_eq!((control.snapshot().calls, control.snapshot().successes), (1, 0));
    control.try_acquire().unwrap().settle(Class::Ignore);
    assert_eq!(control.snapshot().calls, 1);
    timer.advance(Duration::from_secs(31));
    assert_eq!(control.snapshot().calls, 0);
}

#[test]
fn a_service_that_is_well_again_gets_everything_again() {
    let timer = ManualTimer::new();
    let control = control(&timer).build().unwrap();
    send(&control, 10_000, |_| false);
    for _ in 0..60 {
        timer.advance(Duration::from_secs(1));
        send(&control, 100, |_| true);
    }
    assert_eq!(send(&control, 1_000, |_| true), 1_000);
}

#[test]
fn a_dry_run_refuses_nobody() {
    let control = control(&ManualTimer::new()).dry_run(true).build().unwrap();
    assert_eq!(send(&control, 1_000, |_| false), 1_000);
    assert!(control.snapshot().would_reject > 500);
    assert!(matches!(Event::new(true, crate::Reason::Throttled, 0.5), Event::WouldReject { .. }));
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let build = AdmissionControl::builder;
    let cases = [
        (build().success_rate(0.0), "success_rate must be above 0 and at most 1"),
        (build().success_rate(f64::NAN), "success_rate must be above 0 and at most 1"),
        (build().aggression(0.0), "aggression must be a number above zero"),
        (build().aggression(f64::INFINITY), "aggression must be a number above zero"),
        (build().min_rate(-1.0), "min_rate must be a number at least zero"),
        (build().most(1.1), "most must be between 0 and 1"),
        (build().most(f64::NAN), "most must be between 0 and 1"),
        (build().window(Duration::ZERO), "window must be at least 1 ms"),
    ];
    for (builder, says) in cases {
        assert_eq!(builder.timer(ManualTimer::new()).build().unwrap_err().to_string(), says);
    }
    let extremes =
        build().window(Duration::MAX).min_rate(f64::MAX).aggression(f64::MAX).success_rate(f64::MIN_POSITIVE);
    let control = extremes.timer(ManualTimer::new()).build().unwrap();
    assert_eq!(send(&control, 100, |_| false), 100);
}
