//! What may be done with an answer, as a function of times.

use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(Duration::ZERO), Just(Duration::MAX), (0..1_000_u64).prop_map(Duration::from_nanos)]
}

proptest! {
    #[test]
    fn an_answer_grows_old_in_one_direction(
        now in 0..1_000_u64, fresh in durations(), revalidate in durations(), on_error in durations(), shortened in 0.0..=1.0,
    ) {
        let ttl = Ttl::fresh(fresh).stale_while_revalidate(revalidate).stale_if_error(on_error);
        let lifetime = Lifetime::new(Timestamp::from_nanos(now), ttl, shortened);
        let rank = |age| match age { Age::Fresh => 0, Age::Revalidate => 1, Age::OnError => 2, Age::Gone => 3 };
        let ages: Vec<_> = (now..now + 4_000).map(|at| rank(lifetime.age(Timestamp::from_nanos(at)))).collect();
        prop_assert!(ages.is_sorted());
        prop_assert!(ages.iter().all(|age| *age != 2 || on_error > revalidate));
    }

    #[test]
    fn without_jitter_each_window_ends_to_the_nanosecond(
        now in 0..1_000_u64, fresh in 0..1_000_u64, revalidate in 0..1_000_u64, on_error in 0..1_000_u64, later in 0..4_000_u64,
    ) {
        let nanos = Duration::from_nanos;
        let ttl = Ttl::fresh(nanos(fresh)).stale_while_revalidate(nanos(revalidate)).stale_if_error(nanos(on_error));
        let lifetime = Lifetime::new(Timestamp::from_nanos(now), ttl, 0.0);
        let age = match later {
            _ if later < fresh => Age::Fresh,
            _ if later < fresh + revalidate => Age::Revalidate,
            _ if later < fresh + on_error => Age::OnError,
            _ => Age::Gone,
        };
        let at = Timestamp::from_nanos(now + later);
        prop_assert_eq!(lifetime.age(at), age);
        prop_assert_eq!(lifetime.is_usable_on_error(at), later < fresh + revalidate.max(on_error));
    }

    #[test]
    fn jitter_takes_its_share_at_most_and_adds_nothing(fresh in 1..u64::MAX - 1, shortened in 0.0..=0.9) {
        let lifetime = Lifetime::new(Timestamp::ORIGIN, Ttl::fresh(Duration::from_nanos(fresh)), shortened);
        prop_assert_eq!(lifetime.age(Timestamp::from_nanos(fresh)), Age::Gone);
        // What is left of it, but for the rounding of a figure of 53 bits.
        let left = ((1.0 - shortened) * fresh as f64 * 0.999_999) as u64;
        prop_assert_eq!(lifetime.age(Timestamp::from_nanos(left.saturating_sub(1))), Age::Fresh);
    }
}

#[test]
fn nonsense_for_jitter_makes_no_answer_last_longer() {
    for shortened in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
        let lifetime = Lifetime::new(Timestamp::ORIGIN, Ttl::fresh(SECOND), shortened);
        assert_eq!(lifetime.age(Timestamp::ORIGIN + SECOND), Age::Gone);
    }
}
