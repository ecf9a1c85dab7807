//! Windows: what they count, what they forget, what they cost.

use proptest::prelude::*;

use super::super::window::{BUCKETS, Record, TimeWindow};
use super::*;
use crate::time::{Timer, Timestamp};

fn rate(minimum: u32) -> (CircuitBreaker, ManualTimer) {
    let timer = ManualTimer::new();
    let builder = CircuitBreaker::builder().failure_rate(0.5).window(10 * SECOND).minimum_calls(minimum);
    (builder.timer(timer.clone()).build().unwrap(), timer)
}

#[test]
fn the_rate_counts_only_once_there_are_enough_calls() {
    // CB2, CB3.
    let (breaker, _) = rate(10);
    record(&breaker, "FFFFFFFFF");
    assert_eq!(breaker.state(), State::Closed);
    record(&breaker, "F");
    assert_eq!(breaker.state(), State::Open);
    let (breaker, _) = rate(10);
    record(&breaker, "SSSSSSFFFF");
    assert_eq!(breaker.state(), State::Closed);
    let (breaker, _) = rate(10);
    record(&breaker, "SSSSSFFFFF");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_success_can_be_the_call_that_makes_it_enough() {
    let (breaker, _) = rate(10);
    record(&breaker, "FFFFFFFFF");
    record(&breaker, "S");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    // CB4; and CB1: a long good past does not hide an outage.
    let (breaker, timer) = rate(5);
    record(&breaker, "FFFF");
    timer.advance(11 * SECOND);
    record(&breaker, "F");
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.snapshot().calls, 1);

    let (breaker, timer) = rate(10);
    for _ in 0..100_000 {
        record(&breaker, "S");
    }
    timer.advance(10 * SECOND);
    record(&breaker, "FFFFFFFFF");
    assert_eq!(breaker.state(), State::Closed);
    record(&breaker, "F");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn the_window_of_an_earlier_closed_period_is_empty_in_the_next() {
    let (breaker, timer) = rate(4);
    record(&breaker, "SSFFFF".get(..6).unwrap().get(2..).unwrap());
    assert_eq!(breaker.state(), State::Open);
    timer.advance(5 * SECOND);
    record(&breaker, "SS");
    assert_eq!(breaker.state(), State::Closed);
    record(&breaker, "FFF");
    assert_eq!((breaker.state(), breaker.snapshot().failures), (State::Closed, 3));
}

#[test]
fn slow_probes_spread_wider_than_the_window_still_close_the_circuit() {
    // CB13: tower-resilience forgets the probes and stays half-open for ever.
    let timer = ManualTimer::new();
    let builder = CircuitBreaker::builder().window(Duration::from_millis(50)).minimum_calls(1);
    let breaker = builder.probes(3).probe_successes(3).timer(timer.clone()).build().unwrap();
    record(&breaker, "F");
    timer.advance(5 * SECOND);
    for _ in 0..3 {
        assert_ne!(breaker.state(), State::Closed);
        timer.advance(Duration::from_millis(60));
        record(&breaker, "S");
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn totals_are_exact_after_many_threads() {
    // CB22: 10 % failures never open it.
    let (breaker, _) = rate(1_000_000);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for call in 0..100_000 {
                    let class = if call % 10 == 0 { Class::Failure } else { Class::Success };
                    breaker.try_acquire().unwrap().settle(class);
                }
            });
        }
    });
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.calls, snapshot.failures), (1_600_000, 160_000));
}

#[test]
fn a_hanging_dependency_opens_the_circuit_by_the_calls_given_up() {
    let (breaker, _) = rate(5);
    for _ in 0..4 {
        drop(breaker.try_acquire().unwrap());
    }
    assert_eq!(breaker.state(), State::Closed);
    drop(breaker.try_acquire().unwrap());
    assert_eq!(breaker.state(), State::Open);
    let (breaker, _) = rate(5);
    record(&breaker, "S");
    for _ in 0..50 {
        drop(breaker.try_acquire().unwrap());
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_full_bucket_keeps_its_rate() {
    let window = TimeWindow::new(10 * SECOND, 1);
    let now = ManualTimer::new().now();
    for call in 0..2_500_000u32 {
        window.record(0, 0, now, if call % 4 == 0 { Record::Failure } else { Record::Success });
    }
    let counts = window.counts(0, now);
    assert!((counts.failure_rate() - 0.25).abs() < 0.001, "{counts:?}");
    assert!(counts.calls > 500_000);
}

proptest! {
    #[test]
    fn the_bucket_of_a_moment_is_its_quotient(nanos: u64, width in 62_500u64..) {
        let window = TimeWindow::new(Duration::from_nanos(width), 1);
        let bucket = (width / BUCKETS as u64).max(1);
        prop_assert_eq!(window.epoch(nanos), nanos / bucket);
    }

    /// Against a list of every record: after any gaps, two shards, late records and changes of generation, the window
    /// counts exactly the calls of this generation in the current bucket and the 15 before it.
    #[test]
    fn the_window_counts_what_a_list_would(
        records in proptest::collection::vec((0u64..4_000, 0usize..2, 0u32..3, 0u64..300, any::<bool>()), 1..300)
    ) {
        let width = 100_000_000u64;
        let window = TimeWindow::new(Duration::from_nanos(width * BUCKETS as u64), 2);
        let mut now = 3_600_000_000_000u64;
        let mut generation = 0u32;
        let mut newest = [0u64; 2];
        let mut seen_generation = [0u32; 2];
        let mut list: Vec<(u64, u32, bool)> = Vec::new();
        for (gap, shard, bump, late, failed) in records {
            // Mostly small steps, sometimes a gap of many windows.
            now += if gap > 3_900 { gap * 50_000_000 } else { gap * 50_000 };
            generation += u32::from(bump == 2 && gap % 7 == 0);
            let at = now - late * 1_000_000;
            let record = if failed { Record::Failure } else { Record::Success };
            window.record(shard, generation, Timestamp::from_nanos(at), record);
            let epoch = at / width;
            if seen_generation[shard] != generation {
                seen_generation[shard] = generation;
                newest[shard] = 0;
            }
            // A record whose bucket has left its shard's window is dropped.
            if epoch + BUCKETS as u64 > newest[shard] {
                list.push((epoch, generation, failed));
            }
            newest[shard] = newest[shard].max(epoch);
            let current = now / width;
            let counts = window.counts(generation, Timestamp::from_nanos(now));
            let lives = |(epoch, of, _): &&(u64, u32, bool)| *of == generation && epoch + BUCKETS as u64 > current;
            prop_assert_eq!(counts.calls as usize, list.iter().filter(lives).count());
            prop_assert_eq!(counts.failures as usize, list.iter().filter(lives).filter(|(_, _, failed)| *failed).count());
        }
    }
}
