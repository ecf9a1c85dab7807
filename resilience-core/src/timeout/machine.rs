//! When one call has to be over. Values in, values out; the clock is asked only where a rule needs it.

use crate::context::ambient::{Span, TimeLeft};
use crate::time::Timestamp;

/// The time one call has: first "within a duration", later "until a point in time".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance(TimeLeft);

/// The deadline has passed before the call began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Late;

impl Allowance {
    /// For a call that is not bounded: what is noted of it, if anything, is whether it is over by `until`.
    pub(super) const fn noted(until: Timestamp) -> Self {
        Self(TimeLeft { deadline: until, within: Span::UNLIMITED })
    }

    /// What a call with this `limit` is allowed in the context `outer`.
    ///
    /// Asks for the time only if the context has a deadline that may have passed, and then needs no second look.
    #[inline(always)]
    pub(super) fn new(outer: TimeLeft, limit: Span, now: impl FnOnce() -> Timestamp) -> Result<Self, Late> {
        let within = limit.min(outer.within);
        if outer.deadline == Timestamp::NEVER {
            return Ok(Self(TimeLeft { within, ..outer }));
        }
        let now = now();
        if now >= outer.deadline {
            return Err(Late);
        }
        Ok(Self(TimeLeft { deadline: outer.deadline.min(within.after(now)), within: Span::UNLIMITED }))
    }

    /// The context for what is called or polled inside, when `outer` is the context outside.
    #[inline]
    pub(super) fn narrow(&self, outer: TimeLeft) -> TimeLeft {
        self.0.min(outer)
    }

    /// Takes over the deadline if a layer inside has resolved it. `left` is the narrowed context as it was left.
    #[inline]
    pub(super) fn learn(&mut self, left: TimeLeft) {
        // Unresolved => resolved: somebody inside read the clock, which need not be read again.
        if !self.0.is_resolved() && left.is_resolved() {
            self.0 = left;
        }
    }

    /// The moment at which the call is over, resolved now if it is not yet; `None` if it never is.
    #[inline]
    pub(super) fn resolve(&mut self, now: impl FnOnce() -> Timestamp) -> Option<Timestamp> {
        // Unresolved => resolved: time is about to pass.
        self.0.resolve(now);
        (self.0.deadline != Timestamp::NEVER).then_some(self.0.deadline)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn span(nanos: u64) -> Span {
        Duration::from_nanos(nanos).into()
    }

    fn durations() -> impl Strategy<Value = Duration> {
        prop_oneof![4 => (1..100u64).prop_map(Duration::from_nanos), 1 => Just(Duration::MAX)]
    }

    fn deadlines() -> impl Strategy<Value = Timestamp> {
        prop_oneof![3 => (0..200u64).prop_map(Timestamp::from_nanos), 1 => Just(Timestamp::NEVER)]
    }

    #[test]
    fn without_a_deadline_outside_the_clock_is_not_asked() {
        let allowance = Allowance::new(TimeLeft::UNLIMITED, span(7), || unreachable!("no clock")).unwrap();
        assert_eq!(allowance.narrow(TimeLeft::UNLIMITED).within, span(7));
    }

    #[test]
    fn a_deadline_that_is_now_has_passed() {
        let outer = TimeLeft { deadline: at(5), ..TimeLeft::UNLIMITED };
        assert_eq!(Allowance::new(outer, Span::UNLIMITED, || at(5)), Err(Late));
        assert!(Allowance::new(outer, Span::UNLIMITED, || at(4)).is_ok());
    }

    #[test]
    fn what_was_resolved_inside_is_not_resolved_again() {
        let mut allowance = Allowance::new(TimeLeft::UNLIMITED, span(7), || unreachable!()).unwrap();
        let mut inside = allowance.narrow(TimeLeft::UNLIMITED);
        inside.resolve(|| at(10));
        allowance.learn(inside);
        assert_eq!(allowance.resolve(|| unreachable!("no clock")), Some(at(17)));
    }

    #[test]
    fn a_later_context_shows_inside_but_does_not_move_the_own_deadline() {
        let mut allowance = Allowance::new(TimeLeft::UNLIMITED, span(7), || unreachable!()).unwrap();
        allowance.resolve(|| at(10));
        let outer = TimeLeft { deadline: at(12), ..TimeLeft::UNLIMITED };
        assert_eq!(allowance.narrow(outer).deadline, at(12));
        allowance.learn(allowance.narrow(outer));
        assert_eq!(allowance.resolve(|| unreachable!("no clock")), Some(at(17)));
    }

    proptest! {
        /// Whoever resolves it, and whether it is resolved early or late, the call ends at the earliest of its limits.
        #[test]
        fn the_earliest_limit_wins_whoever_resolves_it(
            deadline in deadlines(), within in durations(), limit in durations(), now in 0..200u64, inside: bool,
        ) {
            let outer = TimeLeft { deadline, within: within.into() };
            let now = at(now);
            match Allowance::new(outer, limit.into(), || now) {
                Err(Late) => prop_assert!(now >= deadline),
                Ok(mut allowance) => {
                    prop_assert!(now < deadline);
                    let mut left = allowance.narrow(outer);
                    if inside {
                        left.resolve(|| now);
                    }
                    allowance.learn(left);
                    let earliest = deadline.min(now + within).min(now + limit);
                    prop_assert_eq!(allowance.resolve(|| now), (earliest != Timestamp::NEVER).then_some(earliest));
                }
            }
        }
    }
}
