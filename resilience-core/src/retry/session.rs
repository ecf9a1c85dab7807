//! One call between its answers: asks the machine, the budget and the clock, in the order of what they cost.

use std::time::Duration;

use crate::context::{self, ambient, ambient::Ambient};
use crate::time::{Sleep, Timestamp};
use crate::{Class, Classification};

use super::budget::{Kind, Permit, Request};
use super::event::{Event, Reason};
use super::machine::{self, Failure, Times};
use super::policy::Shared;

/// The state of one call beside its futures.
#[derive(Debug)]
pub(super) struct Session {
    machine: machine::Session,
    /// When the call began; the origin unless the rules bound how long it may take.
    started: Timestamp,
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
}

impl Session {
    pub(super) fn new() -> Self {
        Self { machine: machine::Session::new(), started: Timestamp::ORIGIN, request: Request::default(), permit: None }
    }

    /// The first attempt is about to be sent.
    #[inline]
    pub(super) fn begin(&mut self, policy: &Shared) {
        if policy.rules.max_elapsed.is_some() {
            self.started = policy.timer.now();
        }
        if let Some(budget) = &policy.budget {
            self.request = budget.request();
        }
    }

    /// Why no attempt can follow the one about to be sent, as far as that is known: then its request is not copied.
    #[inline]
    #[cfg_attr(not(feature = "tower"), allow(dead_code))] // Only a service has requests to copy.
    pub(super) fn last_chance(&self, policy: &Shared) -> Option<Reason> {
        if !self.machine.may_continue(&policy.rules) {
            Some(Reason::Attempts)
        } else if policy.budget.as_ref().is_some_and(|budget| !budget.may_withdraw()) {
            Some(Reason::Budget)
        } else {
            None
        }
    }

    /// The attempt under way, or scheduled.
    pub(super) fn attempt(&self) -> u32 {
        self.machine.attempt()
    }

    /// Runs `work` with the attempt's number in the ambient context.
    #[inline]
    pub(super) fn attempting<T>(&self, work: impl FnOnce() -> T) -> T {
        let outer = ambient::get();
        if outer.attempt == self.attempt() {
            return work();
        }
        let entered = ambient::enter(Ambient { attempt: self.attempt(), ..outer });
        let result = work();
        let inner = entered.leave();
        // A timeout resolved inside stays resolved outside.
        ambient::set(Ambient { attempt: outer.attempt, ..inner });
        result
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

    /// Decides what follows an answer. `spent` says why there is no second copy of the request.
    #[inline]
    pub(super) fn answered(&mut self, policy: &Shared, ok: bool, means: Classification, spent: Option<Reason>) -> Next {
        if means.is_retryable() || means.class() == Class::Failure || self.attempt() > 1 {
            return self.decide(policy, ok, means, spent);
        }
        if let (Class::Success | Class::Slow, Some(budget)) = (means.class(), &policy.budget) {
            budget.succeeded();
        }
        Next::Return
    }

    #[cold]
    fn decide(&mut self, policy: &Shared, ok: bool, means: Classification, spent: Option<Reason>) -> Next {
        if !means.is_retryable() && means.class() != Class::Failure {
            self.recovered(policy, ok, means.class());
            return Next::Return;
        }
        // What the last retry cost stays spent; where retries in flight are counted, it is one less.
        self.permit = None;
        if let (Class::Failure, true, Some(budget)) = (means.class(), means.is_retryable(), &policy.budget) {
            budget.failed();
        }
        let failure = Failure { retryable: means.is_retryable(), hint: means.retry_after(), spent };
        match self.schedule(policy, failure) {
            Ok(next) => next,
            Err(reason) => {
                policy.give_up(self.attempt(), reason);
                Next::Return
            }
        }
    }

    /// An attempt after the first said something other than a failure.
    fn recovered(&mut self, policy: &Shared, ok: bool, class: Class) {
        let attempts = self.attempt();
        if let (Class::Success | Class::Slow, Some(permit)) = (class, self.permit.take()) {
            permit.succeeded();
        }
        if ok {
            policy.emit(Event::Recovered { attempts });
        } else {
            // Refused by our own stack, say: the breaker opened meanwhile.
            policy.give_up(attempts, Reason::Permanent);
        }
    }

    fn schedule(&mut self, policy: &Shared, failure: Failure) -> Result<Next, Reason> {
        if let Some(reason) = self.machine.forbidden(&policy.rules, failure) {
            return Err(reason);
        }
        let deadline = context::deadline(&policy.timer).map(|deadline| deadline.timestamp());
        let times = Times { now: policy.timer.now(), started: self.started, deadline };
        let delay = self.machine.wait(&policy.rules, failure, policy.rng.unit(), times)?;
        // The budget is asked last, so that no token is taken for a retry that time forbids.
        if let Some(budget) = &policy.budget {
            let kind = if failure.hint.is_some() { Kind::Throttled } else { Kind::Failure };
            self.permit = Some(budget.withdraw(kind).ok_or(Reason::Budget)?);
        }
        self.machine.scheduled();
        policy.emit(Event::Retrying { attempt: self.attempt(), delay });
        Ok(match delay {
            Duration::ZERO => Next::Soon,
            delay => Next::Wait(policy.timer.sleep_until(times.now + delay)),
        })
    }
}
