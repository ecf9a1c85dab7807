//! Waits between attempts, out of the family's own curves.

use std::time::Duration;

use resilience_core::retry::{Backoff, Series};
use resilience_core::rng::Rng;

/// Failures after which a curve is as flat as it gets.
const LONGEST: u32 = 1_024;

/// The wait after the `failures`-th failure, counted from 1.
///
/// Some jitters remember their last draw, and a log does not say what it was. The series is therefore drawn afresh up to
/// this failure: another draw of the same distribution.
pub(crate) fn wait(backoff: &Backoff, failures: u32, rng: &mut Rng) -> Duration {
    let mut series = Series::default();
    for _ in 1..failures.min(LONGEST) {
        backoff.delay(&mut series, rng.unit());
    }
    backoff.delay(&mut series, rng.unit())
}

#[cfg(test)]
mod tests {
    use resilience_core::retry::Jitter;

    use super::*;

    #[test]
    fn waits_grow_up_to_the_cap_also_after_failures_without_end() {
        let (base, cap) = (Duration::from_secs(1), Duration::from_secs(30));
        let backoff = Backoff::exponential(base, cap).jitter(Jitter::None);
        let mut rng = Rng::seeded(1);
        let waits = [1, 2, 3, 9, u32::MAX].map(|failures| wait(&backoff, failures, &mut rng).as_secs());
        assert_eq!(waits, [1, 2, 4, 30, 30]);
    }
}
