use std::time::Duration;

use proptest::prelude::*;
use resilience_core::time::WallTime;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR_MILLIS: u64 = 3_600_000;

/// ES57. One machine is an hour ahead. Were its stamp taken in, this node would write an hour ahead as well, and
/// so would everybody it talks to; and until then its writes would beat all others.
#[test]
fn a_clock_an_hour_ahead_is_refused_and_leaves_no_trace() {
    let mut clock = HybridClock::new(node(0), MINUTE);
    let now = 1_700_000_000_000;
    clock.tick(wall(now)).unwrap();
    let before = clock.clone();
    let refused = clock.observe(HybridTime::new(now + HOUR_MILLIS, 0), wall(now)).unwrap_err();
    assert_eq!(refused, ClockError::RemoteAhead { ahead: MINUTE * 60, max_drift: MINUTE });
    assert_eq!(refused.to_string(), "the remote clock is 3600s ahead, at most 60s is allowed");
    assert_eq!(refused.retry_after(), Some(MINUTE * 59));
    assert_eq!(clock, before);
    assert_eq!(clock.tick(wall(now)).unwrap().time, HybridTime::new(now, 1));
}

#[test]
fn the_bound_itself_is_within_the_bound() {
    let mut clock = HybridClock::new(node(0), MINUTE);
    clock.observe(HybridTime::new(60_000, u16::MAX), wall(0)).unwrap();
    assert!(clock.observe(HybridTime::new(60_001, 0), wall(0)).is_err());
}

/// Wall time was an hour ahead for a moment, and somebody put it right. Stamps that nobody accepts help nobody.
#[test]
fn a_node_whose_wall_time_fell_back_says_so_rather_than_write_what_all_refuse() {
    let mut clock = HybridClock::new(node(0), MINUTE);
    clock.tick(wall(HOUR_MILLIS)).unwrap();
    let before = clock.clone();
    let refused = clock.tick(wall(0)).unwrap_err();
    assert_eq!(refused, ClockError::FellBack { behind: MINUTE * 60, max_drift: MINUTE });
    assert_eq!(clock, before);
    let later = HOUR_MILLIS - 60_000;
    assert!(clock.tick(wall(later)).is_ok(), "after {:?}", refused.retry_after());
}

#[test]
fn a_burst_of_writes_runs_over_into_the_next_millisecond() {
    let mut clock = HybridClock::new(node(0), MINUTE);
    clock.observe(HybridTime::new(5, u16::MAX), wall(5)).unwrap();
    assert_eq!(clock.tick(wall(5)).unwrap().time, HybridTime::new(6, 0));
}

#[test]
fn a_restarted_node_goes_on_after_what_it_has_stored() {
    let mut clock = HybridClock::resume(node(0), MINUTE, HybridTime::new(5_000, 3));
    assert_eq!(clock.tick(wall(1_000)).unwrap().time, HybridTime::new(5_000, 4));
}

#[test]
fn no_number_is_too_great_for_a_clock() {
    for now in [0, 1, u64::MAX] {
        for last in [HybridTime::ZERO, HybridTime::MAX] {
            for drift in [Duration::ZERO, MINUTE, Duration::MAX] {
                let mut clock = HybridClock::resume(node(0), drift, last);
                let _ = clock.observe(HybridTime::MAX, wall(now));
                let _ = clock.tick(wall(now)).map_err(|error| (error.to_string(), error.retry_after()));
            }
        }
    }
    let mut at_its_end = HybridClock::resume(node(0), Duration::MAX, HybridTime::MAX);
    assert_eq!(at_its_end.tick(wall(0)), Err(ClockError::Exhausted));
}

fn wall(millis: u64) -> WallTime {
    WallTime::from_unix_millis(millis)
}

#[derive(Clone, Debug)]
enum Step {
    /// A node writes, its wall time having jumped to within two minutes of the true one, either way.
    Write { node: usize, skew: i64 },
    /// A node hears of an earlier write.
    Hear { node: usize, write: usize, skew: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let skew = -120_000..120_000_i64;
    let step = prop_oneof![
        (0..3_usize, skew.clone()).prop_map(|(node, skew)| Step::Write { node, skew }),
        (0..3_usize, 0..64_usize, skew).prop_map(|(node, write, skew)| Step::Hear { node, write, skew }),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever wall clocks do: a node's stamps only grow, no two writes share one, what a node has heard of is before
    /// what it writes, and no stamp that is given out or taken in is further ahead of wall time than was agreed.
    #[test]
    fn stamps_grow_keep_cause_before_effect_and_stay_near_wall_time(steps in steps()) {
        let mut clocks = [0, 1, 2].map(|number| HybridClock::new(node(number), MINUTE));
        let mut writes: Vec<Stamp> = Vec::new();
        for (step, true_time) in steps.into_iter().zip((1_000_000_u64..).step_by(7)) {
            let skewed = |skew: i64| true_time.saturating_add_signed(skew);
            match step {
                Step::Write { node, skew } => {
                    let (before, now) = (clocks[node].clone(), skewed(skew));
                    match clocks[node].tick(wall(now)) {
                        Ok(stamp) => {
                            prop_assert!(stamp.time > before.last(), "later than all it gave out or heard of");
                            prop_assert!(stamp.time.millis() <= now + 60_000);
                            prop_assert!(!writes.contains(&stamp));
                            writes.push(stamp);
                        }
                        Err(ClockError::FellBack { .. }) => {
                            prop_assert!(before.last().millis() > now + 59_999 && clocks[node] == before);
                        }
                        Err(other) => prop_assert!(false, "{other}"),
                    }
                }
                Step::Hear { node, write, skew } => {
                    let Some(write) = writes.get(write).copied() else { continue };
                    let (before, now) = (clocks[node].clone(), skewed(skew));
                    let heard = clocks[node].observe(write.time, wall(now));
                    prop_assert_eq!(heard.is_ok(), write.time.millis() <= now + 60_000);
                    prop_assert_eq!(clocks[node].last(), if heard.is_ok() { before.last().max(write.time) } else { before.last() });
                }
            }
        }
    }
}
