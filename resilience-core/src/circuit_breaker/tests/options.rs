//! The settings beyond the basic ones, each by the hazard it is there for.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::super::exact::Options;
use super::super::ring::Ring;
use super::super::window::Record;
use super::*;
use crate::Classification;

fn opened(breaker: &CircuitBreaker) -> Duration {
    breaker.try_acquire().unwrap_err().retry_after().unwrap()
}

#[test]
fn a_count_window_forgets_a_long_good_past() {
    // CB1.
    let (_, timer) = consecutive(1);
    let builder = CircuitBreaker::builder().count_window(10).minimum_calls(10).timer(timer);
    let breaker = builder.build().unwrap();
    record(&breaker, &"S".repeat(1000));
    record(&breaker, "FFFF");
    assert_eq!(breaker.state(), State::Closed);
    record(&breaker, "F");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_count_window_trips_at_the_threshold_and_once_it_is_full() {
    // CB2, CB3: at the tenth record and not the eleventh; a minimum above the size means the size.
    let breaker = || CircuitBreaker::builder().count_window(10).minimum_calls(100).build().unwrap();
    let (five, four, all) = (breaker(), breaker(), breaker());
    record(&all, "FFFFFFFFF");
    assert_eq!(all.state(), State::Closed, "nine of ten");
    record(&all, "F");
    assert_eq!(all.state(), State::Open);
    record(&five, "SSSSSFFFF");
    assert_eq!(five.state(), State::Closed, "nine of ten");
    record(&five, "F");
    assert_eq!(five.state(), State::Open);
    record(&four, "SSSSSSFFFF");
    assert_eq!(four.state(), State::Closed);
}

proptest! {
    #[test]
    fn a_ring_counts_what_a_list_counts(size in 1u32..200, outcomes in proptest::collection::vec(0u8..3, 0..600)) {
        let mut ring = Ring::new(size);
        let (mut all, mut gave_up) = (vec![false], 0);
        ring.record(3, Record::Success);
        for outcome in outcomes {
            let record = [Record::Success, Record::Failure, Record::GaveUp][usize::from(outcome)];
            ring.record(3, record);
            match record {
                Record::GaveUp => gave_up += 1,
                answer => {
                    all.push(answer == Record::Failure);
                    gave_up = 0;
                }
            }
            let last: Vec<_> = all.iter().rev().take(size as usize).collect();
            let counts = ring.counts(3);
            prop_assert_eq!((counts.calls, counts.gave_up), (last.len() as u64, gave_up));
            prop_assert_eq!(counts.failures, last.iter().filter(|failed| ***failed).count() as u64);
        }
        ring.record(2, Record::Failure); // of an earlier period: counts for nothing
        prop_assert_eq!(ring.counts(2).calls, 0);
        ring.record(4, Record::Failure);
        prop_assert_eq!((ring.counts(4).calls, ring.counts(3).calls), (1, 0));
    }
}

#[test]
fn only_a_failure_opens_where_only_failures_are_judged() {
    let breaker = CircuitBreaker::builder().minimum_calls(4).evaluate(Evaluate::Failures).build().unwrap();
    record(&breaker, "FFFS");
    assert_eq!(breaker.state(), State::Closed);
    record(&breaker, "F");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn ignored_answers_count_as_successes_where_they_are_to() {
    // What Polly and failsafe do, and what CB24 is against.
    let (builder, timer) = consecutive(2);
    let breaker = builder.ignored(Ignored::Success).probes(1).build().unwrap();
    record(&breaker, "FIFIFF");
    assert_eq!(breaker.state(), State::Open);
    timer.advance(5 * SECOND);
    record(&breaker, "I");
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn late_answers_count_in_the_present_state_where_they_are_to() {
    let (builder, timer) = consecutive(1);
    let breaker = builder.late(Late::Count).probes(1).build().unwrap();
    let late: Vec<_> = (0..2).map(|_| breaker.try_acquire().unwrap()).collect();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    let probe = breaker.try_acquire().unwrap();
    let mut late = late.into_iter();
    late.next().unwrap().settle(Class::Success);
    assert_eq!(breaker.state(), State::Closed, "a straggler has closed it");
    drop(probe);
    late.next().unwrap().settle(Class::Failure);
    assert_eq!(breaker.state(), State::Open, "and another opened it");
}

#[test]
fn so_many_probes_must_succeed_and_one_more_failure_than_that_allows_ends_it() {
    // CB14.
    let (builder, timer) = consecutive(1);
    let breaker = builder.probes(10).probe_successes(6).build().unwrap();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    record(&breaker, "FSSSSS");
    assert_eq!(breaker.state(), State::HalfOpen);
    record(&breaker, "S");
    assert_eq!(breaker.state(), State::Closed);
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    record(&breaker, "FFFFF");
    assert_eq!(breaker.state(), State::Open, "at the fifth");
}

#[test]
fn undecided_probes_close_the_circuit_where_they_are_to() {
    // CB9, the other way.
    let (builder, timer) = consecutive(1);
    let breaker = builder.undecided(Target::Closed).build().unwrap();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    let hangs = breaker.try_acquire().unwrap();
    timer.advance(10 * SECOND);
    record(&breaker, "S");
    assert_eq!(breaker.state(), State::Closed);
    drop(hangs);
}

#[test]
fn a_server_that_says_when_is_believed_up_to_the_cap() {
    let open = |hint: u32, builder: CircuitBreakerBuilder| {
        let breaker = builder.open_for(5 * SECOND).open_at_most(60 * SECOND).build().unwrap();
        breaker.try_acquire().unwrap().settle_as(Classification::FAILURE.after(hint * SECOND));
        opened(&breaker)
    };
    assert_eq!(open(30, consecutive(1).0), 30 * SECOND);
    assert_eq!(open(2, consecutive(1).0), 5 * SECOND);
    assert_eq!(open(86_400, consecutive(1).0), 60 * SECOND);
    assert_eq!(open(30, consecutive(1).0.honour_hints(false)), 5 * SECOND);
}

#[test]
fn a_rule_of_the_users_is_asked_outside_the_lock_and_may_panic() {
    // CB23's hazard, for waits: the rule looks at the breaker, and then breaks.
    let seen = Arc::new(Mutex::new(None::<CircuitBreaker>));
    let (looks, calls) = (seen.clone(), Arc::new(AtomicU32::new(0)));
    let count = calls.clone();
    let (builder, timer) = consecutive(1);
    let builder = builder.probes(1).open_for(3 * SECOND).open_for_each(move |opening| {
        let breaker = looks.lock().unwrap().clone().expect("it is there");
        assert_eq!(breaker.snapshot().state, State::Open);
        assert_eq!(opening.attempt, count.fetch_add(1, Ordering::Relaxed));
        assert!(opening.attempt < 2, "a rule that fails");
        (10 + opening.attempt) * SECOND
    });
    let breaker = builder.build().unwrap();
    *seen.lock().unwrap() = Some(breaker.clone());
    for wait in [10, 11, 3] {
        breaker.try_acquire().unwrap().settle(Class::Failure);
        assert_eq!(opened(&breaker), wait * SECOND);
        timer.advance(wait * SECOND);
    }
    *seen.lock().unwrap() = None;
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn jittered_waits_differ_between_breakers_and_repeat_with_a_seed() {
    let wait = |builder: CircuitBreakerBuilder| {
        let breaker = builder.open_jitter(0.5).build().unwrap();
        record(&breaker, "F");
        opened(&breaker)
    };
    let waits: Vec<_> = (0..20).map(|_| wait(consecutive(1).0)).collect();
    assert!(waits.iter().all(|wait| (2500 * Duration::from_millis(1)..=5 * SECOND).contains(wait)), "{waits:?}");
    assert!(waits.iter().collect::<std::collections::HashSet<_>>().len() > 15, "{waits:?}");
    assert_eq!(wait(consecutive(1).0.seed(7)), wait(consecutive(1).0.seed(7)));
}

#[test]
fn a_disabled_circuit_passes_all_and_nothing_follows() {
    // CB25.
    let (builder, timer) = consecutive(2);
    let heard = Arc::new(Mutex::new(Vec::new()));
    struct Names(Arc<Mutex<Vec<&'static str>>>);
    impl Sink for Names {
        fn on_event(&self, event: &Heard<'_>) {
            self.0.lock().unwrap().push(event.fact.name());
        }
    }
    let breaker = builder.listener(Names(heard.clone())).build().unwrap();
    breaker.disable();
    record(&breaker, "FFFFF");
    timer.advance(3600 * SECOND);
    assert_eq!((breaker.state(), breaker.snapshot().stale), (State::Disabled, 0));
    breaker.metrics_only();
    record(&breaker, "FFFFF");
    assert_eq!((breaker.state(), breaker.snapshot().consecutive_failures), (State::MetricsOnly, 5));
    breaker.close();
    assert_eq!(breaker.snapshot().consecutive_failures, 0);
    let heard = heard.lock().unwrap();
    let count = |name| heard.iter().filter(|heard| **heard == name).count();
    assert_eq!((count("settled"), count("would_open"), count("opened")), (10, 1, 0));
    assert_eq!((count("disabled"), count("metrics_only"), count("closed")), (1, 1, 1));
}

#[test]
fn open_until_ends_then_and_not_before() {
    let (builder, timer) = consecutive(1);
    let breaker = builder.build().unwrap();
    let noon = crate::time::Timer::now(&timer) + 3600 * SECOND;
    breaker.open_until(noon);
    timer.advance(3599 * SECOND);
    assert_eq!(opened(&breaker), SECOND);
    timer.advance(SECOND);
    assert!(breaker.try_acquire().unwrap().is_probe());
}

#[test]
fn a_dry_run_plays_the_whole_of_it_and_refuses_nobody() {
    let (builder, timer) = consecutive(2);
    let breaker = builder.dry_run(true).probes(1).build().unwrap();
    record(&breaker, "FF");
    assert_eq!(breaker.state(), State::Open);
    record(&breaker, "SSFF"); // answers there would not have been
    assert_eq!((breaker.state(), breaker.snapshot().would_reject, breaker.snapshot().rejected), (State::Open, 4, 0));
    timer.advance(5 * SECOND);
    let probe = breaker.try_acquire().unwrap();
    record(&breaker, "F");
    assert_eq!((breaker.state(), breaker.snapshot().would_reject), (State::HalfOpen, 5));
    probe.settle(Class::Success);
    assert_eq!((breaker.state(), breaker.snapshot().stale), (State::Closed, 0));
}

#[test]
fn a_control_moves_all_of_its_breakers_and_keeps_none_alive() {
    let control = ManualControl::isolated();
    let (first, _) = consecutive(1);
    let first = first.control(&control).build().unwrap();
    assert_eq!((first.state(), first.snapshot().generation), (State::Isolated, 1));
    let (second, _) = consecutive(1);
    let second = second.control(&control).build().unwrap();
    control.close();
    assert_eq!((first.state(), second.state()), (State::Closed, State::Closed));
    drop(second);
    control.isolate();
    assert_eq!(first.state(), State::Isolated);
    assert!(format!("{control:?}").contains("breakers: 1"), "{control:?}");
}

#[test]
fn a_change_of_rules_keeps_what_is_counted_and_refuses_what_cannot_change() {
    let (builder, timer) = consecutive(10);
    let breaker = builder.clone().build().unwrap();
    record(&breaker, "FFF");
    breaker.reconfigure(consecutive(4).0.open_for(9 * SECOND).dry_run(false)).unwrap();
    record(&breaker, "F");
    assert_eq!(opened(&breaker), 9 * SECOND);
    timer.advance(9 * SECOND);
    let probe = breaker.try_acquire().unwrap();
    breaker.reconfigure(consecutive(4).0.probes(1)).unwrap();
    probe.settle(Class::Success);
    assert_eq!(breaker.state(), State::Closed, "one probe is enough now");
    let refused = |builder| breaker.reconfigure(builder).unwrap_err().to_string();
    assert_eq!(refused(CircuitBreaker::builder()), "failure_rate cannot come or go while running, only change");
    assert_eq!(
        refused(consecutive(4).0.slow_calls(SECOND, 0.5)),
        "slow_calls cannot come or go while running, only change its rate"
    );
    assert_eq!(refused(consecutive(0).0), "consecutive_failures must be above zero");
    assert_eq!(refused(consecutive(4).0.exact(Options::polly())), "exact cannot change while running");
    record(&breaker, "FFF");
    assert_eq!(breaker.state(), State::Closed, "nothing has changed");
}

#[test]
fn nonsense_is_refused_by_name() {
    // CB28.
    let refused = |set: fn(CircuitBreakerBuilder) -> CircuitBreakerBuilder| {
        set(CircuitBreaker::builder()).build().map(drop).unwrap_err().to_string()
    };
    assert_eq!(refused(|it| it.count_window(0)), "count_window must be above zero");
    assert_eq!(refused(|it| it.count_window(u32::MAX)), "count_window must be at most 1,048,576");
    assert_eq!(refused(|it| it.slow_calls(Duration::ZERO, 0.5)), "slow_calls must have a threshold of at least 1 us");
    assert_eq!(refused(|it| it.slow_calls(SECOND, f64::NAN)), "slow_calls must be above 0 and at most 1");
    assert_eq!(refused(|it| it.probe_successes(4)), "probe_successes must be above zero and at most `probes`");
    assert_eq!(refused(|it| it.open_factor(0.5)), "open_factor must be at least 1");
    assert_eq!(refused(|it| it.open_factor(f64::INFINITY)), "open_factor must be at least 1");
    assert_eq!(refused(|it| it.open_jitter(f64::NAN)), "open_jitter must be between 0 and 1");
    assert_eq!(refused(|it| it.open_at_most(SECOND)), "open_at_most must not be below `open_for`");
    assert_eq!(refused(|it| it.ramp([0.5, 0.1], SECOND)), "ramp must not fall");
    assert_eq!(refused(|it| it.ramp([0.0], SECOND)), "ramp must be above 0 and at most 1");
    assert_eq!(refused(|it| it.ramp([0.5], Duration::ZERO)), "ramp must have stages above zero");
    let keyed = CircuitBreaker::builder().max_keys(0).build_keyed::<u32>();
    assert_eq!(keyed.unwrap_err().to_string(), "max_keys must be above zero");
    let most = CircuitBreaker::builder().open_for(Duration::MAX).half_open_for(Duration::MAX).window(Duration::MAX);
    let most = most.slow_calls(Duration::MAX, 1.0).ramp([1.0], Duration::MAX).minimum_calls(u32::MAX).build().unwrap();
    record(&most, "FFSS");
    most.open_for(Duration::MAX);
    assert!(most.try_acquire().is_err());
}

#[test]
fn a_breaker_fits_in_a_kibibyte_at_one_shard() {
    use super::super::config::Config;
    use super::super::shared::Shared;
    let config = Config { shards: 1, ..CircuitBreaker::builder().checked().unwrap() };
    let windows = config.shards * 256; // sixteen cells and the latest, on cache lines of their own
    assert!(size_of::<Shared>() + windows <= 1024, "{}", size_of::<Shared>());
}

#[test]
fn another_projects_rules_hold_to_the_boundary() {
    let timer = ManualTimer::new();
    let build = |options| CircuitBreaker::builder().exact(options).timer(timer.clone()).build().unwrap();
    // Resilience4j: over at the end of the wait is not over yet; ten probes, and all of them in before the verdict.
    let r4j = build(Options::resilience4j());
    record(&r4j, &"SF".repeat(50));
    assert_eq!((r4j.state(), r4j.snapshot().opened), (State::Open, 1));
    timer.advance(60 * SECOND);
    assert_eq!(opened(&r4j), Duration::ZERO);
    timer.advance(Duration::from_nanos(1));
    record(&r4j, "SSSSSSFFF");
    assert_eq!(r4j.state(), State::HalfOpen);
    record(&r4j, "S");
    assert_eq!(r4j.state(), State::Closed);
    // Polly: a cancelled probe is nobody's business, an unhandled outcome closes.
    let polly = build(Options::polly());
    record(&polly, &"F".repeat(100));
    timer.advance(5 * SECOND);
    drop(polly.try_acquire().unwrap());
    assert_eq!(polly.state(), State::HalfOpen);
    record(&polly, "I");
    assert_eq!(polly.state(), State::Closed);
    // Sentinel: the threshold itself does not trip.
    let sentinel = build(Options::sentinel());
    record(&sentinel, "FSFSSF");
    assert_eq!(sentinel.state(), State::Closed);
    record(&sentinel, "F");
    assert_eq!(sentinel.state(), State::Open);
    // And all can be moved by hand.
    sentinel.isolate();
    timer.advance(3600 * SECOND);
    assert_eq!(sentinel.try_acquire().unwrap_err().reason(), Reason::Isolated);
    sentinel.close();
    assert!(sentinel.try_acquire().is_ok());
    sentinel.open_for(2 * SECOND);
    assert_eq!(opened(&sentinel), 2 * SECOND);
}
