use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rule(permits: u32, per: Duration, burst: u32) -> Rule {
    Rule::new(permits, per, burst).unwrap()
}

#[test]
fn what_cannot_work_is_refused_with_field_and_rule() {
    let cases = [
        ((0, SECOND, 1), "quota must be above zero"),
        ((1, Duration::ZERO, 1), "quota must be per a time above zero"),
        ((1, SECOND, 0), "burst must be above zero"),
        ((9, Duration::from_nanos(1), 1), "quota must be at most 8 permits a nanosecond"),
        ((1, Duration::MAX, 1), "burst must come back within four years at this quota"),
        ((1, SECOND, u32::MAX), "burst must come back within four years at this quota"),
    ];
    for ((permits, per, burst), why) in cases {
        assert_eq!(Rule::new(permits, per, burst).unwrap_err().to_string(), why);
    }
    assert_eq!(rule(8, Duration::from_nanos(1), u32::MAX).interval, 1);
}

#[test]
fn an_interval_that_does_not_divide_is_rounded_up() {
    let third = rule(3, SECOND, 1);
    assert!(third.interval * 3 >= span(SECOND));
    assert!(third.interval * 3 < span(SECOND) + 3);
}

#[test]
fn the_ends_of_time_neither_overflow_nor_admit() {
    let rule = rule(1, SECOND, 10);
    assert_eq!(rule.place(LAST, LAST, 1), None);
    assert!(!rule.admits_one(LAST, 0));
    assert_eq!(rule.place(0, 0, u32::MAX), None);
    assert_eq!(rule.rescaled(Rule { interval: LAST / 4, tolerance: LAST / 4 }, LAST, 0), LAST);
    assert_eq!(ticks(Timestamp::from_nanos(5), Timestamp::NEVER), LAST);
    assert_eq!(ticks(Timestamp::from_nanos(5), Timestamp::ORIGIN), 0);
    assert_eq!(span(Duration::MAX), LAST);
    assert!(rule.available(LAST, 0) < 0);
}

#[test]
fn a_word_keeps_its_two_halves_apart() {
    for generation in 0..GENERATIONS {
        let word = Word::new(LAST, generation);
        assert_eq!((word.full_at(), word.generation()), (LAST, generation));
        assert_eq!(word.with_full_at(3), Word::new(3, generation));
        assert_eq!(Word::from_bits(word.bits()), word);
    }
}

#[test]
fn what_was_taken_stays_taken_when_the_quota_changes() {
    let (old, new) = (rule(10, SECOND, 10), rule(1, SECOND, 12));
    let now = span(SECOND);
    let full_at = old.place(0, now, 8).unwrap().end;
    assert_eq!(old.available(full_at, now), 2);
    assert_eq!(new.available(old.rescaled(new, full_at, now), now), 4);
}

/// A caller: how long after the one before, wanting how many, waiting how long.
fn callers() -> impl Strategy<Value = Vec<(u64, u32, u64)>> {
    prop::collection::vec((0..3_000u64, 1..5u32, prop_oneof![Just(0u64), 0..9_000u64]), 1..120)
}

proptest! {
    /// RL2: a window that starts anew lets twice the quota through around its edge, as tower's does. The bucket as one
    /// would write it with all its permits: a list of when each was due, and a count over it.
    #[test]
    fn no_stretch_of_time_has_more_than_the_quota_and_the_burst(
        permits in 1..9u32, per in 1..4_000u64, burst in 1..7u32, callers in callers(),
    ) {
        prop_assume!(per >= u64::from(permits));
        let rule = Rule::new(permits, Duration::from_nanos(per), burst).unwrap();
        let (mut now, mut full_at) = (0, 0);
        let mut due = Vec::new();
        for (later, wanted, patience) in callers {
            now += later;
            let Some(place) = rule.place(full_at, now, wanted) else {
                prop_assert!(wanted > burst);
                continue;
            };
            if place.due.saturating_sub(now) <= patience {
                full_at = place.end;
                due.push((place.due.max(now), u64::from(wanted)));
            }
        }
        prop_assert!(due.is_sorted_by_key(|(at, _)| *at), "somebody overtook");
        for (first, (from, _)) in due.iter().enumerate() {
            let mut count = 0;
            for (to, wanted) in &due[first..] {
                count += wanted;
                let stretch = to - from;
                prop_assert!(count <= u64::from(burst) + stretch * u64::from(permits) / (per * TICKS_PER_NANO),
                    "{count} within {stretch}");
            }
        }
    }

    /// A token bucket in exact fractions agrees with the word on every verdict and every wait.
    #[test]
    fn the_word_says_what_a_bucket_of_tokens_says(
        interval in 1..2_000u64, burst in 1..7u32, callers in callers(),
    ) {
        let rule = Rule { interval, tolerance: interval * u64::from(burst) };
        let (mut now, mut full_at) = (0u64, 0);
        // Tokens in units of a tick: a permit is `interval` of them. Below zero while callers wait.
        let mut tokens = i128::from(rule.tolerance);
        for (later, wanted, patience) in callers {
            now += later;
            tokens = (tokens + i128::from(later)).min(i128::from(rule.tolerance));
            let cost = i128::from(interval) * i128::from(wanted);
            let wait = (cost - tokens).max(0);
            prop_assert_eq!(rule.admits_one(full_at, now), tokens >= i128::from(interval));
            prop_assert_eq!(rule.available(full_at, now), tokens.div_euclid(i128::from(interval)) as i64);
            match rule.place(full_at, now, wanted) {
                None => prop_assert!(wanted > burst),
                Some(place) => {
                    prop_assert_eq!(i128::from(place.due.saturating_sub(now)), wait);
                    if wait <= i128::from(patience) {
                        full_at = place.end;
                        tokens -= cost;
                    }
                }
            }
        }
    }
}
