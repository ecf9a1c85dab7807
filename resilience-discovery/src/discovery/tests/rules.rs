//! Each rule by example, time by hand.

use std::net::SocketAddr;
use std::time::Duration;

use resilience_core::time::Timestamp;

use crate::{Changes, Endpoint, EndpointSet, Freshness, Rules, Update};

const START: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

fn at(millis: u64) -> Timestamp {
    START + Duration::from_millis(millis)
}

fn fleet(ids: impl IntoIterator<Item = u16>) -> Update {
    let endpoint = |id: u16| Endpoint::new(format!("e{id}"), SocketAddr::from(([127, 0, 0, 1], id)));
    Update::Endpoints(ids.into_iter().map(endpoint).collect())
}

/// A set that has believed in endpoints 1 to `count`, and publishes at once unless told otherwise.
fn set(count: u16, change: impl FnOnce(&mut Rules)) -> EndpointSet {
    let mut rules = Rules { debounce: Duration::ZERO, ..Rules::default() };
    change(&mut rules);
    let mut set = EndpointSet::new(rules, START);
    set.apply(fleet(1..=count), START);
    assert_eq!(set.snapshot().endpoints().len(), usize::from(count));
    set
}

fn ids(set: &EndpointSet) -> Vec<&str> {
    set.snapshot().endpoints().iter().map(|endpoint| endpoint.id().as_str()).collect()
}

#[test]
fn before_the_first_word_there_is_nothing_and_it_is_stale() {
    let mut set = EndpointSet::new(Rules::default(), START);
    assert_eq!(set.snapshot().version(), 0);
    assert_eq!(set.snapshot().freshness(), Freshness::Stale { since: START });
    // A failure before the first word does not make it look any fresher, and "unchanged" says nothing.
    assert!(set.fail(at(5)).is_empty());
    assert!(set.apply(Update::Unchanged, at(6)).is_empty());
    assert_eq!(set.next_wake_up(), None);
}

#[test]
fn the_first_word_is_published_without_gathering() {
    let mut set = EndpointSet::new(Rules::default(), START);
    let changes = set.apply(fleet(1..=3), at(1));
    assert_eq!((changes.added.len(), changes.freshness), (3, Some(Freshness::Live)));
    assert_eq!((set.snapshot().version(), set.next_wake_up()), (1, None));
}

#[test]
fn a_first_word_of_nobody_is_believed_because_nothing_can_be_lost() {
    let mut set = EndpointSet::new(Rules::default(), START);
    let changes = set.apply(fleet([]), at(1));
    assert_eq!(changes.freshness, Some(Freshness::Empty));
    assert_eq!(set.snapshot().version(), 1);
}

#[test]
fn a_failing_source_changes_the_freshness_and_nothing_else() {
    let mut set = set(5, |_| {});
    let failed = set.fail(at(1000));
    assert_eq!(failed.freshness, Some(Freshness::Stale { since: at(1000) }));
    // Stale since the first failure, however many follow.
    for second in 2..600 {
        assert!(set.fail(at(1000 * second)).is_empty());
    }
    assert_eq!((set.snapshot().endpoints().len(), set.snapshot().version()), (5, 1));
    let recovered = set.apply(fleet(1..=5), at(600_000));
    assert_eq!(recovered, Changes { freshness: Some(Freshness::Live), ..Changes::default() });
    assert_eq!(set.snapshot().version(), 1);
}

#[test]
fn emptiness_said_once_is_not_believed_and_said_twice_over_half_a_minute_is() {
    let mut set = set(3, |_| {});
    let doubted = set.apply(fleet([]), at(0));
    assert_eq!(doubted.freshness, Some(Freshness::Stale { since: at(0) }));
    assert_eq!(doubted.withheld, Some(3));
    // Repeated too soon; and the mere passing of time confirms nothing.
    assert!(set.apply(fleet([]), at(29_999)).is_empty());
    assert!(set.tick(at(40_000)).is_empty());
    assert_eq!(set.next_wake_up(), None);
    let believed = set.apply(fleet([]), at(40_001));
    assert_eq!((believed.removed.len(), believed.freshness), (3, Some(Freshness::Empty)));
    assert_eq!((set.snapshot().endpoints().len(), set.snapshot().suspects().len()), (0, 0));
}

#[test]
fn a_doubt_about_emptiness_ends_when_somebody_is_named() {
    let mut set = set(3, |_| {});
    set.apply(fleet([]), at(0));
    set.apply(fleet(1..=3), at(10_000));
    assert_eq!(set.snapshot().freshness(), Freshness::Live);
    // The next doubt starts from the beginning.
    set.apply(fleet([]), at(20_000));
    set.apply(fleet([]), at(31_000));
    assert_eq!(set.snapshot().endpoints().len(), 3);
}

#[test]
fn a_word_that_all_is_unchanged_confirms_emptiness() {
    let mut set = set(3, |_| {});
    set.apply(fleet([]), at(0));
    set.apply(Update::Unchanged, at(30_000));
    assert_eq!(set.snapshot().freshness(), Freshness::Empty);
}

#[test]
fn a_fleet_that_loses_more_than_half_at_once_is_kept_until_that_is_confirmed() {
    let mut set = set(10, |_| {});
    let doubted = set.apply(fleet(1..=3), at(0));
    assert_eq!(doubted.withheld, Some(7));
    assert_eq!(ids(&set).len(), 10);
    assert_eq!(set.snapshot().suspects().len(), 7);
    assert!(set.snapshot().freshness().is_stale());
    assert!(set.apply(fleet(1..=3), at(29_000)).is_empty());
    let believed = set.apply(fleet(1..=3), at(30_000));
    assert_eq!((believed.removed.len(), believed.freshness), (7, Some(Freshness::Live)));
    assert_eq!(ids(&set), ["e1", "e2", "e3"]);
    // What was believed is the measure from now on: one of three may go at once.
    assert_eq!(set.apply(fleet(1..=2), at(30_001)).removed.len(), 1);
}

#[test]
fn half_of_a_fleet_may_go_at_once_and_a_whole_one_may_be_replaced() {
    let mut halved = set(10, |_| {});
    assert_eq!(halved.apply(fleet(1..=5), at(0)).removed.len(), 5);
    let mut replaced = set(10, |_| {});
    let changes = replaced.apply(fleet(11..=20), at(0));
    assert_eq!((changes.added.len(), changes.removed.len()), (10, 10));
    assert_eq!(replaced.snapshot().freshness(), Freshness::Live);
}

#[test]
fn who_is_new_in_a_doubted_statement_is_used_at_once() {
    let mut set = set(10, |_| {});
    let changes = set.apply(fleet([1, 20]), at(0));
    assert_eq!((changes.added.len(), changes.withheld), (1, Some(9)));
    assert_eq!(ids(&set).len(), 11);
}

#[test]
fn who_goes_missing_late_in_a_doubt_has_a_doubt_of_their_own() {
    let mut set = set(10, |_| {});
    set.apply(fleet(1..=4), at(0));
    set.apply(fleet(1..=3), at(29_000));
    // Six have been missing for 30 s; the seventh has not.
    assert_eq!(set.apply(fleet(1..=3), at(30_000)).removed.len(), 6);
    assert_eq!(set.snapshot().suspects().len(), 1);
    assert_eq!(set.apply(fleet(1..=3), at(59_000)).removed.len(), 1);
    assert_eq!(set.snapshot().freshness(), Freshness::Live);
}

#[test]
fn a_guard_of_one_lets_every_statement_through() {
    let mut set = set(10, |rules| rules.max_shrink = 1.0);
    assert_eq!(set.apply(fleet([1]), at(0)).removed.len(), 9);
}

#[test]
fn an_endpoint_that_flaps_within_the_grace_is_never_dropped() {
    let mut set = set(3, |rules| rules.removal_grace = Duration::from_secs(10));
    for second in 0..60 {
        let update = if second % 2 == 0 { fleet(1..=2) } else { fleet(1..=3) };
        assert!(set.apply(update, at(1000 * second)).is_empty(), "second {second}");
    }
    assert_eq!(set.snapshot().version(), 1);
}

#[test]
fn who_stays_away_is_dropped_when_the_grace_ends() {
    let mut set = set(3, |rules| rules.removal_grace = Duration::from_secs(10));
    set.apply(fleet(1..=2), at(0));
    assert_eq!(set.next_wake_up(), Some(at(10_000)));
    assert!(set.tick(at(9_999)).is_empty());
    assert_eq!(set.tick(at(10_000)).removed.len(), 1);
    assert_eq!(set.next_wake_up(), None);
}

#[test]
fn a_hundred_additions_in_fifty_milliseconds_are_published_once() {
    let mut set = set(1, |rules| rules.debounce = Duration::from_millis(100));
    for n in 0..100u16 {
        assert!(set.apply(fleet(1..=n + 2), START + Duration::from_micros(500) * u32::from(n)).is_empty());
    }
    assert_eq!(set.next_wake_up(), Some(at(100)));
    assert_eq!(set.tick(at(100)).added.len(), 100);
    assert_eq!((set.snapshot().version(), set.next_wake_up()), (2, None));
}

#[test]
fn a_thousand_updates_a_second_are_published_ten_times_a_second_and_end_exact() {
    let mut set = set(1, |rules| rules.debounce = Duration::from_millis(100));
    for millis in 0..10_000u64 {
        set.apply(fleet(1..=2 + u16::try_from(millis % 50).unwrap()), at(millis));
    }
    set.tick(at(10_100));
    assert!(set.snapshot().version() <= 101 + 1, "{}", set.snapshot().version());
    assert_eq!(set.snapshot().endpoints().len(), 2 + (9_999 % 50));
}

#[test]
fn a_flap_within_the_window_is_no_change() {
    let mut set = set(3, |rules| rules.debounce = Duration::from_millis(100));
    set.apply(fleet(1..=2), at(0));
    set.apply(fleet(1..=3), at(50));
    assert!(set.tick(at(100)).is_empty());
    assert_eq!(set.snapshot().version(), 1);
}

#[test]
fn an_address_that_changes_is_a_change_and_the_first_of_two_counts() {
    let mut set = set(2, |_| {});
    let moved = Endpoint::new("e1", SocketAddr::from(([127, 0, 0, 1], 99)));
    let again = Endpoint::new("e1", SocketAddr::from(([127, 0, 0, 1], 98)));
    let other = set.snapshot().endpoint("e2").unwrap().clone();
    let changes = set.apply(Update::Endpoints(vec![moved.clone(), again, other]), at(0));
    assert_eq!((changes.changed, changes.added.len(), changes.removed.len()), (vec![moved], 0, 0));
}

#[test]
fn rules_that_cannot_work_are_refused_by_name() {
    let refused = |change: fn(&mut Rules)| {
        let mut rules = Rules::default();
        change(&mut rules);
        rules.validate().unwrap_err().to_string()
    };
    assert_eq!(refused(|rules| rules.empty_confirmations = 0), "empty_confirmations must be above zero");
    for share in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
        let rules = Rules { max_shrink: share, ..Rules::default() };
        assert_eq!(rules.validate().unwrap_err().field(), "max_shrink");
    }
    let mut patient = set(3, |rules| (rules.removal_grace, rules.debounce) = (Duration::MAX, Duration::MAX));
    patient.apply(fleet(1..=2), at(0));
    assert_eq!(patient.next_wake_up(), Some(Timestamp::NEVER));
}
