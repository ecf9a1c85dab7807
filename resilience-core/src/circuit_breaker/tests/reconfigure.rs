//! Other settings for a breaker that runs: no circuit that cannot move, and nothing of the user's dropped under a lock.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn answers(breaker: &CircuitBreaker, outcomes: &str) -> bool {
    outcomes.chars().all(|outcome| {
        let class = if outcome == 'S' { Class::Success } else { Class::Failure };
        breaker.try_acquire().map(|permit| permit.settle(class)).is_ok()
    })
}

#[test]
fn a_ramp_taken_away_leaves_room_for_probes() {
    // A stage has counted more answers than there are probes, and some of its calls hang: reckoned as probes, they would
    // leave no place, and nobody whose answer could change that.
    let (builder, timer) = consecutive(1);
    let breaker = builder.clone().probes(3).ramp([0.5], 600 * SECOND).build().unwrap();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    record(&breaker, "SS");
    assert_eq!(breaker.snapshot().share, Some(0.5));
    let hang: Vec<_> = (0..20).filter_map(|_| breaker.try_acquire().ok()).collect();
    let passed = (0..20).filter(|_| answers(&breaker, "S")).count();
    assert_eq!((hang.len(), passed), (10, 10));
    breaker.reconfigure(builder.probes(3)).unwrap();
    assert_eq!((breaker.state(), breaker.snapshot().share), (State::HalfOpen, None));
    assert!(answers(&breaker, "SS"), "the probes there are now");
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn fewer_probes_than_have_answered_leave_room_for_others() {
    // Three of ten succeeded and one failed: no verdict by the old rules, and by the new ones no place.
    let half_open = || {
        let (builder, timer) = consecutive(1);
        let breaker = builder.clone().probes(10).build().unwrap();
        record(&breaker, "F");
        timer.advance(5 * SECOND);
        record(&breaker, "SSFS");
        (breaker, builder.probes(3))
    };
    let (breaker, fewer) = half_open();
    breaker.reconfigure(fewer).unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(answers(&breaker, "S"));
    assert_eq!(breaker.state(), State::HalfOpen, "answers to other rules have no say");
    assert!(answers(&breaker, "S"));
    assert_eq!(breaker.state(), State::Closed);
    // A probe that is out is one of them still.
    let (breaker, fewer) = half_open();
    let out = breaker.try_acquire().unwrap();
    breaker.reconfigure(fewer).unwrap();
    let others: Vec<_> = (0..10).filter_map(|_| breaker.try_acquire().ok()).collect();
    assert_eq!(others.len(), 2);
    drop((out, others));
}

#[test]
fn a_window_that_stays_is_not_asked_for_more_calls_than_it_holds() {
    // The window does not change, whatever the other builder says of it: of twenty calls, the default, a window of ten would
    // never be judged again, and the circuit never open.
    let breaker = CircuitBreaker::builder().count_window(10).slow_calls(SECOND, 1.0).timer(ManualTimer::new());
    let breaker = breaker.build().unwrap();
    breaker.reconfigure(CircuitBreaker::builder().failure_rate(0.3).slow_calls(SECOND, 0.5)).unwrap();
    record(&breaker, &"F".repeat(10));
    assert_eq!(breaker.state(), State::Open);
}

/// Says whether it was dropped while the breaker's lock was held.
struct Looks {
    breaker: Arc<Mutex<Option<CircuitBreaker>>>,
    free: Arc<AtomicBool>,
}

impl Drop for Looks {
    fn drop(&mut self) {
        let free = self.breaker.lock().unwrap().as_ref().is_none_or(|it| it.shared.cold.try_lock().is_ok());
        self.free.fetch_and(free, Ordering::Relaxed);
    }
}

impl Sink for Looks {
    fn on_event(&self, _: &Heard<'_>) {}
}

#[test]
fn what_a_change_leaves_over_is_dropped_outside_the_lock() {
    // A rule of waits owns what it likes, and its drop may look at the breaker: under the lock that is a deadlock.
    let (breaker, free) = (Arc::default(), Arc::new(AtomicBool::new(true)));
    let looks = || Looks { breaker: Arc::clone(&breaker), free: free.clone() };
    let (builder, _) = consecutive(1);
    let asks = |it: Looks| {
        move |_: &Opening| {
            let _ = &it;
            SECOND
        }
    };
    *breaker.lock().unwrap() = Some(builder.clone().open_for_each(asks(looks())).build().unwrap());
    let changed = breaker.lock().unwrap().clone().unwrap();
    // The rule that goes, and the listeners of the builder, which are not looked at.
    changed.reconfigure(consecutive(2).0.open_for_each(asks(looks())).listener(looks())).unwrap();
    changed.reconfigure(consecutive(2).0).unwrap();
    *breaker.lock().unwrap() = None;
    assert!(free.load(Ordering::Relaxed));
}

#[test]
fn a_rule_of_waits_does_not_come_to_a_breaker_that_threads_may_keep() {
    // What is built without anything of the user's may live on in a thread's places after its last handle is gone. A
    // closure that came later would live on with it, and whoever waits for its drop would wait for the thread's end.
    let plain = || CircuitBreaker::builder().consecutive_failures(1);
    let asks = || plain().open_for_each(|_| 7 * SECOND);
    let breaker = plain().build().unwrap();
    let refused = breaker.reconfigure(asks().dry_run(true)).unwrap_err();
    assert_eq!(refused.to_string(), "open_for_each cannot come while running, only change");
    breaker.open_for(SECOND);
    assert!(breaker.try_acquire().is_err(), "nothing has changed");
    let asked = asks().build().unwrap();
    asked.reconfigure(plain()).unwrap();
    asked.reconfigure(asks()).unwrap();
    record(&asked, "F");
    assert!(asked.try_acquire().unwrap_err().retry_after() > Some(6 * SECOND));
}
