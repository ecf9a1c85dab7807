//! One call between its answers: asks the machine, the clock and the budget, in the order of what they cost.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::context::{self, ambient};
use crate::retry::budget::{Kind, Permit, Request};
use crate::time::{Sleep, Timestamp};
use crate::{Class, Classification};

use super::event::{Cause, Event, Reason};
use super::latency::Known;
use super::machine::{Answer, Decision, Race};
use super::policy::Shared;

/// The state of one call beside its futures.
#[derive(Debug)]
pub(super) struct Session {
    race: Race,
    /// The number of the primary in the context: that of the outer layer's attempt, from which ours count on.
    base: u32,
    /// When the call began, if it is measured and its primary may still answer.
    started: Option<Timestamp>,
    alarm: Alarm,
    /// The request is in flight until this is dropped.
    request: Request,
}

/// What the next attempt is waiting for.
#[derive(Debug)]
enum Alarm {
    /// Nobody has asked yet: as long as the calls answer at once, no clock is read and no timer made.
    Unset,
    /// Its time has come, and that of so many more.
    Due {
        why: Why,
        more: u32,
    },
    Set {
        sleep: Sleep,
        why: Why,
    },
    /// There is to be none.
    Off,
}

/// Why an attempt is to be launched, and how it is paid for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Why {
    cause: Cause,
    kind: Kind,
}

impl Why {
    const DELAY: Self = Self { cause: Cause::Delay, kind: Kind::Failure };

    fn failure(means: &Classification) -> Self {
        let kind = match means.retry_after() {
            Some(_) => Kind::Throttled,
            None if means.is_timed_out() => Kind::TimedOut,
            None => Kind::Failure,
        };
        Self { cause: Cause::Failure, kind }
    }
}

/// Leave to launch an attempt.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) attempt: u32,
    pub(super) permit: Option<Permit>,
}

impl Session {
    /// A session whose primary is about to be sent.
    #[inline]
    pub(super) fn begin(policy: &Shared) -> Self {
        let outer = ambient::get().attempt;
        // The number with which the request being served came is the client's, not ours.
        let base = if outer & ambient::RECEIVED == 0 { outer } else { 1 };
        let started = policy.entry().is_measured().then(|| policy.timer.now());
        let request = policy.budget.as_ref().map_or_else(Request::default, |budget| budget.request());
        Self { race: Race::new(), base, started, alarm: Alarm::Unset, request }
    }

    /// Runs `work` as part of an attempt.
    #[inline]
    pub(super) fn attempting<T>(&self, attempt: u32, work: impl FnOnce() -> T) -> T {
        let number = self.base.saturating_add(attempt - 1);
        self.request.within(|| ambient::attempting(number, work))
    }

    /// Attempts that may still answer.
    pub(super) fn running(&self) -> u32 {
        self.race.running()
    }

    /// Whether the primary's answer goes to the caller without more ado.
    #[inline]
    pub(super) fn is_plain(&mut self, policy: &Shared, ok: bool, means: &Classification) -> bool {
        if !self.race.is_single() || !matches!(meaning(ok, means), Answer::Good) {
            return false;
        }
        self.alarm = Alarm::Off;
        self.measure(policy, Known::Whole);
        if let (Class::Success | Class::Slow, Some(budget)) = (means.class(), &policy.budget) {
            budget.succeeded();
        }
        true
    }

    /// Decides what follows an answer. What was not sent was not answered by the service.
    pub(super) fn answered(
        &mut self,
        policy: &Shared,
        attempt: u32,
        ok: bool,
        sent: bool,
        means: &Classification,
    ) -> Decision {
        let answer = if sent { meaning(ok, means) } else { Answer::Unsent };
        if attempt == 1 {
            match answer {
                Answer::Good => self.measure(policy, Known::Whole),
                // It was given up, by a layer inside.
                _ if means.is_timed_out() => self.measure(policy, Known::AtLeast),
                // How fast a service fails says nothing about how fast it answers.
                _ => self.started = None,
            }
        }
        if let (Answer::Failed(_), Class::Failure, Some(budget)) = (answer, means.class(), &policy.budget) {
            budget.failed();
        }
        self.race.answered(attempt, answer, policy.entry().attempts())
    }

    /// This attempt's answer is the caller's; the others were dropped.
    pub(super) fn won(&mut self, policy: &Shared, attempt: u32, means: &Classification, permit: Option<Permit>) {
        self.measure(policy, Known::AtLeast);
        if let Class::Success | Class::Slow = means.class() {
            match (permit, &policy.budget) {
                (Some(permit), _) => permit.succeeded(),
                (None, Some(budget)) if attempt == 1 => budget.succeeded(),
                (None, _) => {}
            }
        }
        if self.race.hedges() > 0 {
            policy.emit(Event::Won { attempt });
        }
        self.dropped(policy);
    }

    /// A failure is the caller's; what still ran was dropped.
    pub(super) fn failed(&mut self, policy: &Shared) {
        if self.race.hedges() > 0 {
            policy.emit(Event::Failed { attempts: 1 + self.race.hedges() });
        }
        self.dropped(policy);
    }

    /// The call is over: a primary that may still have answered took longer than this.
    pub(super) fn abandoned(&mut self, policy: &Shared) {
        self.measure(policy, Known::AtLeast);
    }

    /// Waits until the next attempt is due. `obstacle` is why it could not be sent.
    pub(super) fn poll_due(&mut self, policy: &Shared, obstacle: Option<Reason>, cx: &mut Context<'_>) -> Poll<Why> {
        loop {
            let why = match &mut self.alarm {
                Alarm::Unset => {
                    self.alarm = self.arm(policy, obstacle);
                    continue;
                }
                Alarm::Off => return Poll::Pending,
                Alarm::Due { why, more } => {
                    let why = *why;
                    if let Some(more) = more.checked_sub(1) {
                        self.alarm = Alarm::Due { why, more };
                        return Poll::Ready(why);
                    }
                    why
                }
                Alarm::Set { sleep, why } => {
                    ready!(Pin::new(sleep).poll(cx));
                    *why
                }
            };
            self.alarm = Alarm::Unset;
            return Poll::Ready(why);
        }
    }

    /// A failure makes the next attempt due: as soon as all others that may have answered meanwhile were heard.
    pub(super) fn hurry(&mut self, means: &Classification) {
        let more = if let Alarm::Due { more, .. } = self.alarm { more + 1 } else { 0 };
        self.alarm = Alarm::Due { why: Why::failure(means), more };
    }

    /// The next attempt is not due earlier than after this, and then it is due.
    pub(super) fn hold(&mut self, policy: &Shared, after: Duration, means: &Classification) {
        self.alarm = match Race::due(policy.timer.now(), after, deadline(policy)) {
            Some(due) => Alarm::Set { sleep: policy.timer.sleep_until(due), why: Why::failure(means) },
            None => Alarm::Off,
        };
    }

    /// Asks to launch the next attempt; says why not if there is a reason that is not the rules'.
    pub(super) fn launch(&mut self, policy: &Shared, obstacle: Option<Reason>, why: Why) -> Option<Launch> {
        let entry = policy.entry();
        let attempt = self.race.next(entry.attempts())?;
        let Why { cause, kind } = why;
        let obstacle = obstacle.or_else(|| {
            let deadline = deadline(policy)?;
            (policy.timer.now() >= deadline).then_some(Reason::Deadline)
        });
        // The budget is asked last, so that nothing is taken for an attempt that cannot be.
        let paid = match (obstacle, &policy.budget) {
            (Some(reason), _) => Err(reason),
            (None, Some(budget)) => budget.withdraw(kind).map(Some).ok_or(Reason::Budget),
            (None, None) => Ok(None),
        };
        match paid {
            Err(reason) => {
                self.race.close();
                // Whoever must not send a request twice knows that, and need not be told of each.
                if reason != Reason::NotReplayable {
                    policy.emit(Event::Withheld { attempt, reason });
                }
                None
            }
            // The permit is dropped, and so refunded.
            Ok(_) if entry.is_dry() => {
                self.race.pretend();
                policy.emit(Event::WouldLaunch { attempt, cause });
                None
            }
            Ok(permit) => {
                self.race.launch();
                policy.emit(Event::Launched { attempt, cause });
                Some(Launch { attempt, permit })
            }
        }
    }

    fn arm(&self, policy: &Shared, obstacle: Option<Reason>) -> Alarm {
        let Some(attempt) = self.race.next(policy.entry().attempts()) else { return Alarm::Off };
        if obstacle == Some(Reason::NotReplayable) {
            return Alarm::Off;
        }
        let delay = match policy.delay(attempt) {
            None | Some(Duration::MAX) => return Alarm::Off,
            Some(delay) => delay,
        };
        let now = policy.timer.now();
        let since = self.started.filter(|_| self.race.is_single()).unwrap_or(now);
        match Race::due(since, delay, deadline(policy)) {
            None => Alarm::Off,
            Some(due) if due <= now => Alarm::Due { why: Why::DELAY, more: 0 },
            Some(due) => Alarm::Set { sleep: policy.timer.sleep_until(due), why: Why::DELAY },
        }
    }

    fn measure(&mut self, policy: &Shared, known: Known) {
        if let Some(started) = self.started.take() {
            policy.record(policy.timer.now().since(started), known);
        }
    }

    fn dropped(&mut self, policy: &Shared) {
        self.alarm = Alarm::Off;
        let attempts = self.race.running();
        if attempts > 0 {
            policy.emit(Event::Cancelled { attempts });
        }
    }
}

fn deadline(policy: &Shared) -> Option<Timestamp> {
    context::deadline(&policy.timer).map(|deadline| deadline.timestamp())
}

fn meaning(ok: bool, means: &Classification) -> Answer {
    match (means.is_retryable(), means.is_refused()) {
        (true, false) => Answer::Failed(means.retry_after()),
        (true, true) => Answer::Refused(means.retry_after()),
        (false, true) => Answer::Unsent,
        (false, false) if means.class() == Class::Failure || !ok => Answer::Fatal,
        (false, false) => Answer::Good,
    }
}
