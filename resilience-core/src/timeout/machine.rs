//! When one call has to be over. Values in, values out; the clock is asked only where a rule needs it.

use std::time::Duration;

use crate::context::ambient::Ambient;
use crate::time::Timestamp;

/// The time one call has: first "within a duration", later "until a point in time".
///
/// Unresolved while `within` is set. Invariant, as in [`Ambient`]: it is unresolved only as long as no time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    deadline: Timestamp,
    within: Duration,
}

/// The deadline has passed before the call began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Late;

impl Allowance {
    /// What a call with this `limit` is allowed in the context `outer`.
    ///
    /// Asks for the time only if the context has a deadline that may have passed, and then needs no second look.
    #[inline]
    pub(super) fn new(outer: &Ambient, limit: Duration, now: impl FnOnce() -> Timestamp) -> Result<Self, Late> {
        let within = limit.min(outer.within);
        if outer.deadline == Timestamp::NEVER {
            return Ok(Self { deadline: Timestamp::NEVER, within });
        }
        let now = now();
        if now >= outer.deadline {
            return Err(Late);
        }
        Ok(Self { deadline: outer.deadline.min(now + within), within: Duration::MAX })
    }

    /// The context for what is called or polled inside, when `outer` is the context outside.
    #[inline]
    pub(super) fn narrow(&self, outer: &Ambient) -> Ambient {
        Ambient { deadline: self.deadline.min(outer.deadline), within: self.within.min(outer.within), ..*outer }
    }

    /// Takes over the deadline if a layer inside has resolved it. `left` is the narrowed context as it was left.
    #[inline]
    pub(super) fn learn(&mut self, left: &Ambient) {
        // Unresolved => resolved: somebody inside read the clock, which need not be read again.
        if self.within != Duration::MAX && left.within == Duration::MAX {
            self.deadline = left.deadline;
            self.within = Duration::MAX;
        }
    }

    /// The moment at which the call is over, resolved now if it is not yet; `None` if it never is.
    #[inline]
    pub(super) fn resolve(&mut self, now: impl FnOnce() -> Timestamp) -> Option<Timestamp> {
        // Unresolved => resolved: time is about to pass.
        if self.within != Duration::MAX {
            self.deadline = self.deadline.min(now() + self.within);
            self.within = Duration::MAX;
        }
        (self.deadline != Timestamp::NEVER).then_some(self.deadline)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn durations() -> impl Strategy<Value = Duration> {
        prop_oneof![4 => (1..100u64).prop_map(Duration::from_nanos), 1 => Just(Duration::MAX)]
    }

    fn deadlines() -> impl Strategy<Value = Timestamp> {
        prop_oneof![3 => (0..200u64).prop_map(Timestamp::from_nanos), 1 => Just(Timestamp::NEVER)]
    }

    #[test]
    fn without_a_deadline_outside_the_clock_is_not_asked() {
        let allowance = Allowance::new(&Ambient::EMPTY, Duration::from_secs(1), || unreachable!("no clock")).unwrap();
        assert_eq!(allowance.narrow(&Ambient::EMPTY).within, Duration::from_secs(1));
    }

    #[test]
    fn a_deadline_that_is_now_has_passed() {
        let outer = Ambient { deadline: at(5), ..Ambient::EMPTY };
        assert_eq!(Allowance::new(&outer, Duration::MAX, || at(5)), Err(Late));
        assert!(Allowance::new(&outer, Duration::MAX, || at(4)).is_ok());
    }

    #[test]
    fn what_was_resolved_inside_is_not_resolved_again() {
        let mut allowance = Allowance::new(&Ambient::EMPTY, Duration::from_nanos(7), || unreachable!()).unwrap();
        let mut inside = allowance.narrow(&Ambient::EMPTY);
        inside.resolve(|| at(10));
        allowance.learn(&inside);
        assert_eq!(allowance.resolve(|| unreachable!("no clock")), Some(at(17)));
    }

    #[test]
    fn a_later_context_shows_inside_but_does_not_move_the_own_deadline() {
        let mut allowance = Allowance::new(&Ambient::EMPTY, Duration::from_nanos(7), || unreachable!()).unwrap();
        allowance.resolve(|| at(10));
        let outer = Ambient { deadline: at(12), ..Ambient::EMPTY };
        assert_eq!(allowance.narrow(&outer).deadline, at(12));
        allowance.learn(&allowance.narrow(&outer));
        assert_eq!(allowance.resolve(|| unreachable!("no clock")), Some(at(17)));
    }

    proptest! {
        /// Whoever resolves it, and whether it is resolved early or late, the call ends at the earliest of its limits.
        #[test]
        fn the_earliest_limit_wins_whoever_resolves_it(
            deadline in deadlines(), within in durations(), limit in durations(), now in 0..200u64, inside: bool,
        ) {
            let outer = Ambient { deadline, within, ..Ambient::EMPTY };
            let now = at(now);
            match Allowance::new(&outer, limit, || now) {
                Err(Late) => prop_assert!(now >= deadline),
                Ok(mut allowance) => {
                    prop_assert!(now < deadline);
                    let mut left = allowance.narrow(&outer);
                    if inside {
                        left.resolve(|| now);
                    }
                    allowance.learn(&left);
                    let earliest = deadline.min(now + within).min(now + limit);
                    prop_assert_eq!(allowance.resolve(|| now), (earliest != Timestamp::NEVER).then_some(earliest));
                }
            }
        }
    }
}
