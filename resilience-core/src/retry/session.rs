//! One call between its answers: asks the machine, the budget and the clock, in the order of what they cost.

use std::time::Duration;

use crate::context::{self, ambient};
use crate::time::{Sleep, Timestamp};
use crate::{Class, Classification};

use super::budget::{Kind, Permit, Request, RetryBudget};
use super::event::{Event, Reason};
use super::machine::{self, Failure, Times};
use super::policy::Shared;

/// The state of one call beside its futures.
#[derive(Debug)]
pub(super) struct Session {
    machine: machine::Session,
    /// When the call began, if the rules bounded then how long it may take.
    started: Option<Timestamp>,
    /// The request is in flight until this is dropped.
    request: Request,
    permit: Option<Permit>,
}

/// What follows an answer.
pub(super) enum Next {
    /// The answer goes to the caller.
    Return,
    /// Another attempt, after yielding once.
    Soon,
    /// Another attempt after a wait.
    Wait(Sleep),
    /// The answer goes to the caller, after a wait.
    Linger(Sleep),
}

impl Session {
    /// A session whose first attempt is about to be sent.
    #[inline(always)]
    pub(super) fn begin(policy: &Shared) -> Self {
        let started = Self::start(policy);
        Self::of(started, &mut Self::request(policy))
    }

    /// When the call begins, if the rules bound how long it may take.
    #[inline(always)]
    pub(super) fn start(policy: &Shared) -> Option<Timestamp> {
        policy.is_timed().then(|| policy.timer.now())
    }

    /// The request, as the budget sees it.
    #[inline(always)]
    pub(super) fn request(policy: &Shared) -> Request {
        policy.budget.as_ref().map_or_else(Request::default, RetryBudget::request)
    }

    /// A session of a request whose first attempt was made: put together where it stays. To move one would be to read in
    /// one piece what was written in several a moment before, for which a processor waits.
    #[inline(always)]
    pub(super) fn of(started: Option<Timestamp>, request: &mut Request) -> Self {
        Self { machine: machine::Session::new(), started, request: request.moved(), permit: None }
    }

    /// The attempt under way, or scheduled.
    #[inline]
    pub(super) fn attempt(&self) -> u32 {
        self.machine.attempt()
    }

    /// Runs `work` as part of the attempt under way.
    #[inline(always)]
    pub(super) fn attempting<T>(&self, work: impl FnOnce() -> T) -> T {
        self.request.within(|| ambient::attempting(self.attempt(), work))
    }

    /// A scheduled attempt is sent now.
    pub(super) fn sent(&mut self) {
        if let Some(permit) = &mut self.permit {
            permit.spend();
        }
    }

    /// The service failed to get ready for a scheduled attempt, which therefore is refunded.
    #[cfg_attr(not(feature = "tower"), allow(dead_code))] // Only a service can be unready.
    pub(super) fn unready(&mut self, policy: &Shared) {
        self.permit = None;
        policy.give_up(self.attempt() - 1, Reason::NotReady);
    }

    /// Whether the first attempt's answer goes to the caller without more ado.
    #[inline(always)]
    pub(super) fn is_plain(&self, policy: &Shared, means: &Classification) -> bool {
        if self.attempt() > 1 || means.is_retryable() || means.class() == Class::Failure {
            return false;
        }
        if let (Class::Success | Class::Slow, Some(budget)) = (means.class(), &policy.budget) {
            budget.succeeded();
        }
        true
    }

    /// Decides what follows any other answer. `spent` says why there is no second copy of the request.
    #[cold]
    pub(super) fn decide(&mut self, policy: &Shared, ok: bool, means: &Classification, spent: Option<Reason>) -> Next {
        if !means.is_retryable() && means.class() != Class::Failure {
            self.recovered(policy, ok, means);
            return Next::Return;
        }
        // What the last retry cost stays spent; where retries in flight are counted, it is one less.
        self.permit = None;
        if let (Class::Failure, true, Some(budget)) = (means.class(), means.is_retryable(), &policy.budget) {
            budget.failed();
        }
        let failure = Failure { retryable: means.is_retryable(), hint: means.retry_after(), spent };
        let kind = match failure.hint {
            Some(_) => Kind::Throttled,
            None if means.is_timed_out() => Kind::TimedOut,
            None => Kind::Failure,
        };
        match self.schedule(policy, failure, kind) {
            Ok(next) => next,
            Err((reason, lingers)) => {
                policy.give_up(self.attempt(), reason);
                lingers.map_or(Next::Return, |until| Next::Linger(policy.timer.sleep_until(until)))
            }
        }
    }

    /// An attempt after the first said something other than a failure.
    fn recovered(&mut self, policy: &Shared, ok: bool, means: &Classification) {
        let attempts = self.attempt();
        if let (Class::Success | Class::Slow, Some(permit)) = (means.class(), self.permit.take()) {
            permit.succeeded();
        }
        if ok {
            policy.emit(Event::Recovered { attempts });
        } else if means.is_refused() {
            policy.give_up(attempts, Reason::Refused);
        } else {
            policy.give_up(attempts, Reason::Permanent);
        }
    }

    /// What comes next; or why nothing does, and until when the caller is to wait all the same.
    fn schedule(&mut self, policy: &Shared, failure: Failure, kind: Kind) -> Result<Next, (Reason, Option<Timestamp>)> {
        let rules = policy.rules();
        let forbidden = self.machine.forbidden(&rules, failure);
        if let Some(reason) = forbidden
            && !(rules.long_poll && reason == Reason::Budget)
        {
            return Err((reason, None));
        }
        let deadline = context::deadline(&policy.timer).map(|deadline| deadline.timestamp());
        let now = policy.timer.now();
        // A bound that came while the call was under way counts from when it is first seen.
        let started = *self.started.get_or_insert(now);
        let times = Times { now, started, deadline };
        let delay = self.machine.wait(&rules, failure, policy.rng.unit(), times).map_err(|reason| (reason, None))?;
        // The budget is asked last, so that no token is taken for a retry that time forbids.
        let lingers = (rules.long_poll && !rules.dry_run && !delay.is_zero()).then(|| now + delay);
        if forbidden.is_some() {
            // The budget was empty when the request came, so there is no copy of it, whatever there is by now.
            return Err((Reason::Budget, lingers));
        }
        if let Some(budget) = &policy.budget {
            self.permit = Some(budget.withdraw(kind).ok_or((Reason::Budget, lingers))?);
        }
        if rules.dry_run {
            // Never spent, and so refunded.
            self.permit = None;
            policy.emit(Event::WouldRetry { attempt: self.attempt().saturating_add(1), delay });
            return Ok(Next::Return);
        }
        self.machine.scheduled();
        policy.emit(Event::Retrying { attempt: self.attempt(), delay });
        Ok(match delay {
            Duration::ZERO => Next::Soon,
            delay => Next::Wait(policy.timer.sleep_until(times.now + delay)),
        })
    }
}

/// What the caller gets, `answer` being the last and `earlier` that of the last attempt that was sent.
///
/// A refusal promises that the call was never sent. Of an attempt after one that was sent, and that failed with its
/// effect unknown, the promise is true and of the call it is not: so the caller gets what is known of the call.
pub(super) fn last_word<T>(answer: T, refused: bool, earlier: &mut Option<Box<T>>) -> T {
    match earlier.take() {
        Some(earlier) if refused => *earlier,
        _ => answer,
    }
}
