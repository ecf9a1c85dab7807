//! Slow calls: counted while they run, once, and never for another period.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::slow::InFlight;
use super::*;
use crate::time::{Sleep, Timer, Timestamp, WallTime};

const MILLI: Duration = Duration::from_millis(1);

fn slow(minimum: u32) -> (CircuitBreaker, ManualTimer) {
    let timer = ManualTimer::new();
    let builder = CircuitBreaker::builder().slow_calls(100 * MILLI, 0.5).minimum_calls(minimum);
    let builder = builder.abandoned(Abandoned::Ignore);
    (builder.timer(timer.clone()).build().unwrap(), timer)
}

#[test]
fn answers_that_took_too_long_open_the_circuit() {
    // CB16: nothing fails, and nobody is served.
    let heard = Recorder::default();
    let timer = ManualTimer::new();
    let builder = CircuitBreaker::builder().slow_calls(100 * MILLI, 0.5).minimum_calls(10).listener(heard.clone());
    let breaker = builder.timer(timer.clone()).build().unwrap();
    for call in 0..10 {
        assert_eq!(breaker.state(), State::Closed, "call {call}");
        let permit = breaker.try_acquire().unwrap();
        timer.advance(150 * MILLI);
        permit.settle(Class::Success);
    }
    assert_eq!((breaker.state(), breaker.snapshot().opened), (State::Open, 1));
    let because_slow =
        |event: &Event| matches!(event, Event::Changed(to) if to.cause == Cause::Slow { slow: 10, calls: 10 });
    assert!(heard.0.lock().unwrap().iter().any(because_slow));
}

#[test]
fn a_call_given_up_late_was_slow_and_one_given_up_early_says_nothing() {
    // CB16, the second half.
    let (breaker, timer) = slow(2);
    for wait in [10, 10, 10, 150, 150] {
        assert_eq!(breaker.state(), State::Closed);
        let permit = breaker.try_acquire().unwrap();
        timer.advance(wait * MILLI);
        drop(permit);
    }
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn calls_that_hang_open_the_circuit_before_they_end_and_then_count_no_more() {
    let (breaker, timer) = slow(4);
    let hang: Vec<_> = (0..4).map(|_| breaker.try_acquire().unwrap()).collect();
    timer.advance(99 * MILLI);
    assert!(breaker.try_acquire().is_ok());
    timer.advance(20 * MILLI);
    assert_eq!(breaker.snapshot().slow, 4);
    assert_eq!(breaker.try_acquire().unwrap_err().reason(), Reason::Open);
    timer.advance(5 * SECOND);
    record(&breaker, "SS");
    assert_eq!(breaker.state(), State::Closed);
    drop(hang); // slow, all of them, and of another time
    assert_eq!((breaker.state(), breaker.snapshot().slow, breaker.snapshot().stale), (State::Closed, 0, 4));
}

#[test]
fn a_slow_call_is_counted_once_however_often_it_is_looked_at() {
    let (breaker, timer) = slow(100);
    let hangs = breaker.try_acquire().unwrap();
    timer.advance(SECOND);
    for _ in 0..3 {
        record(&breaker, "S");
        assert_eq!(breaker.snapshot().slow, 1);
    }
    hangs.settle(Class::Success);
    assert_eq!((breaker.snapshot().slow, breaker.snapshot().calls), (1, 4));
}

#[test]
fn a_slow_class_is_slow_and_no_failure_and_a_slow_probe_has_failed() {
    let (breaker, timer) = slow(2);
    record(&breaker, "ss");
    assert_eq!(breaker.state(), State::Open);
    timer.advance(5 * SECOND);
    for _ in 0..2 {
        let probe = breaker.try_acquire().unwrap();
        timer.advance(100 * MILLI);
        probe.settle(Class::Success);
    }
    assert_eq!((breaker.state(), breaker.snapshot().failures), (State::Open, 0));
}

#[test]
fn slow_calls_are_watched_beside_failures_in_a_row_and_in_a_count_window() {
    let timer = ManualTimer::new();
    let builder = || CircuitBreaker::builder().timer(timer.clone()).slow_calls(100 * MILLI, 1.0).minimum_calls(3);
    for builder in [builder().consecutive_failures(5), builder().count_window(3)] {
        let breaker = builder.build().unwrap();
        record(&breaker, "SSSSSS");
        for _ in 0..2 {
            let permit = breaker.try_acquire().unwrap();
            timer.advance(100 * MILLI);
            permit.settle(Class::Success);
        }
        assert_eq!(breaker.state(), State::Closed);
    }
}

#[test]
fn a_fast_call_of_a_disabled_circuit_is_not_slow_for_the_next_state() {
    // Its answer counts late, where that is asked for; without its beginning it would have run since the clock's origin.
    let timer = ManualTimer::new();
    timer.advance(3600 * SECOND);
    let builder = CircuitBreaker::builder().slow_calls(100 * MILLI, 0.5).minimum_calls(1).late(Late::Count);
    let breaker = builder.timer(timer.clone()).build().unwrap();
    breaker.disable();
    let (fast, slow) = (breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap());
    breaker.close();
    timer.advance(10 * MILLI);
    fast.settle(Class::Success);
    assert_eq!((breaker.state(), breaker.snapshot().slow, breaker.snapshot().calls), (State::Closed, 0, 1));
    timer.advance(90 * MILLI);
    slow.settle(Class::Success);
    assert_eq!(breaker.state(), State::Open);
}

/// A clock that lets something happen when it is asked for the time.
#[derive(Clone, Default)]
struct Meanwhile(ManualTimer, Arc<Mutex<Vec<Happens>>>);

type Happens = Box<dyn FnMut() + Send>;

impl Timer for Meanwhile {
    fn now(&self) -> Timestamp {
        let happens = self.1.lock().unwrap().pop();
        happens.into_iter().for_each(|mut happens| happens());
        self.0.now()
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        Sleep::boxed(self.0.sleep_until(at))
    }

    fn wall(&self) -> WallTime {
        self.0.wall()
    }
}

#[test]
fn a_call_whose_circuit_closed_and_opened_while_it_came_began_when_it_came() {
    // It finds the wait over; before it has the lock somebody closes the circuit, and calls that hang open it again.
    let timer = Meanwhile::default();
    timer.0.advance(3600 * SECOND);
    let shared: Arc<dyn Timer> = Arc::new(timer.clone());
    let builder = CircuitBreaker::builder().slow_calls(100 * MILLI, 0.5).minimum_calls(1).probes(1).late(Late::Count);
    let breaker = builder.open_for(20 * MILLI).timer(shared).build().unwrap();
    breaker.open_for(SECOND);
    timer.0.advance(SECOND);
    let hangs = Arc::new(Mutex::new(None));
    let (clock, other, kept) = (timer.0.clone(), breaker.clone(), hangs.clone());
    let closes = move || {
        other.close();
        *kept.lock().unwrap() = other.try_acquire().ok();
        clock.advance(200 * MILLI);
    };
    timer.1.lock().unwrap().extend([Box::new(closes) as Happens, Box::new(|| {})]);
    let came = breaker.try_acquire().unwrap();
    assert!(!came.is_probe() && hangs.lock().unwrap().is_some());
    assert_eq!(breaker.state(), State::Open);
    timer.0.advance(20 * MILLI);
    let probe = breaker.try_acquire().unwrap();
    assert!(probe.is_probe());
    came.settle(Class::Success);
    assert_eq!(breaker.state(), State::Closed, "fast, and it counts late");
    drop((probe, hangs));
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Begin(u64),
    End(usize),
    NextPeriod,
}

proptest! {
    /// Against a list of all calls: those found overdue are calls that have run for the threshold, and all that have run
    /// for it and an eighth are found.
    #[test]
    fn running_calls_are_found_slow_when_they_are(steps in proptest::collection::vec(prop_oneof![
        3 => (0u64..60).prop_map(Step::Advance),
        // A thread may have read the clock a moment before another.
        4 => (0u64..3).prop_map(Step::Begin),
        4 => (0usize..20).prop_map(Step::End),
        1 => Just(Step::NextPeriod),
    ], 1..200)) {
        let mut table = InFlight::new(100 * MILLI);
        let mut now = 1_000_000_000u64;
        let mut generation = 0;
        let mut calls: HashMap<usize, (u32, Timestamp)> = HashMap::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Advance(millis) => now += millis * 1_000_000,
                Step::Begin(late) => {
                    let at = Timestamp::from_nanos(now - late * 1_000_000);
                    let (started, _) = table.begin(generation, at);
                    prop_assert!(started >= at && started - at <= 15 * MILLI);
                    calls.insert(next, (generation, started));
                    next += 1;
                }
                Step::End(which) => {
                    if let Some((generation, started)) = calls.remove(&which) {
                        table.end(generation, started);
                    }
                }
                Step::NextPeriod => generation += 1,
            }
            let at = Timestamp::from_nanos(now);
            let of = |least: Duration| {
                let mine = calls.values().filter(|(of, _)| *of == generation);
                mine.filter(|(_, started)| at - *started >= least).count() as u32
            };
            let found = table.overdue(generation, at);
            prop_assert!(found <= of(100 * MILLI) && found >= of(113 * MILLI), "{found} of {}", of(100 * MILLI));
        }
    }
}
