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

#[test]
fn a_bound_that_shrinks_gives_no_key_its_burst_again() {
    // Whoever is forgotten before it is back at full would have a whole burst once more, at each change of a file.
    let (limiter, timer) = keyed(2, 10_000);
    for key in 0..500 {
        limiter.try_acquire_n(&key, 2).unwrap();
        timer.advance(Duration::from_millis(1));
    }
    let settings = |max_keys| RateLimiter::builder().quota(1, SECOND).burst(2).max_keys(max_keys);
    limiter.reconfigure(settings(50)).unwrap();
    let seen = limiter.snapshot();
    assert_eq!((seen.keys, seen.max_keys), (500, 50));
    assert!((0..500).all(|key| limiter.available(&key) == 0));
    // Room there is when all but 49 are full, and not when the first one is: the 451st, two seconds after it came.
    assert_eq!(limiter.try_acquire(&999), Err(limited(Duration::from_millis(450 + 2_000 - 500))));
    timer.advance(Duration::from_millis(1_949));
    assert!(limiter.try_acquire(&999).is_err());
    timer.advance(Duration::from_millis(1));
    assert_eq!(limiter.try_acquire(&999), Ok(()));
    assert_eq!(limiter.snapshot().keys, 50);
    // Keys find what they have left when they are kept elsewhere.
    limiter.reconfigure(settings(10_000)).unwrap();
    assert_eq!((limiter.available(&999), limiter.available(&499)), (1, 1));
    assert_eq!(limiter.try_acquire_n(&1_000, 2), Ok(()));
}

#[test]
fn a_bound_below_the_number_of_parts_is_kept_to_the_key() {
    let (limiter, _) = keyed(1, 100_000);
    limiter.reconfigure(RateLimiter::builder().quota(1, SECOND).max_keys(10)).unwrap();
    assert_eq!((0..1_000).filter(|key| limiter.try_acquire(key).is_ok()).count(), 10);
}

#[test]
fn what_a_keyed_limiter_cannot_become_changes_nothing() {
    let (limiter, _) = keyed(3, 100);
    let other = || RateLimiter::builder().quota(9, SECOND).max_keys(7).dry_run(true);
    for (builder, field) in [
        (other().max_wait(SECOND), "max_wait"),
        (other().max_keys(0), "max_keys"),
        (other().burst(0), "burst"),
        (RateLimiter::builder().max_keys(7), "quota"),
    ] {
        assert_eq!(limiter.reconfigure(builder).unwrap_err().field(), field);
    }
    assert_eq!((limiter.available(&1), limiter.snapshot().max_keys), (3, 100));
    assert!(limiter.try_acquire_n(&1, 4).is_err(), "no dry run");
}

#[test]
fn a_key_that_is_forgotten_to_make_room_may_look_at_the_limiter() {
    // Dropped under the lock, it would wait for itself.
    type Looks = std::sync::Arc<std::sync::Mutex<Option<KeyedRateLimiter<Key>>>>;
    #[derive(Clone)]
    struct Key(u32, Looks);
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    impl Drop for Key {
        fn drop(&mut self) {
            let limiter = self.1.lock().unwrap().clone();
            assert!(limiter.is_none_or(|limiter| limiter.snapshot().keys <= 1));
        }
    }
    let (looks, timer) = (Looks::default(), ManualTimer::new());
    let builder = RateLimiter::builder().quota(1, SECOND).burst(2).max_keys(1).timer(timer.clone());
    let limiter = builder.build_keyed::<Key>().unwrap();
    *looks.lock().unwrap() = Some(limiter.clone());
    limiter.try_acquire(&Key(1, looks.clone())).unwrap();
    timer.advance(SECOND);
    limiter.try_acquire(&Key(2, looks.clone())).unwrap();
    assert_eq!(limiter.snapshot().keys, 1);
    *looks.lock().unwrap() = None;
}

proptest! {
    /// Forgetting changes no verdict, and neither does moving: a limiter for each key, never forgotten, says the same.
    #[test]
    fn a_key_is_forgotten_only_when_it_is_back_at_full(
        burst in 1..5u32,
        calls in prop::collection::vec(
            (0..6u32, 1..4u32, 0..2_500u64, prop::option::weighted(0.2, (6..2_000usize, 1..4u32, 1..5u32))), 1..200,
        ),
    ) {
        let (limiter, timer) = keyed(burst, 1_000);
        let quota = |permits, burst| RateLimiter::builder().quota(permits, SECOND).burst(burst);
        let mut now = (1, burst);
        let mut alone: HashMap<u32, RateLimiter> = HashMap::new();
        for (key, permits, millis, change) in calls {
            timer.advance(Duration::from_millis(millis));
            if let Some((max_keys, permits, burst)) = change {
                now = (permits, burst);
                limiter.reconfigure(quota(permits, burst).max_keys(max_keys)).unwrap();
                for alone in alone.values() {
                    alone.reconfigure(quota(permits, burst)).unwrap();
                }
            }
            let alone = alone.entry(key).or_insert_with(|| quota(now.0, now.1).timer(timer.clone()).build().unwrap());
            prop_assert_eq!(limiter.try_acquire_n(&key, permits), alone.try_acquire_n(permits));
        }
    }
}
