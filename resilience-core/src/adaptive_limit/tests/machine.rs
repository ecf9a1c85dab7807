//! What holds whatever calls show.

use proptest::prelude::*;

use super::super::machine::{Ended, Machine, Settings};
use super::super::rule::{Active, Chosen};
use super::super::window::Shape;
use super::*;
use crate::control::Sample;
use crate::rng::Rng;
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug)]
struct Shown {
    after: Duration,
    rtt: Duration,
    in_flight: u32,
    lost: bool,
    /// How many epochs ago it began.
    late: u32,
}

fn shown() -> impl Strategy<Value = Shown> {
    let duration = || prop_oneof![Just(0), 1..100_000_000u64, Just(u64::MAX)].prop_map(Duration::from_nanos);
    (duration(), duration(), 0..3_000u32, proptest::bool::weighted(0.1), 0..2u32)
        .prop_map(|(after, rtt, in_flight, lost, late)| Shown { after, rtt, in_flight, lost, late })
}

fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![Just(Rule::AIMD), Just(Rule::VEGAS), Just(Rule::GRADIENT2)]
}

proptest! {
    #[test]
    fn the_limit_stays_within_its_bounds_and_says_when_it_changes(
        rule in rule(),
        samples in 1..5u32,
        mean in any::<bool>(),
        (min, span, seed) in (1..50u32, 0..500u32, any::<u64>()),
        calls in proptest::collection::vec(shown(), 1..200),
    ) {
        let max = min + span;
        let figure = if mean { Figure::Mean } else { Figure::Percentile(0.9) };
        let shape = Shape { least: Duration::ZERO, most: Duration::from_secs(1), samples, figure };
        let settings = Settings { min, max, shape, chosen: Chosen::Rule(rule) };
        let mut machine = Machine::new(min, settings, Rng::seeded(seed));
        let mut now = Timestamp::ORIGIN;
        for Shown { after, rtt, in_flight, lost, late } in calls {
            now = now + after;
            let (limit, epoch) = (machine.limit(), machine.epoch());
            let ended = Ended { rtt, in_flight, epoch: epoch.wrapping_sub(late), lost };
            let change = machine.record(ended, now);
            prop_assert!((min..=max).contains(&machine.limit()));
            prop_assert_eq!(change.map(|change| (change.from, change.to)).is_some(), limit != machine.limit());
            prop_assert_eq!(machine.epoch() != epoch, machine.limit() < limit, "an epoch ends when the limit goes down");
            if late > 0 {
                prop_assert_eq!(change, None, "what began before says nothing any more");
            }
            if let Some(change) = change {
                prop_assert_eq!((change.from, change.to), (limit, machine.limit()));
                let is_used = u64::from(in_flight.max(machine.last().map_or(0, |last| last.in_flight))) * 2 >= u64::from(limit);
                prop_assert!(change.to < limit || is_used || change.cause == Cause::Probed, "{change:?}");
            }
        }
    }
}

/// A route grew longer, and the first measurement of it was a twentieth too low: half the queue that the rule allows, of
/// which the second took back only a quarter, half a minute later. The limit grew by two calls at a time for as long.
#[test]
fn measurements_of_a_new_path_count_alike_until_there_are_enough() {
    let mut rule = Active::new(Chosen::Rule(Rule::VEGAS), 50, 3, 1_000);
    let mut measure = |rtt: u64, is_unloaded: bool| {
        rule.sample(Sample { rtt: ms(rtt), in_flight: 50, dropped: false }, is_unloaded);
        ((rule.baseline().unwrap().as_secs_f64() * 1e3).round(), rule.is_in_doubt())
    };
    assert_eq!(measure(30, false), (30.0, true)); // under load, and better than nothing
    assert_eq!([measure(20, true), measure(28, true)], [(20.0, true), (24.0, true)]);
    assert_eq!([measure(24, true), measure(32, true)], [(24.0, true), (26.0, false)]);
    assert_eq!(measure(34, true), (28.0, false)); // no more than a quarter from here on
    // Another path: what was known of the old one says nothing.
    assert_eq!([measure(100, true), measure(80, true)], [(100.0, true), (90.0, true)]);
}
