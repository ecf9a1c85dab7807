//! What is known of a dependency, and what it means. Values in, values out.

use std::time::Duration;

use super::Status;
use crate::time::Timestamp;

/// What the runs of one check have told so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) last: Option<Run>,
    pub(super) last_good: Option<Timestamp>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Why it failed, if it did.
    pub(super) error: Option<String>,
    pub(super) ended: Timestamp,
    pub(super) took: Duration,
}

/// How much a check matters, and for how long it is forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) critical: bool,
    pub(super) grace: Duration,
}

impl Memory {
    pub(super) fn ended(&mut self, run: Run) {
        if run.error.is_none() {
            self.last_good = Some(run.ended);
        }
        self.last = Some(run);
    }

    /// Whether what is known is so young that asking again would be rude.
    pub(super) fn is_fresh(&self, now: Timestamp, min_interval: Duration) -> bool {
        self.last.as_ref().is_some_and(|run| now < run.ended + min_interval)
    }

    /// Whether it has ever been good.
    pub(super) fn was_good(&self) -> bool {
        self.last_good.is_some()
    }

    /// What it means at `now`. Who has not been asked yet is not there.
    pub(super) fn status(&self, now: Timestamp, weight: Weight) -> Status {
        let failed = match &self.last {
            Some(Run { error: None, .. }) => return Status::Up,
            Some(_) | None => {
                if weight.critical {
                    Status::Down
                } else {
                    Status::Degraded
                }
            }
        };
        // Failed => degraded while it was good a moment ago.
        let forgiven = self.last_good.is_some_and(|good| now < good + weight.grace);
        if forgiven { Status::Degraded } else { failed }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_secs(seconds)
    }

    fn run(ok: bool, ended: u64) -> Run {
        Run { error: (!ok).then(|| "down".to_owned()), ended: at(ended), took: Duration::ZERO }
    }

    const CRITICAL: Weight = Weight { critical: true, grace: Duration::from_secs(10) };
    const MINOR: Weight = Weight { critical: false, grace: Duration::ZERO };

    #[test]
    fn what_was_never_asked_is_not_taken_for_good() {
        assert_eq!(Memory::default().status(at(5), CRITICAL), Status::Down);
        assert_eq!(Memory::default().status(at(5), MINOR), Status::Degraded);
        assert!(!Memory::default().is_fresh(at(0), Duration::MAX));
    }

    #[test]
    fn a_failure_is_forgiven_for_as_long_as_the_last_good_answer_is_young() {
        let mut memory = Memory::default();
        memory.ended(run(true, 100));
        memory.ended(run(false, 105));
        assert_eq!(memory.status(at(109), CRITICAL), Status::Degraded);
        assert_eq!(memory.status(at(110), CRITICAL), Status::Down);
        memory.ended(run(true, 111));
        assert_eq!(memory.status(at(500), CRITICAL), Status::Up);
    }

    #[test]
    fn what_is_known_is_fresh_until_the_interval_has_passed() {
        let mut memory = Memory::default();
        memory.ended(run(false, 100));
        assert!(memory.is_fresh(at(104), Duration::from_secs(5)));
        assert!(!memory.is_fresh(at(105), Duration::from_secs(5)));
        assert!(!memory.is_fresh(at(100), Duration::ZERO));
        assert!(memory.is_fresh(Timestamp::from_nanos(u64::MAX - 1), Duration::MAX));
    }

    proptest! {
        /// A check that only degrades never takes the program down, and nothing but a good last answer is up.
        #[test]
        fn only_a_good_answer_is_up_and_only_a_critical_check_is_down(
            history in proptest::collection::vec((any::<bool>(), 0..50_u64), 0..8),
            critical: bool,
            grace in 0..100_u64,
            later in 0..100_u64,
        ) {
            let (mut memory, mut now, mut good) = (Memory::default(), 0, None);
            for (ok, after) in &history {
                now += after;
                memory.ended(run(*ok, now));
                good = if *ok { Some(now) } else { good };
            }
            now += later;
            let weight = Weight { critical, grace: Duration::from_secs(grace) };
            let expected = match history.last() {
                Some((true, _)) => Status::Up,
                _ if !critical || good.is_some_and(|good| now < good + grace) => Status::Degraded,
                _ => Status::Down,
            };
            prop_assert_eq!(memory.status(at(now), weight), expected);
            prop_assert_eq!(memory.was_good(), good.is_some());
        }
    }
}
