//! What a breaker does by which clock, and at what cost.

use super::*;
use crate::time::{Sleep, Timer, Timestamp, WallTime};

/// A machine whose administrator sets the calendar.
struct Calendar {
    clock: ManualTimer,
    set_back_by: Mutex<Duration>,
}

impl Timer for Calendar {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        Sleep::boxed(self.clock.sleep_until(at))
    }

    fn wall(&self) -> WallTime {
        let set_back_by = self.set_back_by.lock().unwrap().as_millis() as u64;
        WallTime::from_unix_millis(self.clock.wall().as_unix_millis() - set_back_by)
    }
}

#[test]
fn a_calendar_set_back_by_an_hour_changes_nothing() {
    // CB29: a breaker that reckons with calendar time stays open for an hour more, or subtracts and panics.
    let clock = ManualTimer::new();
    clock.advance(7_200 * SECOND);
    let machine = Arc::new(Calendar { clock: clock.clone(), set_back_by: Mutex::default() });
    let timer: Arc<dyn Timer> = machine.clone();
    let builder = CircuitBreaker::builder().minimum_calls(4).window(10 * SECOND).open_for(30 * SECOND).probes(1);
    let breaker = builder.slow_calls(SECOND, 1.0).timer(timer).build().unwrap();
    record(&breaker, "FF");
    let before = machine.wall();
    *machine.set_back_by.lock().unwrap() = 3_600 * SECOND;
    assert!(machine.wall() < before);
    assert_eq!((breaker.snapshot().calls, breaker.snapshot().failures), (2, 2), "nothing is forgotten");
    record(&breaker, "FF");
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(30 * SECOND));
    *machine.set_back_by.lock().unwrap() = 1_800 * SECOND;
    clock.advance(30 * SECOND);
    record(&breaker, "S");
    assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 0));
}

#[test]
fn a_clock_that_breaks_its_promise_and_goes_back_breaks_nothing() {
    // CB29, for the clock a breaker does reckon with: some hypervisors step it back. The wait starts anew at worst.
    #[derive(Clone, Default)]
    struct Steps(Arc<Mutex<u64>>);
    impl Timer for Steps {
        fn now(&self) -> Timestamp {
            Timestamp::from_nanos(*self.0.lock().unwrap())
        }
        fn sleep_until(&self, _: Timestamp) -> Sleep {
            Sleep::boxed(std::future::pending())
        }
        fn wall(&self) -> WallTime {
            WallTime::default()
        }
    }
    let clock = Steps::default();
    let set = |seconds: u64| *clock.0.lock().unwrap() = seconds * 1_000_000_000;
    let timer: Arc<dyn Timer> = Arc::new(clock.clone());
    let builder = || CircuitBreaker::builder().minimum_calls(2).open_for(30 * SECOND).probes(1).timer(timer.clone());
    for builder in [builder().window(10 * SECOND), builder().count_window(2), builder().slow_calls(SECOND, 1.0)] {
        set(7_200);
        let breaker = builder.build().unwrap();
        record(&breaker, "F");
        let late = breaker.try_acquire().unwrap();
        let fail =
            |times: u32| (0..times).for_each(|_| drop(breaker.try_acquire().map(|it| it.settle(Class::Failure))));
        set(3_600);
        fail(2);
        drop(late);
        let wait = breaker.try_acquire().err().and_then(|refused| refused.retry_after());
        assert!(wait <= Some(3_630 * SECOND), "{wait:?}");
        set(7_200 + 60);
        record(&breaker, "S");
        assert_eq!(breaker.state(), State::Closed);
        fail(2);
        assert_eq!(breaker.state(), State::Open, "and it does what it is for");
    }
}

#[test]
fn the_rules_of_other_projects_survive_a_time_that_goes_back() {
    // CB29: Resilience4j forgets a part of its window, Polly waits for an hour longer. Neither is a reason to panic.
    use super::super::exact::{ExactBreaker, Options, Outcome};
    let all = [Options::polly, Options::resilience4j, Options::failsafe, Options::gobreaker, Options::sentinel];
    for options in all {
        let mut breaker = ExactBreaker::new(options(), 7_200 * SECOND);
        for now in [7_200, 7_201, 3_600, 0, 7_300, 7_260] {
            breaker.record(Outcome::FAILURE, now * SECOND);
            if let Ok(permit) = breaker.acquire(now * SECOND) {
                breaker.finish(permit, Outcome::SUCCESS, (now - now / 3) * SECOND);
            }
            assert!(breaker.counts(now * SECOND).sums.total() <= 12);
        }
    }
}

#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn a_paused_clock_drives_a_breaker_that_was_given_none() {
    // CB20: most breakers read a clock of their own, and can be tested by waiting only.
    let builder = CircuitBreaker::builder().consecutive_failures(1).open_for(30 * SECOND).probes(1);
    let breaker = builder.build().unwrap();
    record(&breaker, "F");
    tokio::time::advance(Duration::from_millis(29_999)).await;
    let refused = breaker.try_acquire().unwrap_err();
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::Open, Some(Duration::from_millis(1))));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(breaker.try_acquire().unwrap().is_probe());
}

#[test]
#[allow(clippy::disallowed_methods)] // It measures.
fn a_record_costs_the_same_whether_a_thousand_or_a_million_are_in_the_window() {
    // CB4: tower-resilience keeps a list of them, and walks through it at each call. What other programs take from the
    // machine meanwhile is left out: of many rounds the fastest counts, and those of both take turns.
    let breaker = |records: usize| {
        let timer = ManualTimer::new();
        let builder = CircuitBreaker::builder().window(10 * SECOND).minimum_calls(u32::MAX).timer(timer);
        let breaker = builder.build().unwrap();
        (0..records).for_each(|_| breaker.try_acquire().unwrap().settle(Class::Success));
        breaker
    };
    let (few, many) = (breaker(1_000), breaker(1_000_000));
    let round = |breaker: &CircuitBreaker| {
        let started = std::time::Instant::now();
        record(breaker, &"S".repeat(100));
        started.elapsed()
    };
    let rounds: Vec<_> = (0..50).map(|_| (round(&few), round(&many))).collect();
    let fastest = |of: fn(&(Duration, Duration)) -> Duration| rounds.iter().map(of).min().unwrap();
    let (few, many) = (fastest(|round| round.0), fastest(|round| round.1));
    assert!(many <= 2 * few, "{many:?}, and {few:?} with few");
}
