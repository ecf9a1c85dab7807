use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::event::{Event as Heard, Sink};
use crate::time::ManualTimer;
use crate::{Class, Reason};

mod boundaries;
mod clocks;
mod control;
mod keyed;
mod keyed_change;
mod machine;
mod model;
mod options;
mod rate;
mod reconfigure;
mod slow;
#[cfg(feature = "tower")]
mod tower_layer;

const SECOND: Duration = Duration::from_secs(1);

fn consecutive(failures: u32) -> (CircuitBreakerBuilder, ManualTimer) {
    let timer = ManualTimer::new();
    let builder = CircuitBreaker::builder().name("test").consecutive_failures(failures).timer(timer.clone());
    (builder, timer)
}

fn record(breaker: &CircuitBreaker, outcomes: &str) {
    for outcome in outcomes.chars() {
        let class = match outcome {
            'S' => Class::Success,
            'F' => Class::Failure,
            'I' => Class::Ignore,
            's' => Class::Slow,
            other => panic!("no outcome {other}"),
        };
        breaker.try_acquire().expect("the circuit admits").settle(class);
    }
}

#[test]
fn consecutive_failures_open_and_a_success_between_them_does_not() {
    let (builder, _) = consecutive(3);
    let breaker = builder.build().unwrap();
    record(&breaker, "FFSFF");
    assert_eq!(breaker.state(), State::Closed);
    record(&breaker, "F");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn an_open_circuit_says_how_long_and_lets_probes_pass_on_the_instant() {
    // CB20: refused 1 ns before the wait is over, admitted at its end.
    let (builder, timer) = consecutive(1);
    let breaker = builder.open_for(30 * SECOND).probes(1).build().unwrap();
    record(&breaker, "F");
    timer.advance(30 * SECOND - Duration::from_nanos(1));
    let refused = breaker.try_acquire().unwrap_err();
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::Open, Some(Duration::from_nanos(1))));
    assert_eq!(&**refused.policy(), "test");
    timer.advance(Duration::from_nanos(1));
    assert!(breaker.try_acquire().unwrap().is_probe());
}

#[test]
fn half_open_admits_its_probes_and_refuses_the_rest() {
    // CB5: failsafe and recloser let all thousand through.
    let (builder, timer) = consecutive(1);
    let breaker = builder.probes(3).build().unwrap();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    let answers: Vec<_> = (0..1000).map(|_| breaker.try_acquire()).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    let refused = answers.iter().find_map(|answer| answer.as_ref().err()).unwrap();
    assert_eq!(refused.reason(), Reason::Probing);
    assert_eq!(breaker.snapshot().rejected, 997);
}

#[test]
fn a_dropped_probe_gives_its_place_back_at_once() {
    // CB6, CB7: linkerd waits for ever.
    let heard = Recorder::default();
    let (builder, timer) = consecutive(1);
    let breaker = builder.probes(1).listener(heard.clone()).build().unwrap();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    drop(breaker.try_acquire().unwrap());
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(heard.0.lock().unwrap().last(), Some(&Event::Abandoned));
    assert!(breaker.try_acquire().unwrap().is_probe());
}

#[test]
fn a_panicking_probe_counts_as_a_failure() {
    // CB8: seatbelt and tower-resilience record nothing.
    let (builder, timer) = consecutive(1);
    let breaker = builder.probes(1).build().unwrap();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    let probe = breaker.try_acquire().unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _probe = probe;
        std::panic::resume_unwind(Box::new("the service's own trouble"));
    }));
    assert!(result.is_err());
    assert_eq!(breaker.state(), State::Open);
    timer.advance(5 * SECOND);
    assert!(breaker.try_acquire().is_ok());
}

#[test]
fn a_hung_probe_does_not_hold_the_circuit_half_open() {
    // CB9: the circuit counts as open since the limit passed, so a new probe may go one wait later.
    let (builder, timer) = consecutive(1);
    let breaker = builder.open_for(5 * SECOND).half_open_for(10 * SECOND).probes(1).build().unwrap();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    let hung = breaker.try_acquire().unwrap();
    timer.advance(10 * SECOND);
    let refused = breaker.try_acquire().unwrap_err();
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::Open, Some(5 * SECOND)));
    timer.advance(5 * SECOND);
    let probe = breaker.try_acquire().unwrap();
    hung.settle(Class::Failure);
    assert_eq!(breaker.state(), State::HalfOpen, "the hung probe's answer came too late");
    assert_eq!(breaker.snapshot().stale, 1);
    probe.settle(Class::Success);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_straggler_from_before_the_outage_says_nothing_about_the_recovery() {
    // CB10: TR, failsafe, recloser and linkerd take its answer for the probe's.
    for late in [Class::Success, Class::Failure] {
        let (builder, timer) = consecutive(1);
        let breaker = builder.probes(1).build().unwrap();
        let straggler = breaker.try_acquire().unwrap();
        record(&breaker, "F");
        timer.advance(5 * SECOND);
        let _probe = breaker.try_acquire().unwrap();
        straggler.settle(late);
        assert_eq!(breaker.state(), State::HalfOpen);
    }
}

#[test]
fn a_probe_of_an_earlier_half_open_state_does_not_decide_a_later_one() {
    // CB11: seatbelt accepts it. One more of its kind would decide: three probes, two of them must fail or succeed.
    for late in [Class::Success, Class::Failure] {
        let (builder, timer) = consecutive(1);
        let breaker = builder.probes(3).build().unwrap();
        record(&breaker, "F");
        timer.advance(5 * SECOND);
        let old = breaker.try_acquire().unwrap();
        record(&breaker, "FF");
        assert_eq!(breaker.state(), State::Open);
        timer.advance(5 * SECOND);
        record(&breaker, if late == Class::Success { "S" } else { "F" });
        old.settle(late);
        assert_eq!((breaker.state(), breaker.snapshot().stale), (State::HalfOpen, 1));
    }
}

#[test]
fn a_call_of_an_earlier_closed_period_is_not_counted_in_a_later_one() {
    // CB12: its answer is about a service that was repaired since. None of the rivals tells the periods apart.
    let timer = ManualTimer::new();
    let builder = || CircuitBreaker::builder().minimum_calls(2).probes(1).timer(timer.clone());
    for builder in [builder().consecutive_failures(1), builder().window(3600 * SECOND), builder().count_window(2)] {
        let breaker = builder.build().unwrap();
        let old: Vec<_> = (0..10).map(|_| breaker.try_acquire().unwrap()).collect();
        record(&breaker, "F");
        if breaker.state() == State::Closed {
            record(&breaker, "F");
        }
        timer.advance(5 * SECOND);
        record(&breaker, "S");
        assert_eq!(breaker.state(), State::Closed);
        old.into_iter().for_each(|old| old.settle(Class::Failure));
        let seen = breaker.snapshot();
        assert_eq!((seen.state, seen.failures, seen.consecutive_failures, seen.stale), (State::Closed, 0, 0, 10));
    }
}

#[test]
fn the_verdict_falls_when_the_remaining_probes_cannot_change_it() {
    // CB14: ten probes, half of them must fail.
    let verdict = |outcomes: &str| {
        let (builder, timer) = consecutive(1);
        let breaker = builder.probes(10).probe_failure_rate(0.5).build().unwrap();
        record(&breaker, "F");
        timer.advance(5 * SECOND);
        record(&breaker, outcomes);
        breaker.state()
    };
    assert_eq!(verdict("FSSSSS"), State::HalfOpen);
    assert_eq!(verdict("FSSSSSS"), State::Closed);
    assert_eq!(verdict("FSSSSSSSSS"), State::Closed);
    assert_eq!(verdict("FFFF"), State::HalfOpen);
    assert_eq!(verdict("FFFFF"), State::Open);
}

#[test]
fn an_answer_that_says_nothing_frees_the_place_and_counts_nowhere() {
    // CB24: TR, failsafe and recloser take it for a success.
    let (builder, timer) = consecutive(2);
    let breaker = builder.probes(1).build().unwrap();
    let window = CircuitBreaker::builder().build().unwrap();
    record(&window, "SFIIIII");
    assert_eq!((window.snapshot().calls, window.snapshot().failures), (2, 1));
    record(&breaker, "FI");
    assert_eq!(breaker.snapshot().consecutive_failures, 1);
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    record(&breaker, "I");
    assert_eq!(breaker.state(), State::HalfOpen);
    record(&breaker, "S");
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn calls_given_up_open_the_circuit_only_when_nothing_else_is_known() {
    // CB15: a hanging dependency is only ever seen as calls given up by their callers.
    let state = |abandoned: Abandoned, outcomes: &str| {
        let (builder, _) = consecutive(5);
        let breaker = builder.abandoned(abandoned).build().unwrap();
        for outcome in outcomes.chars() {
            match outcome {
                '-' => drop(breaker.try_acquire()),
                _ => record(&breaker, &outcome.to_string()),
            }
        }
        breaker.state()
    };
    assert_eq!(state(Abandoned::Ignore, "----------"), State::Closed);
    assert_eq!(state(Abandoned::Failure, "-----"), State::Open);
    assert_eq!(state(Abandoned::WhenNothingElse, "----"), State::Closed);
    assert_eq!(state(Abandoned::WhenNothingElse, "-----"), State::Open);
    assert_eq!(state(Abandoned::WhenNothingElse, "----S----"), State::Closed);
    assert_eq!(state(Abandoned::WhenNothingElse, "F---------"), State::Closed);
}

#[test]
fn isolation_ignores_time_and_ends_by_hand() {
    // CB25, in part.
    let (builder, timer) = consecutive(1);
    let breaker = builder.build().unwrap();
    breaker.isolate();
    timer.advance(Duration::from_secs(86_400));
    let refused = breaker.try_acquire().unwrap_err();
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::Isolated, None));
    breaker.close();
    record(&breaker, "S");
    breaker.open_for(2 * SECOND);
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(2 * SECOND));
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Sink for Recorder {
    fn on_event(&self, event: &Heard<'_>) {
        self.0.lock().unwrap().push(*event.fact::<Event>().unwrap());
    }
}

impl Recorder {
    fn transitions(&self) -> Vec<(State, u32)> {
        let changed = |event: &Event| match event {
            Event::Changed(transition) => Some((transition.to, transition.generation)),
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(changed).collect()
    }
}

#[test]
fn a_listener_may_call_back_and_hears_transitions_in_order() {
    // CB23: failsafe deadlocks in reset. The listener forces the state from inside the report of a transition, and
    // then panics: those after it hear all the same.
    #[derive(Clone)]
    struct Meddler(Arc<Mutex<Option<CircuitBreaker>>>);
    impl Sink for Meddler {
        fn on_event(&self, event: &Heard<'_>) {
            let breaker = self.0.lock().unwrap().clone().unwrap();
            let opened = matches!(event.fact::<Event>(), Some(Event::Changed(t)) if t.to == State::Open);
            if opened && breaker.state() == State::Open {
                breaker.isolate();
                std::panic::resume_unwind(Box::new("the listener's own trouble"));
            }
        }
    }
    let (builder, _) = consecutive(1);
    let meddler = Meddler(Arc::default());
    let recorder = Recorder::default();
    let breaker = builder.listener(meddler.clone()).listener(recorder.clone()).build().unwrap();
    *meddler.0.lock().unwrap() = Some(breaker.clone());
    record(&breaker, "F");
    assert_eq!(breaker.state(), State::Isolated);
    assert_eq!(recorder.transitions(), [(State::Open, 1), (State::Isolated, 2)]);
    breaker.close();
    record(&breaker, "S");
    assert_eq!(recorder.transitions()[2..], [(State::Closed, 3)]);
}

#[test]
fn each_trip_is_reported_once_by_many_threads_and_in_order() {
    // CB22: generations, which number the transitions, arrive without gap or swap.
    let (builder, timer) = consecutive(1);
    let recorder = Recorder::default();
    let breaker = builder.open_for(Duration::from_nanos(1)).probes(1).listener(recorder.clone()).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..5000u32 {
                    timer.advance(Duration::from_nanos(1));
                    if let Ok(permit) = breaker.try_acquire() {
                        permit.settle(if round % 3 == 0 { Class::Failure } else { Class::Success });
                    }
                }
            });
        }
    });
    let heard = recorder.transitions();
    assert!(heard.len() > 100, "the circuit must have gone round: {}", heard.len());
    let generations: Vec<u32> = heard.iter().map(|(_, generation)| *generation).collect();
    assert_eq!(generations, (1..=heard.len() as u32).collect::<Vec<_>>());
    assert_eq!(breaker.snapshot().generation as usize, heard.len());
}

#[test]
fn a_configuration_that_cannot_work_is_refused_by_field_and_rule() {
    // CB28.
    let field = |builder: CircuitBreakerBuilder| builder.build().unwrap_err().field();
    let new = CircuitBreaker::builder;
    assert_eq!(field(new().consecutive_failures(0)), "consecutive_failures");
    assert_eq!(field(new().consecutive_failures(16_384)), "consecutive_failures");
    for rate in [0.0, -1.0, 1.000_1, f64::NAN, f64::INFINITY] {
        assert_eq!(field(new().failure_rate(rate)), "failure_rate");
        assert_eq!(field(new().probe_failure_rate(rate)), "probe_failure_rate");
    }
    assert_eq!(field(new().window(Duration::from_micros(999))), "window");
    assert_eq!(field(new().minimum_calls(0)), "minimum_calls");
    assert_eq!(field(new().probes(0)), "probes");
    assert_eq!(field(new().probes(u32::MAX)), "probes");
    assert_eq!(field(new().open_for(Duration::ZERO)), "open_for");
    assert_eq!(field(new().half_open_for(Duration::ZERO)), "half_open_for");
}

#[test]
fn the_longest_durations_do_not_overflow() {
    let (builder, timer) = consecutive(1);
    let breaker = builder.open_for(Duration::MAX).half_open_for(Duration::MAX).build().unwrap();
    record(&breaker, "F");
    timer.advance(Duration::from_secs(u64::MAX / 4_000_000_000));
    assert_eq!(breaker.try_acquire().unwrap_err().reason(), Reason::Open);
    let rate = CircuitBreaker::builder().window(Duration::MAX).timer(timer).build().unwrap();
    record(&rate, "SF");
    assert_eq!(rate.snapshot().calls, 2);
}
