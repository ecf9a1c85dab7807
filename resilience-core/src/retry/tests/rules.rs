//! The pure parts: configuration, backoff series, decisions.

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

const SECOND: Duration = Duration::from_secs(1);

fn series(backoff: &Backoff, units: &[f64]) -> Vec<f64> {
    let mut series = Series::default();
    units.iter().map(|unit| backoff.delay(&mut series, *unit).as_secs_f64() * 1e3).collect()
}

#[test]
fn published_series_are_reproduced() {
    let aws = Backoff::exponential(ms(50), Duration::from_secs(20));
    let expected = [50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0, 12_800.0, 20_000.0, 20_000.0];
    assert_eq!(series(&aws, &[1.0; 11]), expected);
    let r4j = Backoff::exponential(SECOND * 5, Duration::MAX).factor(1.5).jitter(Jitter::None);
    assert_eq!(series(&r4j, &[0.0; 3]), [5000.0, 7500.0, 11_250.0]);
    let linear = Backoff::linear(SECOND, SECOND * 100).jitter(Jitter::Around(0.25));
    assert_eq!(series(&linear, &[0.5, 0.5, 0.4]), [1000.0, 2000.0, 2850.0]);
    let constant = Backoff::constant(SECOND).jitter(Jitter::Around(0.25));
    assert_eq!(series(&constant, &[0.0, 0.4, 0.6, 1.0]), [750.0, 950.0, 1050.0, 1250.0]);
    let polly = Backoff::exponential(SECOND, Duration::MAX).jitter(Jitter::PollyV2);
    for (delay, published) in series(&polly, &[0.0; 4]).into_iter().zip([0.0, 1377.182257, 1460.067301, 2865.849862]) {
        assert!((delay - published).abs() < 1e-5, "{delay} for {published}");
    }
}

#[test]
fn each_jitter_keeps_to_its_range() {
    let base = |jitter| Backoff::exponential(ms(100), ms(2000)).jitter(jitter);
    let ends = |backoff: Backoff, at: Series| [0.0, 1.0].map(|unit| backoff.delay(&mut at.clone(), unit).as_millis());
    assert_eq!(ends(base(Jitter::Full), Series::default()), [0, 100]);
    assert_eq!(ends(base(Jitter::Equal), Series::after(1, ms(0))), [100, 200]);
    assert_eq!(ends(base(Jitter::Equal), Series::after(5, ms(0))), [1000, 2000]);
    assert_eq!(ends(base(Jitter::Decorrelated), Series::default()), [100, 300]);
    assert_eq!(ends(base(Jitter::Decorrelated), Series::after(2, ms(300))), [100, 900]);
    assert_eq!(ends(base(Jitter::Decorrelated), Series::after(3, ms(900))), [100, 2000]);
    let grpc = Backoff::exponential(ms(100), ms(1000)).jitter(Jitter::Around(0.2)).capped(ms(1200));
    assert_eq!(ends(grpc.clone(), Series::default()), [80, 120]);
    assert_eq!(ends(grpc, Series::after(9, ms(0))), [800, 1200]);
}

#[test]
fn a_hundred_thousand_delays_of_each_jitter_stay_below_half_a_second() {
    // RT3: capped first and spread afterwards, 500 ms become 748 (tower-resilience) or 1,000 (backon).
    let jitters =
        [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::PollyV2, Jitter::Around(0.5)];
    for jitter in jitters {
        let backoff = Backoff::exponential(ms(50), ms(500)).jitter(jitter);
        let mut rng = Rng::seeded(3);
        let mut longest = Duration::ZERO;
        for _ in 0..10_000 {
            let mut session = Series::default();
            longest = (0..10).map(|_| backoff.delay(&mut session, rng.unit())).fold(longest, Duration::max);
        }
        assert!(longest <= ms(500), "{longest:?} with {jitter:?}");
        assert!(longest > ms(490), "and the cap is reached: {longest:?} with {jitter:?}");
    }
}

#[test]
fn the_last_retry_of_the_longest_base_waits_for_the_cap() {
    // RT14: two to the power of four billion, times five hundred billion years.
    for cap in [SECOND * 20, Duration::MAX] {
        let curves = [
            Backoff::exponential(Duration::MAX, cap),
            Backoff::exponential(Duration::MAX, Duration::MAX).capped(cap),
            Backoff::linear(Duration::MAX, cap),
            Backoff::constant(Duration::MAX).capped(cap),
            Backoff::sequence([Duration::MAX]).capped(cap),
            Backoff::from_fn(|n| Duration::MAX.saturating_mul(n), cap),
        ];
        for curve in curves.map(|curve| curve.jitter(Jitter::None)) {
            for retries in [0, u32::MAX - 1, u32::MAX] {
                let mut at = Series::after(retries, Duration::MAX);
                assert_eq!(curve.delay(&mut at, 0.5), cap, "{curve:?} after {retries}");
            }
            for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::PollyV2, Jitter::Around(1.0)] {
                let spread = curve.clone().jitter(jitter);
                assert!(spread.delay(&mut Series::after(u32::MAX, Duration::MAX), 0.9) <= cap, "{spread:?}");
            }
        }
    }
}

#[test]
fn custom_series_repeat_their_last_delay_and_functions_count_from_one() {
    let table = Backoff::sequence([1, 5, 10].map(ms)).jitter(Jitter::None);
    assert_eq!(series(&table, &[0.0; 4]), [1.0, 5.0, 10.0, 10.0]);
    let endless = Backoff::sequence(std::iter::repeat(ms(3))).jitter(Jitter::None);
    assert_eq!(series(&endless, &[0.0]), [3.0]);
    let squares = Backoff::from_fn(|n| ms(u64::from(n * n)), ms(5)).jitter(Jitter::None);
    assert_eq!(series(&squares, &[0.0; 3]), [1.0, 4.0, 5.0]);
}

#[test]
fn a_hint_that_is_taken_exactly_starts_the_backoff_anew() {
    let rules = machine::Rules {
        attempts: 9,
        backoff: Backoff::exponential(ms(100), SECOND).jitter(Jitter::None),
        throttled: None,
        hint: Hint::Exact,
        max_elapsed: None,
        long_poll: false,
        dry_run: false,
    };
    let times = machine::Times { now: Timestamp::ORIGIN, started: Timestamp::ORIGIN, deadline: None };
    let mut session = machine::Session::new();
    let mut wait = |hint| {
        let failure = machine::Failure { retryable: true, hint, spent: None };
        session.wait(&rules, failure, 0.5, times).unwrap()
    };
    assert_eq!([wait(None), wait(None), wait(Some(ms(7))), wait(None)], [100, 200, 7, 100].map(ms));
}

#[test]
fn a_wait_that_ends_at_a_bound_is_as_late_as_one_that_ends_past_it() {
    let rules = machine::Rules {
        attempts: 2,
        backoff: Backoff::constant(ms(100)).jitter(Jitter::None),
        throttled: None,
        hint: Hint::Clamped,
        max_elapsed: Some(ms(500)),
        long_poll: false,
        dry_run: false,
    };
    let failure = machine::Failure { retryable: true, hint: None, spent: None };
    let started = Timestamp::from_nanos(7);
    let wait = |passed, deadline| {
        let times = machine::Times { now: started + passed, started, deadline: Some(started + deadline) };
        machine::Session::new().wait(&rules, failure, 0.0, times)
    };
    assert_eq!(wait(ms(399), ms(500)), Ok(ms(100)));
    assert_eq!(wait(ms(400), ms(501)), Err(Reason::MaxElapsed));
    assert_eq!(wait(ms(400), ms(500)), Err(Reason::Deadline));
    assert_eq!(wait(ms(0), ms(100)), Err(Reason::Deadline));
    assert_eq!(wait(ms(0), ms(101)), Ok(ms(100)));
    assert_eq!(wait(ms(0), Duration::MAX), Ok(ms(100)));
}

#[test]
fn what_cannot_work_is_refused_with_its_field() {
    let field = |builder: RetryBuilder| builder.build().map(drop).map_err(|error| error.field());
    assert_eq!(field(steady()), Ok(()));
    assert_eq!(field(steady().attempts(0)), Err("attempts"));
    assert_eq!(field(steady().max_elapsed(Duration::ZERO)), Err("max_elapsed"));
    assert_eq!(field(steady().backoff(Backoff::exponential(SECOND, ms(1)))), Err("backoff.base"));
    assert_eq!(field(steady().throttled_backoff(Backoff::linear(SECOND, ms(1)))), Err("backoff.base"));
    assert_eq!(field(steady().backoff(Backoff::sequence([]))), Err("backoff.sequence"));
    for factor in [f64::NAN, f64::INFINITY, 0.99, -1.0] {
        assert_eq!(field(steady().backoff(Backoff::default().factor(factor))), Err("backoff.factor"));
    }
    for share in [f64::NAN, -0.1, 1.1] {
        assert_eq!(field(steady().backoff(Backoff::default().jitter(Jitter::Around(share)))), Err("backoff.jitter"));
    }
}

fn jitters() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        Just(Jitter::Decorrelated),
        Just(Jitter::PollyV2),
        (0.0..=1.0).prop_map(Jitter::Around),
    ]
}

fn durations() -> impl Strategy<Value = Duration> {
    let usual = (0u64..100_000).prop_map(ms);
    let edges = prop_oneof![Just(Duration::ZERO), Just(Duration::from_nanos(1)), Just(Duration::MAX)];
    prop_oneof![4 => usual, 1 => (0u64..=u64::MAX).prop_map(Duration::from_nanos), 1 => edges]
}

fn backoffs() -> impl Strategy<Value = Backoff> {
    (durations(), durations(), 1.0..1e9, 0u8..5).prop_map(|(base, cap, factor, curve)| match curve {
        0 => Backoff::constant(base).capped(cap),
        1 => Backoff::linear(base, cap),
        2 => Backoff::exponential(base, cap).factor(factor),
        3 => Backoff::sequence([base, cap]).capped(cap),
        _ => Backoff::from_fn(move |n| base.saturating_mul(n), cap),
    })
}

proptest! {
    /// Some libraries cap first and spread afterwards: 748 ms for a cap of 500.
    #[test]
    fn no_delay_is_above_the_cap_whatever_the_jitter(
        backoff in backoffs(), jitter in jitters(), skip in any::<u32>(), previous in durations(), seed in any::<u64>(),
    ) {
        let backoff = backoff.jitter(jitter);
        let mut rng = Rng::seeded(seed);
        let (mut fresh, mut late) = (Series::default(), Series::after(skip, previous));
        for _ in 0..70 {
            prop_assert!(backoff.delay(&mut fresh, rng.unit()) <= backoff.cap());
            prop_assert!(backoff.delay(&mut late, rng.unit()) <= backoff.cap());
        }
    }

    /// Doubling overflows a u32 of milliseconds at retry 33, and a shift by 64 wraps to the first delay.
    #[test]
    fn a_curve_never_falls_and_stays_at_its_cap(base in durations(), cap in durations(), factor in 1.0..10.0) {
        let backoff = Backoff::exponential(base, cap).factor(factor).jitter(Jitter::None);
        let mut last = Duration::ZERO;
        for retries in (0..200).chain([u32::MAX - 1, u32::MAX]) {
            let delay = backoff.delay(&mut Series::after(retries, Duration::ZERO), 0.0);
            prop_assert!(delay >= last, "{delay:?} after {last:?}");
            last = delay;
        }
    }

    /// No session makes more attempts than permitted, nor schedules one past a deadline.
    #[test]
    fn a_session_ends_within_its_bounds(
        attempts in 1u32..20, backoff in backoffs(), jitter in jitters(), seed in any::<u64>(),
        within in durations(), takes in durations(), hint in proptest::option::of(durations()),
    ) {
        let rules = machine::Rules {
            attempts, backoff: backoff.jitter(jitter), throttled: None, hint: Hint::Clamped, max_elapsed: Some(within), long_poll: false, dry_run: false,
        };
        let mut rng = Rng::seeded(seed);
        let mut session = machine::Session::new();
        let failure = machine::Failure { retryable: true, hint, spent: None };
        let started = Timestamp::from_nanos(1);
        let mut now = started;
        let reason = loop {
            now = now + takes;
            if let Some(reason) = session.forbidden(&rules, failure) {
                break reason;
            }
            let times = machine::Times { now, started, deadline: None };
            match session.wait(&rules, failure, rng.unit(), times) {
                Ok(delay) => now = now + delay,
                Err(reason) => break reason,
            }
            prop_assert!(now < started + within);
            session.scheduled();
        };
        prop_assert!(session.attempt() <= attempts);
        prop_assert!(reason == Reason::MaxElapsed || session.attempt() == attempts);
    }
}
