use std::time::Duration;

use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

mod model;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_count_window_really_slides() {
    // tower-resilience sums everything since the last change: after 100,000 successes it takes 100,000 failures.
    let mut options = Options::resilience4j();
    options.window = Window::Count(100);
    let mut breaker = ExactBreaker::new(options, Duration::ZERO);
    (0..100_000).for_each(|_| breaker.record(Outcome::SUCCESS, Duration::ZERO));
    let opens = (1..=100).find(|_| {
        breaker.record(Outcome::FAILURE, Duration::ZERO);
        breaker.state(Duration::ZERO) == State::Open
    });
    assert_eq!(opens, Some(50));
}

#[test]
fn a_result_from_before_the_change_is_dropped_where_asked_and_counts_where_asked() {
    for (options, state) in [(Options::gobreaker(), State::HalfOpen), (Options::polly(), State::Closed)] {
        let mut breaker = ExactBreaker::new(options, Duration::ZERO);
        let straggler = breaker.acquire(Duration::ZERO).unwrap();
        breaker.force(State::Open, Duration::ZERO, Some(ms(10)));
        assert_eq!(breaker.state(ms(11)), State::HalfOpen);
        breaker.finish(straggler, Outcome::SUCCESS, ms(11));
        assert_eq!(breaker.state(ms(11)), state);
    }
}

#[test]
fn a_hung_probe_ends_with_the_half_open_state_if_that_has_an_end() {
    let mut options = Options::resilience4j();
    options.half_open.longest = Some(ms(100));
    let mut breaker = ExactBreaker::new(options, Duration::ZERO);
    breaker.force(State::HalfOpen, Duration::ZERO, None);
    let _hangs = breaker.acquire(Duration::ZERO).unwrap();
    assert_eq!(breaker.state(ms(99)), State::HalfOpen);
    assert_eq!(breaker.state(ms(100)), State::Open);
}

#[test]
fn huge_times_and_factors_do_not_panic() {
    let mut options = Options::resilience4j();
    (options.open_for, options.open_factor) = (Duration::MAX, f64::INFINITY);
    options.window = Window::Aligned { part: Duration::ZERO, parts: u32::MAX };
    let mut breaker = ExactBreaker::new(options, Duration::MAX);
    for _ in 0..3 {
        breaker.force(State::Open, Duration::MAX, None);
        breaker.record(Outcome::FAILURE.after(Duration::MAX), Duration::MAX);
        breaker.record(Outcome::FAILURE.after(Duration::MAX), Duration::ZERO);
        breaker.force(State::Closed, Duration::ZERO, None);
        breaker.record(Outcome::FAILURE.after(Duration::MAX).slowly(), Duration::MAX);
    }
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::SUCCESS),
        Just(Outcome::FAILURE),
        Just(Outcome::SUCCESS.slowly()),
        Just(Outcome::FAILURE.slowly()),
    ]
}

proptest! {
    /// A count window holds what a list of the last calls would.
    #[test]
    fn the_exact_window_counts_what_a_list_would(
        calls in proptest::collection::vec(outcomes(), 0..80), size in 1..20_u32,
    ) {
        let mut stats = Stats::new(Window::Count(size), Duration::ZERO);
        for (nth, outcome) in calls.iter().enumerate() {
            stats.record(*outcome, Duration::ZERO, Duration::ZERO);
            let last = &calls[(nth + 1).saturating_sub(size as usize)..=nth];
            let sums = stats.sums(Duration::ZERO);
            prop_assert_eq!(sums.total(), last.len() as u64);
            prop_assert_eq!(sums.failed, last.iter().filter(|call| call.failed == Some(true)).count() as u64);
            prop_assert_eq!(sums.slow(), last.iter().filter(|call| call.slow).count() as u64);
        }
    }

    /// Whatever happens: a half-open circuit never has more calls out than slots, and each profile stays total.
    #[test]
    fn no_profile_admits_more_probes_than_it_has(
        profile in 0..5_usize, steps in proptest::collection::vec((0..4_u8, 0..90_000_u64, outcomes()), 1..120),
    ) {
        let options = [
            Options::polly(), Options::resilience4j(), Options::failsafe(), Options::gobreaker(), Options::sentinel(),
        ][profile];
        let (Slots::Once(slots) | Slots::AtATime(slots)) = options.half_open.slots;
        let (mut breaker, mut now, mut out) = (ExactBreaker::new(options, Duration::ZERO), 0, Vec::new());
        for (step, pause, outcome) in steps {
            now += pause;
            match step {
                0 | 1 => out.extend(breaker.acquire(ms(now))),
                2 => {
                    if let Some(permit) = out.pop() {
                        breaker.finish(permit, outcome, ms(now));
                    }
                }
                _ => breaker.record(outcome, ms(now)),
            }
            if breaker.state(ms(now)) == State::HalfOpen {
                let mut probe = breaker.clone();
                let more = (0..100).take_while(|_| probe.acquire(ms(now)).is_ok()).count();
                prop_assert!(more <= slots as usize);
            }
        }
    }
}
