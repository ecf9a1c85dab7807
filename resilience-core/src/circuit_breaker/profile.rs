//! A breaker that goes by another project's rules: the [exact](super::exact) machine behind a short lock.

use std::time::Duration;

use super::exact::{ExactBreaker, Late, Outcome, State as ExactState};
use super::permit::{Kind, Pass};
use super::settle::Answer;
use super::shared::{Shared, since_origin};
use super::state::{Cause, State, Transition};
use crate::sync::lock;
use crate::time::Timestamp;
use crate::{Class, Reason};

impl State {
    pub(super) const fn of_exact(state: ExactState) -> Self {
        match state {
            ExactState::Closed => Self::Closed,
            ExactState::Open => Self::Open,
            ExactState::HalfOpen => Self::HalfOpen,
            ExactState::ForcedOpen => Self::Isolated,
            ExactState::Disabled => Self::Disabled,
            ExactState::MetricsOnly => Self::MetricsOnly,
        }
    }

    const fn as_exact(self) -> ExactState {
        match self {
            Self::Closed => ExactState::Closed,
            Self::Open => ExactState::Open,
            Self::HalfOpen => ExactState::HalfOpen,
            Self::Isolated => ExactState::ForcedOpen,
            Self::Disabled => ExactState::Disabled,
            Self::MetricsOnly => ExactState::MetricsOnly,
        }
    }
}

/// A refusal as the rules have it.
pub(super) type Denied = (Reason, Option<Duration>);

impl Shared {
    /// Runs one step of the exact breaker, brought up to `now` first, and reports what became of it.
    fn exactly<R>(&self, now: Timestamp, cause: Option<Cause>, step: impl FnOnce(&mut ExactBreaker) -> R) -> Option<R> {
        let mut breaker = lock(self.exact.as_ref()?);
        let mut cold = lock(&self.cold);
        let before = breaker.place();
        breaker.state(since_origin(now));
        let between = breaker.place();
        let waited = if before.0 == ExactState::HalfOpen { Cause::Undecided } else { Cause::Waited };
        if let Some(transition) = changed(before, between, waited, now) {
            self.note(&mut cold, transition, None);
        }
        let counts = breaker.counts(since_origin(now));
        let result = step(&mut breaker);
        let judged = match between.0 {
            ExactState::HalfOpen => Cause::Probes {
                succeeded: u32::try_from(counts.sums.success).unwrap_or(u32::MAX),
                failed: u32::try_from(counts.sums.failed).unwrap_or(u32::MAX),
            },
            // The answer that opened it is one of them.
            _ => Cause::Rate { failures: counts.sums.failed + 1, calls: counts.sums.total() + 1 },
        };
        if let Some(transition) = changed(between, breaker.place(), cause.unwrap_or(judged), now) {
            self.note(&mut cold, transition, None);
        }
        let reports = cold.has_to_report();
        drop((cold, breaker));
        if reports {
            self.report();
        }
        Some(result)
    }

    pub(super) fn acquire_exact(&self, now: Timestamp) -> Result<Pass, Denied> {
        let acquired = self.exactly(now, None, |breaker| match breaker.acquire(since_origin(now)) {
            Ok(permit) => {
                let kind = if breaker.place().0 == ExactState::HalfOpen { Kind::Probe } else { Kind::Call };
                Ok(Pass { generation: permit.generation(), kind, shard: 0, started: now })
            }
            Err(refused) => Err((refusal(breaker.place().0), refused.retry_after)),
        });
        acquired.unwrap_or(Err((Reason::Open, None)))
    }

    /// The refusal a call would get now; takes nothing.
    #[cfg(feature = "tower")]
    pub(super) fn would_deny_exact(&self, now: Timestamp) -> Option<Denied> {
        self.exactly(now, None, |breaker| {
            let refused = breaker.would_refuse(since_origin(now))?;
            Some((refusal(breaker.place().0), refused.retry_after))
        })?
    }

    pub(super) fn settle_exact(&self, pass: Pass, answer: Answer) -> bool {
        let now = self.timer.now();
        let took = now - pass.started;
        let outcome = match (answer.class, self.abandoned) {
            (Some(Class::Success), _) => Outcome::SUCCESS,
            (Some(Class::Slow), _) => Outcome::SUCCESS.slowly(),
            (Some(Class::Failure), _) | (None, super::Abandoned::Failure) => Outcome::FAILURE,
            (Some(Class::Ignore), _) => Outcome::IGNORED,
            (None, _) => {
                self.exactly(now, None, |breaker| breaker.release(breaker.permit(pass.generation, pass.started)));
                return true;
            }
        };
        let counted = self.exactly(now, None, |breaker| {
            let permit = breaker.permit(pass.generation, pass.started);
            let counts = breaker.place().1 == pass.generation || breaker.options().late == Late::Count;
            breaker.finish(permit, outcome.after(took), since_origin(now));
            counts
        });
        counted.unwrap_or(false)
    }

    /// Moves it by hand.
    pub(super) fn force_exact(&self, state: State, now: Timestamp, wait: Option<Duration>) {
        self.exactly(now, Some(Cause::Manual), |breaker| breaker.force(state.as_exact(), since_origin(now), wait));
    }
}

const fn refusal(state: ExactState) -> Reason {
    match state {
        ExactState::HalfOpen => Reason::Probing,
        ExactState::ForcedOpen => Reason::Isolated,
        _ => Reason::Open,
    }
}

type Place = (ExactState, u32, Option<Duration>);

fn changed(from: Place, to: Place, cause: Cause, at: Timestamp) -> Option<Transition> {
    // A window thrown away begins a generation and no other state: nobody is told.
    (from.0 != to.0).then(|| Transition {
        from: State::of_exact(from.0),
        to: State::of_exact(to.0),
        generation: to.1,
        cause,
        at,
        until: to.2.filter(|_| to.0 != ExactState::Closed).map(|until| Timestamp::ORIGIN + until),
    })
}
