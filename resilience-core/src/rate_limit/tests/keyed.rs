use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::{SECOND, limited};
use crate::rate_limit::*;
use crate::time::ManualTimer;

fn keyed(burst: u32, max_keys: usize) -> (KeyedRateLimiter<u32>, ManualTimer) {
    let timer = ManualTimer::new();
    let builder = RateLimiter::builder().quota(1, SECOND).burst(burst).max_keys(max_keys);
    (builder.timer(timer.clone()).build_keyed().unwrap(), timer)
}

#[test]
fn a_million_idle_keys_are_forgotten_while_one_key_calls() {
    // RL9: governor forgets when it is told to, and who does not tell it runs out of memory.
    let (limiter, timer) = keyed(2, 2_000_000);
    for key in 0..1_000_000 {
        limiter.try_acquire(&key).unwrap();
    }
    assert_eq!(limiter.snapshot().keys, 1_000_000);
    for _ in 0..1_000 {
        timer.advance(SECOND / 10);
        let _ = limiter.try_acquire(&1);
    }
    assert_eq!(limiter.snapshot().keys, 1);
}

#[test]
fn beyond_the_most_keys_full_ones_make_room_and_without_any_new_ones_are_refused() {
    let (limiter, timer) = keyed(1, 3);
    for key in 0..3 {
        limiter.try_acquire(&key).unwrap();
        timer.advance(SECOND / 10);
    }
    assert_eq!(limiter.try_acquire(&3), Err(limited(Duration::from_millis(700))));
    assert_eq!(limiter.snapshot().crowded, 1);
    timer.advance(Duration::from_millis(700));
    assert_eq!(limiter.try_acquire(&3), Ok(()));
    assert_eq!(limiter.snapshot().keys, 3);
    assert_eq!(limiter.available(&1), 0, "who is not full is not forgotten");
}

#[test]
fn a_quota_that_changes_keeps_what_each_key_has_taken() {
    // RL9, for each key.
    let (limiter, timer) = keyed(10, 100);
    limiter.try_acquire_n(&1, 8).unwrap();
    limiter.try_acquire_n(&2, 2).unwrap();
    limiter.set_quota(1, 60 * SECOND, 12).unwrap();
    assert_eq!((limiter.available(&1), limiter.available(&2), limiter.available(&3)), (4, 10, 12));
    limiter.set_quota(1, SECOND, 1).unwrap();
    timer.advance(2 * SECOND);
    let _ = limiter.try_acquire(&9);
    assert_eq!((limiter.available(&1), limiter.available(&2)), (0, 1), "still six seconds from full");
}

proptest! {
    /// Forgetting changes no verdict: a limiter for each key, never forgotten, says the same.
    #[test]
    fn a_key_is_forgotten_only_when_it_is_back_at_full(
        burst in 1..5u32, calls in prop::collection::vec((0..6u32, 1..4u32, 0..2_500u64), 1..200),
    ) {
        let (limiter, timer) = keyed(burst, 1_000);
        let mut alone: HashMap<u32, RateLimiter> = HashMap::new();
        for (key, permits, millis) in calls {
            timer.advance(Duration::from_millis(millis));
            let alone = alone.entry(key).or_insert_with(|| {
                RateLimiter::builder().quota(1, SECOND).burst(burst).timer(timer.clone()).build().unwrap()
            });
            prop_assert_eq!(limiter.try_acquire_n(&key, permits), alone.try_acquire_n(permits));
        }
    }
}
