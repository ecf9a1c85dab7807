use std::time::Duration;

use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
use resilience_core::time::Timestamp;

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::ORIGIN + Duration::from_secs(seconds)
}

/// A fleet of as many endpoints as there are counts, each `(successes, failures)`.
fn fleet(rules: Rules, counts: &[(u64, u64)]) -> Detector<usize> {
    let mut detector = Detector::new(rules).unwrap();
    (0..counts.len()).for_each(|key| detector.insert(key));
    count(&mut detector, counts);
    detector
}

fn count(detector: &mut Detector<usize>, counts: &[(u64, u64)]) {
    for (key, (successes, failures)) in counts.iter().enumerate() {
        // In turn, so that no rule about failures in a row is meant unless all fail.
        for call in 0..successes.max(failures) * 2 {
            match call % 2 {
                0 if call / 2 < *successes => detector.record(&key, Outcome::Success, at(0)),
                1 if call / 2 < *failures => detector.record(&key, Outcome::Failure, at(0)),
                _ => false,
            };
        }
    }
}

#[test]
fn one_bad_endpoint_of_ten_is_ejected_and_a_second_is_spared() {
    // Scenario 24 of the discovery anchors: mean .98, deviation .06, threshold .866; at most 10 % may be out.
    let mut counts = [(100, 0); 10];
    counts[3] = (80, 20);
    let sweep = fleet(Rules::grpc(), &counts).sweep(at(10), || 0.0);
    assert_eq!(sweep.ejected, [3]);
    let spread = sweep.spread.unwrap();
    assert!((spread.mean - 0.98).abs() < 1e-9 && (spread.deviation - 0.06).abs() < 1e-9);
    assert!((spread.required(1_900) - 0.866).abs() < 1e-9);

    counts[4] = (0, 100);
    let mut rules = Rules::grpc();
    rules.success_rate = None;
    counts[3] = (0, 100);
    let sweep = fleet(rules, &counts).sweep(at(10), || 0.0);
    assert_eq!((sweep.ejected.len(), sweep.spared), (1, 1));
}

#[test]
fn exactly_the_threshold_is_good_with_grpc_and_bad_with_envoy() {
    let counts = [(15, 85), (100, 0), (100, 0), (100, 0), (100, 0)];
    for (judged, ejected) in [(Judged::Above, vec![]), (Judged::AtOrAbove, vec![0])] {
        let mut rules = Rules::grpc();
        rules.success_rate = None;
        rules.failure_percentage = Some(FailurePercentage { judged, ..FailurePercentage::GRPC });
        assert_eq!(fleet(rules, &counts).sweep(at(10), || 0.0).ejected, ejected, "{judged:?}");
    }
}

#[test]
fn an_endpoint_found_by_both_algorithms_is_ejected_once() {
    // grpc-go has no such check: one bad interval then counts twice, and the first ejection lasts a minute.
    let mut rules = Rules::grpc();
    rules.cap = Cap::Below(50.0);
    let mut detector = fleet(rules, &[(0, 100), (100, 0), (100, 0), (100, 0), (100, 0)]);
    assert_eq!(detector.sweep(at(10), || 0.0).ejected, [0]);
    assert_eq!(detector.host(&0).unwrap().multiplier, 1);
}

#[test]
fn ejections_grow_and_good_conduct_shrinks_them() {
    let mut rules = Rules::grpc();
    rules.success_rate = None;
    let bad = [(0, 50), (50, 0), (50, 0), (50, 0), (50, 0)];
    let mut detector = fleet(rules, &bad);
    let mut out = Vec::new();
    for second in (10..=300).step_by(10) {
        let sweep = detector.sweep(at(second), || 0.0);
        if !sweep.ejected.is_empty() {
            out.push(second);
        }
        if !sweep.returned.is_empty() {
            out.push(second);
            count(&mut detector, &bad);
        }
    }
    // 30 s, then 60, then 90: each ends with the first sweep strictly after.
    assert_eq!(out, [10, 50, 60, 130, 140, 240, 250]);
    let mut well = detector.clone();
    while well.is_ejected(&0) {
        well.sweep(at(10_000), || 0.0);
    }
    let before = well.host(&0).unwrap().multiplier;
    well.sweep(at(10_010), || 0.0);
    assert_eq!(well.host(&0).unwrap().multiplier, before - 1);
}

#[test]
fn an_ejection_that_is_over_makes_room_for_another_and_is_made_up_for() {
    // OD2: tower-resilience never takes an ejection off the share that may be out, so that one outage a host and it is
    // blind; nor does it ever forgive. One of ten may be out: the first, while it is; and then the second.
    let mut rules = Rules::grpc();
    rules.success_rate = None;
    let bad = |which: usize| std::array::from_fn::<_, 10, _>(|host| if host == which { (0, 50) } else { (50, 0) });
    let mut detector = fleet(rules, &bad(0));
    assert_eq!(detector.sweep(at(10), || 0.0).ejected, [0]);
    count(&mut detector, &bad(1));
    let sweep = detector.sweep(at(20), || 0.0);
    assert_eq!((sweep.ejected.len(), sweep.spared), (0, 1), "there is no room for it");
    assert_eq!(detector.sweep(at(50), || 0.0).returned, [0], "after its thirty seconds");
    count(&mut detector, &bad(1));
    assert_eq!(detector.sweep(at(60), || 0.0).ejected, [1]);
    assert_eq!((detector.host(&0).unwrap().multiplier, detector.host(&1).unwrap().multiplier), (0, 1), "it was well");
    // The same without sweeps that say so: what is over does not count.
    detector.sweep(at(1_000), || 0.0);
    assert_eq!((0..10).filter(|host| detector.is_ejected(host)).count(), 0);
}

#[test]
fn failures_in_a_row_do_not_empty_the_fleet() {
    let mut detector = Detector::new(Rules::envoy()).unwrap();
    (0..10).for_each(|key| detector.insert(key));
    let ejected = (0..10).filter(|key| (0..5).any(|_| detector.record(key, Outcome::Failure, at(1)))).count();
    assert_eq!(ejected, 1);
}

#[test]
fn an_endpoint_that_was_bad_for_long_is_forgiven_as_its_rules_say() {
    for (counts_beyond_max, multiplier) in [(true, 40), (false, 11)] {
        let mut rules = Rules::envoy();
        rules.counts_beyond_max = counts_beyond_max;
        let mut detector = Detector::new(rules).unwrap();
        detector.insert(0);
        for round in 0..40 {
            assert!((0..5).any(|_| detector.record(&0, Outcome::Failure, at(round * 1_000))));
            detector.sweep(at(round * 1_000 + 301), || 0.0);
        }
        assert_eq!(detector.host(&0).unwrap().multiplier, multiplier);
    }
}

#[test]
fn a_success_between_failures_starts_the_row_anew() {
    let mut detector = Detector::new(Rules::envoy()).unwrap();
    detector.insert(0);
    let outcomes = [Outcome::Failure; 4].into_iter().chain([Outcome::Success]).chain([Outcome::Failure; 4]);
    assert!(!outcomes.into_iter().any(|outcome| detector.record(&0, outcome, at(1))));
    assert!(detector.record(&0, Outcome::Failure, at(1)));
}

#[test]
fn enforcement_spares_by_the_draw() {
    let mut rules = Rules::grpc();
    rules.success_rate = None;
    rules.failure_percentage = Some(FailurePercentage { enforcement: 30.0, ..FailurePercentage::GRPC });
    let counts = [(0, 50), (50, 0), (50, 0), (50, 0), (50, 0)];
    assert_eq!(fleet(rules.clone(), &counts).sweep(at(10), || 0.29).ejected, [0]);
    assert_eq!(fleet(rules, &counts).sweep(at(10), || 0.3).spared, 1);
}

#[test]
fn nonsense_is_refused_with_its_field() {
    let refused = |change: fn(&mut Rules)| {
        let mut rules = Rules::grpc();
        change(&mut rules);
        Detector::<u8>::new(rules).unwrap_err().to_string()
    };
    assert_eq!(refused(|rules| rules.base = Duration::ZERO), "base must be above zero");
    assert_eq!(refused(|rules| rules.interval = Duration::ZERO), "interval must be above zero");
    assert_eq!(refused(|rules| rules.consecutive = Some(0)), "consecutive must be above zero");
    assert_eq!(refused(|rules| rules.cap = Cap::Below(f64::NAN)), "cap must be between 0 and 100");
}

fn counts() -> impl Strategy<Value = Vec<(u64, u64)>> {
    proptest::collection::vec((0..120_u64, 0..120_u64), 1..12)
}

proptest! {
    /// Whatever the history: no more are out than the cap allows, nobody is ejected while out, and everybody comes back.
    #[test]
    fn the_cap_holds_and_nobody_is_out_for_ever(rounds in proptest::collection::vec(counts(), 1..20), seed in 0..100_u32) {
        let mut rules = Rules::grpc();
        rules.cap = Cap::AtMost { percent: 40.0, always_one: false };
        rules.consecutive = Some(7);
        let mut detector = fleet(rules, &[(0, 0); 12]);
        let mut second = 0;
        for round in &rounds {
            count(&mut detector, round);
            second += 10;
            let before: Vec<usize> = detector.ejected().copied().collect();
            let sweep = detector.sweep(at(second), || f64::from(seed) / 100.0);
            prop_assert!(sweep.ejected.iter().all(|key| !before.contains(key)));
            prop_assert!(detector.ejected().count() * 10 <= 12 * 4);
        }
        detector.sweep(at(second + 301), || 0.0);
        prop_assert_eq!(detector.ejected().count(), 0);
    }
}
